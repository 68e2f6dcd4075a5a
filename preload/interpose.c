/*
 * interpose: the functions of the C library that we stand in front of.
 *
 * mmap, mmap64, munmap, mremap tell the arenas what LuaJIT maps; sigaction and signal keep our handler and the
 * host's apart; _Fork and syscall let no process be copied in the middle of a unit; what waits for events is in
 * interpose_waits.c. Each has the contract and errno of the original, from the process's first instruction: until the
 * constructor has found the next definitions, memory calls go straight to the kernel.
 *
 * And one of Lua's, lua_newstate: for LJTRIM_MODE=patched, and found by who calls it (birth.h).
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arena.h"
#include "birth.h"
#include "config.h"
#include "kernel.h"
#include "next.h"
#include "reclaim.h"
#include "signals.h"

#define EXPORT __attribute__((visibility("default")))

#ifndef MAP_32BIT /* x86 alone has it: LuaJIT without GC64 asks for memory below 2 GB */
#define MAP_32BIT 0
#endif

_Static_assert(sizeof(off_t) == 8, "mmap and mmap64 are the same function");

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): in libc's headers they have reserved names */

/* ---- Memory ---- */

/* Only private anonymous read-write mappings of at least 128 KiB can be lj_alloc's. */
static inline bool may_be_lj_alloc(size_t len, int prot, int flags, int fd)
{
    return len >= LJT_LJ_GRANULARITY && prot == (PROT_READ | PROT_WRITE) && fd == -1 &&
           (flags & ~MAP_32BIT) == (MAP_PRIVATE | MAP_ANONYMOUS) && ljt_config.enable;
}

static inline void *map(void *addr, size_t len, int prot, int flags, int fd, off_t off, uintptr_t pc)
{
    void *p = ljt_next.mmap != NULL ? ljt_next.mmap(addr, len, prot, flags, fd, off)
                                    : ljt_kernel.mmap(addr, len, prot, flags, fd, off);
    if (may_be_lj_alloc(len, prot, flags, fd) && p != MAP_FAILED) {
        int saved = errno;
        ljt_arena_mapped((uintptr_t)p, len, pc);
        errno = saved;
    }
    return p;
}

EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    return map(addr, len, prot, flags, fd, off, (uintptr_t)__builtin_return_address(0));
}

EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t off)
{
    return map(addr, len, prot, flags, fd, off, (uintptr_t)__builtin_return_address(0));
}

EXPORT int munmap(void *addr, size_t len)
{
    if (len >= LJT_LJ_GRANULARITY && ljt_config.enable) {
        int saved = errno;
        ljt_arena_unmapping((uintptr_t)addr, len, (uintptr_t)__builtin_return_address(0));
        errno = saved;
    }
    return ljt_next.munmap != NULL ? ljt_next.munmap(addr, len) : ljt_kernel.munmap(addr, len);
}

EXPORT void *mremap(void *old_addr, size_t old_len, size_t new_len, int flags, ...)
{
    void *new_addr = NULL;
    if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
        va_list args;
        va_start(args, flags);
        new_addr = va_arg(args, void *);
        va_end(args);
    }
    if (new_len < old_len && ljt_config.enable) {
        int saved = errno;
        ljt_arena_shrinking((uintptr_t)old_addr + new_len, old_len - new_len,
                            (uintptr_t)__builtin_return_address(0));
        errno = saved;
    }
    void *p = ljt_next.mremap != NULL ? ljt_next.mremap(old_addr, old_len, new_len, flags, new_addr)
                                      : (void *)ljt_kernel_call(SYS_mremap, (long)old_addr, (long)old_len,
                                                                (long)new_len, flags, (long)new_addr, 0);
    if (p != MAP_FAILED && (old_len >= LJT_LJ_GRANULARITY || new_len >= LJT_LJ_GRANULARITY) &&
        ljt_config.enable) {
        int saved = errno;
        ljt_arena_remapped((uintptr_t)old_addr, old_len, new_len, (uintptr_t)__builtin_return_address(0));
        errno = saved;
    }
    return p;
}

