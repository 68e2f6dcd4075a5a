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
 * What is measured obeys (bytes):
 *
 *     mapped = live + free + overhead    overhead: state, segment records, fences, 64 bytes behind top
 *     floor  = mapped - purgeable        purgeable: whole pages in free chunks, clear of their metadata
 *     reclaimable <= resident, purgeable     both purgeable and resident: what a purge would return now
 *
 * Where libljtrim is at work in the target, chunks that it has claimed look like live ones at that moment.
 */
#ifndef LJT_ARENAS_H
#define LJT_ARENAS_H

#include "remote.h"

struct ljt_arena_figures {
    uintptr_t state; /* address of the arena's state; 0 in a sum */
    size_t segments;
    size_t mapped, live, free, overhead;
    size_t purgeable, floor;
    size_t resident, swapped, reclaimable;
    size_t live_chunks, free_chunks;
    size_t lua_heap; /* what collectgarbage("count") says, in bytes; 0 if it could not be read */
};

struct ljt_arenas {
    uintptr_t *states; /* candidates */
    size_t count;
    struct ljt_vma
        *direct; /* blocks of 128 KiB and more that have mappings of their own, of whatever arena */
    size_t ndirect;
};

/* Scans r->vmas. 0 or -errno; no hit is not an error. */
int ljt_arenas_find(struct ljt_arenas *a, const struct ljt_remote *r);
void ljt_arenas_free(struct ljt_arenas *a);

/*
 * Measures the arena whose state is at `state`. 0; -ENOENT if there is none: no state, or a segment list that
 * describes no mappings; -EAGAIN if its heap does not obey the rules now: most likely caught in the middle of
 * a change; -ENOMEM, -ESRCH.
 */
int ljt_arena_measure(struct ljt_arena_figures *f, const struct ljt_remote *r, uintptr_t state);

void ljt_arena_add(struct ljt_arena_figures *sum, const struct ljt_arena_figures *f);

#endif
