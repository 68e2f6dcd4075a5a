/* Finding LuaJIT's arenas in another process and walking their chunks. See arenas.h. */
#include "arenas.h"
#include "lj_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* ---- Finding ---- */

/*
 * Pages looked at with one system call, right after pagemap was asked about them. The target runs meanwhile:
 * a page purged between the two calls would be read into being, as a mapping of the zero page. So the batch
 * is small.
 */
enum { SCAN_BATCH = 128 };

/* The first two words of a page: prev_foot and head of a chunk that starts there. */
struct page_start {
    size_t prev_foot, head;
};

static int append_state(struct ljt_arenas *a, uintptr_t state)
{
    uintptr_t *bigger = realloc(a->states, (a->count + 1) * sizeof(*bigger));
    if (bigger == NULL)
        return -ENOMEM;
    a->states = bigger;
    a->states[a->count++] = state;
    return 0;
}

/*
 * Is this a block that lj_alloc mapped directly? Such a chunk starts its mapping, is marked in prev_foot, and
 * is followed by a fencepost and a zero head in the last 32 bytes of the mapping's last page.
 */
static bool is_direct_block(const struct ljt_remote *r, uintptr_t start, const struct page_start *p,
                            uintptr_t vma_end)
{
    size_t size = ljt_lj_head_size(p->head), foot[3];
    if (p->prev_foot != LJT_LJ_IS_DIRECT || (p->head & 7) != LJT_LJ_CINUSE || size < LJT_LJ_MMAP_THRESHOLD ||
        size + LJT_LJ_DIRECT_FOOT_PAD > vma_end - start ||
        ((size + LJT_LJ_DIRECT_FOOT_PAD) & (r->page - 1)) != 0)
        return false;
    return ljt_remote_read(r, start + size, foot, sizeof(foot)) == 0 && foot[1] == LJT_LJ_FENCEPOST &&
           foot[2] == 0;
}

static int look_at(struct ljt_arenas *a, const struct ljt_remote *r, uintptr_t start,
                   const struct page_start *p, uintptr_t vma_end)
{
    if (ljt_lj_head_is_state(p->head))
        return append_state(a, start + LJT_LJ_MEM_OFFSET);
    if (is_direct_block(r, start, p, vma_end)) {
        struct ljt_vma *bigger = realloc(a->direct, (a->ndirect + 1) * sizeof(*bigger));
        if (bigger == NULL)
            return -ENOMEM;
        a->direct = bigger;
        a->direct[a->ndirect++] =
            (struct ljt_vma){start, start + ljt_lj_head_size(p->head) + LJT_LJ_DIRECT_FOOT_PAD};
    }
    return 0;
}

static int scan_pages(struct ljt_arenas *a, const struct ljt_remote *r, const uintptr_t *starts, size_t n,
                      uintptr_t vma_end)
{
    struct page_start found[SCAN_BATCH];
    struct iovec local[SCAN_BATCH], remote[SCAN_BATCH];
    for (size_t i = 0; i < n; i++) {
        local[i] = (struct iovec){&found[i], sizeof(found[i])};
        remote[i] = (struct iovec){(void *)starts[i], sizeof(found[i])};
    }
    for (size_t i = 0; i < n;) {
        ssize_t got = process_vm_readv(r->pid, local + i, n - i, remote + i, n - i, 0);
        if (got < 0 && errno != EFAULT)
            return -errno;
        size_t done = got < 0 ? 0 : (size_t)got / sizeof(found[0]);
        for (size_t k = i; k < i + done; k++) {
            int error = look_at(a, r, starts[k], &found[k], vma_end);
            if (error != 0)
                return error;
        }
        i += done;
        if (i < n)
            i++; /* unmapped since we looked: pass over it */
    }
    return 0;
}

static int scan_vma(struct ljt_arenas *a, const struct ljt_remote *r, const struct ljt_vma *v,
                    struct ljt_pages *p)
{
    uintptr_t starts[SCAN_BATCH] = {0};
    int error = 0;
    for (uintptr_t at = v->start; error == 0 && at < v->end;) {
        size_t left = v->end - at, n = 0;
        uintptr_t end = at + (left < SCAN_BATCH * r->page ? left : SCAN_BATCH * r->page);
        error = ljt_pages_load(p, r, at, end);
        for (size_t i = 0; error == 0 && i < p->count; i++)
            if (p->state[i] != LJT_PAGE_ABSENT)
                starts[n++] = at + i * r->page;
        if (error == 0 && n != 0)
            error = scan_pages(a, r, starts, n, v->end);
        at = end;
    }
    return error;
}

