/*
 * gate: the one way into a heap.
 *
 * `g->allocf` of an adopted VM points to the trampoline of its slot, which marks the arena busy, calls the
 * allocator that was there before, and marks it idle. The reclaimer asks for work, or holds the arena, through
 * one word that the trampoline reads. The protocol is described above the trampoline in gate.c.
 *
 * Slots are static: a trampoline bound to its slot needs no load to find it, and a call that arrives late, from
 * a VM that is gone, still finds valid memory.
 */
#ifndef LJT_GATE_H
#define LJT_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heap.h"
#include "lock.h"

#define LJT_GATES 256 /* VMs gated at a time; see the trampolines in gate.c */

/*
 * Bits of gate_word.want. LIVE is always set where the slot serves a VM of this process, so that a word that
 * was wiped by a fork (0) sends the child's first call into the slow path.
 */
enum {
    LJT_WANT_LIVE = 1u << 0,
    LJT_WANT_HOLD = 1u << 1,    /* the reclaimer has the arena, or is about to */
    LJT_WANT_REQUEST = 1u << 2, /* units are posted: the mutator does them, one a call */
    LJT_WANT_WAKE = 1u << 3,    /* the reclaimer sleeps: ring its bell */
    LJT_WANT_START = 1u << 4,   /* the arena has grown: is it worth a reclaimer? */
    LJT_WANT_PROVE = 1u << 5,   /* just gated: prove the heap, then arm it */
    LJT_WANT_FENCED = 1u << 6,  /* no membarrier here: every call goes the slow way, with a full fence */
    LJT_WANT_NUDGE = 1u << 7    /* begin a collection, in a call that asks for memory (nudge.h) */
};

/* The mutator's own cache line: written at every call. */
struct ljt_gate {
    _Atomic uint64_t busy; /* odd: a call is in the heap. Written by the mutator, read by the reclaimer */
    ljt_alloc_fn *allocf;  /* what serves the calls: what was there before the gate; of a patched arena, ours.
                              Written before the gate is set, and by the mutator or under a hold (takeover.c) */
    void *gg;              /* the VM's GG_State: freed through the gate when the VM closes. Constant too */
    _Atomic(ljt_alloc_fn *) *place; /* &g->allocf */
} __attribute__((aligned(64)));

/* In memory that a fork wipes: what is promised to a reclaimer that did not come along means nothing. */
struct ljt_gate_word {
    _Atomic uint32_t want; /* both sides, by read-modify-write; the fast path only loads it */
    _Atomic uint32_t waiters __attribute__((aligned(64))); /* mutator: it waits for HOLD to clear */
    ljt_lock life; /* keeps the arena's memory mapped while the reclaimer looks at it */
} __attribute__((aligned(64)));

extern struct ljt_gate ljt_gates[LJT_GATES];

/*
 * Everything that a forked child must find zeroed. Of the size of the largest page, so that what is wiped holds
 * nothing else.
 */
struct ljt_wiped {
    struct ljt_gate_word word[LJT_GATES];
    ljt_lock registry;          /* of arena.c */
    ljt_lock modules, signals;  /* of module.c and signals.c */
    ljt_lock stats, stats_file; /* of stats.c: one gathers at a time, one writes at a time */
    ljt_lock growth;            /* of growth.c: the list */
    ljt_lock symbols;           /* of symbols.c: held for a millisecond, never waited for without end */
    _Atomic uint32_t pid;       /* of signals.c: whose memory this is; a vfork child has its parent's */
    _Atomic uint32_t reclaimer; /* of reclaim.c: enum ljt_reclaimer */
    _Atomic uint32_t trim;      /* of control.c: the trim under way */
    _Atomic uint32_t forking;   /* forks under way; pairs with holding */
    _Atomic uint32_t holding;   /* the reclaimer is in a hold */
    _Atomic uint32_t unwiped; /* 1 from init on: a child that finds it set has not been wiped by the kernel */
} __attribute__((aligned(65536)));

extern struct ljt_wiped ljt_wiped;

/* The trampoline of a slot: what g->allocf is set to. */
ljt_alloc_fn *ljt_gate_trampoline(unsigned slot);

/* Has ljt_wiped wiped in forked children (MADV_WIPEONFORK). Called from the constructor. */
void ljt_gate_init(void);

/*
 * The reclaimer's side. hold: takes the arena if its VM is silent, false if a call is in progress and does not
 * end within `patience` ns. Between hold and release at most one unit is done; no system call, no waiting.
 */
bool ljt_gate_hold(unsigned slot, uint64_t patience);
void ljt_gate_release(unsigned slot);

/*
 * Has the VM been at rest since busy was `seq`? Then its next call rings the reclaimer's bell, for sure. If not, WAKE
 * may have come too late: look again.
 */
bool ljt_gate_may_sleep(unsigned slot, uint64_t seq);

/*
 * The fork handlers. prepare excludes holds while a fork copies the heap; it gives up after a second, since a
 * crash handler may fork from inside the gate. The child's wipes ljt_wiped where the kernel did not.
 */
void ljt_gate_fork_prepare(void);
void ljt_gate_fork_parent(void);
void ljt_gate_fork_child(void);

#endif
