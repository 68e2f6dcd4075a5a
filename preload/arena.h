/*
 * arena: the VMs that we know, from the first mapping to the last.
 *
 * A VM's first mapping of 128 KiB makes it a candidate. When a LuaJIT maps again, candidates get a light check;
 * one that passes and has grown is gated, by one word store into g->allocf. Its first gated call proves the heap
 * on the VM's own thread: proven, the arena is armed; else the gate goes and one line says why. What can't be
 * proven is left alone.
 *
 *     candidate --light check--> GATED --proof--> ARMED --GG_State freed--> CLOSING --> DEAD --> (slot FREE)
 *                                  | refused              | allocf taken away, heap inconsistent
 *                                  +----------------------+--> LOST --state unmapped, or GG_State freed--> DEAD
 *
 * A DEAD slot is TAKEN for a moment by whoever frees what it still has: the reclaimer, or the next VM's adopter.
 *
 * The registry lock (ljt_wiped.registry) guards candidates, modules and the taking of free slots. The mmap hooks
 * run while an arena is busy, so the lock is never held while waiting for busy.
 */
#ifndef LJT_ARENA_H
#define LJT_ARENA_H

#include "fall.h"
#include "gate.h"
#include "heap.h"
#include "histogram.h"
#include "idle.h"
#include "module.h"
#include "nudge.h"
#include "patched.h"
#include "policy.h"
#include "shadow.h"
#include "unit.h"

enum ljt_arena_state {
    LJT_ARENA_FREE,
    LJT_ARENA_GATED,
    LJT_ARENA_ARMED,
    LJT_ARENA_LOST,
    LJT_ARENA_CLOSING,
    LJT_ARENA_DEAD,
    LJT_ARENA_TAKEN
};

/*
 * Written by whoever runs a unit or by the reclaimer, never by both at once; read by stats.c. What is to be told of it
 * has a line in stats_fields.h.
 */
struct ljt_arena_stats {
    uint64_t purged;           /* bytes given back to the kernel since the arena was armed */
    uint64_t purge_calls;      /* system calls that took */
    uint64_t refaults;         /* bytes purged that were resident again at a later look */
    uint64_t judged, early;    /* bytes purged whose window is over; of these, touched within it */
    uint64_t looks;            /* complete ones */
    _Atomic uint64_t units[2]; /* by the mutator, by the reclaimer; each the writer of its own */
    uint64_t withdrawn;        /* holds given up because a call was under way */
    uint64_t descheduled;      /* holds during which the kernel took the processor from the reclaimer */
    _Atomic uint64_t unit_cpu; /* ns that mutators have spent in units: counted into the CPU budget */
    _Atomic uint64_t crowded;  /* mappings made while claims were out: must stay 0 in a trough */
    _Atomic uint64_t nudges;   /* collections begun by us; the mutator's */
    uint64_t collected;        /* bytes that these have freed */
    _Atomic uint64_t idle_steps, idle_collected; /* idle collection: steps, bytes freed; the mutator's */
    uint64_t adoption;          /* ns that gating has cost the mutator, once: proof, thread */
    struct ljt_histogram waits; /* of a mutator in the gate's slow path otherwise, ns */
    struct ljt_histogram holds; /* of the heap by the reclaimer, the descheduled ones left out, ns */
    /* From the last look, in bytes. mapped = purgeable + floor. */
    uint64_t mapped, resident, purgeable, live;
    uint64_t segments;
    uint64_t decay, quiet; /* the decay in force, ns; whether the VM is quiet */
};

struct ljt_arena {
    unsigned slot;
    _Atomic int state; /* enum ljt_arena_state */

    /*
     * Written when the slot is taken, constant until it is free again. Those that are atomic are glanced at, slot by slot,
     * by threads that are about something else and may find the slot taken anew: what they do then is of no harm.
     */
    _Atomic(struct ljt_lj_state *) m;
    void *gg;
    _Atomic(struct ljt_module *) module;
    uintptr_t born;                 /* where the first mapping was asked for */
    ljt_alloc_fn *allocf;           /* the original */
    _Atomic(ljt_alloc_fn *) *place; /* &g->allocf */
    const void *gc_total;           /* g->gc.total, GCSize */
    unsigned gc_width;              /* its size: 8 (GC64), 4; 0 where the proof could not confirm it */

    /* Written by the mutator at the proof, and by whoever gives the arena up. */
    struct ljt_patched patched; /* of our allocator, if it serves the VM (takeover.h) */
    _Atomic bool is_patched;    /* read by the reclaimer and the dump */

    /* Written by who gives the arena up, read by the reclaimer; the slot's next VM leaves them as they are. */
    _Atomic(const char *) lost_why; /* NULL: there is nothing to tell */
    _Atomic size_t lost_claimed;    /* bytes */

    struct ljt_shadow shadow;
    struct ljt_work work;
    struct ljt_nudge nudge;
    struct ljt_idle idle;
    struct ljt_arena_stats stats;

