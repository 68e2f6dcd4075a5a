/*
 * LuaJIT's arenas in another process: finding them, and measuring each by a walk over every chunk.
 *
 * Neither symbols nor help from the target are needed, and the target need not know of libljtrim. An arena's
 * state sits 16 bytes behind the start of a page, its chunk's head is one of two values (lj_layout.h): that
 * is what the scan looks for. A hit counts only if the whole heap behind it obeys lj_alloc's rules.
 *
 * The two steps differ in what they ask of the target: ljt_arenas_find may run while it is running,
 * ljt_arena_measure wants it stopped. Even then the heap may have been caught in the middle of a change; the
 * measurement then says -EAGAIN, and the caller lets the target run on a little before it tries again.
 *
 * A target that runs can be measured, too, roughly: where the heap has changed under the walk, the walk reads
 * anew, looks for the next place at which chunks fit together, and counts what lies between as unknown.
 *
 * What is measured obeys (bytes):
 *
 *     mapped = live + free + overhead + unknown    overhead: state, segment records, fences, 64 behind top
 *     floor  = mapped - purgeable                  purgeable: whole pages in free chunks, without metadata
 *     reclaimable <= resident, purgeable           both purgeable and resident: what a purge would return now
 *
 * Where libljtrim is at work in the target, chunks that it has claimed look like live ones at that moment.
 */
#ifndef LJT_ARENAS_H
#define LJT_ARENAS_H

#include "remote.h"

struct ljt_arena_figures {
    uintptr_t state; /* address of the arena's state; 0 in a sum */
    size_t segments;
    size_t mapped, live, free, overhead, unknown;
    size_t purgeable, floor;
    size_t resident, swapped, reclaimable;
    size_t live_chunks, free_chunks;
    size_t lua_heap;  /* what collectgarbage("count") says, in bytes; 0 if it could not be read */
    bool gc64;        /* as far as lua_heap could be read */
    bool approximate; /* the target ran while it was read, for some of the time at least */
};

/* ---- What the walk tells beside the sums ---- */

/* Class i counts what is in [2^i, 2^(i+1)). */
enum { LJT_CLASSES = 48 };

struct ljt_class {
    size_t count, bytes, resident; /* resident: bytes, of runs alone */
};

struct ljt_histograms {
    struct ljt_class live[LJT_CLASSES], free[LJT_CLASSES]; /* chunks, by bytes */
    struct ljt_class runs[LJT_CLASSES];                    /* purgeable pages in a row, by pages */
};

/* A page of a segment. Live and mixed pages make up the floor, the others what is purgeable. */
enum ljt_cell {
    LJT_CELL_LIVE,          /* in use to the last byte */
    LJT_CELL_MIXED,         /* partly free, or all free with metadata in it */
    LJT_CELL_FREE_RESIDENT, /* purgeable, and in memory or swapped out */
    LJT_CELL_FREE_PURGED,   /* purgeable, and costs nothing */
    LJT_CELLS
};

struct ljt_segment_map {
    uintptr_t base;
    size_t pages;
    uint8_t *cells; /* enum ljt_cell, one a page */
};

struct ljt_measured {
    struct ljt_arena_figures figures;
    struct ljt_histograms histograms;
    struct ljt_segment_map *maps; /* one for each segment, ascending by address */
    size_t nmaps;
};

/* ---- Finding ---- */

struct ljt_arenas {
    uintptr_t *states; /* candidates */
    size_t count;
    struct ljt_vmas direct; /* LuaJIT's blocks of 128 KiB and more with mappings of their own, of any arena */
    struct ljt_vmas glibc;  /* what glibc's malloc has mapped: large blocks, and the heaps of its arenas */
};

/* Scans r->vmas. 0 or -errno; no hit is not an error. */
int ljt_arenas_find(struct ljt_arenas *a, const struct ljt_remote *r);
void ljt_arenas_free(struct ljt_arenas *a);

/* ---- Measuring ---- */

/*
 * Measures the arena whose state is at `state`, exactly if r is stopped, else roughly. When the clock
 * (ljt_now_us) passes `deadline`, r is let go and the rest is read while it runs; 0: no deadline.
 *
 * 0; -ENOENT if there is none: no state, or a segment list that describes no mappings; -EAGAIN if its heap
 * does not obey the rules now: most likely caught in the middle of a change; -ENOMEM, -ESRCH. Free *m in any
 * case.
 */
int ljt_arena_measure(struct ljt_measured *m, struct ljt_remote *r, uintptr_t state, double deadline);
void ljt_measured_free(struct ljt_measured *m);

void ljt_arena_add(struct ljt_arena_figures *sum, const struct ljt_arena_figures *f);
void ljt_histograms_add(struct ljt_histograms *sum, const struct ljt_histograms *h);

#endif
