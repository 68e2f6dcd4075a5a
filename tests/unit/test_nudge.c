/*
 * The nudge: real VMs with garbage, a clock that is moved by hand, and every reason to leave a collector alone.
 */
#include "lab.h"

#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "gc.h"
#include "nudge.h"
#include "pressure.h"

#define MS UINT64_C(1000000)

TestSuite(nudge, .init = lab_init, .timeout = LAB_TIMEOUT);

static struct lab_vm vm;
static struct ljt_arena *arena;

static void open_vm(void)
{
    lab_fake_time();
    lab_stop_time();
    vm = lab_vm_open();
    luaL_openlibs(vm.L);
    arena = lab_vm_arm(&vm);
    lab_vm_know_gc(&vm, arena);
}

/* 8 MB that a cycle has seen alive, then 3 MB more: its own next cycle is far. */
static void fill(void)
{
    lab_run(
        vm.L,
        "keep = {} for i = 1, 8000 do keep[i] = ('x'):rep(1000) .. i end collectgarbage() collectgarbage()"
        "more = {} for i = 1, 3000 do more[i] = ('y'):rep(1000) .. i end");
}

static void drop(void)
{
    lab_run(vm.L, "keep = nil more = nil");
}

/* What the reclaimer does in a round, after so many milliseconds. */
static void round_after(unsigned ms)
{
    lab_pass_time(ms * MS);
    ljt_nudge_consider(arena, ljt_kernel.now());
}

static bool posted(void)
{
    return (atomic_load(&ljt_wiped.word[arena->slot].want) & LJT_WANT_NUDGE) != 0;
}

static uint64_t nudges(void)
{
    return atomic_load(&arena->stats.nudges);
}

static uint64_t in_use(void)
{
    return ljt_arena_gc_total(arena);
}

static void allocate_a_little(void)
{
    lua_newuserdata(vm.L, 1);
    lua_pop(vm.L, 1);
}

/* Quiet rounds with few allocations until no cycle is under way. */
static void be_quiet_until_collected(void)
{
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 100; i++)
            allocate_a_little();
        round_after(1000);
        if (!atomic_load(&arena->nudge.given) && !posted())
            return;
    }
    cr_assert(false, "the cycle does not end");
}

static void expect_none(const char *why)
{
    round_after(1000);
    round_after(1000);
    allocate_a_little();
    round_after(1000);
    allocate_a_little();
    cr_expect(nudges() == 0 && !posted(), "%s", why);
}

/* ---- It works ---- */

Test(nudge, a_quiet_vm_that_has_dropped_its_peak_collects_by_itself)
{
    open_vm();
    fill();
    drop();
    uint64_t before = in_use();
    round_after(1000);
    cr_expect(!posted(), "it was busy in this window, or that is not known");
    round_after(1000);
    cr_expect(posted() && nudges() == 0);
    allocate_a_little();
    cr_expect(!posted() && nudges() == 1);
    be_quiet_until_collected();
    cr_expect(in_use() < before / 4, "%llu of %llu", (unsigned long long)in_use(),
              (unsigned long long)before);
    cr_expect(arena->stats.collected > before / 2 && arena->stats.collected <= before);
    cr_expect(nudges() == 1, "one a cycle: %llu", (unsigned long long)nudges());
}

Test(nudge, machine_code_sees_the_new_threshold)
{
    open_vm();
    lab_run(
        vm.L,
        "loop = function() local t for i = 1, 20000 do t = {i} end end loop() loop()"); /* compiled by now */
    fill();
    drop();
    round_after(1000);
    round_after(1000);
    cr_expect(posted());
    uint64_t before = in_use();
    lab_run(vm.L, "loop() loop()"); /* 1 MB */
    cr_expect(nudges() == 1 && in_use() < before / 4, "%llu of %llu", (unsigned long long)in_use(),
              (unsigned long long)before);
}

Test(nudge, a_live_heap_survives)
{
    open_vm();
    fill();
    round_after(1000);
    round_after(1000);
    allocate_a_little();
    cr_expect(nudges() == 1);
    be_quiet_until_collected();
    lab_run(vm.L, "for i = 1, 8000 do assert(keep[i] == ('x'):rep(1000) .. i) end "
                  "for i = 1, 3000 do assert(more[i] == ('y'):rep(1000) .. i) end");
}

