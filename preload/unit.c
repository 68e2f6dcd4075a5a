#include "unit.h"

#include <string.h>

#include "arena.h"
#include "config.h"
#include "delay.h"
#include "heap.h"
#include "kernel.h"
#include "log.h"
#include "segments.h"

/* The most that a unit is charged to the CPU budget, ns. It is timed by the clock, which costs no system call. */
#define UNIT_CPU_MAX ((uint64_t)1000000)

/* A unit's allowance. The clock costs as much as a warm visit, and is asked each time: a cold one takes many times that. */
struct allowance {
    uint64_t deadline;
    unsigned steps, visits;
};

static bool spent(struct allowance *left)
{
    left->steps++;
    return left->steps >= left->visits || ljt_kernel.now() >= left->deadline;
}

void ljt_work_begin_look(struct ljt_work *w, size_t mapped, size_t limit, bool at_sight)
{
    size_t share = mapped / LJT_CLAIM_SHARE;
    w->claim_bytes = share < LJT_CLAIM_MIN ? LJT_CLAIM_MIN : share > LJT_CLAIM_MAX ? LJT_CLAIM_MAX : share;
    w->kind = LJT_UNIT_LOOK;
    w->look_done = false;
    w->may_claim = limit > 0;
    w->leave_bytes = limit;
    w->at_sight = at_sight;
    w->phase = LJT_LOOK_TOP;
    w->cursor = SIZE_MAX & ~(size_t)7;
    w->ring_size = 0;
    w->giant = 0;
    w->purgeable = 0;
    w->joined = false;
}

void ljt_work_limit_look(struct ljt_work *w, size_t limit)
{
    if (limit == 0)
        w->may_claim = false;
    if (limit < w->leave_bytes)
        w->leave_bytes = limit;
}

void ljt_work_begin_list(struct ljt_work *w)
{
    w->kind = LJT_UNIT_SEGMENTS;
    w->listed = false;
    w->segments = 0;
}

void ljt_work_begin_dismissal(struct ljt_work *w, size_t keep)
{
    w->kind = LJT_UNIT_DISMISS;
    w->look_done = false;
    w->keep = keep;
    w->dismissed = 0;
}

void ljt_work_reset(struct ljt_work *w)
{
    size_t rest = offsetof(struct ljt_work, kind); /* what is in the ledger does not count any more */
    atomic_store_explicit(&w->claims, 0, memory_order_relaxed);
    memset((char *)w + rest, 0, sizeof(*w) - rest);
}

/* ---- Segments ---- */

/*
 * Goes on where the last unit has stopped, over records that are warm by now. A new segment comes in front of all others: then
 * it starts again. One that has gone meanwhile may take the place of another; the list made after that has both.
 */
static void list_segments(struct ljt_arena *a, struct allowance *left)
{
    struct ljt_work *w = &a->work;
    const struct ljt_lj_segment *s = &a->m->seg;
    if (w->segments > 0 && w->segment[0].base != s->base)
        w->segments = 0;
    for (unsigned i = 0; i < w->segments && s != NULL; i++)
        s = s->next;
    for (; s != NULL && w->segments < LJT_SEGMENTS; s = s->next) {
        w->segment[w->segments].base = s->base;
        w->segment[w->segments].size = s->size;
        w->segments++;
        if (spent(left) && s->next != NULL)
            return;
    }
    w->listed = true;
}

/* ---- The look ---- */

static bool ledger_full(const struct ljt_work *w)
{
    return w->claims == LJT_LEDGER || w->claimed_bytes >= w->claim_bytes || w->gone == LJT_GONE;
}

/*
 * What is to be parked is claimed without the pieces at its ends that share a page with others: those are the VM's
 * to fill.
 */
