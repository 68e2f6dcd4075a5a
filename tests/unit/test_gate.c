/*
 * The gate's protocol: what a call does, and who waits for whom.
 */
#include "lab.h"

#include <errno.h>
#include <lauxlib.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(gate, .init = lab_init, .timeout = LAB_TIMEOUT);

#define MS UINT64_C(1000000)
enum { SLOT = 3 };

static struct ljt_gate *const gate = &ljt_gates[SLOT];
static struct ljt_gate_word *const word = &ljt_wiped.word[SLOT];
static struct ljt_arena *const arena = &ljt_arenas[SLOT];

static uint32_t want(void)
{
    return atomic_load(&word->want);
}

/* A slot whose allocator is the test's own. */
static ljt_alloc_fn *gated(ljt_alloc_fn *allocf, struct ljt_lj_state *m)
{
    static _Atomic(ljt_alloc_fn *) place;
    static struct ljt_module module;
    arena->slot = SLOT;
    arena->m = m;
    arena->gg = (void *)1;
    arena->module = &module;
    arena->allocf = gate->allocf = allocf;
    arena->place = &place;
    gate->gg = arena->gg;
    atomic_store(&place, ljt_gate_trampoline(SLOT));
    atomic_store(&word->want, LJT_WANT_LIVE);
    atomic_store(&arena->state, LJT_ARENA_ARMED);
    atomic_store(&ljt_arena_slots, SLOT + 1);
    return ljt_gate_trampoline(SLOT);
}

/* ---- A call ---- */

static struct {
    void *ud, *ptr;
    size_t osize, nsize;
    unsigned calls;
    uint64_t busy;
} seen;

static void *note_arguments(void *ud, void *ptr, size_t osize, size_t nsize)
{
    seen.ud = ud, seen.ptr = ptr, seen.osize = osize, seen.nsize = nsize;
    seen.busy = atomic_load(&gate->busy);
    seen.calls++;
    return (char *)ptr + 16;
}

Test(gate, passes_each_call_through_while_busy)
{
    ljt_alloc_fn *call = gated(note_arguments, NULL);
    char ud, block[64];
    cr_expect(call(&ud, block, 11, 22) == block + 16);
    cr_expect(seen.ud == &ud && seen.ptr == block && seen.osize == 11 && seen.nsize == 22 && seen.calls == 1);
    cr_expect((seen.busy & 1) == 1, "busy inside");
    uint64_t after = atomic_load(&gate->busy);
    cr_expect((after & 1) == 0 && after > 0, "idle outside, and it shows that something happened");
    call(&ud, block, 11, 22);
    cr_expect(atomic_load(&gate->busy) == after + 2);
    cr_expect(ljt_histogram_count(&arena->stats.waits) == 0, "no slow path");
}

Test(gate, passes_null_through_whatever_the_vm)
{
    ljt_alloc_fn *call = gated(note_arguments, NULL);
    gate->gg = NULL; /* a slot that serves nobody: a late call */
    call(NULL, NULL, 0, 0);
    cr_expect(seen.calls == 1);
}

Test(gate, each_slot_has_a_trampoline_of_its_own)
{
    for (unsigned i = 0; i < LJT_GATES; i++) {
        ljt_gates[i].allocf = note_arguments;
        ljt_gates[i].gg = (void *)1;
        atomic_store(&ljt_wiped.word[i].want, LJT_WANT_LIVE);
    }
    char block[32];
    for (unsigned i = 0; i < LJT_GATES; i++) {
        ljt_gate_trampoline(i)(NULL, block, 0, 1);
        for (unsigned j = 0; j < LJT_GATES; j++)
            cr_assert(atomic_load(&ljt_gates[j].busy) == (j <= i ? 2 : 0), "slot %u, call to %u", j, i);
    }
}

static jmp_buf out;

static void *leave_by_longjmp(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud, (void)ptr, (void)osize, (void)nsize;
    longjmp(out, 1);
}

