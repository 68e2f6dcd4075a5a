#include "purge.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "arena.h"
#include "config.h"
#include "control.h"
#include "delay.h"
#include "kernel.h"
#include "log.h"
#include "thp.h"

/* A batch, done under the life lock in one go: 64 runs and 2 MiB at most, which take about 0.2 ms. */
#define BATCH_RUNS 64
#define BATCH_BYTES ((size_t)2 << 20)

struct batch {
    unsigned runs;
    size_t bytes;
    struct iovec run[BATCH_RUNS];
};

/*
 * LJTRIM_DEBUG=poison: what relies on a claimed page sees this pattern, or zeroes: of two batches one is purged.
 */
static bool poison(const struct ljt_arena *a, const struct batch *b)
{
    if ((ljt_config.debug & LJT_DEBUG_POISON) == 0)
        return false;
    for (unsigned i = 0; i < b->runs; i++)
        memset(b->run[i].iov_base, 0xa5, b->run[i].iov_len);
    return a->stats.purge_calls % 2 != 0;
}

/*
 * One call for the whole batch where the kernel has that (Linux 6.15: MADV_DONTNEED on oneself, without a descriptor),
 * a third of the price; else, and for what such a call left undone, one call a run. A run that is refused (locked
 * memory) leaves the batch; it counts as not resident until the next look, else this one would not end.
 */
static void give_back(struct ljt_arena *a, struct batch *b)
{
    static bool no_batches; /* refused once: for good */
    size_t done = 0;
    unsigned i = 0;
    if (!no_batches && b->runs > 1) {
        a->stats.purge_calls++;
        ssize_t n = ljt_kernel.process_madvise(b->run, b->runs, MADV_DONTNEED);
        no_batches = n < 0;
        for (; n > 0 && i < b->runs && (size_t)n >= done + b->run[i].iov_len; i++)
            done += b->run[i].iov_len;
    }
    for (; i < b->runs; i++) {
        a->stats.purge_calls++;
        if (ljt_kernel.madvise(b->run[i].iov_base, b->run[i].iov_len, MADV_DONTNEED) == 0)
            continue;
        static struct ljt_once once;
        ljt_log_once(&once, LJT_LOG_WARN,
                     "madvise(MADV_DONTNEED) is refused (%s); locked memory stays resident", strerror(errno));
        uintptr_t lo = (uintptr_t)b->run[i].iov_base;
        ljt_shadow_clear(&a->shadow, LJT_SHADOW_RESIDENT, lo, lo + b->run[i].iov_len);
        b->run[i].iov_len = 0;
    }
}

static void purge_batch(struct ljt_arena *a, struct batch *b)
{
    ljt_lock *life = &ljt_wiped.word[a->slot].life;
    ljt_lock_acquire(life);
    bool armed = ljt_arena_is(a, LJT_ARENA_ARMED);
    ljt_dawdle();
    if (armed && poison(a, b))
        a->stats.purge_calls++;
    else if (armed)
        give_back(a, b);
    ljt_dawdle();
    ljt_lock_release(life);
    ljt_dawdle();
    if (armed)
        ljt_thp_split(a, b->run, b->runs);
    for (unsigned i = 0; armed && i < b->runs; i++) {
        uintptr_t lo = (uintptr_t)b->run[i].iov_base, hi = lo + b->run[i].iov_len;
        size_t pages = ljt_shadow_clear(&a->shadow, LJT_SHADOW_RESIDENT, lo, hi);
        ljt_shadow_set(&a->shadow, LJT_SHADOW_PURGED, lo, hi);
        ljt_shadow_set(&a->shadow, LJT_SHADOW_FRESH, lo, hi);
        a->stats.purged += (uint64_t)pages << ljt_page_shift;
        a->stats.resident -= (uint64_t)pages << ljt_page_shift;
        ljt_control_purged(pages << ljt_page_shift);
    }
    b->runs = 0;
    b->bytes = 0;
}

/* A run of BATCH_BYTES at most. */
static void add_run(struct ljt_arena *a, struct batch *b, uintptr_t lo, uintptr_t hi)
{
    if (hi - lo > BATCH_BYTES - b->bytes)
        purge_batch(a, b);
    size_t left = ljt_control_allowance(a);
    if (left <= b->bytes)
        return;
    if (hi - lo > left - b->bytes)
        hi = lo + (left - b->bytes);
    b->run[b->runs++] = (struct iovec){(void *)lo, hi - lo};
    b->bytes += hi - lo;
    if (b->runs == BATCH_RUNS || b->bytes == BATCH_BYTES)
        purge_batch(a, b);
}

