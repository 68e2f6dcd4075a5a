#include "gate.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>

#include "arena.h"
#include "delay.h"
#include "kernel.h"
#include "mask.h"
#include "nudge.h"
#include "reclaim.h"
#include "unit.h"

/*
 * The protocol
 *
 * Threads. The mutator: whichever thread is in the VM; one at a time, and the host orders one after the other.
 * The reclaimer: one thread a process. The closer: a mutator that frees GG_State. Others: threads in the mmap
 * hooks, which may gate a VM that runs elsewhere.
 *
 * Shared state.
 *   field        written by                       read by     order
 *   busy         mutator                          reclaimer   relaxed | 1 at entry, release at exit; acquire
 *   want         reclaimer, mutator (slow path)   both        acquire in the fast path, all writes are RMW
 *   the heap     whoever is inside                the same    by busy and want
 *   the work     whoever runs the unit; the reclaimer, while none is posted           by REQUEST in want
 *   the ledger   whoever runs the unit; read by the reclaimer while none is posted    by REQUEST in want
 *   place        the host (lua_setallocf), us     reclaimer   checked before each unit of a hold
 *   life         a lock: the reclaimer holds it while it touches the arena's memory (unit, purge, a hint), the
 *                closer and the munmap hook take it before that memory goes away
 *
 * States of a slot (arena.h): FREE - GATED - ARMED - CLOSING - DEAD - FREE; GATED or ARMED - LOST - DEAD.
 *
 * Ordering. Entry stores busy|1, then loads want; a hold sets HOLD, then loads busy. Store then load on both
 * sides: each needs a full fence between the two, or both could miss each other. The reclaimer executes the
 * fence for both: membarrier interrupts every running thread of the process. Either the mutator's store came
 * before it, then the reclaimer sees busy; or the mutator's load comes after it, then it sees HOLD. The
 * compiler barrier keeps that order in the instructions. Where membarrier is missing FENCED is set for good and
 * entry goes through the slow path, which has the fence.
 *   A wake is the same: the reclaimer sets WAKE and looks whether busy has moved since it last looked around. Without
 * the fence a call could be in neither's sight, and nobody would look at what it did until the next one. Odd busy
 * counts as moved: what that call does after it has passed want, nobody will tell.
 *   The other orderings are real, on arm64 too: exit's release makes the mutator's writes to the heap visible
 * to the reclaimer that reads busy even (acquire); release's RMW makes the reclaimer's visible to the mutator
 * that reads want without HOLD (acquire). A posted unit goes the same way there and back.
 *   Entry sets seq | 1, exit (seq | 1) + 1: a call that never returned (longjmp out of a signal handler, a
 * forked child) can't invert the sense of busy for good. An unchanged busy says that nothing has happened.
 *
 * Who works. The reclaimer posts a request; the mutator's next calls do it, a unit each, and the last takes REQUEST off.
 * Between two of them it is as if it had just been posted. Only when busy has not moved for some
 * milliseconds does the reclaimer hold the arena, for one unit of bounded length, and gives way: a waiting
 * mutator makes it go back to asking.
 *
 * Fork. want, waiters and life are on pages that the kernel zeroes in the child (raw clone included). want == 0
 * sends the child's first call into ljt_arena_reborn, on the only thread that can be in this VM. The prepare
 * handler excludes holds, not claims: the ledger is ordinary memory and agrees with the heap whenever no unit
 * runs. A unit run by the mutator can't be interrupted by a fork in that VM: it is the thread that would fork.
 *
 * Teardown. GG_State freed through the gate: the closer is inside (busy is odd), so no hold begins; one that
 * began has ended before the slow path goes on. It takes life (a purge under way ends first), leaves ARMED, and
 * unmaps the segments as lj_alloc_destroy would. The slot is used again when its state is DEAD and busy even.
 *
 * A claimed page may be purged because its chunk is in use for lj_alloc and unknown to the VM: nobody reads or
 * writes its bytes but its header (c, c + 16), which neighbours change when they are freed; those are never
 * purged. It can't be unmapped either: lj_alloc unmaps segments without chunks in use only, and trims above
 * top. That holds until the hand-back, which comes after the last purge of the chunk returned, in program order
 * of the reclaimer, through the same REQUEST or HOLD. What unmaps regardless of chunks, the closer and a host
 * that took the gate away, takes life first. The latter needs that during a hold even where nothing is claimed: the
 * unit may be anywhere in the heap, and no call steps aside for it.
 *
 * tests/model has this as a spin model, with the same names.
 */

