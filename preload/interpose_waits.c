/*
 * interpose_waits: the functions of the C library in which a program waits for events.
 *
 * epoll_wait, epoll_pwait, epoll_pwait2, poll, ppoll, select and pselect. They are passed on with the caller's own
 * arguments, so that each is the cancellation point that it was; only with LJTRIM_IDLE_GC a long wait is taken apart
 * (idle.h). Before the constructor has run, and where no next one is to be found, the system call alone.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "idle.h"
#include "kernel.h"
#include "next.h"

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): in libc's headers they have reserved names */

#define EXPORT __attribute__((visibility("default")))

#define SECOND UINT64_C(1000000000)
#define SIGSET_BYTES (NSIG / 8) /* the kernel's */

/* ---- Times. What is no time is 0 here: too short to be taken apart, it is the original that says EINVAL ---- */

static uint64_t from_ms(int ms)
{
    return ms < 0 ? LJT_IDLE_FOREVER : (uint64_t)ms * 1000000;
}

static uint64_t from_parts(uint64_t seconds, uint64_t ns)
{
    return seconds >= LJT_IDLE_FOREVER / SECOND ? LJT_IDLE_FOREVER : seconds * SECOND + ns;
}

static uint64_t from_timespec(const struct timespec *ts)
{
    if (ts == NULL)
        return LJT_IDLE_FOREVER;
    if (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= (long)SECOND)
        return 0;
    return from_parts((uint64_t)ts->tv_sec, (uint64_t)ts->tv_nsec);
}

/* As the C library's: microseconds beyond a second count. */
static uint64_t from_timeval(const struct timeval *tv)
{
    if (tv == NULL)
        return LJT_IDLE_FOREVER;
    if (tv->tv_sec < 0 || tv->tv_usec < 0)
        return 0;
    return from_parts((uint64_t)tv->tv_sec + (uint64_t)tv->tv_usec / 1000000,
                      (uint64_t)tv->tv_usec % 1000000 * 1000);
}

static int to_ms(uint64_t ns)
{
    uint64_t ms = ns / 1000000 + (ns % 1000000 != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / SECOND), (long)(ns % SECOND)};
}

static struct timeval to_timeval(uint64_t ns)
{
    uint64_t us = ns / 1000 + (ns % 1000 != 0);
    return (struct timeval){(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
}

/* ---- epoll ---- */

struct epoll_call {
    enum { WAIT, PWAIT, PWAIT2 } which;
    int epfd;
    struct epoll_event *events;
    int max;
    int timeout_ms;
    const struct timespec *timeout; /* PWAIT2 */
    const sigset_t *mask;
};

static int call_epoll(void *arg, const uint64_t *ns)
{
    const struct epoll_call *c = arg;
    struct timespec part;
    int ms = c->timeout_ms;
    const struct timespec *timeout = c->timeout;
    if (ns != NULL) {
        /* Signals that the mask lets in are overlooked by a wait of no time at all. */
        bool glance = *ns == 0 && c->mask != NULL;
        ms = glance ? 1 : to_ms(*ns);
        part = to_timespec(glance ? 1 : *ns);
        timeout = &part;
    }
    if (c->which == WAIT && ljt_next.epoll_wait != NULL)
        return ljt_next.epoll_wait(c->epfd, c->events, c->max, ms);
    if (c->which == PWAIT && ljt_next.epoll_pwait != NULL)
        return ljt_next.epoll_pwait(c->epfd, c->events, c->max, ms, c->mask);
    if (c->which == PWAIT2 && ljt_next.epoll_pwait2 != NULL)
        return ljt_next.epoll_pwait2(c->epfd, c->events, c->max, timeout, c->mask);
    if (c->which == PWAIT2)
        return (int)ljt_kernel_call(SYS_epoll_pwait2, c->epfd, (long)c->events, c->max, (long)timeout,
                                    (long)c->mask, SIGSET_BYTES);
    return (int)ljt_kernel_call(SYS_epoll_pwait, c->epfd, (long)c->events, c->max, ms, (long)c->mask,
                                SIGSET_BYTES);
}

static inline int wait_epoll(struct epoll_call *call, uint64_t timeout)
{
    return ljt_idle_may_collect(timeout) ? ljt_idle_wait(call_epoll, call, timeout, false)
                                         : call_epoll(call, NULL);
}

EXPORT int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
    struct epoll_call call = {WAIT, epfd, events, max, timeout, NULL, NULL};
    return wait_epoll(&call, from_ms(timeout));
}

EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
    struct epoll_call call = {PWAIT, epfd, events, max, timeout, NULL, mask};
    return wait_epoll(&call, from_ms(timeout));
}

