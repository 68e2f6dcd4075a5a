#include "gc.h"

#include "arena.h"
#include "lj_layout.h"

enum {
    TOTAL = 0,
    THRESHOLD = 8,
    WHITE = 16,
    STATE = 17,
    MMUDATA = 64,
    DEBT = 72,
    ESTIMATE = 80,
    STEPMUL = 88,
    PAUSE = 92
};
static_assert(PAUSE + 4 == LJT_GC_BYTES, "pause is the last field that is read");

#define STATES 6       /* GCSpause, propagate, atomic, sweepstring, sweep, finalize: 2009 to 2026 */
#define STEP_SIZE 1024 /* GCSTEPSIZE */
#define WHITES 3       /* currentwhite: one of these two bits, and */
#define FIXED 0x60     /* perhaps these, LJ_GC_FIXED and LJ_GC_SFIXED */
#define PER_CENT_MAX 1000000

static uint64_t word(const struct ljt_arena *a, unsigned offset)
{
    return __atomic_load_n((const uint64_t *)((uintptr_t)a->gc_total + offset), __ATOMIC_RELAXED);
}

static uint32_t half(const struct ljt_arena *a, unsigned offset)
{
    return __atomic_load_n((const uint32_t *)((uintptr_t)a->gc_total + offset), __ATOMIC_RELAXED);
}

static uint8_t byte(const struct ljt_arena *a, unsigned offset)
{
    return __atomic_load_n((const uint8_t *)((uintptr_t)a->gc_total + offset), __ATOMIC_RELAXED);
}

/* Do all the fields lie in the block that holds GG_State? */
static bool in_gg(const struct ljt_arena *a)
{
    const struct ljt_lj_chunk *c = ljt_lj_mem_to_chunk(a->gg);
    uintptr_t end = (uintptr_t)c + ljt_lj_chunk_size(c);
    return (uintptr_t)a->gc_total > (uintptr_t)a->gg && (uintptr_t)a->gc_total + LJT_GC_BYTES <= end;
}

bool ljt_gc_read(const struct ljt_arena *a, struct ljt_gc *gc)
{
    if (a->gc_width != 8 || !in_gg(a))
        return false;
    gc->total = word(a, TOTAL);
    gc->threshold = word(a, THRESHOLD);
    gc->debt = word(a, DEBT);
    gc->estimate = word(a, ESTIMATE);
    gc->stepmul = half(a, STEPMUL);
    gc->pause = half(a, PAUSE);
    gc->white = byte(a, WHITE);
    gc->state = byte(a, STATE);
    gc->finalizable = word(a, MMUDATA) != 0;
    unsigned white = gc->white & WHITES;
    return gc->state < STATES && (white == 1 || white == 2) && (gc->white & ~(WHITES | FIXED)) == 0 &&
           gc->total < UINT64_C(1) << 47 && gc->estimate < UINT64_C(1) << 47 && gc->stepmul <= PER_CENT_MAX &&
           gc->pause <= PER_CENT_MAX;
}

bool ljt_gc_rests(const struct ljt_gc *gc)
{
    return gc->state == 0 && gc->estimate >= 100 && gc->pause > 0 &&
           gc->threshold == gc->estimate / 100 * gc->pause;
}

uint64_t ljt_gc_growth(const struct ljt_gc *gc)
{
    return gc->total > gc->estimate ? gc->total - gc->estimate : 0;
}

/*
 * Stopped by the program or in a finalizer, threshold is 1 << 47 in any state. In a cycle it is total after a step, or
 * GCSTEPSIZE above; but the VM frees tables' parts meanwhile, and a finalizer that fails leaves an older one.
 */
bool ljt_gc_runs(const struct ljt_gc *gc)
{
    if (gc->state != 0)
        return gc->threshold < UINT64_C(1) << 46;
    return gc->threshold <= gc->total + STEP_SIZE && !ljt_gc_rests(gc);
}

void ljt_gc_demand(const struct ljt_arena *a, unsigned steps, unsigned most)
{
    uint64_t total = word(a, TOTAL), debt = word(a, DEBT);
    uint64_t more = (uint64_t)steps * STEP_SIZE, limit = (uint64_t)most * STEP_SIZE;
    uint64_t room = limit > debt ? limit - debt : 0;
    more = more < room ? more : room; /* lj_gc_step adds it to the debt */
    __atomic_store_n((uint64_t *)((uintptr_t)a->gc_total + THRESHOLD), total > more ? total - more : 0,
                     __ATOMIC_RELAXED);
}
