/*
 * The walk over an arena's chunks, in another process. See arenas.h.
 *
 * Exact while the target is stopped: what does not obey lj_alloc's rules ends the walk. Once it runs, what
 * was read may be older than what is read next: then the walk reads anew, and if that does not help, looks
 * for the next place from where chunks fit together.
 */
#include "arena_state.h"
#include "arenas.h"
#include "lj_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reading ahead ---- */

enum { WINDOW_PAGES = 64 };

/*
 * Reads a segment's words through a window that grows while the walk moves through consecutive pages and
 * shrinks to one page where it jumps over a large free chunk: dense heaps take few system calls, sparse ones
 * copy little.
 */
struct window {
    const struct ljt_pages *pages;
    uint8_t *bytes; /* WINDOW_PAGES pages */
    uintptr_t start, end;
    size_t ahead; /* pages the next read asks for */
};

struct walk {
    struct ljt_remote *r;
    struct ljt_arena_state arena;
    struct ljt_measured *m;
    struct ljt_pages pages; /* of the segment at hand */
    struct window window;
    uint32_t *free_bytes; /* a page of the segment each; PURGEABLE */
    double deadline;
    bool live;         /* the target runs */
    unsigned reloads;  /* how often the segment at hand was read anew */
    uintptr_t doubted; /* where it was last */
};

static const uint32_t PURGEABLE = UINT32_MAX;

static bool window_move(struct walk *k, uintptr_t address)
{
    struct window *w = &k->window;
    size_t page = k->r->page, first = (address - w->pages->start) / page;
    if (address < w->pages->start || first >= w->pages->count)
        return false;
    uintptr_t start = w->pages->start + first * page;
    if (start != w->end)
        w->ahead = 1;
    else if (w->ahead < WINDOW_PAGES)
        w->ahead *= 2;
    if (!k->live && k->deadline != 0 && ljt_now_us() > k->deadline) {
        ljt_remote_resume(k->r);
        k->live = true;
    }
    size_t n = 0;
    while (n < w->ahead && first + n < w->pages->count && w->pages->state[first + n] != LJT_PAGE_ABSENT)
        n++;
    w->start = w->end = start;
    if (n == 0 || ljt_remote_read(k->r, start, w->bytes, n * page) != 0)
        return false;
    w->end = start + n * page;
    return true;
}

/* The word at an address that is a multiple of 8. False if its page is absent: no header lies there. */
static bool read_word(struct walk *k, uintptr_t address, size_t *word)
{
    struct window *w = &k->window;
    if ((address < w->start || address >= w->end) && !window_move(k, address))
        return false;
    memcpy(word, w->bytes + (address - w->start), sizeof(*word));
    return true;
}

/* ---- Counting ---- */

static void count(struct ljt_class *classes, size_t value, size_t bytes, size_t resident)
{
    unsigned i = value == 0 ? 0 : 63u - (unsigned)__builtin_clzl(value);
    struct ljt_class *c = &classes[i < LJT_CLASSES ? i : LJT_CLASSES - 1];
    c->count++;
    c->bytes += bytes;
    c->resident += resident;
}

static void count_live(struct walk *k, uintptr_t c, size_t size)
{
    struct ljt_arena_figures *f = &k->m->figures;
    if (c == k->arena.address - LJT_LJ_MEM_OFFSET) {
        f->overhead += size;
        return;
    }
    f->live += size;
    f->live_chunks++;
    count(k->m->histograms.live, size, size, 0);
}

