/*
 * An arena's turns, with the test in the mutator's place.
 */
#include "lab.h"

#include <lualib.h>
#include <string.h>
#include <sys/mman.h>

#include "control.h"
#include "pressure.h"
#include "rounds.h"
#include "segments.h"
#include "spending.h"
#include "thp.h"

#define MS UINT64_C(1000000)

TestSuite(rounds, .init = lab_init, .timeout = LAB_TIMEOUT);

static uint64_t no_cpu(void)
{
    return 0;
}

/* Seen by ThreadSanitizer: the list of the segments was read while the VM's thread was at it. */
Test(rounds, while_a_request_stands_the_work_is_the_mutator_s)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    a->pace.wrapped = true; /* no holds: units are the mutator's, which does not come */
    ljt_rounds_turn(a, ljt_kernel.now());
    cr_assert(a->pace.posted && (atomic_load(&ljt_wiped.word[a->slot].want) & LJT_WANT_REQUEST) != 0);
    cr_assert(a->work.segments == 0);

    int stage = a->pace.stage;
    uint64_t mapped = a->stats.mapped;
    a->work.segments = 1; /* it has come, and is about to say that it has */
    a->work.listed = true;
    ljt_rounds_turn(a, ljt_kernel.now());
    cr_expect(a->pace.posted && a->pace.stage == stage, "stage %d, then %d", stage, a->pace.stage);
    cr_expect(a->stats.mapped == mapped, "nothing was summed up");
}

/* What is mapped behind a list that is a turn old was taken to be in it: no page of it was ever purged. */
Test(rounds, what_is_mapped_after_the_list_is_listed_in_the_next_round)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lab_fake_time();
    lab_pass_time(1); /* time 0 is never */
    a->pace.wrapped = true;
    ljt_rounds_turn(a, ljt_kernel.now());
    cr_assert(a->pace.posted && !a->work.listed);
    lua_newuserdata(vm.L, 16); /* lists */
    unsigned long events = atomic_fetch_add(&a->module->map_events, 1) + 1;
    ljt_rounds_turn(a, ljt_kernel.now());
    cr_expect(a->stats.mapped != 0 && a->pace.map_events == events - 1);
    for (int i = 0; i < 100 && a->pace.map_events != events; i++) {
        lua_newuserdata(vm.L, 16);
        lab_pass_time(100 * MS);
        ljt_rounds_turn(a, ljt_kernel.now());
    }
    cr_expect(a->pace.map_events == events);
}

/* Claims that nobody asked for again would stay out for an interval: a second, or an hour. */
Test(rounds, a_vm_that_comes_late_to_a_posted_unit_rings)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    a->pace.wrapped = true;
    cr_expect(!ljt_rounds_owes(a));
    ljt_rounds_turn(a, ljt_kernel.now());
    cr_assert(a->pace.posted);
    uint32_t rung = ljt_reclaim_rung();
    lua_newuserdata(vm.L, 16);
    cr_expect_neq(ljt_reclaim_rung(), rung);
    cr_expect(ljt_rounds_owes(a), "until it has been looked at");
    a->pace.posted = false;
    a->work.claims = 1;
    cr_expect(ljt_rounds_owes(a));
    a->work.claims = 0;
    cr_expect(!ljt_rounds_owes(a));
}

/* ---- A call that never returns ---- */

static uint64_t clock_of_reads = 1;
static unsigned polls;

static uint64_t later_at_each_look(void)
{
    return clock_of_reads += 1000;
}

static void count_polls(const volatile void *word, uint32_t value, uint64_t ns)
{
    (void)word, (void)value;
    polls++;
    clock_of_reads += ns;
}

static void begin_reads(void)
{
    ljt_kernel.now = later_at_each_look;
    ljt_kernel.futex_wait = count_polls;
    ljt_kernel.thread_cpu = no_cpu;
    ljt_spending_open(ljt_kernel.now());
}

static unsigned polls_of_a_turn(struct ljt_arena *a)
{
    polls = 0;
    ljt_rounds_turn(a, ljt_kernel.now());
    return polls;
}

