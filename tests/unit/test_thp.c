/*
 * Which segments are kept out of huge pages, when, and until when; the kernel is a recorder.
 */
#include "lab.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "rounds.h"
#include "spending.h"
#include "thp.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

#define MS UINT64_C(1000000)
#define ALWAYS "[always] madvise never\n"

TestSuite(thp, .init = lab_init, .timeout = LAB_TIMEOUT);

/* ---- The recorder ---- */

enum { ROOM = 2048 };

static struct {
    uintptr_t base;
    size_t size;
} advised[ROOM];
static unsigned advices, purges;
static int refusal; /* errno of the next advice; 0: none */

static bool is_advised(uintptr_t lo, size_t len)
{
    for (unsigned i = 0; i < advices; i++)
        if (lo >= advised[i].base && lo + len <= advised[i].base + advised[i].size)
            return true;
    return false;
}

static int recording_madvise(void *addr, size_t len, int advice)
{
    switch (advice) {
    case MADV_NOHUGEPAGE:
        cr_assert(advices < ROOM);
        advised[advices].base = (uintptr_t)addr;
        advised[advices++].size = len;
        errno = refusal;
        return refusal == 0 ? 0 : -1;
    case MADV_DONTNEED:
        purges++;
        cr_assert(is_advised((uintptr_t)addr, len), "purged before it was advised");
        return 0;
    default: cr_assert(advice == MADV_COLD, "advice %d", advice); return 0;
    }
}

static ssize_t recording_batch(const struct iovec *ranges, size_t count, int advice)
{
    ssize_t done = 0;
    for (size_t i = 0; i < count; i++) {
        recording_madvise(ranges[i].iov_base, ranges[i].iov_len, advice);
        done += (ssize_t)ranges[i].iov_len;
    }
    return done;
}

/* From here on. */
static void record(const char *enabled)
{
    ljt_kernel.madvise = recording_madvise;
    ljt_kernel.process_madvise = recording_batch;
    lab_huge_pages(enabled);
    ljt_thp_init();
}

/* ---- An arena ---- */

/* What the reclaimer does first where mappings have changed. */
static void list(struct ljt_arena *a)
{
    lab_list_segments(a);
    a->pace.map_events++;
}

static struct ljt_arena *arena_of_three_segments(void)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    lab_add_segment(m, 2 * MIB);
    lab_add_segment(m, 256 * KIB);
    struct ljt_arena *a = lab_arm(m);
    list(a);
    cr_assert_eq(a->work.segments, 3);
    return a;
}

/* Each segment of the arena as one, from the advice `from` on. */
static void expect_segments_advised(const struct ljt_arena *a, unsigned from)
{
    unsigned i = from;
    for (const struct ljt_lj_segment *s = &a->m->seg; s != NULL; s = s->next, i++)
        cr_expect(i < advices && advised[i].base == s->base && advised[i].size == s->size, "segment %u",
                  i - from);
    cr_expect_eq(advices, i);
}

/* Segments that are listed, and nothing more. */
static void pretend_segments(struct ljt_arena *a, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        a->work.segment[i].base = (uintptr_t)0x7f0000000000 + i * MIB;
        a->work.segment[i].size = 128 * KIB;
    }
    a->work.segments = n;
    a->pace.map_events++;
}

/* ---- Which, and how often ---- */

Test(thp, segments_are_advised_whole_and_once)
{
    struct ljt_arena *a = arena_of_three_segments();
    record(ALWAYS);
    ljt_thp_advise(a);
    expect_segments_advised(a, 0);
    for (int look = 0; look < 3; look++)
        ljt_thp_advise(a);
    cr_expect_eq(advices, 3, "%u", advices);
}

Test(thp, a_heap_that_has_grown_is_advised_again)
{
    struct ljt_arena *a = arena_of_three_segments();
    record(ALWAYS);
    ljt_thp_advise(a);
    lab_add_segment(a->m, 4 * MIB);
    list(a);
    ljt_thp_advise(a);
    expect_segments_advised(a, 3);
}

/* Each may split a mapping in three, and when a process has no more to be had its malloc fails. */
Test(thp, a_heap_of_too_many_segments_is_left_alone)
{
    struct ljt_arena *a = lab_arm(lab_heap(1 * MIB));
    record(ALWAYS);
    pretend_segments(a, 512);
    ljt_thp_advise(a);
    cr_expect_eq(advices, 512, "%u", advices);
    pretend_segments(a, 513);
    ljt_thp_advise(a);
    cr_expect_eq(advices, 512, "%u", advices);
}