int ljt_arenas_find(struct ljt_arenas *a, const struct ljt_remote *r)
{
    struct ljt_pages p = {0};
    int error = 0;
    *a = (struct ljt_arenas){0};
    for (size_t i = 0; error == 0 && i < r->nvmas; i++)
        error = scan_vma(a, r, &r->vmas[i], &p);
    free(p.state);
    return error;
}

void ljt_arenas_free(struct ljt_arenas *a)
{
    free(a->states);
    free(a->direct);
    *a = (struct ljt_arenas){0};
}

/* ---- Measuring ---- */

enum { MAX_SEGMENTS = 1 << 20, WINDOW_PAGES = 64 };

/*
 * Reads a segment's words through a window that grows while the walk moves through consecutive pages and
 * shrinks to one page where it jumps over a large free chunk: dense heaps take few system calls, sparse ones
 * copy little.
 */
struct window {
    const struct ljt_remote *r;
    const struct ljt_pages *pages;
    uint8_t *bytes; /* WINDOW_PAGES pages */
    uintptr_t start, end;
    size_t ahead; /* pages the next read asks for */
};

static bool window_move(struct window *w, uintptr_t address)
{
    size_t page = w->r->page, first = (address - w->pages->start) / page;
    if (address < w->pages->start || first >= w->pages->count)
        return false;
    uintptr_t start = w->pages->start + first * page;
    if (start != w->end)
        w->ahead = 1;
    else if (w->ahead < WINDOW_PAGES)
        w->ahead *= 2;
    size_t n = 0;
    while (n < w->ahead && first + n < w->pages->count && w->pages->state[first + n] != LJT_PAGE_ABSENT)
        n++;
    w->start = w->end = start;
    if (n == 0 || ljt_remote_read(w->r, start, w->bytes, n * page) != 0)
        return false;
    w->end = start + n * page;
    return true;
}

/* The word at an address that is a multiple of 8. False if its page is absent: no header lies there. */
static bool window_word(struct window *w, uintptr_t address, size_t *word)
{
    if ((address < w->start || address >= w->end) && !window_move(w, address))
        return false;
    memcpy(word, w->bytes + (address - w->start), sizeof(*word));
    return true;
}

static void count_free_pages(struct ljt_arena_figures *f, const struct ljt_pages *p, size_t page,
                             uintptr_t chunk, size_t size)
{
    uintptr_t first, end;
    if (!ljt_lj_free_pages(chunk, size, page, &first, &end))
        return;
    f->purgeable += end - first;
    for (size_t i = (first - p->start) / page; i < (end - p->start) / page; i++)
        if (p->state[i] == LJT_PAGE_PRESENT)
            f->reclaimable += page;
}

struct arena {
    uintptr_t address; /* of the state */
    struct ljt_lj_state state;
    uintptr_t *records; /* addresses of the segment records, state.seg first */
    struct ljt_lj_segment *segments;
    size_t count;
};

/* Fenceposts from here to the segment's end, one a word. */
static bool is_fence(struct window *w, uintptr_t c, uintptr_t end)
{
    for (; c + 8 < end; c += 8) {
        size_t head;
        if (!window_word(w, c + 8, &head) || head != LJT_LJ_FENCEPOST)
            return false;
    }
    return c + 8 == end;
}

