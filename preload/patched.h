/*
 * patched: an allocator of our own for heaps in lj_alloc's format.
 *
 * It keeps every invariant of lj_layout.h at the end of every call. So it works on the state of an arena that
 * lj_alloc has made, at any moment one may go on where the other has left off, and whatever reads, claims or proves
 * lj_alloc's heaps does so here. What differs is where things are put:
 *
 *   - A *line* divides the addresses of an arena. Below it free memory is used first, above it last: what is freed
 *     there goes to the end of its list. The reclaimer draws the line so that what lives fits below; then the pages
 *     above it drain as their last objects die, instead of being filled again.
 *   - A block grows in place when what follows it is free, not only into top.
 *   - Segments grow with the arena, and are not merged: one in which nothing is in use can be unmapped (unit.c does
 *     that, lj_alloc hardly ever).
 *
 * The line and a pointer to this arena's `struct ljt_patched` lie in two words of the state that lj_alloc neither
 * reads nor writes: bin 0 has no head of its own, its first two words are the padding of an overlay.
 *
 * For GC64 only: it takes memory wherever the kernel gives it below 2^47. Called by the mutator inside the gate; it
 * locks nothing. All functions keep errno.
 */
#ifndef LJT_PATCHED_H
#define LJT_PATCHED_H

#include "heap.h"

struct ljt_patched {
    /* Told of what has been mapped (bytes > 0) or unmapped, in the middle of a call. May be NULL. */
    void (*mapped)(struct ljt_patched *p, ptrdiff_t bytes);
    uint64_t strays; /* small blocks that had to be put above the line. Written by the mutator */
};

#define LJT_PATCHED_NO_LINE UINTPTR_MAX /* all memory is alike */

/*
 * From here on ljt_patched_alloc may be called with this state, as its `ud`. `p` stays where it is until
 * ljt_patched_leave; after that the heap is lj_alloc's as before.
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

/* The line: free chunks that begin below it are used first. At rest only. */
static inline uintptr_t ljt_patched_line(const struct ljt_lj_state *m)
{
    return (uintptr_t)m->smallbins[0];
}

static inline void ljt_patched_draw_line(struct ljt_lj_state *m, uintptr_t line)
{
    m->smallbins[0] = (struct ljt_lj_chunk *)line;
}

#endif
