/*
 * The allocator of our own, on heaps in lj_alloc's format: alone, and taking turns with LuaJIT's on one heap.
 *
 * TEST_SEED=n repeats a run, TEST_OPS=n sets its length, TEST_PROVE=n proves the heap after every n.
 */
#include "lab.h"

#include <errno.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "patched.h"

TestSuite(patched, .init = lab_init, .timeout = LAB_TIMEOUT);

/* ---- A heap, and what it has told ---- */

enum { ROOM = 500 };

static struct ljt_lj_chunk *run[ROOM];
static struct ljt_patched patched = {.run = run, .room = ROOM};
static ptrdiff_t mapped;
static size_t parked, joined;

static void count(struct ljt_patched *p, ptrdiff_t bytes)
{
    cr_assert_eq(p, &patched);
    mapped += bytes;
}

static struct ljt_lj_state *open_heap(void)
{
    patched.mapped = count;
    struct ljt_lj_state *m = ljt_patched_create(&patched);
    cr_assert_not_null(m);
    return m;
}

static void *get(struct ljt_lj_state *m, size_t n)
{
    void *mem = ljt_patched_alloc(m, NULL, 0, n);
    cr_assert_not_null(mem);
    return mem;
}

static void *change(struct ljt_lj_state *m, void *mem, size_t n)
{
    mem = ljt_patched_alloc(m, mem, 0, n);
    cr_assert_not_null(mem);
    return mem;
}

static void drop(struct ljt_lj_state *m, void *mem)
{
    cr_assert_null(ljt_patched_alloc(m, mem, 0, 0));
}

static struct ljt_heap_census prove(struct ljt_lj_state *m)
{
    struct ljt_heap_census census;
    enum ljt_heap_fault fault = ljt_heap_prove(m, &census);
    cr_assert_eq(fault, LJT_HEAP_OK, "%s", ljt_heap_fault_text(fault));
    cr_assert_eq(census.mapped, census.live + census.free + census.overhead);
    return census;
}

/* ---- The basics ---- */

Test(patched, new_arena_is_laid_out_as_lj_alloc_lays_one_out)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_lj_state *m = open_heap();
    cr_expect_eq((uintptr_t)m, m->seg.base + LJT_LJ_MEM_OFFSET);
    cr_expect_eq(m->seg.size, LJT_LJ_GRANULARITY);
    cr_expect_eq(m->seg.next, NULL);
    cr_expect_eq(m->trim_check, vm.m->trim_check);
    struct ljt_heap_census census = prove(m);
    cr_expect_eq(census.chunks, 2);
    cr_expect_eq(mapped, (ptrdiff_t)census.mapped);
    ljt_patched_destroy(m);
    cr_expect_eq(mapped, 0);
}

Test(patched, every_size_is_served_aligned_and_apart)
{
    struct ljt_lj_state *m = open_heap();
    enum { SIZES = 700 };
    unsigned char *mem[SIZES];
    for (size_t n = 1; n < SIZES; n++) {
        mem[n] = get(m, n);
        cr_assert_eq((uintptr_t)mem[n] % 8, 0);
        memset(mem[n], (int)(n & 0xff), n);
    }
    prove(m);
    for (size_t n = 1; n < SIZES; n++)
        for (size_t i = 0; i < n; i++)
            cr_assert_eq(mem[n][i], n & 0xff, "byte %zu of block %zu", i, n);
    for (size_t n = 1; n < SIZES; n += 2)
        drop(m, mem[n]);
    prove(m);
    for (size_t n = 2; n < SIZES; n += 2)
        drop(m, mem[n]);
    struct ljt_heap_census census = prove(m);
    cr_expect_eq(census.live - (census.segments - 1) * LJT_LJ_SEGMENT_CHUNK, LJT_LJ_STATE_CHUNK);
}

Test(patched, block_grows_in_place_into_what_is_free_behind_it)
{
    struct ljt_lj_state *m = open_heap();
    void *a = get(m, 100), *b = get(m, 100), *wall = get(m, 100);
    drop(m, b);
    cr_expect_eq(change(m, a, 190), a, "into a free chunk");
    prove(m);
    void *last = get(m, 1000);
    cr_expect_eq(change(m, last, 9000), last, "into top");
    prove(m);
    cr_expect_eq(change(m, last, 500), last, "a block that shrinks stays");
    prove(m);
    cr_expect_neq(change(m, a, 400), a);
    (void)wall;
    prove(m);
}

