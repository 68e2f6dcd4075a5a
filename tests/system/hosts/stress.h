/*
 * A heap under stress: a Lua state whose allocator is called directly, as the VM calls it.
 *
 * The function is asked for anew at each call, as the VM reads g->allocf: a gate may have come in meanwhile. What each
 * block must contain follows from a seed kept outside of Lua's heap. Sizes, lifetimes and the order of phases come
 * from the heap's own random source: a seed repeats what happens in it, whichever thread does it.
 */
#ifndef LJT_TEST_STRESS_H
#define LJT_TEST_STRESS_H

#include <lauxlib.h>
#include <lua.h>

#include "host.h"

#define HEAP_BLOCKS 8192u /* a power of two */
#define HEAP_ELDERS 256u  /* the first ones are hardly ever freed: they hold their segments */
#define LARGEST_BLOCK (400u << 10)
#define MARK_EVERY 512u

enum phase { PHASE_GROW, PHASE_CHURN, PHASE_SHRINK, PHASE_TROUGH, PHASES };

struct block {
    unsigned char *at;
    uint32_t size;
    uint32_t seed;
};

struct heap {
    lua_State *L;
    struct heap *next; /* in the pool */
    uint64_t random;
    enum phase phase;
    unsigned left; /* operations in this phase */
    uint64_t verified;
    struct block *in_hand; /* the one that the last operation was about */
    struct block block[HEAP_BLOCKS];
};

/* Set while a block and its record may disagree: nothing may jump out, nobody may be cancelled. */
static __thread volatile int stress_inside;

/* And while the allocator has been called: who jumps out then abandons the heap. */
static __thread volatile int stress_calling;