/* Walks segment i's chunks from end to end. False where they do not fit together. */
static bool walk_segment(struct ljt_arena_figures *f, const struct arena *a, struct window *w, size_t i)
{
    const struct ljt_lj_segment *s = &a->segments[i];
    uintptr_t end = s->base + s->size, top = (uintptr_t)a->state.top;
    uintptr_t stop = top >= s->base && top < end ? end - LJT_LJ_TOP_FOOT : 0; /* 0: ends with a fence */
    uintptr_t state_chunk = a->address - LJT_LJ_MEM_OFFSET;
    size_t prev_free = 0; /* the size of the chunk before, if that is free */
    uintptr_t c = s->base;
    while (c != stop) {
        size_t head, foot;
        if (c + LJT_LJ_MIN_CHUNK / 2 > end || !window_word(w, c + 8, &head))
            return false;
        if (head == LJT_LJ_FENCEPOST && stop == 0) {
            /* The last chunk before a fence is its segment's own record. */
            if (a->records[i] != c - LJT_LJ_SEGMENT_CHUNK + LJT_LJ_MEM_OFFSET)
                return false;
            f->overhead += LJT_LJ_SEGMENT_CHUNK + (end - c);
            f->live -= LJT_LJ_SEGMENT_CHUNK;
            f->live_chunks--;
            return prev_free == 0 && is_fence(w, c, end);
        }
        size_t size = ljt_lj_head_size(head);
        if ((size & 7) != 0 || size > end - c || size < 8)
            return false;
        if (size < LJT_LJ_MIN_CHUNK && c != top)
            return false;
        if (ljt_lj_head_pinuse(head) != (prev_free == 0))
            return false;
        if (prev_free != 0 && (!window_word(w, c, &foot) || foot != prev_free))
            return false;
        if (ljt_lj_head_cinuse(head)) {
            *(c == state_chunk ? &f->overhead : &f->live) += size;
            f->live_chunks += c != state_chunk;
            prev_free = 0;
        } else {
            if (prev_free != 0 || (c == top && size != a->state.topsize))
                return false;
            f->free += size;
            f->free_chunks++;
            count_free_pages(f, w->pages, w->r->page, c, size);
            prev_free = c == top ? 0 : size;
        }
        c += size;
    }
    f->overhead += LJT_LJ_TOP_FOOT;
    return prev_free == 0;
}

static int add_record(struct arena *a, uintptr_t record, struct ljt_lj_segment segment)
{
    if ((a->count & (a->count - 1)) == 0) {
        size_t n = a->count == 0 ? 1 : 2 * a->count;
        uintptr_t *records = realloc(a->records, n * sizeof(*records));
        if (records != NULL)
            a->records = records;
        struct ljt_lj_segment *segments = realloc(a->segments, n * sizeof(*segments));
        if (segments != NULL)
            a->segments = segments;
        if (records == NULL || segments == NULL)
            return -ENOMEM;
    }
    a->records[a->count] = record;
    a->segments[a->count++] = segment;
    return 0;
}

static bool in_vmas(const struct ljt_remote *r, uintptr_t start, size_t size)
{
    size_t low = 0, high = r->nvmas;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (r->vmas[mid].end <= start)
            low = mid + 1;
        else
            high = mid;
    }
    /* A segment may span mappings that touch: the kernel keeps them apart where their flags differ. */
    for (; low < r->nvmas && r->vmas[low].start <= start; low++) {
        if (size <= r->vmas[low].end - start)
            return true;
        size -= r->vmas[low].end - start;
        start = r->vmas[low].end;
    }
    return false;
}

/* Reads the state and its segment list, and checks both as far as that goes without a walk. */
static int read_arena(struct arena *a, const struct ljt_remote *r, uintptr_t address)
{
    size_t head;
    *a = (struct arena){.address = address};
    if (ljt_remote_read(r, address - 8, &head, sizeof(head)) != 0 || !ljt_lj_head_is_state(head) ||
        ljt_remote_read(r, address, &a->state, ljt_lj_state_size(head)) != 0)
        return -ENOENT;
    uintptr_t top = (uintptr_t)a->state.top, record = address + offsetof(struct ljt_lj_state, seg);
    struct ljt_lj_segment s = a->state.seg;
    bool has_state = false, has_top = false;
    for (;;) {
        if (a->count == MAX_SEGMENTS || s.size < LJT_LJ_GRANULARITY || (s.base & (r->page - 1)) != 0 ||
            (s.size & (r->page - 1)) != 0 || !in_vmas(r, s.base, s.size))
            return -ENOENT;
        has_state |= address - s.base < s.size;
        has_top |= top - s.base < s.size && top + a->state.topsize + LJT_LJ_TOP_FOOT == s.base + s.size;
        int error = add_record(a, record, s);
        if (error != 0)
            return error;
        if (s.next == NULL)
            return has_state && has_top && (top & 7) == 0 ? 0 : -EAGAIN;
        record = (uintptr_t)s.next;
        if ((record & 7) != 0 || ljt_remote_read(r, record, &s, sizeof(s)) != 0)
            return -ENOENT;
    }
}

