#include "reclaim.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "arena.h"
#include "config.h"
#include "control.h"
#include "gate.h"
#include "growth.h"
#include "kernel.h"
#include "log.h"
#include "pressure.h"
#include "purge.h"
#include "rounds.h"
#include "sandbox.h"
#include "spending.h"
#include "stats.h"
#include "thread.h"

#define MS ((uint64_t)1000000)
#define SETTLING (100 * MS)

/* ---- The thread's state ---- */

static _Atomic uint32_t bell;         /* rung by adding 1 */
static _Atomic uint32_t dump_request; /* dumps asked for */
static uint32_t dumps_done;           /* of these, written; or asked for in the parent of a fork */
static _Atomic int current = -1;      /* the slot at work on; pairs with take_slot */
static _Atomic bool fenced;
static uint64_t thread_cpu;

void ljt_reclaim_forbid(void)
{
    atomic_store_explicit(&ljt_wiped.reclaimer, LJT_RECLAIMER_FORBIDDEN, memory_order_release);
}

bool ljt_reclaim_is_forbidden(void)
{
    return atomic_load_explicit(&ljt_wiped.reclaimer, memory_order_acquire) == LJT_RECLAIMER_FORBIDDEN;
}

bool ljt_reclaim_has_company(void)
{
    return ljt_kernel.threads() != 1 + (unsigned)ljt_reclaim_running();
}

bool ljt_reclaim_started(void)
{
    return atomic_load_explicit(&ljt_wiped.reclaimer, memory_order_relaxed) != LJT_RECLAIMER_NONE;
}

bool ljt_reclaim_running(void)
{
    return atomic_load_explicit(&ljt_wiped.reclaimer, memory_order_acquire) == LJT_RECLAIMER_STARTED;
}

bool ljt_reclaim_fenced(void)
{
    return atomic_load_explicit(&fenced, memory_order_seq_cst);
}

/* Said once, and as a signal handler may. */
static void complain_of_deafness(void)
{
    static _Atomic bool said;
    if (ljt_log_enabled(LJT_LOG_WARN) && !atomic_exchange_explicit(&said, true, memory_order_relaxed))
        ljt_log_signal(
            "ljtrim: the reclaimer thread can't be woken (futex is refused); when it sleeps this process "
            "keeps its memory\n");
}

void ljt_reclaim_wake(void)
{
    int saved = errno;
    atomic_fetch_add_explicit(&bell, 1, memory_order_release);
    if (ljt_kernel.futex_wake((const volatile void *)&bell, 1) < 0)
        complain_of_deafness();
    errno = saved;
}

uint32_t ljt_reclaim_rung(void)
{
    return atomic_load_explicit(&bell, memory_order_acquire);
}

void ljt_reclaim_sleep(uint32_t rung, uint64_t ns)
{
    ljt_kernel.futex_wait((const volatile void *)&bell, rung, ns);
}

void ljt_reclaim_request_dump(void)
{
    atomic_fetch_add_explicit(&dump_request, 1, memory_order_release);
    ljt_reclaim_wake();
}

bool ljt_reclaim_uses(unsigned slot)
{
    atomic_thread_fence(memory_order_seq_cst);
    return ljt_reclaim_running() && atomic_load_explicit(&current, memory_order_seq_cst) == (int)slot;
}

uint64_t ljt_reclaim_cpu(void)
{
    return __atomic_load_n(&thread_cpu, __ATOMIC_RELAXED);
}

/* ---- An arena's turn ---- */

/*
 * In a forked child a VM is out of bounds until its first call here (ljt_arena_reborn): its thread may not have come
 * along, and what that did while the fork copied the heap page by page may be there by halves.
 */
static bool is_ours(unsigned slot)
{
    return (atomic_load_explicit(&ljt_wiped.word[slot].want, memory_order_acquire) & LJT_WANT_LIVE) != 0;
}