static void count_free(struct walk *k, uintptr_t c, size_t size)
{
    struct ljt_arena_figures *f = &k->m->figures;
    const struct ljt_pages *p = &k->pages;
    size_t page = k->r->page, resident = 0;
    uintptr_t first, end;
    f->free += size;
    f->free_chunks++;
    count(k->m->histograms.free, size, size, 0);
    if (ljt_lj_free_pages(c, size, page, &first, &end)) {
        for (size_t i = (first - p->start) / page; i < (end - p->start) / page; i++) {
            k->free_bytes[i] = PURGEABLE;
            resident += p->state[i] == LJT_PAGE_PRESENT ? page : 0;
        }
        f->purgeable += end - first;
        f->reclaimable += resident;
        count(k->m->histograms.runs, (end - first) / page, end - first, resident);
    }
    /* The parts of pages before and behind. */
    for (uintptr_t at = c; at < c + size;) {
        if (at == first && first < end) {
            at = end;
            continue;
        }
        uintptr_t stop = (at & ~(page - 1)) + page;
        stop = stop < c + size ? stop : c + size;
        k->free_bytes[(at - p->start) / page] += (uint32_t)(stop - at);
        at = stop;
    }
}

static void draw_segment(struct walk *k, struct ljt_segment_map *map)
{
    for (size_t i = 0; i < map->pages; i++) {
        uint8_t state = k->pages.state[i];
        k->m->figures.resident += state == LJT_PAGE_PRESENT ? k->r->page : 0;
        k->m->figures.swapped += state == LJT_PAGE_SWAPPED ? k->r->page : 0;
        map->cells[i] = k->free_bytes[i] == 0           ? LJT_CELL_LIVE
                        : k->free_bytes[i] != PURGEABLE ? LJT_CELL_MIXED
                        : state == LJT_PAGE_ABSENT      ? LJT_CELL_FREE_PURGED
                                                        : LJT_CELL_FREE_RESIDENT;
    }
}

/* ---- Chunks ---- */

struct segment {
    uintptr_t base, end, record; /* record: the address of its segment record */
    uintptr_t top, stop;         /* stop: where its chunks end if it has top; 0: they end with a fence */
};

struct cursor {
    uintptr_t c;
    size_t prev_free; /* the size of the chunk before if that is free */
    bool lost;        /* nothing is known about the chunk before */
};

enum step { STEP_CHUNK, STEP_FENCE, STEP_WRONG };

/* Fenceposts from here to the segment's end, one a word. */
static bool is_fence(struct walk *k, uintptr_t c, uintptr_t end)
{
    for (; c + 8 < end; c += 8) {
        size_t head;
        if (!read_word(k, c + 8, &head) || head != LJT_LJ_FENCEPOST)
            return false;
    }
    return c + 8 == end;
}

/* Reads the head of the chunk at the cursor and checks it against what came before. */
static enum step read_chunk(struct walk *k, const struct segment *s, const struct cursor *at, size_t *head)
{
    size_t foot;
    if (at->c + LJT_LJ_MIN_CHUNK / 2 > s->end || !read_word(k, at->c + 8, head))
        return STEP_WRONG;
    if (*head == LJT_LJ_FENCEPOST && s->stop == 0) {
        /* The last chunk before a fence is its segment's own record. */
        if (s->record != at->c - LJT_LJ_SEGMENT_CHUNK + LJT_LJ_MEM_OFFSET || at->prev_free != 0)
            return STEP_WRONG;
        return is_fence(k, at->c, s->end) ? STEP_FENCE : STEP_WRONG;
    }
    size_t size = ljt_lj_head_size(*head);
    bool is_top = at->c == s->top;
    uintptr_t limit = s->stop > at->c ? s->stop : s->end; /* top may have moved to before us since */
    if ((size & 7) != 0 || size > limit - at->c || size < 8 || (size < LJT_LJ_MIN_CHUNK && !is_top))
        return STEP_WRONG;
    if (!at->lost && ljt_lj_head_pinuse(*head) != (at->prev_free == 0))
        return STEP_WRONG;
    if (at->prev_free != 0 && (!read_word(k, at->c, &foot) || foot != at->prev_free))
        return STEP_WRONG;
    if (ljt_lj_head_cinuse(*head))
        return STEP_CHUNK;
    if (!ljt_lj_head_pinuse(*head) || (is_top && size != s->stop - at->c))
        return STEP_WRONG;
    return STEP_CHUNK;
}