struct ljt_gate ljt_gates[LJT_GATES];

struct ljt_wiped ljt_wiped;  /* in .bss: anonymous memory, which alone can be wiped on fork */
static bool wiped_by_kernel; /* it says */

/*
 * How long a fork waits for a hold to end: much longer than a processor is taken from the reclaimer on a machine with
 * more to run than it can. A child of the middle of a unit would have a torn heap.
 */
#define FORK_PATIENCE ((uint64_t)1000000000)

/* How long a mutator spins before it sleeps. Not for all of a hold: its holder may be off this very processor. */
#define SPINS 100

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- The reclaimer's side ---- */

static void clear_hold(struct ljt_gate_word *w)
{
    /* Pairs with entry; and, with the load of waiters behind it, with step_aside. */
    atomic_fetch_and_explicit(&w->want, ~(uint32_t)LJT_WANT_HOLD, memory_order_seq_cst);
    if (atomic_load_explicit(&w->waiters, memory_order_seq_cst) != 0)
        ljt_kernel.futex_wake((const volatile void *)&w->want, 1);
    atomic_store_explicit(&ljt_wiped.holding, 0, memory_order_release);
}

/*
 * The fence between a bit that is set and a look at busy, for both sides. False if a sandbox has closed meanwhile:
 * entries have their own fence from now on, but those under way have not.
 */
static bool fence_everybody(void)
{
    if (!ljt_kernel_facts.membarrier) {
        atomic_thread_fence(memory_order_seq_cst);
        return true;
    }
    if (ljt_kernel.membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0)
        return true;
    ljt_reclaim_fence();
    return false;
}

bool ljt_gate_hold(unsigned slot, uint64_t patience)
{
    struct ljt_gate_word *w = &ljt_wiped.word[slot];
    struct ljt_gate *g = &ljt_gates[slot];

    atomic_store_explicit(&ljt_wiped.holding, 1, memory_order_seq_cst);
    ljt_dawdle();
    if (atomic_load_explicit(&ljt_wiped.forking, memory_order_seq_cst) != 0) {
        atomic_store_explicit(&ljt_wiped.holding, 0, memory_order_release);
        return false;
    }
    atomic_fetch_or_explicit(&w->want, LJT_WANT_HOLD, memory_order_seq_cst);
    ljt_dawdle();
    if (!fence_everybody()) {
        clear_hold(w);
        return false;
    }
    ljt_dawdle();

    uint64_t start = 0;
    while ((atomic_load_explicit(&g->busy, memory_order_acquire) & 1) != 0) { /* pairs with exit */
        uint64_t now = ljt_kernel.now();
        if (start == 0)
            start = now;
        if (now - start > patience) {
            clear_hold(w);
            return false;
        }
        relax();
    }
    ljt_dawdle();
    ljt_lock_acquire(&w->life);
    return true;
}

void ljt_gate_release(unsigned slot)
{
    struct ljt_gate_word *w = &ljt_wiped.word[slot];
    ljt_lock_release(&w->life);
    ljt_dawdle();
    clear_hold(w);
}

bool ljt_gate_may_sleep(unsigned slot, uint64_t seq)
{
    atomic_fetch_or_explicit(&ljt_wiped.word[slot].want, LJT_WANT_WAKE, memory_order_seq_cst);
    ljt_dawdle();
    return fence_everybody() && (seq & 1) == 0 &&
           atomic_load_explicit(&ljt_gates[slot].busy, memory_order_acquire) == seq;
}

void ljt_gate_init(void)
{
#ifdef MADV_WIPEONFORK
    int saved = errno;
    wiped_by_kernel = ljt_kernel.madvise(&ljt_wiped, sizeof(ljt_wiped), MADV_WIPEONFORK) == 0;
    errno = saved;
#endif
    atomic_store_explicit(&ljt_wiped.unwiped, 1, memory_order_relaxed);
}

/*
 * Pairs with hold: sets forking, then waits for holding; a hold sets holding, then checks forking. Asleep, since the
 * reclaimer may want this very processor. A hold waits for nobody but a call in its heap, and not for long: it ends,
 * unless this thread has stopped the reclaimer, or is in a signal handler over its own call.
 */
void ljt_gate_fork_prepare(void)
{
    int saved = errno;
    atomic_fetch_add_explicit(&ljt_wiped.forking, 1, memory_order_seq_cst);
    ljt_dawdle();
    uint64_t start = ljt_kernel.now();
    while (atomic_load_explicit(&ljt_wiped.holding, memory_order_seq_cst) != 0 &&
           ljt_kernel.now() - start < FORK_PATIENCE)
        ljt_kernel.futex_wait((const volatile void *)&ljt_wiped.holding, 1, 50000);
    errno = saved;
}

