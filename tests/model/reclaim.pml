/*
 * reclaim: the reclaimer's side, as preload/gate.c (hold, clear_hold), reclaim.c, rounds.c and purge.c have it.
 * Part of gate.pml.
 */

/* ---- Holds ---- */

inline clear_hold()
{
#ifdef WAITERS_LOADED_FIRST
    wake = waiters;
#endif
#ifdef RELEASE_OF_HOLD_DROPPED
    RMW_NOT_RELEASING(R, WANT, mem[WANT] & ~HOLD);
#else
    RMW(R, WANT, mem[WANT] & ~HOLD);
#endif
    atomic {
#ifndef WAITERS_LOADED_FIRST
        wake = waiters;
#endif
        if
        :: wake -> asleep = false
        :: else
        fi;
        wake = false
    };
    atomic { holding = false; window = false }
}

/* The acquire of life may load the lock before the load of busy that it follows. */
inline life_ahead()
{
#ifdef ARM64
    if
    :: d_step { !life -> ahead = true; forget_early(R) }
    :: skip
    fi
#else
    skip
#endif
}

inline lock_life_ahead()
{
    d_step {
        !life && cpu[R].n == 0;
        life = true;
        if
        :: !ahead -> forget_early(R)
        :: else
        fi;
        ahead = false
    }
}

/* ljt_gate_hold: ok, or not */
inline hold()
{
#ifdef HOLDING_SAID_LATE
    if
    :: forking
    :: !forking -> holding = true; window = true; ok = true
    fi;
#else
    holding = true;
    if
    :: atomic { forking -> holding = false }
    :: atomic { !forking -> window = true; ok = true }
    fi;
#endif
    if
    :: ok ->
        ok = false;
        RMW_THEN_LOAD(R, WANT, HOLD, want);
#ifndef MEMBARRIER_LEFT_OUT
        EVERYBODY_FENCES();
#endif
        life_ahead();
        do
        :: atomic {
                LOAD(R, BUSY, v);
                if
                :: !(v & 1) -> ok = true; break
#ifdef BUSY_NOT_WAITED_FOR
                :: v & 1 -> ok = true; break
#endif
                :: v & 1 -> mem[BUSY] != v /* looks again */
                :: (v & 1) && patience > 0 -> v = 0; patience--; break /* withdraws */
                fi
            }
        od;
        if
        :: ok -> atomic { lock_life_ahead(); v = 0 }
        :: else -> ahead = false; clear_hold()
        fi
    :: else
    fi
}

inline unit_by_hold()
{
    hold();
    if
    :: ok && state == ARMED ->
        atomic { load_place(R, v); wrapped = (v == WRAP); v = 0 };
        LOAD(R, WANT, want);
        if
        :: atomic { posted && !(want & REQUEST) -> done = true }
        :: atomic { (!posted || (want & REQUEST)) && !wrapped };
#ifndef REQUEST_NOT_WITHDRAWN
            if
            :: want & REQUEST -> RMW(R, WANT, mem[WANT] & ~REQUEST)
            :: else
            fi;
#endif
            run_unit(R, v);
            done = true
        :: else
        fi;
        want = 0
    :: else
    fi;
    if
    :: ok ->
#ifdef HOLDING_CLEARED_FIRST
        holding = false;
#endif
#ifdef RELEASE_OF_HOLD_DROPPED /* nor does the release of life order what comes behind it */
        clear_hold();
        atomic { unlock_life(R); ok = false }
#else
        atomic { unlock_life(R); ok = false };
        clear_hold()
#endif
    :: else
    fi;
    posted = posted && !done
}

/* ---- Getting a unit done ---- */

#ifdef PROMPT
#define SILENCE_MAY_END !waiting
#else
#define SILENCE_MAY_END true
#endif

/* Has busy not moved for SILENCE? Once so, it stays so until busy moves. */
inline silence()
{
    atomic {
        LOAD(R, BUSY, v);
        if
        :: v != seq -> seq = v; silent = false
        :: v == seq
        :: v == seq && SILENCE_MAY_END -> silent = true
        fi;
#ifdef HOLD_WITHOUT_SILENCE
        silent = true;
#endif
        v = 0
    }
}

/* work.kind = kind: nobody else is at work on it now. */
inline set_kind(kind)
{
    atomic {
        cpu[R].n < DEPTH;
        LOAD(R, WORK, v);
        hand_back = kind; served = false;
        STORE(R, WORK, (v & CLAIM) + kind, RELAXED);
        v = 0
    }
}

