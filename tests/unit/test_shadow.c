/*
 * The shadow: planes, ranges, residence; and the same for other page sizes.
 */
#include "lab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "shadow.h"

#define LEAF ((uintptr_t)1 << LJT_SHADOW_LEAF_SHIFT)
#define BASE ((uintptr_t)0x7f0000000000) /* nothing is mapped there: the shadow never looks */
#define FREE LJT_SHADOW_BIT(LJT_SHADOW_FREE)
#define AGED LJT_SHADOW_BIT(LJT_SHADOW_AGED)
#define RESIDENT LJT_SHADOW_BIT(LJT_SHADOW_RESIDENT)
#define PURGED LJT_SHADOW_BIT(LJT_SHADOW_PURGED)
#define FRESH LJT_SHADOW_BIT(LJT_SHADOW_FRESH)

TestSuite(shadow, .init = lab_init, .timeout = LAB_TIMEOUT);

static void set_page_shift(unsigned shift)
{
    ljt_page_shift = shift;
    ljt_page_size = (size_t)1 << shift;
}

Test(shadow, counts_what_was_set)
{
    struct ljt_shadow sh = {0};
    cr_assert(ljt_shadow_cover(&sh, BASE, LEAF) == 0);
    cr_expect(ljt_shadow_set(&sh, LJT_SHADOW_RESIDENT, BASE + 0x3000, BASE + 0x103000) == 256);
    cr_expect(ljt_shadow_set(&sh, LJT_SHADOW_RESIDENT, BASE, BASE + 0x4000) == 3, "one was set before");
    cr_expect(ljt_shadow_count(&sh, RESIDENT, 0, BASE, BASE + LEAF) == 259);
    cr_expect(ljt_shadow_count(&sh, RESIDENT, 0, BASE + 0x1000, BASE + 0x2000) == 1);
    cr_expect(ljt_shadow_clear(&sh, LJT_SHADOW_RESIDENT, BASE + 0x2000, BASE + 0x5000) == 3);
    cr_expect(ljt_shadow_count(&sh, RESIDENT, 0, BASE, BASE + LEAF) == 256);
    cr_expect(ljt_shadow_count(&sh, 0, RESIDENT, BASE, BASE + LEAF) == LEAF / 4096 - 256);
    cr_expect(ljt_shadow_count(&sh, FREE, 0, BASE, BASE + LEAF) == 0, "planes do not mix");
    ljt_shadow_drop(&sh);
}

Test(shadow, empty_ranges_hold_nothing)
{
    struct ljt_shadow sh = {0};
    uintptr_t page;
    cr_expect(ljt_shadow_set(&sh, LJT_SHADOW_FREE, BASE, BASE + LEAF) == 0, "nothing is covered");
    cr_expect(!ljt_shadow_first(&sh, 0, 0, BASE, BASE + LEAF, &page));
    cr_assert(ljt_shadow_cover(&sh, BASE, LEAF) == 0);
    ljt_shadow_set(&sh, LJT_SHADOW_FREE, BASE, BASE + LEAF);
    cr_expect(ljt_shadow_set(&sh, LJT_SHADOW_FREE, BASE + 0x5000, BASE + 0x5000) == 0);
    cr_expect(ljt_shadow_count(&sh, FREE, 0, BASE + 0x5000, BASE + 0x5000) == 0);
    cr_expect(!ljt_shadow_last(&sh, FREE, 0, BASE + 0x5000, BASE + 0x5000, &page));
    ljt_shadow_drop(&sh);
    cr_expect(sh.table == NULL && ljt_shadow_count(&sh, FREE, 0, BASE, BASE + LEAF) == 0);
}

