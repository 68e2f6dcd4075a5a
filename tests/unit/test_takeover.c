/* How the patched allocator gets into real VMs, and out again. */
#include "lab.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "patched.h"
#include "purge.h"
#include "segments.h"
#include "shadow.h"
#include "takeover.h"

static void init(void)
{
    lab_init();
    ljt_config.mode = LJT_MODE_PATCHED;
}

TestSuite(takeover, .init = init, .timeout = LAB_TIMEOUT);

static struct lab_vm open_vm(void)
{
    struct lab_vm vm = lab_vm_open();
    luaL_openlibs(vm.L);
    /* The lab grows arenas behind the collector's back: its count must not look too small for them. */
    lab_run(vm.L, "pad = {} for i = 1, 3000 do pad[i] = { i } end");
    return vm;
}

Test(takeover, proven_arena_is_served_by_our_allocator)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    cr_expect(a->is_patched);
    cr_expect_eq(ljt_gates[a->slot].allocf, ljt_patched_alloc);
    cr_expect_eq(a->allocf, vm.allocf);
    size_t mapped = a->module->mapped;
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    cr_expect_gt(a->module->mapped, mapped, "what we map is counted as lj_alloc's");
    lua_close(vm.L);
    cr_expect(ljt_arena_is(a, LJT_ARENA_DEAD));
}

Test(takeover, other_modes_leave_lj_alloc_in_its_place)
{
    ljt_config.mode = LJT_MODE_AUTO;
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    cr_expect_not(a->is_patched);
    cr_expect_eq(ljt_gates[a->slot].allocf, vm.allocf);
    lua_close(vm.L);
}

Test(takeover, vm_without_gc64_is_refused_in_one_line)
{
    lab_catch_stderr();
    struct lab_vm vm = lab_vm_make(lab_old_heap(1 * MIB), 4);
    struct ljt_arena *a = lab_vm_adopt(&vm);
    lab_vm_call(a);
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED));
    cr_expect_not(a->is_patched);
    cr_expect_eq(ljt_gates[a->slot].allocf, lab_allocf());
    cr_expect(strstr(lab_said(), "not built with GC64") != NULL, "%s", lab_said());
    cr_expect_eq(lab_said_lines(), 1);
}

/* A limiter that is taken away, memprof: the raw function serves the next call, and the gate may come back. */
Test(takeover, program_may_set_lj_alloc_back_at_any_time)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    ljt_alloc_fn *gate = lab_vm_allocf(&vm);
    for (int i = 0; i < 10; i++) {
        lab_run(vm.L, lab_churn);
        lab_prove(vm.m);
        lua_setallocf(vm.L, i % 2 == 0 ? vm.allocf : gate, vm.m);
    }
    cr_expect(a->is_patched);
    lua_close(vm.L);
}

Test(takeover, arena_that_is_given_up_is_lj_allocs_again)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lab_run(vm.L, lab_churn);
    lab_catch_stderr();
    ljt_arena_lose(a, "a test");
    cr_expect_eq(ljt_gates[a->slot].allocf, vm.allocf);
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    lua_close(vm.L);
}

/* ---- Parking ---- */

/* A whole look, each batch purged as far as the heap can tell: the pages' contents are lost. */
static bool unmap_gone = true;

static void look(struct ljt_arena *a)
{
    size_t mapped = 0;
    for (const struct ljt_lj_segment *s = &a->m->seg; s != NULL; s = s->next) {
        struct ljt_shadow_residence found = {0};
        mapped += s->size;
        cr_assert_eq(ljt_shadow_cover(&a->shadow, s->base, s->size), 0);
        ljt_shadow_refresh(&a->shadow, s->base, s->base + s->size, &found);
    }
    ljt_shadow_begin_look(&a->shadow);
    ljt_work_begin_look(&a->work, mapped, SIZE_MAX, true);
    ljt_takeover_before_look(a);
    while (!a->work.look_done || a->work.claims > 0) {
        a->work.kind = a->work.claims > 0 ? LJT_UNIT_HAND_BACK : LJT_UNIT_LOOK;
        for (unsigned i = 0; i < a->work.claims; i++) {
            struct ljt_claim *c = &a->work.ledger[i];
            memset((void *)c->lo, 0xa5, c->hi - c->lo);
            ljt_shadow_clear(&a->shadow, LJT_SHADOW_RESIDENT, c->lo, c->hi);
        }
        ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
        if (unmap_gone)
            ljt_purge_gone(a, LJT_ARENA_ARMED);
    }
}