static void claim(struct ljt_arena *a, struct ljt_lj_chunk *c, uintptr_t from, uintptr_t to, uintptr_t lo,
                  uintptr_t hi)
{
    struct ljt_work *w = &a->work;
    if (ljt_arena_is_patched(a) && hi - lo >= (size_t)LJT_PARKED_PAGES << ljt_page_shift) {
        if (from == (uintptr_t)c && lo - from >= 2 * LJT_LJ_TREE_CHUNK)
            from = lo - LJT_LJ_TREE_CHUNK;
        if (to - hi >= LJT_LJ_MIN_CHUNK)
            to = hi;
    }
    ljt_dawdle(); /* what was read of the chunk still holds, or the heap is not ours alone */
    unsigned claims = atomic_load_explicit(&w->claims, memory_order_relaxed);
    struct ljt_claim *entry = &w->ledger[claims];
    atomic_store_explicit(&entry->chunk, ljt_heap_claim(a->m, c, from, to), memory_order_relaxed);
    entry->lo = lo;
    entry->hi = hi;
    atomic_store_explicit(&w->claims, claims + 1, memory_order_release); /* pairs with loses_memory */
    w->claimed_bytes += to - from;
}

/* Has the VM room for its largest request elsewhere than in c, a free chunk of this size that is not top? */
static bool room_elsewhere(struct ljt_lj_state *m, const struct ljt_lj_chunk *c, size_t size)
{
    if (m->topsize >= LJT_VM_ROOM || (m->dvsize >= LJT_VM_ROOM && m->dv != c))
        return true;
    const struct ljt_lj_tree_chunk *other = ljt_heap_largest(m, SIZE_MAX & ~(size_t)7);
    if ((const void *)other == (const void *)c && other->bk == other)
        other = ljt_heap_largest(m, size - LJT_LJ_ALIGN);
    return other != NULL && ljt_lj_head_size(other->head) >= LJT_VM_ROOM;
}

/*
 * A chunk too large to be claimed whole, or one whose end is the VM's room: from `end` down, the next window of
 * claim_bytes that is worth it. The headers at the window's ends stay resident: a page or two a slice.
 *
 *     c                    claim                           end, at most
 *     | header | low, free | header |      window        | header | high, free (or the new top) |
 *                           64 bytes ^ lo (a page)      hi ^ (a page)
 */
static bool claim_slice(struct ljt_arena *a, struct ljt_lj_chunk *c, uintptr_t end, uintptr_t lo,
                        uintptr_t hi, unsigned mask, struct allowance *left)
{
    struct ljt_work *w = &a->work;
    uintptr_t below = hi;
    if (w->giant == (uintptr_t)c && w->giant_below < hi)
        below = w->giant_below;
    w->giant = (uintptr_t)c;
    for (;;) {
        uintptr_t last;
        w->giant_below = lo;
        if (!ljt_shadow_last(&a->shadow, mask, 0, lo, below, &last))
            return false;
        uintptr_t window_hi = last + ljt_page_size;
        uintptr_t window_lo = window_hi - lo > w->claim_bytes ? ljt_page_up(window_hi - w->claim_bytes) : lo;
        w->giant_below = below = window_lo;
        if (ljt_shadow_count(&a->shadow, mask, 0, window_lo, window_hi) < LJT_WINDOW_PAGES) {
            if (spent(left))
                return true;
            continue;
        }
        uintptr_t from = window_lo == lo ? (uintptr_t)c : window_lo - LJT_LJ_TREE_CHUNK;
        claim(a, c, from, window_hi == hi ? end : window_hi, window_lo, window_hi);
        w->claimed_bytes =
            w->claim_bytes; /* one slice a batch: what remains of the chunk merges before the next */
        return true;
    }
}

/* A free chunk fills the segment behind this one. It leaves the heap as it is, to be unmapped with nothing held. */
static void leave(struct ljt_arena *a, struct ljt_lj_segment *before, struct ljt_lj_chunk *c, size_t size)
{
    struct ljt_work *w = &a->work;
    (void)ljt_heap_claim(a->m, c, (uintptr_t)c, (uintptr_t)c + size);
    struct ljt_lj_segment gone = ljt_segments_leave(a->m, before);
    w->gone_segment[w->gone].base = gone.base;
    w->gone_segment[w->gone++].size = gone.size;
}