Test(shadow, ranges_go_over_leaf_borders)
{
    struct ljt_shadow sh = {0};
    uintptr_t lo = BASE + LEAF - 0x3000, hi = BASE + 3 * LEAF + 0x5000, page;
    cr_assert(ljt_shadow_cover(&sh, lo, hi - lo) == 0);
    cr_expect(ljt_shadow_set(&sh, LJT_SHADOW_RESIDENT, lo, hi) == (hi - lo) / 4096);
    cr_expect(ljt_shadow_count(&sh, RESIDENT, 0, BASE, BASE + 8 * LEAF) == (hi - lo) / 4096);
    cr_expect(ljt_shadow_first(&sh, RESIDENT, 0, BASE, BASE + 8 * LEAF, &page) && page == lo);
    cr_expect(ljt_shadow_last(&sh, RESIDENT, 0, BASE, BASE + 8 * LEAF, &page) && page == hi - 0x1000);
    cr_expect(ljt_shadow_first(&sh, 0, RESIDENT, lo, BASE + 8 * LEAF, &page) && page == hi);
    ljt_shadow_drop(&sh);
}

Test(shadow, passes_over_leaves_that_are_not_covered)
{
    struct ljt_shadow sh = {0};
    uintptr_t page;
    cr_assert(ljt_shadow_cover(&sh, BASE, LEAF) == 0);
    cr_assert(ljt_shadow_cover(&sh, BASE + 1000 * LEAF, LEAF) == 0);
    cr_expect(ljt_shadow_set(&sh, LJT_SHADOW_FREE, BASE + LEAF - 0x1000, BASE + 1000 * LEAF + 0x2000) == 3);
    cr_expect(ljt_shadow_count(&sh, FREE, 0, BASE, BASE + 2000 * LEAF) == 3);
    cr_expect(ljt_shadow_first(&sh, FREE, 0, BASE + LEAF, BASE + 2000 * LEAF, &page) &&
              page == BASE + 1000 * LEAF);
    cr_expect(ljt_shadow_last(&sh, FREE, 0, BASE, BASE + 1000 * LEAF, &page) && page == BASE + LEAF - 0x1000);
    ljt_shadow_drop(&sh);
}

Test(shadow, many_regions_are_found_again)
{
    struct ljt_shadow sh = {0};
    for (unsigned i = 0; i < 300; i++) {
        uintptr_t at = BASE + i * 37 * LEAF;
        cr_assert(ljt_shadow_cover(&sh, at, LEAF) == 0);
        ljt_shadow_set(&sh, LJT_SHADOW_FREE, at + i * 4096, at + (i + 1) * 4096);
    }
    for (unsigned i = 0; i < 300; i++) {
        uintptr_t at = BASE + i * 37 * LEAF, page;
        cr_assert(ljt_shadow_first(&sh, FREE, 0, at, at + LEAF, &page) && page == at + i * 4096);
        cr_assert(ljt_shadow_count(&sh, FREE, 0, at, at + LEAF) == 1);
    }
    ljt_shadow_drop(&sh);
}

Test(shadow, covering_twice_keeps_what_is_known)
{
    struct ljt_shadow sh = {0};
    cr_assert(ljt_shadow_cover(&sh, BASE + 0x10000, 0x20000) == 0);
    ljt_shadow_set(&sh, LJT_SHADOW_PURGED, BASE + 0x10000, BASE + 0x20000);
    cr_assert(ljt_shadow_cover(&sh, BASE, 4 * LEAF) == 0);
    cr_expect(ljt_shadow_count(&sh, PURGED, 0, BASE, BASE + 4 * LEAF) == 16);
    ljt_shadow_drop(&sh);
}

