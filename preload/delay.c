#include "delay.h"

#ifdef LJT_DELAYS
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#include "kernel.h"

static unsigned random_below_64k(void)
{
    static __thread uint64_t state;
    if (state == 0)
        state = ljt_kernel.now() ^ (uintptr_t)&state;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(state >> 48);
}

static void spin(void)
{
    for (volatile unsigned spins = random_below_64k() / 256; spins > 0; spins--)
        ;
}

/* A turn for somebody else, or a sleep that is longer than a unit. */
static void give_way(void)
{
    int saved = errno;
    struct timespec pause = {0, random_below_64k() * 2};
    if (random_below_64k() % 4 == 0)
        ljt_kernel_call(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
    else
        ljt_kernel_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    errno = saved;
}

void ljt_delay(void)
{
    unsigned dice = random_below_64k();
    if (dice < 65536 / 2048)
        give_way();
    else if (dice < 65536 / 64)
        spin();
}

void ljt_dawdle(void)
{
    unsigned dice = random_below_64k();
    if (dice < 65536 / 8)
        give_way();
    else if (dice < 65536 / 2)
        spin();
}
#else
typedef int ljt_delay_is_empty; /* ISO C wants a declaration */
#endif
