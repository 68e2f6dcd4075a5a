/*
 * The memory layout of LuaJIT's built-in allocator (lj_alloc), 64-bit.
 *
 * This is the one place that knows it. The preloaded library, the inspector that reads other processes, and
 * the tests include it; it depends on nothing but the C library's headers and holds no state, so each of them
 * can be built alone.
 *
 * lj_alloc is LuaJIT's private descendant of dlmalloc 2.8. Its structures are not part of any public
 * interface, but they have not changed since the first public release: the definitions here hold for LuaJIT
 * 2.0.0-beta1 (December 2009) to the v2.1 branch of 2026 and its forks (OpenResty's luajit2, Tarantool,
 * moonjit, RaptorJIT, TeX Live). What did change is noted beside the constant that it touches. Nothing relies
 * on that history alone: an arena is used only after its heap has been proven to obey this layout.
 *
 * An arena is a list of segments. Each segment is tiled by chunks, without a gap:
 *
 *     segment base                                                              base + size
 *     | chunk | chunk | ... | chunk | top ............................. | 64 bytes kept |   the one with top
 *     | chunk | chunk | ... | chunk | segment record (32) | fencepost | ... | fencepost |   every other
 *
 *              an in-use chunk of size s                    a free chunk of size s
 *     c ->     | prev_foot  (the previous chunk's)  |       | prev_foot  (the previous chunk's)  |
 *     c + 8    | head = s | CINUSE | PINUSE         |       | head = s | PINUSE                  |
 *     c + 16   | payload: what the VM was given ... |       | fd                                 |
 *     c + 24   |                                    |       | bk                                 |
 *     c + 32   |                                    |       | child[0], child[1], parent, index  |  s >= 256
 *     c + 64   |                                    |       | bytes that nobody reads            |
 *     c + s -> | ... payload (prev_foot of the next)|       | prev_foot of the next = s          |
 *
 * Two free chunks are never neighbours, so a free chunk's PINUSE is always set. Free chunks below 256 bytes
 * are in a ring per size (smallbins), larger ones in a bitwise trie per size range (treebins) with a ring per
 * node for equal sizes; `dv` (the remainder of the last split) and `top` are in neither.
 */
#ifndef LJT_LJ_LAYOUT_H
#define LJT_LJ_LAYOUT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "the layout below is that of 64-bit targets");

/* ---- Constants: all of LuaJIT 2.0.0-beta1 (2009-12-08), unchanged in the v2.1 branch of 2026-02. ---- */

#define LJT_LJ_PINUSE ((size_t)1)    /* in head: the chunk before this one is in use */
#define LJT_LJ_CINUSE ((size_t)2)    /* in head: this chunk is in use */
#define LJT_LJ_FLAGS ((size_t)3)     /* the two; sizes are multiples of 8, bit 2 is never set */
#define LJT_LJ_IS_DIRECT ((size_t)1) /* in prev_foot, with PINUSE clear: a chunk with a mapping of its own */

#define LJT_LJ_ALIGN ((size_t)8)                  /* chunks, payloads and sizes; 8, not 16, on every target */
#define LJT_LJ_MEM_OFFSET ((size_t)16)            /* payload = chunk + 16 */
#define LJT_LJ_CHUNK_OVERHEAD ((size_t)8)         /* size = round_up_8(request + 8), at least MIN_CHUNK */
#define LJT_LJ_MIN_CHUNK ((size_t)32)             /* prev_foot, head, fd, bk */
#define LJT_LJ_TREE_CHUNK ((size_t)64)            /* the bytes of a free chunk that may carry metadata */
#define LJT_LJ_MIN_LARGE ((size_t)256)            /* sizes from here on are in treebins */
#define LJT_LJ_GRANULARITY ((size_t)128 << 10)    /* segments grow by multiples of this */
#define LJT_LJ_MMAP_THRESHOLD ((size_t)128 << 10) /* from here on mapped directly, if nothing fits */
#define LJT_LJ_TRIM_THRESHOLD ((size_t)2 << 20)   /* trim_check's start: a larger top is trimmed */
#define LJT_LJ_MAX_RELEASE_CHECK_RATE 255         /* what release_checks starts with */
#define LJT_LJ_TOP_FOOT ((size_t)64)              /* kept after top, for a segment record and fenceposts */
#define LJT_LJ_SEGMENT_CHUNK ((size_t)32)         /* the chunk that holds a segment record */
#define LJT_LJ_FENCEPOST ((size_t)(8 | 3))        /* head of a fencepost: size 8, both bits set */
#define LJT_LJ_DIRECT_FOOT_PAD ((size_t)32)       /* a direct mapping ends this far behind its chunk's end */

