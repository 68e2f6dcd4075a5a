/*
 * gate: the protocol of preload/gate.c, arena.c, reclaim.c, rounds.c and purge.c as a model. Words and names are the
 * code's.
 *
 * Two threads run on the cores of memory.pml. The mutator plays a short story, chosen at compile time; the
 * reclaimer claims, purges, hands back, and sleeps until it is woken:
 *   CALLS=n  so many calls into the allocator, in every story
 *   CLOSE    the last of them frees GG_State; another VM may want the slot
 *   FORK     before the last call a fork; told of the parent or of the child, which starts without a reclaimer
 *   HOST     before the last two calls the host sets the original allocator back, or its own function before the
 *            gate, and perhaps the gate again
 *   UNMAP    after the last call the host sets the original back and destroys the arena, without the gate
 *   JUMP     the first call may never return (longjmp out of a signal handler)
 *
 * Time. A hold's patience may end at any moment, and so may SILENCE, but that under PROMPT a mutator that waits
 * no longer gets its turn within SILENCE. futex_wait has no time limit here: no wake may depend on one.
 *
 * What must hold is asserted where it matters, by variables that no thread of the protocol reads ("What is
 * true"), and in `quiet`, for the moment when nothing can move any more. Every other #ifdef leaves a piece of the
 * protocol out: the rows of `run` say what that is.
 */
#define BUSY 0
#define WANT 1
#define PLACE 2
#define HEAP 3 /* what the allocator's structures say: a number that every change increments */
#define WORK 4 /* struct ljt_work: what the next unit is to do, and the ledger */
#define LOCS 5

/* Who loads what outside of an RMW. */
#if defined(HOST) || defined(UNMAP)
#define READS(t, x) ((t) == R || (x) != BUSY)
#else
#define READS(t, x) ((t) == R && (x) != PLACE || (t) == M && (x) != BUSY)
#endif

#ifdef ACQUIRE_OF_WANT_DROPPED
#define M_ACQUIRES(x) false
#else
#define M_ACQUIRES(x) ((x) == WANT)
#endif
#ifdef ACQUIRE_OF_BUSY_DROPPED
#define R_ACQUIRES_BUSY(x) false
#else
#define R_ACQUIRES_BUSY(x) ((x) == BUSY)
#endif
#ifdef ACQUIRE_OF_DONE_DROPPED
#define R_ACQUIRES_WANT(x) false
#else
#define R_ACQUIRES_WANT(x) ((x) == WANT)
#endif
#define ACQUIRES(t, x) ((t) == M && M_ACQUIRES(x) || (t) == R && (R_ACQUIRES_BUSY(x) || R_ACQUIRES_WANT(x)))

#define FIRST BUSY
#define SECOND WANT
#include "memory.pml"

/* Bits of want. PROVE and START are not here: the one is slot.pml's, the other is be_reborn's. */
#define LIVE 1
#define HOLD 2
#define REQUEST 4
#define WAKE 8
#define FENCED 16

#ifdef NO_MEMBARRIER
#define NEW_WORD (LIVE | FENCED)
#ifdef RECLAIMER_FENCE_LEFT_OUT
#define EVERYBODY_FENCES() skip
#else
#define EVERYBODY_FENCES() FENCE(R) /* the mutator has done so itself, in serve */
#endif
#else
#define NEW_WORD LIVE
#define EVERYBODY_FENCES() MEMBARRIER()
#endif
#define NOTHING_WANTED(w) (((w) & ~FENCED) == LIVE)

/* PLACE: what g->allocf is. */
#define GATE 0
#define WRAP 1 /* the host's, which calls the gate */
#define RAW 2  /* lj_alloc_f */

/* Bits of WORK: kind (HAND_BACK, or else a look), and whether the ledger has a claim. */
#define HAND_BACK 1
#define CLAIM 2

/* The slot's state. */
#define FREE 0
#define GATED 1
#define ARMED 2
#define LOST 3
#define CLOSING 4
#define DEAD 5
#define TAKEN 6
byte state = ARMED;

bool waiters, life, forking, holding; /* wiped by a fork, as WANT */
bool running = true;                  /* wiped, too: ljt_wiped.reclaimer */
bool current;                         /* reclaim.c: at work on this slot */
bool bell;                            /* the reclaimer, when it begins a round, forgets that it was rung */
bool posted;                          /* pace.posted */
bool wrapped;                         /* pace.wrapped */

/* ---- What is true, whoever knows it ---- */