Test(gate, a_call_that_never_returned_does_not_invert_busy)
{
    ljt_alloc_fn *call = gated(leave_by_longjmp, NULL);
    for (int i = 0; i < 3; i++) {
        if (setjmp(out) == 0)
            call(NULL, NULL, 0, 16);
        cr_expect((atomic_load(&gate->busy) & 1) == 1, "it looks busy until the next call");
        cr_expect(!ljt_gate_hold(SLOT, 0) && want() == LJT_WANT_LIVE);
    }
    gate->allocf = note_arguments;
    call(NULL, NULL, 0, 16);
    cr_expect((seen.busy & 1) == 1 && (atomic_load(&gate->busy) & 1) == 0);
    cr_expect(ljt_gate_hold(SLOT, 0));
    ljt_gate_release(SLOT);
}

/* ---- What the slow path does ---- */

Test(gate, a_posted_unit_is_done_by_the_mutator)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    ljt_alloc_fn *call = gated(lab_allocf(), m);
    arena->work.kind = LJT_UNIT_SEGMENTS;
    atomic_fetch_or(&word->want, LJT_WANT_REQUEST);
    cr_expect(call(m, NULL, 0, 100) != NULL);
    cr_expect(want() == LJT_WANT_LIVE);
    cr_expect(arena->stats.units[LJT_UNIT_BY_MUTATOR] == 1 && arena->work.segments == 1);
    cr_expect(ljt_histogram_count(&arena->stats.waits) == 1);
    call(m, NULL, 0, 100);
    cr_expect(arena->stats.units[LJT_UNIT_BY_MUTATOR] == 1, "once");
    lab_prove(m);
}

/* Calls until the request is served. Returns how many. */
static unsigned calls_to_serve(ljt_alloc_fn *call, struct ljt_lj_state *m, enum ljt_unit_kind kind)
{
    unsigned calls = 0;
    arena->work.kind = kind;
    arena->work.served = 0;
    atomic_fetch_or(&word->want, LJT_WANT_REQUEST);
    for (; (want() & LJT_WANT_REQUEST) != 0; calls++) {
        uint64_t before = arena->stats.units[LJT_UNIT_BY_MUTATOR];
        call(m, NULL, 0, 100);
        cr_assert(arena->stats.units[LJT_UNIT_BY_MUTATOR] == before + 1, "one a call");
        cr_assert(calls < 1000);
    }
    return calls;
}

Test(gate, a_request_is_served_by_several_calls)
{
    struct ljt_lj_state *m = lab_heap(32 * MIB);
    for (int i = 0; i < 1000; i++)
        lab_free_chunk(m, 2 * 4096 + 8 * (i % 400));
    ljt_alloc_fn *call = gated(lab_allocf(), m);
    cr_expect(calls_to_serve(call, m, LJT_UNIT_SEGMENTS) == 1);
    ljt_shadow_cover(&arena->shadow, arena->work.segment[0].base, arena->work.segment[0].size);
    ljt_work_begin_look(&arena->work, 32 * MIB, 0, false);
    for (unsigned requests = 1; !arena->work.look_done; requests++) {
        unsigned calls = calls_to_serve(call, m, LJT_UNIT_LOOK);
        cr_expect(calls == LJT_REQUEST_UNITS || (arena->work.look_done && calls <= LJT_REQUEST_UNITS), "%u",
                  calls);
        cr_assert(requests < 1000);
    }
    ljt_config.debug = LJT_DEBUG_VERIFY;
    ljt_work_begin_look(&arena->work, 32 * MIB, 0, false);
    cr_expect(calls_to_serve(call, m, LJT_UNIT_LOOK) == 1, "who proves the heap does it once a request");
    lab_prove(m);
}

Test(gate, all_that_is_wanted_is_done_in_one_call)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    ljt_alloc_fn *call = gated(lab_allocf(), m);
    arena->work.kind = LJT_UNIT_SEGMENTS;
    atomic_fetch_or(&word->want, LJT_WANT_REQUEST | LJT_WANT_WAKE | LJT_WANT_START | LJT_WANT_PROVE);
    call(m, NULL, 0, 100);
    cr_expect(want() == LJT_WANT_LIVE && arena->stats.units[LJT_UNIT_BY_MUTATOR] == 1);
}

static int spoil_errno(const volatile void *address, int waiters)
{
    (void)address, (void)waiters;
    errno = EBADF;
    return 0;
}