Test(nudge, it_waits_for_a_call_that_asks_for_memory)
{
    open_vm();
    fill();
    ljt_alloc_fn *gate = ljt_gate_trampoline(arena->slot);
    void *block = gate(arena->m, NULL, 0, 1000);
    void *other = gate(arena->m, NULL, 0, 1000);
    round_after(1000);
    round_after(1000);
    block = gate(arena->m, block, 1000, 500);
    gate(arena->m, block, 500, 0);
    cr_expect(posted() && nudges() == 0);
    cr_expect(ljt_histogram_count(&arena->stats.waits) == 0, "nobody has waited");
    gate(arena->m, other, 1000, 2000);
    cr_expect(!posted() && nudges() == 1);
}

/* ---- Whom it leaves alone ---- */

Test(nudge, a_busy_vm_is_not_nudged)
{
    open_vm();
    fill();
    for (int i = 0; i < 5; i++) {
        for (int n = 0; n < 101000; n++)
            ljt_gate_trampoline(arena->slot)(arena->m,
                                             ljt_gate_trampoline(arena->slot)(arena->m, NULL, 0, 32), 32, 0);
        round_after(1000);
        cr_expect(!posted() && nudges() == 0);
    }
}

Test(nudge, it_is_withdrawn_when_the_vm_becomes_busy)
{
    open_vm();
    fill();
    void *block = ljt_gate_trampoline(arena->slot)(arena->m, NULL, 0, 100);
    round_after(1000);
    round_after(1000);
    cr_expect(posted());
    for (int n = 0; n < 101000; n++) /* none of them asks for more */
        block = ljt_gate_trampoline(arena->slot)(arena->m, block, 100, 100);
    round_after(1000);
    cr_expect(!posted() && nudges() == 0);
}

Test(nudge, never_where_it_is_turned_off)
{
    ljt_config.gc_nudge = LJT_GC_NUDGE_OFF;
    open_vm();
    fill();
    expect_none("LJTRIM_GC_NUDGE=off");
}

Test(nudge, never_while_the_program_has_us_pause)
{
    open_vm();
    fill();
    round_after(1000);
    round_after(1000);
    cr_assert(posted());
    cr_assert(ljt_control_pause(0) == 0);
    allocate_a_little();
    cr_expect(!posted() && nudges() == 0);
}

Test(nudge, never_where_only_to_observe)
{
    ljt_config.mode = LJT_MODE_OBSERVE;
    open_vm();
    fill();
    expect_none("LJTRIM_MODE=observe");
}

Test(nudge, never_where_the_program_has_stopped_its_collector)
{
    open_vm();
    fill();
    lab_run(vm.L, "collectgarbage('stop')");
    expect_none("stopped");
}

Test(nudge, never_where_the_program_has_asked_for_a_long_pause)
{
    open_vm();
    lab_run(vm.L, "collectgarbage('setpause', 400)");
    fill();
    struct ljt_gc gc;
    cr_assert(ljt_gc_read(arena, &gc) && ljt_gc_rests(&gc) && gc.pause == 400);
    expect_none("a pause of 400");
}

Test(nudge, never_in_a_cycle_that_is_not_its_own)
{
    open_vm();
    fill();
    lab_run(vm.L, "collectgarbage('step', 0)");
    struct ljt_gc gc;
    cr_assert(ljt_gc_read(arena, &gc) && gc.state != 0);
    uint64_t threshold = gc.threshold;
    round_after(1000);
    round_after(1000);
    cr_expect(!posted());
    atomic_fetch_or(&ljt_wiped.word[arena->slot].want, LJT_WANT_NUDGE); /* posted just before it began */
    ljt_gate_trampoline(arena->slot)(arena->m, NULL, 0, 16);
    cr_expect(ljt_gc_read(arena, &gc) && gc.threshold == threshold && nudges() == 0 && !posted());
}

Test(nudge, never_once_it_is_turned_off)
{
    open_vm();
    fill();
    round_after(1000);
    round_after(1000);
    cr_assert(posted());
    ljt_config.gc_nudge = LJT_GC_NUDGE_OFF;
    allocate_a_little();
    cr_expect(nudges() == 0 && !posted());
}

Test(nudge, never_where_the_program_drives_its_collector_by_hand)
{
    open_vm();
    fill();
    lua_gc(vm.L, LUA_GCSTOP, 0);
    lua_gc(vm.L, LUA_GCRESTART, -1); /* threshold by total, not by estimate */
    expect_none("restarted by hand");
}

Test(nudge, never_where_the_fields_are_not_known)
{
    open_vm();
    fill();
    arena->gc_width = 4;
    expect_none("no GC64");
    arena->gc_width = 0;
    expect_none("unproven");
}