static inline uint64_t heap_random(struct heap *h) /* xorshift: faster than random_next */
{
    h->random ^= h->random >> 12;
    h->random ^= h->random << 25;
    h->random ^= h->random >> 27;
    return h->random * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

/* As Lua programs have it: small objects, some of a page or a few, hardly one that lj_alloc maps directly. */
static inline uint32_t heap_size(struct heap *h)
{
    uint64_t r = heap_random(h);
    uint32_t dice = (uint32_t)(r & 8191), n = (uint32_t)(r >> 13);
    if (dice < 6550)
        return 16 + n % 256;
    if (dice < 8090)
        return 256 + n % 3840;
    if (dice < 8175)
        return 4096 + n % (32u << 10);
    if (dice < 8191)
        return (36u << 10) + n % (90u << 10);
    return (128u << 10) + n % (LARGEST_BLOCK - (128u << 10));
}

static inline uint64_t block_mark(const struct block *b, uint32_t at)
{
    return ((uint64_t)b->seed << 32 | at) * UINT64_C(0x9e3779b97f4a7c15) ^ b->size;
}

/* Where the mark after the one at `at` is: the last 8 bytes have one; size where there is none. */
static inline uint32_t next_mark(const struct block *b, uint32_t at)
{
    if (at == b->size - 8)
        return b->size;
    return at + MARK_EVERY <= b->size - 16 ? at + MARK_EVERY : b->size - 8;
}

static inline void block_paint(const struct block *b)
{
    for (uint32_t at = 0; at < b->size; at = next_mark(b, at)) {
        uint64_t mark = block_mark(b, at);
        memcpy(b->at + at, &mark, 8);
    }
}

/* The marks in the first `size` bytes of a block that was painted as b says. */
static inline void block_check(const struct block *b, uint32_t size, const char *when)
{
    for (uint32_t at = 0; at + 8 <= size; at = next_mark(b, at)) {
        uint64_t mark = block_mark(b, at), found;
        memcpy(&found, b->at + at, 8);
        if (found != mark)
            die("%s: a block of %u bytes at %p is damaged at byte %u: %016llx, %016llx expected", when,
                b->size, (void *)b->at, at, (unsigned long long)found, (unsigned long long)mark);
    }
}

static inline void *heap_call(struct heap *h, void *at, size_t osize, size_t nsize)
{
    void *ud;
    lua_Alloc allocf = lua_getallocf(h->L, &ud);
    stress_calling = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    at = allocf(ud, at, osize, nsize);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    stress_calling = 0;
    return at;
}

static inline void block_resize(struct heap *h, struct block *b)
{
    struct block fresh = {.size = heap_size(h), .seed = (uint32_t)heap_random(h)};
    fresh.at = heap_call(h, b->at, b->at ? b->size : 0, fresh.size);
    if (fresh.at == NULL)
        die("out of memory for %u bytes", fresh.size);
    if (b->at != NULL) { /* the old marks have come along */
        b->at = fresh.at;
        block_check(b, fresh.size < b->size ? fresh.size : b->size, "resized");
    }
    *b = fresh;
    block_paint(b);
}

static inline void block_free(struct heap *h, struct block *b)
{
    block_check(b, b->size, "before it is freed");
    if (heap_call(h, b->at, b->size, 0) != NULL)
        die("freeing %u bytes gave a pointer", b->size);
    b->at = NULL;
}

static inline void heap_next_phase(struct heap *h)
{
    static const unsigned least[PHASES] = {HEAP_BLOCKS, HEAP_BLOCKS / 2, HEAP_BLOCKS, HEAP_BLOCKS / 8};
    static const unsigned spread[PHASES] = {HEAP_BLOCKS * 2, HEAP_BLOCKS * 6, 1, HEAP_BLOCKS * 2};
    h->phase = (enum phase)((h->phase + 1) % PHASES);
    if (h->phase == PHASE_SHRINK && heap_random(h) % 4 == 0)
        h->phase = PHASE_GROW;
    h->left = least[h->phase] + (unsigned)(heap_random(h) % spread[h->phase]);
}

/* One operation, or none where it would free what is not there. Returns how many it was. */
static inline unsigned heap_step(struct heap *h)
{
    unsigned done = 1;
    stress_inside = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (h->left == 0)
        heap_next_phase(h);
    h->left--;
    uint64_t r = heap_random(h);
    unsigned i = (unsigned)r % HEAP_BLOCKS;
    switch (h->phase) {
    case PHASE_SHRINK: i = h->left * 2654435761u % HEAP_BLOCKS; break; /* all, once each, in no order */
    case PHASE_TROUGH: i %= HEAP_BLOCKS / 16; break;
    default: break;
    }
    struct block *b = h->in_hand = &h->block[i];
    if (i < HEAP_ELDERS && b->at != NULL && r >> 40 & 127)
        done = 0;
    else if (h->phase == PHASE_SHRINK && b->at == NULL)
        done = 0;
    else if (b->at == NULL || (h->phase != PHASE_SHRINK && r >> 38 & 1))
        block_resize(h, b);
    else
        block_free(h, b);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    stress_inside = 0;
    return done;
}

static inline void heap_verify(struct heap *h, const char *when)
{
    for (unsigned i = 0; i < HEAP_BLOCKS; i++)
        if (h->block[i].at != NULL) {
            block_check(&h->block[i], h->block[i].size, when);
            h->verified++;
        }
}

/*
 * Our blocks are unknown to the VM's collector. Where the heap is to be served by the library's own allocator it must be
 * told first, from what the collector counts, how wide it counts: the VM grows by itself, until it has been adopted.
 */
static inline void heap_grow_by_itself(struct heap *h)
{
    lua_createtable(h->L, 256, 0);
    for (int i = 1; i <= 256; i++) {
        lua_newuserdata(h->L, 4000);
        lua_rawseti(h->L, -2, i);
    }
    lua_settop(h->L, 0);
    lua_gc(h->L, LUA_GCCOLLECT, 0);
}

static inline void heap_open(struct heap *h)
{
    const char *mode = getenv("LJTRIM_MODE");
    h->L = luaL_newstate();
    if (h->L == NULL)
        die("no Lua state");
    if (heap_random(h) % 2 == 0 || (mode != NULL && strcmp(mode, "patched") == 0))
        heap_grow_by_itself(h);
    h->phase = PHASE_TROUGH;
    h->left = 0;
}

/*
 * After a jump out of an allocator call, which may have left the heap torn, as it would have without the library. Nobody
 * calls its allocator again; its blocks have to stay as they are, but for the one that the call was about.
 */
static inline void heap_abandon(struct heap *h)
{
    h->in_hand->at = NULL;
    stress_inside = stress_calling = 0;
}

/* What lj_alloc has mapped directly is its owner's to free; the rest goes with the arena, as often as not. */
static inline void heap_close(struct heap *h)
{
    int tidy = heap_random(h) % 2 == 0;
    heap_verify(h, "before the close");
    for (unsigned i = 0; i < HEAP_BLOCKS; i++) {
        if (h->block[i].at != NULL && (tidy || h->block[i].size >= (120u << 10)))
            block_free(h, &h->block[i]);
        h->block[i].at = NULL;
    }
    lua_close(h->L);
    h->L = NULL;
}

#endif
