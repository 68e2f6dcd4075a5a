#include "delay.h"

#ifdef LJT_DELAYS
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#include "kernel.h"

/* Mostly nothing; seldom a spin, a turn for somebody else, or a sleep that is longer than a unit. */
void ljt_delay(void)
{
    static __thread uint64_t state;
    if (state == 0)
        state = ljt_kernel.now() ^ (uintptr_t)&state;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    unsigned dice = (unsigned)(state >> 48), length = (unsigned)(state >> 32) & 0xffff;
    if (dice < 65536 / 64)
        for (volatile unsigned spins = length / 256; spins > 0; spins--)
            ;
    if (dice >= 65536 / 2048)
        return;
    int saved = errno;
    struct timespec pause = {0, length * 2};
    if (dice % 4 == 0)
        ljt_kernel_call(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
    else
        ljt_kernel_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    errno = saved;
}
#else
typedef int ljt_delay_is_empty; /* ISO C wants a declaration */
#endif
