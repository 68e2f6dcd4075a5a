/*
 * unit: the bounded piece of work that is done inside a heap.
 *
 * A unit lists segments, looks at free chunks and claims some of them, hands claims back, or takes segments out of a
 * patched heap that are free from end to end. It makes no system call, takes at most LJTRIM_MAX_HOLD_US and about 100
 * chunks (the mutator's own: an eighth of that), and leaves its place in the work so that the next one goes on. It is run
 * by the mutator in the gate's slow path, or by the reclaimer under a hold.
 *
 * A look visits top, dv and the chunks of the treebins that hold a whole page, the largest first. It marks their
 * whole pages FREE in the shadow; pages that were so in the look before, too (AGED), and are RESIDENT, make the
 * chunk worth a claim. Between units the heap changes: a look is a sample, a claim is exact.
 */
#ifndef LJT_UNIT_H
#define LJT_UNIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lj_layout.h"

struct ljt_arena;

enum ljt_unit_kind { LJT_UNIT_SEGMENTS, LJT_UNIT_LOOK, LJT_UNIT_HAND_BACK, LJT_UNIT_DISMISS };
enum ljt_unit_by { LJT_UNIT_BY_MUTATOR, LJT_UNIT_BY_RECLAIMER };

#define LJT_LEDGER 64                    /* claims out at a time, at most */
#define LJT_CLAIM_SHARE 32               /* and this part of what is mapped, between */
#define LJT_CLAIM_MIN ((size_t)1 << 20)  /* these two bounds: the VM keeps the rest. A larger chunk is */
#define LJT_CLAIM_MAX ((size_t)16 << 20) /* sliced; each slice leaves a page or two behind */
#define LJT_VM_ROOM ((size_t)132 << 10)  /* always left to the VM in one piece: its largest request fits */
#define LJT_WINDOW_PAGES 8               /* a slice that frees fewer pages is not worth its two headers */
#define LJT_UNIT_VISITS 100
#define LJT_REQUEST_UNITS 8 /* the mutator's are an eighth of a hold, one a call, so many a request */
#define LJT_GONE 16         /* segments to be unmapped at a time */
#define LJT_SEGMENTS 1024   /* listed at most; what is beyond is not purged */

struct ljt_claim {
    _Atomic(struct ljt_lj_chunk *) chunk;
    uintptr_t lo, hi; /* its whole pages that may be purged */
};

struct ljt_work {
    /*
     * The ledger. Whoever runs units writes it; a thread in the mmap hooks glances at counts and chunks of any arena
     * (arena.c), hence atomic: an entry is filled in before it counts, and counts no more when it goes back.
     */
    _Atomic unsigned claims;
    struct ljt_claim ledger[LJT_LEDGER];

    enum ljt_unit_kind kind; /* what the next unit is to do */
    unsigned served;         /* units of the present request that are done */
    bool look_done; /* every chunk has had its visit (claims may still be out); DISMISS: every segment */

    /* How to look; written by the reclaimer before the first unit of a look. */
    bool may_claim;     /* else only mark */
    bool at_sight;      /* decay 0: age does not matter */
    size_t claim_bytes; /* most that may be claimed at a time */
    size_t leave_bytes; /* most that may leave the heap in whole segments, in this look */

    /* Where the look is. */
    enum { LJT_LOOK_TOP, LJT_LOOK_DV, LJT_LOOK_TREES, LJT_LOOK_PARKED } phase;
    size_t cursor;                        /* chunks above this size have been visited */
    size_t ring_size, ring_visits;        /* the ring of equal sizes under way */
    struct ljt_lj_tree_chunk *ring_first; /* and the first of its chunks that was passed over */
    uintptr_t giant, giant_below;         /* the chunk that is being sliced, and where its next slice ends */
    size_t purgeable;                     /* pages marked FREE in this look, or parked before it */
    unsigned parked; /* runs that have not been asked yet whether they join (patched.h) */
    bool joined;     /* one has: there is more to claim in the next look */

    size_t claimed_bytes;

    size_t keep;        /* DISMISS: the footprint below which no segment goes */
    unsigned dismissed; /* and how many it has passed by */

    /*
     * Segments that were free from end to end: off the state's list, and nobody's any more. Whoever takes one out of
     * here unmaps it: the reclaimer, under life and while ARMED; the closer, after it.
     */
    unsigned gone;
    struct {
        uintptr_t base;
        size_t size;
    } gone_segment[LJT_GONE];

    bool listed; /* all segments have been, or as many as fit */
    unsigned segments;
    struct {
        uintptr_t base;
        size_t size;
    } segment[LJT_SEGMENTS];
};

/* Starts the list of segments anew. What is mapped from now on has to be followed by another one. */
void ljt_work_begin_list(struct ljt_work *w);

/*
 * Starts a look from its beginning, in an arena of so many bytes. The caller has begun one in the shadow. It is to purge about
 * so much, and must not take out more in whole segments; 0: it only marks.
 */
void ljt_work_begin_look(struct ljt_work *w, size_t mapped, size_t limit, bool at_sight);

/* While no unit is posted: the rest of the look is to purge no more than this. */
void ljt_work_limit_look(struct ljt_work *w, size_t limit);

/* Starts with the segments from the first on; what is left of the heap is at least `keep` bytes. */
void ljt_work_begin_dismissal(struct ljt_work *w, size_t keep);

/* As in a slot that has served nobody yet. */
void ljt_work_reset(struct ljt_work *w);

/* Runs one unit. The arena is at rest. Returns how long it took, ns. */
uint64_t ljt_unit_run(struct ljt_arena *a, enum ljt_unit_by by);

/* The mutator's: the next unit of a request. True if it was the last. */
bool ljt_unit_serve(struct ljt_arena *a);

/* Hands all claims back at once: in a forked child, and on the mutator's own thread only. */
void ljt_unit_hand_back_all(struct ljt_arena *a);

#endif
