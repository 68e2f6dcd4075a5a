/*
 * From end to end, in one process: a VM that drops what it had, and the thread that gives it back.
 *
 * The mmap hooks are not in this process: what they would say is said here. Sizes come from the kernel (mincore).
 */
#include "lab.h"

#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ljtrim.h"
#include "next.h"
#include "policy.h"
#include "stats.h"

#define MS UINT64_C(1000000)

static void set_up(void)
{
    lab_init();
    atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_NONE);
    ljt_config.interval_ms = 10;
    ljt_config.decay_ms = 20;
    ljt_config.min_reclaim = 64 * KIB;
    ljt_config.max_cpu_pct = 100;
}

TestSuite(reclaim, .init = set_up, .timeout = LAB_TIMEOUT);

/* What the hooks would have told: the module's segments are not what they were. */
static void tell_of_mappings(void)
{
    ljt_arena_remapped(0, 1 * MIB, 1 * MIB, lab_pc());
}

/* N strings, 1 in 200 of which survives, with a pattern: one at least in every 128 KiB, so that the VM unmaps nothing. */
static const char *const fill =
    "keep, gone = {}, {} "
    "function piece(i) return ('%d:'):format(i) .. ('x'):rep(200 + i % 57) end "
    "for i = 1, N do gone[i] = piece(i) if i % 200 == 0 then keep[i / 200] = piece(i) end end "
    "check = function() for i = 1, N / 200 do assert(keep[i] == piece(i * 200)) end end";
static const char *const drop = "gone = nil collectgarbage() collectgarbage()";

static struct lab_vm peak(unsigned pieces)
{
    struct lab_vm vm = lab_vm_open();
    luaL_openlibs(vm.L);
    lab_vm_announce(&vm);
    lua_pushinteger(vm.L, (lua_Integer)pieces);
    lua_setglobal(vm.L, "N");
    lab_run(vm.L, fill);
    lab_vm_mapped_again(&vm); /* late: the VM is large already */
    lab_run(vm.L, "check()");
    cr_assert(lab_arena_of(vm.m) != NULL && ljt_arena_is(lab_arena_of(vm.m), LJT_ARENA_ARMED));
    tell_of_mappings();
    return vm;
}

static size_t resident(const struct lab_vm *vm)
{
    return lab_resident_pages(vm->m) * ljt_page_size;
}

/* Waits until less than `bytes` are resident; `meanwhile` (a chunk of Lua, or NULL) is what the VM does. */
static bool falls_below(const struct lab_vm *vm, size_t bytes, const char *meanwhile)
{
    return lab_await_doing(resident(vm) < bytes,
                           meanwhile != NULL ? lab_run(vm->L, meanwhile) : lab_pause_ms(10));
}

static unsigned threads_named_ljtrim(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (f == NULL)
            continue;
        n += fgets(name, sizeof(name), f) != NULL && strcmp(name, "ljtrim\n") == 0;
        fclose(f);
    }
    closedir(dir);
    return n;
}

__attribute__((noinline, no_sanitize("thread"))) static bool is_settled(const struct ljt_arena *a)
{
    return *(const volatile bool *)&a->pace.settled;
}

/* ---- Time that passes only when the test says so ---- */

static uint64_t no_cpu(void)
{
    return 0;
}

/* Before the thread starts. A round is due every millisecond, and the budget is never used up. */
static void stop_time(void)
{
    ljt_config.interval_ms = ljt_config.decay_ms = 1;
    ljt_config.max_cpu_pct = 1e6;
    ljt_kernel.thread_cpu = no_cpu;
    lab_fake_time();
    lab_stop_time();
}

/* Has the round that was due at this time come to its end? Seen a moment too soon, it does no harm. */
__attribute__((noinline, no_sanitize("thread"))) static bool round_is_over(const struct ljt_arena *a,
                                                                           uint64_t now)
{
    const volatile struct ljt_pace *p = &a->pace;
    return p->looked == now && p->stage == 0;
}

/* A millisecond passes, and the round that is due is done, however long it takes. The VM keeps moving. */
static bool tick(const struct lab_vm *vm, const char *meanwhile)
{
    const struct ljt_arena *a = lab_arena_of(vm->m);
    lab_pass_time(1 * MS);
    lab_run(vm->L, meanwhile);
    return lab_await_doing(round_is_over(a, ljt_kernel.now()), lab_run(vm->L, meanwhile));
}