void ljt_gate_fork_parent(void)
{
    atomic_fetch_sub_explicit(&ljt_wiped.forking, 1, memory_order_release); /* pairs with hold */
}

void ljt_gate_fork_child(void)
{
    /* Success of the advice says nothing: qemu's user mode accepts it and wipes nothing. */
    if (!wiped_by_kernel || atomic_load_explicit(&ljt_wiped.unwiped, memory_order_relaxed) != 0)
        memset(&ljt_wiped, 0, sizeof(ljt_wiped));
    atomic_store_explicit(&ljt_wiped.unwiped, 1, memory_order_relaxed);
}

/* ---- The mutator's side ---- */

static inline void enter(struct ljt_gate *g)
{
    uint64_t seq = atomic_load_explicit(&g->busy, memory_order_relaxed);
    atomic_store_explicit(&g->busy, seq | 1, memory_order_relaxed);
    ljt_delay();
}

static inline void leave(struct ljt_gate *g)
{
    uint64_t seq = atomic_load_explicit(&g->busy, memory_order_relaxed);
    ljt_delay();
    atomic_store_explicit(&g->busy, (seq | 1) + 1, memory_order_release); /* pairs with hold */
}

/* Leaves the heap to the reclaimer until it lets go; returns with busy set again. */
static void step_aside(struct ljt_gate *g, struct ljt_gate_word *w)
{
    leave(g);
    for (unsigned spin = 0;; spin++) {
        uint32_t want = atomic_load_explicit(&w->want, memory_order_acquire);
        if ((want & LJT_WANT_HOLD) == 0)
            break;
        if (spin < SPINS) {
            relax();
            continue;
        }
        atomic_store_explicit(&w->waiters, 1, memory_order_seq_cst);
        ljt_dawdle();
        ljt_kernel.futex_wait((const volatile void *)&w->want, want, 1000000);
        atomic_store_explicit(&w->waiters, 0, memory_order_relaxed);
    }
    enter(g);
}

/* A VM begins or ends: there are locks in that, and the dynamic loader. */
static void undisturbed(void (*step)(unsigned slot), unsigned slot)
{
    sigset_t before;
    ljt_mask_signals(&before);
    step(slot);
    ljt_mask_restore(&before);
}

/*
 * Everything that is wanted of the mutator, with busy set. Takes bits off `want` one at a time and looks again, so
 * that a bit that comes meanwhile is seen too. A nudge waits for a call that grows, a unit for one that was not kept
 * waiting.
 */
static void serve(unsigned slot, bool grows)
{
    uint32_t later = LJT_WANT_FENCED | (grows ? 0 : LJT_WANT_NUDGE);
    struct ljt_gate *g = &ljt_gates[slot];
    struct ljt_gate_word *w = &ljt_wiped.word[slot];
    int saved = errno;
    uint64_t start = 0;
    bool adoption = false;
    for (;;) {
        atomic_thread_fence(memory_order_seq_cst); /* entry's own fence, for a host without membarrier */
        uint32_t want = atomic_load_explicit(&w->want, memory_order_acquire);
        if (want == 0) /* wiped, or adopted a moment ago by another thread: an RMW reads the latest value */
            want = atomic_fetch_or_explicit(&w->want, 0, memory_order_acq_rel);
        if ((want & ~later) == LJT_WANT_LIVE)
            break;
        if (start == 0)
            start = ljt_kernel.now();
        adoption |= want == 0 || (want & (LJT_WANT_PROVE | LJT_WANT_START)) != 0;
        if (want == 0) {
            undisturbed(ljt_arena_reborn, slot);
        } else if (want & LJT_WANT_HOLD) {
            step_aside(g, w);
            later |= LJT_WANT_REQUEST; /* a unit on top of that: not in the same wait */
        } else if (want & LJT_WANT_PROVE) {
            atomic_fetch_and_explicit(&w->want, ~(uint32_t)LJT_WANT_PROVE, memory_order_acq_rel);
            undisturbed(ljt_arena_prove, slot);
        } else if (want & LJT_WANT_REQUEST & ~later) {
            bool last = ljt_unit_serve(&ljt_arenas[slot]);
            ljt_dawdle();
            if (last)
                atomic_fetch_and_explicit(&w->want, ~(uint32_t)LJT_WANT_REQUEST, memory_order_acq_rel);
            later |= LJT_WANT_REQUEST; /* one a call */
        } else if (want & LJT_WANT_START) {
            atomic_fetch_and_explicit(&w->want, ~(uint32_t)LJT_WANT_START, memory_order_acq_rel);
            undisturbed(ljt_arena_consider_start, slot);
        } else if (want & LJT_WANT_NUDGE & ~later) {
            if (atomic_fetch_and_explicit(&w->want, ~(uint32_t)LJT_WANT_NUDGE, memory_order_acq_rel) &
                LJT_WANT_NUDGE)
                ljt_nudge_give(&ljt_arenas[slot]);
        } else {
            atomic_fetch_and_explicit(&w->want, ~(uint32_t)LJT_WANT_WAKE, memory_order_acq_rel);
            ljt_reclaim_wake();
        }
    }
    ljt_idle_witness(&ljt_arenas[slot]);
    if (adoption) /* once in a VM's life: counted apart, so that it does not pass for what others pay */
        ljt_arenas[slot].stats.adoption += ljt_kernel.now() - start;
    else if (start != 0)
        ljt_histogram_add(&ljt_arenas[slot].stats.waits, ljt_kernel.now() - start);
    errno = saved;
}