/* Nobody else has a turn meanwhile. */
Test(rounds, a_call_that_never_returns_is_waited_for_once)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    _Atomic uint64_t *busy = &ljt_gates[a->slot].busy;
    begin_reads();
    atomic_fetch_add(busy, 1); /* somebody has jumped out of it */
    cr_expect_gt(polls_of_a_turn(a), 10);
    for (int i = 0; i < 10; i++) {
        clock_of_reads += 1000 * MS;
        cr_expect_eq(polls_of_a_turn(a), 1);
    }
    cr_expect(a->pace.posted && a->work.segments == 0);
    atomic_fetch_add(busy, 2); /* a later call, which is long as well */
    cr_expect_gt(polls_of_a_turn(a), 10);
    atomic_fetch_add(busy, 1); /* and returns */
    polls_of_a_turn(a);
    cr_expect_gt(a->work.segments, 0);
}

/* With an interval of an hour a unit that nobody came for waited as long, whatever became of memory. */
Test(rounds, a_posted_unit_is_asked_for_again_when_memory_may_be_short)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    ljt_config.interval_ms = 3600 * 1000;
    ljt_config.pressure = LJT_PRESSURE_AUTO;
    begin_reads();
    atomic_fetch_add(&ljt_gates[a->slot].busy,
                     1); /* a call that goes on and on: it may not be held, nor does it ring */
    uint64_t wish = ljt_rounds_turn(a, ljt_kernel.now());
    cr_assert(a->pace.posted);
    cr_expect(wish <= ljt_kernel.now() + LJT_PRESSURE_INTERVAL);
    ljt_config.pressure = LJT_PRESSURE_OFF;
    wish = ljt_rounds_turn(a, ljt_kernel.now());
    cr_expect(wish > ljt_kernel.now() + 60 * LJT_PRESSURE_INTERVAL && wish != UINT64_MAX, "nobody asks");
}

/* Where the host has wrapped the gate, only a call of the VM's can help: it rings. */
Test(rounds, a_silent_vm_that_must_not_be_held_wakes_nobody)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    begin_reads();
    a->pace.wrapped = true;
    polls_of_a_turn(a);
    cr_assert(a->pace.posted);
    clock_of_reads += 1000 * MS;
    cr_expect_eq(polls_of_a_turn(a), 1);
    cr_expect_eq(ljt_rounds_turn(a, ljt_kernel.now()), UINT64_MAX);
    uint32_t rung = ljt_reclaim_rung();
    lua_newuserdata(vm.L, 16);
    cr_expect_neq(ljt_reclaim_rung(), rung);
}

/* ---- Time that passes ---- */

static void begin_time(void)
{
    lab_fake_time();
    lab_pass_time(1); /* time 0 is never */
    ljt_kernel.thread_cpu = no_cpu;
    ljt_spending_open(ljt_kernel.now());
}

/* What the reclaimer does in so much time, its clock going on by what it sleeps; the VM makes so many calls now and then. */
static void pass(const struct lab_vm *vm, struct ljt_arena *a, uint64_t ns, int calls)
{
    uint64_t due = ljt_kernel.now(), end = due + ns;
    while (ljt_kernel.now() < end) {
        for (int i = 0; i < calls; i++) {
            lua_newuserdata(vm->L, 1);
            lua_pop(vm->L, 1);
        }
        if (ljt_kernel.now() >= due)
            due = ljt_rounds_turn(a, ljt_kernel.now());
        lab_pass_time(10 * MS);
    }
}

static void live_for(const struct lab_vm *vm, struct ljt_arena *a, uint64_t ns)
{
    pass(vm, a, ns, 100);
}

static void rest_for(const struct lab_vm *vm, struct ljt_arena *a, uint64_t ns)
{
    pass(vm, a, ns, 0);
}

/* ---- Is it worth a look? ---- */

/* Lists: no table that is mapped directly, unseen by the lab. */
static const char scattered[] =
    "for i = 1, 8000 do keep, gone = { keep, ('x'):rep(1000) .. i }, { gone, ('y'):rep(1000) .. i } end";
