/*
 * spending: what our work has cost this process so far, charged to the CPU budget.
 *
 * Three sums: CPU time of the reclaimer's thread, of mutators in units, and the faults that purges have caused. What
 * has been added since the last charge comes out of the bucket (budget.h), which fills at LJTRIM_MAX_CPU_PCT, or at
 * 20% under memory pressure. Somebody who waits for a trim need not wait for the bucket.
 *
 * On the reclaimer's thread alone, but for what ljt_spending_pause tells. Locks nothing.
 */
#ifndef LJT_SPENDING_H
#define LJT_SPENDING_H

#include <stdint.h>

/* When the thread starts: a full bucket, and what was spent before (by a forked child's parent) does not count. */
void ljt_spending_open(uint64_t now);

/* So many bytes that were purged have been touched again. */
void ljt_spending_add_faults(uint64_t bytes);

/* Takes what was spent since the last charge out of the bucket. */
void ljt_spending_charge(uint64_t now);

/* For how many ns nothing may be done; 0: there is something left, or somebody waits. */
uint64_t ljt_spending_wait(void);

/* The same for those who only want to know, on any thread: as it was at the last charge, in ns from now. */
uint64_t ljt_spending_pause(uint64_t now);

#endif
