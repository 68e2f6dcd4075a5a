#include "kernel.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef LJT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#include "sandbox.h"

size_t ljt_page_size = 4096;
unsigned ljt_page_shift = 12;
struct ljt_kernel_facts ljt_kernel_facts;

long ljt_kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long result __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(result)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
#else
#error "the system call instruction of this architecture is not known here"
#endif
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

/* With as many arguments as the call has; what the kernel does not look at is 0. */
#define CALL_(n, a, b, c, d, e, f, ...) \
    ljt_kernel_call((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define CALL(...) CALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/*
 * ThreadSanitizer does not see system calls: for it, memory that one thread has unmapped and another one has got from the
 * kernel since is shared without order. The kernel orders them, address by address; here granule by granule, with keys of our
 * own: what is known of an address in the granule itself is forgotten where ThreadSanitizer sees a neighbour go.
 */
#ifdef LJT_TSAN
static _Atomic bool may_tell; /* its run time has begun */
static void tell(void (*event)(void *key), const void *from, size_t len)
{
    enum { KEYS = 1024 };
    static uint64_t keys[KEYS];
    const uintptr_t granule = (uintptr_t)64 << 10, first = (uintptr_t)from / granule;
    const uintptr_t end = ((uintptr_t)from + len + granule - 1) / granule;
    for (uintptr_t at = first; may_tell && from != MAP_FAILED && at < end && at < first + KEYS; at++)
        event(&keys[at % KEYS]);
}
#define LEAVES(from, len) tell(__tsan_release, from, len)
#define ARRIVES(from, len) tell(__tsan_acquire, from, len)
#else
#define LEAVES(from, len) (void)0
#define ARRIVES(from, len) (void)0
#endif

static void *sys_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    void *p = (void *)CALL(SYS_mmap, addr, len, prot, flags, fd, off);
    ARRIVES(p, len);
    return p;
}

static int sys_munmap(void *addr, size_t len)
{
    LEAVES(addr, len);
    return (int)CALL(SYS_munmap, addr, len);
}

static void *sys_mremap(void *addr, size_t old_len, size_t new_len, int flags)
{
    LEAVES(addr, old_len);
    void *p = (void *)CALL(SYS_mremap, addr, old_len, new_len, flags);
    ARRIVES(p, new_len);
    return p;
}

/* A call that a seccomp filter would kill for is one that this kernel does not have. */
static bool is_deadly(enum ljt_sandbox_call call)
{
    if (__builtin_expect(!ljt_sandbox_kills(call), 1))
        return false;
    errno = ENOSYS;
    return true;
}

static int sys_madvise(void *addr, size_t len, int advice)
{
    if (is_deadly(LJT_CALL_MADVISE))
        return -1;
    return (int)CALL(SYS_madvise, addr, len, advice);
}

static ssize_t sys_process_madvise(const struct iovec *ranges, size_t count, int advice)
{
    if (is_deadly(LJT_CALL_PROCESS_MADVISE))
        return -1;
    return CALL(SYS_process_madvise, LJT_PIDFD_SELF, ranges, count, advice, 0UL);
}

static int sys_mincore(void *addr, size_t len, unsigned char *vec)
{
    if (is_deadly(LJT_CALL_MINCORE))
        return -1;
    return (int)CALL(SYS_mincore, addr, len, vec);
}

static int sys_membarrier(int cmd)
{
    if (is_deadly(LJT_CALL_MEMBARRIER))
        return -1;
    return (int)CALL(SYS_membarrier, cmd, 0, 0);
}

/*
 * process_vm_readv on oneself reads like a system call does: an address that is not mapped is EFAULT, not a
 * signal. Where a sandbox forbids it, mincore tells whether the pages are there: no guard against another
 * thread that unmaps them in between, which the callers' lock order makes impossible for LuaJIT's own memory.
 */
static ssize_t sys_peek(void *to, const void *from, size_t len)
{
    struct iovec local = {to, len};
    struct iovec remote = {(void *)(uintptr_t)from, len};
    if (!is_deadly(LJT_CALL_PROCESS_VM_READV)) {
        ssize_t n = CALL(SYS_process_vm_readv, getpid(), &local, 1UL, &remote, 1UL, 0UL);
        if (n >= 0 || (errno != EPERM && errno != ENOSYS))
            return n;
    }
    uintptr_t lo = ljt_page_down((uintptr_t)from);
    uintptr_t hi = ljt_page_up((uintptr_t)from + len);
    for (uintptr_t page = lo; page < hi; page += ljt_page_size) {
        unsigned char present;
        if (sys_mincore((void *)page, ljt_page_size, &present) != 0) {
            errno = errno == ENOMEM ? EFAULT : errno; /* its word for what is not mapped */
            return -1;
        }
    }
    memcpy(to, from, len);
    return (ssize_t)len;
}

static int sys_open(const char *path, int flags, mode_t mode)
{
    return (int)CALL(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int sys_duplicate(int fd, int least)
{
    return (int)CALL(SYS_fcntl, fd, F_DUPFD_CLOEXEC, least);
}

static int sys_fstat(int fd, struct stat *st)
{
    return (int)CALL(SYS_fstat, fd, st);
}

static ssize_t sys_write(int fd, const void *buf, size_t len)
{
    return CALL(SYS_write, fd, buf, len);
}

static int sys_poll(struct pollfd *fds, unsigned long n, int ms)
{
#ifdef SYS_poll
    return (int)CALL(SYS_poll, fds, n, ms);
#else
    struct timespec limit = {ms / 1000, ms % 1000 * 1000000L};
    return (int)CALL(SYS_ppoll, fds, n, &limit, NULL, 0);
#endif
}

static int sys_close(int fd)
{
    return (int)CALL(SYS_close, fd);
}

/* How often a read is tried again that signals interrupt. */
#define READ_TRIES 100

static ssize_t sys_read_file(const char *path, char *buf, size_t size)
{
    size_t done = 0;
    int fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0), tries = READ_TRIES;
    if (fd < 0)
        return -1;
    long n = 1;
    while (done < size && (n > 0 || (n < 0 && errno == EINTR && tries-- > 0))) {
        n = CALL(SYS_read, fd, buf + done, size - done);
        done += n > 0 ? (size_t)n : 0;
    }
    sys_close(fd);
    return n < 0 ? -1 : (ssize_t)done;
}

static int sys_rename(const char *from, const char *to)
{
    return (int)CALL(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

static int sys_unlink(const char *path)
{
    return (int)CALL(SYS_unlinkat, AT_FDCWD, path, 0);
}

static int sys_take_signal(const sigset_t *set)
{
    struct timespec now = {0};
    return (int)CALL(SYS_rt_sigtimedwait, set, NULL, &now, _NSIG / 8);
}

/* From init on libc's own, which needs no system call, and not that of a preload that fakes time (libfaketime). */
static int (*real_clock)(clockid_t clock, struct timespec *ts) = clock_gettime;

/* Are both addresses this object's? */
static int holds_both(struct dl_phdr_info *info, size_t size, void *arg)
{
    const uintptr_t *address = arg;
    unsigned held = 0;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        for (unsigned which = 0; p->p_type == PT_LOAD && which < 2; which++)
            held |= (unsigned)(address[which] - (info->dlpi_addr + p->p_vaddr) < p->p_memsz) << which;
    }
    return held == 3;
}

/* Nobody stands in front of __errno_location: what is beside it is libc's. To open libc takes twenty times as long. */
static void find_clock(void)
{
    uintptr_t beside[2] = {(uintptr_t)real_clock, (uintptr_t)__errno_location};
    if (dl_iterate_phdr(holds_both, beside) != 0)
        return;
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD); /* never closed: it is there anyway */
    void *found = libc == NULL ? NULL : dlsym(libc, "clock_gettime");
    if (found != NULL)
        *(void **)&real_clock = found;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    real_clock(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t sys_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t sys_thread_cpu(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* Where it is refused (a sandbox) a short sleep stands in: who waits does so in a loop, which is not to take a processor. */
static void sys_futex_wait(const volatile void *word, uint32_t value, uint64_t ns)
{
    struct timespec ts = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)}, pause = {0, 1000000};
    if (CALL(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, ns == UINT64_MAX ? NULL : &ts, NULL, 0) == 0 ||
        errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT)
        return;
    CALL(SYS_nanosleep, &pause, NULL);
}

static int sys_futex_wake(const volatile void *word, int waiters)
{
    return (int)CALL(SYS_futex, word, FUTEX_WAKE_PRIVATE, waiters, NULL, NULL, 0);
}

/* /proc/self/task has two links and one for each thread. */
static unsigned sys_threads(void)
{
    struct statx st = {0};
    if (ljt_sandbox_kills(LJT_CALL_STATX))
        return 0;
    int saved = errno;
    long failed = ljt_kernel_call(SYS_statx, AT_FDCWD, (long)"/proc/self/task", 0, STATX_NLINK, (long)&st, 0);
    errno = saved;
    return failed || st.stx_nlink < 3 ? 0 : st.stx_nlink - 2;
}

struct ljt_kernel ljt_kernel = {
    .mmap = sys_mmap,
    .munmap = sys_munmap,
    .mremap = sys_mremap,
    .madvise = sys_madvise,
    .process_madvise = sys_process_madvise,
    .mincore = sys_mincore,
    .membarrier = sys_membarrier,
    .peek = sys_peek,
    .read_file = sys_read_file,
    .open = sys_open,
    .duplicate = sys_duplicate,
    .fstat = sys_fstat,
    .write = sys_write,
    .poll = sys_poll,
    .close = sys_close,
    .rename = sys_rename,
    .unlink = sys_unlink,
    .take_signal = sys_take_signal,
    .now = sys_now,
    .thread_cpu = sys_thread_cpu,
    .futex_wait = sys_futex_wait,
    .futex_wake = sys_futex_wake,
    .threads = sys_threads,
};

void ljt_kernel_init(void)
{
#ifdef LJT_TSAN
    may_tell = true;
#endif
    find_clock();
    long size = sysconf(_SC_PAGESIZE);
    if (size < 4096)
        return;
    ljt_page_size = (size_t)size;
    ljt_page_shift = (unsigned)__builtin_ctzl((unsigned long)size);
}

void *ljt_kernel_alloc(size_t len)
{
    void *p = ljt_kernel.mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void ljt_kernel_free(void *addr, size_t len)
{
    if (addr != NULL)
        ljt_kernel.munmap(addr, len);
}

/* Some emulators accept MADV_DONTNEED and keep the page: then a purge would free nothing. */
static bool dontneed_zeroes(void)
{
    unsigned char *page = ljt_kernel_alloc(ljt_page_size);
    if (page == NULL)
        return false;
    *(volatile unsigned char *)page = 1;
    bool zeroed =
        ljt_kernel.madvise(page, ljt_page_size, MADV_DONTNEED) == 0 && *(volatile unsigned char *)page == 0;
    ljt_kernel_free(page, ljt_page_size);
    return zeroed;
}

bool ljt_kernel_probe_dontneed(void)
{
    int saved = errno;
    ljt_kernel_facts.dontneed_zeroes = dontneed_zeroes();
    errno = saved;
    return ljt_kernel_facts.dontneed_zeroes;
}

void ljt_kernel_probe(void)
{
    int saved = errno;
    (void)ljt_kernel_probe_dontneed();
    ljt_kernel_facts.membarrier = ljt_kernel.membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
                                  ljt_kernel.membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
    errno = saved;
}