enum { PIECES = LAB_SLOWNESS == 1 ? 200000 : 60000 }; /* a quarter is still worth a reclaimer */

/* ---- Nobody is bothered where there is nothing to do ---- */

Test(reclaim, no_thread_for_a_small_vm)
{
    struct lab_vm vm = lab_vm_open();
    lab_vm_arm(&vm);
    cr_expect(!ljt_reclaim_started() && threads_named_ljtrim() == 0);
}

Test(reclaim, one_thread_for_all_vms)
{
    peak(PIECES);
    peak(PIECES);
    cr_expect(lab_await(threads_named_ljtrim() != 0));
    cr_expect(ljt_reclaim_running() && threads_named_ljtrim() == 1);
}

static _Atomic unsigned asked_for_membarrier;

static int no_membarrier(int cmd)
{
    (void)cmd;
    atomic_fetch_add(&asked_for_membarrier, 1);
    errno = ENOSYS;
    return -1;
}

/* Exit would wait for a thread that registers. */
Test(reclaim, nothing_is_begun_for_a_vm_that_closes_soon)
{
    ljt_config.interval_ms = 1000;
    lab_fake_time();
    lab_stop_time();
    ljt_kernel.membarrier = no_membarrier;
    struct lab_vm vm = peak(PIECES / 4);
    cr_assert(ljt_reclaim_running());
    lua_close(vm.L);
    lab_pause_ms(50);
    cr_expect_eq(atomic_load(&asked_for_membarrier), 0);
    lab_pass_time(100 * MS);
    cr_expect(lab_await(atomic_load(&asked_for_membarrier) != 0));
}

/* ---- A peak and its trough ---- */