/* Runs are joined across pages that are not resident anyway; what ends a run is a page that is resident and young. */
void ljt_purge_claims(struct ljt_arena *a)
{
    struct batch b = {0};
    unsigned resident = LJT_SHADOW_BIT(LJT_SHADOW_RESIDENT);
    unsigned age = a->work.at_sight ? 0 : LJT_SHADOW_BIT(LJT_SHADOW_AGED);
    for (unsigned i = 0; i < a->work.claims; i++) {
        uintptr_t at = a->work.ledger[i].lo, end = a->work.ledger[i].hi, lo, last;
        while (at < end && ljt_shadow_first(&a->shadow, resident | age, 0, at, end, &lo)) {
            uintptr_t hi = end;
            if (age != 0)
                (void)ljt_shadow_first(&a->shadow, resident, age, lo, end, &hi);
            at = hi;
            if (ljt_shadow_last(&a->shadow, resident, 0, lo, hi, &last))
                hi = last + ljt_page_size;
            for (; hi - lo > BATCH_BYTES; lo += BATCH_BYTES)
                add_run(a, &b, lo, lo + BATCH_BYTES);
            add_run(a, &b, lo, hi);
        }
    }
    purge_batch(a, &b);
}

/*
 * Taken out first, then unmapped: a fork in between copies memory that nobody will unmap, but never the promise to unmap
 * what may be somebody else's by then.
 */
static unsigned take_gone(struct ljt_arena *a, int state, struct iovec taken[LJT_GONE])
{
    ljt_lock *life = &ljt_wiped.word[a->slot].life;
    unsigned n = 0;
    ljt_lock_acquire(life);
    if (ljt_arena_is(a, (enum ljt_arena_state)state)) {
        for (; n < a->work.gone; n++)
            taken[n] = (struct iovec){(void *)a->work.gone_segment[n].base, a->work.gone_segment[n].size};
        a->work.gone = 0;
    }
    ljt_lock_release(life);
    return n;
}

/*
 * How many pages are resident in what is to go, and of how many that was known: the segment may be younger than the
 * last survey.
 */
static size_t resident_pages(struct ljt_arena *a, uintptr_t lo, uintptr_t hi, size_t *known)
{
    struct ljt_shadow_residence found = {0};
    *known = ljt_shadow_count(&a->shadow, LJT_SHADOW_BIT(LJT_SHADOW_RESIDENT), 0, lo, hi);
    if (a->shadow.table == NULL || ljt_shadow_cover(&a->shadow, lo, hi - lo) != 0)
        return *known;
    ljt_shadow_refresh(&a->shadow, lo, hi, &found);
    a->stats.refaults += (uint64_t)found.refaults << ljt_page_shift;
    return found.resident;
}

/* A figure of the last survey, of which what has changed since is taken: the VM goes on. */
static void take_from(uint64_t *figure, uint64_t bytes)
{
    *figure -= bytes < *figure ? bytes : *figure;
}

unsigned ljt_purge_gone(struct ljt_arena *a, int state)
{
    struct iovec taken[LJT_GONE];
    int saved = errno;
    unsigned n = take_gone(a, state, taken);
    for (unsigned i = 0; i < n; i++) {
        uintptr_t lo = (uintptr_t)taken[i].iov_base, hi = lo + taken[i].iov_len;
        size_t known = 0, pages = 0;
        if (state == LJT_ARENA_ARMED)
            pages = resident_pages(a, lo, hi, &known);
        ljt_dawdle();
        ljt_arena_forget(lo, hi - lo);
        if (ljt_kernel.munmap(taken[i].iov_base, taken[i].iov_len) !=
            0) /* one mapping too many: its pages can go */
            (void)ljt_kernel.madvise(taken[i].iov_base, taken[i].iov_len, MADV_DONTNEED);
        atomic_fetch_sub_explicit(&a->module->mapped, hi - lo, memory_order_relaxed);
        if (state != LJT_ARENA_ARMED)
            continue; /* nobody looks any more */
        take_from(&a->stats.purgeable, ljt_shadow_clear(&a->shadow, LJT_SHADOW_FREE, lo, hi)
                                           << ljt_page_shift);
        for (int plane = 0; plane < LJT_SHADOW_PLANES; plane++)
            ljt_shadow_clear(&a->shadow, plane, lo, hi);
        a->stats.purged += (uint64_t)pages << ljt_page_shift;
        take_from(&a->stats.resident, (uint64_t)known << ljt_page_shift);
        take_from(&a->stats.mapped, hi - lo);
        a->pace.fall.unmapped += hi - lo;
        a->stats.purge_calls++;
        ljt_control_purged(pages << ljt_page_shift);
    }
    if (n > 0)
        atomic_fetch_add_explicit(&a->module->map_events, 1, memory_order_release);
    errno = saved;
    return n;
}
