#include "heap.h"

#include "kernel.h"
#include "links.h"

const char *ljt_heap_fault_text(enum ljt_heap_fault fault)
{
    static const char *const text[LJT_HEAP_FAULTS] = {
        [LJT_HEAP_OK] = "sound",
        [LJT_HEAP_BAD_SEGMENT] = "a segment is not a mapping of its own",
        [LJT_HEAP_BAD_CHUNK] = "a chunk's size is impossible",
        [LJT_HEAP_BAD_FLAGS] = "neighbouring chunks disagree",
        [LJT_HEAP_BAD_TOP] = "top does not end its segment",
        [LJT_HEAP_BAD_BIN] = "a bin's links are broken",
        [LJT_HEAP_BAD_SUM] = "the bins do not hold the free chunks",
    };
    return fault < LJT_HEAP_FAULTS ? text[fault] : "unknown";
}

/* ---- Proof ---- */

static bool segment_is_mapped(const struct ljt_lj_segment *s)
{
    unsigned char vec[64];
    for (size_t at = 0; at < s->size; at += sizeof(vec) << ljt_page_shift) {
        size_t len = s->size - at;
        if (len > sizeof(vec) << ljt_page_shift)
            len = sizeof(vec) << ljt_page_shift;
        if (ljt_kernel.mincore((void *)(s->base + at), len, vec) != 0)
            return false;
    }
    return true;
}

/* Can `len` bytes at `a` be read, as far as the segments say? */
static bool in_segments(const struct ljt_lj_state *m, uintptr_t a, size_t len)
{
    for (const struct ljt_lj_segment *s = &m->seg; s != NULL; s = s->next)
        if (a >= s->base && a - s->base <= s->size - len)
            return true;
    return false;
}

static enum ljt_heap_fault prove_segments(const struct ljt_lj_state *m, struct ljt_heap_census *census)
{
    const struct ljt_lj_segment *s = &m->seg;
    const struct ljt_lj_segment *mark =
        NULL; /* moves on ever more rarely: a list that loops comes back to it */
    do {
        if (s->base == 0 || (s->base & (ljt_page_size - 1)) != 0 || s->size < LJT_LJ_GRANULARITY ||
            (s->size & (ljt_page_size - 1)) != 0 || s->base + s->size < s->base || !segment_is_mapped(s))
            return LJT_HEAP_BAD_SEGMENT;
        census->segments++;
        census->mapped += s->size;
        /* The next record must lie in memory that can be read, to its last byte, before it is. */
        const struct ljt_lj_segment *next = s->next;
        struct ljt_lj_segment copy;
        if (((uintptr_t)next & 7) != 0 ||
            (next != NULL && ljt_kernel.peek(&copy, next, sizeof(copy)) != (ssize_t)sizeof(copy)))
            return LJT_HEAP_BAD_SEGMENT;
        if ((census->segments & (census->segments - 1)) == 0)
            mark = s;
        s = next;
    } while (s != NULL && s != mark);
    return s == NULL && in_segments(m, (uintptr_t)m, sizeof(*m)) ? LJT_HEAP_OK : LJT_HEAP_BAD_SEGMENT;
}

/* What the walk has found free and binned, to be compared with what the bins say. */
struct free_sum {
    size_t chunks, bytes;
};

/* Fenceposts from here on, one a word; before them, as the last chunk, the segment's own record. */
static bool is_fence(const struct ljt_lj_segment *s, uintptr_t at)
{
    uintptr_t end = s->base + s->size;
    if ((uintptr_t)s != at - LJT_LJ_SEGMENT_CHUNK + LJT_LJ_MEM_OFFSET || end - at > LJT_LJ_TOP_FOOT)
        return false;
    for (; at + 8 < end; at += 8)
        if (((const struct ljt_lj_chunk *)at)->head != LJT_LJ_FENCEPOST)
            return false;
    return true;
}

/* So many bytes before its head is read a chunk's cache line is asked for. */
#define AHEAD 1024