static const char in_one_piece[] = "for i = 1, 8000 do gone = { gone, ('y'):rep(1000) .. i } end "
                                   "for i = 1, 8000 do keep = { keep, ('x'):rep(1000) .. i } end";

static const char in_pieces[] =
    "for i = 1, 400 do keep, gone = { keep, ('x'):rep(20000) .. i }, { gone, ('y'):rep(20000) .. i } end";

/* 16 MB of live strings of which 8 have just been dropped, and looks that go on until no page is left that is known of. */
static struct ljt_arena *half_dropped(struct lab_vm *vm, const char *chunk)
{
    begin_time();
    ljt_config.retain_pct = 0;
    *vm = lab_vm_open();
    luaL_openlibs(vm->L);
    lab_vm_announce(vm);
    lab_run(vm->L, chunk);
    lab_vm_mapped_again(vm);
    lab_run(vm->L, "collectgarbage() collectgarbage()");
    struct ljt_arena *a = lab_arena_of(vm->m);
    cr_assert(a != NULL && ljt_arena_is(a, LJT_ARENA_ARMED) && a->gc_width != 0);
    live_for(vm, a, 3000 * MS);
    cr_assert(a->stats.looks > 0);
    lab_run(vm->L, "gone = nil collectgarbage() collectgarbage()");
    a->pace.skipped = 0;
    return a;
}

Test(rounds, a_drop_is_worth_a_look)
{
    struct lab_vm vm;
    struct ljt_arena *a = half_dropped(&vm, scattered);
    uint64_t looks = a->stats.looks;
    live_for(&vm, a, 4000 * MS);
    cr_expect_gt(a->stats.looks, looks);
}

Test(rounds, a_drop_of_less_than_the_least_is_worth_no_look_but_now_and_then)
{
    struct lab_vm vm;
    struct ljt_arena *a = half_dropped(&vm, scattered);
    ljt_config.min_reclaim = 32 * MIB;
    uint64_t looks = a->stats.looks;
    live_for(&vm, a, 4000 * MS);
    cr_expect_eq(a->stats.looks, looks, "%llu looks", (unsigned long long)(a->stats.looks - looks));
    cr_expect_gt(a->pace.skipped, 2, "it was thought of");
    live_for(&vm, a, 8000 * MS);
    cr_expect_gt(a->stats.looks, looks);
}

/* A chance that was passed by was taken for a look: what a VM had freed before it fell silent was young in the next, and left for good. */
Test(rounds, what_was_passed_by_is_still_young_in_the_next_look)
{
    struct lab_vm vm;
    struct ljt_arena *a = half_dropped(&vm, in_one_piece);
    uint64_t looks = a->stats.looks, purged = a->stats.purged;
    ljt_config.min_reclaim = 16 * MIB; /* of a silent VM a quarter of that is enough */
    ljt_config.interval_ms = 3000;     /* and when it is asked again it is quiet */
    ljt_shadow_begin_look(&a->shadow); /* in the last one nothing was free: nothing is old */
    rest_for(&vm, a, 1000 * MS);
    cr_assert_eq(a->stats.looks, looks, "the first chance was passed by");
    rest_for(&vm, a, 20000 * MS);
    cr_expect_gt(a->stats.purged - purged, 6 * MIB, "%llu looks",
                 (unsigned long long)(a->stats.looks - looks));
    cr_expect(a->pace.settled);
}

/*
 * What was stuck between 8,000 strings, known exactly, was taken for stuck when other strings had filled the gaps: so much of what
 * the VM then freed was not worth a look.
 */
Test(rounds, what_was_stuck_once_may_be_free_now)
{
    struct lab_vm vm;
    struct ljt_arena *a = half_dropped(&vm, scattered);
    rest_for(&vm, a, 10000 * MS);
    cr_assert(a->pace.settled && a->pace.stuck_exact && a->pace.stuck > (int64_t)(7 * MIB));
    lab_run(vm.L, "for i = 1, 8000 do gone = { gone, ('z'):rep(900) .. i } end "
                  "for i = 1, 7000 do more = { more, ('w'):rep(1000) .. i } end more = nil collectgarbage() "
                  "collectgarbage()");
    lab_vm_mapped_again(&vm);
    rest_for(&vm, a, 10000 * MS);
    cr_expect(a->pace.settled && a->pace.look_seq == a->pace.seq, "it has been looked at as it is now");
    int64_t left = (int64_t)a->stats.resident - (int64_t)a->stats.live - a->pace.stuck;
    cr_expect_lt(left, (int64_t)MIB, "%lld bytes", (long long)left);
}