Test(shadow, a_new_look_makes_free_pages_aged)
{
    struct ljt_shadow sh = {0};
    cr_assert(ljt_shadow_cover(&sh, BASE, LEAF) == 0);
    ljt_shadow_begin_look(&sh);
    ljt_shadow_set(&sh, LJT_SHADOW_FREE, BASE, BASE + 0x10000);
    ljt_shadow_begin_look(&sh);
    cr_expect(ljt_shadow_count(&sh, AGED, FREE, BASE, BASE + LEAF) == 16);
    ljt_shadow_set(&sh, LJT_SHADOW_FREE, BASE + 0x8000, BASE + 0x20000);
    cr_expect(ljt_shadow_count(&sh, AGED | FREE, 0, BASE, BASE + LEAF) == 8);
    ljt_shadow_begin_look(&sh);
    cr_expect(ljt_shadow_count(&sh, AGED, 0, BASE, BASE + LEAF) == 24, "of the last look alone");
    cr_expect(ljt_shadow_count(&sh, FREE, 0, BASE, BASE + LEAF) == 0);
    ljt_shadow_begin_look(&sh);
    cr_expect(ljt_shadow_count(&sh, AGED, 0, BASE, BASE + LEAF) == 0);
    ljt_shadow_drop(&sh);
}

static void *no_memory(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    (void)addr, (void)len, (void)prot, (void)flags, (void)fd, (void)off;
    errno = ENOMEM;
    return MAP_FAILED;
}

Test(shadow, cover_without_memory_keeps_what_was_covered)
{
    struct ljt_shadow sh = {0};
    void *(*mmap_before)(void *, size_t, int, int, int, off_t) = ljt_kernel.mmap;
    cr_assert(ljt_shadow_cover(&sh, BASE, LEAF) == 0);
    ljt_shadow_set(&sh, LJT_SHADOW_FREE, BASE, BASE + 0x1000);
    ljt_kernel.mmap = no_memory;
    cr_expect(ljt_shadow_cover(&sh, BASE, 30 * LEAF) == -ENOMEM);
    cr_expect(ljt_shadow_count(&sh, FREE, 0, BASE, BASE + 30 * LEAF) == 1);
    struct ljt_shadow none = {0};
    cr_expect(ljt_shadow_cover(&none, BASE, LEAF) == -ENOMEM);
    cr_expect(ljt_shadow_count(&none, FREE, 0, BASE, BASE + LEAF) == 0);
    ljt_kernel.mmap = mmap_before;
    cr_expect(ljt_shadow_cover(&sh, BASE, 30 * LEAF) == 0);
    ljt_shadow_drop(&sh);
}

/* ---- Against a plain array of bytes ---- */

enum { MODEL_LEAVES = 3 };

static void compare_with_model(unsigned shift)
{
    set_page_shift(shift);
    size_t page = ljt_page_size, pages = MODEL_LEAVES * LEAF / page;
    unsigned char *model = calloc(pages, 1);
    struct ljt_shadow sh = {0};
    cr_assert(model != NULL && ljt_shadow_cover(&sh, BASE, MODEL_LEAVES * LEAF) == 0);
    for (int round = 0; round < 3000; round++) {
        size_t from = lab_below(pages), to = from + lab_below(lab_below(2) == 0 ? 200 : pages - from);
        to = to > pages ? pages : to;
        uintptr_t lo = BASE + from * page, hi = BASE + to * page;
        unsigned plane = (unsigned)lab_below(LJT_SHADOW_PLANES), bit = 1u << plane;
        unsigned all = 1u << LJT_SHADOW_PLANES;
        unsigned mask = (unsigned)lab_below(all), without = (unsigned)lab_below(all) & ~mask;
        size_t changed = 0, count = 0, first = SIZE_MAX, last = 0;
        switch (lab_below(5)) {
        case 0:
            for (size_t i = from; i < to; model[i++] |= (unsigned char)bit)
                changed += (model[i] & bit) == 0;
            cr_assert(ljt_shadow_set(&sh, plane, lo, hi) == changed);
            break;
        case 1:
            for (size_t i = from; i < to; model[i++] &= (unsigned char)~bit)
                changed += (model[i] & bit) != 0;
            cr_assert(ljt_shadow_clear(&sh, plane, lo, hi) == changed);
            break;
        case 2:
            if (round % 16 != 0)
                break;
            ljt_shadow_begin_look(&sh);
            for (size_t i = 0; i < pages; i++)
                model[i] = (unsigned char)((model[i] & ~(FREE | AGED)) | (model[i] & FREE ? AGED : 0));
            break;
        default:
            for (size_t i = from; i < to; i++)
                if ((model[i] & mask) == mask && (model[i] & without) == 0) {
                    first = count++ == 0 ? i : first;
                    last = i;
                }
            uintptr_t at;
            cr_assert(ljt_shadow_count(&sh, mask, without, lo, hi) == count);
            cr_assert(ljt_shadow_first(&sh, mask, without, lo, hi, &at) == (count > 0));
            cr_assert(count == 0 || at == BASE + first * page);
            cr_assert(ljt_shadow_last(&sh, mask, without, lo, hi, &at) == (count > 0));
            cr_assert(count == 0 || at == BASE + last * page);
        }
    }
    ljt_shadow_drop(&sh);
    free(model);
}

