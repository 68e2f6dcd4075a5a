/*
 * Units of work, run directly: whole looks over heaps, what they mark, claim and leave, and that they end.
 */
#include "lab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void set_up(void)
{
    lab_init();
    ljt_config.max_hold_us = 10000;
}

TestSuite(unit, .init = set_up, .timeout = LAB_TIMEOUT);

#define FREE LJT_SHADOW_BIT(LJT_SHADOW_FREE)
#define RESIDENT LJT_SHADOW_BIT(LJT_SHADOW_RESIDENT)

/* What a look did. */
struct result {
    size_t units, claims, purged, most_claims, most_bytes;
};

/* Lists and covers the segments, and says that all of their pages are resident. */
static void survey(struct ljt_arena *a)
{
    lab_list_segments(a);
    for (unsigned i = 0; i < a->work.segments; i++) {
        uintptr_t base = a->work.segment[i].base, end = base + a->work.segment[i].size;
        cr_assert(ljt_shadow_cover(&a->shadow, base, end - base) == 0);
        ljt_shadow_set(&a->shadow, LJT_SHADOW_RESIDENT, base, end);
    }
}

static void begin(struct ljt_arena *a, bool may_claim, bool at_sight)
{
    size_t mapped = 0;
    for (const struct ljt_lj_segment *s = &a->m->seg; s != NULL; s = s->next)
        mapped += s->size;
    ljt_shadow_begin_look(&a->shadow);
    ljt_work_begin_look(&a->work, mapped, may_claim ? SIZE_MAX : 0, at_sight);
}

/*
 * Runs units until the look is done, as the reclaimer would. `meanwhile` (may be NULL) is what the VM does between
 * units. What is claimed is purged: it reads as zeroes from then on.
 */
static struct result go_on(struct ljt_arena *a, void (*meanwhile)(struct ljt_lj_state *m), size_t most_units)
{
    struct result r = {0};
    struct ljt_work *w = &a->work;
    while (!w->look_done || w->claims > 0) {
        cr_assert(++r.units <= most_units, "the look does not end");
        size_t room = lab_largest_room(a->m);
        w->kind = LJT_UNIT_LOOK;
        ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
        lab_prove(a->m);
        cr_assert(w->claims <= LJT_LEDGER);
        size_t room_left = lab_largest_room(a->m);
        cr_assert(room < LJT_VM_ROOM || room_left >= LJT_VM_ROOM,
                  "the VM's largest piece went from %zu to %zu", room, room_left);
        r.claims += w->claims;
        r.most_claims = w->claims > r.most_claims ? w->claims : r.most_claims;
        size_t bytes = 0;
        for (unsigned i = 0; i < w->claims; i++) {
            struct ljt_claim *c = &w->ledger[i];
            cr_assert(c->lo >= (uintptr_t)c->chunk + LJT_LJ_MEM_OFFSET && c->lo < c->hi);
            cr_assert(c->hi <= (uintptr_t)ljt_lj_chunk_next(c->chunk) && ljt_lj_chunk_cinuse(c->chunk));
            cr_assert(c->lo % ljt_page_size == 0 && c->hi % ljt_page_size == 0);
            bytes += ljt_lj_chunk_size(c->chunk);
            r.purged += ljt_shadow_clear(&a->shadow, LJT_SHADOW_RESIDENT, c->lo, c->hi);
            cr_assert(madvise((void *)c->lo, c->hi - c->lo, MADV_DONTNEED) == 0);
        }
        r.most_bytes = bytes > r.most_bytes ? bytes : r.most_bytes;
        if (meanwhile != NULL)
            meanwhile(a->m);
        while (w->claims > 0) {
            cr_assert(++r.units <= most_units);
            w->kind = LJT_UNIT_HAND_BACK;
            ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
            lab_prove(a->m);
        }
        if (meanwhile != NULL)
            meanwhile(a->m);
    }
    cr_assert(w->claims == 0 && w->claimed_bytes == 0);
    return r;
}