static enum ljt_heap_fault prove_chunks(const struct ljt_lj_state *m, const struct ljt_lj_segment *s,
                                        struct ljt_heap_census *census, struct free_sum *binned)
{
    uintptr_t end = s->base + s->size;
    uintptr_t at = s->base;
    bool prev_in_use = true;
    for (;;) {
        if (at + LJT_LJ_MEM_OFFSET > end)
            return LJT_HEAP_BAD_CHUNK;
        const struct ljt_lj_chunk *c = (const struct ljt_lj_chunk *)at;
        size_t size = ljt_lj_chunk_size(c);
        __builtin_prefetch((const char *)c + AHEAD);
        __builtin_prefetch((const char *)c + AHEAD + 64);
        if (c == m->top) {
            if (size != m->topsize || at + size + LJT_LJ_TOP_FOOT != end || !prev_in_use ||
                !ljt_lj_chunk_pinuse(c) || ljt_lj_chunk_cinuse(c))
                return LJT_HEAP_BAD_TOP;
            census->chunks++;
            census->free += size;
            census->overhead += LJT_LJ_TOP_FOOT;
            return LJT_HEAP_OK;
        }
        if (c->head == LJT_LJ_FENCEPOST) { /* a row of them ends every segment but top's */
            if (!prev_in_use || !is_fence(s, at))
                return LJT_HEAP_BAD_FLAGS;
            census->overhead += end - at;
            return LJT_HEAP_OK;
        }
        if (size < LJT_LJ_MIN_CHUNK || (c->head & 4) != 0 || size > end - at)
            return LJT_HEAP_BAD_CHUNK;
        if (ljt_lj_chunk_pinuse(c) != prev_in_use)
            return LJT_HEAP_BAD_FLAGS;
        census->chunks++;
        if (ljt_lj_chunk_cinuse(c)) {
            census->live += size;
            prev_in_use = true;
        } else {
            if (!prev_in_use || at + size + LJT_LJ_MEM_OFFSET > end ||
                ljt_lj_chunk_next(c)->prev_foot != size)
                return LJT_HEAP_BAD_FLAGS;
            census->free += size;
            if (c == m->dv) {
                if (size != m->dvsize)
                    return LJT_HEAP_BAD_SUM;
            } else {
                binned->chunks++;
                binned->bytes += size;
            }
            prev_in_use = false;
        }
        at += size;
    }
}

/* A free chunk that some link points to: in the heap, free, of a size that belongs into bin `index`. */
static bool is_binned(const struct ljt_lj_state *m, const void *chunk, bool large, unsigned index)
{
    const struct ljt_lj_chunk *c = chunk;
    if (((uintptr_t)c & (LJT_LJ_ALIGN - 1)) != 0 ||
        !in_segments(m, (uintptr_t)c, large ? LJT_LJ_TREE_CHUNK : LJT_LJ_MIN_CHUNK) ||
        ljt_lj_chunk_cinuse(c) || c == m->dv || c == m->top)
        return false;
    size_t size = ljt_lj_chunk_size(c);
    if (large)
        return size >= LJT_LJ_MIN_LARGE && ljt_lj_tree_index(size) == index;
    return size < LJT_LJ_MIN_LARGE && ljt_lj_small_index(size) == index;
}

/*
 * All lists side by side, a step of each in turn: along one alone, chunks all over the heap, each step would be waited for
 * that long.
 */
static enum ljt_heap_fault prove_smallbins(struct ljt_lj_state *m, struct free_sum *sum, size_t most)
{
    const struct ljt_lj_chunk *at[LJT_LJ_SMALLBINS], *prev[LJT_LJ_SMALLBINS];
    uint32_t open = m->smallmap;
    for (uint32_t rest = open; rest != 0; rest &= rest - 1) {
        unsigned i = (unsigned)__builtin_ctz(rest);
        prev[i] = ljt_lj_smallbin(m, i);
        at[i] = prev[i]->fd;
        if (at[i] == prev[i])
            return LJT_HEAP_BAD_BIN;
    }
    while (open != 0) {
        for (uint32_t rest = open; rest != 0; rest &= rest - 1) {
            unsigned i = (unsigned)__builtin_ctz(rest);
            const struct ljt_lj_chunk *c = at[i];
            if (c == ljt_lj_smallbin(m, i)) {
                open &= ~((uint32_t)1 << i);
                continue;
            }
            if (sum->chunks >= most || !is_binned(m, c, false, i) || c->bk != prev[i])
                return LJT_HEAP_BAD_BIN;
            sum->chunks++;
            sum->bytes += ljt_lj_chunk_size(c);
            prev[i] = c;
            at[i] = c->fd;
            __builtin_prefetch(at[i]);
        }
    }
    return LJT_HEAP_OK;
}