Test(takeover, purged_runs_are_parked_until_the_vm_needs_them)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lab_run(vm.L, lab_churn);
    look(a);
    lab_prove(vm.m);
    size_t parked = a->patched.parked_pages, mapped = a->module->mapped;
    cr_expect_gt(parked << ljt_page_shift, 3 * MIB, "%zu pages", parked);
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    cr_expect_lt(a->patched.parked_pages, parked / 2, "the VM has used them again");
    cr_expect_lt(a->module->mapped, mapped + 4 * MIB, "rather than more of the kernel's");
    for (int i = 0; i < 5; i++) {
        look(a);
        lab_run(vm.L, lab_churn);
        lab_prove(vm.m);
    }
    lua_close(vm.L);
}

/* Pages of parked runs that this look has visited: each chunk that it comes to it marks. */
static size_t parked_and_visited(const struct ljt_arena *a)
{
    size_t pages = 0;
    for (unsigned i = 0; i < a->patched.runs; i++) {
        const struct ljt_lj_chunk *c = a->patched.run[i];
        uintptr_t lo, hi;
        ljt_lj_free_pages((uintptr_t)c, ljt_lj_chunk_size(c), ljt_page_size, &lo, &hi);
        pages += ljt_shadow_count(&a->shadow, LJT_SHADOW_BIT(LJT_SHADOW_FREE), 0, lo, hi);
    }
    return pages;
}

Test(takeover, parked_runs_are_not_visited_again)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    enum { BLOCKS = 400, SIZE = 20000 };
    void *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        block[i] = ljt_patched_alloc(vm.m, NULL, 0, SIZE);
    for (int i = 0; i < BLOCKS; i += 2) {
        memset(block[i], 1, SIZE);
        ljt_patched_alloc(vm.m, block[i], 0, 0);
    }
    look(a);
    unsigned runs = a->patched.runs;
    size_t pages = a->patched.parked_pages;
    cr_expect(runs > 150 && parked_and_visited(a) == pages, "%u runs", runs);
    for (int i = 0; i < 3; i++) {
        look(a);
        cr_expect_eq(parked_and_visited(a), 0);
        cr_expect(a->patched.runs == runs && a->patched.parked_pages == pages, "%u of %u", a->patched.runs,
                  runs);
        cr_expect_geq(a->work.purgeable, pages, "they count all the same");
    }
}

Test(takeover, young_pages_are_not_parked)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    struct ljt_lj_state *m = a->m;
    lab_run(vm.L, lab_churn);
    look(a);
    unsigned runs = a->patched.runs;
    void *mem = ljt_patched_alloc(m, NULL, 0, 40000), *wall = ljt_patched_alloc(m, NULL, 0, 100);
    memset(mem, 1, 40000);
    ljt_patched_alloc(m, mem, 0, 0);
    struct ljt_lj_chunk *c = (struct ljt_lj_chunk *)ljt_heap_largest(m, SIZE_MAX & ~(size_t)7);
    struct ljt_claim *claim = &a->work.ledger[a->work.claims++];
    claim->chunk = ljt_heap_claim(m, c, (uintptr_t)c, (uintptr_t)c + ljt_lj_chunk_size(c));
    cr_assert(ljt_lj_free_pages((uintptr_t)c, ljt_lj_chunk_size(claim->chunk), ljt_page_size, &claim->lo,
                                &claim->hi));
    ljt_shadow_set(&a->shadow, LJT_SHADOW_RESIDENT, claim->hi - ljt_page_size, claim->hi);
    a->work.kind = LJT_UNIT_HAND_BACK;
    ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
    cr_expect_eq(a->work.claims, 0);
    cr_expect_leq(a->patched.runs, runs, "a page of it is resident still");
    cr_expect_not(ljt_lj_chunk_cinuse(c));
    (void)wall;
    lab_prove(m);
    lua_close(vm.L);
}

Test(takeover, forked_child_hands_back_claims_and_keeps_what_is_parked)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lab_run(vm.L, lab_churn);
    look(a);
    unsigned runs = a->patched.runs;
    cr_assert_gt(runs, 0);
    atomic_store(&ljt_wiped.word[a->slot].want, 0);
    lab_run(vm.L, "local x = { 1 }");
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED));
    cr_expect(a->is_patched && a->patched.runs > 0);
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    lua_close(vm.L);
}