Test(shadow, agrees_with_a_plain_array_for_pages_of_4_kib)
{
    lab_seed("shadow: 4 KiB");
    compare_with_model(12);
}

Test(shadow, agrees_with_a_plain_array_for_pages_of_16_kib)
{
    lab_seed("shadow: 16 KiB");
    compare_with_model(14);
}

Test(shadow, agrees_with_a_plain_array_for_pages_of_64_kib)
{
    lab_seed("shadow: 64 KiB");
    compare_with_model(16);
}

/* ---- Residence, from a kernel that says what we want ---- */

static unsigned char *present; /* a byte a page from BASE on; 2: the range is not mapped */
static unsigned mincore_calls;

static int fake_mincore(void *addr, size_t len, unsigned char *vec)
{
    size_t at = ((uintptr_t)addr - BASE) >> ljt_page_shift, pages = len >> ljt_page_shift;
    mincore_calls++;
    for (size_t i = 0; i < pages; i++) {
        if (present[at + i] == 2) {
            errno = ENOMEM;
            return -1;
        }
        vec[i] = (unsigned char)(present[at + i] | 0xfe); /* the other bits are reserved: anything */
    }
    return 0;
}

static void refresh_and_compare(unsigned shift)
{
    set_page_shift(shift);
    size_t page = ljt_page_size, pages = MODEL_LEAVES * LEAF / page;
    unsigned char *known = calloc(pages, 1);
    struct ljt_shadow sh = {0};
    present = calloc(pages, 1);
    ljt_kernel.mincore = fake_mincore;
    cr_assert(known != NULL && present != NULL && ljt_shadow_cover(&sh, BASE, MODEL_LEAVES * LEAF) == 0);
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < 500; i++)
            present[lab_below(pages)] ^= 1;
        size_t from = lab_below(pages), to = from + 1 + lab_below(pages - from), resident = 0, refaults = 0,
               early = 0;
        size_t purge = lab_below(pages), purge_end = purge + lab_below(pages - purge);
        ljt_shadow_set(&sh, LJT_SHADOW_PURGED, BASE + purge * page, BASE + purge_end * page);
        if (round % 7 == 0) {
            ljt_shadow_end_window(&sh);
            for (size_t i = 0; i < pages; i++)
                known[i] &= (unsigned char)~FRESH;
        }
        ljt_shadow_set(&sh, LJT_SHADOW_FRESH, BASE + purge * page, BASE + purge_end * page);
        for (size_t i = purge; i < purge_end; i++)
            known[i] |= PURGED | FRESH;
        for (size_t i = from; i < to; i++) {
            known[i] = (unsigned char)((known[i] & ~RESIDENT) | (present[i] ? RESIDENT : 0));
            resident += present[i];
            refaults += present[i] && (known[i] & PURGED);
            early += present[i] && (known[i] & PURGED) && (known[i] & FRESH);
            if (present[i])
                known[i] &= (unsigned char)~PURGED;
        }
        struct ljt_shadow_residence found = {.resident = 5, .refaults = 7, .early = 9};
        ljt_shadow_refresh(&sh, BASE + from * page, BASE + to * page, &found);
        cr_assert(found.resident == resident + 5 && found.refaults == refaults + 7 &&
                  found.early == early + 9);
        for (int i = 0; i < 1000; i++) {
            size_t at = lab_below(pages);
            uintptr_t lo = BASE + at * page;
            cr_assert(ljt_shadow_count(&sh, RESIDENT, 0, lo, lo + page) == !!(known[at] & RESIDENT));
            cr_assert(ljt_shadow_count(&sh, PURGED, 0, lo, lo + page) == !!(known[at] & PURGED));
        }
    }
    ljt_shadow_drop(&sh);
    free(known);
    free(present);
}