Test(patched, block_grows_into_dv_and_leaves_it_the_rest)
{
    struct ljt_lj_state *m = open_heap();
    void *hole = get(m, 4000), *wall = get(m, 100);
    drop(m, hole);
    void *a = get(m, 100); /* split off the hole: what remains is dv */
    cr_assert_eq(a, hole);
    size_t all = ljt_lj_chunk_size(ljt_lj_mem_to_chunk(a)) + m->dvsize;
    cr_expect_eq(change(m, a, 900), a);
    cr_expect_eq((uintptr_t)m->dv,
                 (uintptr_t)ljt_lj_chunk_at(ljt_lj_mem_to_chunk(a), ljt_lj_request_size(900)));
    cr_expect_eq(m->dvsize, all - ljt_lj_request_size(900));
    prove(m);
    cr_expect_eq(change(m, a, all - LJT_LJ_CHUNK_OVERHEAD), a, "all of it");
    cr_expect_eq(m->dv, NULL);
    cr_expect_eq(m->dvsize, 0);
    prove(m);
    (void)wall;
}

Test(patched, block_that_moves_takes_its_bytes_along)
{
    struct ljt_lj_state *m = open_heap();
    for (size_t from = 8; from < 600 * KIB; from *= 3)
        for (size_t to = 8; to < 600 * KIB; to *= 3) {
            unsigned char *mem = get(m, from);
            void *wall = get(m, 16);
            memset(mem, 0x5a, from);
            mem = change(m, mem, to);
            for (size_t i = 0; i < from && i < to; i++)
                cr_assert_eq(mem[i], 0x5a, "%zu to %zu: byte %zu", from, to, i);
            memset(mem, 0xa5, to);
            drop(m, mem);
            drop(m, wall);
            prove(m);
        }
}

Test(patched, large_block_has_a_mapping_that_lj_alloc_can_free)
{
    struct ljt_lj_state *m = open_heap();
    ptrdiff_t before = mapped;
    void *mem = get(m, 1 * MIB);
    cr_expect(ljt_lj_chunk_is_direct(lab_chunk(mem)));
    cr_expect_gt(mapped, before + (ptrdiff_t)(1 * MIB));
    mem = change(m, mem, 3 * MIB);
    cr_expect_gt(mapped, before + (ptrdiff_t)(3 * MIB));
    memset(mem, 1, 3 * MIB);
    drop(m, mem);
    cr_expect_eq(mapped, before);
    lab_free(m, get(m, 2 * MIB));
    drop(m, lab_malloc(m, 2 * MIB));
    prove(m);
}

/* ---- When there is no memory ---- */

static void *no_memory(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    (void)addr, (void)len, (void)prot, (void)flags, (void)fd, (void)off;
    errno = ENOMEM;
    return MAP_FAILED;
}

Test(patched, no_memory_is_null_and_changes_nothing)
{
    struct ljt_lj_state *m = open_heap();
    char *mem = get(m, 1000);
    strcpy(mem, "kept");
    struct lab_map *before = lab_map(m);
    ljt_kernel.mmap = no_memory;
    errno = 7;
    cr_expect_null(ljt_patched_alloc(m, NULL, 0, 127 * KIB));
    cr_expect_null(ljt_patched_alloc(m, NULL, 0, 10 * MIB));
    cr_expect_null(ljt_patched_alloc(m, mem, 1000, 10 * MIB));
    cr_expect_null(ljt_patched_alloc(m, NULL, 0, SIZE_MAX));
    cr_expect_null(ljt_patched_alloc(m, NULL, 0, SIZE_MAX - 64));
    cr_expect_null(ljt_patched_alloc(m, mem, 1000, SIZE_MAX - 8));
    cr_expect_eq(errno, 7);
    cr_expect_str_eq(mem, "kept");
    cr_expect(lab_map_is_still(before, m));
    cr_expect_null(ljt_patched_create(&patched));
}

static void *(*real_mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t off);
static unsigned tries;

/* A machine with 48 bits that gives high addresses unless it is asked for low ones. */
static void *high_memory(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    tries++;
    return addr == NULL ? (void *)(((uintptr_t)1 << 47) + ((uintptr_t)1 << 30))
                        : real_mmap(addr, len, prot, flags, fd, off);
}

