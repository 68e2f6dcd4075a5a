#include "patched.h"

#include <string.h>

#include "kernel.h"
#include "links.h"
#include "segments.h"

/* Requests from here on fail, whatever there is: far from where sums would wrap around. */
#define REQUEST_MAX ((size_t)1 << 47)

/* What a parked run gives at a time beyond the request, and how many runs are asked. */
#define PARKED_STEP ((size_t)64 << 10)
#define PARKED_TRIES 16

/* ---- Chunks ---- */

/* A free chunk, off every list, comes into use whole. */
static inline void *use_whole(struct ljt_lj_chunk *c, size_t size)
{
    c->head = size | LJT_LJ_PINUSE | LJT_LJ_CINUSE;
    ljt_lj_chunk_at(c, size)->head |= LJT_LJ_PINUSE;
    return ljt_lj_chunk_to_mem(c);
}

/* Its first n bytes come into use; what remains is free and on no list yet. */
static inline struct ljt_lj_chunk *use_first(struct ljt_lj_chunk *c, size_t size, size_t n)
{
    struct ljt_lj_chunk *rest = ljt_lj_chunk_at(c, n);
    c->head = n | LJT_LJ_PINUSE | LJT_LJ_CINUSE;
    ljt_links_set_free(rest, size - n);
    return rest;
}

static inline void insert(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t size)
{
    ljt_links_insert(m, c, size);
}

/* The remainder of the last split is used next: what is allocated together lies together. */
static void replace_dv(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t size)
{
    if (m->dvsize != 0)
        insert(m, m->dv, m->dvsize);
    m->dv = c;
    m->dvsize = size;
}

/* A free chunk, off every list, of which n bytes are wanted; the rest becomes dv. */
static void *carve(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t size, size_t n)
{
    if (size - n < LJT_LJ_MIN_CHUNK)
        return use_whole(c, size);
    replace_dv(m, use_first(c, size, n), size - n);
    return ljt_lj_chunk_to_mem(c);
}

static inline void *carve_dv(struct ljt_lj_state *m, size_t n)
{
    struct ljt_lj_chunk *c = m->dv;
    size_t size = m->dvsize;
    if (size - n < LJT_LJ_MIN_CHUNK) {
        m->dv = NULL;
        m->dvsize = 0;
        return use_whole(c, size);
    }
    m->dv = use_first(c, size, n);
    m->dvsize = size - n;
    return ljt_lj_chunk_to_mem(c);
}

/* n < topsize: the head of what remains always has its place. */
static inline void *carve_top(struct ljt_lj_state *m, size_t n)
{
    struct ljt_lj_chunk *c = m->top;
    m->top = ljt_lj_chunk_at(c, n);
    m->topsize -= n;
    m->top->head = m->topsize | LJT_LJ_PINUSE;
    c->head = n | LJT_LJ_PINUSE | LJT_LJ_CINUSE;
    return ljt_lj_chunk_to_mem(c);
}

/* ---- Growth ---- */

static void *take_parked(struct ljt_lj_state *m, size_t n);
static void *take_all_parked(struct ljt_lj_state *m, size_t n);

/* Nothing that is free fits. A large request gets a mapping of its own; any other what is parked, or a new top. */
static __attribute__((noinline)) void *grow(struct ljt_lj_state *m, size_t n)
{
    void *mem;
    if (n >= LJT_LJ_MMAP_THRESHOLD && (mem = ljt_segments_map_direct(m, n)) != NULL)
        return mem;
    if ((mem = take_parked(m, n)) != NULL)
        return mem;
    return ljt_segments_grow(m, n) ? carve_top(m, n) : take_all_parked(m, n);
}

/* ---- Allocation ---- */

