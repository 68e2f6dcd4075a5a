/*
 * The layout, the proof and the search.
 */
#include "lab.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

TestSuite(heap, .init = lab_init, .timeout = LAB_TIMEOUT);

/* ---- Layout: what the header says against what a real VM has ---- */

Test(heap, layout_is_that_of_a_real_vm)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_lj_chunk *first = (struct ljt_lj_chunk *)vm.base;
    cr_expect(ljt_lj_head_is_state(first->head));
    cr_expect(vm.m->seg.base == vm.base && vm.m->seg.size >= LJT_LJ_GRANULARITY);
    cr_expect((uintptr_t)vm.m->top + vm.m->topsize + LJT_LJ_TOP_FOOT == vm.m->seg.base + vm.m->seg.size);
    cr_expect(ljt_lj_chunk_next(vm.m->top)->head == LJT_LJ_TOP_FOOT);
    cr_expect(ljt_lj_state_size(first->head) == 872 || ljt_lj_state_size(first->head) == 864);

    char *direct = vm.allocf(vm.m, NULL, 0, 300 * KIB);
    cr_expect(ljt_lj_chunk_is_direct(ljt_lj_mem_to_chunk(direct)));
    char *small = vm.allocf(vm.m, NULL, 0, 300);
    cr_expect(!ljt_lj_chunk_is_direct(ljt_lj_mem_to_chunk(small)));
    cr_expect(ljt_lj_chunk_size(ljt_lj_mem_to_chunk(small)) == ljt_lj_request_size(300));
    vm.allocf(vm.m, direct, 0, 0);
    lua_close(vm.L);
}

Test(heap, layout_sizes_fall_into_the_bins_that_lj_alloc_uses)
{
    for (size_t size = LJT_LJ_MIN_LARGE; size < 64 * MIB; size += 8 + size / 64 / 8 * 8) {
        unsigned i = ljt_lj_tree_index(size);
        cr_assert(size >= ljt_lj_tree_min_size(i) && (i == 31 || size < ljt_lj_tree_min_size(i + 1)));
    }
    struct ljt_lj_state *m = lab_heap(32 * MIB);
    for (size_t size = LJT_LJ_MIN_LARGE; size < 4 * MIB; size = size * 5 / 4 / 8 * 8) {
        struct ljt_lj_tree_chunk *c = (struct ljt_lj_tree_chunk *)lab_free_chunk(m, size);
        cr_assert(c->index == ljt_lj_tree_index(size), "%zu is in bin %u", size, c->index);
        cr_assert(m->treemap >> c->index & 1);
    }
    for (size_t size = LJT_LJ_MIN_CHUNK; size < LJT_LJ_MIN_LARGE; size += 8) {
        struct ljt_lj_chunk *c = lab_free_chunk(m, size);
        cr_assert(ljt_lj_smallbin(m, ljt_lj_small_index(size))->fd == c);
    }
    lab_prove(m);
}

Test(heap, free_pages_are_those_without_a_byte_of_metadata)
{
    lab_seed("heap: free pages");
    for (int i = 0; i < 100000; i++) {
        size_t page = (size_t)4096 << 2 * lab_below(3);
        uintptr_t chunk = 0x100000 + 8 * lab_below(100000);
        size_t size = 32 + 8 * lab_below(60000);
        uintptr_t lo, hi, n = 0, first = 0;
        bool any = ljt_lj_free_pages(chunk, size, page, &lo, &hi);
        for (uintptr_t p = chunk / page * page; p < chunk + size; p += page)
            if (p >= chunk + 64 && p + page <= chunk + size && n++ == 0)
                first = p;
        cr_assert(any == (n > 0) && hi - lo == n * page && (n == 0 || lo == first));
    }
}

/* ---- Proof ---- */