static int unmap_nothing_high(void *addr, size_t len)
{
    (void)len;
    return (uintptr_t)addr >> 47 != 0 ? 0 : -1;
}

static void *only_high_memory(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    (void)addr, (void)len, (void)prot, (void)flags, (void)fd, (void)off;
    tries++;
    return (void *)(((uintptr_t)1 << 47) - len + 4096);
}

Test(patched, memory_beyond_47_bits_is_never_used)
{
    struct ljt_lj_state *m = open_heap();
    real_mmap = ljt_kernel.mmap;
    int (*real_munmap)(void *, size_t) = ljt_kernel.munmap;
    ljt_kernel.mmap = high_memory;
    ljt_kernel.munmap = unmap_nothing_high;
    uintptr_t mem = (uintptr_t)get(m, 1 * MIB);
    cr_expect_eq(mem >> 47, 0);
    cr_expect_eq(tries, 2);
    tries = 0;
    ljt_kernel.mmap = only_high_memory;
    cr_expect_null(ljt_patched_alloc(m, NULL, 0, 1 * MIB));
    cr_expect(tries > 2 && tries < 200, "%u tries", tries);
    ljt_kernel.mmap = real_mmap;
    ljt_kernel.munmap = real_munmap;
    prove(m);
}

/* ---- Growth ---- */

Test(patched, arena_grows_in_few_segments)
{
    struct ljt_lj_state *m = open_heap();
    for (size_t done = 0; done < 400 * MIB; done += 100 * KIB)
        get(m, 100 * KIB);
    struct ljt_heap_census census = prove(m);
    cr_expect_lt(census.segments, 200, "%zu segments", census.segments);
    cr_expect_lt(census.mapped, 440 * MIB);
    cr_expect_eq(mapped, (ptrdiff_t)census.mapped);
}

/* Whatever is left of the old top when a segment is added: 8 bytes and up. */
Test(patched, segment_is_added_whatever_the_old_top_has_left)
{
    for (size_t left = 8; left <= 96; left += 8) {
        struct ljt_lj_state *m = open_heap();
        while (m->topsize > 2000)
            get(m, 1000);
        get(m, m->topsize - left - LJT_LJ_CHUNK_OVERHEAD);
        cr_assert_eq(m->topsize, left);
        get(m, 200);
        cr_expect_not_null(m->seg.next, "%zu bytes left", left);
        prove(m);
        ljt_patched_destroy(m);
    }
}

/* ---- Parking ---- */

/* A free chunk of so many whole pages between two blocks, its ends in pages that are shared; parked. */
static struct ljt_lj_chunk *park_pages(struct ljt_lj_state *m, size_t pages, void **left, void **right)
{
    *left = get(m, 1000);
    char *mem = get(m, (pages + 1) << ljt_page_shift);
    *right = get(m, 1000);
    drop(m, mem);
    uintptr_t lo, hi;
    struct ljt_lj_chunk *c = lab_chunk(mem);
    cr_assert(ljt_lj_free_pages((uintptr_t)c, ljt_lj_chunk_size(c), ljt_page_size, &lo, &hi));
    c = ljt_heap_claim(m, c, lo - (uintptr_t)c >= 128 ? lo - 64 : (uintptr_t)c, hi);
    cr_assert(ljt_patched_park(m, c));
    return c;
}

Test(patched, what_is_parked_is_used_before_the_kernel_is_asked)
{
    struct ljt_lj_state *m = open_heap();
    void *left, *right;
    struct ljt_lj_chunk *c = park_pages(m, 15, &left, &right);
    uintptr_t end = (uintptr_t)c + ljt_lj_chunk_size(c);
    prove(m);
    ptrdiff_t before = mapped;
    bool used = false;
    while (mapped == before) {
        uintptr_t mem = (uintptr_t)get(m, 500);
        used |= mem > (uintptr_t)c + ljt_page_size && mem < end;
        prove(m);
    }
    cr_expect(used);
    cr_expect_eq(patched.runs, 0);
    cr_expect_eq(patched.parked_pages, 0);
}

