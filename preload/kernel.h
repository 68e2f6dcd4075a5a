/*
 * kernel: the one place that talks to the kernel.
 *
 * Everything else calls through the table `ljt_kernel`, so that a test can fake time and make any call fail.
 * The entries are raw system calls: they pass by every other interposer (and by our own), they can be called
 * before the C library is set up, and they are async-signal-safe. None of them allocates.
 *
 * Contract of the entries: as the manual page of the call says, -1 and errno on failure (mmap: MAP_FAILED).
 */
#ifndef LJT_KERNEL_H
#define LJT_KERNEL_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct ljt_kernel {
    void *(*mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t off);
    int (*munmap)(void *addr, size_t len);
    void *(*mremap)(void *addr, size_t old_len, size_t new_len, int flags); /* no MREMAP_FIXED */
    int (*madvise)(void *addr, size_t len, int advice);
    /* madvise on several ranges of this process; the bytes advised, or -1. Atomic for nobody: may end early. */
    ssize_t (*process_madvise)(const struct iovec *ranges, size_t count, int advice);
    int (*mincore)(void *addr, size_t len, unsigned char *vec);
    int (*membarrier)(int cmd);
    /* Copies `len` bytes of this process without ever faulting; the bytes copied, or -1. */
    ssize_t (*peek)(void *to, const void *from, size_t len);
    /* A file's first `size` bytes; how many, or -1. */
    ssize_t (*read_file)(const char *path, char *buf, size_t size);
    /* For files that are written. libc's functions of these names are cancellation points, most of them; ours are not. */
    int (*open)(const char *path, int flags, mode_t mode);
    int (*duplicate)(int fd, int least); /* F_DUPFD_CLOEXEC */
    int (*fstat)(int fd, struct stat *st);
    ssize_t (*write)(int fd, const void *buf, size_t len);
    int (*poll)(struct pollfd *fds, unsigned long n, int ms);
    int (*close)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*take_signal)(const sigset_t *set); /* one that is pending, and now is not; EAGAIN: none is */
    uint64_t (*now)(void);                   /* CLOCK_MONOTONIC, ns */
    uint64_t (*thread_cpu)(void);            /* CPU time of the calling thread, ns */
    /* Sleeps while *word == value, at most `ns` (UINT64_MAX: without end). Spurious returns happen. */
    void (*futex_wait)(const volatile void *word, uint32_t value, uint64_t ns);
    int (*futex_wake)(const volatile void *word, int waiters);
    unsigned (*threads)(void); /* of this process; 0: /proc can't tell */
};

extern struct ljt_kernel ljt_kernel;

/* The kernel's page size and its logarithm; set by ljt_kernel_init, 4096 and 12 before. */
extern size_t ljt_page_size;
extern unsigned ljt_page_shift;

/* What ljt_kernel_init found out about this kernel (or emulator). */
struct ljt_kernel_facts {
    bool dontneed_zeroes; /* MADV_DONTNEED really gives back zeroed pages */
    bool membarrier;      /* MEMBARRIER_CMD_PRIVATE_EXPEDITED works */
};
extern struct ljt_kernel_facts ljt_kernel_facts;

/*
 * Any system call, as syscall(2), but not through the C library's function of that name, which we interpose. -1 and
 * errno on failure.
 */
long ljt_kernel_call(long number, long a, long b, long c, long d, long e, long f);

/* Finds the page size and the true clock. Cheap, hardly a system call; called from the constructor. */
void ljt_kernel_init(void);

/* Tries out what the reclaimer relies on. Called once a process, before its first hold or purge. */
void ljt_kernel_probe(void);

/* The part of it that decides whether there is any use in us: facts.dontneed_zeroes, found out and returned. */
bool ljt_kernel_probe_dontneed(void);

/*
 * process_madvise's word for who calls (Linux 6.15): no descriptor that a fork would make stale. The thread's, not the
 * process's: that is another number since 6.17, and of no use once the first thread has ended.
 */
#define LJT_PIDFD_SELF (-10000)

/* Own memory: zeroed, page-aligned, outside every malloc. NULL when there is none. */
void *ljt_kernel_alloc(size_t len);
void ljt_kernel_free(void *addr, size_t len);

static inline uintptr_t ljt_page_up(uintptr_t a)
{
    return (a + ljt_page_size - 1) & ~(uintptr_t)(ljt_page_size - 1);
}

static inline uintptr_t ljt_page_down(uintptr_t a)
{
    return a & ~(uintptr_t)(ljt_page_size - 1);
}

#endif
