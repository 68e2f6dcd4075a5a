/*
 * What a program asks for at run time: trim, pause, resume, changed options. Through the public functions, against a
 * real VM and the real thread. The policy is set so that nothing would happen for an hour by itself.
 */
#include "lab.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "ljtrim.h"

#define MS UINT64_C(1000000)

static void set_up(void)
{
    lab_init();
    atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_NONE);
    ljt_config.interval_ms = ljt_config.decay_ms = 3600000;
    ljt_config.min_reclaim = 1024 * MIB;
    ljt_config.max_cpu_pct = 0.01;
}

TestSuite(control, .init = set_up, .timeout = LAB_TIMEOUT);

enum { LONG = 60000 }; /* ms: the longest time that may be given; a limit for what hangs */

static const char *const fill =
    "keep, gone = {}, {} "
    "local function piece(i) return ('%d:'):format(i) .. ('x'):rep(200 + i % 57) end "
    "for i = 1, N do gone[i] = piece(i) if i % 200 == 0 then keep[i / 200] = piece(i) end end "
    "check = function() for i = 1, N / 200 do assert(keep[i] == piece(i * 200)) end end";
static const char *const drop = "gone = nil collectgarbage() collectgarbage()";

static void tell_of_mappings(void)
{
    ljt_arena_remapped(0, 1 * MIB, 1 * MIB, lab_pc());
}

/* A VM after its peak: garbage collected, pages free and resident. */
static struct lab_vm trough(void)
{
    struct lab_vm vm = lab_vm_open();
    luaL_openlibs(vm.L);
    lab_vm_announce(&vm);
    lua_pushinteger(vm.L, LAB_SLOWNESS == 1 ? 200000 : 40000);
    lua_setglobal(vm.L, "N");
    lab_run(vm.L, fill);
    lab_vm_mapped_again(&vm);
    lab_run(vm.L, "check()");
    cr_assert(lab_arena_of(vm.m) != NULL && ljt_arena_is(lab_arena_of(vm.m), LJT_ARENA_ARMED));
    lab_run(vm.L, drop);
    tell_of_mappings();
    return vm;
}

static size_t resident(const struct lab_vm *vm)
{
    return lab_resident_pages(vm->m) * ljt_page_size;
}

static size_t floor_of(const struct lab_vm *vm)
{
    size_t mapped = 0;
    for (const struct ljt_lj_segment *s = &vm->m->seg; s != NULL; s = s->next)
        mapped += s->size;
    return mapped - lab_free_pages(vm->m, NULL, NULL) * ljt_page_size;
}

static bool falls_below(const struct lab_vm *vm, size_t bytes)
{
    return lab_await_doing(resident(vm) < bytes, lab_pause_ms(10));
}

static bool at_floor(const struct lab_vm *vm)
{
    size_t low = floor_of(vm);
    return resident(vm) <= low + low / 20 + MIB;
}

/* ---- Trim ---- */

Test(control, trim_goes_down_to_the_floor_from_the_vms_own_thread)
{
    struct lab_vm vm = trough();
    size_t high = resident(&vm);
    errno = 12345;
    int64_t purged = ljtrim_trim(0, LONG, 0);
    cr_expect(errno == 12345);
    cr_expect(at_floor(&vm), "%zu of %zu KiB, the floor is %zu", resident(&vm) >> 10, high >> 10,
              floor_of(&vm) >> 10);
    cr_expect(purged >= (int64_t)(high - resident(&vm)) && purged <= (int64_t)high, "%lld purged",
              (long long)purged);
    cr_expect(lab_arena_of(vm.m)->work.claims == 0);
    lab_run(vm.L, "check()");
    cr_expect(ljtrim_trim(0, LONG, 0) < (int64_t)MIB, "nothing is left");
    lab_run(vm.L, fill);
    lab_run(vm.L, "check()");
}

static void *trims(void *result)
{
    *(int64_t *)result = ljtrim_trim(0, LONG, 0);
    return NULL;
}