static void advance(const struct segment *s, struct cursor *at, size_t head)
{
    size_t size = ljt_lj_head_size(head);
    at->prev_free = ljt_lj_head_cinuse(head) || at->c == s->top ? 0 : size;
    at->lost = false;
    at->c += size;
}

/* ---- What a running target needs ---- */

enum { MAX_RELOADS = 200, CHAIN = 12 };

/* Forgets what was read of this segment and of the state. */
static void read_anew(struct walk *k, struct segment *s)
{
    struct ljt_lj_state now;
    size_t size = offsetof(struct ljt_lj_state, prng);
    k->window.start = k->window.end = 0;
    if (ljt_remote_read(k->r, k->arena.address, &now, size) == 0) {
        memcpy(&k->arena.state, &now, size);
        s->top = (uintptr_t)now.top;
        s->stop = s->top >= s->base && s->top < s->end ? s->end - LJT_LJ_TOP_FOOT : s->stop;
    }
    if (k->reloads++ < MAX_RELOADS)
        (void)ljt_pages_load(&k->pages, k->r, s->base, s->end);
}

/* Whether chunks fit together from here on, for a while. */
static bool fits_from(struct walk *k, const struct segment *s, uintptr_t c)
{
    struct cursor at = {.c = c, .lost = true};
    for (int i = 0; i < CHAIN && at.c != s->stop; i++) {
        size_t head;
        enum step step = read_chunk(k, s, &at, &head);
        if (step == STEP_FENCE)
            return i != 0;
        if (step == STEP_WRONG)
            return false;
        advance(s, &at, head);
    }
    return true;
}

/* Moves the cursor to where chunks fit together again, or to the segment's end; what is skipped is unknown. */
static void find_on(struct walk *k, const struct segment *s, struct cursor *at)
{
    uintptr_t from = at->c, page = k->r->page;
    at->c += 8;
    while (at->c < s->end && at->c != s->stop) {
        size_t i = (at->c - s->base) / page, head;
        if (k->pages.state[i] == LJT_PAGE_ABSENT)
            at->c = (at->c & ~(page - 1)) + page;
        else if (read_word(k, at->c + 8, &head) && ljt_lj_head_size(head) >= LJT_LJ_MIN_CHUNK &&
                 fits_from(k, s, at->c))
            break;
        else
            at->c += 8;
    }
    k->m->figures.unknown += (at->c < s->end ? at->c : s->end) - from;
    at->prev_free = 0;
    at->lost = true;
}

/* ---- The walk ---- */

static bool walk_segment(struct walk *k, struct segment *s)
{
    struct ljt_arena_figures *f = &k->m->figures;
    struct cursor at = {.c = s->base};
    while (at.c != s->stop) {
        size_t head;
        enum step step = read_chunk(k, s, &at, &head);
        if (step == STEP_FENCE) {
            f->overhead += LJT_LJ_SEGMENT_CHUNK + (s->end - at.c);
            f->live -= LJT_LJ_SEGMENT_CHUNK;
            f->live_chunks--;
            return true;
        }
        if (step == STEP_WRONG) {
            if (!k->live)
                return false;
            if (k->doubted != at.c) {
                k->doubted = at.c;
                read_anew(k, s);
            } else {
                find_on(k, s, &at);
                if (at.c >= s->end)
                    return true;
            }
            continue;
        }
        if (ljt_lj_head_cinuse(head) && !ljt_arena_state_is_parked(&k->arena, at.c))
            count_live(k, at.c, ljt_lj_head_size(head));
        else
            count_free(k, at.c, ljt_lj_head_size(head));
        advance(s, &at, head);
    }
    f->overhead += LJT_LJ_TOP_FOOT;
    return at.prev_free == 0 || k->live;
}

