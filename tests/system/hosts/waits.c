/*
 * waits: epoll_wait, epoll_pwait, epoll_pwait2, poll, ppoll, select and pselect with good and bad arguments. Prints what
 * each has said and left behind; it does not depend on the machine, and not on a library in front of the C library's.
 */
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>

#include "host.h"

enum { EPOLL_WAIT, EPOLL_PWAIT, EPOLL_PWAIT2, POLL, PPOLL, SELECT, PSELECT, FUNCTIONS };
static const char *const name[] = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll",
                                   "ppoll",      "select",      "pselect"};

#define NOWHERE ((void *)8) /* no address, but not NULL */
#define NO_TIME LONG_MIN

static int silent[2], ready[2]; /* pipes */
static volatile sig_atomic_t signals;

static void count_signal(int signo)
{
    (void)signo;
    signals++;
}

/* What to wait for, and for how long: ms; -1 without end; NO_TIME for a time that is none. */
struct args {
    int fd;
    long ms;
    const sigset_t *mask;
    bool bad_fd, bad_place; /* a descriptor that is closed; an address that is none */
};

static int call_epoll(int function, const struct args *a, const struct timespec *ts)
{
    struct epoll_event event = {.events = EPOLLIN}, got[4];
    struct epoll_event *place = a->bad_place ? NOWHERE : got;
    int fd = epoll_create1(EPOLL_CLOEXEC), ms = a->ms == NO_TIME ? -1 : (int)a->ms;
    epoll_ctl(fd, EPOLL_CTL_ADD, a->fd, &event);
    if (a->bad_fd)
        close(fd);
    int max = function != EPOLL_PWAIT2 && a->ms == NO_TIME ? 0 : 4; /* where no time is bad, no room is */
    int n = function == EPOLL_WAIT    ? epoll_wait(fd, place, max, ms)
            : function == EPOLL_PWAIT ? epoll_pwait(fd, place, max, ms, a->mask)
                                      : epoll_pwait2(fd, place, max, ts, a->mask);
    int saved = errno;
    if (n == 1)
        printf(" [%#x]", (unsigned)got[0].events);
    if (!a->bad_fd)
        close(fd);
    errno = saved;
    return n;
}

static int call_poll(int function, const struct args *a, const struct timespec *ts)
{
    struct pollfd fds[2] = {{.fd = a->bad_fd ? 999 : a->fd, .events = POLLIN}, {.fd = -1}};
    struct pollfd *place = a->bad_place ? NOWHERE : fds;
    int ms = a->ms == NO_TIME ? INT_MIN : (int)a->ms;
    if (function == POLL && a->ms == NO_TIME && !a->bad_fd && !a->bad_place)
        ms = 0; /* a negative number is no error, but for ever */
    int n = function == POLL ? poll(place, 2, ms) : ppoll(place, 2, ts, a->mask);
    int saved = errno;
    printf(" [%#x]", (unsigned)fds[0].revents);
    errno = saved;
    return n;
}

static int call_select(int function, const struct args *a, const struct timespec *ts)
{
    fd_set sets[3];
    struct timeval tv = {0, 0};
    for (int i = 0; i < 3; i++) {
        FD_ZERO(&sets[i]);
        FD_SET(a->fd, &sets[i]);
        FD_SET(700, &sets[i]);
    }
    if (a->bad_fd)
        FD_SET(69, &sets[0]);
    if (ts != NULL)
        tv = (struct timeval){ts->tv_sec, ts->tv_nsec / 1000};
    int n = function == SELECT
                ? select(70, a->bad_place ? NOWHERE : &sets[0], NULL, &sets[2], ts != NULL ? &tv : NULL)
                : pselect(70, a->bad_place ? NOWHERE : &sets[0], NULL, &sets[2], ts, a->mask);
    int saved = errno;
    for (int i = 0; i < 3; i++)
        printf(" [%d %d]", FD_ISSET(a->fd, &sets[i]) != 0, FD_ISSET(700, &sets[i]) != 0);
    if (function == SELECT && ts != NULL && a->ms != NO_TIME) /* Linux says what is left */
        printf(" left: %s", tv.tv_sec == 0 && tv.tv_usec == 0               ? "nothing"
                            : tv.tv_sec * 1000 + tv.tv_usec / 1000 <= a->ms ? "some"
                                                                            : "more");
    errno = saved;
    return n;
}