/* ---- A kernel that does not want to ---- */

Test(thp, the_first_refusal_ends_it)
{
    struct ljt_arena *a = arena_of_three_segments(), *other = arena_of_three_segments();
    record(ALWAYS);
    refusal = EINVAL;
    ljt_thp_advise(a);
    cr_expect_eq(advices, 1, "%u", advices);
    refusal = 0;
    list(a);
    ljt_thp_advise(a);
    ljt_thp_advise(other);
    cr_expect_eq(advices, 1, "%u", advices);
}

Test(thp, a_segment_that_was_trimmed_meanwhile_is_no_refusal)
{
    struct ljt_arena *a = arena_of_three_segments();
    record(ALWAYS);
    refusal = ENOMEM;
    ljt_thp_advise(a);
    expect_segments_advised(a, 0);
}

/* ---- Where it does not matter ---- */

static void expect_no_advice(const char *enabled)
{
    struct ljt_arena *a = arena_of_three_segments();
    record(enabled);
    ljt_thp_advise(a);
    cr_expect_eq(advices, 0, "%u", advices);
}

Test(thp, nothing_where_programs_have_to_ask_for_huge_pages)
{
    expect_no_advice("always [madvise] never\n");
}

Test(thp, nothing_where_there_are_no_huge_pages)
{
    expect_no_advice("always madvise [never]\n");
}

Test(thp, nothing_where_the_process_has_none)
{
    if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
        cr_skip_test("an emulator, or a kernel without huge pages");
    expect_no_advice(ALWAYS);
}

Test(thp, nothing_where_they_are_to_be_left_alone)
{
    ljt_config.thp = LJT_THP_KEEP;
    expect_no_advice(ALWAYS);
}

/* ---- When ---- */

/* Turns of the arena until something has been purged in it; its VM is silent. */
static void purge(struct ljt_arena *a, size_t bytes)
{
    struct ljt_lj_chunk *c = lab_chunk(lab_chunk_alloc(a->m, bytes));
    void *wall = lab_chunk_alloc(a->m, 64);
    memset(ljt_lj_chunk_to_mem(c), 1, bytes - LJT_LJ_CHUNK_OVERHEAD);
    lab_free(a->m, ljt_lj_chunk_to_mem(c));
    atomic_fetch_add(&ljt_gates[a->slot].busy, 2); /* it has moved */
    unsigned before = purges;
    for (int turn = 0; turn < 100 && purges == before; turn++) {
        ljt_rounds_turn(a, ljt_kernel.now());
        lab_pass_time(1000 * MS);
    }
    cr_expect_gt(purges, before);
    (void)wall;
}

static uint64_t no_cpu(void)
{
    return 0;
}

static struct ljt_arena *arena_at_rounds(void)
{
    struct ljt_arena *a = lab_arm(lab_heap(4 * MIB));
    atomic_fetch_add(&a->module->map_events, 1); /* that was its first */
    record(ALWAYS);
    ljt_config.decay_ms = 0;
    ljt_kernel.thread_cpu = no_cpu;
    lab_fake_time();
    lab_pass_time(1); /* time 0 is never */
    ljt_spending_open(ljt_kernel.now());
    return a;
}

/* That no page goes before is what the recorder asserts. */
Test(thp, segments_are_advised_before_their_first_purge)
{
    struct ljt_arena *a = arena_at_rounds();
    purge(a, 1 * MIB);
    cr_expect_eq(advices, 1, "%u", advices);
    purge(a, 900 * KIB);
    cr_expect_eq(advices, 1, "nothing was mapped since");
    lab_add_segment(a->m, 8 * MIB);
    atomic_fetch_add(&a->module->map_events, 1);
    purge(a, 2 * MIB);
    expect_segments_advised(a, 1);
}

Test(thp, a_vm_that_is_only_observed_is_not_advised)
{
    struct ljt_arena *a = arena_at_rounds();
    ljt_config.mode = LJT_MODE_OBSERVE;
    for (int turn = 0; turn < 20; turn++) {
        ljt_rounds_turn(a, ljt_kernel.now());
        lab_pass_time(1000 * MS);
    }
    cr_expect(a->stats.looks > 0 && advices == 0 && purges == 0, "%u", advices);
}