static int walk_one(struct walk *k, size_t i, struct ljt_segment_map *map)
{
    struct segment s = {.base = k->arena.segments[i].base, .record = k->arena.records[i]};
    s.end = s.base + k->arena.segments[i].size;
    s.top = (uintptr_t)k->arena.state.top;
    s.stop = s.top >= s.base && s.top < s.end ? s.end - LJT_LJ_TOP_FOOT : 0;
    *map = (struct ljt_segment_map){.base = s.base, .pages = (s.end - s.base) / k->r->page};
    map->cells = malloc(map->pages);
    k->free_bytes = calloc(map->pages, sizeof(*k->free_bytes));
    int error = map->cells == NULL || k->free_bytes == NULL ? -ENOMEM : 0;
    if (error == 0)
        error = ljt_pages_load(&k->pages, k->r, s.base, s.end);
    if (error == 0) {
        k->window.start = k->window.end = k->doubted = 0;
        k->reloads = 0;
        k->m->figures.mapped += s.end - s.base;
        if (walk_segment(k, &s))
            draw_segment(k, map);
        else
            error = -EAGAIN;
    }
    free(k->free_bytes);
    return error;
}

static int by_base(const void *a, const void *b)
{
    const struct ljt_segment_map *x = a, *y = b;
    return x->base < y->base ? -1 : x->base > y->base;
}

int ljt_arena_measure(struct ljt_measured *m, struct ljt_remote *r, uintptr_t state, double deadline)
{
    struct walk k = {.r = r, .m = m, .deadline = deadline, .live = r->nthreads == 0};
    struct ljt_arena_figures *f = &m->figures;
    *m = (struct ljt_measured){.figures = {.state = state}};
    int error = ljt_arena_state_read(&k.arena, r, state);
    if (error == 0) {
        f->segments = k.arena.count;
        ljt_arena_state_lua_heap(&k.arena, r, f);
        m->maps = calloc(k.arena.count, sizeof(*m->maps));
        k.window = (struct window){.pages = &k.pages, .bytes = malloc(WINDOW_PAGES * r->page), .ahead = 1};
        if (m->maps == NULL || k.window.bytes == NULL)
            error = -ENOMEM;
    }
    for (size_t i = 0; error == 0 && i < k.arena.count; i++)
        error = walk_one(&k, i, &m->maps[m->nmaps++]);
    f->approximate = k.live;
    f->floor = f->mapped - f->purgeable;
    if (error == 0 && !k.live && f->mapped != f->live + f->free + f->overhead)
        error = -EAGAIN;
    if (m->maps != NULL)
        qsort(m->maps, m->nmaps, sizeof(*m->maps), by_base);
    ljt_arena_state_free(&k.arena);
    free(k.pages.state);
    free(k.window.bytes);
    return error;
}

void ljt_measured_free(struct ljt_measured *m)
{
    for (size_t i = 0; i < m->nmaps; i++)
        free(m->maps[i].cells);
    free(m->maps);
    m->maps = NULL;
    m->nmaps = 0;
}

/* ---- Sums ---- */

void ljt_arena_add(struct ljt_arena_figures *sum, const struct ljt_arena_figures *f)
{
    sum->segments += f->segments;
    sum->mapped += f->mapped;
    sum->live += f->live;
    sum->free += f->free;
    sum->overhead += f->overhead;
    sum->unknown += f->unknown;
    sum->purgeable += f->purgeable;
    sum->floor += f->floor;
    sum->resident += f->resident;
    sum->swapped += f->swapped;
    sum->reclaimable += f->reclaimable;
    sum->live_chunks += f->live_chunks;
    sum->free_chunks += f->free_chunks;
    sum->lua_heap += f->lua_heap;
    sum->gc64 |= f->gc64;
    sum->approximate |= f->approximate;
}

static void add_classes(struct ljt_class *sum, const struct ljt_class *c)
{
    for (size_t i = 0; i < LJT_CLASSES; i++) {
        sum[i].count += c[i].count;
        sum[i].bytes += c[i].bytes;
        sum[i].resident += c[i].resident;
    }
}

void ljt_histograms_add(struct ljt_histograms *sum, const struct ljt_histograms *h)
{
    add_classes(sum->live, h->live);
    add_classes(sum->free, h->free);
    add_classes(sum->runs, h->runs);
}
