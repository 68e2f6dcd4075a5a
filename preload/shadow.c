#include "shadow.h"

#include <errno.h>
#include <string.h>

#include "kernel.h"

#define LEAF_BYTES ((uintptr_t)1 << LJT_SHADOW_LEAF_SHIFT)

/* One region of 64 MiB. `planes` words a plane, as many as the page size asks for. */
struct leaf {
    uintptr_t region; /* address >> LJT_SHADOW_LEAF_SHIFT, never 0 */
    uint64_t word[];  /* LJT_SHADOW_PLANES planes, one behind the other */
};

/* Open addressing, at most half full, never shrinks. */
struct ljt_shadow_table {
    size_t slots; /* a power of two */
    size_t used;
    struct leaf *slot[];
};

static size_t plane_words(void)
{
    return (LEAF_BYTES >> ljt_page_shift) / 64;
}

static size_t leaf_size(void)
{
    return sizeof(struct leaf) + LJT_SHADOW_PLANES * plane_words() * sizeof(uint64_t);
}

static size_t table_size(size_t slots)
{
    return sizeof(struct ljt_shadow_table) + slots * sizeof(struct leaf *);
}

static struct leaf **find_slot(struct ljt_shadow_table *t, uintptr_t region)
{
    size_t i = (region * 0x9e3779b97f4a7c15u >> 20) & (t->slots - 1);
    while (t->slot[i] != NULL && t->slot[i]->region != region)
        i = (i + 1) & (t->slots - 1);
    return &t->slot[i];
}

static struct leaf *find_leaf(const struct ljt_shadow *sh, uintptr_t a)
{
    return sh->table == NULL ? NULL : *find_slot(sh->table, a >> LJT_SHADOW_LEAF_SHIFT);
}

static int grow_table(struct ljt_shadow *sh)
{
    struct ljt_shadow_table *old = sh->table;
    size_t slots = old == NULL ? 16 : old->slots * 2;
    struct ljt_shadow_table *t = ljt_kernel_alloc(table_size(slots));
    if (t == NULL)
        return -ENOMEM;
    t->slots = slots;
    if (old != NULL) {
        t->used = old->used;
        for (size_t i = 0; i < old->slots; i++)
            if (old->slot[i] != NULL)
                *find_slot(t, old->slot[i]->region) = old->slot[i];
    }
    __atomic_store_n(&sh->table, t, __ATOMIC_RELEASE);
    if (old != NULL)
        ljt_kernel_free(old, table_size(old->slots));
    return 0;
}

int ljt_shadow_cover(struct ljt_shadow *sh, uintptr_t base, size_t size)
{
    uintptr_t last = (base + size - 1) >> LJT_SHADOW_LEAF_SHIFT;
    for (uintptr_t region = base >> LJT_SHADOW_LEAF_SHIFT; region <= last; region++) {
        if (sh->table == NULL || 2 * (sh->table->used + 1) > sh->table->slots)
            if (grow_table(sh) != 0)
                return -ENOMEM;
        struct leaf **slot = find_slot(sh->table, region);
        if (*slot != NULL)
            continue;
        struct leaf *leaf = ljt_kernel_alloc(leaf_size());
        if (leaf == NULL)
            return -ENOMEM;
        leaf->region = region;
        sh->table->used++;
        __atomic_store_n(slot, leaf, __ATOMIC_RELEASE);
    }
    return 0;
}

void ljt_shadow_drop(struct ljt_shadow *sh)
{
    struct ljt_shadow_table *t = sh->table;
    sh->table = NULL;
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->slots; i++)
        ljt_kernel_free(t->slot[i], leaf_size());
    ljt_kernel_free(t, table_size(t->slots));
}

/* ---- Ranges ---- */

static uint64_t *plane_of(const struct ljt_shadow *sh, struct leaf *leaf, unsigned plane)
{
    if (plane <= LJT_SHADOW_AGED)
        plane ^= sh->aged;
    return leaf->word + plane * plane_words();
}