/* ---- Segments that are free from end to end ---- */

/* Segments with 8 MB in them, in blocks of this size, of which nothing is in use any more. */
static void fill_and_drop(struct ljt_lj_state *m, size_t size)
{
    size_t blocks = 8000000 / size;
    void **block = calloc(blocks, sizeof(*block));
    for (size_t i = 0; i < blocks; i++) {
        block[i] = ljt_patched_alloc(m, NULL, 0, size);
        memset(block[i], 1, size);
    }
    for (int i = 0; i < 12; i++) /* the segment that top is in now stays, and the VM's room elsewhere */
        cr_assert_not_null(ljt_patched_alloc(m, NULL, 0, 100000));
    for (size_t i = 0; i < blocks; i++)
        ljt_patched_alloc(m, block[i], 0, 0);
    free(block);
    lab_prove(m);
}

static void fill_and_drop_segments(struct ljt_lj_state *m)
{
    fill_and_drop(m, 20000);
}

static size_t segments_of(const struct ljt_lj_state *m)
{
    size_t n = 0;
    for (const struct ljt_lj_segment *s = &m->seg; s != NULL; s = s->next)
        n++;
    return n;
}

static bool is_mapped(uintptr_t base)
{
    unsigned char resident;
    return mincore((void *)base, ljt_page_size, &resident) == 0;
}

Test(takeover, whole_free_segments_are_unmapped)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    fill_and_drop_segments(vm.m);
    size_t segments = segments_of(vm.m), mapped = a->module->mapped;
    unsigned long events = a->module->map_events;
    look(a);
    lab_prove(vm.m);
    cr_expect_lt(segments_of(vm.m), segments);
    cr_expect_lt(a->module->mapped, mapped);
    cr_expect_neq(a->module->map_events, events, "a list of segments made before is stale");
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    lua_close(vm.L);
}

static int unmap_nothing(void *addr, size_t len)
{
    (void)addr, (void)len;
    errno = ENOMEM;
    return -1;
}

/* One mapping more than a process may have: what the segment had for pages goes back all the same. */
Test(takeover, segments_that_can_not_be_unmapped_lose_their_pages)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    struct ljt_lj_segment before[64];
    size_t segments = 0, gone = 0;
    fill_and_drop_segments(vm.m);
    for (const struct ljt_lj_segment *s = &vm.m->seg; s != NULL && segments < 64; s = s->next)
        before[segments++] = *s;
    int (*real_munmap)(void *, size_t) = ljt_kernel.munmap;
    ljt_kernel.munmap = unmap_nothing;
    look(a);
    ljt_kernel.munmap = real_munmap;
    for (size_t i = 0; i < segments; i++) {
        const struct ljt_lj_segment *s = &vm.m->seg;
        while (s != NULL && s->base != before[i].base)
            s = s->next;
        if (s != NULL)
            continue;
        gone++;
        for (uintptr_t at = before[i].base; at < before[i].base + before[i].size; at += ljt_page_size) {
            unsigned char resident = 0;
            cr_assert(mincore((void *)at, ljt_page_size, &resident) == 0 && (resident & 1) == 0);
        }
    }
    cr_expect_gt(gone, 0);
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    lua_close(vm.L);
}

/* Parked runs and the pieces between them become one free chunk first, at the next look. */
Test(takeover, segments_of_parked_runs_are_unmapped_too)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    struct ljt_lj_state *m = vm.m;
    void *block[300];
    for (int i = 0; i < 300; i++) {
        block[i] = ljt_patched_alloc(m, NULL, 0, 20000);
        memset(block[i], 1, 20000);
    }
    for (int i = 0; i < 12; i++)
        cr_assert_not_null(ljt_patched_alloc(m, NULL, 0, 100000));
    for (int i = 0; i < 300; i++) /* one in ten stays */
        if (i % 10 != 0)
            ljt_patched_alloc(m, block[i], 0, 0);
    look(a);
    size_t segments = segments_of(m);
    cr_assert_gt(a->patched.runs, 10);
    for (int i = 0; i < 300; i += 10)
        ljt_patched_alloc(m, block[i], 0, 0);
    for (int i = 0; i < 6; i++) {
        look(a);
        lab_prove(m);
    }
    cr_expect_leq(segments_of(m), segments - 3, "%zu of %zu", segments_of(m), segments);
    lab_run(vm.L, lab_churn);
    lab_prove(m);
    lua_close(vm.L);
}