/*
 * A call for which something is wanted, or one that touches GG_State. If that is freed the VM closes: lua_close
 * calls allocf only if it is not lj_alloc_f, else it would have destroyed the arena, so that is our job.
 */
static __attribute__((noinline, cold)) void *slow_call(void *ud, void *ptr, size_t osize, size_t nsize,
                                                       unsigned slot)
{
    struct ljt_gate *g = &ljt_gates[slot];
    void *mem = NULL;
    serve(slot, nsize > osize);
    bool closes = ptr != NULL && ptr == g->gg && nsize == 0 && ljt_arena_owns(slot, ud);
    if (closes)
        undisturbed(ljt_arena_close, slot);
    else
        mem = g->allocf(ud, ptr, osize, nsize);
    leave(g);
    if (closes && ljt_reclaim_running())
        ljt_reclaim_wake(); /* to sweep the slot: not before busy is even, else it passes it by and sleeps on */
    return mem;
}

static inline __attribute__((always_inline)) void *gate(void *ud, void *ptr, size_t osize, size_t nsize,
                                                        unsigned slot)
{
    struct ljt_gate *g = &ljt_gates[slot];
    enter(g);
    atomic_signal_fence(memory_order_seq_cst); /* the fence itself is the reclaimer's membarrier */
    if (__builtin_expect(
            atomic_load_explicit(&ljt_wiped.word[slot].want, memory_order_acquire) != LJT_WANT_LIVE, 0) ||
        __builtin_expect(ptr == g->gg, 0))
        return slow_call(ud, ptr, osize, nsize, slot);
    void *mem = g->allocf(ud, ptr, osize, nsize);
    leave(g);
    return mem;
}

/*
 * 256 functions, and which is which. Each begins a cache line of code: a call then takes a fourth less of what a trampoline
 * adds to it (2.4 ns in place of 3.2, of which 1.9 are a function in between that does nothing at all).
 */
/* clang-format off */
#define TRAMPOLINE(n)                                                            \
    static __attribute__((aligned(64)))                                          \
    void *trampoline_##n(void *ud, void *ptr, size_t osize, size_t nsize)        \
    {                                                                            \
        return gate(ud, ptr, osize, nsize, 0x##n);                               \
    }
#define ROW(X, h)                                                                \
    X(h##0) X(h##1) X(h##2) X(h##3) X(h##4) X(h##5) X(h##6) X(h##7)              \
    X(h##8) X(h##9) X(h##a) X(h##b) X(h##c) X(h##d) X(h##e) X(h##f)
#define ROWS(X)                                                                  \
    ROW(X, 0) ROW(X, 1) ROW(X, 2) ROW(X, 3) ROW(X, 4) ROW(X, 5) ROW(X, 6) ROW(X, 7) \
    ROW(X, 8) ROW(X, 9) ROW(X, a) ROW(X, b) ROW(X, c) ROW(X, d) ROW(X, e) ROW(X, f)
#define CASE(n) case 0x##n: return trampoline_##n;
/* clang-format on */

ROWS(TRAMPOLINE)

/* No table of pointers: the dynamic linker would write to each of them, in every process. */
ljt_alloc_fn *ljt_gate_trampoline(unsigned slot)
{
    static_assert(LJT_GATES == 0x100, "one trampoline a slot");
    switch (slot) {
        ROWS(CASE)
    default: return NULL;
    }
}