/* What one VM has mapped directly, or since it was last surveyed, counts as another one's: its heap seems to hold less. */
Test(rounds, what_a_look_has_left_is_known_whatever_other_vms_do)
{
    struct lab_vm vm;
    struct ljt_arena *a = half_dropped(&vm, in_one_piece);
    const size_t other = 9100000; /* as much as is free, and less than is live */
    uint64_t looks = a->stats.looks, purged = a->stats.purged;
    ljt_shadow_begin_look(&a->shadow); /* nothing is old */
    atomic_store(&a->module->mapped, a->stats.mapped + other);
    for (int i = 0; i < 1000 && a->stats.looks == looks; i++)
        rest_for(&vm, a, 10 * MS);
    cr_assert_eq(a->stats.looks, looks + 1);
    atomic_store(&a->module->mapped, a->stats.mapped);
    rest_for(&vm, a, 10000 * MS);
    cr_expect_gt(a->stats.purged - purged, 6 * MIB);
    cr_expect(a->pace.settled);
}

static uint64_t clock_of_steps;

static uint64_t a_millisecond_later(void)
{
    return clock_of_steps += MS;
}

/* The look that was cut short had taken the ages of all pages with it. */
Test(rounds, a_look_that_a_pause_has_ended_is_none)
{
    struct lab_vm vm;
    struct ljt_arena *a = half_dropped(&vm, in_pieces);
    uint64_t looks = a->stats.looks, purged = a->stats.purged;
    ljt_shadow_begin_look(&a->shadow); /* nothing is old */
    for (int i = 0; i < 1000 && a->stats.looks == looks; i++)
        rest_for(&vm, a, 10 * MS);
    cr_assert_eq(a->stats.looks, looks + 1);
    cr_assert_lt(a->stats.purged - purged, MIB);
    rest_for(&vm, a, 500 * MS);

    clock_of_steps = ljt_kernel.now() + 1000 * MS;
    ljt_kernel.now = a_millisecond_later;
    for (int i = 0; i < 1000 && a->stats.purged - purged < MIB; i++)
        ljt_rounds_turn(a, ljt_kernel.now());
    cr_assert_lt(a->stats.purged - purged, 6 * MIB, "not over yet");
    ljt_control_pause(0);
    for (int i = 0; i < 1000 && ljt_rounds_owes(a); i++)
        ljt_rounds_turn(a, ljt_kernel.now());
    ljt_control_resume();
    for (int i = 0; i < 10000 && !a->pace.settled; i++)
        ljt_rounds_turn(a, ljt_kernel.now());
    cr_expect(a->pace.settled);
    cr_expect_gt(a->stats.purged - purged, 6 * MIB);
}

/* ---- A patched heap that falls ---- */

static void fill(const struct lab_vm *vm)
{
    lab_run(vm->L, "keep = {} for i = 1, 16000 do keep[i] = ('x'):rep(1000) .. i end");
}

static void drop(const struct lab_vm *vm)
{
    lab_run(vm->L, "keep = nil collectgarbage() collectgarbage()");
}

/* 16 MB of live strings, looked at twice. */
static struct ljt_arena *live_at_peak(struct lab_vm *vm)
{
    ljt_config.mode = LJT_MODE_PATCHED;
    begin_time();
    *vm = lab_vm_open();
    luaL_openlibs(vm->L);
    lab_run(vm->L, "pad = {} for i = 1, 3000 do pad[i] = { i } end collectgarbage('setpause', 1000)");
    struct ljt_arena *a = lab_vm_arm(vm);
    if (!a->is_patched)
        cr_skip_test("this LuaJIT has no GC64");
    fill(vm);
    live_for(vm, a, 1200 * MS);
    cr_assert(a->stats.live > 15 * MIB, "%zu KiB", (size_t)a->stats.live / KIB);
    return a;
}