byte truth;         /* changes of the heap, in the order in which they were allowed */
bool inside;        /* someone changes it */
bool claimed;
bool ahead; /* R has loaded life for its lock, and goes on loading */
bool hand_back;     /* what the reclaimer wants done */
bool served;        /* a unit was done since the reclaimer wanted one */
bool mapped = true, state_mapped = true; /* the segment with the claim; that with lj_alloc's state and GG_State */
bool purging;       /* the kernel is at it */
bool at_work;       /* the reclaimer takes the slot for a VM's */
bool window;        /* a hold is on: setting allocf now would go unnoticed */
bool child, born, reborn;
bool asleep;        /* the mutator, in futex_wait */
bool waiting;       /* the mutator, in serve */
byte bypassed;      /* units that the reclaimer has done meanwhile */
bool finished;      /* the mutator's story */
byte seen;          /* busy, when the reclaimer last began to look */

#ifndef CALLS
#define CALLS 2
#endif

/* ---- In the heap ---- */

/* Reads what was written last, writes something new, alone. The heap is wide: `inside` lasts. */
inline change_heap(t, v)
{
    atomic {
        assert(!inside && mapped);
        assert(!child || reborn);
        inside = true;
        LOAD(t, HEAP, v);
        assert(v == truth);
        v = 0;
        truth++
    };
    atomic { STORE(t, HEAP, truth, RELAXED); inside = false }
}

inline load_place(t, v)
{
    atomic {
        assert(state_mapped);
        LOAD(t, PLACE, v);
#ifdef PLACE_NOT_CHECKED
        v = GATE
#endif
    }
}

/* ljt_unit_run */
inline run_unit(t, v)
{
    if
    :: state == ARMED ->
        load_place(t, v);
        wrapped = (v == WRAP);
        if
        :: v == RAW -> state = LOST
        :: else ->
            change_heap(t, v);
            atomic {
                assert(!purging);
                LOAD(t, WORK, v);
                assert((v & HAND_BACK) == hand_back);
                assert(((v & CLAIM) != 0) == claimed);
                claimed = !hand_back;
                served = true;
                bypassed = bypassed + (t == R && waiting);
                STORE(t, WORK, hand_back + (CLAIM * (1 - hand_back)), RELAXED)
            }
        fi;
        v = 0
    :: else
    fi
}

inline lock_life(t)
{
    d_step { !life && cpu[t].n == 0; life = true; ahead = false; forget_early(t) } /* who was about to take it tries again */
}

inline unlock_life(t)
{
    d_step { cpu[t].n == 0; life = false }
}

#include "arena.pml"

/* ---- The mutator's side of the gate ---- */

inline enter()
{
#ifdef BUSY_COUNTS_ONE_AT_A_TIME
    atomic { seq = seq + 1; STORE(M, BUSY, seq, RELAXED) }
#else
    atomic { seq = seq | 1; STORE(M, BUSY, seq, RELAXED) }
#endif
}

inline leave()
{
    atomic {
#ifdef BUSY_COUNTS_ONE_AT_A_TIME
        seq = seq + 1;
#else
        seq = (seq | 1) + 1;
#endif
#ifdef RELEASE_OF_BUSY_DROPPED
        STORE(M, BUSY, seq, RELAXED)
#else
        STORE(M, BUSY, seq, RELEASE)
#endif
    }
}

inline step_aside()
{
#ifndef STEPS_NOT_ASIDE
    leave();
#endif
    do
    :: atomic {
            LOAD(M, WANT, want);
            if
            :: !(want & HOLD) -> want = 0; break
            :: want & HOLD -> !(mem[WANT] & HOLD) /* spins */
            :: want & HOLD
            fi
        };
#ifdef SLEEPS_ON_WHAT_IT_FINDS
        want = mem[WANT];
#endif
#ifndef WAITERS_NOT_SAID
        atomic { cpu[M].n == 0; waiters = true }; /* a seq_cst store */
#endif
        atomic {
            cpu[M].n == 0; /* the kernel's own fence, in futex_wait */
            if
            :: mem[WANT] == want -> asleep = true
            :: else
            fi;
            want = 0;
            !asleep /* futex_wait */
        };
        waiters = false
    od;
    enter()
}