static enum ljt_heap_fault prove_ring(struct ljt_lj_state *m, struct ljt_lj_tree_chunk *node, unsigned index,
                                      struct free_sum *sum, size_t most)
{
    size_t size = ljt_lj_head_size(node->head);
    const struct ljt_lj_tree_chunk *c = node;
    do {
        if (sum->chunks >= most || !is_binned(m, c, true, index) || ljt_lj_head_size(c->head) != size ||
            ((uintptr_t)c->fd & (LJT_LJ_ALIGN - 1)) != 0 ||
            !in_segments(m, (uintptr_t)c->fd, LJT_LJ_TREE_CHUNK) || c->fd->bk != c || c->index != index ||
            (c != node && (c->parent != NULL || c->child[0] != NULL || c->child[1] != NULL)))
            return LJT_HEAP_BAD_BIN;
        sum->chunks++;
        sum->bytes += size;
        c = c->fd;
    } while (c != node);
    return LJT_HEAP_OK;
}

/* Walks a bin's tree in depth-first order by the parent links, so that depth costs no stack. */
static enum ljt_heap_fault prove_tree(struct ljt_lj_state *m, unsigned index, struct free_sum *sum,
                                      size_t most)
{
    struct ljt_lj_tree_chunk *root = m->treebins[index];
    struct ljt_lj_tree_chunk *node = root, *from = NULL;
    if (root == NULL || !is_binned(m, root, true, index) ||
        root->parent != (struct ljt_lj_tree_chunk *)&m->treebins[index])
        return LJT_HEAP_BAD_BIN;
    for (;;) {
        if (from == NULL) { /* entered from above */
            enum ljt_heap_fault fault = prove_ring(m, node, index, sum, most);
            if (fault != LJT_HEAP_OK)
                return fault;
        }
        int child = from == NULL ? 0 : from == node->child[0] ? 1 : 2;
        while (child < 2 && node->child[child] == NULL)
            child++;
        if (child < 2) {
            struct ljt_lj_tree_chunk *below = node->child[child];
            if (!is_binned(m, below, true, index) || below->parent != node)
                return LJT_HEAP_BAD_BIN;
            from = NULL;
            node = below;
        } else if (node == root) {
            return LJT_HEAP_OK;
        } else {
            from = node;
            node = node->parent;
        }
    }
}

enum ljt_heap_fault ljt_heap_prove(struct ljt_lj_state *m, struct ljt_heap_census *census)
{
    *census = (struct ljt_heap_census){0};
    enum ljt_heap_fault fault = prove_segments(m, census);
    if (fault != LJT_HEAP_OK)
        return fault;
    if (!in_segments(m, (uintptr_t)m->top, LJT_LJ_TOP_FOOT) || (m->dvsize != 0) != (m->dv != NULL) ||
        (m->dv != NULL && !in_segments(m, (uintptr_t)m->dv, LJT_LJ_MIN_CHUNK)))
        return LJT_HEAP_BAD_TOP;

    struct free_sum walked = {0}, binned = {0};
    for (const struct ljt_lj_segment *s = &m->seg; s != NULL; s = s->next)
        if ((fault = prove_chunks(m, s, census, &walked)) != LJT_HEAP_OK)
            return fault;
    if ((fault = prove_smallbins(m, &binned, walked.chunks)) != LJT_HEAP_OK)
        return fault;
    for (unsigned i = 0; i < LJT_LJ_TREEBINS; i++) {
        if ((m->treemap >> i & 1) != 0)
            fault = prove_tree(m, i, &binned, walked.chunks);
        else if (m->treebins[i] != NULL)
            fault = LJT_HEAP_BAD_BIN;
        if (fault != LJT_HEAP_OK)
            return fault;
    }
    return binned.chunks == walked.chunks && binned.bytes == walked.bytes ? LJT_HEAP_OK : LJT_HEAP_BAD_SUM;
}

/* ---- Search ---- */

static struct ljt_lj_tree_chunk *larger(struct ljt_lj_tree_chunk *a, struct ljt_lj_tree_chunk *b)
{
    return a == NULL || ljt_lj_head_size(b->head) > ljt_lj_head_size(a->head) ? b : a;
}

/*
 * A node may have any size of its subtree's range, so each one on the way down is a candidate. Everything below
 * child[1] is larger than everything below child[0].
 */
