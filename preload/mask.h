/*
 * mask: a stretch of a host's thread in which no signal handler runs.
 *
 * A handler may leave what it has interrupted by longjmp. If that is a call of LuaJIT's allocator, the program loses that
 * one VM, with us or without. But a lock of ours would then stay locked for all VMs, and the dynamic loader's for the whole
 * process. So whatever such a call does with locks it does in such a stretch. It costs two system calls each time: where
 * memory is mapped or goes, and a few times in a VM's life; never in an ordinary call.
 */
#ifndef LJT_MASK_H
#define LJT_MASK_H

#include <pthread.h>
#include <signal.h>

/* Not by a raw system call: what glibc needs for setuid comes through. */
static inline void ljt_mask_signals(sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

/* All but what a fault of the thread's own raises, which would kill it. before may be NULL. */
static inline void ljt_mask_handlers(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t most;
    sigfillset(&most);
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&most, faults[i]);
    pthread_sigmask(SIG_BLOCK, &most, before);
}

static inline void ljt_mask_restore(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

#endif