/* In a look: such a chunk of a patched arena, of which no page is too young. Purged pages in it count as old. */
static bool dismiss(struct ljt_arena *a, struct ljt_lj_chunk *c, size_t size, uintptr_t lo, uintptr_t hi)
{
    struct ljt_work *w = &a->work;
    unsigned resident = LJT_SHADOW_BIT(LJT_SHADOW_RESIDENT), aged = LJT_SHADOW_BIT(LJT_SHADOW_AGED);
    uintptr_t young;
    struct ljt_lj_segment *before =
        ljt_arena_is_patched(a) && w->gone < LJT_GONE ? ljt_segments_before(a->m, (uintptr_t)c, size) : NULL;
    if (before == NULL || size > w->leave_bytes ||
        (!w->at_sight && ljt_shadow_first(&a->shadow, resident, aged, lo, hi, &young)))
        return false;
    leave(a, before, c, size);
    w->leave_bytes -= size;
    w->purgeable -= ljt_shadow_clear(&a->shadow, LJT_SHADOW_FREE, lo, hi);
    return true;
}

/* Marks the chunk's whole pages. True if it was claimed, or its slicing is not at its end. */
static bool visit(struct ljt_arena *a, struct ljt_lj_chunk *c, size_t size, struct allowance *left,
                  bool *seen)
{
    struct ljt_work *w = &a->work;
    uintptr_t lo, hi;
    *seen = false;
    if (!ljt_lj_free_pages((uintptr_t)c, size, ljt_page_size, &lo, &hi))
        return false;
    if (w->giant != (uintptr_t)c) { /* else marked when its slicing began */
        size_t marked = ljt_shadow_set(&a->shadow, LJT_SHADOW_FREE, lo, hi);
        w->purgeable += marked;
        *seen = marked == 0;
    }
    if (!w->may_claim)
        return false;

    unsigned mask = LJT_SHADOW_BIT(LJT_SHADOW_RESIDENT) | (w->at_sight ? 0 : LJT_SHADOW_BIT(LJT_SHADOW_AGED));
    uintptr_t end = (uintptr_t)c + size;
    bool slice = size > w->claim_bytes;
    if (c == a->m->top || (size >= LJT_VM_ROOM && !room_elsewhere(a->m, c, size))) {
        end = ljt_page_down(end - LJT_VM_ROOM); /* what is behind that stays free: the VM's room */
        if (size <= LJT_VM_ROOM || end <= lo)
            return false;
        hi = end;
        slice = true;
    } else if (dismiss(a, c, size, lo, hi)) {
        return true;
    }
    if (slice)
        return claim_slice(a, c, end, lo, hi, mask, left);

    uintptr_t page;
    if (!ljt_shadow_first(&a->shadow, mask, 0, lo, hi, &page))
        return false;
    claim(a, c, (uintptr_t)c, end, lo, hi);
    return true;
}

static void next_size(struct ljt_work *w, size_t size)
{
    w->cursor = size - LJT_LJ_ALIGN;
    w->ring_size = 0;
}

/*
 * The treebins, by size downwards. In a ring of equal sizes each chunk that is passed over leaves the tree to the
 * next one; the ring is done when the first comes around again. That one may be gone by then: a chunk whose pages
 * are marked already says so too, and the count of visits ends what neither does.
 */
