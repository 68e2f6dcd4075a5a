/*
 * LuaJIT's allocator, used at random as a VM would use it, while chunks are claimed, purged and handed back.
 *
 * Every block carries a pattern that is checked when it is resized or freed: a claim that overlaps a block, or a
 * hand-back that loses a header, shows there or in the proof. TEST_SEED=n repeats a run, TEST_OPS=n sets its
 * length, TEST_PROVE=n proves the heap after every n.
 */
#include "lab.h"

#include <stdio.h>
#include <string.h>

#include "shadow.h"

TestSuite(fuzz, .init = lab_init, .timeout = LAB_TIMEOUT);

enum { BLOCKS = 6000, CLAIMS = 64 };

static struct {
    unsigned char *mem;
    size_t size;
    uint64_t tag;
} block[BLOCKS];

static struct {
    struct ljt_lj_chunk *chunk;
    uintptr_t lo, hi;
} claimed[CLAIMS];
static unsigned claims;
static size_t live;
static size_t claims_made, pages_purged;

/* Both ends of a block, and a word in every 512 bytes: what a purged page or a stray header would hit. */
static void fill(unsigned i)
{
    unsigned char *p = block[i].mem;
    size_t n = block[i].size;
    size_t edge = n < 40 ? n : 40;
    memset(p, (int)(block[i].tag & 0xff), edge);
    memset(p + n - edge, (int)(block[i].tag & 0xff), edge);
    for (size_t at = 512; at + 48 < n; at += 512)
        memcpy(p + at, &block[i].tag, sizeof(uint64_t));
}

static void check(unsigned i, size_t n)
{
    const unsigned char *p = block[i].mem;
    size_t size = block[i].size;
    size_t edge = size < 40 ? size : 40;
    for (size_t at = 0; at < edge && at < n; at++)
        cr_assert(p[at] == (block[i].tag & 0xff), "block %u of %zu bytes at %zu", i, size, at);
    for (size_t at = size - edge; at < size && at < n; at++)
        cr_assert(p[at] == (block[i].tag & 0xff), "block %u of %zu bytes at %zu", i, size, at);
    for (size_t at = 512; at + 48 < size && at + 8 <= n; at += 512)
        cr_assert(memcmp(p + at, &block[i].tag, 8) == 0, "block %u of %zu bytes at %zu", i, size, at);
}

/* 1 byte to 300 KiB, most of them small. */
static size_t random_size(void)
{
    uint64_t r = lab_below(1000);
    return r < 900 ? 1 + lab_below(600) : r < 990 ? 1 + lab_below(16 * KIB) : 1 + lab_below(300 * KIB);
}

static void use(struct ljt_lj_state *m, size_t cap)
{
    ljt_alloc_fn *allocf = lab_allocf();
    unsigned i = (unsigned)lab_below(BLOCKS);
    uint64_t what = lab_below(8);
    if (block[i].mem == NULL) {
        if (live > cap)
            return;
        block[i].size = random_size();
        block[i].mem = allocf(m, NULL, 0, block[i].size);
        cr_assert(block[i].mem != NULL);
        live += block[i].size;
    } else if (what < 2) {
        size_t n = random_size(), was = block[i].size;
        check(i, was);
        block[i].mem = allocf(m, block[i].mem, was, n);
        cr_assert(block[i].mem != NULL);
        size_t kept = n < was ? n : was;
        check(i, kept);
        live += n - was;
        block[i].size = n;
    } else {
        check(i, block[i].size);
        allocf(m, block[i].mem, block[i].size, 0);
        live -= block[i].size;
        block[i].mem = NULL;
        return;
    }
    block[i].tag = lab_random();
    fill(i);
}

