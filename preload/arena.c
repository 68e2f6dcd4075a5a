#include "arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "candidate.h"
#include "config.h"
#include "delay.h"
#include "growth.h"
#include "kernel.h"
#include "log.h"
#include "mask.h"
#include "purge.h"
#include "reclaim.h"
#include "refuse.h"
#include "signals.h"
#include "stats.h"
#include "symbols.h"
#include "takeover.h"
#include "thp.h"

struct ljt_arena ljt_arenas[LJT_GATES];
struct ljt_arena_stats ljt_arena_past;
_Atomic unsigned ljt_arena_slots;

/* An arena is worth a thread from here on. */
#define WORTH_A_RECLAIMER ((size_t)2 << 20)

/* ---- Slots ---- */

/*
 * Takes a slot that is DEAD for its next use. The last epilogue that could write to it has run if busy is even.
 * One taker wins; the registry lock does not exclude the reclaimer.
 */
static bool take_dead(unsigned slot)
{
    int dead = LJT_ARENA_DEAD;
    return ljt_arena_is(&ljt_arenas[slot],
                        LJT_ARENA_DEAD) && /* first: while a VM closes, busy is odd until after */
           (atomic_load_explicit(&ljt_gates[slot].busy, memory_order_acquire) & 1) == 0 &&
           atomic_compare_exchange_strong_explicit(&ljt_arenas[slot].state, &dead, LJT_ARENA_TAKEN,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* Only now: the reclaimer's own counters may still move when the VM has closed. Under the registry lock. */
static void count_past(struct ljt_arena *a)
{
    ljt_stats_add_counters(&ljt_arena_past, &a->stats);
    memset(&a->stats, 0, sizeof(a->stats));
}

void ljt_arena_sweep(unsigned slot)
{
    if (!take_dead(slot))
        return;
    ljt_lock_acquire(&ljt_wiped.registry);
    count_past(&ljt_arenas[slot]);
    ljt_lock_release(&ljt_wiped.registry);
    ljt_shadow_drop(&ljt_arenas[slot].shadow);
    ljt_takeover_drop(&ljt_arenas[slot]);
    atomic_store_explicit(&ljt_arenas[slot].state, LJT_ARENA_FREE, memory_order_release);
}

static struct ljt_arena *take_slot(void)
{
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_relaxed);
    for (unsigned i = 0; i < LJT_GATES; i++) {
        struct ljt_arena *a = &ljt_arenas[i];
        if (!ljt_arena_is(a, LJT_ARENA_FREE) && (ljt_reclaim_uses(i) || !take_dead(i)))
            continue;
        count_past(a);
        ljt_shadow_drop(&a->shadow);
        ljt_takeover_drop(a);
        ljt_work_reset(&a->work);
        memset(&a->pace, 0, sizeof(a->pace));
        memset(&a->nudge, 0, sizeof(a->nudge));
        memset(&a->idle, 0, sizeof(a->idle));
        a->idle.calls =
            atomic_load_explicit(&ljt_gates[i].busy, memory_order_relaxed) / 2; /* the last VM's */
        if (i >= slots) { /* later a hook that has seen this slot's last VM may still be reading it */
            a->slot = i;
            atomic_store_explicit(&ljt_arena_slots, i + 1, memory_order_release);
        }
        return a;
    }
    return NULL;
}

/* After a slot has got LIVE: pairs with ljt_reclaim_fence, which passes by slots that have not. */
static void fence_if_needed(unsigned slot)
{
    if (atomic_load_explicit(&ljt_wiped.word[slot].want, memory_order_seq_cst) != 0 && ljt_reclaim_fenced())
        atomic_fetch_or_explicit(&ljt_wiped.word[slot].want, LJT_WANT_FENCED, memory_order_seq_cst);
}

static struct ljt_arena *take_slot_or_say(void)
{
    static struct ljt_once full;
    struct ljt_arena *a = take_slot();
    if (a == NULL)
        ljt_log_once(&full, LJT_LOG_WARN, "more than %d Lua VMs at a time; further ones are left alone",
                     LJT_GATES);
    return a;
}

/* The slot serves calls from here on: with the allocator `allocf`, for who frees `gg` last. */
static void open_slot(struct ljt_arena *a, uint32_t want)
{
    struct ljt_gate *g = &ljt_gates[a->slot];
    g->allocf = a->allocf;
    g->gg = a->gg;
    atomic_store_explicit(&a->state, LJT_ARENA_GATED, memory_order_release);
    atomic_store_explicit(&ljt_wiped.word[a->slot].want, want, memory_order_seq_cst);
    fence_if_needed(a->slot);
}

/* Sets the gate. The VM may be running on another thread; from this store on its calls come through us. */
static void adopt(const struct ljt_candidate_vm *vm)
{
    struct ljt_arena *a = take_slot_or_say();
    if (a == NULL)
        return;
    a->m = (struct ljt_lj_state *)vm->state;
    a->gg = (void *)vm->gg;
    a->module = vm->module;
    a->born = vm->born;
    a->allocf = vm->allocf;
    a->place = (_Atomic(ljt_alloc_fn *) *)vm->place;
    a->gc_total = (const void *)(vm->place + 16);
    a->gc_width = 0;
    atomic_store_explicit(&a->is_patched, false, memory_order_relaxed);
    open_slot(a, LJT_WANT_LIVE | LJT_WANT_PROVE);
    ljt_alloc_fn *expected = a->allocf;
    if (!atomic_compare_exchange_strong_explicit(a->place, &expected, ljt_gate_trampoline(a->slot),
                                                 memory_order_release, memory_order_relaxed)) {
        atomic_store_explicit(&ljt_wiped.word[a->slot].want, 0, memory_order_relaxed);
        atomic_store_explicit(&a->state, LJT_ARENA_DEAD, memory_order_release);
    }
}

/* ---- The mmap hooks ---- */

static bool in_call(unsigned slot)
{
    return (atomic_load_explicit(&ljt_gates[slot].busy, memory_order_relaxed) & 1) != 0;
}

void ljt_arena_grew(struct ljt_arena *a, size_t len)
{
    if (atomic_load_explicit(&a->work.claims, memory_order_relaxed) > 0 && len <= 2 * LJT_LJ_GRANULARITY)
        atomic_fetch_add_explicit(&a->stats.crowded, 1, memory_order_relaxed);
    _Atomic uint32_t *want = &ljt_wiped.word[a->slot].want;
    /* A fork has copied another VM in the middle of a call: it begins with a word that is wiped, if it ever does. */
    if (!ljt_reclaim_started() && (atomic_load_explicit(want, memory_order_relaxed) & LJT_WANT_LIVE) != 0)
        atomic_fetch_or_explicit(want, LJT_WANT_START, memory_order_release);
}

static void mapped(struct ljt_module *module, uintptr_t addr, size_t len, uintptr_t pc)
{
    bool first = len == LJT_LJ_GRANULARITY;
    /* The loader is not asked about what can't have changed: it has locks that a fork does not like to see held. */
    if (first && (module == NULL || !module->pinned) && (module = ljt_module_resolve(pc)) == NULL)
        return;
    bool by_lj_alloc = ljt_symbols_allow(module, pc);
    if (by_lj_alloc) {
        ljt_lock_acquire(&ljt_wiped.registry);
        ljt_candidates_check(module, adopt);
        if (first)
            ljt_candidates_add(addr, module, pc);
        ljt_lock_release(&ljt_wiped.registry);
    }
    if (module->exports_lua)
        ljt_log_deferred();
    atomic_fetch_add_explicit(&module->mapped, len, memory_order_relaxed);
    atomic_fetch_add_explicit(&module->map_events, 1, memory_order_release);
    if (!by_lj_alloc)
        return;

    bool armed = false;
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    for (unsigned i = 0; i < slots; i++) {
        struct ljt_arena *a = &ljt_arenas[i];
        if (!ljt_arena_is(a, LJT_ARENA_ARMED) || a->module != module || !in_call(i))
            continue;
        armed = true;
        ljt_arena_grew(a, len);
    }
    if (armed)
        ljt_growth_mapped(module, len);
}

void ljt_arena_mapped(uintptr_t addr, size_t len, uintptr_t pc)
{
    struct ljt_module *module = ljt_module_find(pc);
    if (module == NULL && len != LJT_LJ_GRANULARITY)
        return;
    sigset_t before;
    ljt_mask_signals(&before);
    mapped(module, addr, len, pc);
    ljt_mask_restore(&before);
}

/* Is memory of a going away without its VM having closed? Then the host had taken the gate away before. */
static bool loses_state(const struct ljt_arena *a, uintptr_t addr, size_t len)
{
    return (uintptr_t)a->m - addr < len;
}

static bool loses_memory(const struct ljt_arena *a, uintptr_t addr, size_t len)
{
    if (loses_state(a, addr, len))
        return true;
    unsigned claims = atomic_load_explicit(&a->work.claims, memory_order_acquire); /* pairs with claim */
    for (unsigned i = 0; i < claims; i++)
        if ((uintptr_t)atomic_load_explicit(&a->work.ledger[i].chunk, memory_order_relaxed) - addr < len)
            return true;
    return false;
}

/* The reclaimer has the heap, or is about to: the ledger may be read under life only. */
static bool is_held(unsigned slot)
{
    return (atomic_load_explicit(&ljt_wiped.word[slot].want, memory_order_acquire) & LJT_WANT_HOLD) != 0;
}

void ljt_arena_forget(uintptr_t addr, size_t len)
{
    ljt_lock_acquire(&ljt_wiped.registry);
    ljt_candidates_forget(addr, len);
    ljt_lock_release(&ljt_wiped.registry);
}

void ljt_arena_shrinking(uintptr_t addr, size_t len, uintptr_t pc)
{
    if (ljt_module_find(pc) == NULL)
        return;
    sigset_t before;
    ljt_mask_signals(&before);
    ljt_arena_forget(addr, len);
    ljt_mask_restore(&before);
}

static void unmapping(struct ljt_module *module, uintptr_t addr, size_t len)
{
    atomic_fetch_sub_explicit(&module->mapped, len, memory_order_relaxed);
    atomic_fetch_add_explicit(&module->map_events, 1, memory_order_release);

    ljt_arena_forget(addr, len);

    /*
     * In a gated call lj_alloc unmaps what no chunk in use touches: only who comes without the gate matters. A hold
     * that began with the gate in place goes on without it, anywhere in the heap: its unit ends first, and what it
     * has claimed counts. No call unmaps its own state: where that goes, a busy that says so is of one that never
     * returned. The fence pairs with the reclaimer's own, where there is no membarrier: a hold that we do
     * not see sees that the gate is gone.
     */
    atomic_thread_fence(memory_order_seq_cst);
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    for (unsigned i = 0; i < slots; i++) {
        struct ljt_arena *a = &ljt_arenas[i];
        int state = atomic_load_explicit(&a->state, memory_order_acquire);
        if ((state != LJT_ARENA_GATED && state != LJT_ARENA_ARMED && state != LJT_ARENA_LOST) ||
            a->module != module)
            continue;
        if (!loses_state(a, addr, len) && (in_call(i) || (!is_held(i) && !loses_memory(a, addr, len))))
            continue;
        ljt_lock_acquire(&ljt_wiped.word[i].life);
        bool state_goes = loses_state(a, addr, len);
        if (state_goes) /* before DEAD, from which on the slot may be another VM's */
            atomic_store_explicit(&ljt_wiped.word[i].want, 0, memory_order_release);
        if (loses_memory(a, addr, len))
            atomic_store_explicit(&a->state, state_goes ? LJT_ARENA_DEAD : LJT_ARENA_LOST,
                                  memory_order_release);
        ljt_lock_release(&ljt_wiped.word[i].life);
    }
}

void ljt_arena_unmapping(uintptr_t addr, size_t len, uintptr_t pc)
{
    struct ljt_module *module = ljt_module_find(pc);
    if (module == NULL)
        return;
    sigset_t before;
    ljt_mask_signals(&before);
    unmapping(module, addr, len);
    ljt_mask_restore(&before);
}

void ljt_arena_remapped(uintptr_t old_addr, size_t old_len, size_t new_len, uintptr_t pc)
{
    (void)old_addr;
    struct ljt_module *module = ljt_module_find(pc);
    if (module == NULL)
        return;
    /* What is below the granularity is counted neither when it is mapped nor when it goes. */
    size_t counted = old_len < LJT_LJ_GRANULARITY ? 0 : old_len;
    size_t counts = new_len < LJT_LJ_GRANULARITY ? 0 : new_len;
    atomic_fetch_add_explicit(&module->mapped, counts - counted, memory_order_relaxed);
    atomic_fetch_add_explicit(&module->map_events, 1, memory_order_release);
}

/* ---- The gate's slow path ---- */

/*
 * Takes the gate away again, on the mutator's own thread. LOST, not DEAD: the host may have copied the gate
 * meanwhile, into a wrapper of its own, and would write to the slot's busy after another VM had got it.
 */
static void refuse(struct ljt_arena *a, const char *why)
{
    static struct ljt_once once;
    ljt_log_once(&once, LJT_LOG_WARN, "a Lua VM's heap could not be proven (%s); it is left alone", why);
    ljt_alloc_fn *gate = ljt_gate_trampoline(a->slot);
    atomic_compare_exchange_strong_explicit(a->place, &gate, a->allocf, memory_order_release,
                                            memory_order_relaxed);
    atomic_store_explicit(&a->state, LJT_ARENA_LOST, memory_order_release);
}

/*
 * gc.total counts what the VM asked for: at most what the chunks in use hold, and at least half of it, since a
 * chunk of 32 bytes serves requests down to 1 byte but a GC object has 16 and more. Direct blocks come on top.
 */
static unsigned proven_gc_width(const struct ljt_arena *a, const struct ljt_heap_census *census)
{
    size_t arena_mapped = census->mapped;
    size_t module_mapped = atomic_load_explicit(&a->module->mapped, memory_order_relaxed);
    size_t direct = module_mapped > arena_mapped ? module_mapped - arena_mapped : 0;
    uint64_t wide;
    uint32_t narrow;
    memcpy(&wide, a->gc_total, sizeof(wide));
    memcpy(&narrow, a->gc_total, sizeof(narrow));
    if (wide >= census->live / 4 && wide <= census->live + direct)
        return 8;
    if (narrow >= census->live / 4 && narrow <= census->live + direct)
        return 4;
    return 0;
}

/* What is done once a heap is proven, before it is ARMED. */
static void arm(struct ljt_arena *a, const struct ljt_heap_census *census)
{
    a->gc_width = proven_gc_width(a, census);
    ljt_log_deferred();
    ljt_signals_install();
    ljt_thp_init();
}

void ljt_arena_prove(unsigned slot)
{
    struct ljt_arena *a = &ljt_arenas[slot];
    if (!ljt_arena_is(a, LJT_ARENA_GATED) || a->place == NULL) /* the latter is about to be born */
        return;
    struct ljt_heap_census census;
    enum ljt_heap_fault fault = ljt_heap_prove(a->m, &census);
    if (fault != LJT_HEAP_OK) {
        refuse(a, ljt_heap_fault_text(fault));
        return;
    }
    if (!ljt_symbols_ready(a->module, (uintptr_t)a->allocf))
        return; /* GATED as before: nobody else touches it */
    const char *contradiction = ljt_symbols_contradict(a->module, (uintptr_t)a->allocf, a->born);
    if (contradiction != NULL) {
        refuse(a, contradiction);
        return;
    }
    arm(a, &census);
    ljt_takeover(a);
    atomic_store_explicit(&a->state, LJT_ARENA_ARMED, memory_order_release);
    ljt_arena_consider_start(slot);
}

void ljt_arena_prove_waiting(void)
{
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    for (unsigned i = 0; i < slots; i++) {
        _Atomic uint32_t *word = &ljt_wiped.word[i].want;
        uint32_t want = atomic_load_explicit(word, memory_order_relaxed);
        /* Not where the VM has closed, or a fork has wiped the word: then it begins anew by itself. */
        while (ljt_arena_is(&ljt_arenas[i], LJT_ARENA_GATED) && (want & LJT_WANT_LIVE) != 0 &&
               !atomic_compare_exchange_weak_explicit(word, &want, want | LJT_WANT_PROVE,
                                                      memory_order_release, memory_order_relaxed))
            ;
    }
}

/* ---- VMs with our allocator from their first byte on ---- */

struct ljt_arena *ljt_arena_bear(struct ljt_module *module)
{
    struct ljt_arena *a = NULL;
    ljt_lock_acquire(&ljt_wiped.registry);
    if (ljt_refuse_look(module) && !ljt_refuse_vm())
        a = take_slot_or_say();
    if (a != NULL) {
        a->gg = NULL;
        a->module = module;
        a->born = 0;
        a->allocf = ljt_patched_alloc;
        a->place = NULL;
        a->gc_total = NULL;
        a->gc_width = 0;
        a->m = ljt_takeover_create(a);
        if (a->m != NULL) {
            open_slot(a, LJT_WANT_LIVE);
        } else {
            atomic_store_explicit(&a->state, LJT_ARENA_FREE, memory_order_release);
            a = NULL;
        }
    }
    ljt_lock_release(&ljt_wiped.registry);
    return a;
}

void ljt_arena_born(struct ljt_arena *a)
{
    struct ljt_lj_chunk *gg = ljt_lj_chunk_next(ljt_lj_mem_to_chunk(a->m));
    struct ljt_candidate_vm vm = {.state = (uintptr_t)a->m, .gg = (uintptr_t)ljt_lj_chunk_to_mem(gg)};
    uintptr_t gate = (uintptr_t)ljt_gate_trampoline(a->slot);
    struct ljt_heap_census census;
    a->gg = ljt_gates[a->slot].gg = (void *)vm.gg;
    enum ljt_heap_fault fault = ljt_heap_prove(a->m, &census);
    if (fault != LJT_HEAP_OK || ljt_candidate_find_allocf(a->gg, ljt_lj_chunk_size(gg) - LJT_LJ_MEM_OFFSET,
                                                          gate, gate + 1, &vm) != 1) {
        ljt_arena_lose(a, fault != LJT_HEAP_OK ? ljt_heap_fault_text(fault)
                                               : "its allocator is not found in it");
        return;
    }
    a->place = (_Atomic(ljt_alloc_fn *) *)vm.place;
    a->gc_total = (const void *)(vm.place + 16);
    arm(a, &census);
    atomic_store_explicit(&a->state, LJT_ARENA_ARMED, memory_order_release);
    ljt_arena_consider_start(a->slot);
}

void ljt_arena_consider_start(unsigned slot)
{
    struct ljt_arena *a = &ljt_arenas[slot];
    if (!ljt_arena_is(a, LJT_ARENA_ARMED))
        return;
    size_t mapped = 0;
    for (const struct ljt_lj_segment *s = &a->m->seg; s != NULL; s = s->next)
        mapped += s->size;
    if (mapped >= WORTH_A_RECLAIMER)
        ljt_reclaim_start();
    if (ljt_reclaim_running()) /* it may be asleep, and this VM has not promised it a WAKE yet */
        ljt_reclaim_wake();
}

/*
 * The first call of this VM in a forked child. The heap is a copy that was made while no unit ran; the claims in
 * the ledger are ours to give back, on this thread, at once. Looks start afresh.
 */
void ljt_arena_reborn(unsigned slot)
{
    struct ljt_arena *a = &ljt_arenas[slot];
    uint32_t want = LJT_WANT_LIVE;
    if (ljt_arena_is(a, LJT_ARENA_GATED)) {
        want |= LJT_WANT_PROVE;
    } else if (ljt_arena_is(a, LJT_ARENA_ARMED)) {
        if (a->work.claims > 0)
            ljt_unit_hand_back_all(a);
        /* The parent's reclaimer may have been writing to it during the fork: left behind, not even freed. */
        a->shadow = (struct ljt_shadow){0};
        ljt_purge_gone(a, LJT_ARENA_ARMED);
        a->work.segments = 0;
        memset(&a->stats, 0, sizeof(a->stats));
        memset(&a->pace, 0, sizeof(a->pace));
        memset(&a->nudge, 0, sizeof(a->nudge));
        want |= LJT_WANT_START;
    }
    uint32_t wiped = 0;
    atomic_compare_exchange_strong_explicit(&ljt_wiped.word[slot].want, &wiped, want, memory_order_seq_cst,
                                            memory_order_relaxed);
    fence_if_needed(slot);
}

bool ljt_arena_owns(unsigned slot, const void *ud)
{
    const struct ljt_arena *a = &ljt_arenas[slot];
    int state = atomic_load_explicit(&a->state, memory_order_relaxed);
    return ud == a->m && state != LJT_ARENA_FREE && state != LJT_ARENA_DEAD;
}

/* What lj_alloc_destroy does, in its order: a segment's record lies in the segment itself. */
static void destroy(struct ljt_lj_state *m, struct ljt_module *module)
{
    int saved = errno;
    struct ljt_lj_segment *s = &m->seg;
    while (s != NULL) {
        uintptr_t base = s->base;
        size_t size = s->size;
        s = s->next;
        ljt_arena_forget(base, size);
        ljt_kernel.munmap((void *)base, size);
        atomic_fetch_sub_explicit(&module->mapped, size, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&module->map_events, 1, memory_order_release);
    errno = saved;
}

void ljt_arena_close(unsigned slot)
{
    struct ljt_arena *a = &ljt_arenas[slot];
    ljt_lock_acquire(&ljt_wiped.word[slot].life);
    atomic_store_explicit(&a->state, LJT_ARENA_CLOSING, memory_order_release);
    ljt_lock_release(&ljt_wiped.word[slot].life);
    ljt_dawdle();
    ljt_purge_gone(a, LJT_ARENA_CLOSING);
    destroy(a->m, a->module);
    ljt_takeover_drop(a);
    ljt_dawdle();
    atomic_store_explicit(&ljt_wiped.word[slot].want, 0, memory_order_release);
    atomic_store_explicit(&a->state, LJT_ARENA_DEAD, memory_order_release);
}

void ljt_arena_lose(struct ljt_arena *a, const char *why)
{
    ljt_takeover_end(a);
    atomic_store_explicit(&a->lost_claimed, a->work.claims == 0 ? 0 : a->work.claimed_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&a->lost_why, why, memory_order_release); /* pairs with ljt_arena_tell_loss */
    atomic_store_explicit(&a->state, LJT_ARENA_LOST, memory_order_release);
    ljt_reclaim_wake();
}

void ljt_arena_tell_loss(struct ljt_arena *a)
{
    if (atomic_load_explicit(&a->lost_why, memory_order_relaxed) == NULL)
        return;
    const char *why = atomic_exchange_explicit(&a->lost_why, NULL, memory_order_acquire);
    size_t claimed = atomic_load_explicit(&a->lost_claimed, memory_order_relaxed);
    if (claimed == 0)
        ljt_log(LJT_LOG_WARN, "a Lua VM is left alone from now on (%s)", why);
    else
        ljt_log(LJT_LOG_WARN, "a Lua VM is left alone from now on (%s); %zu KiB stay claimed", why,
                claimed >> 10);
}

uint64_t ljt_arena_gc_total(const struct ljt_arena *a)
{
    if (a->gc_width == 8)
        return __atomic_load_n((const uint64_t *)a->gc_total, __ATOMIC_RELAXED);
    if (a->gc_width == 4)
        return __atomic_load_n((const uint32_t *)a->gc_total, __ATOMIC_RELAXED);
    return 0;
}

/* ---- Fork ---- */

/* For a fork. Of the thread: two may fork at once, and each gives back what it took itself. */
static __thread bool registry_taken;

void ljt_arena_fork_prepare(void)
{
    uint64_t start = ljt_kernel.now();
    while (!(registry_taken = ljt_lock_try(&ljt_wiped.registry)) && ljt_kernel.now() - start < 10000000)
        ;
}

void ljt_arena_fork_parent(void)
{
    if (registry_taken)
        ljt_lock_release(&ljt_wiped.registry);
    registry_taken = false;
}