Test(reclaim, a_silent_vm_falls_to_what_it_needs)
{
    struct lab_vm vm = peak(PIECES);
    size_t high = resident(&vm);
    lab_run(vm.L, drop);
    tell_of_mappings();
    cr_expect(falls_below(&vm, high / 4, NULL), "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    struct ljt_arena *a = lab_arena_of(vm.m);
    cr_expect(lab_await(atomic_load(&a->stats.units[LJT_UNIT_BY_RECLAIMER]) > 0));
    lab_run(vm.L, "check()");
    lab_run(vm.L, fill);
    lab_run(vm.L, "check()");
}

static ljt_alloc_fn *real_allocf;
static struct ljt_arena *linger_in;
static uint64_t given_up, units_meanwhile;

/* Stays in one call until holds have been given up because of it. The trim is a reason to try them. */
static void *linger(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct ljt_arena *a = linger_in;
    linger_in = NULL;
    if (a != NULL) {
        uint64_t withdrawn = lab_glance(&a->stats.withdrawn);
        uint64_t units = atomic_load(&a->stats.units[LJT_UNIT_BY_RECLAIMER]);
        ljtrim_trim(0, 60000, LJTRIM_NO_WAIT);
        (void)lab_await((given_up = lab_glance(&a->stats.withdrawn) - withdrawn) >= 3);
        units_meanwhile = atomic_load(&a->stats.units[LJT_UNIT_BY_RECLAIMER]) - units;
    }
    return real_allocf(ud, ptr, osize, nsize);
}

/* Under life, which a unit of the reclaimer's has. */
static void serve_by(struct ljt_arena *a, ljt_alloc_fn *allocf)
{
    ljt_lock_acquire(&ljt_wiped.word[a->slot].life);
    ljt_gates[a->slot].allocf = allocf;
    ljt_lock_release(&ljt_wiped.word[a->slot].life);
}

Test(reclaim, no_unit_is_done_while_a_call_is_under_way)
{
    struct lab_vm vm = peak(PIECES);
    struct ljt_arena *a = lab_arena_of(vm.m);
    real_allocf = a->allocf;
    linger_in = a;
    serve_by(a, linger);
    lab_run(vm.L, "local t = {1}");
    serve_by(a, real_allocf);
    cr_expect(given_up >= 3, "holds were tried: %llu", (unsigned long long)given_up);
    cr_expect(units_meanwhile == 0, "%llu units", (unsigned long long)units_meanwhile);
    lab_run(vm.L, drop);
    lab_run(vm.L, "check()");
}

Test(reclaim, a_busy_vm_does_the_units_itself)
{
    stop_time(); /* else it would be silent whenever it has no processor */
    struct lab_vm vm = peak(PIECES);
    size_t high = resident(&vm);
    lab_run(vm.L, drop);
    tell_of_mappings();
    bool on_time = true;
    cr_expect(lab_await_doing(resident(&vm) < high / 4 || !on_time,
                              on_time = tick(&vm, "for i = 1, 2000 do local t = {i} end check()")));
    cr_expect(on_time && resident(&vm) < high / 4, "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    struct ljt_arena *a = lab_arena_of(vm.m);
    cr_expect(atomic_load(&a->stats.units[LJT_UNIT_BY_MUTATOR]) > 0);
    cr_expect(atomic_load(&a->stats.units[LJT_UNIT_BY_RECLAIMER]) == 0);
    cr_expect(ljt_histogram_count(&a->stats.waits) > 0);
    lab_run(vm.L, "check()");
}

Test(reclaim, a_fake_day_passes)
{
    ljt_config.interval_ms = 60 * 1000;
    ljt_config.decay_ms = 3600 * 1000;
    lab_fake_time();
    lab_stop_time();
    struct lab_vm vm = peak(PIECES);
    size_t high = resident(&vm);
    lab_run(vm.L, drop);
    tell_of_mappings();
    uint64_t start = ljt_kernel.now();
    lab_go_on();
    cr_expect(falls_below(&vm, high / 4, NULL), "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    uint64_t passed = ljt_kernel.now() - start;
    cr_expect(passed >= 3600 * 1000 * MS, "not before the pages are old: %llu s",
              (unsigned long long)(passed / 1000 / MS));
    lab_run(vm.L, "check()");
}

static uint64_t costly_cpu(void)
{
    static uint64_t calls;
    return calls++ == 0 ? 0 : 10000 * MS + calls * MS / 20; /* ten seconds at first, then 50 us a wake */
}

Test(reclaim, a_small_budget_is_waited_for_not_waited_away)
{
    ljt_config.max_cpu_pct = 0.01;
    ljt_kernel.thread_cpu = costly_cpu;
    lab_fake_time();
    struct lab_vm vm = peak(PIECES);
    size_t high = resident(&vm);
    lab_run(vm.L, drop);
    tell_of_mappings();
    cr_expect(falls_below(&vm, high / 4, NULL), "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    lab_run(vm.L, "check()");
}

Test(reclaim, all_that_is_claimed_is_handed_back)
{
    struct lab_vm vm = peak(PIECES);
    size_t high = resident(&vm);
    lab_run(vm.L, drop);
    tell_of_mappings();
    cr_assert(falls_below(&vm, high / 4, NULL));
    struct ljt_arena *a = lab_arena_of(vm.m);
    cr_assert(lab_await(is_settled(a)));
    cr_assert(ljt_gate_hold(a->slot, 100 * MS));
    cr_expect(a->work.claims == 0);
    lab_prove(vm.m);
    ljt_gate_release(a->slot);
}

Test(reclaim, poisoned_pages_are_nobody_s)
{
    ljt_config.debug = LJT_DEBUG_POISON | LJT_DEBUG_VERIFY;
    lab_catch_stderr();
    struct lab_vm vm = peak(PIECES / 4);
    struct ljt_arena *a = lab_arena_of(vm.m);
    uint64_t calls = 0;
    for (int round = 0; round < 6; round++) {
        lab_run(vm.L, drop);
        tell_of_mappings();
        for (int i = 0; i < 40; i++) {
            lab_run(vm.L, "for i = 1, 200 do local t = {i, 'k' .. i} end check()");
            lab_pause_ms(2);
        }
        cr_assert(lab_await_doing(lab_glance(&a->stats.purge_calls) > calls, lab_run(vm.L, "check({})")));
        lab_run(vm.L, fill);
        lab_run(vm.L, "check()");
        calls = lab_glance(&a->stats.purge_calls);
    }
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED));
    cr_expect(lab_said_lines() == 0, "said: %s", lab_said());
}

Test(reclaim, observing_purges_nothing)
{
    ljt_config.mode = LJT_MODE_OBSERVE;
    struct lab_vm vm = peak(PIECES);
    lab_run(vm.L, drop);
    tell_of_mappings();
    struct ljt_arena *a = lab_arena_of(vm.m);
    uint64_t looks = lab_glance(&a->stats.looks); /* those that the peak has had do not count */
    cr_expect(lab_await(lab_glance(&a->stats.looks) >= looks + 2 && lab_glance(&a->stats.purgeable) > 0));
    cr_expect(lab_glance(&a->stats.purged) == 0);
}

/* ---- The policy at work ---- */

static uint64_t live_bytes(const struct lab_vm *vm)
{
    return (uint64_t)lua_gc(vm->L, LUA_GCCOUNT, 0) << 10;
}

/*
 * What makes a VM quiet is time, and load must not pass for it: a thread without a processor allocates nothing. Hence the
 * clock that stands still: the VM is busy for less time than any VM needs to be found quiet, and then quiet.
 */
Test(reclaim, a_busy_vm_keeps_its_slack_and_a_quiet_one_does_not)
{
    enum { TICKS = 80 };
    static_assert(TICKS * MS < LJT_POLICY_QUIET_MIN, "not quiet before the last of them");
    ljt_config.retain_pct = 2000; /* the survivors' pages, the floor, are ten times the survivors */
    stop_time();
    struct lab_vm vm = lab_vm_open();
    luaL_openlibs(vm.L);
    lab_vm_announce(&vm);
    lab_run(vm.L,
            "keep = nil for i = 1, 20000 do keep = {keep} end"); /* nothing that is mapped directly, unseen */
    lab_vm_mapped_again(&vm);
    lab_run(vm.L, "keep = nil");
    struct ljt_arena *a = lab_arena_of(vm.m);
    cr_assert(a != NULL && a->gc_width != 0);
    lua_pushinteger(vm.L, PIECES);
    lua_setglobal(vm.L, "N");
    lab_run(vm.L, fill);
    ljt_arena_consider_start(a->slot);
    lab_run(vm.L, drop);
    tell_of_mappings();
    size_t slack = 20 * live_bytes(&vm), least = SIZE_MAX;
    for (int i = 0; i < TICKS; i++) {
        cr_assert(tick(&vm, "for i = 1, 2000 do gone = {piece(i)} end")); /* stored: not optimised away */
        if (resident(&vm) < least)
            least = resident(&vm);
    }
    cr_expect(lab_glance(&a->stats.purged) > 0 && lab_glance(&a->stats.looks) >= 6);
    lab_go_on();
    (void)lab_await(is_settled(a));
    size_t floor = resident(&vm);
    /* A third of it is seen to stay, as what a look could gain is an estimate; without the slack a hundredth. */
    cr_expect(is_settled(a) && least > floor + slack / 4, "%zu KiB, at last %zu KiB, slack %zu KiB",
              least >> 10, floor >> 10, slack >> 10);
    lab_run(vm.L, "check()");
}

__attribute__((noinline, no_sanitize("thread"))) static unsigned stretch(const struct ljt_arena *a)
{
    return *(const volatile unsigned *)&a->pace.policy.stretch;
}

Test(reclaim, a_sawtooth_stretches_the_decay)
{
    stop_time();
    struct lab_vm vm = peak(PIECES / 4);
    struct ljt_arena *a = lab_arena_of(vm.m);
    for (int round = 0; round < 20 && stretch(a) == 0; round++) {
        uint64_t purged = lab_glance(&a->stats.purged);
        lab_run(vm.L, drop);
        tell_of_mappings();
        for (int i = 0; i < 100 && lab_glance(&a->stats.purged) - purged < MIB; i++)
            cr_assert(tick(&vm, "for i = 1, 4000 do local t = {i} end"));
        lab_run(vm.L, fill); /* within the window */
        lab_run(vm.L, "check()");
        cr_assert(tick(&vm, "check()"));
    }
    cr_expect(stretch(a) > 0 && lab_glance(&a->stats.judged) > 0 && lab_glance(&a->stats.early) > 0);
    cr_expect(lab_glance(&a->stats.early) <= lab_glance(&a->stats.judged));
}

static _Atomic bool box_is_full = true;

static ssize_t full_cgroup(const char *path, char *buf, size_t size)
{
    const char *const file[][2] = {
        {"/proc/self/cgroup", "0::/\n"},
        {"/proc/self/mountinfo", "30 23 0:26 / /box rw - cgroup2 cgroup2 rw\n"},
        {"/box/memory.max", "100\n"},
        {"/box/memory.current", atomic_load(&box_is_full) ? "95\n" : "10\n"},
    };
    for (size_t i = 0; i < sizeof(file) / sizeof(file[0]); i++)
        if (strcmp(path, file[i][0]) == 0)
            return (ssize_t)strlen(strncpy(buf, file[i][1], size));
    errno = ENOENT;
    return -1;
}

Test(reclaim, under_pressure_neither_age_nor_slack_counts)
{
    ljt_config.interval_ms = ljt_config.decay_ms = 3600 * 1000;
    ljt_config.retain_pct = 100000;
    ljt_config.max_cpu_pct = 1;
    ljt_config.pressure = LJT_PRESSURE_AUTO;
    ljt_kernel.read_file = full_cgroup;
    struct lab_vm vm = peak(PIECES);
    size_t high = resident(&vm);
    lab_run(vm.L, drop);
    tell_of_mappings();
    cr_expect(falls_below(&vm, high / 4, NULL), "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    lab_run(vm.L, "check()");
}

/* The VM is quiet and its pages are far from their age: the thread has nothing else to wake for. */
Test(reclaim, pressure_is_seen_while_pages_wait_for_their_age)
{
    ljt_config.decay_ms = 3600 * 1000;
    ljt_config.pressure = LJT_PRESSURE_AUTO;
    ljt_kernel.read_file = full_cgroup;
    atomic_store(&box_is_full, false);
    struct lab_vm vm = peak(PIECES);
    struct ljt_arena *a = lab_arena_of(vm.m);
    size_t high = resident(&vm);
    cr_assert(lab_await(lab_glance(&a->pace.policy.seen) != 0), "else the drop would not be seen as a peak");
    lab_run(vm.L, drop);
    tell_of_mappings();
    cr_assert(lab_await_doing(
        lab_glance(&a->stats.quiet),
        (lab_run(vm.L, "local t = {}"), lab_pause_ms(50)))); /* it has to move, or the arena would settle */
    cr_assert(resident(&vm) > high / 2, "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    atomic_store(&box_is_full, true);
    cr_expect(falls_below(&vm, high / 4, NULL), "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    lab_run(vm.L, "check()");
}

/* ---- A kernel that does not want to ---- */

static _Atomic unsigned advised;
static _Atomic int madvise_errno;
static int (*real_madvise)(void *addr, size_t len, int advice);

/* What is tried out at the start works. */
static int failing_madvise(void *addr, size_t len, int advice)
{
    if (advice != MADV_DONTNEED || len <= ljt_page_size)
        return real_madvise(addr, len, advice);
    atomic_fetch_add(&advised, 1);
    errno = atomic_load(&madvise_errno);
    return -1;
}

static ssize_t failing_batch(const struct iovec *ranges, size_t count, int advice)
{
    (void)ranges, (void)count, (void)advice;
    errno = ENOSYS;
    return -1;
}

static void purge_in_vain(int error)
{
    real_madvise = ljt_kernel.madvise;
    atomic_store(&madvise_errno, error);
    ljt_kernel.madvise = failing_madvise;
    ljt_kernel.process_madvise = failing_batch;
    lab_catch_stderr();
    struct lab_vm vm = peak(PIECES);
    lab_run(vm.L, drop);
    tell_of_mappings();
    cr_expect(
        lab_await_doing(atomic_load(&advised) >= 3 && lab_said_lines() != 0,
                        (lab_run(vm.L, "for i = 1, 100 do local t = {i} end check()"), lab_pause_ms(10))));
    struct ljt_arena *a = lab_arena_of(vm.m);
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED));
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), strerror(error)) != NULL, "said: %s", lab_said());
    lab_run(vm.L, fill);
    lab_run(vm.L, "check()");
    lua_close(vm.L);
}