static int take_the_nudge(lua_State *L)
{
    struct ljt_gc gc;
    atomic_fetch_or(&ljt_wiped.word[arena->slot].want, LJT_WANT_NUDGE);
    lua_newuserdata(L, 100);
    cr_expect(ljt_gc_read(arena, &gc) && gc.threshold >= UINT64_C(1) << 47);
    return 0;
}

Test(nudge, never_within_a_finalizer)
{
    open_vm();
    fill();
    lab_finalize_by(vm.L, take_the_nudge);
    atomic_store(&arena->nudge.given, true); /* not even in a cycle of its own */
    lua_gc(vm.L, LUA_GCCOLLECT, 0);
    cr_expect(!posted() && nudges() == 0);
    struct ljt_gc gc;
    cr_expect(ljt_gc_read(arena, &gc) && ljt_gc_rests(&gc));
}

Test(nudge, never_for_less_than_is_worth_a_pass)
{
    open_vm();
    fill();
    ljt_config.min_reclaim = 4 * MIB; /* of the 3 MB that were added */
    expect_none("LJTRIM_MIN_RECLAIM");
}

Test(nudge, never_again_before_the_cycle_has_ended)
{
    open_vm();
    fill();
    drop();
    round_after(1000);
    round_after(1000);
    for (int i = 0; i < 20; i++) {
        allocate_a_little();
        round_after(1000);
    }
    cr_expect(nudges() == 1 && atomic_load(&arena->nudge.given), "repeated, but the same cycle");
}

Test(nudge, a_forked_child_begins_afresh)
{
    open_vm();
    fill();
    round_after(1000);
    round_after(1000);
    cr_assert(posted());
    ljt_gate_fork_prepare();
    pid_t pid = fork();
    if (pid == 0) {
        ljt_gate_fork_child();
        atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_FAILED); /* we are it, as everywhere in this file */
        bool lost = !posted();
        allocate_a_little();
        _exit(lost && nudges() == 0 && !arena->nudge.posted ? 0 : 1);
    }
    ljt_gate_fork_parent();
    int status;
    cr_assert(waitpid(pid, &status, 0) == pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    allocate_a_little();
    cr_expect(nudges() == 1, "the parent goes on");
}

/* ---- Does it pay? ---- */

/* So many quiet rounds, in each of which 1.1 MB of garbage are made by few calls. Returns the nudges. */
static uint64_t nudges_in(unsigned rounds)
{
    uint64_t before = nudges();
    for (unsigned i = 0; i < rounds; i++) {
        lab_run(vm.L, "for i = 1, 11 do local s = ('z'):rep(100000 + i) .. os.clock() end");
        round_after(1000);
        allocate_a_little();
        be_quiet_until_collected();
    }
    return nudges() - before;
}

static _Atomic int
    turn; /* relaxed throughout: it orders nothing else, so that ThreadSanitizer sees what does */

static void *take_what_is_posted(void *unused)
{
    (void)unused;
    while (atomic_load_explicit(&turn, memory_order_relaxed) != 1)
        usleep(100);
    allocate_a_little();
    atomic_store_explicit(&turn, 2, memory_order_relaxed);
    return NULL;
}

/* The reclaimer may judge again what it has posted, at the moment when the VM takes it. */
Test(nudge, is_taken_while_it_is_judged)
{
    pthread_t mutator;
    open_vm();
    fill();
    drop();
    cr_assert(pthread_create(&mutator, NULL, take_what_is_posted, NULL) == 0);
    round_after(1000);
    round_after(1000);
    cr_expect(posted());
    round_after(1000);
    atomic_store_explicit(&turn, 1, memory_order_relaxed);
    while (atomic_load_explicit(&turn, memory_order_relaxed) != 2)
        usleep(100);
    cr_expect(nudges() == 1 && !posted());
    pthread_join(mutator, NULL);
}

/* ---- Drops ---- */

/* The reclaimer's turns until it wants none; the VM makes so many calls before each. Returns how many. */
static unsigned turns(unsigned calls)
{
    unsigned n = 0;
    for (uint64_t next; (next = ljt_nudge_drip(arena, ljt_kernel.now())) != UINT64_MAX; n++) {
        cr_assert(n < 100000, "without end");
        cr_assert(next > ljt_kernel.now());
        lab_pass_time(next - ljt_kernel.now());
        for (unsigned i = 0; i < calls; i++)
            allocate_a_little();
    }
    return n;
}

