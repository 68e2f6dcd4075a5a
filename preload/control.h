/*
 * control: what a program asks of the reclaimer: to pause, to go on, to trim at once, to follow changed options.
 *
 * A request is a few words that the reclaimer reads between two steps. It does the work as always, by units and
 * holds, with nothing held while it purges; the thread that asked sleeps until then, or until its own deadline. So a
 * VM may ask for itself: while its thread sleeps in here it is silent, and the reclaimer may hold its arena.
 *
 * Locks nothing. One trim is under way at a time; whoever comes second waits for its turn. A trim does not survive a
 * fork (its word is wiped); pauses do.
 */
#ifndef LJT_CONTROL_H
#define LJT_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ljt_arena;

#define LJT_CONTROL_MS_MAX 60000 /* the longest that a caller may wait */

/* ---- For callers: any thread but the reclaimer, not from signal handlers. errno is kept. ---- */

/* As ljtrim_pause, ljtrim_resume and ljtrim_trim of ljtrim.h, arguments checked. */
int ljt_control_pause(uint32_t max_ms);
int ljt_control_resume(void);
int64_t ljt_control_trim(uint64_t max_bytes, uint32_t max_ms, bool wait);

/* Options have changed: every arena's pace is set anew. Async-signal-safe. */
void ljt_control_changed(void);

/* Any thread, async-signal-safe. */
bool ljt_control_paused(void);

/* ---- For the reclaimer ---- */

/* Somebody waits: the CPU budget must not keep him waiting. What is spent is charged all the same. */
bool ljt_control_urgent(void);

enum ljt_control_advice {
    LJT_CONTROL_GO_ON,
    LJT_CONTROL_STOP,  /* hand back what is claimed, purge nothing more, look no further */
    LJT_CONTROL_AFRESH /* hand back what is claimed, then begin a look at once */
};

/* Before a step of an arena of which no unit is posted. */
enum ljt_control_advice ljt_control_advise(struct ljt_arena *a, uint64_t now);

/* Is it being trimmed? Then age does not matter, and every look is worth it. */
bool ljt_control_trims(const struct ljt_arena *a);

/* A look has ended: is the trim of this arena over with it? Before the look is judged to have settled anything. */
void ljt_control_look_ended(struct ljt_arena *a);

/* How many bytes may still be purged: SIZE_MAX but for a trim with bounds. */
size_t ljt_control_allowance(const struct ljt_arena *a);

/* So many were. */
void ljt_control_purged(size_t bytes);

/* After each round over all arenas: tells those who wait what has come to its end. */
void ljt_control_report(uint64_t now);

#endif