/*
 * The collector's own count. GG_State is the arena's first allocation, so its chunk follows the state's: the
 * main lua_State, then global_State, whose words allocf, allocd are followed by gc.total. allocd is the
 * state's address; where the pair lies differs between releases. A reference from lua_State to global_State
 * is 8 bytes at 16 with GC64, 4 bytes at 8 without; gc.total is as wide.
 */
static size_t read_lua_heap(const struct ljt_remote *r, const struct arena *a)
{
    enum { WORDS = 64 };
    uint64_t words[WORDS];
    size_t head;
    uintptr_t chunk = a->address - LJT_LJ_MEM_OFFSET;
    if (ljt_remote_read(r, chunk + 8, &head, sizeof(head)) != 0)
        return 0;
    uintptr_t gg = chunk + ljt_lj_head_size(head) + LJT_LJ_MEM_OFFSET;
    if (ljt_remote_read(r, gg, words, sizeof(words)) != 0)
        return 0;
    bool gc64 = words[2] > gg && words[2] < gg + sizeof(words);
    if (!gc64 && !((uint32_t)words[1] > gg && (uint32_t)words[1] < gg + sizeof(words)))
        return 0;
    for (size_t i = 1; i + 1 < WORDS; i++)
        if (words[i] == a->address && words[i - 1] != 0)
            return gc64 ? words[i + 1] : (uint32_t)words[i + 1];
    return 0;
}

static int walk_arena(struct ljt_arena_figures *f, const struct ljt_remote *r, const struct arena *a)
{
    struct ljt_pages pages = {0};
    struct window w = {.r = r, .pages = &pages, .bytes = malloc(WINDOW_PAGES * r->page), .ahead = 1};
    int error = w.bytes == NULL ? -ENOMEM : 0;
    for (size_t i = 0; error == 0 && i < a->count; i++) {
        const struct ljt_lj_segment *s = &a->segments[i];
        error = ljt_pages_load(&pages, r, s->base, s->base + s->size);
        if (error != 0)
            break;
        w.start = w.end = 0;
        f->mapped += s->size;
        for (size_t k = 0; k < pages.count; k++) {
            f->resident += pages.state[k] == LJT_PAGE_PRESENT ? r->page : 0;
            f->swapped += pages.state[k] == LJT_PAGE_SWAPPED ? r->page : 0;
        }
        if (!walk_segment(f, a, &w, i))
            error = -EAGAIN;
    }
    free(pages.state);
    free(w.bytes);
    return error;
}

int ljt_arena_measure(struct ljt_arena_figures *f, const struct ljt_remote *r, uintptr_t state)
{
    struct arena a;
    *f = (struct ljt_arena_figures){.state = state};
    int error = read_arena(&a, r, state);
    if (error == 0) {
        f->segments = a.count;
        f->lua_heap = read_lua_heap(r, &a);
        error = walk_arena(f, r, &a);
    }
    if (error == 0) {
        f->floor = f->mapped - f->purgeable;
        if (f->mapped != f->live + f->free + f->overhead)
            error = -EAGAIN;
    }
    free(a.records);
    free(a.segments);
    return error;
}

void ljt_arena_add(struct ljt_arena_figures *sum, const struct ljt_arena_figures *f)
{
    sum->segments += f->segments;
    sum->mapped += f->mapped;
    sum->live += f->live;
    sum->free += f->free;
    sum->overhead += f->overhead;
    sum->purgeable += f->purgeable;
    sum->floor += f->floor;
    sum->resident += f->resident;
    sum->swapped += f->swapped;
    sum->reclaimable += f->reclaimable;
    sum->live_chunks += f->live_chunks;
    sum->free_chunks += f->free_chunks;
    sum->lua_heap += f->lua_heap;
}