static uint64_t spoil_errno_by_clock(void)
{
    errno = ENOSYS;
    return 1;
}

Test(gate, slow_path_preserves_errno)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    ljt_alloc_fn *call = gated(lab_allocf(), m);
    ljt_kernel.futex_wake = spoil_errno;
    ljt_kernel.now = spoil_errno_by_clock;
    arena->work.kind = LJT_UNIT_SEGMENTS;
    atomic_fetch_or(&word->want, LJT_WANT_REQUEST | LJT_WANT_WAKE | LJT_WANT_START);
    errno = EDOM;
    call(m, NULL, 0, 100);
    cr_expect(errno == EDOM, "%d", errno);
    atomic_store(&word->want, 0);
    call(m, NULL, 0, 100);
    cr_expect(errno == EDOM, "%d", errno);
}

/* A forked child finds a word of zeroes; the claims of its copy of the ledger are in its heap. */
Test(gate, a_wiped_word_hands_all_claims_back_and_starts_afresh)
{
    struct ljt_lj_state *m = lab_heap(4 * MIB);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 200000);
    struct lab_map *before = lab_map(m);
    ljt_alloc_fn *call = gated(lab_allocf(), m);
    arena->work.ledger[0].chunk = ljt_heap_claim(m, c, (uintptr_t)c, (uintptr_t)c + 100000);
    arena->work.ledger[1].chunk =
        ljt_heap_claim(m, ljt_lj_chunk_next(c), (uintptr_t)c + 100000, (uintptr_t)c + 200000);
    arena->work.claims = 2;
    arena->stats.purged = 17;
    arena->pace.posted = true;
    atomic_store(&word->want, 0);
    call(m, NULL, 0, 0); /* frees nothing */
    cr_expect(arena->work.claims == 0 && arena->stats.purged == 0 && !arena->pace.posted);
    cr_expect(want() == LJT_WANT_LIVE);
    lab_prove(m);
    cr_expect(lab_map_is_still(before, m));
}

static int accept_and_ignore(void *addr, size_t len, int advice)
{
    (void)addr, (void)len, (void)advice;
    return 0;
}

static void fork_with_words_set(void)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    ljt_alloc_fn *call = gated(lab_allocf(), m);
    ljt_gate_init();
    atomic_store(&word->life, 1); /* as if the reclaimer were purging */
    atomic_fetch_or(&word->want, LJT_WANT_HOLD);
    pid_t child = fork();
    if (child == 0) {
        ljt_gate_fork_child();
        bool good = want() == 0 && atomic_load(&word->life) == 0 && atomic_load(&ljt_wiped.reclaimer) == 0;
        good = good && call(m, NULL, 0, 100) != NULL && want() == LJT_WANT_LIVE;
        _exit(good ? 0 : 1);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_expect(want() == (LJT_WANT_LIVE | LJT_WANT_HOLD), "the parent's is as it was");
}

Test(gate, a_forked_child_finds_its_words_wiped)
{
    fork_with_words_set();
}

/* As qemu's user mode does. */
Test(gate, a_kernel_that_only_says_it_wipes_is_not_believed)
{
    ljt_kernel.madvise = accept_and_ignore;
    fork_with_words_set();
}

/* ---- Holds ---- */

Test(gate, hold_takes_an_idle_arena_and_lets_go)
{
    ljt_alloc_fn *call = gated(note_arguments, NULL);
    cr_assert(ljt_gate_hold(SLOT, 0));
    cr_expect((want() & LJT_WANT_HOLD) != 0 && atomic_load(&word->life) != 0 &&
              atomic_load(&ljt_wiped.holding));
    ljt_gate_release(SLOT);
    cr_expect(want() == LJT_WANT_LIVE && atomic_load(&word->life) == 0 && !atomic_load(&ljt_wiped.holding));
    call(NULL, NULL, 0, 16);
    cr_expect(seen.calls == 1);
}

Test(gate, hold_gives_up_during_a_fork)
{
    gated(note_arguments, NULL);
    ljt_gate_fork_prepare();
    cr_expect(!ljt_gate_hold(SLOT, 10 * MS) && want() == LJT_WANT_LIVE && !atomic_load(&ljt_wiped.holding));
    ljt_gate_fork_parent();
    cr_expect(ljt_gate_hold(SLOT, 0));
    ljt_gate_release(SLOT);
}

