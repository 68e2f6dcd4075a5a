/*
 * shadow: what the reclaimer remembers about each page of an arena.
 *
 * Five planes of one bit a page, kept in leaves of 64 MiB that are found by address, so that segments may grow,
 * merge and go without the shadow being moved:
 *
 *     FREE      wholly inside a free chunk, in the look that is under way
 *     AGED      the same, in the look before it: free for at least the time between two looks
 *     RESIDENT  present when the kernel was last asked; a hint (mincore counts zero pages, not swapped ones)
 *     PURGED    given back by us and not seen resident since
 *     FRESH     the same, in the policy's window that is under way
 *
 * A page is purged when it is RESIDENT and AGED and its chunk is claimed.
 *
 * Locks nothing. Used by whoever runs a unit, and by the reclaimer while no unit is posted; ljt_shadow_cover
 * publishes a larger table in one store, so that a forked child finds either the old or the new one. Functions
 * that take page ranges pass over pages that no leaf covers. Addresses are of pages: [lo, hi), page-aligned.
 */
#ifndef LJT_SHADOW_H
#define LJT_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LJT_SHADOW_LEAF_SHIFT 26 /* 64 MiB a leaf: 16,384 pages of 4 KiB, 2 KiB a plane */

enum ljt_shadow_plane {
    LJT_SHADOW_FREE,
    LJT_SHADOW_AGED,
    LJT_SHADOW_RESIDENT,
    LJT_SHADOW_PURGED,
    LJT_SHADOW_FRESH,
    LJT_SHADOW_PLANES
};

#define LJT_SHADOW_BIT(plane) (1u << (plane))

struct ljt_shadow_table;

struct ljt_shadow {
    struct ljt_shadow_table *table; /* NULL: nothing is covered */
    unsigned aged;                  /* which of the two leading planes is AGED: looks swap them */
};

/* Makes room for [base, base + size). 0, or -ENOMEM: what was covered before stays covered. */
int ljt_shadow_cover(struct ljt_shadow *sh, uintptr_t base, size_t size);

/* Frees all. */
void ljt_shadow_drop(struct ljt_shadow *sh);

/* A new look begins: FREE becomes AGED, and FREE is empty. */
void ljt_shadow_begin_look(struct ljt_shadow *sh);

/* The policy's window has ended: FRESH is empty. */
void ljt_shadow_end_window(struct ljt_shadow *sh);

/* Sets or clears a plane in a range; returns how many of its bits changed. */
size_t ljt_shadow_set(struct ljt_shadow *sh, enum ljt_shadow_plane plane, uintptr_t lo, uintptr_t hi);
size_t ljt_shadow_clear(struct ljt_shadow *sh, enum ljt_shadow_plane plane, uintptr_t lo, uintptr_t hi);

/*
 * Pages of a range that are set in every plane of `mask` (LJT_SHADOW_BIT) and clear in every plane of `without`.
 * count: how many. first: the lowest. last: the highest. False if there is none.
 */
size_t ljt_shadow_count(const struct ljt_shadow *sh, unsigned mask, unsigned without, uintptr_t lo,
                        uintptr_t hi);
bool ljt_shadow_first(const struct ljt_shadow *sh, unsigned mask, unsigned without, uintptr_t lo,
                      uintptr_t hi, uintptr_t *page);
bool ljt_shadow_last(const struct ljt_shadow *sh, unsigned mask, unsigned without, uintptr_t lo, uintptr_t hi,
                     uintptr_t *page);

/* What a refresh has found in its range. */
struct ljt_shadow_residence {
    size_t resident; /* pages */
    size_t refaults; /* of these, PURGED before */
    size_t early;    /* of these, FRESH */
};

/* Asks the kernel which pages of [lo, hi) are resident, and adds what it finds to *found. Nothing may be held. */
void ljt_shadow_refresh(struct ljt_shadow *sh, uintptr_t lo, uintptr_t hi,
                        struct ljt_shadow_residence *found);

#endif
