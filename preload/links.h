/*
 * links: the free lists of a heap in lj_alloc's format.
 *
 * Small bins are rings with a head in the state; treebins are tries of rings. What takes a chunk out or puts one in
 * is the same for a claim (heap.c) and for our own allocator (patched.c), and leaves the lists as lj_alloc's own code
 * expects them. Everything needs the heap at rest. In a header, since the allocator's speed depends on it.
 */
#ifndef LJT_LINKS_H
#define LJT_LINKS_H

#include "lj_layout.h"

/* ---- Out ---- */

/* Puts `to` into the place that `from` has in the tree; NULL empties it. */
static inline void ljt_links_replace(struct ljt_lj_state *m, struct ljt_lj_tree_chunk *from,
                                     struct ljt_lj_tree_chunk *to)
{
    struct ljt_lj_tree_chunk *parent = from->parent;
    if (m->treebins[from->index] == from) {
        m->treebins[from->index] = to;
        if (to == NULL)
            m->treemap &= ~((uint32_t)1 << from->index);
    } else {
        parent->child[parent->child[1] == from] = to;
    }
    if (to == NULL)
        return;
    to->parent = parent;
    for (int i = 0; i < 2; i++) {
        to->child[i] = from->child[i];
        if (to->child[i] != NULL)
            to->child[i]->parent = to;
    }
}

/* Cuts off and returns a leaf below `c`, NULL if `c` is one itself. */
static inline struct ljt_lj_tree_chunk *ljt_links_take_leaf(struct ljt_lj_tree_chunk *c)
{
    struct ljt_lj_tree_chunk **link = NULL;
    for (struct ljt_lj_tree_chunk *t = c;;) {
        struct ljt_lj_tree_chunk **down = t->child[1] != NULL ? &t->child[1] : &t->child[0];
        if (*down == NULL)
            break;
        link = down;
        t = *down;
    }
    if (link == NULL)
        return NULL;
    struct ljt_lj_tree_chunk *leaf = *link;
    *link = NULL;
    return leaf;
}

static inline void ljt_links_remove_large(struct ljt_lj_state *m, struct ljt_lj_tree_chunk *c)
{
    struct ljt_lj_tree_chunk *heir;
    if (c->bk != c) {
        heir = c->bk;
        c->fd->bk = heir;
        heir->fd = c->fd;
    } else {
        heir = ljt_links_take_leaf(c);
    }
    if (c->parent != NULL)
        ljt_links_replace(m, c, heir);
}

static inline void ljt_links_remove_small(struct ljt_lj_state *m, struct ljt_lj_chunk *c, unsigned index)
{
    struct ljt_lj_chunk *before = c->bk, *after = c->fd;
    before->fd = after;
    after->bk = before;
    if (before == after) /* both are the bin */
        m->smallmap &= ~((uint32_t)1 << index);
}

static inline void ljt_links_remove(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t size)
{
    if (size < LJT_LJ_MIN_LARGE)
        ljt_links_remove_small(m, c, ljt_lj_small_index(size));
    else
        ljt_links_remove_large(m, (struct ljt_lj_tree_chunk *)c);
}

/* ---- In ---- */

/* The chunk before a free one is always in use. */
static inline void ljt_links_set_free(struct ljt_lj_chunk *c, size_t size)
{
    c->head = size | LJT_LJ_PINUSE;
    ljt_lj_chunk_at(c, size)->prev_foot = size;
}

/* To the front of its bin, from where chunks are taken. */
static inline void ljt_links_insert_small(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t size)
{
    unsigned i = ljt_lj_small_index(size);
    struct ljt_lj_chunk *bin = ljt_lj_smallbin(m, i);
    if ((m->smallmap >> i & 1) == 0) { /* a bin whose bit is clear has a stale head */
        m->smallmap |= (uint32_t)1 << i;
        bin->fd = bin->bk = c;
        c->fd = c->bk = bin;
    } else {
        struct ljt_lj_chunk *first = bin->fd;
        bin->fd = first->bk = c;
        c->fd = first;
        c->bk = bin;
    }
}

static inline void ljt_links_insert_large(struct ljt_lj_state *m, struct ljt_lj_tree_chunk *c, size_t size)
{
    unsigned i = ljt_lj_tree_index(size);
    c->index = i;
    c->child[0] = c->child[1] = NULL;
    if ((m->treemap >> i & 1) == 0) {
        m->treemap |= (uint32_t)1 << i;
        m->treebins[i] = c;
        c->fd = c->bk = c;
        c->parent = (struct ljt_lj_tree_chunk *)&m->treebins[i];
        return;
    }
    struct ljt_lj_tree_chunk *t = m->treebins[i];
    for (size_t bits = size << ljt_lj_tree_leftshift(i); ljt_lj_head_size(t->head) != size; bits <<= 1) {
        struct ljt_lj_tree_chunk **down = &t->child[bits >> 63];
        if (*down == NULL) {
            *down = c;
            c->fd = c->bk = c;
            c->parent = t;
            return;
        }
        t = *down;
    }
    struct ljt_lj_tree_chunk *after = t->fd;
    t->fd = after->bk = c;
    c->fd = after;
    c->bk = t;
    c->parent = NULL;
}

static inline void ljt_links_insert(struct ljt_lj_state *m, struct ljt_lj_chunk *c, size_t size)
{
    if (size < LJT_LJ_MIN_LARGE)
        ljt_links_insert_small(m, c, size);
    else
        ljt_links_insert_large(m, (struct ljt_lj_tree_chunk *)c, size);
}

#endif
