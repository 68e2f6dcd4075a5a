/*
 * idle: collects the garbage of a VM that allocates nothing at all (LJTRIM_IDLE_GC, off unless asked for).
 *
 * Such a VM never enters the gate, so that nobody can nudge it. What it does instead is to wait for events: in front
 * of epoll_wait, poll, select and their kin we stand too (interpose_waits.c). A wait that may take long is begun as a short one;
 * when no event has come within the decay, the thread that would sleep runs collector steps of about half a
 * millisecond through Lua's API, and asks for events after each. The first event ends it.
 *
 * Only in a process that has no other thread than this one and the reclaimer: nobody else can be in the VM then. Only
 * with nothing of Lua on the stack, no error pending, and the collector as it was left by a cycle, or within one.
 * Never where the program has stopped it, has asked for a pause above 200%, or has us pause; never from a finalizer's
 * own wait. Needs lua_cpcall, lua_gc, lua_gettop and lua_settop among the symbols that the LuaJIT's object exports.
 *
 * Finalizers find no request of nginx's, whose last one may be over. What they raise is dropped, with one line. If any
 * may have run, the wait ends with EINTR, as if by a signal: they may have set timers that the caller has not seen when it
 * chose its timeout, or closed descriptors.
 *
 * Signals are blocked while steps are made (for a program, too, that a finalizer starts then). Their handlers run between two
 * steps, and the wait ends with EINTR.
 */
#ifndef LJT_IDLE_H
#define LJT_IDLE_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "nudge.h"

struct ljt_arena;

/* Of an arena; the mutator's own. */
struct ljt_idle {
    bool witnessed; /* Lua was seen on the stack while it was: it can be seen when it is not */
    bool begun;
    bool from_rest; /* the first step has begun the cycle, too */
    uint64_t total; /* in use when the first step was made */
    uint64_t calls; /* of the allocator, ever, when the last cycle ended */
    struct ljt_worth worth;
};

#define LJT_IDLE_LEAST 100 /* ms; a shorter wait is never looked into */
#define LJT_IDLE_FOREVER UINT64_MAX

static inline bool ljt_idle_is_on(void)
{
    return __builtin_expect(ljt_config.idle_gc, 0);
}

/* A timeout in ns, or LJT_IDLE_FOREVER. */
static inline bool ljt_idle_may_collect(uint64_t timeout)
{
    return ljt_idle_is_on() && timeout > LJT_IDLE_LEAST * UINT64_C(1000000);
}

/*
 * wait(arg, NULL), or wait(arg, &ns) several times: the same result and errno, and no more than the time, but for
 * EINTR as said above. wait(arg, NULL) waits as the program has asked for, for `timeout`; wait(arg, &ns) waits for that
 * long. What it is given must not be changed by a call that returns 0.
 *
 * repeats: an event that the program was not told of comes again, as with poll, not with epoll. Then finalizers that
 * may have closed a descriptor that is waited for are answered by EINTR, too.
 */
int ljt_idle_wait(int (*wait)(void *arg, const uint64_t *ns), void *arg, uint64_t timeout, bool repeats);

/* On the mutator's thread, inside the gate: makes sure that Lua on the stack is seen. Costs little, until it was. */
void ljt_idle_witness(struct ljt_arena *a);

#endif