#define LJT_LJ_SMALLBINS 32
#define LJT_LJ_TREEBINS 32
#define LJT_LJ_SMALLBIN_SHIFT 3
#define LJT_LJ_TREEBIN_SHIFT 8

/*
 * The state is the payload of its arena's first chunk, so that at birth state = mapping base + 16. Its
 * chunk's size says which of the two layouts it has:
 */
#define LJT_LJ_STATE_CHUNK 0x370     /* 872 + 8: with `prng`, since commit a44f53ac (2020-06-15) */
#define LJT_LJ_STATE_CHUNK_OLD 0x368 /* 864 + 8: without it, 2.0.0-beta1 to 2020-06 */

/* ---- Structures ---- */

struct ljt_lj_chunk {
    size_t prev_foot; /* size of the previous chunk if that is free, else its payload's last 8 bytes */
    size_t head;      /* size | CINUSE | PINUSE */
    struct ljt_lj_chunk *fd, *bk; /* free chunks only */
};

struct ljt_lj_tree_chunk {
    size_t prev_foot;
    size_t head;
    struct ljt_lj_tree_chunk *fd, *bk;  /* ring of equal sizes; alone: itself */
    struct ljt_lj_tree_chunk *child[2]; /* only in the ring's tree node */
    struct ljt_lj_tree_chunk *parent;   /* NULL: in a ring, not in the tree; of a root: its treebin */
    size_t index;                       /* of its treebin; lj_alloc reads all 8 bytes */
};

struct ljt_lj_segment {
    uintptr_t base;
    size_t size;
    struct ljt_lj_segment *next; /* inside an older segment: payload of a chunk of SEGMENT_CHUNK bytes */
};

struct ljt_lj_state {
    uint32_t smallmap; /* bit i: smallbin i holds chunks. The heads of bins whose bit is clear may be stale */
    uint32_t treemap;
    size_t dvsize;
    size_t topsize; /* top + topsize is 64 bytes before its segment's end, always */
    struct ljt_lj_chunk *dv;
    struct ljt_lj_chunk *top;
    size_t trim_check;     /* (size_t)-1 after a trim that released nothing */
    size_t release_checks; /* counts down with every large free; 0: look for empty segments */
    /* Bin i's ring is fd, bk of the chunk overlaid at [2 * i], that is [2 * i + 2] and [2 * i + 3]. */
    struct ljt_lj_chunk *smallbins[(LJT_LJ_SMALLBINS + 1) * 2];
    struct ljt_lj_tree_chunk *treebins[LJT_LJ_TREEBINS];
    struct ljt_lj_segment seg; /* the newest segment; the list ends with the oldest */
    void *prng;                /* only if the state's chunk is LJT_LJ_STATE_CHUNK: never read it otherwise */
};

#define LJT_LJ_ASSERT_OFFSET(type, field, offset) \
    static_assert(offsetof(struct type, field) == (offset), "lj_alloc layout: " #type "." #field)

/* 2.0.0-beta1 (2009) to v2.1 of 2026. */
static_assert(sizeof(struct ljt_lj_chunk) == LJT_LJ_MIN_CHUNK, "lj_alloc layout: chunk");
LJT_LJ_ASSERT_OFFSET(ljt_lj_chunk, prev_foot, 0);
LJT_LJ_ASSERT_OFFSET(ljt_lj_chunk, head, 8);
LJT_LJ_ASSERT_OFFSET(ljt_lj_chunk, fd, 16);
LJT_LJ_ASSERT_OFFSET(ljt_lj_chunk, bk, 24);
static_assert(sizeof(struct ljt_lj_tree_chunk) == LJT_LJ_TREE_CHUNK, "lj_alloc layout: tree chunk");
LJT_LJ_ASSERT_OFFSET(ljt_lj_tree_chunk, head, 8);
LJT_LJ_ASSERT_OFFSET(ljt_lj_tree_chunk, fd, 16);
LJT_LJ_ASSERT_OFFSET(ljt_lj_tree_chunk, bk, 24);
LJT_LJ_ASSERT_OFFSET(ljt_lj_tree_chunk, child, 32);
LJT_LJ_ASSERT_OFFSET(ljt_lj_tree_chunk, parent, 48);
LJT_LJ_ASSERT_OFFSET(ljt_lj_tree_chunk, index, 56);
static_assert(sizeof(((struct ljt_lj_tree_chunk *)0)->index) == 8, "lj_alloc layout: bindex_t is a size_t");
static_assert(sizeof(struct ljt_lj_segment) == 24, "lj_alloc layout: segment");
LJT_LJ_ASSERT_OFFSET(ljt_lj_segment, base, 0);
LJT_LJ_ASSERT_OFFSET(ljt_lj_segment, size, 8);
LJT_LJ_ASSERT_OFFSET(ljt_lj_segment, next, 16);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, smallmap, 0);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, treemap, 4);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, dvsize, 8);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, topsize, 16);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, dv, 24);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, top, 32);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, trim_check, 40);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, release_checks, 48);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, smallbins, 56);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, treebins, 584);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, seg, 840);
LJT_LJ_ASSERT_OFFSET(ljt_lj_state, prng, 864); /* and sizeof before a44f53ac (2020-06-15) */
static_assert(sizeof(struct ljt_lj_state) == 872, "lj_alloc layout: state since a44f53ac (2020-06-15)");