static void look_at_trees(struct ljt_arena *a, struct allowance *left)
{
    struct ljt_work *w = &a->work;
    size_t smallest = LJT_LJ_TREE_CHUNK + ljt_page_size;
    do {
        struct ljt_lj_tree_chunk *c = ljt_heap_largest(a->m, w->cursor);
        size_t size = c == NULL ? 0 : ljt_lj_head_size(c->head);
        if (c == NULL || size < smallest) {
            w->phase = LJT_LOOK_PARKED;
            w->parked = ljt_arena_is_patched(a) ? a->patched.runs : 0;
            return;
        }
        if (size != w->ring_size) {
            w->ring_size = size;
            w->ring_first = NULL;
            w->ring_visits = 0;
        } else if (c == w->ring_first || w->ring_visits > ((size_t)1 << 24)) {
            next_size(w, size);
            continue;
        }
        w->ring_visits++;
        bool seen;
        if (visit(a, (struct ljt_lj_chunk *)c, size, left, &seen))
            continue;
        if (c->bk == c || (seen && w->ring_first != NULL)) {
            next_size(w, size);
            continue;
        }
        if (w->ring_first == NULL)
            w->ring_first = c;
        ljt_heap_rotate(a->m, c);
    } while (!spent(left) && !ledger_full(w));
}

/* Runs that can become larger, from the last to the first; the VM may have taken some meanwhile. */
static void look_at_parked(struct ljt_arena *a, struct allowance *left)
{
    struct ljt_work *w = &a->work;
    if (w->parked > 0 && w->parked > a->patched.runs)
        w->parked = a->patched.runs;
    while (w->may_claim && w->parked > 0) {
        if (spent(left))
            return;
        w->joined |= ljt_patched_join(a->m, --w->parked);
    }
    w->look_done = true;
}

static void look(struct ljt_arena *a, struct allowance *left)
{
    struct ljt_work *w = &a->work;
    bool seen;
    if (w->phase == LJT_LOOK_TOP) {
        while (visit(a, a->m->top, a->m->topsize, left, &seen))
            if (ledger_full(w) || spent(left))
                return;
        w->phase = LJT_LOOK_DV;
    }
    if (w->phase == LJT_LOOK_DV) {
        while (a->m->dv != NULL && visit(a, a->m->dv, a->m->dvsize, left, &seen))
            if (ledger_full(w) || spent(left))
                return;
        w->phase = LJT_LOOK_TREES;
    }
    if (w->phase == LJT_LOOK_TREES)
        look_at_trees(a, left);
    if (w->phase == LJT_LOOK_PARKED)
        look_at_parked(a, left);
}

/* ---- Dismissal ---- */

/*
 * Segments that are free from end to end, whatever the age of their pages: the largest there can be, and unlike a page's
 * their way back is not a fault that nobody foresaw but a call for more memory. The last of the VM's room stays, and top's.
 */
static void dismiss_free(struct ljt_arena *a, struct allowance *left)
{
    struct ljt_work *w = &a->work;
    struct ljt_lj_segment *s = &a->m->seg;
    for (unsigned i = 0; i < w->dismissed && s->next != NULL; i++)
        s = s->next;
    while (ljt_arena_is_patched(a) && s->next != NULL && w->dismissed < LJT_SEGMENTS) {
        if (w->gone == LJT_GONE || spent(left))
            return;
        struct ljt_lj_chunk *c = (struct ljt_lj_chunk *)s->next->base;
        size_t size = ljt_lj_chunk_size(c), segment = s->next->size;
        if (!ljt_lj_chunk_cinuse(c) && ljt_segments_next_is(s, (uintptr_t)c, size) &&
            room_elsewhere(a->m, c, size) &&
            atomic_load_explicit(&a->patched.footprint, memory_order_relaxed) >= w->keep + segment) {
            ljt_dawdle();
            leave(a, s, c, size);
        } else {
            s = s->next;
            w->dismissed++;
        }
    }
    w->look_done = true;
}

/* ---- Hand-back ---- */

/* Whatever was claimed and is not resident any more; a page that was too young to be purged must be seen again. */
static bool park(struct ljt_arena *a, const struct ljt_claim *claim)
{
    uintptr_t page;
    return ljt_arena_is_patched(a) &&
           !ljt_shadow_first(&a->shadow, LJT_SHADOW_BIT(LJT_SHADOW_RESIDENT), 0, claim->lo, claim->hi,
                             &page) &&
           ljt_patched_park(a->m, claim->chunk);
}

