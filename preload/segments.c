#include "segments.h"

#include <errno.h>
#include <sys/mman.h>

#include "kernel.h"
#include "links.h"
#include "patched.h"

/* A GC64 VM keeps 47 bits of a pointer. */
#define ADDRESSES ((uintptr_t)1 << 47)

/* A new segment is this part of what there is, so that an arena of any size has few; between these bounds. */
#define SEGMENT_SHARE 16
#define SEGMENT_MIN LJT_LJ_GRANULARITY
#define SEGMENT_MAX ((size_t)16 << 20)

/* May the kernel move a mapping? Not where the new place may be out of reach: this one takes no hint. */
#if defined(__x86_64__)
#define MOVES MREMAP_MAYMOVE
#else
#define MOVES 0
#endif

/* ---- Addresses ---- */

static bool is_within_reach(const void *addr, size_t size)
{
    return (uintptr_t)addr != 0 && (uintptr_t)addr < ADDRESSES && size <= ADDRESSES - (uintptr_t)addr;
}

/*
 * The kernel decides, and on most machines can't decide but well. On those with more than 47 bits it is asked for
 * places further and further down, until one of them is free.
 */
static void *map_within_reach(size_t size)
{
    int saved = errno;
    uintptr_t hint = 0;
    void *found = NULL;
    for (unsigned tries = 0; tries < 48 && found == NULL; tries++) {
        void *p =
            ljt_kernel.mmap((void *)hint, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            break;
        if (is_within_reach(p, size)) {
            found = p;
        } else {
            ljt_kernel.munmap(p, size);
            hint = (ADDRESSES / 64) * (63 - tries); /* a hint that is taken is passed over by the kernel */
        }
    }
    errno = saved;
    return found;
}

/* ---- Blocks with a mapping of their own ---- */

static void tell(const struct ljt_lj_state *m, ptrdiff_t bytes)
{
    struct ljt_patched *p = ljt_patched_of(m);
    if (p->mapped != NULL)
        p->mapped(p, bytes);
}

static size_t direct_size(size_t n)
{
    return ljt_page_up(n + LJT_LJ_MEM_OFFSET + LJT_LJ_DIRECT_FOOT_PAD);
}

/* The head of a direct chunk, and what stands behind its end so that nothing merges with it. */
static void *set_direct(struct ljt_lj_chunk *c, size_t offset, size_t mapping)
{
    size_t size = mapping - offset - LJT_LJ_DIRECT_FOOT_PAD;
    c->prev_foot = offset | LJT_LJ_IS_DIRECT;
    c->head = size | LJT_LJ_CINUSE;
    ljt_lj_chunk_at(c, size)->head = LJT_LJ_FENCEPOST;
    ljt_lj_chunk_at(c, size + 8)->head = 0;
    return ljt_lj_chunk_to_mem(c);
}

void *ljt_segments_map_direct(struct ljt_lj_state *m, size_t n)
{
    size_t mapping = direct_size(n);
    struct ljt_lj_chunk *c = map_within_reach(mapping);
    if (c == NULL)
        return NULL;
    tell(m, (ptrdiff_t)mapping);
    return set_direct(c, 0, mapping);
}

static size_t direct_mapping(const struct ljt_lj_chunk *c, size_t *offset)
{
    *offset = c->prev_foot & ~LJT_LJ_IS_DIRECT;
    return ljt_lj_chunk_size(c) + *offset + LJT_LJ_DIRECT_FOOT_PAD;
}

void ljt_segments_unmap_direct(struct ljt_lj_state *m, struct ljt_lj_chunk *c)
{
    int saved = errno;
    size_t offset;
    size_t mapping = direct_mapping(c, &offset);
    if (ljt_kernel.munmap((void *)((uintptr_t)c - offset), mapping) == 0)
        tell(m, -(ptrdiff_t)mapping);
    errno = saved;
}

void *ljt_segments_resize_direct(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t n)
{
    size_t size = ljt_lj_chunk_size(c), offset;
    if (n < LJT_LJ_MIN_LARGE)
        return NULL;
    if (size >= n + 8 && size - n <= LJT_LJ_GRANULARITY / 2)
        return ljt_lj_chunk_to_mem(c);
    int saved = errno;
    size_t before = direct_mapping(c, &offset);
    size_t after = direct_size(n + offset);
    void *base = ljt_kernel.mremap((void *)((uintptr_t)c - offset), before, after, MOVES);
    errno = saved;
    if (base == MAP_FAILED)
        return NULL;
    tell(m, (ptrdiff_t)after - (ptrdiff_t)before);
    return set_direct((struct ljt_lj_chunk *)((uintptr_t)base + offset), offset, after);
}

/* ---- Segments ---- */

/*
 * Adds a segment, whose one chunk is the new top. The old one's end has room for its record and a row of fenceposts
 * (LJT_LJ_TOP_FOOT); what was left of the old top is free like any other chunk.
 */
static void add_segment(struct ljt_lj_state *m, void *base, size_t size)
{
    struct ljt_lj_chunk *rest = m->top;
    size_t rest_size = m->topsize;
    struct ljt_lj_chunk *record = ljt_lj_chunk_at(rest, rest_size < LJT_LJ_MIN_CHUNK ? 0 : rest_size);
    uintptr_t end = (uintptr_t)rest + rest_size + LJT_LJ_TOP_FOOT;

    struct ljt_lj_segment *old = ljt_lj_chunk_to_mem(record);
    record->head = LJT_LJ_SEGMENT_CHUNK | LJT_LJ_CINUSE | LJT_LJ_PINUSE;
    for (uintptr_t at = (uintptr_t)record + LJT_LJ_SEGMENT_CHUNK; at + LJT_LJ_MEM_OFFSET <= end; at += 8)
        ((struct ljt_lj_chunk *)at)->head = LJT_LJ_FENCEPOST;
    *old = m->seg;
    m->seg.base = (uintptr_t)base;
    m->seg.size = size;
    m->seg.next = old;

    m->top = base;
    m->topsize = size - LJT_LJ_TOP_FOOT;
    m->top->head = m->topsize | LJT_LJ_PINUSE;
    ljt_lj_chunk_next(m->top)->head = LJT_LJ_TOP_FOOT;

    if (record != rest) {
        record->head &= ~LJT_LJ_PINUSE;
        ljt_links_set_free(rest, rest_size);
        ljt_links_insert(m, rest, rest_size);
    }
}

size_t ljt_segments_footprint(const struct ljt_lj_state *m)
{
    size_t sum = 0;
    for (const struct ljt_lj_segment *s = &m->seg; s != NULL; s = s->next)
        sum += s->size;
    return sum;
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

bool ljt_segments_grow(struct ljt_lj_state *m, size_t n)
{
    size_t least = round_up(n + LJT_LJ_TOP_FOOT + LJT_LJ_ALIGN, SEGMENT_MIN);
    size_t before = ljt_segments_footprint(m);
    size_t size = round_up(before / SEGMENT_SHARE, SEGMENT_MIN);
    size = size > SEGMENT_MAX ? SEGMENT_MAX : size;
    size = size < least ? least : size;
    void *base = map_within_reach(size);
    if (base == NULL && size > least)
        base = map_within_reach(size = least);
    if (base == NULL)
        return false;
    tell(m, (ptrdiff_t)size);
    add_segment(m, base, size);
    atomic_store_explicit(&ljt_patched_of(m)->footprint, before + size, memory_order_relaxed);
    return true;
}

/* The records lie in the segments that they describe, but for the first, in the state: that one has top. */
bool ljt_segments_next_is(const struct ljt_lj_segment *before, uintptr_t at, size_t size)
{
    return before->next->base == at && at + size == (uintptr_t)ljt_lj_mem_to_chunk(before->next);
}

struct ljt_lj_segment *ljt_segments_before(struct ljt_lj_state *m, uintptr_t at, size_t size)
{
    if (ljt_page_down(at) != at)
        return NULL; /* most: no list is walked for them */
    for (struct ljt_lj_segment *s = &m->seg; s->next != NULL; s = s->next)
        if (s->next->base == at)
            return ljt_segments_next_is(s, at, size) ? s : NULL;
    return NULL;
}

struct ljt_lj_segment ljt_segments_leave(struct ljt_lj_state *m, struct ljt_lj_segment *before)
{
    _Atomic size_t *footprint = &ljt_patched_of(m)->footprint;
    struct ljt_lj_segment gone = *before->next; /* the record lies in what goes */
    before->next = gone.next;
    size_t bytes = atomic_load_explicit(footprint, memory_order_relaxed);
    atomic_store_explicit(footprint, bytes > gone.size ? bytes - gone.size : 0, memory_order_relaxed);
    return gone;
}

struct ljt_lj_state *ljt_segments_first(void)
{
    struct ljt_lj_chunk *first = map_within_reach(SEGMENT_MIN);
    if (first == NULL)
        return NULL;
    struct ljt_lj_state *m = ljt_lj_chunk_to_mem(first);
    first->head = LJT_LJ_STATE_CHUNK | LJT_LJ_CINUSE | LJT_LJ_PINUSE;
    m->seg.base = (uintptr_t)first;
    m->seg.size = SEGMENT_MIN;
    for (unsigned i = 0; i < LJT_LJ_SMALLBINS; i++) {
        struct ljt_lj_chunk *bin = ljt_lj_smallbin(m, i);
        bin->fd = bin->bk = bin;
    }
    m->top = ljt_lj_chunk_next(first);
    m->topsize = SEGMENT_MIN - LJT_LJ_STATE_CHUNK - LJT_LJ_TOP_FOOT;
    m->top->head = m->topsize | LJT_LJ_PINUSE;
    ljt_lj_chunk_next(m->top)->head = LJT_LJ_TOP_FOOT;
    m->trim_check = LJT_LJ_TRIM_THRESHOLD; /* we look at neither, but lj_alloc would */
    m->release_checks = LJT_LJ_MAX_RELEASE_CHECK_RATE;
    return m;
}

void ljt_segments_unmap_all(struct ljt_lj_state *m)
{
    int saved = errno;
    struct ljt_patched *p = ljt_patched_of(m);
    for (struct ljt_lj_segment *s = &m->seg; s != NULL;) {
        void *base = (void *)s->base; /* the record lies in what goes */
        size_t size = s->size;
        s = s->next;
        if (ljt_kernel.munmap(base, size) == 0 && p->mapped != NULL)
            p->mapped(p, -(ptrdiff_t)size);
    }
    errno = saved;
}
