/* lock: nobody waits without end, whatever the kernel makes of a wake. */
#include "lab.h"

#include <pthread.h>

#include "lock.h"

TestSuite(lock, .init = lab_init, .timeout = LAB_TIMEOUT);

static ljt_lock lock;
static _Atomic unsigned sleeps;
static _Atomic bool without_end;

/* No kernel: a wait ends when its time is over. */
static void wait_in_vain(const volatile void *word, uint32_t value, uint64_t ns)
{
    (void)word, (void)value;
    atomic_fetch_add(&sleeps, 1);
    if (ns == UINT64_MAX)
        atomic_store(&without_end, true);
    lab_pause_ms(1);
}

static int wake_nobody(const volatile void *word, int waiters)
{
    (void)word, (void)waiters;
    return -1;
}

static void *acquire(void *unused)
{
    ljt_lock_acquire(&lock);
    return unused;
}

Test(lock, wake_that_does_not_come_is_not_waited_for_without_end)
{
    pthread_t thread;
    ljt_kernel.futex_wait = wait_in_vain;
    ljt_kernel.futex_wake = wake_nobody;
    ljt_lock_acquire(&lock);
    cr_assert_eq(pthread_create(&thread, NULL, acquire, NULL), 0);
    cr_assert(lab_await(atomic_load(&sleeps) > 0));
    ljt_lock_release(&lock);
    pthread_join(thread, NULL);
    cr_expect_not(atomic_load(&without_end));
}
