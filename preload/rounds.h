/*
 * rounds: how an arena's pages are given back, step by step, each time its turn comes.
 *
 *     IDLE --due--> SEGMENTS --worth a look--> LOOK <----------> HAND-BACK
 *      ^               |                         | done   claims: purge   |
 *      +---------------+-------------------------+------------------------+
 *
 * A step that needs the heap asks for a unit: the mutator does it in its next call or, where the VM is silent, the
 * reclaimer under a hold. Between units nothing is held: there residence is asked, pages are purged, and it is
 * decided when the next round is due. An arena of which nothing more can be had is settled, until its VM moves.
 *
 * On the reclaimer's thread alone; struct ljt_pace is all that it remembers. Takes the arena's `life` lock where it
 * reads what the VM might unmap. Never waits longer than 50 ms for a VM, and leaves a request posted instead.
 */
#ifndef LJT_ROUNDS_H
#define LJT_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>

struct ljt_arena;

/*
 * Gives an armed arena its turn, which is over when it has nothing to do, has cost what there was in the budget, or
 * has taken 50 ms. Returns when it next wants one: a time, now for at once, UINT64_MAX for never.
 */
uint64_t ljt_rounds_turn(struct ljt_arena *a, uint64_t now);

/* Does it have something that the VM is to have back, or may have by now? Then its turn does not wait for the budget. */
bool ljt_rounds_owes(const struct ljt_arena *a);

#endif