Test(takeover, segment_with_a_block_in_it_stays)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    struct ljt_lj_state *m = vm.m;
    unsigned char *block[400];
    for (int i = 0; i < 400; i++) {
        block[i] = ljt_patched_alloc(m, NULL, 0, 20000);
        memset(block[i], i & 0xff, 20000);
    }
    for (int i = 0; i < 400; i++) /* a segment of 128 KiB holds six: one in five stays */
        if (i % 5 != 4)
            ljt_patched_alloc(m, block[i], 0, 0);
    for (int i = 0; i < 3; i++)
        look(a);
    lab_prove(m);
    for (int i = 4; i < 400; i += 5)
        for (int j = 0; j < 20000; j++)
            cr_assert_eq(block[i][j], i & 0xff);
    lua_close(vm.L);
}

Test(takeover, young_segment_stays)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    fill_and_drop_segments(vm.m);
    size_t segments = segments_of(vm.m), mapped = 0;
    for (const struct ljt_lj_segment *s = &vm.m->seg; s != NULL; s = s->next) {
        struct ljt_shadow_residence found = {0};
        mapped += s->size;
        cr_assert_eq(ljt_shadow_cover(&a->shadow, s->base, s->size), 0);
        ljt_shadow_refresh(&a->shadow, s->base, s->base + s->size, &found);
    }
    ljt_shadow_begin_look(&a->shadow);
    ljt_work_begin_look(&a->work, mapped, SIZE_MAX, false);
    ljt_takeover_before_look(a);
    while (!a->work.look_done)
        ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
    cr_expect_eq(segments_of(vm.m), segments, "no page was seen free twice");
    cr_expect_eq(a->work.gone, 0);
    lua_close(vm.L);
}

/* ---- The same, after a fall: at once ---- */

/* Takes out what it may until `keep` bytes are left; with the reclaimer's unmapping between the units. */
static void dismiss(struct ljt_arena *a, size_t keep)
{
    ljt_work_begin_dismissal(&a->work, keep);
    while (!a->work.look_done) {
        ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
        lab_prove(a->m);
        ljt_purge_gone(a, LJT_ARENA_ARMED);
    }
    cr_expect_eq(a->patched.footprint, ljt_segments_footprint(a->m));
}

Test(takeover, dismissal_asks_for_no_age)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    fill_and_drop_segments(vm.m);
    size_t segments = segments_of(vm.m), mapped = a->module->mapped, footprint = a->patched.footprint;
    cr_assert_eq(footprint, ljt_segments_footprint(vm.m));
    dismiss(a, footprint);
    cr_expect_eq(segments_of(vm.m), segments, "none would leave as much");
    dismiss(a, footprint - 3 * MIB);
    cr_expect_lt(segments_of(vm.m), segments);
    cr_expect_geq(a->patched.footprint, footprint - 3 * MIB);
    dismiss(a, 0);
    cr_expect_lt(a->patched.footprint, footprint - 4 * MIB);
    cr_expect_eq(mapped - a->module->mapped, footprint - a->patched.footprint);
    cr_expect_geq(lab_largest_room(vm.m), LJT_VM_ROOM);
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    lua_close(vm.L);
}

/* Top has 8, 16 or 24 bytes left, no chunk: the record stands so much lower. Such segments stayed for good. */
Test(takeover, segments_that_chunks_fill_but_for_a_few_bytes_go_too)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    for (size_t size = 32; size <= 64; size += 8) {
        size_t before = a->patched.footprint;
        fill_and_drop(vm.m, size);
        cr_assert_gt(a->patched.footprint, before + 7 * MIB);
        if (size < 64)
            dismiss(a, 0);
        else /* finds them likewise */
            look(a);
        cr_expect_lt(a->patched.footprint, before + 3 * MIB, "blocks of %zu bytes: %zu KiB more", size,
                     (a->patched.footprint - before) / KIB);
    }
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    lua_close(vm.L);
}