static size_t footprint(const struct ljt_arena *a)
{
    return ljt_segments_footprint(a->m);
}

Test(rounds, segments_that_a_fall_leaves_free_wait_for_no_look)
{
    struct lab_vm vm;
    struct ljt_arena *a = live_at_peak(&vm);
    size_t peak = footprint(a);
    uint64_t looks = a->stats.looks;
    drop(&vm);
    live_for(&vm, a, 300 * MS);
    cr_expect_eq(a->stats.looks, looks, "not due");
    cr_expect_lt(footprint(a), peak / 2, "%zu of %zu KiB", footprint(a) / KIB, peak / KIB);
    cr_expect_geq(a->stats.purged, (peak - footprint(a)) / 10 * 9, "their pages were resident, and count");
    lab_prove(vm.m);
}

Test(rounds, what_falls_by_little_waits_for_its_age)
{
    struct lab_vm vm;
    struct ljt_arena *a = live_at_peak(&vm);
    size_t peak = footprint(a);
    lab_run(vm.L, "for i = 1, 2500 do keep[i] = nil end collectgarbage() collectgarbage()");
    live_for(&vm, a, 300 * MS);
    cr_expect_eq(footprint(a), peak);
}

Test(rounds, a_vm_that_wants_its_segments_back_at_once_keeps_them)
{
    struct lab_vm vm;
    struct ljt_arena *a = live_at_peak(&vm);
    size_t peak = footprint(a);
    for (int i = 0; i < 5; i++) {
        drop(&vm);
        live_for(&vm, a, 300 * MS);
        fill(&vm);
        live_for(&vm, a, 600 * MS);
    }
    cr_expect_gt(a->pace.policy.stretch, 0);
    cr_expect_gt(a->stats.refaults, 4 * MIB, "%zu KiB", (size_t)a->stats.refaults / KIB);
    cr_expect_gt(a->stats.early, 0);
    peak = footprint(a);
    uint64_t purged = a->stats.purged;
    drop(&vm);
    live_for(&vm, a, 300 * MS);
    cr_expect_eq(footprint(a), peak);
    cr_expect_eq(a->stats.purged, purged);
    lab_prove(vm.m);
}

Test(rounds, a_vm_that_is_only_observed_keeps_its_segments)
{
    struct lab_vm vm;
    struct ljt_arena *a = live_at_peak(&vm);
    size_t peak = footprint(a);
    ljt_config.mode = LJT_MODE_OBSERVE;
    drop(&vm);
    live_for(&vm, a, 300 * MS);
    cr_expect_eq(footprint(a), peak);
}

Test(rounds, slack_is_left_after_a_fall)
{
    struct lab_vm vm;
    struct ljt_arena *a = live_at_peak(&vm);
    ljt_config.retain_pct = 1000;
    size_t peak = footprint(a);
    drop(&vm);
    uint64_t live = ljt_arena_gc_total(a);
    live_for(&vm, a, 300 * MS);
    cr_expect(footprint(a) >= 9 * live && footprint(a) < peak, "%zu KiB, live %zu", footprint(a) / KIB,
              (size_t)live / KIB);
}

/* ---- Blocks that have a mapping of their own ---- */

#define DIRECT 40
#define DIRECT_SIZE (300 * KIB)

/* Where nothing that is free is large enough they are mapped directly, beside the segments and between them. */
static unsigned char *direct[DIRECT];
static int (*real_madvise)(void *addr, size_t len, int advice);
static ssize_t (*real_process_madvise)(const struct iovec *ranges, size_t count, int advice);
static size_t advised, split, purged;

static uintptr_t direct_lo(unsigned i)
{
    return ljt_page_down((uintptr_t)direct[i]);
}

static uintptr_t direct_hi(unsigned i)
{
    return ljt_page_up((uintptr_t)direct[i] + DIRECT_SIZE);
}