static struct result look(struct ljt_arena *a, bool may_claim, bool at_sight)
{
    survey(a);
    begin(a, may_claim, at_sight);
    return go_on(a, NULL, 1000000);
}

static void expect_free_and_count(uintptr_t lo, uintptr_t hi, void *arg)
{
    struct ljt_arena *a = arg;
    cr_assert(ljt_shadow_count(&a->shadow, FREE, 0, lo, hi) == (hi - lo) / ljt_page_size,
              "all of it is marked");
}

/* FREE in the shadow is what an independent walk finds, no page more or less. */
static void compare_marks(struct ljt_arena *a)
{
    size_t pages = lab_free_pages(a->m, expect_free_and_count, a), marked = 0;
    for (const struct ljt_lj_segment *s = &a->m->seg; s != NULL; s = s->next)
        marked += ljt_shadow_count(&a->shadow, FREE, 0, s->base, s->base + s->size);
    cr_expect(marked == pages && a->work.purgeable == pages, "%zu marked, %zu counted, %zu free", marked,
              a->work.purgeable, pages);
}

/* Resident pages that could have been purged. */
static void count_resident(uintptr_t lo, uintptr_t hi, void *arg)
{
    struct {
        struct ljt_arena *a;
        size_t pages;
    } *left = arg;
    left->pages += ljt_shadow_count(&left->a->shadow, RESIDENT, 0, lo, hi);
}

static size_t left_over(struct ljt_arena *a)
{
    struct {
        struct ljt_arena *a;
        size_t pages;
    } left = {a, 0};
    lab_free_pages(a->m, count_resident, &left);
    return left.pages;
}

/* A heap of 96 MiB with something of everything. */
static struct ljt_lj_state *fragment(struct ljt_lj_state *m, const char *test)
{
    lab_seed(test);
    lab_fragment(m, 4000, 24 * KIB);
    for (int i = 0; i < 150; i++) { /* a ring */
        lab_free_chunk(m, 3 * 4096 + 1000);
        lab_free_chunk(m, 9000);
    }
    lab_free_chunk(m, 30 * MIB);
    lab_free_chunk(m, 1 * MIB);
    lab_free_chunk(m, 6000);
    lab_malloc(m, 60); /* a dv, perhaps */
    return m;
}

static struct ljt_lj_state *fragmented(const char *test)
{
    return fragment(lab_heap(96 * MIB), test);
}

/* ---- The look ---- */

Test(unit, look_marks_what_an_independent_walk_finds)
{
    struct ljt_arena *a = lab_arm(fragmented("unit: marks"));
    struct lab_map *before = lab_map(a->m);
    struct result r = look(a, false, false);
    compare_marks(a);
    cr_expect(r.claims == 0 && r.units > 1);
    cr_expect(lab_map_is_still(before, a->m), "a look that may not claim changes nothing");
}