Test(shadow, refresh_takes_over_what_the_kernel_says)
{
    lab_seed("shadow: refresh");
    refresh_and_compare(12);
}

Test(shadow, refresh_of_pages_of_16_and_64_kib)
{
    lab_seed("shadow: refresh, large pages");
    refresh_and_compare(14);
    refresh_and_compare(16);
}

Test(shadow, refresh_asks_for_many_pages_at_a_time)
{
    struct ljt_shadow sh = {0};
    struct ljt_shadow_residence found = {0};
    present = calloc(2 * LEAF >> 12, 1);
    memset(present, 1, 2 * LEAF >> 12);
    ljt_kernel.mincore = fake_mincore;
    cr_assert(ljt_shadow_cover(&sh, BASE, 2 * LEAF) == 0);
    ljt_shadow_refresh(&sh, BASE + 0x3000, BASE + 2 * LEAF, &found);
    cr_expect(found.resident == (2 * LEAF >> 12) - 3);
    cr_expect(mincore_calls <= 20, "%u calls for 128 MiB", mincore_calls);
    ljt_shadow_drop(&sh);
    free(present);
}

Test(shadow, refresh_passes_over_what_is_not_mapped_any_more)
{
    struct ljt_shadow sh = {0};
    struct ljt_shadow_residence found = {0};
    size_t pages = LEAF >> 12;
    present = calloc(3 * pages, 1);
    memset(present, 2, 3 * pages);
    memset(present + pages, 1, pages);
    ljt_kernel.mincore = fake_mincore;
    cr_assert(ljt_shadow_cover(&sh, BASE, LEAF) == 0 && ljt_shadow_cover(&sh, BASE + LEAF, LEAF) == 0);
    ljt_shadow_refresh(&sh, BASE, BASE + 3 * LEAF, &found);
    cr_expect(found.resident == pages);
    cr_expect(ljt_shadow_count(&sh, RESIDENT, 0, BASE, BASE + 3 * LEAF) == pages);
    ljt_shadow_drop(&sh);
    free(present);
}

Test(shadow, refresh_asks_the_real_kernel)
{
    struct ljt_shadow sh = {0};
    struct ljt_shadow_residence found = {0};
    char *p = mmap(NULL, 1 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(p != MAP_FAILED && madvise(p, 1 * MIB, MADV_NOHUGEPAGE) == 0);
    cr_assert(ljt_shadow_cover(&sh, (uintptr_t)p, 1 * MIB) == 0);
    memset(p + 3 * ljt_page_size, 1, 2 * ljt_page_size);
    ljt_shadow_refresh(&sh, (uintptr_t)p, (uintptr_t)p + 1 * MIB, &found);
    uintptr_t page;
    cr_expect(found.resident == 2);
    cr_expect(ljt_shadow_first(&sh, RESIDENT, 0, (uintptr_t)p, (uintptr_t)p + 1 * MIB, &page) &&
              page == (uintptr_t)p + 3 * ljt_page_size);
    ljt_shadow_drop(&sh);
}