Test(takeover, dismissal_leaves_segments_with_a_block_in_them)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    unsigned char *block[400];
    for (int i = 0; i < 400; i++) {
        block[i] = ljt_patched_alloc(vm.m, NULL, 0, 20000);
        memset(block[i], i & 0xff, 20000);
    }
    for (int i = 0; i < 400; i++) /* a segment of 128 KiB holds six: one in five stays */
        if (i % 5 != 4)
            ljt_patched_alloc(vm.m, block[i], 0, 0);
    dismiss(a, 0);
    for (int i = 4; i < 400; i += 5)
        for (int j = 0; j < 20000; j++)
            cr_assert_eq(block[i][j], i & 0xff);
    lua_close(vm.L);
}

Test(takeover, dismissal_leaves_what_is_parked)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lab_run(vm.L, lab_churn);
    look(a);
    unsigned runs = a->patched.runs;
    cr_assert_gt(runs, 0);
    dismiss(a, 0);
    cr_expect_eq(a->patched.runs, runs);
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    lua_close(vm.L);
}

/* Only segments of ours are known to have been counted: lj_alloc's own heap is none of this unit's. */
Test(takeover, dismissal_does_nothing_to_a_heap_that_lj_alloc_serves)
{
    ljt_config.mode = LJT_MODE_NATIVE;
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lab_run(vm.L, lab_churn);
    size_t segments = segments_of(vm.m);
    ljt_work_begin_dismissal(&a->work, 0);
    ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
    cr_expect(a->work.look_done && a->work.gone == 0);
    cr_expect_eq(segments_of(vm.m), segments);
    lua_close(vm.L);
}

/* Its own allocator serves the VM again, and knows nothing of what has left the heap. */
Test(takeover, vm_that_is_given_up_unmaps_what_has_left_its_heap)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    fill_and_drop_segments(vm.m);
    unmap_gone = false;
    look(a);
    cr_assert_gt(a->work.gone, 0);
    uintptr_t base = a->work.gone_segment[0].base;
    lua_setallocf(vm.L, vm.allocf, vm.m);
    lab_catch_stderr();
    ljt_arena_lose(a, "a test");
    cr_expect(is_mapped(base));
    atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_NONE);
    ljt_reclaim_start();
    cr_expect(lab_await(!is_mapped(base)));
    lab_run(vm.L, lab_churn);
    lab_prove(vm.m);
    lua_close(vm.L);
}

/* Between the unit and the reclaimer's munmap the VM closes, or its process forks: it goes once, and not never. */
Test(takeover, closing_vm_unmaps_what_has_left_its_heap)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    fill_and_drop_segments(vm.m);
    unmap_gone = false;
    look(a);
    cr_assert_gt(a->work.gone, 0);
    uintptr_t base = a->work.gone_segment[0].base;
    cr_expect(is_mapped(base));
    lua_close(vm.L);
    cr_expect_not(is_mapped(base));
    cr_expect_eq(ljt_purge_gone(a, LJT_ARENA_ARMED), 0, "and is nobody's to unmap again");
}

Test(takeover, forked_child_unmaps_what_has_left_its_heap)
{
    struct lab_vm vm = open_vm();
    struct ljt_arena *a = lab_vm_arm(&vm);
    fill_and_drop_segments(vm.m);
    unmap_gone = false;
    look(a);
    cr_assert_gt(a->work.gone, 0);
    uintptr_t base = a->work.gone_segment[0].base;
    atomic_store(&ljt_wiped.word[a->slot].want, 0);
    lab_run(vm.L, "local x = { 1 }");
    cr_expect_not(is_mapped(base));
    cr_expect_eq(a->work.gone, 0);
    lua_close(vm.L);
}

/* ---- A state without PRNG ---- */

/* GC64 is older than the PRNG. */
Test(takeover, vm_with_gc64_but_without_prng_is_served)
{
    struct lab_vm vm = lab_vm_make(lab_old_heap(1 * MIB), 8);
    struct ljt_lj_chunk *gg = ljt_lj_chunk_next(lab_chunk(vm.m));
    size_t head = gg->head;
    struct ljt_arena *a = lab_vm_adopt(&vm);
    lab_vm_call(a);
    cr_assert(a->is_patched);
    fill_and_drop_segments(vm.m);
    size_t segments = segments_of(vm.m);
    look(a);
    lab_prove(vm.m);
    cr_expect_lt(segments_of(vm.m), segments);
    cr_expect_eq(gg->head, head, "where others have the PRNG");
}