Test(unit, look_marks_the_heap_of_a_real_vm)
{
    lab_seed("unit: real");
    struct lab_vm vm = lab_vm_open();
    enum { BLOCKS = 4000 };
    static void *mem[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        mem[i] = vm.allocf(vm.m, NULL, 0, 1 + lab_below(20000));
    for (int i = 0; i < BLOCKS; i++)
        if (lab_below(8) != 0)
            vm.allocf(vm.m, mem[i], 0, 0);
    struct ljt_arena *a = lab_arm(vm.m);
    look(a, false, false);
    compare_marks(a);
    look(a, true, true);
    compare_marks(a);
}

Test(unit, look_at_sight_purges_all_but_the_vm_s_room_and_the_ends_of_slices)
{
    struct ljt_arena *a = lab_arm(fragmented("unit: purges"));
    struct lab_map *before = lab_map(a->m);
    size_t pages = lab_free_pages(a->m, NULL, NULL);
    struct result r = look(a, true, true);
    compare_marks(a);
    cr_expect(lab_map_is_still(before, a->m), "all is where it was");

    size_t giants = (a->m->topsize + 30 * MIB) / a->work.claim_bytes + 3;
    size_t allowed = LJT_VM_ROOM / ljt_page_size + 2 + 2 * giants + 2 * LJT_WINDOW_PAGES;
    size_t left = left_over(a);
    cr_expect(left <= allowed, "%zu pages of %zu are left", left, pages);
    cr_expect(left == pages - r.purged);
}

Test(unit, look_at_a_heap_whose_state_has_no_prng)
{
    struct ljt_arena *a = lab_arm(fragment(lab_old_heap(96 * MIB), "unit: without PRNG"));
    struct lab_map *before = lab_map(a->m);
    struct result r = look(a, true, true);
    compare_marks(a);
    cr_expect(lab_map_is_still(before, a->m));
    cr_expect(r.claims > 100 && r.purged > 1000, "%zu claims, %zu pages", r.claims, r.purged);
}

Test(unit, look_without_anything_to_do_claims_nothing)
{
    struct ljt_arena *a = lab_arm(fragmented("unit: nothing to do"));
    look(a, true, true);
    begin(a, true, true); /* without a survey: what was purged is still not resident */
    struct result r = go_on(a, NULL, 1000000);
    cr_expect(r.claims <= 2 * (96 * MIB / a->work.claim_bytes) &&
                  r.purged <= 4 * (96 * MIB / a->work.claim_bytes),
              "%zu claims, %zu pages", r.claims, r.purged);
}

Test(unit, pages_are_claimed_at_their_second_look)
{
    struct ljt_arena *a = lab_arm(fragmented("unit: age"));
    struct result first = look(a, true, false);
    cr_expect(first.claims == 0 && first.purged == 0);
    struct result second = look(a, true, false);
    cr_expect(second.claims > 0 && second.purged > 1000);
}

Test(unit, pages_that_were_in_use_between_two_looks_are_young)
{
    struct ljt_lj_state *m = lab_heap(4 * MIB);
    struct ljt_arena *a = lab_arm(m);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 200000);
    look(a, true, false);
    void *mem = lab_chunk_alloc(m, 200000);
    cr_assert(lab_chunk(mem) == c);
    look(a, true, false); /* in use now */
    lab_free(m, mem);
    survey(a);
    begin(a, true, false);
    uintptr_t lo, hi;
    cr_assert(ljt_lj_free_pages((uintptr_t)c, 200000, ljt_page_size, &lo, &hi));
    go_on(a, NULL, 10000);
    cr_expect(ljt_shadow_count(&a->shadow, RESIDENT | FREE, 0, lo, hi) == (hi - lo) / ljt_page_size,
              "not purged");
}

/* ---- Bounds ---- */

static uint64_t stopped_clock(void)
{
    return 1;
}

/* A look at 2000 free chunks, by units that visit at most so many, whatever the time. */
static void look_in_small_units(enum ljt_unit_by by, size_t most)
{
    struct ljt_lj_state *m = lab_heap(64 * MIB);
    struct ljt_arena *a = lab_arm(m);
    for (int i = 0; i < 2000; i++)
        lab_free_chunk(m, 2 * 4096 + 8 * (i % 400)); /* one whole page, two at most */
    survey(a);
    begin(a, false, false);
    ljt_kernel.now = stopped_clock;
    size_t units = 0;
    for (; !a->work.look_done; units++) {
        size_t before = a->work.purgeable;
        bool with_top = a->work.phase == LJT_LOOK_TOP;
        a->work.kind = LJT_UNIT_LOOK;
        ljt_unit_run(a, by);
        cr_assert(with_top || a->work.purgeable - before <= 2 * most);
        cr_assert(units < 5 * 2000 / most);
    }
    compare_marks(a);
    cr_expect(units >= 2000 / most);
}

