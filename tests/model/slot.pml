/*
 * slot: how a VM gets a slot, as preload/arena.c (take_slot, take_dead, adopt, fence_if_needed, prove) and reclaim.c
 * (attend, ljt_reclaim_uses, ljt_reclaim_fence) have it. The slot was another VM's, which is dead.
 *
 * The adopter (a thread in the mmap hook) runs on core M of memory.pml, the reclaimer on R: it may still be at work on
 * the dead VM, or is about to look at the slot; once it finds out that there is no membarrier, and says so to all.
 * Then the VM's own thread makes its first call, on a core that has loaded ahead of time what is not ordered, and the
 * reclaimer, if it finds the slot ARMED, is at work on it again.
 *   PAIR_CURRENT  current and state: a slot isn't taken while the reclaimer is at work on it
 *   PAIR_FENCED   want and fenced: no VM is left without the fence
 *   GATE_FIRST    what the first call finds behind the gate
 */
#define CURRENT 0 /* reclaim.c: the slot at work on, or not */
#define STATE 1
#define FENCED 2 /* reclaim.c, fenced; and whether want has the bit, in WANT */
#define WANT 3
#define ALLOCF 4 /* ljt_gates[slot].allocf: 1 the old VM's, 2 the new one's */
#define PLACE 5  /* g->allocf: 0 the original, 1 the trampoline */
#define PACE 6   /* what both write to in struct ljt_arena: pace, work, stats */
#define LOCS 7

/* Every location's other core may have loaded it early; what the code loads with acquire or seq_cst acquires. */
#define READS(t, x) true
#if defined(STATE_ACQUIRE_DROPPED)
#define ACQUIRES(t, x) ((x) != ALLOCF && (x) != PACE && (x) != STATE)
#else
#define ACQUIRES(t, x) ((x) != ALLOCF && (x) != PACE && (x) != PLACE)
#endif
#define FIRST WANT
#define SECOND CURRENT
#include "memory.pml"

/* State. */
#define DEAD 0
#define TAKEN 1
#define GATED 2
#define ARMED 3

/* Bits of want. */
#define LIVE 1
#define PROVE 2
#define HAS_FENCE 4

bool at_work, taken, adopted, told, called;

/* ---- current and state ---- */

#ifdef PAIR_CURRENT
/* Was attending while the VM was still armed; the closer's DEAD comes at some moment. */
proctype closer()
{
    atomic { before_write(M, STATE); before_write(R, STATE); mem[STATE] = DEAD }
}

proctype reclaimer()
{
    byte v;
#ifdef CURRENT_SAID_LATE
    LOAD(R, STATE, v);
    STORE(R, CURRENT, 1, RELEASE);
#else
    STORE(R, CURRENT, 1, RELEASE);
#ifndef ATTEND_WITHOUT_FENCE
    FENCE(R);
#endif
    LOAD(R, STATE, v);
#endif
    if
    :: v == ARMED -> /* that was the old VM */
        atomic { assert(!taken); at_work = true };
        STORE(R, PACE, 1, RELAXED);
        at_work = false
    :: else
    fi;
#ifdef CURRENT_RELEASE_DROPPED
    STORE(R, CURRENT, 0, RELAXED)
#else
    STORE(R, CURRENT, 0, RELEASE)
#endif
}

/* take_slot */
proctype adopter()
{
    byte v;
    LOAD(M, STATE, v);
    if
    :: v == DEAD ->
#ifndef USES_WITHOUT_FENCE
        FENCE(M);
#endif
#ifdef USES_NOT_ASKED
        v = 0;
#else
        LOAD(M, CURRENT, v);
#endif
        if
        :: v == 0 ->
            atomic { assert(!at_work); taken = true };
            RMW(M, STATE, TAKEN);
            STORE(M, PACE, 2, RELAXED)
        :: else
        fi
    :: else
    fi;
    adopted = true
}

proctype quiet()
{
    timeout -> assert(!taken || mem[PACE] == 2) /* nothing of the old VM's comes late */
}

init {
    atomic {
        mem[STATE] = ARMED;
        run hardware(M); run hardware(R);
        run closer(); run reclaimer(); run adopter(); run quiet()
    }
}
#endif

/* ---- want and fenced ---- */

#ifdef PAIR_FENCED
/* ljt_reclaim_fence: words that are 0 are passed by. seq_cst all, so the fence is what the orders give. */
proctype reclaimer()
{
    byte v;
#ifdef FENCED_SAID_LATE
    LOAD(R, WANT, v);
    STORE(R, FENCED, 1, RELEASE);
    FENCE(R);
#else
    STORE(R, FENCED, 1, RELEASE);
#ifndef FENCED_NOT_SEQ_CST
    FENCE(R);
#endif
    LOAD(R, WANT, v);
#endif
    if
    :: v != 0 -> RMW(R, WANT, mem[WANT] | HAS_FENCE)
    :: else
    fi;
    told = true
}

/* adopt, fence_if_needed; or ljt_arena_reborn, to the same end */
proctype adopter()
{
    byte v;
    STORE(M, WANT, LIVE, RELEASE);
#ifndef WANT_NOT_SEQ_CST
    FENCE(M);
#endif
#ifdef FENCED_NOT_ASKED
    v = 0;
#else
    LOAD(M, FENCED, v);
#endif
    if
    :: v -> RMW(M, WANT, mem[WANT] | HAS_FENCE)
    :: else
    fi;
    adopted = true
}

proctype quiet()
{
    timeout -> assert(told && adopted && (mem[WANT] & HAS_FENCE))
}

init {
    atomic { run hardware(M); run hardware(R); run reclaimer(); run adopter(); run quiet() }
}
#endif

/* ---- What is behind the gate ---- */

#ifdef GATE_FIRST
/* adopt */
proctype adopter()
{
    STORE(M, ALLOCF, 2, RELAXED);
#ifdef WANT_AFTER_THE_GATE
    RMW(M, PLACE, 1);
    STORE(M, WANT, LIVE + PROVE, RELEASE)
#elif defined(PLACE_RELEASE_DROPPED)
    STORE(M, WANT, LIVE + PROVE, RELEASE);
    RMW_NOT_RELEASING(M, PLACE, 1)
#else
    STORE(M, WANT, LIVE + PROVE, RELEASE);
    RMW(M, PLACE, 1)
#endif
}

/*
 * The VM's first calls, by LuaJIT: a plain load of g->allocf, and a branch there, which orders no loads. So want may be
 * what it was before the gate: 0. Then serve has a fence and looks again.
 */
proctype mutator()
{
    byte v, want;
    do
    :: LOAD(R, PLACE, v);
        if
        :: v == 1 -> v = 0; break
        :: else -> mem[PLACE] == 1 || PENDING(M, PLACE)
        fi
    od;
    LOAD(R, WANT, want);
    if
    :: want == LIVE -> goto fast
    :: else
    fi;
#ifndef SERVE_LOOKS_ONCE
    FENCE(R);
    LOAD(R, WANT, want);
    if
    :: want == 0 -> RMW(R, WANT, mem[WANT]); want = mem[WANT] /* fetch_or 0 */
    :: else
    fi;
#endif
    assert(want == LIVE + PROVE); /* else it took itself for a forked child's */
fast:
    LOAD(R, ALLOCF, v);
    assert(v == 2);
    called = true
}

proctype quiet()
{
    timeout -> assert(called)
}

init {
    atomic { mem[ALLOCF] = 1; run hardware(M); run hardware(R); run adopter(); run mutator(); run quiet() }
}
#endif
