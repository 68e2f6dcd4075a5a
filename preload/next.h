/*
 * next: the definitions that stand behind ours, another preload's or the C library's.
 *
 * NULL before ljt_next_init has run. dlsym may allocate: it is called from the constructor, and by the few calls
 * of sigaction that come before it.
 */
#ifndef LJT_NEXT_H
#define LJT_NEXT_H

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/types.h>

struct ljt_next {
    void *(*mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t off);
    int (*munmap)(void *addr, size_t len);
    void *(*mremap)(void *old_addr, size_t old_len, size_t new_len, int flags, ...);
    int (*sigaction)(int signo, const struct sigaction *act, struct sigaction *old);
    void (*(*signal)(int signo, void (*handler)(int)))(int);
    pid_t (*fork_raw)(void); /* _Fork, glibc 2.34 */
    int (*epoll_wait)(int epfd, struct epoll_event *events, int max, int timeout);
    int (*epoll_pwait)(int epfd, struct epoll_event *events, int max, int timeout, const sigset_t *mask);
    int (*epoll_pwait2)(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask); /* glibc 2.35 */
    int (*poll)(struct pollfd *fds, nfds_t n, int timeout);
    int (*ppoll)(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask);
    int (*select)(int n, fd_set *readable, fd_set *writable, fd_set *exceptional, struct timeval *timeout);
    int (*pselect)(int n, fd_set *readable, fd_set *writable, fd_set *exceptional,
                   const struct timespec *timeout, const sigset_t *mask);
};

extern struct ljt_next ljt_next;

void ljt_next_init(void);

/* What stands behind us in the process's global scope, NULL if nothing does or it is ourselves. */
void *ljt_next_find(const char *name);

#endif