/* Only the smallest are asked as a rule; together they may be what is missing. */
Test(patched, what_is_parked_is_used_up_before_memory_is_out)
{
    struct ljt_lj_state *m = open_heap();
    while (mapped < (ptrdiff_t)(12 * MIB))
        get(m, 60 * KIB);
    for (ptrdiff_t before = mapped; mapped == before;) /* the last segment has room for all of it */
        get(m, 60 * KIB);
    void *left, *right;
    park_pages(m, 25, &left, &right);
    for (int i = 0; i < 20; i++)
        park_pages(m, 2, &left, &right);
    ljt_kernel.mmap = no_memory;
    while (lab_largest_room(m) >= 64 * KIB)
        get(m, 30 * KIB);
    cr_assert_eq(patched.runs, 21);
    cr_expect_not_null(ljt_patched_alloc(m, NULL, 0, 64 * KIB));
    prove(m);
    while (ljt_patched_alloc(m, NULL, 0, 1000) != NULL)
        ;
    cr_expect_eq(patched.runs, 0);
    prove(m);
}

/*
 *     | left | piece | 64 | page | .. | page | piece | right |
 *       in use         parked                  both pieces share their pages with blocks
 */
Test(patched, pieces_in_used_pages_are_filled_before_a_parked_run)
{
    struct ljt_lj_state *m = open_heap();
    void *left, *right;
    struct ljt_lj_chunk *c = park_pages(m, 15, &left, &right);
    uintptr_t lo = (uintptr_t)c, hi = lo + ljt_lj_chunk_size(c);
    size_t pages = patched.parked_pages, in_low = 0, in_high = 0;
    const size_t n = 200;
    for (;;) {
        size_t room = lab_largest_room(m);
        uintptr_t mem = (uintptr_t)get(m, n);
        if (patched.parked_pages != pages) {
            cr_expect(room <= n + LJT_LJ_MIN_CHUNK, "the run is taken with %zu bytes left elsewhere", room);
            break;
        }
        cr_assert(mem < lo || mem >= hi);
        in_low += mem > (uintptr_t)left && mem < lo;
        in_high += mem >= hi && mem < (uintptr_t)right;
    }
    cr_expect(in_low > 1 && in_high > 1, "%zu, %zu", in_low, in_high);
}

Test(patched, large_run_is_taken_from_its_low_end_bit_by_bit)
{
    struct ljt_lj_state *m = open_heap();
    while (mapped < (ptrdiff_t)(8 * MIB))
        get(m, 60 * KIB);
    void *block[60], *mem;
    for (unsigned i = 0; i < 60; i++)
        block[i] = get(m, 60 * KIB);
    for (unsigned i = 0; i < 60; i++)
        drop(m, block[i]);
    struct ljt_lj_chunk *c = (struct ljt_lj_chunk *)ljt_heap_largest(m, SIZE_MAX & ~(size_t)7);
    size_t size = ljt_lj_chunk_size(c);
    cr_assert_gt(size, 300 * KIB);
    c = ljt_heap_claim(m, c, (uintptr_t)c, (uintptr_t)c + size);
    cr_assert(ljt_patched_park(m, c));
    size_t pages = patched.parked_pages;
    uintptr_t lowest = (uintptr_t)c;
    do {
        mem = get(m, 100);
    } while (patched.parked_pages == pages);
    prove(m);
    cr_expect_eq(patched.runs, 1);
    cr_expect((uintptr_t)patched.run[0] > lowest && (uintptr_t)patched.run[0] <= lowest + 80 * KIB);
    cr_expect_eq(((uintptr_t)patched.run[0] + 64) % ljt_page_size, 0, "the pages that remain hold nothing");

    /* Nor is it taken in whole where dv, too small by now, lies in front of it. */
    for (int i = 0; i < 3; i++) {
        lowest = (uintptr_t)patched.run[0];
        pages = patched.parked_pages;
        do {
            mem = get(m, 100 + 8 * i);
        } while (patched.parked_pages == pages);
        prove(m);
        cr_assert_eq(patched.runs, 1);
        cr_expect((uintptr_t)patched.run[0] <= lowest + 80 * KIB);
    }
    (void)mem;
}