Test(gate, fork_waits_for_a_hold_but_not_without_end)
{
    gated(note_arguments, NULL);
    lab_fake_time();
    uint64_t start = ljt_kernel.now();
    ljt_gate_fork_prepare(); /* nothing is held: at once */
    cr_expect(ljt_kernel.now() == start);
    ljt_gate_fork_parent();
    cr_assert(ljt_gate_hold(SLOT, 0));
    start = ljt_kernel.now();
    ljt_gate_fork_prepare(); /* a crash handler that forks inside a hold must come through */
    uint64_t took = ljt_kernel.now() - start;
    cr_expect(took >= 1000 * MS && took < 1001 * MS, "%llu ns", (unsigned long long)took);
    ljt_gate_fork_parent();
    ljt_gate_release(SLOT);
}

static _Atomic int stage; /* of a test of two threads: who may go on */

static void await(int value)
{
    while (atomic_load(&stage) < value)
        sched_yield();
}

static void *stay_until_told(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud, (void)ptr, (void)osize, (void)nsize;
    atomic_store(&stage, 1);
    await(2);
    return NULL;
}

static void *one_call(void *unused)
{
    (void)unused;
    ljt_gate_trampoline(SLOT)(NULL, NULL, 0, 16);
    atomic_store(&stage, 3);
    return NULL;
}

Test(gate, hold_withdraws_when_its_patience_ends)
{
    gated(stay_until_told, NULL);
    pthread_t mutator;
    pthread_create(&mutator, NULL, one_call, NULL);
    await(1);
    uint64_t start = ljt_kernel.now();
    cr_expect(!ljt_gate_hold(SLOT, 2 * MS));
    cr_expect(ljt_kernel.now() - start >= 2 * MS);
    cr_expect(want() == LJT_WANT_LIVE && !atomic_load(&ljt_wiped.holding) && atomic_load(&word->life) == 0);
    atomic_store(&stage, 2);
    pthread_join(mutator, NULL);
    cr_expect(ljt_gate_hold(SLOT, 0));
    ljt_gate_release(SLOT);
}

/* The mutator's core: a store that waited in its buffer comes out when membarrier reaches it, not before. */
static uint64_t buffered_busy;
static uint32_t said_before; /* the bit of want that is to be there by then */

static int let_the_store_out(int cmd)
{
    (void)cmd;
    cr_expect((want() & said_before) != 0, "the bit comes first");
    atomic_store(&gate->busy, buffered_busy);
    return 0;
}

static void buffer_stores_behind(uint32_t bit)
{
    gated(note_arguments, NULL);
    ljt_kernel.membarrier = let_the_store_out;
    ljt_kernel_facts.membarrier = true;
    said_before = bit;
    buffered_busy = 4;
    atomic_store(&gate->busy, 4);
}

Test(gate, a_call_that_missed_hold_keeps_it_from_beginning)
{
    buffer_stores_behind(LJT_WANT_HOLD);
    cr_assert(ljt_gate_hold(SLOT, 0));
    ljt_gate_release(SLOT);
    buffered_busy = 5; /* has loaded want already, without HOLD */
    cr_assert(!ljt_gate_hold(SLOT, 0));
    cr_expect(want() == LJT_WANT_LIVE && !atomic_load(&ljt_wiped.holding) && atomic_load(&word->life) == 0);
    buffered_busy = 6;
    cr_assert(ljt_gate_hold(SLOT, 0));
    ljt_gate_release(SLOT);
}

static void (*real_wait)(const volatile void *address, uint32_t value, uint64_t ns);
static _Atomic long sleeper;

static void note_wait(const volatile void *address, uint32_t value, uint64_t ns)
{
    (void)ns;
    atomic_store(&sleeper, syscall(SYS_gettid));
    atomic_store(&stage, 1);
    real_wait(address, value, UINT64_MAX); /* no help from the time limit */
}

