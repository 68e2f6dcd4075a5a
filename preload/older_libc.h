/*
 * What the C library of Debian 11 (glibc 2.31) has no names for, in front of every file (see the Makefile): so that the
 * library can be built on the system of an image, which must not be older than the one it was built on.
 *
 * The numbers are the kernel's, the same on all its 64-bit architectures: include/uapi/asm-generic/unistd.h, mman.h.
 */
#ifndef LJT_OLDER_LIBC_H
#define LJT_OLDER_LIBC_H

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#if defined(__GLIBC__) && !__GLIBC_PREREQ(2, 34)
pid_t _Fork(void); /* interposed all the same: a libc may be replaced by a later one */
#endif

#if defined(__GLIBC__) && !__GLIBC_PREREQ(2, 35)
struct epoll_event;
int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
                 const sigset_t *mask); /* likewise */
#endif

#endif