Test(patched, run_joins_a_neighbour_when_that_frees_another_page)
{
    struct ljt_lj_state *m = open_heap();
    void *left, *right;
    park_pages(m, 8, &left, &right);
    cr_expect_not(ljt_patched_join(m, 0), "the pieces beside it make no page");
    drop(m, left);
    drop(m, right);
    for (unsigned i = 0; i < 10; i++)
        get(m, 16);
    bool joins = ljt_patched_join(m, 0);
    prove(m);
    cr_expect(joins);
    cr_expect_eq(patched.runs, 0);
}

Test(patched, run_that_is_too_small_or_one_too_many_is_not_parked)
{
    struct ljt_lj_state *m = open_heap();
    struct ljt_lj_chunk *c = lab_chunk(get(m, 3000));
    cr_expect_not(ljt_patched_park(m, c));
    c = lab_chunk(get(m, 30000));
    patched.room = 0;
    cr_expect_not(ljt_patched_park(m, c));
    patched.room = 1;
    cr_expect(ljt_patched_park(m, c));
    c = lab_chunk(get(m, 30000));
    cr_expect_not(ljt_patched_park(m, c));
    ljt_patched_leave(m);
    prove(m);
}

/* ---- At random, and by turns with LuaJIT's own ---- */

enum { BLOCKS = 3000 };

static struct {
    unsigned char *mem;
    size_t size;
    unsigned char tag;
} block[BLOCKS];

static size_t random_size(void)
{
    uint64_t r = lab_below(1000);
    return r < 900 ? 1 + lab_below(600) : r < 990 ? 1 + lab_below(16 * KIB) : 1 + lab_below(300 * KIB);
}

static void mark(unsigned i)
{
    block[i].tag = (unsigned char)lab_random();
    size_t edge = block[i].size < 48 ? block[i].size : 48;
    memset(block[i].mem, block[i].tag, edge);
    memset(block[i].mem + block[i].size - edge, block[i].tag, edge);
}

static void check(unsigned i, size_t n)
{
    size_t edge = block[i].size < 48 ? block[i].size : 48;
    for (size_t at = 0; at < edge && at < n; at++)
        cr_assert_eq(block[i].mem[at], block[i].tag, "block %u of %zu bytes at %zu", i, block[i].size, at);
    for (size_t at = block[i].size - edge; at < block[i].size && at < n; at++)
        cr_assert_eq(block[i].mem[at], block[i].tag, "block %u of %zu bytes at %zu", i, block[i].size, at);
}

static void step(struct ljt_lj_state *m, ljt_alloc_fn *allocf, unsigned blocks)
{
    unsigned i = (unsigned)lab_below(blocks);
    if (block[i].mem == NULL) {
        block[i].size = random_size();
        block[i].mem = allocf(m, NULL, 0, block[i].size);
        cr_assert_not_null(block[i].mem);
        mark(i);
    } else if (lab_below(8) < 2) {
        size_t n = random_size();
        check(i, block[i].size);
        block[i].mem = allocf(m, block[i].mem, block[i].size, n);
        cr_assert_not_null(block[i].mem);
        check(i, n);
        block[i].size = n;
        mark(i);
    } else {
        check(i, block[i].size);
        allocf(m, block[i].mem, block[i].size, 0);
        block[i].mem = NULL;
    }
}

static size_t parked_pages(void)
{
    size_t pages = 0;
    for (unsigned i = 0; i < patched.runs; i++) {
        uintptr_t lo, hi;
        struct ljt_lj_chunk *c = patched.run[i];
        cr_assert(ljt_lj_chunk_cinuse(c));
        ljt_lj_free_pages((uintptr_t)c, ljt_lj_chunk_size(c), ljt_page_size, &lo, &hi);
        pages += (hi - lo) >> ljt_page_shift;
    }
    return pages;
}

static void finish(struct ljt_lj_state *m)
{
    cr_expect(LAB_SLOWNESS > 1 || (parked > 20 && joined > 5), "%zu parked, %zu joined", parked, joined);
    cr_expect_eq(parked_pages(), patched.parked_pages);
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (block[i].mem == NULL)
            continue;
        check(i, block[i].size);
        drop(m, block[i].mem);
    }
    ljt_patched_leave(m);
    cr_expect_eq(patched.parked_pages, 0);
    struct ljt_heap_census census = prove(m);
    size_t records = (census.segments - 1) * LJT_LJ_SEGMENT_CHUNK;
    cr_expect_eq(census.live, ljt_lj_chunk_size(lab_chunk(m)) + records, "%zu bytes are lost", census.live);
}