/* Until a thread sleeps in the kernel: else it would find the word changed, and need no wake. */
static void await_sleep(long tid)
{
    char path[64], state = '?';
    snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
    while (state != 'S') {
        FILE *f = fopen(path, "r");
        cr_assert(f != NULL && fscanf(f, "%*d (%*[^)]) %c", &state) == 1);
        fclose(f);
    }
}

Test(gate, a_mutator_that_waits_sleeps_and_is_woken)
{
    gated(note_arguments, NULL);
    real_wait = ljt_kernel.futex_wait;
    ljt_kernel.futex_wait = note_wait;
    cr_assert(ljt_gate_hold(SLOT, 0));
    pthread_t mutator;
    pthread_create(&mutator, NULL, one_call, NULL);
    await(1); /* it has given up spinning */
    await_sleep(atomic_load(&sleeper));
    cr_expect(seen.calls == 0 && (atomic_load(&gate->busy) & 1) == 0, "it stands aside");
    ljt_gate_release(SLOT);
    pthread_join(mutator, NULL);
    cr_expect(seen.calls == 1 && (seen.busy & 1) == 1 && (atomic_load(&gate->busy) & 1) == 0);
    cr_expect(ljt_histogram_count(&arena->stats.waits) == 1 && want() == LJT_WANT_LIVE);
}

static unsigned slept;

static void end_hold_by_sleep(const volatile void *address, uint32_t value, uint64_t ns)
{
    (void)address, (void)value, (void)ns;
    slept++;
    ljt_gate_release(SLOT);
}

Test(gate, a_call_that_was_kept_waiting_is_given_no_unit)
{
    gated(note_arguments, NULL);
    ljt_kernel.futex_wait = end_hold_by_sleep;
    cr_assert(ljt_gate_hold(SLOT, 0));
    atomic_fetch_or(&word->want, LJT_WANT_REQUEST);
    ljt_gate_trampoline(SLOT)(NULL, NULL, 0, 16);
    cr_expect(slept == 1 && want() == (LJT_WANT_LIVE | LJT_WANT_REQUEST));
    cr_expect(atomic_load(&arena->stats.units[LJT_UNIT_BY_MUTATOR]) == 0);
}

/* ---- Falling asleep ---- */

Test(gate, a_call_that_missed_wake_is_not_slept_through)
{
    buffer_stores_behind(LJT_WANT_WAKE);
    cr_expect(ljt_gate_may_sleep(SLOT, 4));
    buffered_busy = 5; /* has loaded want already, without WAKE */
    cr_expect(!ljt_gate_may_sleep(SLOT, 4));
    cr_expect(!ljt_gate_may_sleep(SLOT, 5), "nobody will tell what a call under way does");
    buffered_busy = 6;
    cr_expect(!ljt_gate_may_sleep(SLOT, 4));
    cr_expect(ljt_gate_may_sleep(SLOT, 6));
}

/* ---- Exclusion. `guarded` is a plain variable: TSan sees any pair of accesses that nothing orders ---- */

static unsigned long guarded, in_calls, in_holds;
static _Atomic bool over;

static void *touch_guarded(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud, (void)ptr, (void)osize, (void)nsize;
    unsigned long was = guarded++;
    __asm__ volatile("" ::: "memory");
    cr_assert(guarded == was + 1);
    in_calls++;
    return NULL;
}

static void *keep_calling(void *unused)
{
    (void)unused;
    ljt_alloc_fn *call = ljt_gate_trampoline(SLOT);
    while (!atomic_load(&over))
        for (int i = 0; i < 1000; i++)
            call(NULL, NULL, 0, 16);
    return NULL;
}

static void hold_against_calls(void)
{
    size_t holds = lab_count("TEST_OPS", 3000), withdrawn = 0, calls = 0;
    pthread_t mutator;
    pthread_create(&mutator, NULL, keep_calling, NULL);
    while (in_holds < holds || calls < holds) {
        if (!ljt_gate_hold(SLOT, 1 * MS)) { /* a call whose thread has lost its processor */
            withdrawn++;
            sched_yield();
            continue;
        }
        unsigned long was = guarded;
        for (volatile int i = 0; i < 200; i++)
            ;
        cr_assert(guarded == was, "nobody else is inside");
        guarded = was + 1;
        in_holds++;
        calls = in_calls;
        ljt_gate_release(SLOT);
        for (volatile int i = 0; i < 2000; i++) /* let it in */
            ;
    }
    atomic_store(&over, true);
    pthread_join(mutator, NULL);
    cr_expect(guarded == in_calls + in_holds, "%lu = %lu + %lu, %zu withdrawn", guarded, in_calls, in_holds,
              withdrawn);
}