/* A whole chunk, or a part: low end, high end, middle, remainders small and large. */
static void claim_one(struct ljt_lj_state *m)
{
    struct ljt_lj_chunk *c;
    uint64_t which = lab_below(8);
    if (which == 0) {
        c = m->dv;
    } else if (which == 1) {
        c = m->top;
    } else {
        size_t limit = lab_below(2) == 0 ? SIZE_MAX & ~(size_t)7 : (size_t)256 << lab_below(12);
        c = (struct ljt_lj_chunk *)ljt_heap_largest(m, limit);
        if (c != NULL && lab_below(3) == 0)
            ljt_heap_rotate(m, (struct ljt_lj_tree_chunk *)c);
    }
    if (c == NULL || claims == CLAIMS || ljt_lj_chunk_size(c) < 256)
        return;
    size_t size = ljt_lj_chunk_size(c), from = 0, to = 0;
    if (lab_below(3) == 0)
        from = 64 + 8 * lab_below((size - 64) / 8 / (lab_below(2) == 0 ? 1 : 8));
    if (lab_below(3) == 0 || c == m->top)
        to = 32 + 8 * lab_below((size - 32) / 8 / (lab_below(2) == 0 ? 1 : 8));
    if (c == m->top && to < LJT_VM_ROOM)
        to = LJT_VM_ROOM;
    if (from + to + 64 > size)
        return;
    claimed[claims].chunk = ljt_heap_claim(m, c, (uintptr_t)c + from, (uintptr_t)c + size - to);
    claimed[claims].lo = claimed[claims].hi = 0;
    ljt_lj_free_pages((uintptr_t)claimed[claims].chunk, size - from - to, ljt_page_size, &claimed[claims].lo,
                      &claimed[claims].hi);
    claims++;
    claims_made++;
}

/* As the reclaimer does: what is purged reads as anything. */
static void purge_one(void)
{
    unsigned i = (unsigned)lab_below(CLAIMS);
    if (i >= claims || claimed[i].hi - claimed[i].lo >= 1 * MIB)
        return;
    memset((void *)claimed[i].lo, 0xa5, claimed[i].hi - claimed[i].lo);
    pages_purged += (claimed[i].hi - claimed[i].lo) >> ljt_page_shift;
}

static void hand_back_one(struct ljt_lj_state *m)
{
    if (claims == 0)
        return;
    unsigned i = (unsigned)lab_below(claims);
    struct ljt_lj_segment seg = m->seg;
    ljt_heap_hand_back(m, lab_allocf(), claimed[i].chunk);
    cr_assert(memcmp(&seg, &m->seg, sizeof(seg)) == 0, "a hand-back leaves the segments alone");
    claimed[i] = claimed[--claims];
}

static void fuzz(const char *name, size_t ops, size_t cap, unsigned claiming)
{
    lab_seed(name);
    size_t prove_every = lab_count("TEST_PROVE", 4000 * LAB_SLOWNESS);
    struct ljt_lj_state *m = lab_heap(128 * KIB);
    m->trim_check = LJT_LJ_TRIM_THRESHOLD;
    for (size_t op = 0; op < ops; op++) {
        if (lab_below(100) < claiming) {
            switch (lab_below(3)) {
            case 0: claim_one(m); break;
            case 1: purge_one(); break;
            default: hand_back_one(m); break;
            }
        } else {
            /* A trough now and then: all at once goes, as after a full collection. */
            use(m, op / 200000 % 2 == 0 ? cap : cap / 16);
        }
        if (op % prove_every == 0)
            lab_prove(m);
    }
    while (claims > 0)
        hand_back_one(m);
    lab_prove(m);
    cr_expect(claims_made > ops / 50 && pages_purged > ops / 50, "%zu claims, %zu pages", claims_made,
              pages_purged);
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (block[i].mem == NULL)
            continue;
        check(i, block[i].size);
        lab_free(m, block[i].mem);
    }
    lab_prove(m);
    struct ljt_heap_census census;
    ljt_heap_prove(m, &census);
    size_t records = (census.segments - 1) * LJT_LJ_SEGMENT_CHUNK;
    cr_expect(census.live == LJT_LJ_STATE_CHUNK + records, "%zu bytes are lost", census.live);
}

Test(fuzz, blocks_survive_claims_and_hand_backs)
{
    fuzz("fuzz: blocks", lab_count("TEST_OPS", 1700000), 24 * MIB, 20);
}

Test(fuzz, blocks_survive_a_heap_that_is_claimed_to_the_last)
{
    fuzz("fuzz: to the last", lab_count("TEST_OPS", 500000), 6 * MIB, 60);
}