Test(reclaim, locked_memory_costs_one_line)
{
    purge_in_vain(EINVAL);
}

Test(reclaim, a_kernel_out_of_memory_costs_one_line)
{
    purge_in_vain(ENOMEM);
}

/* Zeroes once, for the VM to be taken, and from then on not. */
static int lazy_madvise(void *addr, size_t len, int advice)
{
    if (advice == MADV_DONTNEED && atomic_fetch_add(&advised, 1) == 0)
        return real_madvise(addr, len, advice);
    return 0;
}

Test(reclaim, nothing_is_purged_where_dontneed_does_not_zero)
{
    real_madvise = ljt_kernel.madvise;
    ljt_kernel.madvise = lazy_madvise;
    lab_catch_stderr();
    struct lab_vm vm = peak(PIECES);
    lab_run(vm.L, drop);
    tell_of_mappings();
    struct ljt_arena *a = lab_arena_of(vm.m);
    cr_expect(lab_await(lab_glance(&a->stats.looks) >= 3), "it still looks");
    cr_expect(lab_glance(&a->stats.purged) == 0);
    cr_expect(atomic_load(&advised) == 2, "tried once more");
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "nothing is purged") != NULL, "said: %s",
              lab_said());
    lab_run(vm.L, "check()");
}

Test(reclaim, a_kernel_without_membarrier_will_do)
{
    ljt_kernel.membarrier = no_membarrier;
    struct lab_vm vm = peak(PIECES);
    size_t high = resident(&vm);
    lab_run(vm.L, drop);
    tell_of_mappings();
    cr_expect(falls_below(&vm, high / 4, NULL), "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    cr_expect(ljt_reclaim_fenced() && !ljt_kernel_facts.membarrier);
    lab_run(vm.L, fill);
    lab_run(vm.L, "check()");
    struct lab_vm later = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&later);
    cr_expect((atomic_load(&ljt_wiped.word[a->slot].want) & LJT_WANT_FENCED) != 0,
              "those that come later, too");
}