Test(gate, holds_exclude_calls)
{
    gated(touch_guarded, NULL);
    cr_assert(ljt_kernel_facts.membarrier);
    hold_against_calls();
    cr_expect(want() == LJT_WANT_LIVE);
}

/* Whose turn it is: it orders nothing. What does is the gate alone, or TSan reports a race on `guarded`. */
static _Atomic unsigned whose;

static void await_turn(unsigned n)
{
    while (atomic_load_explicit(&whose, memory_order_relaxed) != n)
        sched_yield();
}

static void end_turn(unsigned n)
{
    atomic_store_explicit(&whose, n + 1, memory_order_relaxed);
}

enum { TURNS = 40 };

static void *call_at_odd_turns(void *unused)
{
    (void)unused;
    for (unsigned n = 1; n < TURNS; n += 2) {
        await_turn(n);
        ljt_gate_trampoline(SLOT)(NULL, NULL, 0, 16);
        end_turn(n);
    }
    return NULL;
}

Test(gate, calls_and_holds_see_each_other_s_writes)
{
    gated(touch_guarded, NULL);
    pthread_t mutator;
    pthread_create(&mutator, NULL, call_at_odd_turns, NULL);
    for (unsigned n = 0; n < TURNS; n += 2) {
        await_turn(n);
        cr_assert(ljt_gate_hold(SLOT, 1000 * MS));
        cr_assert(guarded == n, "%lu", guarded);
        guarded = n + 1;
        ljt_gate_release(SLOT);
        end_turn(n);
    }
    pthread_join(mutator, NULL);
    cr_expect(guarded == TURNS, "%lu", guarded);
}

/*
 * What membarrier is for: the store of busy waits for memory behind others while the load of want is done already. The
 * mutator comes when a hold begins, behind stores to cold pages; without the fence
 * one hold in a thousand had company on some days of a machine, none on others (docs/SAFETY.md).
 */
enum { COLD = 64 << 20 };
static _Atomic unsigned turn __attribute__((aligned(128))), entered __attribute__((aligned(128)));

static void *count_entry(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud, (void)ptr, (void)osize, (void)nsize;
    unsigned count = atomic_load_explicit(&entered, memory_order_relaxed);
    atomic_store_explicit(&entered, count + 1, memory_order_relaxed);
    return NULL;
}

static void *come_at_each_turn(void *cold)
{
    ljt_alloc_fn *call = ljt_gate_trampoline(SLOT);
    size_t at = 0;
    for (unsigned last = 0; !atomic_load(&over);) {
        for (unsigned spins = 0; atomic_load_explicit(&turn, memory_order_acquire) == last && spins < 20000;)
            spins++;
        last = atomic_load_explicit(&turn, memory_order_acquire);
        for (int i = 0; i < 40; i++) {
            at = (at + 4096 + 64 * 7) % COLD;
            ((volatile char *)cold)[at] = 1;
        }
        call(NULL, NULL, 0, 16);
    }
    return NULL;
}

Test(gate, holds_exclude_calls_whose_store_comes_late)
{
    gated(count_entry, NULL);
    cr_assert(ljt_kernel_facts.membarrier);
    lab_seed("gate: late stores");
    char *cold = ljt_kernel_alloc(COLD);
    cr_assert(cold != NULL);
    memset(cold, 1, COLD);
    pthread_t mutator;
    pthread_create(&mutator, NULL, come_at_each_turn, cold);
    for (size_t rounds = lab_count("TEST_OPS", 10000); rounds > 0; rounds--) {
        atomic_fetch_add_explicit(&turn, 1, memory_order_release);
        for (volatile unsigned wait = (unsigned)lab_below(400); wait > 0; wait--)
            ;
        if (!ljt_gate_hold(SLOT, MS / 10))
            continue;
        unsigned was = atomic_load_explicit(&entered, memory_order_relaxed);
        for (int look = 0; look < 2000; look++)
            cr_assert(atomic_load_explicit(&entered, memory_order_relaxed) == was, "nobody else is inside");
        ljt_gate_release(SLOT);
    }
    atomic_store(&over, true);
    pthread_join(mutator, NULL);
    ljt_kernel_free(cold, COLD);
}