    /* The reclaimer's own. */
    struct ljt_pace {
        int stage;              /* of rounds.c */
        bool posted;            /* a unit is posted */
        bool settled;           /* nothing to do until busy moves */
        _Atomic bool wrapped;   /* the host put its own function in front of the gate: no holds */
        uint64_t seq, seq_time; /* busy, and when it was seen to change */
        uint64_t look_seq;      /* busy when the last complete look began: pages have their age from it */
        uint64_t chance_seq;    /* the same, or when there last was a chance for one that was passed by */
        uint64_t looked;        /* when the last round began; 0: the next is due */
        uint64_t limit;         /* what this look may purge, bytes, and what had been purged when it began */
        uint64_t purged_before;
        struct ljt_policy policy;
        struct ljt_fall fall;
        int64_t stuck;       /* what of resident - live the last look could not have purged, ever */
        uint64_t stuck_live; /* live then */
        bool stuck_exact;    /* the VM was silent then */
        unsigned skipped;    /* chances to look since the last one */
        uint64_t look_started;
        uint64_t claimed_in_look;
        uint32_t trim, trimmed;   /* of control.c: the trim that it takes part in; the last that was done */
        unsigned trim_looks;      /* looks that it has taken */
        uint32_t changes;         /* of options, that its pace has followed */
        unsigned long map_events; /* the module's, when the segments were listed */
        unsigned long advised_events; /* the same, when they were advised against huge pages */
    } pace;
};

extern struct ljt_arena ljt_arenas[LJT_GATES];

static inline bool ljt_arena_is_patched(const struct ljt_arena *a)
{
    return atomic_load_explicit(&a->is_patched, memory_order_relaxed);
}

/* Bytes in segments: now, or at the last survey. */
static inline uint64_t ljt_arena_footprint(const struct ljt_arena *a)
{
    return ljt_arena_is_patched(a) ? atomic_load_explicit(&a->patched.footprint, memory_order_relaxed)
                                   : a->stats.mapped;
}

/* What VMs had counted whose slots are free again. Guarded by the registry lock. */
extern struct ljt_arena_stats ljt_arena_past;

/* Slots ever used: the reclaimer and the hooks look at no others. */
extern _Atomic unsigned ljt_arena_slots;

/*
 * The mmap hooks, after a mapping was made and before one goes. `pc` is the caller's return address. Cheap for
 * callers that are no LuaJIT; errno is the hooks' business.
 */
void ljt_arena_mapped(uintptr_t addr, size_t len, uintptr_t pc);
void ljt_arena_unmapping(uintptr_t addr, size_t len, uintptr_t pc);
void ljt_arena_shrinking(uintptr_t addr, size_t len, uintptr_t pc); /* the end of a mapping goes, by mremap */
void ljt_arena_remapped(uintptr_t old_addr, size_t old_len, size_t new_len, uintptr_t pc);

/* An armed arena has just mapped so much more, inside a call. */
void ljt_arena_grew(struct ljt_arena *a, size_t len);

/* The gate's slow path, on the mutator's thread, with busy set. */
void ljt_arena_prove(unsigned slot);
void ljt_arena_prove_waiting(void); /* on any thread: VMs that were not ready (symbols.h) are proven again */
void ljt_arena_reborn(unsigned slot);         /* first call in a forked child */
void ljt_arena_consider_start(unsigned slot); /* the arena has grown */
void ljt_arena_close(unsigned slot);          /* GG_State is freed */

/*
 * For birth.c: a slot with an empty heap of our own, for a VM of this module that is about to be; NULL where that must
 * not be. Then, when the VM is there, on its thread and before anything is done with it; or ljt_arena_close.
 */
struct ljt_arena *ljt_arena_bear(struct ljt_module *module);
void ljt_arena_born(struct ljt_arena *a);

/* No candidate is in this memory any more. Takes the registry lock. */
void ljt_arena_forget(uintptr_t addr, size_t len);

/* Frees what a DEAD slot still has, and the slot. Called by the reclaimer. */
void ljt_arena_sweep(unsigned slot);

bool ljt_arena_owns(unsigned slot, const void *ud);

/*
 * Leaves an arena alone from now on. `why`: a constant, for the line that says so. The caller has excluded the mutator
 * or is it; nobody is to wait for a log meanwhile, which may be a pipe that is full.
 */
void ljt_arena_lose(struct ljt_arena *a, const char *why);

/* That line, if it is still to be written. On the reclaimer's thread, with nothing held. */
void ljt_arena_tell_loss(struct ljt_arena *a);

/* What g->gc.total says, in bytes; 0 where it can't be trusted. The caller holds the arena's life lock. */
uint64_t ljt_arena_gc_total(const struct ljt_arena *a);

static inline bool ljt_arena_is(const struct ljt_arena *a, enum ljt_arena_state state)
{
    return atomic_load_explicit(&a->state, memory_order_acquire) == (int)state;
}

/* Fork handlers: the registry must not be copied in the middle of a change. */
void ljt_arena_fork_prepare(void);
void ljt_arena_fork_parent(void);

#endif