/* The best fit of all trees for n bytes: NULL if there is none. */
static struct ljt_lj_tree_chunk *best_fit(const struct ljt_lj_state *m, size_t n)
{
    unsigned i = ljt_lj_tree_index(n);
    struct ljt_lj_tree_chunk *best = NULL, *t = m->treebins[i];
    size_t waste = -n; /* of the best; what is too small wraps around to more than this, and loses */
    if (t != NULL) {
        struct ljt_lj_tree_chunk *larger = NULL; /* the deepest subtree that lies right of the way down */
        for (size_t bits = n << ljt_lj_tree_leftshift(i); t != NULL; bits <<= 1) {
            size_t over = ljt_lj_head_size(t->head) - n;
            if (over < waste) {
                best = t;
                if ((waste = over) == 0)
                    return best;
            }
            struct ljt_lj_tree_chunk *right = t->child[1];
            t = t->child[bits >> 63];
            if (right != NULL && right != t)
                larger = right;
        }
        t = larger;
    }
    if (t == NULL && best == NULL) {
        uint32_t above = i == 31 ? 0 : m->treemap & (~(uint32_t)0 << (i + 1));
        if (above == 0)
            return NULL;
        t = m->treebins[__builtin_ctz(above)];
    }
    for (; t != NULL; t = t->child[t->child[0] == NULL]) {
        size_t over = ljt_lj_head_size(t->head) - n;
        if (over < waste) {
            best = t;
            waste = over;
        }
    }
    return best;
}

static struct ljt_lj_chunk *take_large(struct ljt_lj_state *m, struct ljt_lj_tree_chunk *c)
{
    ljt_links_remove_large(m, c);
    return (struct ljt_lj_chunk *)c;
}

static inline void *take_small(struct ljt_lj_state *m, struct ljt_lj_chunk *c, unsigned i)
{
    ljt_links_remove_small(m, c, i);
    return use_whole(c, (size_t)i << LJT_LJ_SMALLBIN_SHIFT);
}

static __attribute__((noinline)) void *allocate_large(struct ljt_lj_state *m, size_t n)
{
    if (m->treemap != 0) {
        struct ljt_lj_tree_chunk *t = best_fit(m, n);
        size_t size = t == NULL ? 0 : ljt_lj_head_size(t->head);
        if (t != NULL && (m->dvsize < n || size < m->dvsize)) {
            struct ljt_lj_chunk *c = take_large(m, t);
            if (size - n < LJT_LJ_MIN_CHUNK)
                return use_whole(c, size);
            struct ljt_lj_chunk *rest = use_first(c, size, n);
            insert(m, rest, size - n);
            return ljt_lj_chunk_to_mem(c);
        }
    }
    if (n <= m->dvsize)
        return carve_dv(m, n);
    if (n < m->topsize)
        return carve_top(m, n);
    return grow(m, n);
}

/* No free chunk has the size of a small request, and dv is too small. */
static __attribute__((noinline)) void *split_for_small(struct ljt_lj_state *m, size_t n, unsigned i)
{
    uint32_t larger = m->smallmap >> i;
    if (larger != 0) {
        i += (unsigned)__builtin_ctz(larger);
        struct ljt_lj_chunk *c = ljt_lj_smallbin(m, i)->fd;
        ljt_links_remove_small(m, c, i);
        return carve(m, c, (size_t)i << LJT_LJ_SMALLBIN_SHIFT, n);
    }
    if (m->treemap != 0) {
        struct ljt_lj_tree_chunk *best, *t;
        best = t = m->treebins[__builtin_ctz(m->treemap)];
        while ((t = t->child[t->child[0] == NULL]) != NULL)
            if (ljt_lj_head_size(t->head) < ljt_lj_head_size(best->head))
                best = t;
        size_t size = ljt_lj_head_size(best->head);
        return carve(m, take_large(m, best), size, n);
    }
    if (n < m->topsize)
        return carve_top(m, n);
    return grow(m, n);
}

static inline void *allocate(struct ljt_lj_state *m, size_t request)
{
    if (request > LJT_LJ_MIN_LARGE - LJT_LJ_CHUNK_OVERHEAD - LJT_LJ_ALIGN)
        return request > REQUEST_MAX ? NULL : allocate_large(m, ljt_lj_request_size(request));
    size_t n = ljt_lj_request_size(request);
    unsigned i = ljt_lj_small_index(n);
    uint32_t fits = m->smallmap >> i;
    if ((fits & 3) != 0) { /* this size, or the next: 8 bytes more are no chunk */
        i += (unsigned)~fits & 1;
        return take_small(m, ljt_lj_smallbin(m, i)->fd, i);
    }
    if (n <= m->dvsize)
        return carve_dv(m, n);
    return split_for_small(m, n, i);
}