/* ---- Closing, losing, dumping while it works ---- */

Test(reclaim, vms_close_in_the_middle_of_it)
{
    lab_catch_stderr();
    for (int i = 0; i < 12; i++) {
        struct lab_vm vm = peak(PIECES / 4);
        lab_run(vm.L, drop);
        tell_of_mappings();
        lab_pause_ms(i * 5);
        lab_run(vm.L, "check()");
        lua_close(vm.L);
    }
    cr_expect(lab_await(ljt_arena_is(&ljt_arenas[0], LJT_ARENA_FREE)) && ljt_arenas[0].shadow.table == NULL);
    cr_expect(lab_said_lines() == 0, "said: %s", lab_said());
}

/* No look comes within the hour: what goes is what a fall has left free, and the VM is at work meanwhile. */
Test(reclaim, segments_of_a_patched_heap_go_while_the_vm_works)
{
    ljt_config.mode = LJT_MODE_PATCHED;
    ljt_config.interval_ms = 3600 * 1000;
    ljt_config.decay_ms = 200;
    struct lab_vm vm = lab_vm_open();
    luaL_openlibs(vm.L);
    /* The lab's arena grows behind the collector's back. */
    lab_run(vm.L, "pad = {} for i = 1, 3000 do pad[i] = { i } end");
    struct ljt_arena *a = lab_vm_arm(&vm);
    if (!a->is_patched)
        cr_skip_test("this LuaJIT has no GC64");
    lab_run(vm.L, "N = 10000");
    lab_run(vm.L, fill);
    const char *work = "for i = 1, 2000 do local t = { piece(i) } end check()";
    lab_run(vm.L, "t = {} for i = 1, 60000 do t[i] = piece(i) end");
    size_t high = atomic_load(&a->patched.footprint);
    cr_assert(lab_await_doing(lab_glance(&a->pace.fall.from) > high / 2, lab_run(vm.L, work)));
    lab_run(vm.L, "t = nil collectgarbage() collectgarbage()");
    cr_expect(lab_await_doing(atomic_load(&a->patched.footprint) < high * 2 / 3, lab_run(vm.L, work)));
    for (int i = 0; i < 10; i++) { /* wanted back at once, and in the middle of it */
        lab_run(vm.L, "t = {} for i = 1, 20000 do t[i] = piece(i) end check()");
        lab_run(vm.L, "t = nil collectgarbage() check()");
        lab_run(vm.L, work);
    }
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED));
    lua_close(vm.L);
}