static struct ljt_lj_tree_chunk *largest_below(struct ljt_lj_tree_chunk *t, struct ljt_lj_tree_chunk *best)
{
    for (; t != NULL; t = t->child[1] != NULL ? t->child[1] : t->child[0])
        best = larger(best, t);
    return best;
}

/* The largest of bin `index` not above `limit`, where `limit` is a size of this bin. */
static struct ljt_lj_tree_chunk *largest_up_to(struct ljt_lj_tree_chunk *t, unsigned index, size_t limit)
{
    struct ljt_lj_tree_chunk *best = NULL;
    struct ljt_lj_tree_chunk *smaller = NULL; /* the deepest subtree to the left of the way down */
    size_t bits = limit << ljt_lj_tree_leftshift(index);
    for (; t != NULL; bits <<= 1) {
        size_t size = ljt_lj_head_size(t->head);
        if (size == limit)
            return t;
        if (size < limit)
            best = larger(best, t);
        bool right = bits >> 63;
        if (right && t->child[0] != NULL)
            smaller = t->child[0];
        t = t->child[right];
    }
    return largest_below(smaller, best);
}

struct ljt_lj_tree_chunk *ljt_heap_largest(struct ljt_lj_state *m, size_t limit)
{
    if (limit < LJT_LJ_MIN_LARGE)
        return NULL;
    unsigned top = ljt_lj_tree_index(limit);
    struct ljt_lj_tree_chunk *found = NULL;
    if ((m->treemap >> top & 1) != 0)
        found = largest_up_to(m->treebins[top], top, limit);
    uint32_t rest = m->treemap & (((uint32_t)1 << top) - 1);
    if (found == NULL && rest != 0)
        found = largest_below(m->treebins[31 - __builtin_clz(rest)], NULL);
    return found;
}

/* ---- Claim and hand-back ---- */

void ljt_heap_rotate(struct ljt_lj_state *m, struct ljt_lj_tree_chunk *c)
{
    if (c->bk == c || c->parent == NULL)
        return;
    ljt_links_replace(m, c, c->bk);
    c->parent = NULL;
    c->child[0] = c->child[1] = NULL; /* lj_alloc's unlink counts on it: an heir keeps the children it has */
}

static void insert_free(struct ljt_lj_state *m, uintptr_t at, size_t size)
{
    struct ljt_lj_chunk *c = (struct ljt_lj_chunk *)at;
    c->head = size | LJT_LJ_PINUSE;
    ljt_lj_chunk_at(c, size)->prev_foot = size;
    ljt_links_insert(m, c, size);
}

struct ljt_lj_chunk *ljt_heap_claim(struct ljt_lj_state *m, struct ljt_lj_chunk *c, uintptr_t lo,
                                    uintptr_t hi)
{
    uintptr_t start = (uintptr_t)c;
    uintptr_t end = start + ljt_lj_chunk_size(c);

    if (c == m->top) {
        struct ljt_lj_chunk *top = (struct ljt_lj_chunk *)hi;
        m->top = top;
        m->topsize = end - hi;
        top->head = m->topsize | LJT_LJ_PINUSE;
    } else {
        if (c == m->dv) { /* what lj_alloc does when it exhausts dv */
            m->dv = NULL;
            m->dvsize = 0;
        } else {
            ljt_links_remove_large(m, (struct ljt_lj_tree_chunk *)c);
        }
        if (hi == end)
            ljt_lj_chunk_at(c, end - start)->head |= LJT_LJ_PINUSE;
        else
            insert_free(m, hi, end - hi);
    }

    struct ljt_lj_chunk *claim = (struct ljt_lj_chunk *)lo;
    if (lo == start) {
        claim->head = (hi - lo) | LJT_LJ_CINUSE | LJT_LJ_PINUSE; /* before a free chunk there is none */
    } else {
        insert_free(m, start, lo - start);
        claim->head = (hi - lo) | LJT_LJ_CINUSE;
    }
    return claim;
}

void ljt_heap_hand_back(struct ljt_lj_state *m, ljt_alloc_fn *allocf, struct ljt_lj_chunk *c)
{
    size_t trim_check = m->trim_check;
    size_t release_checks = m->release_checks;
    m->trim_check = SIZE_MAX;
    m->release_checks = SIZE_MAX;
    allocf(m, ljt_lj_chunk_to_mem(c), ljt_lj_chunk_size(c) - LJT_LJ_CHUNK_OVERHEAD, 0);
    m->trim_check = trim_check;
    m->release_checks = release_checks;
}
