/*
 * lock: a futex mutex in one word. 0 is unlocked, so a lock in wiped memory (MADV_WIPEONFORK) is free in a
 * forked child whatever its holder did in the parent.
 *
 * For short sections only. Not recursive, not for signal handlers. A wake that does not come (a sandbox) costs a
 * millisecond: no host waits without end for a call of ours.
 */
#ifndef LJT_LOCK_H
#define LJT_LOCK_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernel.h"

typedef _Atomic uint32_t ljt_lock; /* 0 free, 1 held, 2 held and waited for */

static inline bool ljt_lock_try(ljt_lock *l)
{
    uint32_t free = 0;
    return atomic_compare_exchange_strong_explicit(l, &free, 1, memory_order_acquire, memory_order_relaxed);
}

static inline void ljt_lock_acquire(ljt_lock *l)
{
    for (int spin = 0; spin < 64; spin++)
        if (ljt_lock_try(l))
            return;
    int saved = errno;
    while (atomic_exchange_explicit(l, 2, memory_order_acquire) != 0)
        ljt_kernel.futex_wait((const volatile void *)l, 2, 1000000);
    errno = saved;
}

static inline void ljt_lock_release(ljt_lock *l)
{
    if (atomic_exchange_explicit(l, 0, memory_order_release) == 2) {
        int saved = errno;
        ljt_kernel.futex_wake((const volatile void *)l, 1);
        errno = saved;
    }
}

#endif
