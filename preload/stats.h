/*
 * stats: the dump.
 *
 * Composed and written by the reclaimer's thread (or, at exit, by the thread that exits) from what the last look
 * of each arena has found and what has been counted since. Sizes of an arena:
 *
 *     mapped = live + free           live: what the VM counts itself (collectgarbage "count"), without the
 *                                    blocks that lj_alloc maps directly; free: the rest, overhead included
 *     mapped = purgeable + floor     purgeable: whole pages inside free chunks; floor: pages that are needed
 *     resident <= mapped             resident - floor is what a purge could still give back
 */
#ifndef LJT_STATS_H
#define LJT_STATS_H

/* Writes the dump to the log. Not async-signal-safe; allocates nothing. */
void ljt_stats_dump(void);

#endif