Test(control, trim_by_another_thread_while_the_vm_runs)
{
    struct lab_vm vm = trough();
    size_t high = resident(&vm);
    int64_t purged = -1;
    pthread_t thread;
    cr_assert(pthread_create(&thread, NULL, trims, &purged) == 0);
    while (pthread_tryjoin_np(thread, NULL) != 0)
        lab_run(vm.L, "for i = 1, 500 do local t = {i} end check()");
    cr_expect(purged > 0 && resident(&vm) < high / 2, "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    lab_run(vm.L, "check()");
}

Test(control, trim_ends_at_its_bytes)
{
    struct lab_vm vm = trough();
    size_t high = resident(&vm), bound = 3 * MIB + 5000;
    int64_t purged = ljtrim_trim(bound, LONG, 0);
    cr_expect(purged >= (int64_t)bound && purged <= (int64_t)ljt_page_up(bound), "%lld", (long long)purged);
    cr_expect(resident(&vm) + (size_t)purged <= high + MIB / 4);
    lab_pause_ms(50);
    cr_expect(resident(&vm) + 2 * bound > high, "nor does anything go on behind it");
    cr_expect(ljtrim_trim(1, LONG, 0) == (int64_t)ljt_page_size);
    cr_expect(ljtrim_trim(bound, LONG, 0) >= (int64_t)bound, "and it can be had again");
    lab_run(vm.L, "check()");
}

/* Whole segments leave a patched heap, of up to 16 MiB: a trim of a few KiB took sixteen of them. */
Test(control, trim_of_a_patched_heap_ends_at_its_bytes)
{
    ljt_config.mode = LJT_MODE_PATCHED;
    ljt_config.decay_ms = 3600 * 1000; /* nothing but the trim */
    struct lab_vm vm = lab_vm_open();
    luaL_openlibs(vm.L);
    lab_run(vm.L, "pad = {} for i = 1, 3000 do pad[i] = { i } end N = 40000");
    struct ljt_arena *a = lab_vm_arm(&vm);
    if (!a->is_patched)
        cr_skip_test("this LuaJIT has no GC64");
    lab_run(vm.L, fill);
    lab_run(vm.L, "keep = {}");
    lab_run(vm.L, drop);
    size_t footprint = a->patched.footprint, bound = 64 * KIB + 5000;
    int64_t purged = ljtrim_trim(bound, LONG, 0);
    cr_expect(purged >= (int64_t)bound && purged <= (int64_t)ljt_page_up(bound), "%lld", (long long)purged);
    cr_expect_geq(a->patched.footprint + bound, footprint);
    bound = 3 * MIB;
    purged = ljtrim_trim(bound, LONG, 0);
    cr_expect(purged >= (int64_t)bound && purged <= (int64_t)ljt_page_up(bound), "%lld", (long long)purged);
    cr_expect(a->patched.footprint < footprint && a->patched.footprint + 2 * bound > footprint,
              "%zu of %zu KiB", a->patched.footprint / KIB, footprint / KIB);
    lab_prove(vm.m);
}

/* A call that does not end, as a thread without a processor shows it. */
static void stall(const struct lab_vm *vm, bool stalled)
{
    struct ljt_gate *g = &ljt_gates[lab_arena_of(vm->m)->slot];
    atomic_store(&g->busy, atomic_load(&g->busy) + 1);
    cr_assert((atomic_load(&g->busy) & 1) == stalled);
}

Test(control, trim_returns_in_time_though_nothing_can_be_done)
{
    struct lab_vm vm = trough();
    stall(&vm, true);
    uint64_t start = ljt_kernel.now();
    cr_expect(ljtrim_trim(0, 50, 0) == 0);
    uint64_t took = ljt_kernel.now() - start;
    cr_expect(took >= 50 * MS && took < LONG * MS, "%llu ms", (unsigned long long)(took / MS));
    stall(&vm, false);
    cr_expect(ljtrim_trim(0, LONG, 0) > 0, "the next one is not kept out by the last");
    cr_expect(at_floor(&vm));
    lab_run(vm.L, "check()");
}

Test(control, trim_waits_for_its_turn_or_says_that_it_had_none)
{
    struct lab_vm vm = trough();
    int64_t purged = -1;
    pthread_t thread;
    stall(&vm, true);
    cr_assert(pthread_create(&thread, NULL, trims, &purged) == 0);
    while (atomic_load(&ljt_wiped.trim) == 0)
        lab_pause_ms(1);
    cr_expect(ljtrim_trim(0, 30, 0) == -EBUSY);
    cr_expect(ljtrim_trim(0, 30, LJTRIM_NO_WAIT) == -EBUSY);
    stall(&vm, false);
    cr_expect(ljtrim_trim(0, LONG, 0) >= 0);
    pthread_join(thread, NULL);
    cr_expect(purged > 0 && at_floor(&vm));
}

Test(control, trim_in_the_background_returns_at_once)
{
    struct lab_vm vm = trough();
    size_t high = resident(&vm);
    cr_expect(ljtrim_trim(0, LONG, LJTRIM_NO_WAIT) == 0);
    cr_expect(falls_below(&vm, high / 4), "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
    lab_run(vm.L, "check()");
}

Test(control, trim_of_several_vms)
{
    struct lab_vm a = trough(), b = trough();
    cr_expect(ljtrim_trim(0, LONG, 0) > 0);
    cr_expect(at_floor(&a) && at_floor(&b));
}

Test(control, trim_refuses_what_makes_no_sense)
{
    cr_expect(ljtrim_trim(0, 100, 0) == -ENODEV, "no thread");
    trough();
    cr_expect(ljtrim_trim(0, 0, 0) == -EINVAL && ljtrim_trim(0, 60001, 0) == -EINVAL);
    cr_expect(ljtrim_trim(0, 100, 2) == -EINVAL && ljtrim_trim(0, 0, LJTRIM_NO_WAIT) == -EINVAL);
}

Test(control, trim_does_not_touch_what_is_only_observed)
{
    ljt_config.mode = LJT_MODE_OBSERVE;
    trough();
    cr_expect(ljtrim_trim(0, 100, 0) == -EPERM);
}

Test(control, what_comes_after_a_trim_keeps_to_the_policy)
{
    struct lab_vm vm = trough();
    cr_expect(ljtrim_trim(0, LONG, 0) > 0);
    lab_run(vm.L, fill);
    lab_run(vm.L, drop);
    tell_of_mappings();
    size_t high = resident(&vm);
    lab_pause_ms(300);
    cr_expect(resident(&vm) + MIB > high, "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
}

/* ---- Pause ---- */

static void work_at_sight(void)
{
    cr_expect(ljtrim_set("interval_ms", "1", NULL, 0) == 0);
    cr_expect(ljtrim_set("min_reclaim", "0", NULL, 0) == 0);
    cr_expect(ljtrim_set("max_cpu_pct", "100", NULL, 0) == 0);
    cr_expect(ljtrim_set("decay_ms", "0", NULL, 0) == 0);
}

Test(control, a_paused_library_has_nothing_claimed_and_purges_nothing)
{
    struct lab_vm vm = trough();
    struct ljt_arena *a = lab_arena_of(vm.m);
    size_t low = 0; /* walked while nobody else is in the heap */
    work_at_sight();
    for (int round = 0; round < 10; round++) {
        lab_run(vm.L, "for i = 1, 100 do local t = {i} end");
        cr_expect(ljtrim_pause(LONG) == 0);
        cr_assert(ljt_gate_hold(a->slot, 100 * MS));
        cr_expect(a->work.claims == 0 &&
                  (atomic_load(&ljt_wiped.word[a->slot].want) & LJT_WANT_REQUEST) == 0);
        lab_prove(vm.m);
        low = floor_of(&vm);
        ljt_gate_release(a->slot);
        uint64_t purged = lab_glance(&a->stats.purged), looks = lab_glance(&a->stats.looks);
        lab_run(vm.L, fill);
        lab_run(vm.L, drop);
        tell_of_mappings();
        lab_pause_ms(10);
        cr_expect(lab_glance(&a->stats.purged) == purged && lab_glance(&a->stats.looks) == looks);
        cr_expect(ljtrim_resume() == 0);
        lab_pause_ms(round);
    }
    cr_expect(falls_below(&vm, 2 * low + MIB), "%zu KiB after it goes on", resident(&vm) >> 10);
    lab_run(vm.L, "check()");
}

Test(control, a_paused_library_sleeps)
{
    lab_watch_sleep();
    struct lab_vm vm = trough();
    work_at_sight();
    cr_expect(ljtrim_pause(LONG) == 0);
    cr_assert(lab_await(lab_is_asleep()));
    unsigned before = lab_sleeps();
    for (int i = 0; i < 20; i++) {
        lab_run(vm.L, "for i = 1, 100 do local t = {i} end");
        lab_pause_ms(10);
    }
    cr_expect(lab_sleeps() - before <= 1, "%u: the VM rings once at most", lab_sleeps() - before);
}

Test(control, pauses_are_counted)
{
    cr_expect(ljtrim_resume() == -EINVAL);
    cr_expect(ljtrim_pause(0) == 0 && ljt_control_paused(), "without a thread, too");
    struct lab_vm vm = trough();
    ljtrim_pause(LONG);
    cr_expect(ljtrim_pause(60001) == -EINVAL);
    cr_expect(ljtrim_trim(0, 100, 0) == -EAGAIN);
    size_t high = resident(&vm);
    work_at_sight();
    cr_expect(ljtrim_resume() == 1);
    lab_pause_ms(50);
    cr_expect(resident(&vm) + MIB > high);
    cr_expect(ljtrim_resume() == 0 && !ljt_control_paused());
    cr_expect(falls_below(&vm, high / 4));
    cr_expect(ljtrim_resume() == -EINVAL);
}

Test(control, a_pause_that_cant_hand_back_says_so_and_holds)
{
    struct lab_vm vm = trough();
    struct ljt_arena *a = lab_arena_of(vm.m);
    size_t high = resident(&vm);
    stall(&vm, true);
    cr_expect(ljtrim_trim(0, LONG, LJTRIM_NO_WAIT) == 0); /* the pause ends it */
    while ((atomic_load(&ljt_wiped.word[a->slot].want) & LJT_WANT_REQUEST) == 0)
        lab_pause_ms(1);
    uint64_t start = ljt_kernel.now();
    cr_expect(ljtrim_pause(20) == -ETIMEDOUT && ljt_kernel.now() - start < LONG * MS);
    cr_expect(ljt_control_paused());
    stall(&vm, false);
    for (int i = 0; i < 50; i++, lab_pause_ms(2))
        lab_run(vm.L, "for i = 1, 10 do local t = {i} end");
    cr_expect(ljtrim_pause(LONG) == 0, "now it is quiet");
    cr_expect(a->work.claims == 0 && resident(&vm) + 2 * MIB > high);
}

/* ---- Options ---- */

Test(control, a_shorter_decay_is_not_waited_for_as_long_as_the_old_one)
{
    struct lab_vm vm = trough();
    size_t high = resident(&vm);
    lab_pause_ms(100);
    cr_expect(resident(&vm) + MIB > high);
    work_at_sight();
    cr_expect(falls_below(&vm, high / 4), "%zu of %zu KiB", resident(&vm) >> 10, high >> 10);
}

Test(control, options_are_read_and_written_as_in_the_environment)
{
    char buf[64] = "x", error[192] = "x";
    cr_expect(ljtrim_set("LJTRIM_MIN_RECLAIM", "2048K", error, sizeof(error)) == 0 && error[0] == 0);
    cr_expect(ljtrim_get("min_reclaim", buf, sizeof(buf)) == 2 && strcmp(buf, "2M") == 0, "%s", buf);
    cr_expect(ljtrim_get("min_reclaim", NULL, 0) == 2);
    cr_expect(ljtrim_get("max_cpu_pct", buf, 3) == 4 && strcmp(buf, "0.") == 0, "cut: %s", buf);
    cr_expect(ljtrim_get("mode", buf, sizeof(buf)) == 4 && strcmp(buf, "auto") == 0);
    cr_expect(ljtrim_get("no such", buf, sizeof(buf)) == -ENOENT && buf[0] == 0);
    cr_expect(ljtrim_get(NULL, buf, sizeof(buf)) == -EFAULT);
    cr_expect(ljtrim_set("decay_ms", "soon", error, sizeof(error)) == -EINVAL);
    cr_expect(strstr(error, "LJTRIM_DECAY_MS=soon is not allowed (a number of milliseconds") == error, "%s",
              error);
    cr_expect(ljtrim_set("decay_ms", "soon", error, 12) == -EINVAL && strlen(error) == 11);
    cr_expect(ljtrim_set("decay_ms", NULL, error, sizeof(error)) == -EFAULT && error[0] == 0);
    cr_expect(ljtrim_set(NULL, "1", NULL, 0) == -EFAULT);
    cr_expect(ljtrim_set("signal", "USR1", error, sizeof(error)) == -EPERM && error[0] != 0);
}

/* ---- Statistics ---- */

Test(control, statistics_come_in_three_formats)
{
    static char buf[32 << 10];
    struct lab_vm vm = trough();
    cr_expect(ljtrim_trim(0, LONG, 0) > 0);
    static const struct {
        const char *format, *begin, *part;
    } wanted[] = {{"text", "ljtrim: statistics of pid ", "mode native (auto: lj_alloc was recognised); mem"},
                  {"json", "{\n", "\"arenas_left_out\": 0"},
                  {"prometheus", "# HELP ", "\nljtrim_paused{pid=\""}};
    for (unsigned i = 0; i < 3; i++) {
        int n = ljtrim_stats(wanted[i].format, buf, sizeof(buf));
        cr_expect(n > 0 && (size_t)n == strlen(buf) && strstr(buf, wanted[i].begin) == buf &&
                      strstr(buf, wanted[i].part) != NULL,
                  "%d: %s", n, buf);
    }
    cr_expect(strstr(buf, "ljtrim_mapped_bytes{pid=\"") != NULL && vm.m != NULL);
    ljtrim_pause(0);
    cr_expect(ljtrim_stats("text", buf, sizeof(buf)) > 0 && strstr(buf, "; paused by the program") != NULL);
}

Test(control, statistics_refuse_what_makes_no_sense)
{
    char buf[4096];
    cr_expect(ljtrim_stats("json", buf, sizeof(buf)) > 0, "there are some without a heap");
    cr_expect(ljtrim_stats("JSON", buf, sizeof(buf)) == -EINVAL && ljtrim_stats("", buf, 1) == -EINVAL);
    cr_expect(ljtrim_stats(NULL, buf, 1) == -EFAULT && ljtrim_stats("json", NULL, 0) == -EFAULT);
    memset(buf, 'x', sizeof(buf));
    cr_expect(ljtrim_stats("json", buf, 0) == -ENOSPC && buf[0] == 'x');
    cr_expect(ljtrim_stats("prometheus", buf, 5) == -ENOSPC && buf[0] == 0 && buf[5] == 'x');
}

/* ---- All at once ---- */

static _Atomic unsigned running;

static void *breathes(void *arg)
{
    const struct lab_vm *vm = arg;
    for (size_t i = 0; i < lab_count("BREATHS", 30); i++) {
        lab_run(vm->L, fill);
        tell_of_mappings();
        lab_run(vm->L, "check()");
        lab_run(vm->L, drop);
        tell_of_mappings();
        lab_run(vm->L, "check()");
        cr_assert(ljtrim_trim(MIB << (i % 6), 20, 0) != -EINVAL, "from its own thread, too");
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

/* Each with its own state, since lab_random has but one. */
static void *meddles(void *arg)
{
    uint64_t dice = (uint64_t)(uintptr_t)arg | 1;
    char buf[2048];
    while (atomic_load(&running) > 0) {
        dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407;
        switch (dice >> 33 & 7) {
        case 0: ljtrim_trim(dice >> 40, 1 + (dice >> 36 & 15), 0); break;
        case 1: ljtrim_trim(0, 5, LJTRIM_NO_WAIT); break;
        case 2:
            ljtrim_pause((dice >> 36) & 3);
            lab_pause_ms((dice >> 38) & 3);
            cr_assert(ljtrim_resume() >= 0);
            break;
        case 3: cr_assert(ljtrim_set("decay_ms", dice >> 36 & 1 ? "0" : "50", NULL, 0) == 0); break;
        case 4: cr_assert(ljtrim_set("max_cpu_pct", dice >> 36 & 1 ? "100" : "0.01", NULL, 0) == 0); break;
        case 5: cr_assert(ljtrim_set("min_reclaim", dice >> 36 & 1 ? "0" : "1M", NULL, 0) == 0); break;
        case 6: cr_assert(ljtrim_stats("json", buf, sizeof(buf)) > 0); break;
        case 7: lab_pause_ms(1); break;
        }
    }
    return NULL;
}

Test(control, anything_at_any_time_on_any_thread)
{
    enum { VMS = 2, MEDDLERS = 3 };
    struct lab_vm vm[VMS];
    pthread_t thread[VMS + MEDDLERS];
    lab_seed("anything at any time");
    lab_catch_stderr();
    ljt_config.debug = LJT_DEBUG_POISON;
    cr_assert(ljtrim_set("interval_ms", "1", NULL, 0) == 0);
    for (int i = 0; i < VMS; i++) {
        vm[i] = trough();
        lab_run(vm[i].L, "N = 20000");
    }
    atomic_store(&running, VMS);
    for (int i = 0; i < VMS; i++)
        cr_assert(pthread_create(&thread[i], NULL, breathes, &vm[i]) == 0);
    for (int i = 0; i < MEDDLERS; i++)
        cr_assert(pthread_create(&thread[VMS + i], NULL, meddles, (void *)(uintptr_t)lab_random()) == 0);
    for (int i = 0; i < VMS + MEDDLERS; i++)
        pthread_join(thread[i], NULL);
    cr_expect(!ljt_control_paused() && ljtrim_pause(LONG) == 0);
    cr_expect(lab_said_lines() == 0, "said: %s", lab_said());
    for (int i = 0; i < VMS; i++) {
        cr_assert(ljt_arena_is(lab_arena_of(vm[i].m), LJT_ARENA_ARMED));
        lab_prove(vm[i].m);
        lab_run(vm[i].L, "check()");
    }
    ljt_config.debug = 0;
    cr_expect(ljtrim_resume() == 0 && ljtrim_trim(0, LONG, 0) >= 0);
    cr_expect(at_floor(&vm[0]) && at_floor(&vm[1]));
}

/* ---- Fork ---- */

Test(control, a_child_inherits_pauses_but_no_trim)
{
    struct lab_vm vm = trough();
    cr_assert(pthread_atfork(NULL, NULL, ljt_gate_fork_child) == 0);
    stall(&vm, true);
    cr_assert(ljtrim_trim(0, LONG, LJTRIM_NO_WAIT) == 0);
    ljtrim_pause(0);
    stall(&vm, false);
    pid_t child = fork();
    if (child == 0) {
        bool fresh = atomic_load(&ljt_wiped.trim) == 0 && ljtrim_trim(0, 100, 0) == -ENODEV;
        _exit(fresh && ljt_control_paused() && ljtrim_resume() == 0 ? 0 : 1);
    }
    int status = -1;
    cr_assert(waitpid(child, &status, 0) == child);
    cr_expect(status == 0 && ljt_control_paused());
}
