/*
 * gc: the fields of a VM's garbage collector, read and proven.
 *
 * GCState follows the gate's place in global_State: `allocf, allocd, gc`. With GC64 its fields have had the same
 * offsets in every revision since GC64 exists (December 2014 to 2026, OpenResty's luajit2 included):
 *
 *     gc.total ->  0  total       bytes in use
 *                  8  threshold   lj_gc_check: total >= threshold starts or drives a cycle; 1 << 47: stopped
 *                 16  currentwhite, 17 state (0: between two cycles), ...
 *                 72  debt        of the threshold's distance, what the steps so far have not paid off
 *                 80  estimate    bytes that were in use when the last cycle ended, about
 *                 88  stepmul, 92 pause (32 bits each, per cent)
 *
 * Without GC64 there are three other layouts, which differ in the order of just these fields: they are not read.
 *
 * The proof at run time: a cycle's last act, in all of these revisions, is threshold = estimate / 100 * pause. Four
 * fields that obey this in state 0 are what we take them for; and nobody has meddled with the collector since:
 * stopped, within a finalizer, restarted and stepped by hand all leave another threshold.
 */
#ifndef LJT_GC_H
#define LJT_GC_H

#include <stdbool.h>
#include <stdint.h>

struct ljt_arena;

#define LJT_GC_PROPAGATE 1 /* the state in which what is live is marked, in all of these revisions */

enum { LJT_GC_BYTES = 96 }; /* from gc.total on, what is read */

struct ljt_gc {
    uint64_t total, threshold, debt, estimate;
    uint32_t stepmul, pause;
    uint8_t white, state;
    bool finalizable; /* there are objects whose finalizers are due (gc.mmudata, at 64) */
};

/*
 * Reads the fields; false where they are not known (no GC64) or can't be what they should be. A reader that is not
 * inside the VM sees a mixture of moments, and holds the arena's life lock so that the memory stays.
 */
bool ljt_gc_read(const struct ljt_arena *a, struct ljt_gc *gc);

/* Is the collector between two cycles, as the last one has left it? */
bool ljt_gc_rests(const struct ljt_gc *gc);

/* Bytes that have come in since the last cycle ended. */
uint64_t ljt_gc_growth(const struct ljt_gc *gc);

/* Is it in a cycle that the VM's allocation drives, or about to begin one, and in no finalizer? */
bool ljt_gc_runs(const struct ljt_gc *gc);

/*
 * Makes the VM's next checks take a step each, so many more: threshold = total - steps KiB, as lua_gc(L, LUA_GCSTEP,
 * steps) has it; with those that earlier demands have left, at most `most`. Between two cycles it begins one. On the
 * mutator's thread, see nudge.c.
 */
void ljt_gc_demand(const struct ljt_arena *a, unsigned steps, unsigned most);

#endif
