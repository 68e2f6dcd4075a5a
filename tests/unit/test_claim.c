/*
 * Claim and hand-back of every kind of free chunk.
 */
#include "lab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

TestSuite(claim, .init = lab_init, .timeout = LAB_TIMEOUT);

/*
 * Claims [c + from, end - to) of a free chunk, looks, purges it, hands it back. The heap must be what it was:
 * each chunk where it was, in use or free; the same free bytes.
 */
static void round_trip(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t from, size_t to)
{
    size_t size = ljt_lj_chunk_size(c);
    struct lab_map *before = lab_map(m);
    uintptr_t lo = (uintptr_t)c + from, hi = (uintptr_t)c + size - to;

    struct ljt_lj_chunk *claim = ljt_heap_claim(m, c, lo, hi);
    lab_prove(m);
    cr_assert((uintptr_t)claim == lo && ljt_lj_chunk_size(claim) == hi - lo && ljt_lj_chunk_cinuse(claim));
    struct lab_map *claimed = lab_map(m);
    cr_assert(claimed->count == before->count + (from > 0) + (to > 0));
    uintptr_t page, end;
    if (ljt_lj_free_pages(lo, hi - lo, ljt_page_size, &page, &end))
        cr_assert(madvise((void *)page, end - page, MADV_DONTNEED) == 0);
    memset(ljt_lj_chunk_to_mem(claim), 0xa5, hi - lo - LJT_LJ_CHUNK_OVERHEAD); /* all of it is ours */
    lab_prove(m);

    ljt_heap_hand_back(m, lab_allocf(), claim);
    lab_prove(m);
    struct lab_map *after = lab_map(m);
    cr_assert(lab_map_equal(before, after), "the free chunk is what it was");
    free(before);
    free(claimed);
    free(after);
}

static struct ljt_lj_tree_chunk *tree(struct ljt_lj_chunk *c)
{
    return (struct ljt_lj_tree_chunk *)c;
}

Test(claim, hand_back_restores_a_chunk_that_is_alone_in_its_bin)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 50000);
    round_trip(m, c, 0, 0);
    cr_expect((void *)ljt_heap_largest(m, 50000) == c);
}

Test(claim, empties_the_bin_of_its_last_chunk)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 50000);
    unsigned bin = ljt_lj_tree_index(50000);
    struct ljt_lj_chunk *claim = ljt_heap_claim(m, c, (uintptr_t)c, (uintptr_t)c + 50000);
    cr_expect((m->treemap >> bin & 1) == 0 && m->treebins[bin] == NULL);
    cr_expect(ljt_lj_chunk_pinuse(ljt_lj_chunk_next(claim)));
    ljt_heap_hand_back(m, lab_allocf(), claim);
    cr_expect((m->treemap >> bin & 1) == 1);
}

Test(claim, hand_back_restores_every_member_of_a_ring)
{
    struct ljt_lj_state *m = lab_heap(4 * MIB);
    struct ljt_lj_chunk *member[5];
    for (int i = 0; i < 5; i++)
        member[i] = lab_free_chunk(m, 20000);
    for (int i = 0; i < 50; i++) /* the node and those beside it change places by being handed back */
        round_trip(m, member[i * 7 % 5], 0, 0);
    for (int i = 0; i < 25; i++)
        round_trip(m, member[i % 5], 4096, 4096);
}

Test(claim, of_the_tree_node_passes_the_tree_to_its_ring)
{
    struct ljt_lj_state *m = lab_heap(4 * MIB);
    struct ljt_lj_chunk *node = lab_free_chunk(m, 20000);
    struct ljt_lj_chunk *ring = lab_free_chunk(m, 20000);
    lab_free_chunk(m, 20008);
    lab_free_chunk(m, 19000);
    cr_assert(tree(node)->parent != NULL && tree(ring)->parent == NULL);
    struct ljt_lj_chunk *claim = ljt_heap_claim(m, node, (uintptr_t)node, (uintptr_t)node + 20000);
    lab_prove(m);
    cr_expect((void *)ljt_heap_largest(m, 20000) == ring && tree(ring)->bk == tree(ring));
    ljt_heap_hand_back(m, lab_allocf(), claim);
    lab_prove(m);
}