Test(nudge, drops_follow_each_other_until_the_cycle_ends)
{
    open_vm();
    fill();
    drop();
    round_after(1000);
    round_after(1000);
    uint64_t before = in_use(), start = ljt_kernel.now();
    unsigned n = turns(20);
    cr_expect(!posted() && !atomic_load(&arena->nudge.given) && nudges() == 1);
    cr_expect(in_use() < before / 4 && n > 5, "%u turns", n);
    cr_expect(ljt_kernel.now() - start <= n * 10 * MS, "5 ms apart, but for the first");
}

Test(nudge, a_drop_takes_few_steps)
{
    open_vm();
    fill();
    drop();
    round_after(1000);
    round_after(1000);
    uint64_t before = in_use();
    for (int i = 0; i < 100; i++)
        allocate_a_little();
    cr_expect(nudges() == 1 && atomic_load(&arena->nudge.given), "not all at once");
    cr_expect(in_use() > before / 2);
}

/* The steps that are demanded from now on, after so many ms without a call. */
static uint64_t demanded_after(unsigned ms)
{
    struct ljt_gc gc;
    lab_pass_time(ms * MS);
    ljt_nudge_drip(arena, ljt_kernel.now());
    cr_assert(posted());
    ljt_alloc_fn *gate = ljt_gate_trampoline(arena->slot);
    gate(arena->m, gate(arena->m, NULL, 0, 100), 100, 0);
    cr_assert(!posted() && ljt_gc_read(arena, &gc) && gc.threshold <= gc.total);
    return (gc.total - gc.threshold + gc.debt) / 1024;
}

Test(nudge, missed_drops_are_made_up_for_but_not_for_ever)
{
    struct ljt_gc gc;
    open_vm();
    fill();
    drop();
    round_after(1000);
    round_after(1000);
    do
        allocate_a_little();
    while (ljt_gc_read(arena, &gc) && gc.state < 3 && nudges() == 1);
    cr_assert(gc.state >= 3 && atomic_load(&arena->nudge.given), "the sweep has begun");
    for (int i = 0; i < 100; i++) /* what is left of the steps that were for marking */
        allocate_a_little();
    cr_assert(ljt_gc_read(arena, &gc) && gc.state >= 3 && gc.debt < 8 * KIB, "%u %llu", gc.state,
              (unsigned long long)gc.debt);
    uint64_t owed = gc.debt / KIB;
    cr_expect(demanded_after(5) == owed + 8);
    cr_expect(demanded_after(16) == owed + 24, "three at once");
    cr_expect(demanded_after(16) == owed + 24, "what no check has seen is not demanded twice");
    cr_expect(demanded_after(500) == 40, "a millisecond at most");
}

Test(nudge, what_a_cycle_frees_does_not_make_the_vm_busy)
{
    open_vm();
    fill();
    drop();
    void *block = ljt_gate_trampoline(arena->slot)(arena->m, NULL, 0, 100);
    round_after(1000);
    round_after(1000);
    allocate_a_little();
    cr_assert(atomic_load(&arena->nudge.given));
    for (int n = 0; n < 300000; n++)
        block = ljt_gate_trampoline(arena->slot)(arena->m, block, 100, 100);
    round_after(1000);
    cr_expect(posted());
    for (int n = 0; n < 510000; n++)
        block = ljt_gate_trampoline(arena->slot)(arena->m, block, 100, 100);
    round_after(1000);
    cr_expect(!posted(), "but this does");
}

Test(nudge, a_drop_that_nobody_takes_wakes_nobody)
{
    open_vm();
    fill();
    drop();
    round_after(1000);
    round_after(1000);
    unsigned n = turns(0);
    cr_expect(n > 2 && n < 12 && posted() && nudges() == 0, "%u turns", n);
    allocate_a_little();
    round_after(1000);
    turns(20);
    cr_expect(nudges() == 1 && !atomic_load(&arena->nudge.given), "it went on with the VM");
}

Test(nudge, no_drop_once_it_is_turned_off)
{
    open_vm();
    fill();
    drop();
    round_after(1000);
    round_after(1000);
    ljt_config.gc_nudge = LJT_GC_NUDGE_OFF;
    lab_pass_time(1000 * MS);
    cr_expect(ljt_nudge_drip(arena, ljt_kernel.now()) == UINT64_MAX);
}

