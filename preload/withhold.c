#include "withhold.h"

#include <errno.h>
#include <pthread.h>

#include "kernel.h"

bool ljt_withhold(struct ljt_withheld *w)
{
    sigset_t raised;
    sigemptyset(&raised);
    sigaddset(&raised, SIGPIPE);
    sigaddset(&raised, SIGXFSZ);
    if (pthread_sigmask(SIG_BLOCK, &raised, &w->before) != 0)
        return false;
    if (sigpending(&w->pending) != 0)
        sigemptyset(&w->pending);
    return true;
}

void ljt_withhold_end(const struct ljt_withheld *w, int error)
{
    int signo = error == EPIPE ? SIGPIPE : error == EFBIG ? SIGXFSZ : 0;
    bool gone = signo == 0 || sigismember(&w->pending, signo) == 1;
    sigset_t raised;
    sigemptyset(&raised);
    if (!gone)
        sigaddset(&raised, signo);
    for (int tries = 0; !gone && tries < 3; tries++)
        gone = ljt_kernel.take_signal(&raised) >= 0 || errno == EAGAIN;
    if (gone)
        pthread_sigmask(SIG_SETMASK, &w->before, NULL);
}
