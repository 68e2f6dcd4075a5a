#include "thp.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "arena.h"
#include "config.h"
#include "kernel.h"
#include "log.h"
#include "sandbox.h"

/* Each advised segment may cost two mappings of the 65,530 that a process has by default. */
#define SEGMENTS_MAX 512

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

static _Atomic bool asked, matters, splits;
static uintptr_t huge = (uintptr_t)2 << 20; /* bytes of a huge page; written before `matters` */

void ljt_thp_init(void)
{
    if (ljt_config.thp == LJT_THP_KEEP || atomic_exchange_explicit(&asked, true, memory_order_relaxed))
        return;
    char text[64] = "";
    ssize_t n = ljt_kernel.read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text) - 1);
    bool always = n > 0 && strstr(text, "[always]") != NULL &&
                  (ljt_sandbox_kills(LJT_CALL_PRCTL) || prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) != 1);
    char size[32] = "";
    n = ljt_kernel.read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", size, sizeof(size) - 1);
    uintptr_t bytes = n > 0 ? strtoul(size, NULL, 10) : 0;
    if (bytes >= ljt_page_size && (bytes & (bytes - 1)) == 0)
        huge = bytes;
    atomic_store_explicit(&splits, always, memory_order_release);
    atomic_store_explicit(&matters, always, memory_order_release);
}

/* What is advised already is not touched by being advised again. */
void ljt_thp_advise(struct ljt_arena *a)
{
    if (!atomic_load_explicit(&matters, memory_order_acquire) || a->pace.advised_events == a->pace.map_events)
        return;
    ljt_lock *life = &ljt_wiped.word[a->slot].life;
    a->pace.advised_events = a->pace.map_events;
    bool too_many = a->work.segments > SEGMENTS_MAX;
    for (unsigned i = 0; i < a->work.segments && !too_many; i++) {
        void *base = (void *)a->work.segment[i].base;
        ljt_lock_acquire(life); /* its VM may close, and another thread map something there */
        bool advised = !ljt_arena_is(a, LJT_ARENA_ARMED) ||
                       ljt_kernel.madvise(base, a->work.segment[i].size, MADV_NOHUGEPAGE) == 0 ||
                       errno == ENOMEM; /* trimmed since it was listed */
        ljt_lock_release(life);
        if (advised)
            continue;
        static struct ljt_once once;
        ljt_log_once(&once, LJT_LOG_INFO, "huge pages can't be kept out of Lua heaps (%s)", strerror(errno));
        atomic_store_explicit(&matters, false, memory_order_release);
        return;
    }
}

/* The part of the segment around `at` that a huge page of that address could cover; empty if it is gone. */
static struct iovec block_around(const struct ljt_arena *a, uintptr_t at)
{
    uintptr_t lo = at & -huge, hi = lo + huge;
    for (unsigned i = 0; i < a->work.segments; i++) {
        uintptr_t base = a->work.segment[i].base, end = base + a->work.segment[i].size;
        if (at >= base && at < end) {
            lo = lo > base ? lo : base;
            hi = hi < end ? hi : end;
            return (struct iovec){(void *)lo, hi - lo};
        }
    }
    return (struct iovec){0};
}

static void split_around(struct ljt_arena *a, uintptr_t at)
{
    struct iovec block = block_around(a, at);
    uintptr_t lo = (uintptr_t)block.iov_base, purged;
    /* Purged in before: it was split then, and huge pages are kept out since. */
    if (block.iov_len == 0 || !atomic_load_explicit(&splits, memory_order_acquire) ||
        ljt_shadow_first(&a->shadow, LJT_SHADOW_BIT(LJT_SHADOW_PURGED), 0, lo, lo + block.iov_len, &purged))
        return;
    ljt_lock *life = &ljt_wiped.word[a->slot].life;
    ljt_lock_acquire(life);
    if (ljt_arena_is(a, LJT_ARENA_ARMED) &&
        ljt_kernel.madvise(block.iov_base, block.iov_len, MADV_COLD) != 0 && errno != ENOMEM)
        atomic_store_explicit(&splits, false, memory_order_release);
    ljt_lock_release(life);
}

void ljt_thp_split(struct ljt_arena *a, const struct iovec *run, unsigned runs)
{
    if (!atomic_load_explicit(&splits, memory_order_acquire))
        return;
    uintptr_t last = 0; /* block */
    for (unsigned i = 0; i < runs; i++) {
        uintptr_t lo = (uintptr_t)run[i].iov_base, hi = lo + run[i].iov_len;
        if (lo < hi && (lo & -huge) != last)
            split_around(a, lo);
        if (lo < hi && ((hi - 1) & -huge) != (lo & -huge))
            split_around(a, hi - 1);
        last = lo < hi ? (hi - 1) & -huge : last;
    }
}
