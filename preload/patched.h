/*
 * patched: an allocator of our own for heaps in lj_alloc's format.
 *
 * It keeps every invariant of lj_layout.h at the end of every call. So it works on the state of an arena that
 * lj_alloc has made, at any moment one may go on where the other has left off, and whatever reads, claims or proves
 * lj_alloc's heaps does so here. Small chunks are found as lj_alloc finds them: by size, the last one freed first,
 * the smallest that fits, in no order by address (DESIGN.md, section 7, says what is not done). What differs:
 *
 *   - Free runs of whole pages are *parked* once they have been purged: they stay claimed, so the VM does not see
 *     them. What it does see are the pieces in pages that are in use anyway, and those are filled first. Only when
 *     nothing else fits does the allocator take a parked run, a little at a time from its low end, and before it
 *     asks the kernel for more. A parked run is not looked at again.
 *   - A block grows in place when what follows it is free, not only into top.
 *   - Segments grow with the arena, so that there are few. None is trimmed: its pages are purged. One that is free from
 *     end to end is unmapped, soon after the heap has fallen, or when its pages have been free for long enough (unit.c).
 *
 *     free, before   | in use |        free chunk, in a tree                 | in use |
 *     parked         | in use | piece | 64 | page | page | page | page | piece | in use |
 *                              free    claimed, in use for lj_alloc       free
 *
 * A pointer to this arena's `struct ljt_patched` lies in a word of the state that lj_alloc neither reads nor writes:
 * bin 0 has no head of its own, its first two words are the padding of an overlay.
 *
 * For GC64 only: it takes memory wherever the kernel gives it below 2^47. Called by the mutator inside the gate, or
 * by whoever runs a unit; it locks nothing. All functions keep errno.
 */
#ifndef LJT_PATCHED_H
#define LJT_PATCHED_H

#include <stdatomic.h>

#include "heap.h"

#define LJT_PARKED_PAGES 2 /* a run of fewer is handed back: it costs as much to remember as it is worth */

#define LJT_PATCHED_MAGIC 0x31646b7061746a6cu

/* Written by whoever is in the heap; read by the dump. */
struct ljt_patched {
    uint64_t magic; /* for readers of other processes: the layout of this structure */
    /* Told of what has been mapped (bytes > 0) or unmapped, in the middle of a call. May be NULL. */
    void (*mapped)(struct ljt_patched *p, ptrdiff_t bytes);
    struct ljt_lj_chunk **run;   /* what is parked, in no order but that of parking: each a chunk in use */
    unsigned runs, room;         /* of these, how many there are and how many there can be */
    _Atomic size_t parked_pages; /* whole pages in them: for the reclaimer, who is not in the heap */
    _Atomic size_t footprint;    /* bytes in segments: for it, too */
};

static inline struct ljt_patched *ljt_patched_of(const struct ljt_lj_state *m)
{
    return (struct ljt_patched *)m->smallbins[0];
}

/*
 * From here on ljt_patched_alloc may be called with this state, as its `ud`. `p` stays where it is until
 * ljt_patched_leave, which gives back to the heap what is parked; after that it is lj_alloc's as before.
 */
void ljt_patched_enter(struct ljt_lj_state *m, struct ljt_patched *p);
void ljt_patched_leave(struct ljt_lj_state *m);

/* A new arena, its state in a mapping of its own as lj_alloc_create would lay it out; NULL if there is no memory. */
struct ljt_lj_state *ljt_patched_create(struct ljt_patched *p);

/* Unmaps all segments. Blocks that were mapped directly are the VM's to free before. */
void ljt_patched_destroy(struct ljt_lj_state *m);

/*
 * lua_Alloc. As lj_alloc_f: `osize` is ignored, a size of 0 frees, NULL allocates, failure is NULL and leaves the
 * old block as it was.
 */
ljt_alloc_fn ljt_patched_alloc;

/* Keeps a claimed chunk (heap.h) instead of handing it back. False if it is too small, or there is no room. */
bool ljt_patched_park(struct ljt_lj_state *m, struct ljt_lj_chunk *c);

/*
 * Run i goes back to the free chunks if it makes one with more whole pages together with its neighbours, to be
 * claimed and parked again as one, or if they fill a segment, to be unmapped. The last run then takes its place in `run`.
 */
bool ljt_patched_join(struct ljt_lj_state *m, unsigned i);

#endif