Test(reclaim, a_host_that_sets_allocf_back_is_left_alone)
{
    lab_catch_stderr();
    struct lab_vm vm = peak(PIECES);
    struct ljt_arena *a = lab_arena_of(vm.m);
    ljtrim_pause(0); /* or all would be done, and nobody look at it any more */
    lab_run(vm.L, drop);
    tell_of_mappings();
    lua_setallocf(vm.L, vm.allocf, vm.m);
    cr_assert(ljtrim_resume() == 0);
    cr_expect(lab_await(ljt_arena_is(a, LJT_ARENA_LOST)));
    cr_expect(lab_await(lab_said_lines() != 0));
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "allocator back") != NULL, "said: %s", lab_said());
    lab_run(vm.L, fill);
    lab_run(vm.L, "check()");
}

static struct lab_vm wrapped;

static void *wrapper(void *ud, void *ptr, size_t osize, size_t nsize)
{
    return ljt_gate_trampoline(lab_arena_of(wrapped.m)->slot)(ud, ptr, osize, nsize);
}

Test(reclaim, a_host_that_wraps_the_gate_keeps_its_wrapper)
{
    lab_catch_stderr();
    wrapped = peak(PIECES);
    size_t high = resident(&wrapped);
    lua_setallocf(wrapped.L, wrapper, wrapped.m);
    lab_run(wrapped.L, drop);
    tell_of_mappings();
    cr_expect(falls_below(&wrapped, high / 4, "for i = 1, 100 do local t = {i} end"), "%zu of %zu KiB",
              resident(&wrapped) >> 10, high >> 10);
    cr_expect(lab_vm_allocf(&wrapped) == wrapper && lab_said_lines() == 0, "said: %s", lab_said());
    const struct ljt_arena *a = lab_arena_of(wrapped.m);
    uint64_t by_reclaimer = atomic_load(&a->stats.units[LJT_UNIT_BY_RECLAIMER]);
    lab_run(wrapped.L, fill);
    lab_run(wrapped.L, drop);
    tell_of_mappings();
    lab_pause_ms(300); /* silent, but the gate does not keep out who may come through the wrapper alone */
    cr_expect(atomic_load(&a->stats.units[LJT_UNIT_BY_RECLAIMER]) == by_reclaimer, "no unit under a hold");
    lab_run(wrapped.L, "check()");
}

