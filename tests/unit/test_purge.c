/*
 * Which pages of the claims are given back, and in which calls; the kernel is a recorder.
 */
#include "lab.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "purge.h"
#include "thp.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

TestSuite(purge, .init = lab_init, .timeout = LAB_TIMEOUT);

#define AGED LJT_SHADOW_BIT(LJT_SHADOW_AGED)
#define PURGED LJT_SHADOW_BIT(LJT_SHADOW_PURGED)
#define RESIDENT LJT_SHADOW_BIT(LJT_SHADOW_RESIDENT)
#define BASE ((uintptr_t)0x7f0000000000)
#define PAGE ((uintptr_t)4096)

enum { PAGES = 16384 };

static unsigned char given_back[PAGES]; /* how often */
static unsigned calls, batches;
static size_t most_runs, most_bytes;    /* of a call */
static ssize_t batch_limit = SSIZE_MAX; /* bytes that a batch does before it ends early; -1: it is refused */
static uintptr_t locked_page;           /* madvise refuses runs with this one */
static ljt_lock *life;                  /* the arena's */

static bool record(const void *addr, size_t len)
{
    uintptr_t lo = (uintptr_t)addr;
    cr_assert(lo % PAGE == 0 && len % PAGE == 0 && len > 0 && lo >= BASE && lo + len <= BASE + PAGES * PAGE);
    cr_assert(atomic_load(life) != 0, "the VM could unmap it meanwhile");
    if (locked_page >= lo && locked_page < lo + len)
        return false;
    for (uintptr_t p = lo; p < lo + len; p += PAGE)
        given_back[(p - BASE) / PAGE]++;
    return true;
}

static int recording_madvise(void *addr, size_t len, int advice)
{
    cr_assert(advice == MADV_DONTNEED);
    calls++;
    most_bytes = len > most_bytes ? len : most_bytes;
    if (record(addr, len))
        return 0;
    errno = EINVAL;
    return -1;
}

static ssize_t recording_batch(const struct iovec *ranges, size_t count, int advice)
{
    cr_assert(advice == MADV_DONTNEED && count > 1);
    batches++;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += ranges[i].iov_len;
    most_runs = count > most_runs ? count : most_runs;
    most_bytes = bytes > most_bytes ? bytes : most_bytes;
    if (batch_limit < 0) {
        errno = EINVAL;
        return -1;
    }
    ssize_t done = 0;
    for (size_t i = 0; i < count && done + (ssize_t)ranges[i].iov_len <= batch_limit; i++) {
        if (!record(ranges[i].iov_base, ranges[i].iov_len))
            break;
        done += (ssize_t)ranges[i].iov_len;
    }
    if (done == 0)
        errno = EINVAL;
    return done == 0 ? -1 : done;
}

static bool is_old(unsigned page, unsigned share)
{
    return page * 7 % 10 < share;
}

/* An arena that claims [from, to) pages in pieces of 100. All are resident, `share` of 10 are old. */
static struct ljt_arena *claimed(unsigned from, unsigned to, unsigned share)
{
    struct ljt_arena *a = lab_arm(lab_heap(1 * MIB));
    life = &ljt_wiped.word[a->slot].life;
    ljt_kernel.madvise = recording_madvise;
    ljt_kernel.process_madvise = recording_batch;
    cr_assert(ljt_shadow_cover(&a->shadow, BASE, PAGES * PAGE) == 0);
    ljt_shadow_set(&a->shadow, LJT_SHADOW_RESIDENT, BASE + from * PAGE, BASE + to * PAGE);
    for (unsigned i = from; i < to; i++)
        if (is_old(i, share))
            ljt_shadow_set(&a->shadow, LJT_SHADOW_AGED, BASE + i * PAGE, BASE + (i + 1) * PAGE);
    for (unsigned i = from; i < to; i += 100) {
        cr_assert(a->work.claims < LJT_LEDGER);
        struct ljt_claim *c = &a->work.ledger[a->work.claims++];
        c->lo = BASE + i * PAGE;
        c->hi = BASE + (i + 100 < to ? i + 100 : to) * PAGE;
    }
    return a;
}

