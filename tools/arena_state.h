/* An arena's state and segment list, read from another process and checked as far as that goes without a walk. */
#ifndef LJT_ARENA_STATE_H
#define LJT_ARENA_STATE_H

#include "arenas.h"
#include "lj_layout.h"

struct ljt_arena_state {
    uintptr_t address; /* of the state */
    struct ljt_lj_state state;
    uintptr_t *records; /* addresses of the segment records, state.seg first */
    struct ljt_lj_segment *segments;
    size_t count;
    uintptr_t *parked; /* chunks that look in use and are free: LJTRIM_MODE=patched keeps them; ascending */
    size_t parked_count;
};

/* 0, -ENOENT: no arena, -EAGAIN: one that changes at this moment, -ENOMEM. Free in any case. */
int ljt_arena_state_read(struct ljt_arena_state *a, const struct ljt_remote *r, uintptr_t address);
void ljt_arena_state_free(struct ljt_arena_state *a);

bool ljt_arena_state_is_parked(const struct ljt_arena_state *a, uintptr_t chunk);

/* What the collector counts, into f->lua_heap and f->gc64. */
void ljt_arena_state_lua_heap(const struct ljt_arena_state *a, const struct ljt_remote *r,
                              struct ljt_arena_figures *f);

#endif