/* Gives an arena its turn. Returns when it next wants one: a time, now for at once, UINT64_MAX for never. */
static uint64_t attend(unsigned slot, uint64_t now)
{
    struct ljt_arena *a = &ljt_arenas[slot];
    uint64_t wish = UINT64_MAX;
    atomic_store_explicit(&current, (int)slot, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    ljt_arena_tell_loss(a); /* lost by the mutator, maybe some time ago */
    if (ljt_arena_is(a, LJT_ARENA_DEAD))
        ljt_arena_sweep(slot);
    if (ljt_arena_is(a, LJT_ARENA_ARMED) && is_ours(slot))
        wish = ljt_rounds_turn(a, now);
    if (ljt_arena_is(a, LJT_ARENA_LOST) && is_ours(slot))
        ljt_purge_gone(a, LJT_ARENA_LOST); /* its own allocator knows nothing of what has left the heap */
    ljt_arena_tell_loss(a);
    atomic_store_explicit(&current, -1, memory_order_release);
    return wish;
}

/* ---- The thread ---- */

void ljt_reclaim_fence(void)
{
    ljt_kernel_facts.membarrier = false;
    atomic_store_explicit(&fenced, true, memory_order_seq_cst); /* pairs with arena.c, fence_if_needed */
    for (unsigned i = 0; i < LJT_GATES; i++) {
        _Atomic uint32_t *word = &ljt_wiped.word[i].want;
        uint32_t want = atomic_load_explicit(word, memory_order_seq_cst);
        while (want != 0 &&
               !atomic_compare_exchange_weak_explicit(word, &want, want | LJT_WANT_FENCED,
                                                      memory_order_seq_cst, memory_order_seq_cst))
            ;
    }
}

/* Here and not where the thread is started: registering for membarrier takes milliseconds where threads run. */
static void find_out(void)
{
    ljt_kernel_probe();
    if (!ljt_kernel_facts.membarrier)
        ljt_reclaim_fence();
    if (!ljt_kernel_facts.dontneed_zeroes)
        ljt_log(LJT_LOG_WARN, "MADV_DONTNEED does not give back zeroed pages here (locked memory? an "
                              "emulator?); nothing is purged");
}

static void dump_if_asked(void)
{
    uint32_t asked = atomic_load_explicit(&dump_request, memory_order_acquire);
    if (asked == dumps_done)
        return;
    dumps_done = asked;
    ljt_stats_dump();
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/*
 * A turn for each arena while the budget lasts; after that for those that owe their VM something. `first` is where the next one
 * starts: an arena that eats the budget must not starve those behind it. Returns when there is more to do: a time.
 */
static uint64_t attend_all(unsigned *first, uint64_t now)
{
    uint64_t wish = UINT64_MAX, owed = UINT64_MAX, pause = ljt_spending_wait();
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire), begin = *first;
    for (unsigned i = 0; i < slots; i++) {
        unsigned slot = (begin + i) % slots;
        if (pause != 0 && !ljt_rounds_owes(&ljt_arenas[slot]))
            continue;
        uint64_t w = attend(slot, now);
        dump_if_asked(); /* not after all of them: each may take some time to answer */
        wish = earlier(wish, w);
        if (ljt_rounds_owes(&ljt_arenas[slot]))
            owed = earlier(owed, w);
        now = ljt_kernel.now();
        if (pause != 0)
            continue;
        *first = slot + 1;
        pause = ljt_spending_wait();
    }
    if (pause == 0)
        return wish;
    if (pause > ljt_pressure_pulse(true) && ljt_pressure_is_worth_a_wake())
        pause = ljt_pressure_pulse(true); /* pressure would fill the budget sooner */
    return earlier(owed, now + pause);
}

/*
 * Nothing is old enough yet, and a program may be over before anything is: its exit would wait for a thread that registers
 * for membarrier (find_out), for 20 ms and more. Only who waits for us cuts that short: not a VM that closes.
 */
static void settle(void)
{
    uint64_t now = ljt_kernel.now(), pause = ljt_config.interval_ms * MS;
    uint64_t end = now + (pause < SETTLING ? pause : SETTLING);
    for (; now < end; now = ljt_kernel.now()) {
        uint32_t rung = ljt_reclaim_rung();
        if (atomic_load_explicit(&dump_request, memory_order_acquire) != dumps_done || ljt_control_urgent())
            return;
        ljt_reclaim_sleep(rung, end - now);
    }
}

static void *reclaimer(void *unused)
{
    (void)unused;
    settle();
    ljt_sandbox_ask_anew();
    if (!ljt_sandbox_kills(LJT_CALL_PRCTL))
        prctl(PR_SET_NAME, "ljtrim");
    find_out();
    ljt_spending_open(ljt_kernel.now());
    ljt_pressure_forget();
    unsigned first = 0;
    for (;;) {
        uint32_t rung = ljt_reclaim_rung();
        uint64_t now = ljt_kernel.now();
        ljt_pressure_check(now);
        ljt_spending_charge(now);
        uint64_t wish = attend_all(&first, now);
        ljt_growth_digest();
        now = ljt_kernel.now(); /* a trim whose time has ended meanwhile has ended */
        ljt_control_report(now);
        __atomic_store_n(&thread_cpu, ljt_kernel.thread_cpu(), __ATOMIC_RELAXED);
        dump_if_asked();
        uint64_t pause = wish == UINT64_MAX ? UINT64_MAX : wish > now ? wish - now : 0;
        pause = ljt_stats_keep(now, pause);
        if (pause != 0)
            ljt_reclaim_sleep(rung, pause);
    }
    return NULL;
}

void ljt_reclaim_start(void)
{
    uint32_t none = LJT_RECLAIMER_NONE;
    uint32_t dumps =
        atomic_load_explicit(&dump_request, memory_order_acquire); /* from STARTED on they count */
    if (!atomic_compare_exchange_strong_explicit(&ljt_wiped.reclaimer, &none, LJT_RECLAIMER_STARTED,
                                                 memory_order_acq_rel, memory_order_relaxed))
        return;
    int saved = errno;
    dumps_done = dumps;
    atomic_store_explicit(&current, -1, memory_order_relaxed);
    int err = ljt_thread_start(reclaimer, NULL);
    if (err != 0) {
        atomic_store_explicit(&ljt_wiped.reclaimer, LJT_RECLAIMER_FAILED, memory_order_release);
        ljt_log(LJT_LOG_WARN, "the reclaimer thread can't be started (%s); this process keeps its memory",
                strerror(err));
    }
    errno = saved;
}