/* All that was old went, once; what was young or lies outside of the claims did not. */
static void expect_all_gone(const struct ljt_arena *a, unsigned from, unsigned to, unsigned share)
{
    size_t gone = 0;
    for (unsigned i = 0; i < PAGES; i++) {
        bool old = i >= from && i < to && is_old(i, share);
        cr_assert(given_back[i] == old, "page %u: %u times", i, given_back[i]);
        gone += old;
    }
    uintptr_t lo = BASE + from * PAGE, hi = BASE + to * PAGE;
    cr_expect(ljt_shadow_count(&a->shadow, RESIDENT, 0, lo, hi) == to - from - gone);
    cr_expect(ljt_shadow_count(&a->shadow, PURGED, 0, lo, hi) == gone);
    cr_expect(a->stats.purged == gone * PAGE, "%zu pages, %llu bytes", gone,
              (unsigned long long)a->stats.purged);
    cr_expect(a->stats.purge_calls == calls + batches);
    cr_expect(atomic_load(life) == 0);
    cr_expect(most_runs <= 64 && most_bytes <= 2 * MIB, "%zu runs, %zu bytes in a call", most_runs,
              most_bytes);
}

Test(purge, claims_are_given_back_in_batches)
{
    struct ljt_arena *a = claimed(100, 6000, 5);
    ljt_purge_claims(a);
    expect_all_gone(a, 100, 6000, 5);
    cr_expect(batches > 10 && calls < 10, "%u batches, %u single runs", batches, calls);
    cr_expect(most_runs == 64, "%zu", most_runs);
}

/* A VM that closes waits for one batch: 0.2 ms. */
Test(purge, a_batch_has_two_mib_at_most)
{
    struct ljt_arena *a = claimed(100, 6000, 10); /* runs of 400 KiB */
    ljt_purge_claims(a);
    expect_all_gone(a, 100, 6000, 10);
    cr_expect(most_bytes == 5 * 100 * PAGE && batches == 12, "%zu bytes, %u batches", most_bytes, batches);
}

Test(purge, a_run_of_more_goes_in_several_calls)
{
    struct ljt_arena *a = claimed(0, 2000, 10);
    a->work.claims = 1;
    a->work.ledger[0].hi = BASE + 2000 * PAGE;
    ljt_purge_claims(a);
    expect_all_gone(a, 0, 2000, 10);
    cr_expect(most_bytes == 2 * MIB && calls == 4 && batches == 0, "%zu bytes, %u calls", most_bytes, calls);
}

Test(purge, a_batch_that_ends_early_is_finished)
{
    for (batch_limit = 0; batch_limit < (ssize_t)(200 * PAGE); batch_limit += (ssize_t)(37 * PAGE)) {
        memset(given_back, 0, sizeof(given_back));
        calls = batches = 0;
        struct ljt_arena *a = claimed(100, 3000, 9);
        ljt_purge_claims(a);
        expect_all_gone(a, 100, 3000, 9);
    }
}

Test(purge, a_kernel_that_refuses_batches_is_not_asked_again)
{
    batch_limit = -1;
    struct ljt_arena *a = claimed(100, 3000, 5);
    ljt_purge_claims(a);
    expect_all_gone(a, 100, 3000, 5);
    cr_expect(batches == 1 && calls > 100, "%u", batches);
}

static struct iovec own_page;

static bool first_thread_has_ended(void)
{
    char state = 0;
    FILE *f = fopen("/proc/self/stat", "re");
    bool read = f != NULL && fscanf(f, "%*d (%*[^)]) %c", &state) == 1;
    if (f != NULL)
        fclose(f);
    return read && state == 'Z';
}

static void *give_back_alone(void *arg)
{
    bool alone = lab_await(first_thread_has_ended());
    _exit(alone && ljt_kernel.process_madvise(&own_page, 1, MADV_DONTNEED) == (ssize_t)own_page.iov_len ? 0
                                                                                                        : 1);
    return arg;
}

