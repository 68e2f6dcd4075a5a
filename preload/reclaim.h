/*
 * reclaim: the thread that gives pages back, from its start to its sleep.
 *
 * One a process, named "ljtrim", started by the first arena that is worth it, not inherited by forked children
 * (each starts its own at need), asleep without a time limit while no VM moves. It gives the arenas their turns
 * (rounds.h), paces itself by a CPU budget (spending.h), and writes dumps. It never allocates from malloc and blocks
 * every signal that can be blocked.
 */
#ifndef LJT_RECLAIM_H
#define LJT_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

/* ljt_wiped.reclaimer */
enum ljt_reclaimer {
    LJT_RECLAIMER_NONE,
    LJT_RECLAIMER_STARTED,
    LJT_RECLAIMER_FAILED,
    LJT_RECLAIMER_FORBIDDEN
};

/*
 * Starts the thread if this process has none. On a mutator's thread, in the slow path. Where it can't be started
 * one line says why, and this process goes on without.
 */
void ljt_reclaim_start(void);

/*
 * This process never starts it: a child that was copied from a process with other threads without fork's own care.
 * Starting a thread allocates, and one of those may have held malloc's lock, which nobody would ever release. In such
 * a child, before its first gated call. Async-signal-safe.
 */
void ljt_reclaim_forbid(void);
bool ljt_reclaim_is_forbidden(void);

/* Has the process other threads than the calling one and the reclaimer, or may it have some? Async-signal-safe. */
bool ljt_reclaim_has_company(void);

/* Has this process started it (or tried in vain)? */
bool ljt_reclaim_started(void);

/* Is it there? Async-signal-safe. */
bool ljt_reclaim_running(void);

/* Does every entry need a fence of its own, since there is no membarrier? Known once the thread runs. */
bool ljt_reclaim_fenced(void);

/*
 * From now on every entry has its fence: there is no membarrier, or a sandbox has forbidden it. On the reclaimer's
 * thread. Entries that began before are not covered: the next hold must come later than they take to be seen.
 */
void ljt_reclaim_fence(void);

/* Makes it look around. Async-signal-safe. */
void ljt_reclaim_wake(void);

/*
 * On its own thread: how often it was woken so far, and a sleep of `ns` that ends at once if it has been woken since.
 * UINT64_MAX: until it is woken.
 */
uint32_t ljt_reclaim_rung(void);
void ljt_reclaim_sleep(uint32_t rung, uint64_t ns);

/* Makes it write a dump to the log. Async-signal-safe. */
void ljt_reclaim_request_dump(void);

/* Is it at work on this slot? Then the slot must not be used again yet. */
bool ljt_reclaim_uses(unsigned slot);

/* CPU time that it has used in this process, ns. */
uint64_t ljt_reclaim_cpu(void);

#endif
