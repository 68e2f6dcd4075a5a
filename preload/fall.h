/*
 * fall: whole segments of a patched heap that has fallen.
 *
 * lj_alloc gives back what is free at its upper end in the very call that frees it. Here it is the reclaimer who does, when
 * it sees that live bytes have fallen: soon, but not in a call. It then takes out every segment without a block in use,
 * whatever its age (LJT_UNIT_DISMISS), and asks again until there is none. A VM whose decay is stretched has shown that it
 * wants such memory back: there, segments grow old like any page.
 *
 * On the reclaimer's thread alone, once a turn of the arena.
 */
#ifndef LJT_FALL_H
#define LJT_FALL_H

#include <stdbool.h>
#include <stdint.h>

struct ljt_arena;

struct ljt_fall {
    uint64_t from;     /* live bytes, the most since it was last asked whether they have fallen */
    uint64_t asked;    /* when free segments were last looked for */
    bool on;           /* the heap was falling then, or there were some: it is asked again */
    uint64_t unmapped; /* bytes of segments, ever */
    uint64_t grown;    /* bytes of segments that were mapped, ever, when it was last counted what came back */
    uint64_t away;     /* resident bytes that were unmapped, and have not come back */
    uint64_t away_fresh; /* of these, in the window that is judged next */
};

/* Has it, and is it time to look for free segments? Not of an arena that is not patched. */
bool ljt_fall_has_come(struct ljt_arena *a, uint64_t now, uint64_t live);

/* Unmaps what a unit has taken out of the heap. Returns how many segments. */
unsigned ljt_fall_unmap(struct ljt_arena *a, uint64_t now);

/* Counts what was unmapped and is mapped again: as faults, and for the decay. */
void ljt_fall_count_returns(struct ljt_arena *a);

#endif