/* The kernel itself. */
Test(purge, batches_need_no_first_thread)
{
    int status = 0;
    own_page = (struct iovec){ljt_kernel_alloc(ljt_page_size), ljt_page_size};
    if (ljt_kernel.process_madvise(&own_page, 1, MADV_DONTNEED) < 0)
        cr_skip_test("this kernel has no batches");
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, give_back_alone, NULL) == 0)
            pthread_exit(NULL);
        _exit(2);
    }
    cr_assert(waitpid(child, &status, 0) == child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", (unsigned)status);
}

Test(purge, young_pages_stay)
{
    struct ljt_arena *a = claimed(0, 1000, 10);
    ljt_shadow_clear(&a->shadow, LJT_SHADOW_AGED, BASE + 300 * PAGE, BASE + 420 * PAGE);
    ljt_shadow_clear(&a->shadow, LJT_SHADOW_AGED, BASE + 999 * PAGE, BASE + 1000 * PAGE);
    ljt_purge_claims(a);
    for (unsigned i = 0; i < 1000; i++)
        cr_assert(given_back[i] == !((i >= 300 && i < 420) || i == 999), "page %u", i);
    cr_expect(ljt_shadow_count(&a->shadow, RESIDENT, AGED, BASE, BASE + 1000 * PAGE) == 121,
              "still resident");
}

Test(purge, at_sight_young_pages_go_too)
{
    struct ljt_arena *a = claimed(0, 1000, 10);
    ljt_shadow_clear(&a->shadow, LJT_SHADOW_AGED, BASE, BASE + 1000 * PAGE);
    a->work.at_sight = true;
    ljt_purge_claims(a);
    expect_all_gone(a, 0, 1000, 10);
}

Test(purge, what_is_not_resident_costs_nothing)
{
    struct ljt_arena *a = claimed(0, 1000, 10);
    ljt_shadow_clear(&a->shadow, LJT_SHADOW_RESIDENT, BASE, BASE + 1000 * PAGE);
    ljt_purge_claims(a);
    cr_expect(calls == 0 && batches == 0 && a->stats.purged == 0);
}

Test(purge, runs_are_joined_across_pages_that_are_not_resident)
{
    struct ljt_arena *a = claimed(0, 100, 10);
    ljt_shadow_clear(&a->shadow, LJT_SHADOW_RESIDENT, BASE, BASE + 100 * PAGE);
    for (unsigned i = 10; i < 90; i += 2)
        ljt_shadow_set(&a->shadow, LJT_SHADOW_RESIDENT, BASE + i * PAGE, BASE + (i + 1) * PAGE);
    ljt_purge_claims(a);
    cr_expect(calls + batches == 1, "%u", calls + batches);
    cr_expect(given_back[9] == 0 && given_back[10] == 1 && given_back[88] == 1 && given_back[89] == 0);
    cr_expect(a->stats.purged == 40 * PAGE, "what was not there is not counted");
}

Test(purge, a_locked_run_is_left_until_the_next_look)
{
    lab_catch_stderr();
    struct ljt_arena *a = claimed(0, 1000, 5);
    locked_page = BASE + 500 * PAGE;
    ljt_purge_claims(a);
    ljt_purge_claims(a);
    cr_expect(given_back[500] == 0 && given_back[490] == 1 && given_back[510] == 1);
    cr_expect(ljt_shadow_count(&a->shadow, RESIDENT | AGED, 0, BASE, BASE + 1000 * PAGE) == 0,
              "the look ends");
    cr_expect(ljt_shadow_count(&a->shadow, PURGED, 0, locked_page, locked_page + PAGE) == 0);
    cr_expect(lab_said_lines() == 1, "said: %s", lab_said());
    cr_expect(a->stats.purged < 500 * PAGE);
}

Test(purge, nothing_of_an_arena_that_is_not_armed)
{
    struct ljt_arena *a = claimed(0, 1000, 5);
    atomic_store(&a->state, LJT_ARENA_CLOSING);
    ljt_purge_claims(a);
    cr_expect(calls == 0 && batches == 0 && a->stats.purged == 0);
}