Test(claim, after_a_rotation_leaves_children_alone)
{
    struct ljt_lj_state *m = lab_heap(4 * MIB);
    struct ljt_lj_chunk *node = lab_free_chunk(m, 20000);
    for (int i = 0; i < 3; i++)
        lab_free_chunk(m, 20000);
    for (size_t size = 18008; size < 24000; size += 504)
        lab_free_chunk(m, size);
    cr_assert(tree(node)->child[0] != NULL || tree(node)->child[1] != NULL);
    for (int i = 0; i < 8; i++) {
        struct ljt_lj_tree_chunk *c = ljt_heap_largest(m, 20000);
        ljt_heap_rotate(m, c);
        lab_prove(m);
        /* The VM takes the heir, so that the one that was the node before follows. */
        round_trip(m, (struct ljt_lj_chunk *)ljt_heap_largest(m, 20000), 0, 0);
        round_trip(m, (struct ljt_lj_chunk *)c, 0, 0);
        lab_free(m, lab_chunk_alloc(m, 20000));
        lab_prove(m);
    }
}

Test(claim, hand_back_restores_nodes_with_children)
{
    lab_seed("claim: children");
    struct ljt_lj_state *m = lab_heap(16 * MIB);
    struct ljt_lj_chunk *c[100];
    for (int i = 0; i < 100; i++)
        c[i] = lab_free_chunk(m, 65536 + 8 * lab_below(4000)); /* one bin, deep */
    unsigned with_children = 0;
    for (int i = 0; i < 100; i++) {
        with_children += tree(c[i])->child[0] != NULL || tree(c[i])->child[1] != NULL;
        round_trip(m, c[i], 0, 0);
    }
    cr_expect(with_children > 10);
}

/* Makes a dv of at least this size, between chunks in use. */
static void make_dv(struct ljt_lj_state *m, size_t size)
{
    lab_free_chunk(m, size + 112);
    lab_malloc(m, 104); /* a small request that splits a tree chunk leaves the rest as dv */
    cr_assert(m->dv != NULL && m->dvsize == size, "%zu", m->dvsize);
    lab_prove(m);
}

Test(claim, hand_back_restores_dv_as_a_free_chunk)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    make_dv(m, 40000);
    struct ljt_lj_chunk *dv = m->dv;
    round_trip(m, dv, 0, 0);
    cr_expect(m->dv == NULL && m->dvsize == 0);
    cr_expect((void *)ljt_heap_largest(m, 40000) == dv);
}

Test(claim, of_dv_leaves_low_and_high_free)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    make_dv(m, 40000);
    round_trip(m, m->dv, 64, 32);
    m = lab_heap(1 * MIB);
    make_dv(m, 50000);
    round_trip(m, m->dv, 4096, 8192);
}

Test(claim, of_dv_is_merged_with_the_dv_of_the_meantime)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    make_dv(m, 40000);
    struct ljt_lj_chunk *old = m->dv;
    struct ljt_lj_chunk *claim = ljt_heap_claim(m, old, (uintptr_t)old + 1024, (uintptr_t)old + 40000);
    lab_malloc(m, 104); /* splits the low remainder: a new dv that ends where the claim begins */
    cr_assert(m->dv != NULL && ljt_lj_chunk_next(m->dv) == claim);
    ljt_heap_hand_back(m, lab_allocf(), claim);
    lab_prove(m);
    cr_expect(m->dvsize == 40000 - 112);
}

Test(claim, of_top_takes_its_low_end_only)
{
    struct ljt_lj_state *m = lab_heap(8 * MIB);
    lab_malloc(m, 1000);
    uintptr_t end = (uintptr_t)m->top + m->topsize;
    round_trip(m, m->top, 0, 128 * KIB);
    round_trip(m, m->top, 0, 4 * MIB);
    round_trip(m, m->top, 64, 4 * MIB);
    round_trip(m, m->top, 1 * MIB, 1 * MIB);
    cr_expect((uintptr_t)m->top + m->topsize == end && end + LJT_LJ_TOP_FOOT == m->seg.base + m->seg.size);
}