Test(heap, proof_accepts_real_heaps)
{
    struct lab_vm vm = lab_vm_open();
    lab_prove(vm.m);
    luaL_openlibs(vm.L);
    cr_assert(luaL_dostring(vm.L, "local t = {} for i = 1, 2e5 do t[i] = {i, ('x'):rep(i % 300) .. i} end "
                                  "for i = 1, 2e5 do if i % 50 ~= 0 then t[i] = nil end end "
                                  "collectgarbage() collectgarbage() keep = t") == 0);
    lab_prove(vm.m);
    lua_close(vm.L);
}

Test(heap, proof_accepts_segments_appended_prepended_and_apart)
{
    lab_seed("heap: segments");
    struct ljt_lj_state *m = lab_heap(128 * KIB);
    void *apart[40];
    for (int i = 0; i < 40; i++) {
        lab_malloc(m, 100 * KIB);
        /* A foreign mapping in the way makes the next segment start elsewhere, often below. */
        apart[i] =
            mmap((char *)m->seg.base + m->seg.size, 64 * KIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        lab_prove(m);
    }
    struct ljt_heap_census census;
    cr_assert(ljt_heap_prove(m, &census) == LJT_HEAP_OK);
    cr_expect(census.segments > 1, "%zu segments", census.segments);
    (void)apart;
}

/* Eight bytes less than today's: the first chunk's head is where the PRNG's pointer would be. */
Test(heap, proof_accepts_a_state_without_prng)
{
    lab_seed("heap: without PRNG");
    struct ljt_lj_state *m = lab_old_heap(32 * MIB);
    struct ljt_lj_chunk *first = lab_chunk(lab_chunk_alloc(m, 5008));
    cr_assert(ljt_lj_state_size(lab_chunk(m)->head) == 864 && (void *)&first->head == (void *)&m->prng);
    lab_fragment(m, 3000, 20000);
    lab_add_segment(m, 1 * MIB);
    lab_prove(m);
    first->head |= 4; /* and that chunk is looked at, too */
    struct ljt_heap_census census;
    cr_expect(ljt_heap_prove(m, &census) == LJT_HEAP_BAD_CHUNK);
}

Test(heap, proof_counts_what_the_walk_counts)
{
    lab_seed("heap: census");
    struct ljt_lj_state *m = lab_heap(32 * MIB);
    lab_fragment(m, 3000, 20000);
    struct ljt_heap_census census;
    cr_assert(ljt_heap_prove(m, &census) == LJT_HEAP_OK);
    struct lab_map *map = lab_map(m);
    size_t live = 0, free_bytes = 0;
    for (size_t i = 0; i < map->count; i++)
        *(map->chunk[i].in_use ? &live : &free_bytes) += map->chunk[i].size;
    cr_expect(census.chunks == map->count && census.live == live && census.free == free_bytes);
    cr_expect(census.mapped == 32 * MIB && census.segments == 1);
    free(map);
}

/* A heap with something of everything, whose parts the corruptions below choose from. */
struct specimen {
    struct ljt_lj_state *m;
    struct ljt_lj_chunk *used, *small;
    struct ljt_lj_tree_chunk *tree, *ring, *child;
};

static struct specimen specimen(void)
{
    struct specimen s;
    struct ljt_lj_state *m = s.m = lab_heap(2 * MIB);
    s.used = lab_chunk(lab_chunk_alloc(m, 4096));
    s.small = lab_free_chunk(m, 96);
    lab_free_chunk(m, 96);
    s.tree = (struct ljt_lj_tree_chunk *)lab_free_chunk(m, 8192);
    s.ring = (struct ljt_lj_tree_chunk *)lab_free_chunk(m, 8192);
    s.child = (struct ljt_lj_tree_chunk *)lab_free_chunk(m, 8192 + 64);
    lab_free_chunk(m, 20000);
    lab_free_chunk(m, 1024);
    lab_malloc(m, 104); /* splits it: the rest is dv */
    cr_assert(m->dv != NULL && s.child->parent == s.tree && s.ring->parent == NULL);
    lab_prove(m);
    return s;
}

static void expect_fault(const struct specimen *s, enum ljt_heap_fault wanted, const char *what)
{
    struct ljt_heap_census census;
    enum ljt_heap_fault fault = ljt_heap_prove(s->m, &census);
    cr_expect(fault == wanted, "%s: found \"%s\", not \"%s\"", what, ljt_heap_fault_text(fault),
              ljt_heap_fault_text(wanted));
}

/* Breaks one word, looks, and mends it. */
#define BROKEN(s, place, value, fault)                    \
    do {                                                  \
        __typeof__(place) was = (place);                  \
        (place) = (__typeof__(place))(value);             \
        expect_fault(&(s), (fault), #place " = " #value); \
        (place) = was;                                    \
        lab_prove((s).m);                                 \
    } while (0)

Test(heap, proof_finds_bad_segments)
{
    struct specimen s = specimen();
    struct ljt_lj_state *m = s.m;
    static struct ljt_lj_segment far;
    uintptr_t hole = (uintptr_t)ljt_kernel_alloc(256 * KIB);
    ljt_kernel_free((void *)hole, 256 * KIB);
    BROKEN(s, m->seg.base, 0, LJT_HEAP_BAD_SEGMENT);
    BROKEN(s, m->seg.base, m->seg.base + 8, LJT_HEAP_BAD_SEGMENT);
    BROKEN(s, m->seg.base, m->seg.base + ljt_page_size, LJT_HEAP_BAD_SEGMENT); /* the state is outside */
    BROKEN(s, m->seg.size, m->seg.size + 8, LJT_HEAP_BAD_SEGMENT);
    BROKEN(s, m->seg.size, 4096, LJT_HEAP_BAD_SEGMENT);
    BROKEN(s, m->seg.size, SIZE_MAX - ljt_page_size + 1, LJT_HEAP_BAD_SEGMENT);
    BROKEN(s, m->seg.next, hole, LJT_HEAP_BAD_SEGMENT);
    BROKEN(s, m->seg.next, (char *)&far + 4, LJT_HEAP_BAD_SEGMENT);
    far = (struct ljt_lj_segment){hole, 256 * KIB, NULL};
    BROKEN(s, m->seg.next, &far, LJT_HEAP_BAD_SEGMENT);
}

Test(heap, proof_reads_no_segment_record_beyond_the_end_of_a_mapping)
{
    struct specimen s = specimen();
    struct ljt_lj_state *m = s.m;
    uintptr_t page = (uintptr_t)ljt_kernel_alloc(2 * ljt_page_size);
    ljt_kernel_free((void *)(page + ljt_page_size), ljt_page_size);
    BROKEN(s, m->seg.next, page + ljt_page_size - 8, LJT_HEAP_BAD_SEGMENT);
    cr_assert(mprotect((void *)page, ljt_page_size, PROT_NONE) == 0);
    BROKEN(s, m->seg.next, page, LJT_HEAP_BAD_SEGMENT);
}

Test(heap, proof_finds_a_hole_in_a_segment)
{
    struct specimen s = specimen();
    cr_assert(munmap((char *)s.m->seg.base + s.m->seg.size - 64 * KIB, 4096) == 0);
    expect_fault(&s, LJT_HEAP_BAD_SEGMENT, "hole");
}

Test(heap, proof_finds_a_segment_list_that_does_not_end)
{
    struct specimen s = specimen();
    s.m->seg.next = &s.m->seg;
    expect_fault(&s, LJT_HEAP_BAD_SEGMENT, "a segment that follows itself");
    static struct ljt_lj_segment record[7];
    for (int i = 0; i < 7; i++) {
        record[i] = s.m->seg;
        record[i].next = &record[i < 6 ? i + 1 : 3];
    }
    s.m->seg.next = &record[0];
    expect_fault(&s, LJT_HEAP_BAD_SEGMENT, "a loop further on");
}

Test(heap, proof_finds_a_broken_fence_and_a_record_elsewhere)
{
    struct specimen s = specimen();
    lab_add_segment(s.m, 256 * KIB);
    lab_prove(s.m);
    struct ljt_lj_segment *old = s.m->seg.next;
    cr_assert(old != NULL);
    uintptr_t last = old->base + old->size - 8;
    BROKEN(s, *(size_t *)last, 0, LJT_HEAP_BAD_FLAGS);
    struct ljt_lj_segment copy = *old;
    BROKEN(s, s.m->seg.next, &copy, LJT_HEAP_BAD_FLAGS);
}

Test(heap, proof_finds_bad_chunks)
{
    struct specimen s = specimen();
    struct ljt_lj_chunk *used = s.used;
    struct ljt_lj_tree_chunk *tree = s.tree;
    BROKEN(s, used->head, 16 | 3, LJT_HEAP_BAD_CHUNK);
    BROKEN(s, used->head, used->head | 4, LJT_HEAP_BAD_CHUNK);
    BROKEN(s, used->head, 3, LJT_HEAP_BAD_CHUNK);
    BROKEN(s, used->head, ((size_t)1 << 46) | 3, LJT_HEAP_BAD_CHUNK);
    BROKEN(s, used->head, (SIZE_MAX & ~(size_t)7) | 3, LJT_HEAP_BAD_CHUNK);
    BROKEN(s, used->head, used->head & ~LJT_LJ_PINUSE, LJT_HEAP_BAD_FLAGS);
    BROKEN(s, used->head, used->head & ~LJT_LJ_CINUSE, LJT_HEAP_BAD_FLAGS);
    BROKEN(s, tree->head, tree->head | LJT_LJ_CINUSE, LJT_HEAP_BAD_FLAGS);
    BROKEN(s, tree->head, tree->head & ~LJT_LJ_PINUSE, LJT_HEAP_BAD_FLAGS);
    struct ljt_lj_chunk *next = ljt_lj_chunk_at(tree, 8192);
    BROKEN(s, next->prev_foot, 8184, LJT_HEAP_BAD_FLAGS);
    BROKEN(s, next->head, next->head | LJT_LJ_PINUSE, LJT_HEAP_BAD_FLAGS);
    BROKEN(s, used->head, LJT_LJ_FENCEPOST, LJT_HEAP_BAD_FLAGS);
}

Test(heap, proof_finds_bad_top_and_dv)
{
    struct specimen s = specimen();
    struct ljt_lj_state *m = s.m;
    BROKEN(s, m->topsize, m->topsize - 8, LJT_HEAP_BAD_TOP);
    BROKEN(s, m->top->head, m->topsize, LJT_HEAP_BAD_TOP);
    BROKEN(s, m->top->head, m->topsize | 3, LJT_HEAP_BAD_TOP);
    BROKEN(s, m->top, NULL, LJT_HEAP_BAD_TOP);
    BROKEN(s, m->top, s.used, LJT_HEAP_BAD_TOP);
    BROKEN(s, m->dv, NULL, LJT_HEAP_BAD_TOP);
    BROKEN(s, m->dvsize, 0, LJT_HEAP_BAD_TOP);
    BROKEN(s, m->dv, 4096, LJT_HEAP_BAD_TOP);
    BROKEN(s, m->dvsize, m->dvsize + 8, LJT_HEAP_BAD_SUM);
    BROKEN(s, m->dv, s.used, LJT_HEAP_BAD_SUM);
}

Test(heap, proof_finds_bad_bins)
{
    struct specimen s = specimen();
    struct ljt_lj_state *m = s.m;
    struct ljt_lj_chunk *bin = ljt_lj_smallbin(m, ljt_lj_small_index(96));
    unsigned tree_bin = s.tree->index;
    BROKEN(s, bin->fd, bin, LJT_HEAP_BAD_BIN);
    BROKEN(s, bin->fd, s.used, LJT_HEAP_BAD_BIN);
    BROKEN(s, bin->fd, 64, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.small->bk, s.small, LJT_HEAP_BAD_BIN);
    BROKEN(s, bin->fd->fd, bin->fd, LJT_HEAP_BAD_BIN); /* a ring that never comes back */
    BROKEN(s, m->smallmap, m->smallmap | 1u << 20, LJT_HEAP_BAD_BIN);
    BROKEN(s, m->smallmap, 0, LJT_HEAP_BAD_SUM);
    BROKEN(s, m->treebins[tree_bin], NULL, LJT_HEAP_BAD_BIN);
    BROKEN(s, m->treebins[tree_bin], s.ring, LJT_HEAP_BAD_BIN);
    BROKEN(s, m->treebins[tree_bin], s.used, LJT_HEAP_BAD_BIN);
    BROKEN(s, m->treebins[tree_bin + 1], s.tree, LJT_HEAP_BAD_BIN);
    BROKEN(s, m->treemap, m->treemap | 1u << 31, LJT_HEAP_BAD_BIN);
    BROKEN(s, m->treemap, m->treemap & ~(1u << tree_bin), LJT_HEAP_BAD_BIN);
    BROKEN(s, s.tree->parent, s.tree, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.child->parent, s.ring, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.tree->child[0], s.tree, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.tree->child[1], s.used, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.child->child[1], s.child, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.tree->fd, s.tree, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.tree->fd, 8, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.ring->fd, s.child, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.ring->parent, s.tree, LJT_HEAP_BAD_BIN);
    BROKEN(s, s.ring->child[0], s.child, LJT_HEAP_BAD_BIN); /* what a claim of the node would revive */
}

Test(heap, proof_finds_a_free_chunk_that_no_bin_holds)
{
    struct specimen s = specimen();
    struct ljt_lj_tree_chunk *t = s.tree, *r = s.ring;
    t->fd = t->bk = t; /* a sound ring of one, that leaves the other outside */
    (void)r;
    expect_fault(&s, LJT_HEAP_BAD_SUM, "lost chunk");
}

Test(heap, every_fault_has_a_text)
{
    for (int i = 0; i <= LJT_HEAP_FAULTS; i++)
        cr_expect(ljt_heap_fault_text((enum ljt_heap_fault)i) != NULL);
    cr_expect_str_eq(ljt_heap_fault_text(LJT_HEAP_FAULTS), "unknown");
}

/* The worst is not a fault that is missed but one that crashes the host. */
Test(heap, proof_of_a_heap_with_any_word_broken_returns)
{
    lab_seed("heap: broken words");
    /* A page that can't be read stands behind the heap. */
    char *mapping = mmap(NULL, 1 * MIB + 64 * KIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(mapping != MAP_FAILED && mprotect(mapping, 1 * MIB, PROT_READ | PROT_WRITE) == 0);
    struct ljt_lj_state *m = lab_heap_in(mapping, 1 * MIB);
    lab_fragment(m, 300, 3000);
    lab_prove(m);
    uintptr_t end = (uintptr_t)mapping + 1 * MIB;
    struct lab_map *map = lab_map(m);
    size_t found = 0, rounds = lab_count("TEST_OPS", 60000);
    for (size_t i = 0; i < rounds; i++) {
        /* A word of the state (not the segments': a loop there takes seconds), or of a chunk's head and links. */
        uintptr_t at = lab_below(3) == 0 ? (uintptr_t)m + 8 * lab_below(105)
                                         : map->chunk[lab_below(map->count)].at + 8 * lab_below(8);
        uintptr_t near_end = end - 8 * (1 + lab_below(8)), other = map->chunk[lab_below(map->count)].at;
        const uintptr_t value[] = {0,
                                   8,
                                   lab_random(),
                                   lab_random() % end,
                                   near_end,
                                   other,
                                   other | 3,
                                   other + 8 * lab_below(100),
                                   *(uintptr_t *)at ^ (uintptr_t)1 << lab_below(64)};
        uintptr_t was = *(uintptr_t *)at;
        *(uintptr_t *)at = value[lab_below(sizeof(value) / sizeof(value[0]))];
        struct ljt_heap_census census;
        found += ljt_heap_prove(m, &census) != LJT_HEAP_OK;
        *(uintptr_t *)at = was;
    }
    lab_prove(m);
    cr_expect(found > rounds / 4, "%zu of %zu", found, rounds);
    free(map);
}

/* ---- Search ---- */

static size_t largest_by_walk(const struct ljt_lj_state *m, const struct lab_map *map, size_t limit)
{
    size_t best = 0;
    for (size_t i = 0; i < map->count; i++) {
        const void *c = (const void *)map->chunk[i].at;
        size_t size = map->chunk[i].size;
        if (!map->chunk[i].in_use && size >= LJT_LJ_MIN_LARGE && size <= limit && size > best && c != m->dv &&
            c != m->top)
            best = size;
    }
    return best;
}

Test(heap, largest_finds_what_brute_force_finds)
{
    lab_seed("heap: largest");
    for (int round = 0; round < 12; round++) {
        struct ljt_lj_state *m = lab_heap(600 * MIB); /* of which little is ever touched */
        lab_fragment(m, 200 << round % 4, (size_t)500 << round % 5);
        if (round % 3 == 0) /* bin 31 has a shift of its own */
            for (int i = 0; i < 30; i++)
                lab_free_chunk(m, 12 * MIB + 8 * lab_below(round == 0 ? 10000 : 700000));
        lab_prove(m);
        struct lab_map *map = lab_map(m);
        for (int i = 0; i < 3000; i++) {
            size_t limit = lab_below(2) == 0 ? map->chunk[lab_below(map->count)].size + 8 * lab_below(3) - 8
                                             : (lab_random() >> 16) >> lab_below(44) & ~(size_t)7;
            if (i == 0)
                limit = SIZE_MAX & ~(size_t)7;
            size_t wanted = largest_by_walk(m, map, limit);
            struct ljt_lj_tree_chunk *c = ljt_heap_largest(m, limit);
            size_t size = c == NULL ? 0 : ljt_lj_head_size(c->head);
            cr_assert(size == wanted, "at most %zu: %zu, not %zu", limit, size, wanted);
            cr_assert(c == NULL || c->parent != NULL, "stands in the tree");
        }
        free(map);
        ljt_kernel_free((void *)m->seg.base, 600 * MIB);
    }
}

Test(heap, largest_of_an_empty_heap_is_none)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    cr_expect(ljt_heap_largest(m, SIZE_MAX & ~(size_t)7) == NULL);
    cr_expect(ljt_heap_largest(m, 100) == NULL);
}

Test(heap, rotate_visits_each_of_a_ring_and_keeps_the_tree)
{
    lab_seed("heap: rotate");
    struct ljt_lj_state *m = lab_heap(16 * MIB);
    enum { RING = 37 };
    struct ljt_lj_chunk *seen[RING + 8]; /* random sizes may be 9000, too */
    for (int i = 0; i < 200; i++)        /* a tree around the ring */
        lab_free_chunk(m, 8192 + 8 * lab_below(500));
    for (int i = 0; i < RING; i++)
        lab_free_chunk(m, 9000);
    size_t ring = 0;
    struct ljt_lj_tree_chunk *first = ljt_heap_largest(m, 9000), *c = first;
    cr_assert(ljt_lj_head_size(first->head) == 9000);
    struct lab_map *before = lab_map(m);
    do {
        for (size_t i = 0; i < ring; i++)
            cr_assert(seen[i] != (void *)c);
        cr_assert(ring < RING + 8);
        seen[ring] = (void *)c;
        ring++;
        ljt_heap_rotate(m, c);
        lab_prove(m);
        c = ljt_heap_largest(m, 9000);
    } while (c != first && ring < RING + 8);
    cr_expect(ring >= RING && c == first, "%zu", ring);

    cr_expect(lab_map_is_still(before, m));
}

Test(heap, rotate_of_one_changes_nothing)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 5000);
    ljt_heap_rotate(m, (struct ljt_lj_tree_chunk *)c);
    lab_prove(m);
    cr_expect((void *)ljt_heap_largest(m, 5000) == c);
}