/* The C library has it from glibc 2.35 on; before, this is the system call. */
EXPORT int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask)
{
    struct epoll_call call = {PWAIT2, epfd, events, max, 0, timeout, mask};
    struct timespec copy = {0, 0};
    if (!ljt_idle_is_on())
        return call_epoll(&call, NULL);
    /* The one of them whose timeout only the kernel reads: a bad address is EFAULT, not a fault. */
    if (timeout != NULL && ljt_kernel.peek(&copy, timeout, sizeof(copy)) != (ssize_t)sizeof(copy))
        return call_epoll(&call, NULL);
    return wait_epoll(&call, from_timespec(timeout != NULL ? &copy : NULL));
}

/* ---- poll ---- */

struct poll_call {
    bool precise; /* ppoll */
    struct pollfd *fds;
    nfds_t n;
    int timeout_ms;
    const struct timespec *timeout;
    const sigset_t *mask;
};

static int call_poll(void *arg, const uint64_t *ns)
{
    const struct poll_call *c = arg;
    struct timespec part;
    int ms = ns != NULL ? to_ms(*ns) : c->timeout_ms;
    const struct timespec *timeout = c->timeout;
    if (ns != NULL) {
        part = to_timespec(*ns);
        timeout = &part;
    }
    if (!c->precise && ljt_next.poll != NULL)
        return ljt_next.poll(c->fds, c->n, ms);
    if (c->precise && ljt_next.ppoll != NULL)
        return ljt_next.ppoll(c->fds, c->n, timeout, c->mask);
    if (!c->precise)
        timeout = NULL;
    if (!c->precise && ms >= 0) {
        part = to_timespec(from_ms(ms));
        timeout = &part;
    } else if (timeout != NULL) {
        part = *timeout; /* the kernel writes to it what is left */
        timeout = &part;
    }
    return (int)ljt_kernel_call(SYS_ppoll, (long)c->fds, (long)c->n, (long)timeout, (long)c->mask,
                                SIGSET_BYTES, 0);
}

static inline int wait_poll(struct poll_call *call, uint64_t timeout)
{
    return ljt_idle_may_collect(timeout) ? ljt_idle_wait(call_poll, call, timeout, true)
                                         : call_poll(call, NULL);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    struct poll_call call = {false, fds, n, timeout, NULL, NULL};
    return wait_poll(&call, from_ms(timeout));
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    struct poll_call call = {true, fds, n, 0, timeout, mask};
    return wait_poll(&call, ljt_idle_is_on() ? from_timespec(timeout) : 0);
}

/* ---- select ---- */

enum { SETS = 3 };

struct select_call {
    bool precise; /* pselect */
    int n;
    fd_set *set[SETS];
    struct timeval *timeout;
    const struct timespec *timeout_ns; /* pselect's */
    const sigset_t *mask;

    /* Taken apart: the sets as the caller has filled them, since each call that times out empties them. */
    bool in_parts;
    fd_set given[SETS];
};

static unsigned words_of_set(const struct select_call *c)
{
    return ((unsigned)c->n + 63) / 64;
}

/* False where that can't be: too many for a copy, or at an address for which the kernel says EFAULT. */
static bool keep_sets(struct select_call *c)
{
    if (c->n < 0 || c->n > FD_SETSIZE)
        return false;
    size_t len = words_of_set(c) * sizeof(__fd_mask);
    for (int i = 0; i < SETS && len > 0; i++)
        if (c->set[i] != NULL && ljt_kernel.peek(&c->given[i], c->set[i], len) != (ssize_t)len)
            return false;
    return true;
}