Test(claim, of_top_lets_the_vm_go_on_above_it)
{
    struct ljt_lj_state *m = lab_heap(8 * MIB);
    lab_malloc(m, 1000);
    uintptr_t top = (uintptr_t)m->top;
    struct ljt_lj_chunk *claim = ljt_heap_claim(m, m->top, top, top + 4 * MIB);
    void *mem = lab_malloc(m, 100 * KIB);
    cr_expect((uintptr_t)mem > top + 4 * MIB && m->seg.size == 8 * MIB && m->seg.next == NULL);
    lab_prove(m);
    ljt_heap_hand_back(m, lab_allocf(), claim);
    lab_prove(m);
    cr_expect((void *)ljt_heap_largest(m, SIZE_MAX & ~(size_t)7) == claim, "not top any more, but whole");
    lab_free(m, mem);
    lab_prove(m);
    cr_expect((uintptr_t)m->top == top);
}

Test(claim, slices_of_a_giant_chunk_merge_into_it_again)
{
    struct ljt_lj_state *m = lab_heap(64 * MIB);
    struct ljt_lj_chunk *giant = lab_free_chunk(m, 40 * MIB);
    for (size_t at = 0; at < 40 * MIB; at += 4 * MIB)
        round_trip(m, giant, at, 40 * MIB - at - 4 * MIB);
    for (size_t at = 64; at + 3 * MIB < 40 * MIB; at += 3 * MIB)
        round_trip(m, giant, at, 40 * MIB - at - 3 * MIB);

    /* Several at a time, handed back in another order than they were claimed in. */
    struct lab_map *before = lab_map(m);
    struct ljt_lj_chunk *claim[5];
    for (int i = 0; i < 5; i++) {
        struct ljt_lj_chunk *c = (struct ljt_lj_chunk *)ljt_heap_largest(m, SIZE_MAX & ~(size_t)7);
        uintptr_t hi = (uintptr_t)ljt_lj_chunk_next(c) - 64 * KIB;
        claim[i] = ljt_heap_claim(m, c, hi - 4 * MIB, hi);
        lab_prove(m);
    }
    static const int order[] = {3, 0, 4, 1, 2};
    for (int i = 0; i < 5; i++) {
        ljt_heap_hand_back(m, lab_allocf(), claim[order[i]]);
        lab_prove(m);
    }
    cr_expect(lab_map_is_still(before, m));
}

Test(claim, leaves_remainders_of_every_small_size)
{
    struct ljt_lj_state *m = lab_heap(4 * MIB);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 30000);
    lab_free_chunk(m, 30000);
    for (size_t low = 64; low <= 320; low += 8)
        round_trip(m, c, low, 0);
    for (size_t high = 32; high <= 320; high += 8)
        round_trip(m, c, 0, high);
    for (size_t low = 64; low <= 272; low += 8)
        for (size_t high = 32; high <= 272; high += 8)
            round_trip(m, c, low, high);
}

/* The heads of small bins whose bit is clear are stale: a remainder must not be linked to what they say. */
Test(claim, remainder_does_not_believe_a_stale_small_bin)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 30000);
    struct ljt_lj_chunk *bin = ljt_lj_smallbin(m, ljt_lj_small_index(96));
    bin->fd = bin->bk = (struct ljt_lj_chunk *)8;
    round_trip(m, c, 96, 0);
}

Test(claim, withstands_neighbours_that_are_freed_meanwhile)
{
    lab_seed("claim: neighbours");
    for (int round = 0; round < 64; round++) {
        struct ljt_lj_state *m = lab_heap(1 * MIB);
        void *below = lab_malloc(m, 100 + 500 * lab_below(10));
        struct ljt_lj_chunk *c = lab_chunk(lab_chunk_alloc(m, 30000));
        void *above = lab_malloc(m, 100 + 500 * lab_below(10));
        if (lab_below(2) == 0)
            lab_malloc(m, 64); /* else top is next */
        lab_free(m, ljt_lj_chunk_to_mem(c));
        uintptr_t lo = (uintptr_t)c + (round & 1 ? 64 + 8 * lab_below(100) : 0);
        uintptr_t hi = (uintptr_t)c + 30000 - (round & 2 ? 32 + 8 * lab_below(100) : 0);
        struct ljt_lj_chunk *claim = ljt_heap_claim(m, c, lo, hi);
        if (round & 4)
            lab_free(m, below);
        lab_prove(m);
        if (round & 8)
            lab_free(m, above);
        lab_prove(m);
        if (round & 16)
            lab_malloc(m, 16 + lab_below(1000)); /* out of a remainder, or of what was freed */
        lab_prove(m);
        ljt_heap_hand_back(m, lab_allocf(), claim);
        lab_prove(m);
        if (!(round & 4))
            lab_free(m, below);
        if (!(round & 8))
            lab_free(m, above);
        lab_prove(m);
        ljt_kernel_free((void *)m->seg.base, 1 * MIB);
    }
}

