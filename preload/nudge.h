/*
 * nudge: a quiet VM that sits on garbage begins a collection (LJTRIM_GC_NUDGE).
 *
 * What the collector has not found is in use for lj_alloc, and for us. After a peak LuaJIT waits until the heap has
 * doubled; a quiet VM may take hours to get there. The reclaimer judges, once a round, whether a cycle is likely to pay,
 * and posts LJT_WANT_NUDGE; the VM's next growing allocator call lowers gc.threshold below gc.total, and the VM's own
 * allocation drives the cycle from there, in its usual steps. While the VM stays quiet the nudge is repeated, a few steps
 * at a time. A cycle that LuaJIT has begun itself is driven on likewise if the VM has become quiet since. A VM that
 * allocates nothing is not nudged.
 *
 * Never: where the fields are not proven (gc.h), where the program has stopped its collector, drives it by hand or has
 * asked for a longer pause than LuaJIT's 200%, within a finalizer, while the library is paused (control.h), or in
 * LJTRIM_MODE=observe.
 */
#ifndef LJT_NUDGE_H
#define LJT_NUDGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ljt_arena;
struct ljt_gc;

/* LuaJIT's own pause, per cent. A program that sets a longer one wants fewer cycles, not more. */
#define LJT_USUAL_PAUSE 200

/* What has been learned of whether cycles pay. All zero: nothing yet. */
struct ljt_worth {
    uint64_t
        left; /* in use when the last cycle of ours ended; 0: none has, since the heap has last doubled */
    unsigned again; /* so many cycles are due, whatever has come in since */
    unsigned share; /* the growth that is worth a cycle is total >> share; 0: not set yet */
};

struct ljt_nudge {
    /* The reclaimer's own. */
    uint64_t seq, since; /* busy, and the time, when the present window began */
    struct ljt_worth worth;
    bool posted;
    _Atomic bool
        hasten; /* it is for a cycle of LuaJIT's own; read by the mutator, posted or not any more: a hint */
    uint64_t drip, next; /* ns between two drops, 0: none is due; when the next is */

    /* Written by the mutator: the rest before `given`; read by the reclaimer before it clears `given`. */
    uint64_t total;     /* in use when the cycle began, or was first hastened */
    bool begun;         /* it was begun by us */
    uint64_t gave;      /* the time of the last drop */
    _Atomic bool given; /* a nudged cycle is on its way */
};

/* So many cycles follow one that was under way before, or that was a peak's end. */
#define LJT_WORTH_AGAIN 2

/* Is a cycle likely to pay, or (always) at least not in vain? The collector rests. And what the last one has taught. */
bool ljt_worth_pays(struct ljt_worth *w, const struct ljt_gc *gc, bool always);

/*
 * Is a cycle worth a try, though LuaJIT's books know of no growth? So many calls since the last: a cycle that has ended just
 * before a peak has counted as live all that the peak's end has dropped.
 */
bool ljt_worth_a_try(const struct ljt_worth *w, const struct ljt_gc *gc, uint64_t calls);
void ljt_worth_learn(struct ljt_worth *w, uint64_t before, uint64_t after);

/*
 * The reclaimer's part, once a round, with nothing held: judges the last nudge, and posts or withdraws the next. The
 * slot's arena is ARMED.
 */
void ljt_nudge_consider(struct ljt_arena *a, uint64_t now);

/* Once a turn: the next drop of a cycle that is on its way. Returns when it wants the next turn; UINT64_MAX: never. */
uint64_t ljt_nudge_drip(struct ljt_arena *a, uint64_t now);

/* The mutator's part, in a call that asks for more memory: LJT_WANT_NUDGE was set, and has been cleared. */
void ljt_nudge_give(struct ljt_arena *a);

#endif