Test(nudge, a_cycle_that_luajit_has_begun_is_driven_on_in_a_vm_that_has_grown_quiet)
{
    open_vm();
    fill();
    lab_run(vm.L, "collectgarbage('step', 0)");
    struct ljt_gc gc;
    cr_assert(ljt_gc_read(arena, &gc) && gc.state != 0);
    arena->pace.policy.quiet = true;
    round_after(1000);
    round_after(1000);
    cr_assert(posted());
    turns(20);
    cr_expect(ljt_gc_read(arena, &gc) && ljt_gc_rests(&gc) && nudges() == 0);
    cr_expect(arena->nudge.worth.left == 0, "nothing is learned from it");
    drop(); /* as if in the middle of it: what it has marked is garbage now */
    uint64_t before = in_use();
    round_after(1000);
    round_after(1000);
    cr_expect(posted(), "though nothing has come in since");
    turns(20);
    cr_expect(nudges() == 1 && in_use() < before / 4);
    round_after(1000);
    round_after(1000);
    cr_expect(!posted(), "once");
}

/* ---- Pressure ---- */

static ssize_t stalling(const char *path, char *buf, size_t size)
{
    if (strcmp(path, "/proc/pressure/memory") != 0)
        return -1;
    return (ssize_t)strlen(strncpy(buf, "some avg10=50.00 avg60=0.00 avg300=0.00 total=0\n", size));
}

Test(nudge, under_pressure_what_was_learned_does_not_count)
{
    open_vm();
    fill();
    arena->nudge.worth = (struct ljt_worth){.share = 1};
    round_after(1000);
    round_after(1000);
    cr_expect(!posted());
    ljt_config.pressure = LJT_PRESSURE_AUTO;
    ljt_kernel.read_file = stalling;
    cr_assert(ljt_pressure_check(ljt_kernel.now()) == LJT_PRESSURE_HIGH);
    round_after(1000);
    cr_expect(posted());
}

Test(nudge, cycles_that_free_little_become_rare_until_the_next_peak)
{
    open_vm();
    fill(); /* and all of it stays alive */
    round_after(1000);
    uint64_t first = nudges_in(10);
    cr_expect(first >= 1 && first <= 3, "%llu", (unsigned long long)first);
    cr_expect(nudges_in(20) == 0, "it has learned");
    lab_run(vm.L, "peak = {} for i = 1, 30000 do peak[i] = ('p'):rep(1000) .. i end peak = nil");
    round_after(1000);
    uint64_t before = in_use();
    cr_expect(nudges_in(3) >= 1, "a peak is another matter");
    cr_expect(in_use() < before / 2, "%llu of %llu", (unsigned long long)in_use(),
              (unsigned long long)before);
}

/* A heap of so many MiB, a quarter MiB of which has come in since the last cycle: too little for one. */
static bool pays(struct ljt_worth *w, uint64_t mib)
{
    uint64_t total = mib << 20, least = 256 * KIB;
    struct ljt_gc gc = {.total = total, .estimate = total - least, .threshold = 2 * total, .pause = 200};
    return ljt_worth_pays(w, &gc, false);
}

Test(nudge, two_more_cycles_follow_the_end_of_a_peak)
{
    struct ljt_worth w = {0};
    ljt_config.min_reclaim = 1024 * KIB;
    cr_expect(!pays(&w, 8));
    ljt_worth_learn(&w, 100 << 20, 24 << 20);
    cr_expect(pays(&w, 24));
    ljt_worth_learn(&w, 24 << 20, 23 << 20);
    cr_expect(pays(&w, 23));
    ljt_worth_learn(&w, 23 << 20, 23 << 20);
    cr_expect(!pays(&w, 23));
    cr_expect(w.share == 6, "nothing is learned from cycles that were not hoped to free half");
    ljt_worth_learn(&w, 23 << 20, 22 << 20);
    cr_expect(w.share == 3);
    ljt_worth_learn(&w, 100 << 20, 26 << 20);
    cr_expect(!pays(&w, 26), "a cycle like LuaJIT's own, which halve the heap");
}

Test(nudge, what_follows_a_peak_is_not_collected_below_what_is_worth_a_pass)
{
    struct ljt_worth w = {0};
    ljt_config.min_reclaim = 1024 * KIB;
    ljt_worth_learn(&w, 100 << 20, 1 << 20);
    cr_expect(pays(&w, 1));
    ljt_config.min_reclaim = 2048 * KIB;
    cr_expect(!pays(&w, 1));
}

Test(nudge, on_means_each_time)
{
    ljt_config.gc_nudge = LJT_GC_NUDGE_ON;
    open_vm();
    fill();
    round_after(1000);
    cr_expect(nudges_in(10) >= 5);
}
