#include "takeover.h"

#include "arena.h"
#include "config.h"
#include "growth.h"
#include "kernel.h"
#include "log.h"
#include "patched.h"

/* Without GC64 every pointer is below 2 GiB (4 GiB on some machines); with it the kernel puts nothing there. */
#define NARROW_END ((uintptr_t)1 << 32)

/* Runs that can be parked at a time: 512 KiB of addresses, and as many pages as are used. */
#define PARKED_ROOM ((size_t)1 << 16)

/* In the middle of a call: what the mmap hook does for a mapping of lj_alloc's. */
static void mapped(struct ljt_patched *p, ptrdiff_t bytes)
{
    struct ljt_arena *a = (struct ljt_arena *)((uintptr_t)p - offsetof(struct ljt_arena, patched));
    atomic_fetch_add_explicit(&a->module->mapped, (size_t)bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&a->module->map_events, 1, memory_order_release);
    if (bytes <= 0)
        return;
    ljt_arena_grew(a, (size_t)bytes);
    ljt_growth_mapped(a->module, (size_t)bytes);
}

struct ljt_lj_state *ljt_takeover_create(struct ljt_arena *a)
{
    a->patched.mapped = NULL; /* the arena is not one yet, and the registry is locked */
    struct ljt_lj_state *m = ljt_patched_create(&a->patched);
    if (m == NULL)
        return NULL;
    atomic_fetch_add_explicit(&a->module->mapped, m->seg.size, memory_order_relaxed);
    atomic_fetch_add_explicit(&a->module->map_events, 1, memory_order_release);
    a->patched.mapped = mapped;
    atomic_store_explicit(&a->is_patched, true, memory_order_release);
    return m;
}

void ljt_takeover(struct ljt_arena *a)
{
    if (ljt_config.mode != LJT_MODE_PATCHED)
        return;
    if (a->gc_width != 8 || (uintptr_t)a->m < NARROW_END) {
        static struct ljt_once once;
        ljt_log_once(&once, LJT_LOG_WARN,
                     "a Lua VM keeps its own allocator (%s); it is trimmed as by LJTRIM_MODE=native",
                     a->gc_width == 4 ? "not built with GC64: it can't use memory above 4 GiB"
                                      : "it could not be told whether it was built with GC64");
        return;
    }
    a->patched.mapped = mapped;
    ljt_patched_enter(a->m, &a->patched);
    ljt_gates[a->slot].allocf = ljt_patched_alloc;
    atomic_store_explicit(&a->is_patched, true, memory_order_release);
}

void ljt_takeover_before_look(struct ljt_arena *a)
{
    ljt_lock *life = &ljt_wiped.word[a->slot].life;
    ljt_lock_acquire(life); /* its VM may close, and then the table must not be left behind */
    bool ours =
        ljt_arena_is(a, LJT_ARENA_ARMED) && atomic_load_explicit(&a->is_patched, memory_order_acquire);
    if (ours && a->patched.run == NULL) {
        a->patched.run = ljt_kernel_alloc(PARKED_ROOM * sizeof(*a->patched.run));
        a->patched.room = a->patched.run == NULL ? 0 : PARKED_ROOM;
    }
    ljt_lock_release(life);
    if (ours)
        a->work.purgeable = atomic_load_explicit(&a->patched.parked_pages, memory_order_relaxed);
}

/*
 * The heap is not touched: it may be broken, or the program may have set lj_alloc_f back and be in it now. What is
 * parked stays so.
 */
void ljt_takeover_end(struct ljt_arena *a)
{
    if (atomic_exchange_explicit(&a->is_patched, false, memory_order_acq_rel))
        ljt_gates[a->slot].allocf = a->allocf;
}

void ljt_takeover_drop(struct ljt_arena *a)
{
    ljt_kernel_free(a->patched.run, PARKED_ROOM * sizeof(*a->patched.run));
    a->patched.run = NULL;
    atomic_store_explicit(&a->patched.parked_pages, 0, memory_order_relaxed);
    a->patched.room = a->patched.runs = 0;
}