static void hand_back(struct ljt_arena *a, struct allowance *left)
{
    struct ljt_work *w = &a->work;
    while (w->claims > 0) {
        struct ljt_claim *claim = &w->ledger[--w->claims];
        ljt_dawdle();
        if (left == NULL || !park(a, claim))
            ljt_heap_hand_back(a->m, ljt_gates[a->slot].allocf, claim->chunk);
        if (left != NULL && spent(left))
            break;
    }
    if (w->claims == 0)
        w->claimed_bytes = 0;
}

void ljt_unit_hand_back_all(struct ljt_arena *a)
{
    hand_back(a, NULL);
}

/* ---- Units ---- */

/* LJTRIM_DEBUG=verify: the whole heap, before and after. Slow; for tests. */
static bool verify(struct ljt_arena *a)
{
    struct ljt_heap_census census;
    enum ljt_heap_fault fault = ljt_heap_prove(a->m, &census);
    if (fault == LJT_HEAP_OK)
        return true;
    ljt_arena_lose(a, ljt_heap_fault_text(fault));
    return false;
}

uint64_t ljt_unit_run(struct ljt_arena *a, enum ljt_unit_by by)
{
    if (!ljt_arena_is(a, LJT_ARENA_ARMED))
        return 0;
    ljt_alloc_fn *place = atomic_load_explicit(a->place, memory_order_relaxed);
    atomic_store_explicit(&a->pace.wrapped, place != ljt_gate_trampoline(a->slot), memory_order_relaxed);
    if (place == a->allocf) {
        ljt_arena_lose(a, "the program has set the VM's allocator back");
        return 0;
    }
    bool verifying = (ljt_config.debug & LJT_DEBUG_VERIFY) != 0;
    if (verifying && !verify(a))
        return 0;
    ljt_dawdle();
    /* A proof takes much longer than its unit: not for so little. */
    unsigned part = by == LJT_UNIT_BY_MUTATOR && !verifying ? LJT_REQUEST_UNITS : 1;
    uint64_t start = ljt_kernel.now();
    struct allowance left = {.deadline = start + ljt_config.max_hold_us * 1000 / part,
                             .visits = LJT_UNIT_VISITS / part};
    switch (a->work.kind) {
    case LJT_UNIT_SEGMENTS: list_segments(a, &left); break;
    case LJT_UNIT_LOOK: look(a, &left); break;
    case LJT_UNIT_HAND_BACK: hand_back(a, &left); break;
    case LJT_UNIT_DISMISS: dismiss_free(a, &left); break;
    }
    uint64_t took = ljt_kernel.now() - start;
    ljt_histogram_bump(&a->stats.units[by], 1);
    if (by ==
        LJT_UNIT_BY_MUTATOR) /* what is longer was not spent here: the thread had no processor, or was stopped */
        ljt_histogram_bump(&a->stats.unit_cpu, took < UNIT_CPU_MAX ? took : UNIT_CPU_MAX);
    if (verifying)
        verify(a);
    return took;
}

bool ljt_unit_serve(struct ljt_arena *a)
{
    struct ljt_work *w = &a->work;
    bool verifying = (ljt_config.debug & LJT_DEBUG_VERIFY) != 0, more = false;
    ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
    switch (w->kind) {
    case LJT_UNIT_SEGMENTS: more = !w->listed; break;
    case LJT_UNIT_LOOK: more = !w->look_done && !ledger_full(w); break;
    case LJT_UNIT_HAND_BACK: more = w->claims > 0; break;
    case LJT_UNIT_DISMISS: more = !w->look_done && w->gone < LJT_GONE; break;
    }
    return !more || verifying || ++w->served == LJT_REQUEST_UNITS || !ljt_arena_is(a, LJT_ARENA_ARMED);
}
