#include "signals.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "config.h"
#include "gate.h"
#include "lock.h"
#include "log.h"
#include "mask.h"
#include "next.h"
#include "reclaim.h"
#include "text.h"

static _Atomic bool installed;

/*
 * The host's action. Two copies: the handler reads the one that `which` names, a change fills the other and then
 * turns `which`. Changes are serialized by ljt_wiped.signals, with all signals blocked; who reads while another thread makes
 * two of them reads again.
 */
static struct sigaction host[2];
static _Atomic unsigned which;
static _Atomic unsigned spent = UINT_MAX; /* the value of `which` whose action was SA_RESETHAND's one shot */

static void note_without_reclaimer(void)
{
    char line[200];
    struct ljt_text t = LJT_TEXT(line);
    ljt_text_string(&t, "ljtrim: pid ");
    ljt_text_unsigned(&t, (uint64_t)getpid());
    ljt_text_string(
        &t,
        ": no heap of LuaJIT's own allocator has grown to 2 MiB; a program's own allocator is left alone\n");
    ljt_log_signal(line);
}

/* The host's action as it is now; with `takes`, by a signal that has come for it. */
static struct sigaction host_action(bool takes)
{
    struct sigaction action;
    unsigned now;
    do {
        now = atomic_load_explicit(&which, memory_order_acquire);
        action = host[now & 1];
        atomic_thread_fence(memory_order_acquire);
    } while (atomic_load_explicit(&which, memory_order_relaxed) != now);
    if ((action.sa_flags & (int)SA_RESETHAND) != 0 &&
        (takes ? atomic_exchange_explicit(&spent, now, memory_order_relaxed)
               : atomic_load_explicit(&spent, memory_order_relaxed)) == now)
        action = (struct sigaction){.sa_handler = SIG_DFL};
    return action;
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
    int saved = errno;
    if (ljt_reclaim_running())
        ljt_reclaim_request_dump();
    else
        note_without_reclaimer();
    errno = saved;

    struct sigaction h = host_action(true);
    if (h.sa_flags & SA_SIGINFO)
        h.sa_sigaction(signo, info, context);
    else if (h.sa_handler != SIG_DFL && h.sa_handler != SIG_IGN)
        h.sa_handler(signo);
}

/* Ours, with the host's mask and the flags that change how its handler is called. */
static void install(const struct sigaction *h)
{
    struct sigaction ours = {.sa_sigaction = on_signal, .sa_mask = h->sa_mask};
    bool handles = (h->sa_flags & SA_SIGINFO) || (h->sa_handler != SIG_DFL && h->sa_handler != SIG_IGN);
    ours.sa_flags =
        SA_SIGINFO | (handles ? h->sa_flags & (SA_RESTART | SA_ONSTACK | SA_NODEFER) : SA_RESTART);
    ljt_next.sigaction(ljt_config.signo, &ours, NULL);
}

/* A vfork child runs in its parent's memory, but its dispositions are its own: they are not ours to remember. */
static bool borrowed_memory(void)
{
    uint32_t pid = (uint32_t)getpid(), owner = 0;
    return !atomic_compare_exchange_strong_explicit(&ljt_wiped.pid, &owner, pid, memory_order_relaxed,
                                                    memory_order_relaxed) &&
           owner != pid;
}

/* A handler that calls sigaction must not find the lock taken by its own thread. */
static void lock(sigset_t *before)
{
    ljt_mask_signals(before);
    ljt_lock_acquire(&ljt_wiped.signals);
}

static void unlock(const sigset_t *before)
{
    ljt_lock_release(&ljt_wiped.signals);
    ljt_mask_restore(before);
}

void ljt_signals_install(void)
{
    if (ljt_config.signo == 0 || atomic_load_explicit(&installed, memory_order_acquire))
        return;
    int saved = errno;
    sigset_t before;
    lock(&before);
    if (!atomic_load_explicit(&installed, memory_order_relaxed) && ljt_next.sigaction != NULL &&
        ljt_next.sigaction(ljt_config.signo, NULL, &host[0]) == 0) {
        install(&host[0]);
        (void)borrowed_memory(); /* notes the owner */
        atomic_store_explicit(&installed, true, memory_order_release);
    }
    unlock(&before);
    errno = saved;
}

int ljt_signals_action(int signo, const struct sigaction *act, struct sigaction *old, int *result)
{
    if (signo != ljt_config.signo || signo == 0 || ljt_next.sigaction == NULL ||
        (atomic_load_explicit(&installed, memory_order_acquire) && borrowed_memory()))
        return 0;
    sigset_t before;
    lock(&before);
    if (!atomic_load_explicit(&installed, memory_order_relaxed)) {
        *result = ljt_next.sigaction(signo, act, old); /* not while another thread installs ours */
        unlock(&before);
        return 1;
    }
    unsigned now = atomic_load_explicit(&which, memory_order_relaxed);
    struct sigaction was = host_action(false);
    /* From a signal() that we do not see; sa_sigaction is the same word. */
    bool is_ours = act != NULL && (uintptr_t)act->sa_handler == (uintptr_t)on_signal;
    if (act != NULL && !is_ours) {
        host[(now + 1) & 1] = *act;
        atomic_store_explicit(&which, now + 1, memory_order_release);
        install(act);
    }
    unlock(&before);
    if (old != NULL)
        *old = was;
    *result = 0;
    return 1;
}