static void expect_no_block_in(const void *addr, size_t len, int advice)
{
    uintptr_t lo = (uintptr_t)addr;
    for (unsigned i = 0; i < DIRECT; i++)
        cr_assert(direct[i] == NULL || lo >= direct_hi(i) || lo + len <= direct_lo(i),
                  "advice %d for a block that is mapped directly", advice);
    advised += advice == MADV_NOHUGEPAGE;
    split += advice == MADV_COLD;
    purged += advice == MADV_DONTNEED ? len : 0;
}

static int watched_madvise(void *addr, size_t len, int advice)
{
    expect_no_block_in(addr, len, advice);
    return advice == MADV_DONTNEED ? real_madvise(addr, len, advice) : 0;
}

static ssize_t watched_process_madvise(const struct iovec *ranges, size_t count, int advice)
{
    for (size_t i = 0; i < count; i++)
        expect_no_block_in(ranges[i].iov_base, ranges[i].iov_len, advice);
    return real_process_madvise(ranges, count, advice);
}

static ssize_t huge_pages_always(const char *path, char *buf, size_t size)
{
    const char *text = strstr(path, "hpage_pmd_size") != NULL ? "2097152\n" : "[always] madvise never\n";
    return (ssize_t)strlen(strncpy(buf, text, size));
}

/* How many blocks begin or end where a segment ends or begins: advice for a byte more would meet them. */
static unsigned neighbours(const struct ljt_lj_state *m)
{
    unsigned n = 0;
    for (unsigned i = 0; i < DIRECT; i++)
        for (const struct ljt_lj_segment *s = &m->seg; s != NULL; s = s->next)
            n += s->base == direct_hi(i) || s->base + s->size == direct_lo(i);
    return n;
}

static void expect_only_segments_are_touched(void)
{
    lab_fake_time();
    lab_pass_time(1); /* time 0 is never */
    ljt_kernel.thread_cpu = no_cpu;
    ljt_spending_open(ljt_kernel.now());
    ljt_kernel.read_file = huge_pages_always;
    struct lab_vm vm = lab_vm_open();
    luaL_openlibs(vm.L);
    lab_run(vm.L, "pad, keep, gone = {}, {}, {} for i = 1, 3000 do pad[i] = { i } end");
    struct ljt_arena *a = lab_vm_arm(&vm);
    if (ljt_config.mode == LJT_MODE_PATCHED && !a->is_patched)
        cr_skip_test("this LuaJIT has no GC64");
    for (unsigned i = 0; i < DIRECT; i++) {
        do
            direct[i] = lab_vm_allocf(&vm)(vm.m, NULL, 0, DIRECT_SIZE);
        while (!ljt_lj_chunk_is_direct(lab_chunk(direct[i])));
        memset(direct[i], (int)i + 1, DIRECT_SIZE);
        lab_run(vm.L, "for i = 1, 800 do gone[#gone + 1] = ('x'):rep(1000) .. #gone "
                      "if i % 50 == 0 then keep[#keep + 1] = ('y'):rep(200) .. #keep end end");
    }
    cr_assert(neighbours(vm.m) > 0, "no block lies beside a segment: nothing would be shown");
    real_madvise = ljt_kernel.madvise;
    real_process_madvise = ljt_kernel.process_madvise;
    ljt_kernel.madvise = watched_madvise;
    ljt_kernel.process_madvise = watched_process_madvise;
    live_for(&vm, a, 1200 * MS);
    lab_run(vm.L, "gone = nil collectgarbage() collectgarbage()");
    live_for(&vm, a, 5000 * MS);
    cr_expect(advised > 0 && split > 0, "%zu segments advised, %zu huge pages split", advised, split);
    cr_expect_gt(purged, 16 * MIB, "%zu KiB", purged / KIB);
    for (unsigned i = 0; i < DIRECT; i++)
        for (size_t at = 0; at < DIRECT_SIZE; at++)
            cr_assert_eq(direct[i][at], i + 1, "block %u, byte %zu", i, at);
}

Test(rounds, blocks_that_are_mapped_directly_are_neither_advised_nor_purged)
{
    expect_only_segments_are_touched();
}

Test(rounds, nor_are_those_of_our_own_allocator)
{
    ljt_config.mode = LJT_MODE_PATCHED;
    expect_only_segments_are_touched();
}