/* ---- Freeing ---- */

static inline void release(struct ljt_lj_state *m, struct ljt_lj_chunk *c)
{
    size_t size = ljt_lj_chunk_size(c);
    struct ljt_lj_chunk *next = ljt_lj_chunk_at(c, size);
    if (!ljt_lj_chunk_pinuse(c)) {
        size_t before = c->prev_foot;
        if ((before & LJT_LJ_IS_DIRECT) != 0) {
            ljt_segments_unmap_direct(m, c);
            return;
        }
        c = (struct ljt_lj_chunk *)((uintptr_t)c - before);
        size += before;
        if (c != m->dv)
            ljt_links_remove(m, c, before);
    }
    if (ljt_lj_chunk_cinuse(next)) {
        next->head &= ~LJT_LJ_PINUSE;
    } else if (next == m->top) {
        if (c == m->dv) {
            m->dv = NULL;
            m->dvsize = 0;
        }
        m->top = c;
        m->topsize += size;
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): dv may be NULL, a chunk never is */
        c->head = m->topsize | LJT_LJ_PINUSE;
        return;
    } else if (next == m->dv) { /* then c is not: two free chunks are never neighbours */
        m->dv = c;
        m->dvsize += size;
        ljt_links_set_free(c, m->dvsize);
        return;
    } else {
        size_t after = ljt_lj_chunk_size(next);
        ljt_links_remove(m, next, after);
        size += after;
    }
    ljt_links_set_free(c, size);
    if (c == m->dv)
        m->dvsize = size;
    else
        insert(m, c, size);
}

/* ---- Parking ---- */

static size_t whole_pages(uintptr_t at, size_t size)
{
    uintptr_t lo, hi;
    ljt_lj_free_pages(at, size, ljt_page_size, &lo, &hi);
    return (hi - lo) >> ljt_page_shift;
}

/* Its only writer is whoever is in the heap. */
static void count_parked(struct ljt_patched *p, size_t more)
{
    size_t pages = atomic_load_explicit(&p->parked_pages, memory_order_relaxed);
    atomic_store_explicit(&p->parked_pages, pages + more, memory_order_relaxed);
}

bool ljt_patched_park(struct ljt_lj_state *m, struct ljt_lj_chunk *c)
{
    struct ljt_patched *p = ljt_patched_of(m);
    size_t pages = whole_pages((uintptr_t)c, ljt_lj_chunk_size(c));
    if (p->runs == p->room || pages < LJT_PARKED_PAGES)
        return false;
    p->run[p->runs++] = c;
    count_parked(p, pages);
    return true;
}

static void unpark(struct ljt_lj_state *m, unsigned i)
{
    struct ljt_patched *p = ljt_patched_of(m);
    struct ljt_lj_chunk *c = p->run[i];
    count_parked(p, -whole_pages((uintptr_t)c, ljt_lj_chunk_size(c)));
    p->run[i] = p->run[--p->runs];
    release(m, c);
}

/* A run begins LJT_LJ_TREE_CHUNK before a page. So may a block of the VM's: then two looks are for nothing. */
static bool is_like_a_run(const struct ljt_lj_chunk *c)
{
    uintptr_t page = (uintptr_t)c + LJT_LJ_TREE_CHUNK;
    return ljt_lj_chunk_cinuse(c) && ljt_page_down(page) == page &&
           ljt_lj_chunk_size(c) >= LJT_LJ_TREE_CHUNK + LJT_PARKED_PAGES * ljt_page_size;
}