static void empty_plane(struct ljt_shadow *sh, enum ljt_shadow_plane plane)
{
    for (size_t i = 0; sh->table != NULL && i < sh->table->slots; i++) {
        struct leaf *leaf = sh->table->slot[i];
        if (leaf != NULL)
            memset(plane_of(sh, leaf, plane), 0, plane_words() * sizeof(uint64_t));
    }
}

void ljt_shadow_begin_look(struct ljt_shadow *sh)
{
    sh->aged ^= 1;
    empty_plane(sh, LJT_SHADOW_FREE);
}

void ljt_shadow_end_window(struct ljt_shadow *sh)
{
    empty_plane(sh, LJT_SHADOW_FRESH);
}

/* The part of a page range that lies in one leaf. */
struct span {
    struct leaf *leaf; /* NULL: not covered */
    size_t from, to;   /* its pages, counted from the leaf's first */
    uintptr_t base;    /* address of the leaf's first page */
    uintptr_t lo, hi;  /* addresses */
};

static struct span span_at(const struct ljt_shadow *sh, uintptr_t lo, uintptr_t hi, bool upwards)
{
    uintptr_t at = upwards ? lo : hi - 1;
    struct span s = {.leaf = find_leaf(sh, at), .base = at & ~(LEAF_BYTES - 1)};
    s.lo = s.base > lo ? s.base : lo;
    s.hi = hi - s.base > LEAF_BYTES ? s.base + LEAF_BYTES : hi;
    s.from = (s.lo - s.base) >> ljt_page_shift;
    s.to = (s.hi - s.base) >> ljt_page_shift;
    return s;
}

/* The pages of a span in word i of a plane. */
static inline uint64_t word_mask(const struct span *s, size_t i)
{
    uint64_t bits = ~(uint64_t)0;
    if (i == s->from / 64)
        bits &= ~(uint64_t)0 << s->from % 64;
    if (i == (s->to - 1) / 64)
        bits &= ~(uint64_t)0 >> (63 - (s->to - 1) % 64);
    return bits;
}

size_t ljt_shadow_set(struct ljt_shadow *sh, enum ljt_shadow_plane plane, uintptr_t lo, uintptr_t hi)
{
    size_t changed = 0;
    while (lo < hi) {
        struct span s = span_at(sh, lo, hi, true);
        uint64_t *word = s.leaf == NULL ? NULL : plane_of(sh, s.leaf, plane);
        for (size_t i = s.from / 64; word != NULL && i * 64 < s.to; i++) {
            uint64_t bits = word_mask(&s, i);
            changed += (size_t)__builtin_popcountll(bits & ~word[i]);
            word[i] |= bits;
        }
        lo = s.hi;
    }
    return changed;
}

size_t ljt_shadow_clear(struct ljt_shadow *sh, enum ljt_shadow_plane plane, uintptr_t lo, uintptr_t hi)
{
    size_t changed = 0;
    while (lo < hi) {
        struct span s = span_at(sh, lo, hi, true);
        uint64_t *word = s.leaf == NULL ? NULL : plane_of(sh, s.leaf, plane);
        for (size_t i = s.from / 64; word != NULL && i * 64 < s.to; i++) {
            uint64_t bits = word_mask(&s, i);
            changed += (size_t)__builtin_popcountll(bits & word[i]);
            word[i] &= ~bits;
        }
        lo = s.hi;
    }
    return changed;
}

/* The planes of a leaf that a match asks for. */
struct match {
    unsigned planes;
    const uint64_t *word[LJT_SHADOW_PLANES];
    uint64_t flip[LJT_SHADOW_PLANES]; /* all ones for a plane that must be clear */
};

static struct match match_in(const struct ljt_shadow *sh, struct leaf *leaf, unsigned mask, unsigned without)
{
    struct match m = {0};
    for (unsigned p = 0; leaf != NULL && p < LJT_SHADOW_PLANES; p++) {
        if (((mask | without) >> p & 1) == 0)
            continue;
        m.word[m.planes] = plane_of(sh, leaf, p);
        m.flip[m.planes++] = (without >> p & 1) != 0 ? ~(uint64_t)0 : 0;
    }
    return m;
}

static inline uint64_t match_word(const struct match *m, const struct span *s, size_t i)
{
    uint64_t bits = word_mask(s, i);
    for (unsigned p = 0; p < m->planes; p++)
        bits &= m->word[p][i] ^ m->flip[p];
    return bits;
}