/* Writes only where the kernel has written: it looks at fewer descriptors than `n` where there are fewer. */
static void refill_sets(struct select_call *c)
{
    for (int i = 0; i < SETS; i++)
        for (unsigned w = 0; c->set[i] != NULL && w < words_of_set(c); w++)
            if (__FDS_BITS(c->set[i])[w] != __FDS_BITS(&c->given[i])[w])
                __FDS_BITS(c->set[i])[w] = __FDS_BITS(&c->given[i])[w];
}

static int select_by_kernel(const struct select_call *c, struct timespec *timeout)
{
    const struct {
        const sigset_t *mask;
        size_t size;
    } mask = {c->mask, SIGSET_BYTES};
    return (int)ljt_kernel_call(SYS_pselect6, c->n, (long)c->set[0], (long)c->set[1], (long)c->set[2],
                                (long)timeout, (long)&mask);
}

static int call_pselect(const struct select_call *c, const struct timespec *timeout)
{
    if (ljt_next.pselect != NULL)
        return ljt_next.pselect(c->n, c->set[0], c->set[1], c->set[2], timeout, c->mask);
    if (timeout == NULL)
        return select_by_kernel(c, NULL);
    struct timespec left = *timeout; /* the kernel writes to it what is left */
    return select_by_kernel(c, &left);
}

static int call_plain_select(const struct select_call *c, struct timeval *timeout)
{
    if (ljt_next.select != NULL)
        return ljt_next.select(c->n, c->set[0], c->set[1], c->set[2], timeout);
    if (timeout == NULL)
        return select_by_kernel(c, NULL);
    if (timeout->tv_sec < 0 || timeout->tv_usec < 0) {
        errno = EINVAL;
        return -1;
    }
    struct timespec left = to_timespec(from_timeval(timeout));
    int n = select_by_kernel(c, &left);
    timeout->tv_sec = left.tv_sec;
    timeout->tv_usec = left.tv_nsec / 1000;
    return n;
}

static int call_select(void *arg, const uint64_t *ns)
{
    struct select_call *c = arg;
    if (c->in_parts)
        refill_sets(c);
    if (ns == NULL)
        return c->precise ? call_pselect(c, c->timeout_ns) : call_plain_select(c, c->timeout);
    c->in_parts = true;
    if (c->precise) {
        struct timespec part = to_timespec(*ns);
        return call_pselect(c, &part);
    }
    struct timeval part = to_timeval(*ns);
    return call_plain_select(c, &part);
}

static int wait_select(struct select_call *c, uint64_t timeout)
{
    if (!ljt_idle_may_collect(timeout) || !keep_sets(c))
        return call_select(c, NULL);
    uint64_t start = ljt_kernel.now();
    int n = ljt_idle_wait(call_select, c, timeout, true);
    if (!c->in_parts)
        return n;
    if (n < 0)
        refill_sets(c);
    if (c->timeout != NULL && timeout != LJT_IDLE_FOREVER) { /* Linux says how much of it is left */
        uint64_t took = ljt_kernel.now() - start;
        *c->timeout = to_timeval(took < timeout && n != 0 ? timeout - took : 0);
    }
    return n;
}

EXPORT int select(int n, fd_set *readable, fd_set *writable, fd_set *exceptional, struct timeval *timeout)
{
    struct select_call call;
    call.precise = call.in_parts = false;
    call.n = n;
    call.set[0] = readable;
    call.set[1] = writable;
    call.set[2] = exceptional;
    call.timeout = timeout;
    call.timeout_ns = NULL;
    call.mask = NULL;
    return wait_select(&call, ljt_idle_is_on() ? from_timeval(timeout) : 0);
}

EXPORT int pselect(int n, fd_set *readable, fd_set *writable, fd_set *exceptional,
                   const struct timespec *timeout, const sigset_t *mask)
{
    struct select_call call;
    call.precise = true;
    call.in_parts = false;
    call.n = n;
    call.set[0] = readable;
    call.set[1] = writable;
    call.set[2] = exceptional;
    call.timeout = NULL;
    call.timeout_ns = timeout;
    call.mask = mask;
    return wait_select(&call, ljt_idle_is_on() ? from_timespec(timeout) : 0);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