Test(reclaim, the_signal_brings_a_dump)
{
    ljt_next_init();
    lab_catch_stderr();
    struct lab_vm vm = peak(PIECES);
    cr_assert(lab_await(lab_glance(&lab_arena_of(vm.m)->stats.looks) != 0));
    raise(SIGUSR2);
    cr_expect(
        lab_await(strstr(lab_said(), "total: 1 arena\n") != NULL && strstr(lab_said(), "holds") != NULL),
        "said: %s", lab_said());
}

static int wakes_nobody(const volatile void *word, int waiters)
{
    (void)word, (void)waiters;
    errno = ENOSYS;
    return -1;
}

Test(reclaim, who_can_not_be_woken_costs_one_line)
{
    lab_catch_stderr();
    ljt_kernel.futex_wake = wakes_nobody;
    errno = 7;
    for (int i = 0; i < 3; i++)
        ljt_reclaim_wake();
    cr_expect_eq(errno, 7);
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "can't be woken"), "said: %s", lab_said());
}

Test(reclaim, is_asleep_when_nothing_moves)
{
    lab_watch_sleep();
    struct lab_vm vm = peak(PIECES / 4);
    struct ljt_arena *a = lab_arena_of(vm.m);
    lab_run(vm.L, drop);
    tell_of_mappings();
    cr_assert(lab_await(is_settled(a) && lab_is_asleep()));
    uint64_t looks = lab_glance(&a->stats.looks), cpu = ljt_reclaim_cpu();
    unsigned sleeps = lab_sleeps();
    lab_pause_ms(300);
    cr_expect(lab_glance(&a->stats.looks) == looks && ljt_reclaim_cpu() == cpu && lab_sleeps() == sleeps);
    cr_expect((atomic_load(&ljt_wiped.word[a->slot].want) & LJT_WANT_WAKE) != 0, "the VM will ring");
    lab_run(vm.L, fill);
    lab_run(vm.L, drop);
    tell_of_mappings();
    cr_expect(lab_await(lab_glance(&a->stats.looks) > looks));
}