Test(claim, withstands_the_vm_taking_the_remainders)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 30000);
    struct ljt_lj_chunk *claim = ljt_heap_claim(m, c, (uintptr_t)c + 1024, (uintptr_t)c + 28000);
    void *low = lab_chunk_alloc(m, 1024), *high = lab_chunk_alloc(m, 2000);
    cr_assert(lab_chunk(low) == c && lab_chunk(high) == ljt_lj_chunk_next(claim));
    lab_prove(m);
    ljt_heap_hand_back(m, lab_allocf(), claim);
    lab_prove(m);
    lab_free(m, high);
    lab_free(m, low);
    lab_prove(m);
    cr_expect((void *)ljt_heap_largest(m, 30000) == c);
}

/* ---- A state without PRNG ---- */

Test(claim, of_the_chunk_behind_a_state_without_prng)
{
    struct ljt_lj_state *m = lab_old_heap(1 * MIB);
    struct ljt_lj_chunk *c = lab_free_chunk(m, 30000);
    cr_assert((void *)&c->head == (void *)&m->prng);
    round_trip(m, c, 0, 0);
    round_trip(m, c, 64, 0);
    round_trip(m, c, 1024, 1024);
    lab_chunk_alloc(m, 30000);
    make_dv(m, 40000);
    round_trip(m, m->dv, 0, 0);
    round_trip(m, m->top, 0, 128 * KIB);
}

/* ---- The kernel is not called ---- */

static size_t segment_bytes(const struct ljt_lj_state *m)
{
    size_t bytes = 0;
    for (const struct ljt_lj_segment *s = &m->seg; s != NULL; s = s->next)
        bytes += s->size;
    return bytes;
}

/* Only a segment that holds no segment record is trimmed: not the first, which holds the state. */
Test(claim, hand_back_into_top_does_not_trim)
{
    struct ljt_lj_state *m = lab_heap(128 * KIB);
    lab_add_segment(m, 8 * MIB);
    lab_malloc(m, 200 * KIB);
    void *last = lab_malloc(m, 200 * KIB);
    lab_prove(m);
    size_t bytes = segment_bytes(m);
    uintptr_t top = (uintptr_t)m->top;
    struct ljt_lj_chunk *claim = ljt_heap_claim(m, m->top, top, top + 4 * MIB);
    m->trim_check = LJT_LJ_TRIM_THRESHOLD;
    ljt_heap_hand_back(m, lab_allocf(), claim);
    cr_expect(segment_bytes(m) == bytes && m->topsize > 5 * MIB);
    cr_expect(m->trim_check == LJT_LJ_TRIM_THRESHOLD);
    lab_prove(m);

    lab_free(m, last); /* that it would have been trimmed, the VM's own free shows */
    cr_expect(segment_bytes(m) < 1 * MIB);
    lab_prove(m);
}

/* A segment in the middle of the list that holds nothing but one free chunk. */
Test(claim, hand_back_does_not_release_segments)
{
    struct ljt_lj_state *m = lab_heap(128 * KIB);
    lab_add_segment(m, 1 * MIB);
    lab_add_segment(m, 1 * MIB);
    lab_prove(m);
    size_t bytes = segment_bytes(m);
    struct ljt_lj_chunk *c = (struct ljt_lj_chunk *)ljt_heap_largest(m, SIZE_MAX & ~(size_t)7);
    size_t size = ljt_lj_chunk_size(c);
    cr_assert(size == 1 * MIB - 64, "%zu", size);
    struct ljt_lj_chunk *claim = ljt_heap_claim(m, c, (uintptr_t)c, (uintptr_t)c + size);
    m->release_checks = 1; /* the next large free looks for empty segments */
    ljt_heap_hand_back(m, lab_allocf(), claim);
    cr_expect(segment_bytes(m) == bytes && m->release_checks == 1);
    lab_prove(m);
}