bool ljt_patched_join(struct ljt_lj_state *m, unsigned i)
{
    const struct ljt_lj_chunk *c = ljt_patched_of(m)->run[i];
    size_t size = ljt_lj_chunk_size(c);
    const struct ljt_lj_chunk *next = ljt_lj_chunk_at(c, size);
    size_t before = ljt_lj_chunk_pinuse(c) ? 0 : c->prev_foot;
    size_t behind = ljt_lj_chunk_cinuse(next) ? 0 : ljt_lj_chunk_size(next);
    bool fills = ljt_segments_before(m, (uintptr_t)c - before, before + size + behind) != NULL;
    /* Two runs with a piece between them make one more page only all three together: the second follows. */
    bool meets = behind != 0 && next != m->top && is_like_a_run(ljt_lj_chunk_at(next, behind));
    if (!fills && !meets &&
        whole_pages((uintptr_t)c - before, before + size + behind) <= whole_pages((uintptr_t)c, size))
        return false;
    unpark(m, i);
    return true;
}

/* Something was released. It may have joined dv, which no bin holds. */
static void *allocate_again(struct ljt_lj_state *m, size_t n)
{
    if (n >= LJT_LJ_MIN_LARGE)
        return allocate_large(m, n);
    return n <= m->dvsize ? carve_dv(m, n) : split_for_small(m, n, ljt_lj_small_index(n));
}

/*
 * The runs that were parked last are the smallest, since a look goes from large to small: the large ones stay whole.
 * Of a run only the low end is taken; the header of what remains lies where the VM will write anyway.
 *
 *     run      | 64 | page | page | page | page | page |
 *     taken    | free ........... |
 *     run                      | 64 | page | page |
 */
static void *take_parked(struct ljt_lj_state *m, size_t n)
{
    struct ljt_patched *p = ljt_patched_of(m);
    unsigned i = p->runs, tries = 0;
    size_t size;
    do {
        if (i == 0 || tries++ == PARKED_TRIES)
            return NULL;
        size = ljt_lj_chunk_size(p->run[--i]);
    } while (size < n + LJT_LJ_MIN_CHUNK);
    struct ljt_lj_chunk *c = p->run[i];
    size_t part = ljt_page_up((uintptr_t)c + n + PARKED_STEP) - LJT_LJ_TREE_CHUNK - (uintptr_t)c;
    size_t rest = part < size ? size - part : 0;
    size_t pages = whole_pages((uintptr_t)c, size);
    if (rest >= LJT_LJ_TREE_CHUNK + LJT_PARKED_PAGES * ljt_page_size) {
        struct ljt_lj_chunk *r = ljt_lj_chunk_at(c, part);
        c->head = part | (c->head & LJT_LJ_PINUSE) | LJT_LJ_CINUSE;
        r->head = rest | LJT_LJ_PINUSE | LJT_LJ_CINUSE;
        p->run[i] = r;
        count_parked(p, whole_pages((uintptr_t)r, rest) - pages);
        release(m, c);
    } else {
        unpark(m, i);
    }
    return allocate_again(m, n);
}

/* The kernel has no more: what is parked was free before it asked. Neighbours merge. */
static void *take_all_parked(struct ljt_lj_state *m, size_t n)
{
    struct ljt_patched *p = ljt_patched_of(m);
    if (p->runs == 0)
        return NULL;
    while (p->runs > 0)
        unpark(m, p->runs - 1);
    return allocate_again(m, n);
}

/* ---- Resizing ---- */

/* A chunk in use of `size` bytes keeps n of them; the end is freed if it makes a chunk. */
static void cut(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t size, size_t n)
{
    if (size - n < LJT_LJ_MIN_CHUNK)
        return;
    struct ljt_lj_chunk *rest = ljt_lj_chunk_at(c, n);
    c->head = n | (c->head & LJT_LJ_PINUSE) | LJT_LJ_CINUSE;
    rest->head = (size - n) | LJT_LJ_PINUSE | LJT_LJ_CINUSE;
    ljt_lj_chunk_at(rest, size - n)->head |= LJT_LJ_PINUSE;
    release(m, rest);
}

