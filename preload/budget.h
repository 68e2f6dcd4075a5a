/*
 * budget: how much CPU time the process may lose to us.
 *
 * A bucket that fills at LJTRIM_MAX_CPU_PCT of the time and is charged for all that our work costs: what the
 * reclaimer's thread has used, what mutators have spent in units, and the page faults that purges have caused
 * (an estimate: their count is measured, their price is LJT_BUDGET_FAULT). Where it is empty, nothing is done.
 *
 * Plain arithmetic on times that the caller brings: no clock, no lock. Used by the reclaimer alone.
 */
#ifndef LJT_BUDGET_H
#define LJT_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Deep enough for the work after a peak: 0.4 s give back 650 MB in 160,000 runs. The initial fill is as deep: a
 * worker that peaks right after its start deserves it as much. A debt is as deep, too: no ruin.
 */
#define LJT_BUDGET_DEPTH ((int64_t)600 * 1000000)

/* What it costs the mutator to touch a page that was purged, ns for 4 KiB (measured: 1.5 us, zeroing included). */
#define LJT_BUDGET_FAULT ((uint64_t)1500)

struct ljt_budget {
    int64_t left;    /* ns; at 0 or below nothing is done */
    uint64_t filled; /* when it was last filled */
};

/* A full bucket. */
void ljt_budget_open(struct ljt_budget *b, uint64_t now);

/* Fills it for the time since the last update, at `percent` of one processor, and takes out what was spent, ns. */
void ljt_budget_update(struct ljt_budget *b, uint64_t now, double percent, uint64_t spent);

/*
 * ns until the bucket holds enough to be worth waking for; 0 while it is above 0. A wake costs 5 to 30 us itself: a
 * thread that woke as soon as the bucket is above 0 would find it empty again each time, and never work.
 */
uint64_t ljt_budget_wait(const struct ljt_budget *b, double percent);

/* The price of so many bytes that were purged and touched again, ns. */
uint64_t ljt_budget_faults(uint64_t bytes);

#endif