Test(unit, visits_at_most_a_hundred_chunks)
{
    look_in_small_units(LJT_UNIT_BY_RECLAIMER, LJT_UNIT_VISITS);
}

Test(unit, takes_an_eighth_of_that_of_a_call)
{
    look_in_small_units(LJT_UNIT_BY_MUTATOR, LJT_UNIT_VISITS / LJT_REQUEST_UNITS);
}

static uint64_t slow_now;

static uint64_t slow_clock(void)
{
    return slow_now += 1000;
}

Test(unit, ends_when_its_time_is_up)
{
    struct ljt_lj_state *m = lab_heap(16 * MIB);
    struct ljt_arena *a = lab_arm(m);
    for (int i = 0; i < 200; i++)
        lab_free_chunk(m, 2 * 4096 + 64 * i);
    survey(a);
    begin(a, false, false);
    ljt_kernel.now = slow_clock;
    ljt_config.max_hold_us = 1; /* the clock moves on by 1 us whenever it is read */
    a->work.kind = LJT_UNIT_LOOK;
    ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
    cr_assert(!a->work.look_done);
    size_t before = a->work.purgeable;
    ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
    cr_expect(a->work.purgeable - before <= 5, "%zu pages", a->work.purgeable - before);
    cr_expect(a->work.purgeable > before, "some progress is made");
}

Test(unit, takes_one_slice_of_a_giant_chunk_at_a_time)
{
    struct ljt_lj_state *m = lab_heap(64 * MIB);
    struct ljt_arena *a = lab_arm(m);
    lab_free_chunk(m, 50 * MIB);
    struct result r = look(a, true, true);
    cr_expect(r.most_claims == 1, "%zu", r.most_claims);
    cr_expect(r.most_bytes <= a->work.claim_bytes + 3 * ljt_page_size, "%zu", r.most_bytes);
    cr_expect(r.claims >= 50 * MIB / a->work.claim_bytes);
}

Test(unit, claims_a_batch_within_its_bytes)
{
    struct ljt_lj_state *m = lab_heap(96 * MIB);
    struct ljt_arena *a = lab_arm(m);
    for (int i = 0; i < 60; i++)
        lab_free_chunk(m, 1 * MIB + 8 * (size_t)i);
    struct result r = look(a, true, true);
    cr_expect(r.most_claims > 1 && r.most_bytes < a->work.claim_bytes + 2 * MIB);
}

/* ---- The VM's room: go_on asserts it at every unit ---- */

Test(unit, room_is_left_where_top_is_all_there_is)
{
    for (size_t mib = 1; mib <= 12; mib += 1) {
        struct ljt_lj_state *m = lab_heap(mib * MIB);
        struct ljt_arena *a = lab_arm(m);
        struct result r = look(a, true, true);
        cr_expect(r.purged > 0);
    }
}

/* Fills top until less than the room is left in it. */
static void use_up_top(struct ljt_lj_state *m)
{
    while (m->topsize > 100 * KIB)
        lab_malloc(m, m->topsize - 90 * KIB > 100 * KIB ? 100 * KIB : m->topsize - 90 * KIB);
}

Test(unit, room_is_left_where_one_chunk_is_all_there_is)
{
    static const size_t size[] = {
        140 * KIB,         500 * KIB,           1 * MIB - 8, 1 * MIB,           1 * MIB + 64,
        1 * MIB + 8 * KIB, 1 * MIB + 100 * KIB, 2 * MIB,     2 * MIB + 8 * KIB, 9 * MIB};
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
        struct ljt_lj_state *m = lab_heap(16 * MIB);
        void *mem = lab_malloc(m, 104);
        struct ljt_lj_chunk *c = lab_free_chunk(m, size[i]);
        void *hold = lab_chunk_alloc(m, size[i]);
        cr_assert(lab_chunk(hold) == c);
        use_up_top(m);
        lab_free(m, hold);
        size_t room = lab_largest_room(m);
        cr_assert(room == size[i], "%zu", room);
        struct result r = look(lab_arm(m), true, true);
        cr_expect((r.purged > 0) == (size[i] > 200 * KIB), "of %zu, %zu pages", size[i], r.purged);
        (void)mem;
    }
}