size_t ljt_shadow_count(const struct ljt_shadow *sh, unsigned mask, unsigned without, uintptr_t lo,
                        uintptr_t hi)
{
    size_t count = 0;
    while (lo < hi) {
        struct span s = span_at(sh, lo, hi, true);
        struct match m = match_in(sh, s.leaf, mask, without);
        for (size_t i = s.from / 64; s.leaf != NULL && i * 64 < s.to; i++)
            count += (size_t)__builtin_popcountll(match_word(&m, &s, i));
        lo = s.hi;
    }
    return count;
}

bool ljt_shadow_first(const struct ljt_shadow *sh, unsigned mask, unsigned without, uintptr_t lo,
                      uintptr_t hi, uintptr_t *page)
{
    while (lo < hi) {
        struct span s = span_at(sh, lo, hi, true);
        struct match m = match_in(sh, s.leaf, mask, without);
        for (size_t i = s.from / 64; s.leaf != NULL && i * 64 < s.to; i++) {
            uint64_t bits = match_word(&m, &s, i);
            if (bits == 0)
                continue;
            *page = s.base + ((i * 64 + (size_t)__builtin_ctzll(bits)) << ljt_page_shift);
            return true;
        }
        lo = s.hi;
    }
    return false;
}

bool ljt_shadow_last(const struct ljt_shadow *sh, unsigned mask, unsigned without, uintptr_t lo, uintptr_t hi,
                     uintptr_t *page)
{
    while (lo < hi) {
        struct span s = span_at(sh, lo, hi, false);
        struct match m = match_in(sh, s.leaf, mask, without);
        for (size_t i = (s.to + 63) / 64; s.leaf != NULL && i-- > s.from / 64;) {
            uint64_t bits = match_word(&m, &s, i);
            if (bits == 0)
                continue;
            *page = s.base + ((i * 64 + 63 - (size_t)__builtin_clzll(bits)) << ljt_page_shift);
            return true;
        }
        hi = s.lo;
    }
    return false;
}

/* ---- Residence ---- */

/* A mincore vector for 8 MiB of 4 KiB pages, on the reclaimer's stack. */
#define VECTOR 2048

/* Takes one answer of mincore, for pages inside one leaf, into the planes. */
static void note_residence(struct ljt_shadow *sh, const struct span *s, const unsigned char *present,
                           struct ljt_shadow_residence *found)
{
    uint64_t *resident = plane_of(sh, s->leaf, LJT_SHADOW_RESIDENT);
    uint64_t *purged = plane_of(sh, s->leaf, LJT_SHADOW_PURGED);
    const uint64_t *fresh = plane_of(sh, s->leaf, LJT_SHADOW_FRESH);
    for (size_t i = s->from / 64, at = s->from; i * 64 < s->to; i++) {
        uint64_t bits = 0;
        for (; at < s->to && at / 64 == i; at++)
            bits |= (uint64_t)(*present++ & 1) << at % 64;
        resident[i] = (resident[i] & ~word_mask(s, i)) | bits;
        found->resident += (size_t)__builtin_popcountll(bits);
        found->refaults += (size_t)__builtin_popcountll(bits & purged[i]);
        found->early += (size_t)__builtin_popcountll(bits & purged[i] & fresh[i]);
        purged[i] &= ~bits;
    }
}

void ljt_shadow_refresh(struct ljt_shadow *sh, uintptr_t lo, uintptr_t hi, struct ljt_shadow_residence *found)
{
    unsigned char vec[VECTOR];
    while (lo < hi) {
        uintptr_t end =
            hi - lo > (uintptr_t)VECTOR << ljt_page_shift ? lo + ((uintptr_t)VECTOR << ljt_page_shift) : hi;
        struct span s = span_at(sh, lo, end, true);
        /* Where mincore fails the range was unmapped meanwhile: its chunks are gone, the old bits do no harm. */
        if (s.leaf != NULL && ljt_kernel.mincore((void *)s.lo, s.hi - s.lo, vec) == 0)
            note_residence(sh, &s, vec, found);
        lo = s.hi;
    }
}
