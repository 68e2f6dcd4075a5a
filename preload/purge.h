/*
 * purge: gives claimed pages back to the kernel.
 *
 * Called by the reclaimer with no hold: the pages are the claims', which nobody else touches. Only the arena's life
 * lock is taken, for one batch at a time, so that a VM that closes waits for no more than that. Whole segments go here, too.
 */
#ifndef LJT_PURGE_H
#define LJT_PURGE_H

struct ljt_arena;

/* Purges what is resident and old enough in the claims of the ledger. Stops where the arena is no longer ARMED. */
void ljt_purge_claims(struct ljt_arena *a);

/*
 * Unmaps the segments that have left the heap (unit.h), if the arena is in this state: ARMED for the reclaimer, and for a
 * forked child at its first call; CLOSING for who closes. With nothing held but life, and that not for the unmapping.
 * Returns how many.
 */
unsigned ljt_purge_gone(struct ljt_arena *a, int state);

#endif