Test(unit, room_is_left_where_dv_is_all_there_is)
{
    static const size_t size[] = {140 * KIB, 1 * MIB, 1 * MIB + 8 * KIB, 5 * MIB};
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
        struct ljt_lj_state *m = lab_heap(16 * MIB);
        struct ljt_lj_chunk *c = lab_free_chunk(m, size[i] + 112);
        void *hold = lab_chunk_alloc(m, size[i] + 112);
        cr_assert(lab_chunk(hold) == c);
        use_up_top(m);
        lab_free_chunk(m, 20 * KIB); /* a small one beside it */
        void *small = lab_chunk_alloc(m, 20 * KIB);
        lab_free(m, hold);
        lab_malloc(m, 104);
        lab_free(m, small);
        cr_assert(m->dv != NULL && m->dvsize == size[i]);
        look(lab_arm(m), true, true);
    }
}

Test(unit, room_is_left_where_two_of_a_size_are_all_there_is)
{
    struct ljt_lj_state *m = lab_heap(16 * MIB);
    void *hold[2];
    for (int i = 0; i < 2; i++) {
        lab_free_chunk(m, 1 * MIB);
        hold[i] = lab_chunk_alloc(m, 1 * MIB);
    }
    use_up_top(m);
    lab_free(m, hold[0]);
    lab_free(m, hold[1]);
    look(lab_arm(m), true, true);
}

/* ---- A VM that does not wait ---- */

static void *pool[600];

static void busy_vm(struct ljt_lj_state *m)
{
    for (int n = (int)lab_below(30); n > 0; n--) {
        unsigned i = (unsigned)lab_below(sizeof(pool) / sizeof(pool[0]));
        if (pool[i] != NULL)
            lab_free(m, pool[i]);
        pool[i] = pool[i] != NULL ? NULL : lab_malloc(m, lab_below(4) == 0 ? 9000 - 8 : 1 + lab_below(40000));
    }
}

Test(unit, look_ends_while_the_vm_allocates_and_frees)
{
    lab_seed("unit: busy VM");
    for (int round = 0; round < 20; round++) {
        struct ljt_lj_state *m = lab_heap(64 * MIB);
        struct ljt_arena *a = lab_arm(m);
        memset(pool, 0, sizeof(pool));
        lab_fragment(m, 1000, 24 * KIB);
        for (int i = 0; i < 300; i++)
            lab_free_chunk(m, 9000);
        if (round % 2 == 0)
            for (int i = 0; i < 2; i++) /* a ring of giants */
                lab_free_chunk(m, 9 * MIB);
        survey(a);
        begin(a, true, round % 4 < 2);
        go_on(a, busy_vm, 4000);
        ljt_kernel_free((void *)m->seg.base, 64 * MIB);
    }
}

/* What is freed goes where the look has been; the first of the ring is gone when it would come around. */
static struct ljt_lj_tree_chunk *ring_first;

static void take_the_first_of_the_ring(struct ljt_lj_state *m)
{
    struct ljt_arena *a = lab_arena_of(m);
    if (a->work.ring_first != NULL && a->work.ring_first != ring_first) {
        ring_first = a->work.ring_first;
        lab_chunk_alloc(m, 9000);
    }
}

Test(unit, look_ends_in_a_ring_that_has_lost_its_first)
{
    struct ljt_lj_state *m = lab_heap(64 * MIB);
    struct ljt_arena *a = lab_arm(m);
    for (int i = 0; i < 1000; i++)
        lab_free_chunk(m, 9000);
    survey(a);
    begin(a, true, false);
    go_on(a, take_the_first_of_the_ring, 1000);
}

/* ---- Other kinds of units ---- */

