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

#include "kernel.h"

static _Atomic bool asked;
static _Atomic uint32_t deadly; /* a bit a call. Written by ask before `asked`, then constant */

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

/* With what ld.so itself has needed: prctl(PR_GET_SECCOMP) would kill where a filter forbids prctl. */
static bool filter_is_active(void)
{
    static char text[8192]; /* not on a stack that may be a coroutine's */
    static const char field[] = "\nSeccomp:\t";
    long fd = ljt_kernel_call(SYS_openat, AT_FDCWD, (long)"/proc/self/status", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        return true;
    size_t len = 0;
    long n;
    while ((n = ljt_kernel_call(SYS_read, fd, (long)(text + len), (long)(sizeof(text) - len), 0, 0, 0)) > 0)
        len += (size_t)n;
    ljt_kernel_call(SYS_close, fd, 0, 0, 0, 0, 0);
    const char *at = memmem(text, len, field, sizeof(field) - 1);
    if (at == NULL) /* a kernel without seccomp, unless the file could not be read to its end */
        return n < 0 || len == sizeof(text);
    return at[sizeof(field) - 1] != '0';
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

/* No exit signal, so that the host neither hears of it nor reaps it. True if a child has run and ended. */
static bool run_child(struct trial *t)
{
    long pid = ljt_kernel_call(SYS_clone, 0, 0, 0, 0, 0, 0);
    if (pid == 0)
        child(t);
    if (pid < 0)
        return false;
    while (ljt_kernel_call(SYS_wait4, pid, 0, __WALL, 0, 0, 0) < 0)
        if (errno != EINTR)
            return false;
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
        more = false;
        if (!run_child(t)) {
            found = ALL_CALLS;
            break;
        }
        for (unsigned call = 0; call < LJT_CALLS; call++)
            if (atomic_load_explicit(&t->state[call], memory_order_seq_cst) == TRYING) {
                found |= 1u << call;
                atomic_store_explicit(&t->state[call], SURVIVED, memory_order_relaxed);
                more = true;
            }
    } while (more);
    ljt_kernel_free(t, 2 * ljt_page_size);
    return found;
}

void ljt_sandbox_ask(void)
{
    if (atomic_load_explicit(&asked, memory_order_acquire))
        return;
    int saved = errno;
    uint32_t found = filter_is_active() ? find_deadly() : 0;
    atomic_store_explicit(&deadly, found, memory_order_relaxed);
    atomic_store_explicit(&asked, true, memory_order_release);
    errno = saved;
}
