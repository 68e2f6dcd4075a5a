/*
 * heap: what may be done to an lj_alloc heap, in this process.
 *
 * Proof, search, claim and hand-back. Every function here needs the arena at rest and excludes nobody itself:
 * it is called by the mutator inside the gate, or by the reclaimer under a hold. Nothing here makes a system
 * call (but the proof, which asks whether segments are mapped), allocates, or locks.
 *
 * A claim takes a range of free memory out of the allocator's sight: to the VM it is an ordinary chunk in use.
 *
 *     before     | in use |            free chunk c, S bytes             | in use |
 *     claim      | in use |  low: free    | claim: in use | high: free   | in use |
 *     hand-back  | in use |            free chunk c, S bytes             | in use |
 *
 * `low` and `high` are absent when the claim takes the chunk whole. The claim of a range of `top` leaves `high`
 * as the new top, since lj_alloc assumes that top ends LJT_LJ_TOP_FOOT bytes before its segment does.
 */
#ifndef LJT_HEAP_H
#define LJT_HEAP_H

#include "lj_layout.h"

/* lua_Alloc. lj_alloc_f ignores osize. */
typedef void *ljt_alloc_fn(void *ud, void *ptr, size_t osize, size_t nsize);

/* Why a heap is not what it should be. LJT_HEAP_OK is 0, each other value has a text. */
enum ljt_heap_fault {
    LJT_HEAP_OK,
    LJT_HEAP_BAD_SEGMENT, /* a segment that is not mapped, not aligned, or the list does not end */
    LJT_HEAP_BAD_CHUNK,   /* size, alignment or end of a chunk */
    LJT_HEAP_BAD_FLAGS,   /* PINUSE and CINUSE of neighbours, or a foot, disagree */
    LJT_HEAP_BAD_TOP,     /* top is not where and what it should be */
    LJT_HEAP_BAD_BIN,     /* a bin's links, sizes or bit */
    LJT_HEAP_BAD_SUM,     /* the free chunks walked are not those of the bins */
    LJT_HEAP_FAULTS
};

const char *ljt_heap_fault_text(enum ljt_heap_fault fault);

/* What a proof counts, in bytes and pieces. mapped = live + free + overhead. */
struct ljt_heap_census {
    size_t segments;
    size_t mapped;
    size_t live;     /* chunks in use, with their 8 bytes of overhead each; claims among them */
    size_t free;     /* free chunks, dv and top */
    size_t overhead; /* what is kept behind top, segment records, fenceposts */
    size_t chunks;
};

/*
 * Walks the whole heap: every chunk of every segment, every bin whose bit is set (the heads of small bins whose
 * bit is clear are stale: normal). Time grows with the heap: for arenas that are still small, and for tests.
 */
enum ljt_heap_fault ljt_heap_prove(struct ljt_lj_state *m, struct ljt_heap_census *census);

/*
 * The largest chunk in the treebins whose size is at most `limit`; NULL if there is none. It is the node that
 * stands in the tree for its ring of equal sizes. Visits at most two nodes a level.
 */
struct ljt_lj_tree_chunk *ljt_heap_largest(struct ljt_lj_state *m, size_t limit);

/* Makes the next chunk of its ring stand in the tree instead of `c`. No effect on a ring of one. */
void ljt_heap_rotate(struct ljt_lj_state *m, struct ljt_lj_tree_chunk *c);

/*
 * Claims [lo, hi) out of a chunk that stands in the tree (or its ring), out of dv, or out of top. lo is the
 * chunk's start or at least LJT_LJ_TREE_CHUNK behind it; hi is its end or at least LJT_LJ_MIN_CHUNK before it
 * (top: always below its end). Returns the claimed chunk, in use, of size hi - lo.
 */
struct ljt_lj_chunk *ljt_heap_claim(struct ljt_lj_state *m, struct ljt_lj_chunk *c, uintptr_t lo,
                                    uintptr_t hi);

/*
 * Gives a claimed chunk back through lj_alloc's own free, which links and merges it. alloc_trim and
 * release_unused_segments, which call the kernel, are kept out of reach meanwhile.
 * Writes to [c, c + 64) and [end, end + 16) of the chunk, or the same fields of the chunk that it merges into.
 */
void ljt_heap_hand_back(struct ljt_lj_state *m, ljt_alloc_fn *allocf, struct ljt_lj_chunk *c);

#endif