/* ---- Processes ---- */

/*
 * fork runs our pthread_atfork handlers; these two do not, and a child that uses Lua would get a copy of a heap in
 * the middle of a unit. What shares memory (threads, vfork) copies nothing and is passed on.
 */
static bool copies_memory(long number, const long arg[6])
{
    switch (number) {
#ifdef SYS_fork
    case SYS_fork: return true;
#endif
    case SYS_clone: return (arg[0] & CLONE_VM) == 0;
#ifdef SYS_clone3
    case SYS_clone3: return arg[0] != 0 && (*(const uint64_t *)arg[0] & CLONE_VM) == 0; /* clone_args.flags */
#endif
    default: return false;
    }
}

/* Both sides of such a copy: `pid` as the call has returned it. */
static void copied(long pid, bool company)
{
    if (pid != 0) {
        ljt_gate_fork_parent();
        return;
    }
    ljt_gate_fork_child();
    if (company)
        ljt_reclaim_forbid();
}

EXPORT pid_t _Fork(void)
{
    if (ljt_next.fork_raw == NULL)
        ljt_next_init();
    if (ljt_next.fork_raw == NULL) {
        errno = ENOSYS;
        return -1;
    }
    bool company = ljt_reclaim_has_company();
    ljt_gate_fork_prepare();
    pid_t pid = ljt_next.fork_raw();
    copied(pid, company);
    return pid;
}

EXPORT long syscall(long number, ...)
{
    long arg[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++) /* as the C library's: six words, whatever the caller gave */
        arg[i] = va_arg(args, long);
    va_end(args);
    if (__builtin_expect(!copies_memory(number, arg), 1))
        return ljt_kernel_call(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    bool company = ljt_reclaim_has_company();
    ljt_gate_fork_prepare();
    long pid = ljt_kernel_call(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    copied(pid, company);
    return pid;
}

/* ---- Signals ---- */

/* The next sigaction, also for a call before the constructor has run. */
static int next_sigaction(int signo, const struct sigaction *act, struct sigaction *old)
{
    if (ljt_next.sigaction == NULL)
        ljt_next_init();
    if (ljt_next.sigaction == NULL) {
        errno = ENOSYS;
        return -1;
    }
    return ljt_next.sigaction(signo, act, old);
}

static int action(int signo, const struct sigaction *act, struct sigaction *old)
{
    int result;
    return ljt_signals_action(signo, act, old, &result) ? result : next_sigaction(signo, act, old);
}

EXPORT int sigaction(int signo, const struct sigaction *act, struct sigaction *old)
{
    return action(signo, act, old);
}

/* glibc's own, which knows of siginterrupt; for our signal as glibc's: BSD semantics, SIG_ERR and EINVAL for what has no handler. */
EXPORT sighandler_t signal(int signo, sighandler_t handler)
{
    struct sigaction act, old;
    if (signo != ljt_config.signo && ljt_next.signal != NULL)
        return ljt_next.signal(signo, handler);
    if (handler == SIG_ERR || signo < 1 || signo >= NSIG) {
        errno = EINVAL;
        return SIG_ERR;
    }
    memset(&act, 0, sizeof(act));
    act.sa_handler = handler;
    act.sa_flags = SA_RESTART;
    sigemptyset(&act.sa_mask);
    sigaddset(&act.sa_mask, signo);
    return action(signo, &act, &old) == 0 ? old.sa_handler : SIG_ERR;
}

/* ---- Lua ---- */

/* Its callers know it by lua.h: a pointer to a function, one to data, and in Lua 5.5 a number. */
EXPORT void *lua_newstate(void *f, void *ud, uintptr_t third, uintptr_t fourth);

EXPORT void *lua_newstate(void *f, void *ud, uintptr_t third, uintptr_t fourth)
{
    return ljt_birth_newstate(f, ud, third, fourth, (uintptr_t)__builtin_return_address(0));
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