Test(unit, lists_all_segments)
{
    struct ljt_lj_state *m = lab_heap(128 * KIB);
    for (int i = 0; i < 5; i++)
        lab_add_segment(m, 256 * KIB);
    struct ljt_arena *a = lab_arm(m);
    survey(a);
    cr_assert(a->work.segments == 6);
    unsigned i = 0;
    for (const struct ljt_lj_segment *s = &m->seg; s != NULL; s = s->next, i++)
        cr_expect(a->work.segment[i].base == s->base && a->work.segment[i].size == s->size);
}

/* A record may lie on a page of its own: a thousand of them in one go took a tenth of a millisecond and more. */
Test(unit, lists_many_segments_in_several_units)
{
    enum { SEGMENTS = 300 };
    struct ljt_lj_state *m = lab_heap(128 * KIB);
    struct ljt_arena *a = lab_arm(m);
    m->release_checks = SIZE_MAX; /* they are empty, and are to stay */
    for (int i = 1; i < SEGMENTS; i++)
        lab_add_segment(m, 128 * KIB);
    ljt_work_begin_list(&a->work);
    for (unsigned units = 0; !a->work.listed; units++) {
        unsigned before = a->work.segments;
        ljt_unit_run(a, LJT_UNIT_BY_RECLAIMER);
        cr_assert(a->work.segments <= before + LJT_UNIT_VISITS, "%u, then %u", before, a->work.segments);
        cr_assert(units < SEGMENTS);
        if (units == 1) /* the VM maps another one */
            lab_add_segment(m, 256 * KIB);
    }
    cr_assert(a->work.segments == SEGMENTS + 1, "%u", a->work.segments);
    unsigned i = 0;
    for (const struct ljt_lj_segment *s = &m->seg; s != NULL; s = s->next, i++)
        cr_expect(a->work.segment[i].base == s->base && a->work.segment[i].size == s->size);
}

Test(unit, does_nothing_where_the_gate_was_taken_away)
{
    struct ljt_arena *a = lab_arm(fragmented("unit: taken away"));
    survey(a);
    begin(a, true, true);
    atomic_store(a->place, a->allocf);
    lab_catch_stderr();
    ljt_unit_run(a, LJT_UNIT_BY_RECLAIMER);
    cr_expect(a->work.claims == 0 && ljt_arena_is(a, LJT_ARENA_LOST));
    ljt_unit_run(a, LJT_UNIT_BY_RECLAIMER);
    ljt_arena_tell_loss(a);
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "allocator back") != NULL, "said: %s", lab_said());
}

Test(unit, verifying_finds_a_broken_heap_before_it_is_touched)
{
    struct ljt_arena *a = lab_arm(fragmented("unit: verify"));
    survey(a);
    begin(a, true, true);
    ljt_config.debug = LJT_DEBUG_VERIFY;
    ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
    cr_assert(ljt_arena_is(a, LJT_ARENA_ARMED));
    ljt_unit_hand_back_all(a);
    struct ljt_lj_tree_chunk *c = ljt_heap_largest(a->m, SIZE_MAX & ~(size_t)7);
    c->child[1] = c;
    lab_catch_stderr();
    ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
    cr_expect(a->work.claims == 0 && ljt_arena_is(a, LJT_ARENA_LOST));
    ljt_arena_tell_loss(a);
    cr_expect(strstr(lab_said(), "links are broken") != NULL, "said: %s", lab_said());
}

Test(unit, counts_who_did_it)
{
    struct ljt_arena *a = lab_arm(lab_heap(1 * MIB));
    a->work.kind = LJT_UNIT_SEGMENTS;
    ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
    ljt_unit_run(a, LJT_UNIT_BY_RECLAIMER);
    ljt_unit_run(a, LJT_UNIT_BY_RECLAIMER);
    cr_expect(a->stats.units[LJT_UNIT_BY_MUTATOR] == 1 && a->stats.units[LJT_UNIT_BY_RECLAIMER] == 2);
}