inline post()
{
    atomic {
        posted = true;
#ifdef RELEASE_OF_REQUEST_DROPPED
        RMW_NOT_RELEASING(R, WANT, mem[WANT] | REQUEST)
#else
        RMW(R, WANT, mem[WANT] | REQUEST)
#endif
    }
}

inline perform(kind)
{
    if
    :: !posted -> set_kind(kind)
    :: else
    fi;
    do
    :: state != ARMED -> break
    :: else ->
        atomic {
            LOAD(R, WANT, want);
            if
            :: posted && !(want & REQUEST) -> want = 0; posted = false; break
            :: else -> want = 0
            fi
        };
        silence();
        if
        :: silent && !wrapped -> unit_by_hold()
        :: else
        fi;
        if
        :: atomic { done -> done = false; break }
        :: !done && !posted -> post()
        :: !done && posted
        fi;
        /* Polls; but here, only when there is news. */
        if
        :: state != ARMED || !(mem[WANT] & REQUEST) || mem[BUSY] != seq
        :: !wrapped && SILENCE_MAY_END
        fi
    od;
    assert(served || state != ARMED || !(mem[WANT] & LIVE)) /* REQUEST was not lost */
}

/* ljt_purge_claims: the ledger is read with nothing held, the state under life. */
inline purge()
{
    LOAD(R, WORK, v);
    assert(((v & CLAIM) != 0) == claimed || state != ARMED);
#ifdef ACQUIRE_OF_LIFE_DROPPED
    armed = (state == ARMED);
    lock_life(R);
#else
#ifndef PURGE_WITHOUT_LIFE
    lock_life(R);
#endif
    armed = (state == ARMED);
#endif
    atomic {
        if
        :: (v & CLAIM) && armed -> assert(mapped && claimed); purging = true
        :: else
        fi;
        v = 0; armed = false
    };
    atomic {
        assert(!purging || (mapped && claimed));
        purging = false
    };
#ifndef PURGE_WITHOUT_LIFE
    unlock_life(R)
#endif
}

/* A round: a look, what it claims, and what becomes of that. */
inline round()
{
    do
    :: true ->
        perform(back);
        if
        :: back -> back = false; break
        :: else -> back = true
        fi;
#ifdef HANDED_BACK_BEFORE_THE_PURGE
        set_kind(1);
        post();
#endif
        purge()
    od
}

inline attend()
{
    atomic { FENCE(R); current = true };
    if
    :: atomic { state == DEAD -> /* ljt_arena_sweep: the closer may not have left yet */
#ifndef SWEEP_WITHOUT_ACQUIRE
            forget_early(R);
#endif
            LOAD(R, BUSY, v)
        };
        atomic {
            if
            :: state == DEAD && !(v & 1) -> state = FREE
            :: else
            fi;
            v = 0
        }
    :: else
    fi;
    LOAD(R, WANT, want);
#ifdef CHILD_IS_OURS_AT_ONCE
    want = LIVE;
#endif
    if
    :: atomic { state == ARMED && (want & LIVE) -> at_work = true; want = 0 };
        do
        :: state != ARMED -> break
        :: else ->
            LOAD(R, BUSY, seen);
            if
            :: rounds > 0 -> rounds--; round()
            :: else
            fi;
            /* ljt_gate_may_sleep */
            RMW_THEN_LOAD(R, WANT, WAKE, want);
#ifndef WAKE_WITHOUT_MEMBARRIER
            EVERYBODY_FENCES();
#endif
            atomic {
                LOAD(R, BUSY, v);
                if
#ifdef SETTLES_DURING_A_CALL
                :: v == seen -> v = 0; break
#else
                :: v == seen && !(v & 1) -> v = 0; break
                :: v == seen && (v & 1) -> v = 0; mem[BUSY] != seen || state != ARMED /* tries again later */
#endif
                :: v != seen -> v = 0
                fi
            }
        od;
        at_work = false
    :: else -> want = 0
    fi;
    current = false
}

/* ---- The thread ---- */

#ifndef ROUNDS
#define ROUNDS 1
#define WITHDRAWALS 1
#endif

proctype reclaimer()
{
    byte want, v, seq, rounds, patience;
    bool back, ok, done, silent, wake, armed;
again:
    {
        running;
        atomic { rounds = ROUNDS; patience = WITHDRAWALS };
        do
        :: true ->
#ifdef BELL_FORGOTTEN_AFTER_THE_ROUND
            attend();
            bell = false;
#else
            bell = false;
            attend();
#endif
            bell
        od
    } unless { born };
    d_step {
        born = false;
        want = 0; v = 0; seq = 0;
        back = false; ok = false; done = false; silent = false; wake = false; ahead = false; armed = false;
        wrapped = false
    };
    goto again
}
