#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gate.h"
#include "kernel.h"

static _Atomic uint32_t asked_by; /* the process that asked last: its pid */
static _Atomic uint32_t known;    /* the filters of whom was asked for, as filters_of_thread tells them */
static _Atomic uint32_t deadly;   /* a bit a call; only ever more */

#define ALL_CALLS ((1u << LJT_CALLS) - 1)

bool ljt_sandbox_kills(enum ljt_sandbox_call call)
{
    return (atomic_load_explicit(&deadly, memory_order_relaxed) >> call & 1) != 0;
}

bool ljt_sandbox_is_unknown(void)
{
    return atomic_load_explicit(&deadly, memory_order_relaxed) == ALL_CALLS;
}

/* ---- Is there a filter? ---- */

#define UNKNOWN UINT32_MAX

/* The number behind a line's name; `otherwise` where there is no such line. */
static uint32_t figure(const char *text, size_t len, const char *name, uint32_t otherwise)
{
    const char *at = memmem(text, len, name, strlen(name));
    uint32_t n = 0;
    if (at == NULL)
        return otherwise;
    for (at += strlen(name); at < text + len && *at >= '0' && *at <= '9'; at++)
        n = n * 10 + (uint32_t)(*at - '0');
    return n;
}

/*
 * 0: none. Else a number that differs where their number does (Linux 5.9). With what ld.so itself has needed:
 * prctl(PR_GET_SECCOMP) would kill where a filter forbids prctl.
 */
static uint32_t filters_of_thread(char *text, size_t size)
{
    ssize_t n = ljt_kernel.read_file("/proc/thread-self/status", text, size);
    size_t len = n < 0 ? 0 : (size_t)n;
    /* Without that line a kernel has no seccomp, unless the file could not be read to its end. */
    uint32_t mode = figure(text, len, "\nSeccomp:\t", n < 0 || len == size ? UNKNOWN : 0);
    return mode == 0 || mode == UNKNOWN ? mode : 1 + figure(text, len, "\nSeccomp_filters:\t", 0);
}

/* ---- The child ---- */

enum { UNTRIED, TRYING, SURVIVED };

/* Shared between the process and its children, in a page of its own; the calls are made on the page behind it. */
struct trial {
    _Atomic uint8_t state[LJT_CALLS];
};

static void *page_of(struct trial *t)
{
    return (char *)t + ljt_page_size;
}

static long try_call(enum ljt_sandbox_call call, struct trial *t)
{
    char byte;
    struct iovec to = {&byte, 1}, page = {page_of(t), ljt_page_size};
    switch (call) {
    case LJT_CALL_PROCESS_VM_READV:
        return ljt_kernel_call(SYS_process_vm_readv, ljt_kernel_call(SYS_getpid, 0, 0, 0, 0, 0, 0), (long)&to,
                               1, (long)&page, 1, 0);
    case LJT_CALL_MINCORE:
        return ljt_kernel_call(SYS_mincore, (long)page_of(t), (long)ljt_page_size, (long)&byte, 0, 0, 0);
    case LJT_CALL_MADVISE:
        return ljt_kernel_call(SYS_madvise, (long)page_of(t), (long)ljt_page_size, MADV_DONTNEED, 0, 0, 0);
    case LJT_CALL_PROCESS_MADVISE:
        return ljt_kernel_call(SYS_process_madvise, LJT_PIDFD_SELF, (long)&page, 1, MADV_DONTNEED, 0, 0);
    case LJT_CALL_MEMBARRIER:
        ljt_kernel_call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0);
        return ljt_kernel_call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0);
    case LJT_CALL_STATX: return ljt_kernel_call(SYS_statx, AT_FDCWD, (long)"/", 0, 0, (long)page_of(t), 0);
    case LJT_CALL_GETRUSAGE:
        return ljt_kernel_call(SYS_getrusage, RUSAGE_THREAD, (long)page_of(t), 0, 0, 0, 0);
    case LJT_CALL_PRCTL: return ljt_kernel_call(SYS_prctl, PR_SET_NAME, (long)"ljtrim", 0, 0, 0, 0);
    default: return 0;
    }
}

/* Never returns; touches nothing but its own stack and the trial. */
static void child(struct trial *t)
{
    struct rlimit none = {0, 0};
    ljt_kernel_call(SYS_prlimit64, 0, RLIMIT_CORE, (long)&none, 0, 0, 0);
    for (unsigned call = 0; call < LJT_CALLS; call++) {
        if (atomic_load_explicit(&t->state[call], memory_order_relaxed) != UNTRIED)
            continue;
        atomic_store_explicit(&t->state[call], TRYING, memory_order_seq_cst);
        (void)try_call((enum ljt_sandbox_call)call, t);
        atomic_store_explicit(&t->state[call], SURVIVED, memory_order_seq_cst);
    }
    for (;;)
        ljt_kernel_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

/* No exit signal, so that the host neither hears of it nor reaps it. True if a child has run and ended; *killed: by a signal. */
static bool run_child(struct trial *t, bool *killed)
{
    int status = 0;
    long pid = ljt_kernel_call(SYS_clone, 0, 0, 0, 0, 0, 0);
    if (pid == 0)
        child(t);
    if (pid < 0)
        return false;
    while (ljt_kernel_call(SYS_wait4, pid, (long)&status, __WALL, 0, 0, 0) < 0)
        if (errno != EINTR)
            return false;
    *killed = WIFSIGNALED(status);
    return true;
}

static uint32_t find_deadly(void)
{
    struct trial *t =
        ljt_kernel.mmap(NULL, 2 * ljt_page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t == MAP_FAILED)
        return ALL_CALLS;
    uint32_t found = 0;
    bool more;
    do { /* a child dies of one call at most: the next goes on behind it */
        bool killed = false;
        more = false;
        if (!run_child(t, &killed)) {
            found = ALL_CALLS;
            break;
        }
        for (unsigned call = 0; call < LJT_CALLS; call++)
            if (atomic_load_explicit(&t->state[call], memory_order_seq_cst) == TRYING) {
                found |= 1u << call;
                atomic_store_explicit(&t->state[call], SURVIVED, memory_order_relaxed);
                more = true;
            }
        if (killed && !more) /* of what comes before them: it tells nothing of the calls */
            found = ALL_CALLS;
    } while (more);
    ljt_kernel_free(t, 2 * ljt_page_size);
    return found;
}

/* Under the registry lock. What was found deadly stays so: another thread may have the filters that this one has not. */
static void ask(uint32_t filters)
{
    if (filters != 0 && filters != atomic_load_explicit(&known, memory_order_relaxed)) {
        uint32_t found = find_deadly();
        atomic_fetch_or_explicit(&deadly, found, memory_order_relaxed);
        atomic_store_explicit(&known, filters, memory_order_relaxed);
    }
    atomic_store_explicit(&asked_by, (uint32_t)getpid(), memory_order_release);
}

void ljt_sandbox_ask(void)
{
    static char text[8192]; /* not on a stack that may be a coroutine's */
    if (atomic_load_explicit(&asked_by, memory_order_acquire) == (uint32_t)getpid())
        return;
    int saved = errno;
    ask(filters_of_thread(text, sizeof(text)));
    errno = saved;
}

void ljt_sandbox_ask_anew(void)
{
    char text[8192];
    uint32_t filters = filters_of_thread(text, sizeof(text));
    ljt_lock_acquire(&ljt_wiped.registry);
    ask(filters);
    ljt_lock_release(&ljt_wiped.registry);
}