static_assert(LJT_LJ_STATE_CHUNK == ((sizeof(struct ljt_lj_state) + LJT_LJ_CHUNK_OVERHEAD + 7) & ~(size_t)7),
              "the state's chunk since 2020-06");
static_assert(LJT_LJ_STATE_CHUNK_OLD ==
                  ((offsetof(struct ljt_lj_state, prng) + LJT_LJ_CHUNK_OVERHEAD + 7) & ~(size_t)7),
              "the state's chunk before 2020-06");
static_assert(LJT_LJ_SEGMENT_CHUNK == sizeof(struct ljt_lj_segment) + LJT_LJ_CHUNK_OVERHEAD, "segment");
static_assert(LJT_LJ_TOP_FOOT == LJT_LJ_SEGMENT_CHUNK + LJT_LJ_MIN_CHUNK, "what is kept behind top");
static_assert(LJT_LJ_MIN_LARGE == (size_t)1 << LJT_LJ_TREEBIN_SHIFT, "large chunks are those of treebins");
static_assert(LJT_LJ_MIN_LARGE == (size_t)LJT_LJ_SMALLBINS << LJT_LJ_SMALLBIN_SHIFT, "small and large meet");
static_assert(LJT_LJ_FENCEPOST == (LJT_LJ_ALIGN | LJT_LJ_CINUSE | LJT_LJ_PINUSE), "fencepost");

/* ---- Heads: these work on the word alone, for readers of another process's memory. ---- */

static inline size_t ljt_lj_head_size(size_t head)
{
    return head & ~LJT_LJ_FLAGS;
}

static inline bool ljt_lj_head_cinuse(size_t head)
{
    return (head & LJT_LJ_CINUSE) != 0;
}

static inline bool ljt_lj_head_pinuse(size_t head)
{
    return (head & LJT_LJ_PINUSE) != 0;
}

/*
 * Is this the head of the chunk that holds an arena's state? The chunk is in use; PINUSE is set at birth and
 * cleared when a segment is prepended below it, so it decides nothing.
 */
static inline bool ljt_lj_head_is_state(size_t head)
{
    head &= ~LJT_LJ_PINUSE;
    return head == (LJT_LJ_STATE_CHUNK | LJT_LJ_CINUSE) || head == (LJT_LJ_STATE_CHUNK_OLD | LJT_LJ_CINUSE);
}

/* The bytes of a state whose chunk has this head: 872 or 864. */
static inline size_t ljt_lj_state_size(size_t head)
{
    return ljt_lj_head_size(head) - LJT_LJ_CHUNK_OVERHEAD;
}

/* ---- Chunks in this process ---- */

static inline size_t ljt_lj_chunk_size(const struct ljt_lj_chunk *c)
{
    return ljt_lj_head_size(c->head);
}

static inline bool ljt_lj_chunk_cinuse(const struct ljt_lj_chunk *c)
{
    return ljt_lj_head_cinuse(c->head);
}

static inline bool ljt_lj_chunk_pinuse(const struct ljt_lj_chunk *c)
{
    return ljt_lj_head_pinuse(c->head);
}

