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

void ljt_shadow_begin_look(struct ljt_shadow *sh)
{
    sh->aged ^= 1;
    for (size_t i = 0; sh->table != NULL && i < sh->table->slots; i++) {
        struct leaf *leaf = sh->table->slot[i];
        if (leaf != NULL)
            memset(plane_of(sh, leaf, LJT_SHADOW_FREE), 0, plane_words() * sizeof(uint64_t));
    }
}

/* The part of a page range that lies in one word of one leaf: walked upwards by word_next, downwards by word_prev. */
struct word {
    struct leaf *leaf; /* NULL: not covered, and the range spans the whole leaf's part */
    size_t index;
    uint64_t bits; /* the pages of the range in this word */
    uintptr_t base; /* address of bit 0 */
    uintptr_t lo, hi; /* the addresses that it stands for */
};

static struct word word_at(const struct ljt_shadow *sh, uintptr_t lo, uintptr_t hi, bool upwards)
{
    uintptr_t at = upwards ? lo : hi - 1;
    struct word w = {.leaf = find_leaf(sh, at)};
    uintptr_t span = w.leaf == NULL ? LEAF_BYTES : (uintptr_t)64 << ljt_page_shift;
    w.base = at & ~(span - 1);
    w.lo = w.base > lo ? w.base : lo;
    w.hi = w.base + span < hi ? w.base + span : hi;
    if (w.leaf == NULL)
        return w;
    w.index = (w.base & (LEAF_BYTES - 1)) >> ljt_page_shift >> 6;
    unsigned from = (unsigned)((w.lo - w.base) >> ljt_page_shift);
    unsigned pages = (unsigned)((w.hi - w.lo) >> ljt_page_shift);
    w.bits = (pages == 64 ? ~(uint64_t)0 : ((uint64_t)1 << pages) - 1) << from;
    return w;
}

static uint64_t word_match(const struct ljt_shadow *sh, const struct word *w, unsigned mask, unsigned without)
{
    uint64_t bits = w->bits;
    for (unsigned p = 0; p < LJT_SHADOW_PLANES && bits != 0; p++) {
        if ((mask >> p & 1) != 0)
            bits &= plane_of(sh, w->leaf, p)[w->index];
        if ((without >> p & 1) != 0)
            bits &= ~plane_of(sh, w->leaf, p)[w->index];
    }
    return bits;
}

size_t ljt_shadow_set(struct ljt_shadow *sh, enum ljt_shadow_plane plane, uintptr_t lo, uintptr_t hi)
{
    size_t changed = 0;
    while (lo < hi) {
        struct word w = word_at(sh, lo, hi, true);
        if (w.leaf != NULL) {
            uint64_t *word = plane_of(sh, w.leaf, plane) + w.index;
            changed += (size_t)__builtin_popcountll(w.bits & ~*word);
            *word |= w.bits;
        }
        lo = w.hi;
    }
    return changed;
}

size_t ljt_shadow_clear(struct ljt_shadow *sh, enum ljt_shadow_plane plane, uintptr_t lo, uintptr_t hi)
{
    size_t changed = 0;
    while (lo < hi) {
        struct word w = word_at(sh, lo, hi, true);
        if (w.leaf != NULL) {
            uint64_t *word = plane_of(sh, w.leaf, plane) + w.index;
            changed += (size_t)__builtin_popcountll(w.bits & *word);
            *word &= ~w.bits;
        }
        lo = w.hi;
    }
    return changed;
}

size_t ljt_shadow_count(const struct ljt_shadow *sh, unsigned mask, unsigned without, uintptr_t lo, uintptr_t hi)
{
    size_t count = 0;
    while (lo < hi) {
        struct word w = word_at(sh, lo, hi, true);
        if (w.leaf != NULL)
            count += (size_t)__builtin_popcountll(word_match(sh, &w, mask, without));
        lo = w.hi;
    }
    return count;
}

bool ljt_shadow_first(const struct ljt_shadow *sh, unsigned mask, unsigned without, uintptr_t lo, uintptr_t hi,
                      uintptr_t *page)
{
    while (lo < hi) {
        struct word w = word_at(sh, lo, hi, true);
        uint64_t bits = w.leaf == NULL ? 0 : word_match(sh, &w, mask, without);
        if (bits != 0) {
            *page = w.base + ((uintptr_t)__builtin_ctzll(bits) << ljt_page_shift);
            return true;
        }
        lo = w.hi;
    }
    return false;
}

bool ljt_shadow_last(const struct ljt_shadow *sh, unsigned mask, unsigned without, uintptr_t lo, uintptr_t hi,
                     uintptr_t *page)
{
    while (lo < hi) {
        struct word w = word_at(sh, lo, hi, false);
        uint64_t bits = w.leaf == NULL ? 0 : word_match(sh, &w, mask, without);
        if (bits != 0) {
            *page = w.base + ((uintptr_t)(63 - __builtin_clzll(bits)) << ljt_page_shift);
            return true;
        }
        hi = w.lo;
    }
    return false;
}

/* ---- Residence ---- */

void ljt_shadow_refresh(struct ljt_shadow *sh, uintptr_t lo, uintptr_t hi, struct ljt_shadow_residence *found)
{
    unsigned char vec[64 * 32];
    while (lo < hi) {
        struct word w = word_at(sh, lo, hi, true);
        if (w.leaf == NULL) {
            lo = w.hi;
            continue;
        }
        /* As many whole words as the vector takes, inside this leaf. */
        uintptr_t leaf_end = (lo & ~(LEAF_BYTES - 1)) + LEAF_BYTES;
        uintptr_t end = lo + ((uintptr_t)sizeof(vec) << ljt_page_shift);
        end &= ~(((uintptr_t)64 << ljt_page_shift) - 1);
        if (end > leaf_end)
            end = leaf_end;
        if (end > hi)
            end = hi;
        if (ljt_kernel.mincore((void *)lo, end - lo, vec) != 0) {
            lo = end; /* unmapped meanwhile: its chunks are gone, the old bits do no harm */
            continue;
        }
        const unsigned char *present = vec;
        while (lo < end) {
            w = word_at(sh, lo, end, true);
            uint64_t bits = 0;
            for (unsigned i = (unsigned)((w.lo - w.base) >> ljt_page_shift); (w.bits >> i & 1) != 0;) {
                bits |= (uint64_t)(*present++ & 1) << i;
                if (++i == 64)
                    break;
            }
            uint64_t *resident = plane_of(sh, w.leaf, LJT_SHADOW_RESIDENT) + w.index;
            uint64_t *purged = plane_of(sh, w.leaf, LJT_SHADOW_PURGED) + w.index;
            *resident = (*resident & ~w.bits) | bits;
            found->resident += (size_t)__builtin_popcountll(bits);
            found->refaults += (size_t)__builtin_popcountll(bits & *purged);
            *purged &= ~bits;
            lo = w.hi;
        }
    }
}
