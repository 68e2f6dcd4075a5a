/*
 * segments: the memory that our own allocator has from the kernel.
 *
 * Segments of an arena, and blocks of 128 KiB and more with a mapping of their own, all below 2^47, where a GC64 VM
 * can point to them. Laid out as lj_alloc lays them out, so that it can free a block and unmap a segment of ours. Called
 * by patched.c, inside a call of the VM's; locks nothing, keeps errno.
 */
#ifndef LJT_SEGMENTS_H
#define LJT_SEGMENTS_H

#include "heap.h"

/* A segment with the state of a new heap in it, on no record yet but the state's own. NULL if there is no memory. */
struct ljt_lj_state *ljt_segments_first(void);

/* Adds a segment, whose one chunk is the new top and larger than n. */
bool ljt_segments_grow(struct ljt_lj_state *m, size_t n);

/*
 * Is [at, at + size) all of the segment behind this one (there is one) but its record? That stands where the segment's last
 * chunk ends: 64 bytes before its own end, or up to 24 more, where top had too little left for a chunk.
 */
bool ljt_segments_next_is(const struct ljt_lj_segment *before, uintptr_t at, size_t size);

/*
 * Is it all of any? Then, and never for the one that top is in, the segment whose `next` it is; to take it off the list is
 * all that has to be done before it is unmapped. Else NULL.
 */
struct ljt_lj_segment *ljt_segments_before(struct ljt_lj_state *m, uintptr_t at, size_t size);

/* Takes it off the list. Its one chunk is in use already, so that nothing in the heap leads to it any more. */
struct ljt_lj_segment ljt_segments_leave(struct ljt_lj_state *m, struct ljt_lj_segment *before);

/* Bytes in segments. Walks the list. */
size_t ljt_segments_footprint(const struct ljt_lj_state *m);

/* Unmaps them all, the state with them. */
void ljt_segments_unmap_all(struct ljt_lj_state *m);

/* A block for a chunk of n bytes; NULL if there is no memory. */
void *ljt_segments_map_direct(struct ljt_lj_state *m, size_t n);
void ljt_segments_unmap_direct(struct ljt_lj_state *m, struct ljt_lj_chunk *c);

/* One of another size, or NULL: then it is copied. One that is large enough stays if it is not too large. */
void *ljt_segments_resize_direct(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t n);

#endif