static inline bool ljt_lj_chunk_is_direct(const struct ljt_lj_chunk *c)
{
    return !ljt_lj_chunk_pinuse(c) && (c->prev_foot & LJT_LJ_IS_DIRECT) != 0;
}

static inline struct ljt_lj_chunk *ljt_lj_chunk_at(const void *c, size_t offset)
{
    return (struct ljt_lj_chunk *)((uintptr_t)c + offset);
}

static inline struct ljt_lj_chunk *ljt_lj_chunk_next(const struct ljt_lj_chunk *c)
{
    return ljt_lj_chunk_at(c, ljt_lj_chunk_size(c));
}

/* Valid only if c's PINUSE is clear and c is not a direct chunk. */
static inline struct ljt_lj_chunk *ljt_lj_chunk_prev(const struct ljt_lj_chunk *c)
{
    return (struct ljt_lj_chunk *)((uintptr_t)c - c->prev_foot);
}

static inline void *ljt_lj_chunk_to_mem(const struct ljt_lj_chunk *c)
{
    return (void *)((uintptr_t)c + LJT_LJ_MEM_OFFSET);
}

static inline struct ljt_lj_chunk *ljt_lj_mem_to_chunk(const void *mem)
{
    return (struct ljt_lj_chunk *)((uintptr_t)mem - LJT_LJ_MEM_OFFSET);
}

/* ---- Bins ---- */

/* The size of the chunk that serves a request of n payload bytes, for n far from overflow. */
static inline size_t ljt_lj_request_size(size_t n)
{
    size_t s = (n + LJT_LJ_CHUNK_OVERHEAD + LJT_LJ_ALIGN - 1) & ~(LJT_LJ_ALIGN - 1);
    return s < LJT_LJ_MIN_CHUNK ? LJT_LJ_MIN_CHUNK : s;
}

/* The smallbin of chunks of this size (32 to 248): 4 to 31. */
static inline unsigned ljt_lj_small_index(size_t size)
{
    return (unsigned)(size >> LJT_LJ_SMALLBIN_SHIFT);
}

/* Smallbin i, seen as the chunk whose fd and bk are the bin's ring. Only its fd and bk may be touched. */
static inline struct ljt_lj_chunk *ljt_lj_smallbin(struct ljt_lj_state *m, unsigned i)
{
    return (struct ljt_lj_chunk *)&m->smallbins[2 * i];
}

/*
 * The treebin of chunks of this size (256 and more): two bins for each power of two, told apart by the bit
 * below the leading one; bin 31 takes everything from 12 MiB up.
 */
static inline unsigned ljt_lj_tree_index(size_t size)
{
    size_t x = size >> LJT_LJ_TREEBIN_SHIFT;
    if (x == 0)
        return 0;
    if (x > 0xffff)
        return LJT_LJ_TREEBINS - 1;
    unsigned k = 63u - (unsigned)__builtin_clzl(x);
    return (k << 1) + (unsigned)((size >> (k + LJT_LJ_TREEBIN_SHIFT - 1)) & 1);
}

/*
 * size << this brings the bit that chooses the child of treebin i's root to the top; each level down shifts
 * one further.
 */
static inline unsigned ljt_lj_tree_leftshift(unsigned i)
{
    return i == LJT_LJ_TREEBINS - 1 ? 0 : 63u - ((i >> 1) + LJT_LJ_TREEBIN_SHIFT - 2);
}

/* The smallest size that treebin i holds. */
static inline size_t ljt_lj_tree_min_size(unsigned i)
{
    unsigned k = (i >> 1) + LJT_LJ_TREEBIN_SHIFT;
    return (size_t)1 << k | (size_t)(i & 1) << (k - 1);
}

/* ---- Pages ---- */

/*
 * The whole pages that lie in [chunk + 64, chunk + size): those of a free chunk (of dv, of top) that hold no
 * byte that anyone will read before writing it. The first 64 bytes may be tree links; the word at chunk +
 * size belongs to the next chunk. `page` is a power of two. False, and an empty range, if there is no such
 * page.
 */
static inline bool ljt_lj_free_pages(uintptr_t chunk, size_t size, size_t page, uintptr_t *first,
                                     uintptr_t *end)
{
    *first = *end = (chunk + LJT_LJ_TREE_CHUNK + page - 1) & ~(uintptr_t)(page - 1);
    uintptr_t last = (chunk + size) & ~(uintptr_t)(page - 1);
    if (last <= *first)
        return false;
    *end = last;
    return true;
}

#endif
