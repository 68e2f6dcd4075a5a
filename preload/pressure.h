/*
 * pressure: is memory about to run out?
 *
 * Asked of the process's own memory cgroup (v2: memory.max, memory.high, memory.current, pressure stall information;
 * v1: limit and usage), on every level above it that can be seen; where none has a limit, of the machine's pressure
 * stall information. No file, no permission: no pressure. LJTRIM_PRESSURE=off never asks.
 *
 * Under pressure the reclaimer neither waits for a page's age nor leaves a slack, looks more often, and has a larger
 * CPU budget. That goes on for a while when usage has come down: what we give back ourselves would end it half-way, with
 * the rest to wait for its age, and where a peak nearly filled the limit the next one will.
 *
 * Used by the reclaimer alone; the level may be read by any thread.
 */
#ifndef LJT_PRESSURE_H
#define LJT_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

enum ljt_pressure_level {
    LJT_PRESSURE_NONE,
    LJT_PRESSURE_NEAR, /* ask more often */
    LJT_PRESSURE_HIGH
};

/* Per cent of the nearest limit that make a level, and how far below it must fall for the level to end. */
#define LJT_PRESSURE_NEAR_PCT 75
#define LJT_PRESSURE_HIGH_PCT 90
#define LJT_PRESSURE_SLIP_PCT 5
/* Tasks waited for memory for this share of the last 10 s, 1/100 %. */
#define LJT_PRESSURE_STALLED 1000

/* HIGH stays for so long after it was last found, ns. */
#define LJT_PRESSURE_LINGER ((uint64_t)2000000000)

#define LJT_PRESSURE_INTERVAL ((uint64_t)1000000000)     /* between two questions, ns */
#define LJT_PRESSURE_INTERVAL_NEAR ((uint64_t)250000000) /* the same, once a level is NEAR or HIGH, or */
#define LJT_PRESSURE_WATCH_PCT 50 /* so much of a limit may be in use: a VM fills the rest within a second */

/* The least CPU budget under pressure, per cent of a processor. */
#define LJT_PRESSURE_CPU_PCT 20.0

/* Asks if it is time to. Returns the level. */
enum ljt_pressure_level ljt_pressure_check(uint64_t now);

/*
 * Whether to wake up for a check when nothing else is due, and after what time, ns. `busy`: a VM is, and may have mapped
 * any amount by then.
 */
bool ljt_pressure_is_worth_a_wake(void);
uint64_t ljt_pressure_pulse(bool busy);

/* What the last check has found. */
enum ljt_pressure_level ljt_pressure_level(void);

static inline bool ljt_pressure_is_high(void)
{
    return ljt_pressure_level() == LJT_PRESSURE_HIGH;
}

/* The level that follows from figures; `before` is what it was. bound SIZE_MAX: no limit, only `stalled` counts. */
enum ljt_pressure_level ljt_pressure_judge(enum ljt_pressure_level before, uint64_t used, uint64_t bound,
                                           unsigned stalled);

/* In a forked child, and for tests: forgets where the cgroup was and what it said. */
void ljt_pressure_forget(void);

#endif