static int call(int function, const struct args *a)
{
    struct timespec ts = {a->ms / 1000, a->ms % 1000 * 1000000}, *end = a->ms == -1 ? NULL : &ts;
    if (a->ms == NO_TIME)
        ts = (struct timespec){0, -1000};
    errno = 0;
    return function < POLL     ? call_epoll(function, a, end)
           : function < SELECT ? call_poll(function, a, end)
                               : call_select(function, a, end);
}

static void try(const char *what, int function, struct args a)
{
    signals = 0;
    printf("%s, %s:", name[function], what);
    int n = call(function, &a), error = errno;
    printf(" %d %s", n, n < 0 ? strerror(error) : "");
    printf(" signals %d\n", (int)signals);
}

static void *wait_without_end(void *function)
{
    struct args a = {.fd = silent[0], .ms = -1};
    call((int)(intptr_t)function, &a);
    return NULL;
}

/* Each is a cancellation point, whether the request comes before or during the wait. */
static void cancel(int function, long after_ms)
{
    pthread_t thread;
    void *end = NULL;
    if (pthread_create(&thread, NULL, wait_without_end, (void *)(intptr_t)function) != 0)
        die("no thread");
    sleep_ms(after_ms);
    pthread_cancel(thread);
    pthread_join(thread, &end);
    printf("%s, cancelled: %s\n", name[function], end == PTHREAD_CANCELED ? "yes" : "no");
}

int main(void)
{
    sigset_t usr1, none;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    signal(SIGUSR1, count_signal);
    if (pipe(silent) || pipe(ready) || write(ready[1], "x", 1) != 1)
        die("no pipes");
    for (int f = 0; f < FUNCTIONS; f++) {
        try("ready", f, (struct args){.fd = ready[0], .ms = -1});
        try("ready, a limit", f, (struct args){.fd = ready[0], .ms = 5000});
        try("ready, no time", f, (struct args){.fd = ready[0], .ms = 0});
        try("silent, no time", f, (struct args){.fd = silent[0], .ms = 0});
        try("silent, a short time", f, (struct args){.fd = silent[0], .ms = 20});
        try("silent, a longer time", f, (struct args){.fd = silent[0], .ms = 150});
        try("not a time", f, (struct args){.fd = silent[0], .ms = NO_TIME});
        try("not a descriptor", f, (struct args){.fd = silent[0], .ms = 5000, .bad_fd = true});
        try("nowhere", f, (struct args){.fd = ready[0], .ms = 5000, .bad_place = true});
        if (f == EPOLL_WAIT || f == POLL || f == SELECT)
            continue;
        sigprocmask(SIG_BLOCK, &usr1, NULL);
        raise(SIGUSR1);
        try("a signal that is let in", f, (struct args){.fd = silent[0], .ms = -1, .mask = &none});
        raise(SIGUSR1);
        try("one that is not", f, (struct args){.fd = silent[0], .ms = 20, .mask = &usr1});
        try("the same, let in", f, (struct args){.fd = silent[0], .ms = 200, .mask = &none});
        sigprocmask(SIG_UNBLOCK, &usr1, NULL);
    }
    /* What the functions differ in. */
    errno = 0;
    printf("select, -1 descriptors: %d", select(-1, NULL, NULL, NULL, &(struct timeval){0, 200000}));
    printf(" %d\n", errno);
    struct timeval odd = {0, 1150000};
    printf("select, more than a million microseconds: %d", select(0, NULL, NULL, NULL, &odd));
    printf(" %ld %ld\n", (long)odd.tv_sec, (long)odd.tv_usec);
    struct epoll_event event;
    errno = 0;
    printf("epoll_pwait2, time nowhere: %d", epoll_pwait2(silent[0], &event, 1, NOWHERE, NULL));
    printf(" %d\n", errno);
    fflush(stdout);
    for (int f = 0; f < FUNCTIONS; f++) {
        cancel(f, 0);
        cancel(f, 20);
    }
    return 0;
}