/* Makes a chunk in use larger where it is, into what is free behind it. */
static bool extend(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t size, size_t n)
{
    struct ljt_lj_chunk *next = ljt_lj_chunk_at(c, size);
    if (ljt_lj_chunk_cinuse(next))
        return false;
    size_t pinuse = c->head & LJT_LJ_PINUSE;
    if (next == m->top) {
        if (size + m->topsize <= n)
            return false;
        m->topsize -= n - size;
        m->top = ljt_lj_chunk_at(c, n);
        m->top->head = m->topsize | LJT_LJ_PINUSE;
        c->head = n | pinuse | LJT_LJ_CINUSE;
        return true;
    }
    size_t more = ljt_lj_chunk_size(next);
    if (size + more < n)
        return false;
    if (next == m->dv) {
        /* What is left stays dv: what a growing table needs next else lies elsewhere, in colder memory. */
        if (size + more - n >= LJT_LJ_MIN_CHUNK) {
            m->dv = ljt_lj_chunk_at(c, n);
            m->dvsize = size + more - n;
            ljt_links_set_free(m->dv, m->dvsize);
            c->head = n | pinuse | LJT_LJ_CINUSE;
            return true;
        }
        m->dv = NULL;
        m->dvsize = 0;
    } else {
        ljt_links_remove(m, next, more);
    }
    c->head = (size + more) | pinuse | LJT_LJ_CINUSE;
    ljt_lj_chunk_at(c, size + more)->head |= LJT_LJ_PINUSE;
    cut(m, c, size + more, n);
    return true;
}

/* Kept out of ljt_patched_alloc, whose other ways then save no registers: 14 instructions of 38 for a small block. */
static __attribute__((noinline)) void *resize(struct ljt_lj_state *m, void *mem, size_t request)
{
    if (request > REQUEST_MAX)
        return NULL;
    struct ljt_lj_chunk *c = ljt_lj_mem_to_chunk(mem);
    size_t n = ljt_lj_request_size(request), size = ljt_lj_chunk_size(c);
    size_t room = size - LJT_LJ_CHUNK_OVERHEAD; /* what of it the VM may have filled */
    if (ljt_lj_chunk_is_direct(c)) {
        void *same = ljt_segments_resize_direct(m, c, n);
        if (same != NULL)
            return same;
        room = size - LJT_LJ_MEM_OFFSET;
    } else if (n <= size) {
        cut(m, c, size, n);
        return mem;
    } else if (extend(m, c, size, n)) {
        return mem;
    }
    void *copy = allocate(m, request);
    if (copy == NULL)
        return NULL;
    memcpy(copy, mem, room < request ? room : request);
    release(m, c);
    return copy;
}

void *ljt_patched_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)osize;
    if (nsize == 0) {
        if (ptr != NULL)
            release(ud, ljt_lj_mem_to_chunk(ptr));
        return NULL;
    }
    return ptr == NULL ? allocate(ud, nsize) : resize(ud, ptr, nsize);
}

/* ---- Life ---- */

void ljt_patched_enter(struct ljt_lj_state *m, struct ljt_patched *p)
{
    p->magic = LJT_PATCHED_MAGIC;
    m->smallbins[0] = (struct ljt_lj_chunk *)p;
    atomic_store_explicit(&p->footprint, ljt_segments_footprint(m), memory_order_relaxed);
}

void ljt_patched_leave(struct ljt_lj_state *m)
{
    struct ljt_patched *p = ljt_patched_of(m);
    while (p->runs > 0)
        unpark(m, p->runs - 1);
    m->smallbins[0] = NULL;
}

struct ljt_lj_state *ljt_patched_create(struct ljt_patched *p)
{
    struct ljt_lj_state *m = ljt_segments_first();
    if (m == NULL)
        return NULL;
    ljt_patched_enter(m, p);
    if (p->mapped != NULL)
        p->mapped(p, (ptrdiff_t)m->seg.size);
    return m;
}

void ljt_patched_destroy(struct ljt_lj_state *m)
{
    ljt_patched_of(m)->runs = 0;
    ljt_segments_unmap_all(m);
}
