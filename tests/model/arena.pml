/*
 * arena: how an arena ends or begins anew, as preload/arena.c and the fork handlers of gate.c have it. On the
 * mutator's thread; part of gate.pml.
 */

inline unmap()
{
    atomic { assert(!inside && !purging); mapped = false; claimed = false }
}

/* ljt_arena_close. The closer wakes the reclaimer when busy is even again (gate.c, slow_call). */
inline close()
{
#if defined(CLOSER_WITHOUT_LIFE)
    state = CLOSING;
#elif defined(RELEASE_OF_LIFE_DROPPED)
    lock_life(M);
    unlock_life(M);
    unmap(); /* and state, later */
    state = CLOSING;
#else
    lock_life(M);
    state = CLOSING;
    unlock_life(M);
#endif
#ifndef RELEASE_OF_LIFE_DROPPED
    unmap();
#endif
    RMW(M, WANT, 0);
    state = DEAD;
#ifdef CLOSER_WAKES_BEFORE_IT_LEAVES
    bell = true
#else
    skip
#endif
}

/*
 * lj_alloc_destroy, each munmap with its hook (ljt_arena_unmapping): the segment with the claim goes first, that with
 * the state last. The host has set the original allocator back before.
 */
inline destroy()
{
#ifndef HOOK_WITHOUT_FENCE
    FENCE(M);
#endif
    LOAD(M, WANT, want);
    LOAD(M, WORK, v);
#ifdef HOOK_OVERLOOKS_HOLDS
    want = 0;
#endif
#ifdef HOOK_WITHOUT_LIFE
    want = 0; v = 0;
#endif
    if
    :: (v & CLAIM) || (want & HOLD) ->
        lock_life(M);
        LOAD(M, WORK, v);
        if
        :: (v & CLAIM) && state == ARMED -> state = LOST
        :: else
        fi;
        unlock_life(M)
    :: else
    fi;
    v = 0; want = 0;
    unmap();

#ifndef HOOK_WITHOUT_LIFE
    lock_life(M);
#endif
    RMW(M, WANT, 0);
    state = DEAD;
#ifndef HOOK_WITHOUT_LIFE
    unlock_life(M);
#endif
    state_mapped = false
}

/* ---- Fork: ljt_gate_fork_prepare, _parent, _child ---- */

inline fork()
{
#if defined(FORK_WITHOUT_PREPARE)
    skip;
#elif defined(FORKING_SAID_LATE)
    !holding;
    forking = true;
#else
    forking = true;
    !holding;
#endif
#ifdef RELEASE_OF_FORKING_DROPPED
    forking = false; /* the parent's handler: seen before the copy has ended */
#endif
    if
    :: forking = false /* the parent's story */
    :: d_step {        /* the child's: memory as it is now, without the reclaimer; the kernel wipes */
            assert(!inside);
            take_out_all(M);
            drop_stores(R);
#ifndef CHILD_WIPES_NOT
            mem[WANT] = 0; waiters = false; life = false; holding = false;
#endif
            forking = false; running = false; current = false;
            purging = false; at_work = false; window = false;
            child = true; born = true
        };
        if
        :: atomic { running = true; bell = true } /* another VM of the child starts its reclaimer */
        :: skip
        fi
    fi
}

/* ljt_arena_reborn: hands back all. */
inline be_reborn()
{
    atomic { assert(child); reborn = true };
    change_heap(M, v);
#ifndef REBORN_FORGETS_CLAIMS
    claimed = false;
#endif
    STORE(M, WORK, 0, RELAXED);
    posted = false;
    RMW(M, WANT, NEW_WORD);
    atomic { running = true; bell = true } /* START */
}

/* ---- The slot's next VM ---- */

#ifdef CLOSE
/* take_slot, adopt, and the VM's first call: no one else may write to busy now. */
proctype next_vm()
{
    byte busy;
    if
    :: skip
    :: goto out
    fi;
    do
    :: atomic { state == FREE -> state = TAKEN; break }
#ifdef TAKEN_WHILE_AT_WORK
    :: state == DEAD ->
#else
    :: state == DEAD && !current ->
#endif
        atomic {
            if
#ifdef RECYCLED_EARLY
            :: state == DEAD -> state = TAKEN; break
#else
            :: state == DEAD && !(mem[BUSY] & 1) -> state = TAKEN; break
#endif
            :: else
            fi
        }
    od;
    assert(!at_work);
    atomic { mem[WANT] = NEW_WORD; state = GATED };
    atomic { busy = mem[BUSY] | 1; mem[BUSY] = busy };
    assert(mem[BUSY] == busy);
out:
    skip
}
#endif
