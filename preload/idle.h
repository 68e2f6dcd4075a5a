/*
 * idle: collects the garbage of a VM that allocates nothing at all (LJTRIM_IDLE_GC, off unless asked for).
 *
 * Such a VM never enters the gate, so that nobody can nudge it. What it does instead is to wait for events: in front
 * of epoll_wait, epoll_pwait and poll we stand too (interpose.c). A wait that may take long is begun as a short one;
 * when no event has come within the decay, the thread that would sleep runs collector steps of about half a
 * millisecond through Lua's API, and asks for events after each. The first event ends it.
 *
 * Only in a process that has no other thread than this one and the reclaimer: nobody else can be in the VM then. Only
 * with nothing of Lua on the stack, no error pending, and the collector as it was left by a cycle, or within one.
 * Never where the program has stopped it, has asked for a pause above 200%, or has us pause; never from a finalizer's
 * own wait. Needs lua_cpcall, lua_gc, lua_gettop and lua_settop among the symbols that the LuaJIT's object exports.
 *
 * What finalizers raise is dropped, with one line. If finalizers may have run, the wait ends with EINTR, as if by a
 * signal: they may have set timers that the caller has not seen when it chose its timeout.
 */
#ifndef LJT_IDLE_H
#define LJT_IDLE_H

#include <stdbool.h>

#include "config.h"
#include "nudge.h"

struct ljt_arena;

/* Of an arena; the mutator's own. */
struct ljt_idle {
    bool witnessed; /* Lua was seen on the stack while it was: it can be seen when it is not */
    bool begun;
    bool from_rest; /* the first step has begun the cycle, too */
    uint64_t total; /* in use when the first step was made */
    struct ljt_worth worth;
};

#define LJT_IDLE_LEAST 100 /* ms; a shorter wait is never looked into */

static inline bool ljt_idle_may_collect(int timeout_ms)
{
    return __builtin_expect(ljt_config.idle_gc, 0) && (timeout_ms < 0 || timeout_ms > LJT_IDLE_LEAST);
}

/*
 * wait(arg, timeout), perhaps in pieces: the same result and errno, and no more than the time, but for EINTR as said
 * above. `wait` may be called several times; what it is given must not be changed by a call that returns 0.
 */
int ljt_idle_wait(int (*wait)(const void *arg, int timeout_ms), const void *arg, int timeout_ms);

/* On the mutator's thread, inside the gate: makes sure that Lua on the stack is seen. Costs little, until it was. */
void ljt_idle_witness(struct ljt_arena *a);

#endif