inline serve()
{
    do
    :: atomic {
#ifndef FENCE_OF_SERVE_LEFT_OUT
            FENCE(M);
#endif
            waiting = true
        };
        LOAD(M, WANT, want);
        if
        :: atomic { NOTHING_WANTED(want) -> want = 0; break }
        :: want == 0 -> be_reborn()
        :: atomic { want & HOLD -> want = 0 }; step_aside();
#ifdef STEP_ASIDE_RECHECKS_NOT
            break
#endif
        :: atomic { (want & (HOLD | REQUEST)) == REQUEST -> want = 0 };
#ifdef DONE_SAID_BEFORE_THE_UNIT
            RMW(M, WANT, mem[WANT] & ~REQUEST);
            run_unit(M, v)
#else
            run_unit(M, v);
#ifdef RELEASE_OF_DONE_DROPPED
            RMW_NOT_RELEASING(M, WANT, mem[WANT] & ~REQUEST)
#else
#ifdef SEVERAL
            if
            :: RMW(M, WANT, mem[WANT] & ~REQUEST)
            :: break /* the request's next unit is for the next call */
            fi
#else
            RMW(M, WANT, mem[WANT] & ~REQUEST)
#endif
#endif
#endif
        :: atomic { (want & (HOLD | REQUEST | WAKE)) == WAKE -> want = 0 };
            RMW(M, WANT, mem[WANT] & ~WAKE);
#ifndef WAKE_NOT_RUNG
            bell = true
#endif
        fi
    od;
    atomic {
#ifdef PROMPT
        assert(bypassed <= 1);
#endif
        waiting = false; bypassed = 0
    }
}

#ifdef CLOSE
#define FREES_GG (calls == 1)
#else
#define FREES_GG false
#endif

/* A call of g->allocf. */
inline call()
{
    if
    :: place == RAW -> change_heap(M, v)
    :: else ->
#ifdef ENTRY_LOADS_FIRST
        LOAD(M, WANT, want);
        enter();
        atomic { slow = want != LIVE || FREES_GG; want = 0 };
#else
        enter();
        atomic { LOAD(M, WANT, want); slow = want != LIVE || FREES_GG; want = 0 };
#endif
        if
        :: slow -> slow = false; serve()
        :: else
        fi;
        if
        :: FREES_GG -> close()
        :: else -> change_heap(M, v)
        fi;
#ifdef JUMP
        if
        :: calls == CALLS /* never returns */
        :: leave()
        fi
#else
        leave()
#endif
#ifdef CLOSE
#ifndef CLOSER_WAKES_BEFORE_IT_LEAVES
        ;
        if
        :: FREES_GG -> atomic { cpu[M].n == 0; bell = true } /* a releasing RMW */
        :: else
        fi
#endif
#endif
    fi
}

/* ---- The host: all of this on the mutator's thread ---- */

/*
 * lua_setallocf. While a hold is on this would go unnoticed until its end; no gate can help that. Nor if the core
 * has loaded for a call without the gate, ahead of time, while a hold was on. Nor, without membarrier, while the store,
 * or one of a call around the gate before it, waits in the core's buffer: nobody empties that before the hold looks.
 */
inline set_allocf(f)
{
#ifdef NO_MEMBARRIER
    atomic { !window && cpu[M].n == 0; place = f; RMW(M, PLACE, f) }
#else
    atomic { !window && cpu[M].n < DEPTH; forget_early(M); place = f; STORE(M, PLACE, f, RELAXED) }
#endif
}

proctype mutator()
{
    byte want, v, seq, place, calls = CALLS;
    bool slow;
    do
    :: calls > 0 ->
#if defined(FORK)
        if
        :: calls == 1 -> fork()
        :: else
        fi;
#elif defined(HOST)
        if
        :: calls == 2 -> set_allocf(RAW)
        :: calls == 2 -> set_allocf(WRAP)
        :: calls == 1 -> set_allocf(RAW)
        :: calls == 1 -> set_allocf(GATE)
        :: calls == 1 || calls == 3
        fi;
#endif
        call();
        calls--
    :: calls == 0 -> break
    od;
#ifdef UNMAP
    STORE(M, PLACE, RAW, RELAXED);
    destroy();
#endif
    finished = true
}

#include "reclaim.pml"

/* ---- When nothing can move any more ---- */

proctype quiet()
{
    timeout ->
    assert(finished);                                                  /* no deadlock, no wake lost in the gate */
    assert(!claimed || state != ARMED || (wrapped && (mem[WANT] & REQUEST))); /* claims went back, or wait for */
    assert(state != ARMED || mem[PLACE] != GATE || wrapped || seen == mem[BUSY]); /* a call. No WAKE lost */
#ifdef CLOSE
    assert(state != DEAD)                                              /* the slot is free for the next VM */
#endif
}

init {
    atomic {
        mem[WANT] = NEW_WORD;
        run hardware(M); run hardware(R);
        run mutator(); run reclaimer();
#ifdef CLOSE
        run next_vm();
#endif
        run quiet()
    }
}