Test(purge, poisoned_batches_keep_their_pages_now_and_then)
{
    struct ljt_lj_state *m = lab_heap(4 * MIB);
    struct ljt_arena *a = lab_arm(m);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 1 * MIB);
    ljt_config.debug = LJT_DEBUG_POISON;
    cr_assert(ljt_shadow_cover(&a->shadow, m->seg.base, m->seg.size) == 0);
    unsigned kept = 0, zeroed = 0;
    for (int round = 0; round < 6; round++) {
        a->work.at_sight = true;
        a->work.ledger[0].chunk = ljt_heap_claim(m, c, (uintptr_t)c, (uintptr_t)c + 1 * MIB);
        a->work.claims = 1;
        ljt_lj_free_pages((uintptr_t)c, 1 * MIB, PAGE, &a->work.ledger[0].lo, &a->work.ledger[0].hi);
        ljt_shadow_set(&a->shadow, LJT_SHADOW_RESIDENT, a->work.ledger[0].lo, a->work.ledger[0].hi);
        ljt_purge_claims(a);
        unsigned char byte = *(volatile unsigned char *)a->work.ledger[0].lo;
        kept += byte == 0xa5;
        zeroed += byte == 0;
        ljt_unit_hand_back_all(a);
        lab_prove(m);
    }
    cr_expect(kept == 3 && zeroed == 3, "%u, %u", kept, zeroed);
}

/* ---- Huge pages that were there before a part of them was purged ---- */

enum { HUGE_PAGES = 512, HUGE_BLOCKS = PAGES / HUGE_PAGES };

static unsigned splits[HUGE_BLOCKS];
static bool refuses_splits;

static int splitting_madvise(void *addr, size_t len, int advice)
{
    if (advice != MADV_COLD)
        return recording_madvise(addr, len, advice);
    uintptr_t lo = (uintptr_t)addr;
    cr_assert(lo >= BASE && lo + len <= BASE + PAGES * PAGE && len <= HUGE_PAGES * PAGE);
    cr_assert(atomic_load(life) != 0, "the VM could unmap it meanwhile");
    splits[(lo - BASE) / PAGE / HUGE_PAGES]++;
    errno = EINVAL;
    return refuses_splits ? -1 : 0;
}

/* All of the pages from 100 on belong to one segment; huge pages are always on. */
static struct ljt_arena *claimed_of_huge_pages(unsigned from, unsigned to)
{
    struct ljt_arena *a = claimed(from, to, 10);
    ljt_kernel.madvise = splitting_madvise;
    lab_huge_pages("[always] madvise never\n");
    ljt_thp_init();
    a->work.segment[0].base = BASE + 100 * PAGE;
    a->work.segment[0].size = (PAGES - 100) * PAGE;
    a->work.segments = 1;
    return a;
}

Test(purge, huge_pages_are_split_where_a_part_has_gone_and_only_once)
{
    struct ljt_arena *a =
        claimed_of_huge_pages(300, 2000); /* parts of 0 and 3, all of 1 and 2 in pieces of 100 */
    ljt_purge_claims(a);
    for (unsigned i = 300; i < 2000; i++)
        cr_assert(given_back[i] == 1);
    cr_expect(splits[0] == 1 && splits[3] == 1, "%u, %u", splits[0], splits[3]);
    cr_expect(splits[1] <= 1 && splits[2] <= 1, "%u, %u", splits[1], splits[2]);
    for (unsigned i = 4; i < HUGE_BLOCKS; i++)
        cr_expect(splits[i] == 0, "block %u: nothing was purged there", i);
    memset(splits, 0, sizeof(splits));
    ljt_shadow_set(&a->shadow, LJT_SHADOW_RESIDENT, BASE + 1500 * PAGE, BASE + 1600 * PAGE);
    ljt_purge_claims(a);
    cr_expect(given_back[1550] == 2);
    for (unsigned i = 0; i < HUGE_BLOCKS; i++)
        cr_expect(splits[i] == 0, "block %u is split already", i);
}

Test(purge, a_kernel_that_splits_no_huge_pages_is_not_asked_again)
{
    refuses_splits = true;
    struct ljt_arena *a = claimed_of_huge_pages(300, 6000);
    ljt_purge_claims(a);
    unsigned asked = 0;
    for (unsigned i = 0; i < HUGE_BLOCKS; i++)
        asked += splits[i];
    cr_expect(asked == 1, "%u", asked);
    for (unsigned i = 300; i < 6000; i++)
        cr_assert(given_back[i] == 1);
}