static int no_membarrier(int cmd)
{
    (void)cmd;
    errno = ENOSYS;
    return -1;
}

Test(gate, holds_exclude_calls_without_membarrier)
{
    gated(touch_guarded, NULL);
    ljt_kernel.membarrier = no_membarrier;
    ljt_kernel_probe();
    cr_assert(!ljt_kernel_facts.membarrier);
    atomic_fetch_or(&word->want, LJT_WANT_FENCED);
    hold_against_calls();
    cr_expect(want() == (LJT_WANT_LIVE | LJT_WANT_FENCED), "for good");
}

Test(gate, a_fence_at_entry_is_no_wait)
{
    ljt_alloc_fn *call = gated(note_arguments, NULL);
    atomic_fetch_or(&word->want, LJT_WANT_FENCED);
    for (int i = 0; i < 10; i++)
        call(NULL, NULL, 0, 16);
    cr_expect(seen.calls == 10 && ljt_histogram_count(&arena->stats.waits) == 0);
}

/* Units posted to a mutator on another thread: what it writes, the poster may read. */
static void *post_units(void *unused)
{
    (void)unused;
    for (int i = 0; i < 50; i++) {
        arena->work.kind = LJT_UNIT_SEGMENTS;
        arena->work.segments = 0;
        atomic_fetch_or_explicit(&word->want, LJT_WANT_REQUEST, memory_order_release);
        while ((atomic_load_explicit(&word->want, memory_order_acquire) & LJT_WANT_REQUEST) != 0)
            sched_yield();
        cr_assert(arena->work.segments == 1);
    }
    atomic_store(&over, true);
    return NULL;
}

Test(gate, units_go_to_another_thread_and_back)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    ljt_alloc_fn *call = gated(lab_allocf(), m);
    pthread_t poster;
    pthread_create(&poster, NULL, post_units, NULL);
    while (!atomic_load(&over))
        call(m, call(m, NULL, 0, 500), 500, 0);
    pthread_join(poster, NULL);
    cr_expect(arena->stats.units[LJT_UNIT_BY_MUTATOR] == 50);
    lab_prove(m);
}

/* ---- A VM that closes ---- */

static void *hold_until_dead(void *arg)
{
    struct ljt_arena *a = arg;
    size_t holds = 0;
    while (!atomic_load(&over)) {
        if (!ljt_gate_hold(a->slot, MS / 10))
            continue;
        if (ljt_arena_is(a, LJT_ARENA_ARMED)) { /* then its memory is there */
            a->work.kind = LJT_UNIT_SEGMENTS;
            ljt_unit_run(a, LJT_UNIT_BY_RECLAIMER);
            cr_assert(a->work.segments > 0);
        }
        ljt_gate_release(a->slot);
        holds++;
    }
    return NULL;
}

Test(gate, a_vm_closes_under_holds)
{
    for (int round = 0; round < 30; round++) {
        struct lab_vm vm = lab_vm_open();
        struct ljt_arena *a = lab_vm_arm(&vm);
        pthread_t holder;
        atomic_store(&over, false);
        pthread_create(&holder, NULL, hold_until_dead, a);
        cr_assert(luaL_dostring(vm.L, "local t = {} for i = 1, 2000 do t[i] = {i} end") == 0);
        lua_close(vm.L);
        cr_expect(ljt_arena_is(a, LJT_ARENA_DEAD));
        cr_expect((atomic_load(&ljt_gates[a->slot].busy) & 1) == 0);
        atomic_store(&over, true);
        pthread_join(holder, NULL);
        unsigned char vec[32];
        cr_expect(mincore((void *)vm.base, LJT_LJ_GRANULARITY, vec) != 0, "its first mapping is gone");
    }
}