/* As a look does: a free chunk is claimed, whole or without its ends, its pages are lost, and it is parked. */
static void park_something(struct ljt_lj_state *m)
{
    size_t limit = lab_below(2) == 0 ? SIZE_MAX & ~(size_t)7 : (size_t)4096 << lab_below(8);
    struct ljt_lj_chunk *c = lab_below(4) == 0 ? m->dv : (struct ljt_lj_chunk *)ljt_heap_largest(m, limit);
    uintptr_t lo, hi;
    if (c == NULL || !ljt_lj_free_pages((uintptr_t)c, ljt_lj_chunk_size(c), ljt_page_size, &lo, &hi))
        return;
    uintptr_t from = (uintptr_t)c, to = from + ljt_lj_chunk_size(c);
    if (lab_below(4) != 0 && lo - from >= 128)
        from = lo - 64;
    if (lab_below(4) != 0 && to - hi >= 32)
        to = hi;
    struct ljt_lj_chunk *claim = ljt_heap_claim(m, c, from, to);
    if (hi - lo < 1 * MIB)
        memset((void *)lo, 0xa5, hi - lo);
    if (!ljt_patched_park(m, claim))
        ljt_heap_hand_back(m, ljt_patched_alloc, claim);
    else
        parked++;
}

static void join_something(struct ljt_lj_state *m)
{
    if (patched.runs > 0)
        joined += ljt_patched_join(m, (unsigned)lab_below(patched.runs));
}

static void maintain(struct ljt_lj_state *m)
{
    if (lab_below(20) != 0)
        return;
    if (lab_below(3) == 0)
        join_something(m);
    else
        park_something(m);
}

static void prove_after_every_step(struct ljt_lj_state *m, size_t ops)
{
    for (size_t op = 0; op < ops; op++) {
        step(m, ljt_patched_alloc, 200);
        maintain(m);
        prove(m);
    }
    finish(m);
}

Test(patched, heap_is_sound_after_every_step)
{
    lab_seed("patched: every step");
    prove_after_every_step(open_heap(), lab_count("TEST_OPS", 20000));
}

Test(patched, heap_whose_state_has_no_prng_is_sound_after_every_step)
{
    lab_seed("patched: without PRNG");
    struct ljt_lj_state *m = lab_old_heap(LJT_LJ_GRANULARITY);
    void *first = lab_malloc(m, 5000); /* its head is where others have the PRNG */
    ljt_patched_enter(m, &patched);
    prove(m);
    drop(m, first);
    prove_after_every_step(m, lab_count("TEST_OPS", 10000));
}

Test(patched, blocks_survive_a_long_run)
{
    lab_seed("patched: long");
    struct ljt_lj_state *m = open_heap();
    size_t ops = lab_count("TEST_OPS", 2000000), every = lab_count("TEST_PROVE", 5000 * LAB_SLOWNESS);
    for (size_t op = 0; op < ops; op++) {
        step(m, ljt_patched_alloc, op / 200000 % 2 == 0 ? BLOCKS : BLOCKS / 10);
        maintain(m);
        if (op % every == 0)
            prove(m);
    }
    finish(m);
}

/* Which allocator serves the next call is drawn by lot: each must leave what the other expects. */
Test(patched, lj_alloc_and_ours_take_turns_on_one_heap)
{
    lab_seed("patched: turns");
    struct lab_vm vm = lab_vm_open();
    struct ljt_lj_state *m = vm.m;
    ljt_patched_enter(m, &patched);
    size_t ops = lab_count("TEST_OPS", 1000000), every = lab_count("TEST_PROVE", 5000 * LAB_SLOWNESS);
    for (size_t op = 0; op < ops; op++) {
        step(m, lab_below(2) == 0 ? ljt_patched_alloc : vm.allocf, BLOCKS);
        maintain(m);
        if (op % every == 0)
            prove(m);
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        if (block[i].mem != NULL)
            vm.allocf(m, block[i].mem, block[i].size, 0);
    cr_expect(LAB_SLOWNESS > 1 || (parked > 20 && joined > 5), "%zu parked, %zu joined", parked, joined);
    prove(m);
    ljt_patched_leave(m);
    prove(m);
    lua_close(vm.L);
}
