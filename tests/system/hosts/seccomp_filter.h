/*
 * A seccomp filter that has an opinion on one system call, by its name, or on several that have one name here: sandbox and
 * failing put it on. Of madvise only MADV_DONTNEED is meant, of prctl PR_SET_NAME, of getrusage RUSAGE_THREAD; write is
 * whatever changes another process, and openat of any file to write.
 */
#ifndef LJT_TEST_SECCOMP_FILTER_H
#define LJT_TEST_SECCOMP_FILTER_H

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "host.h"

struct filtered_call {
    const char *name;
    unsigned number, argument, value, mask; /* meant if (argument & mask) == value */
    int through_libc; /* by the library, too: it has no system call instruction of its own there */
};

static const struct filtered_call filtered_calls[] = {
    {"none", ~0u, 0, 0, 0, 0},
    {"process_vm_readv", SYS_process_vm_readv, 0, 0, 0, 0},
    {"mincore", SYS_mincore, 0, 0, 0, 0},
    {"madvise", SYS_madvise, 2, MADV_DONTNEED, ~0u, 0},
    {"process_madvise", SYS_process_madvise, 0, 0, 0, 0},
    {"membarrier", SYS_membarrier, 0, 0, 0, 0},
    {"prctl", SYS_prctl, 0, PR_SET_NAME, ~0u, 1},
    {"clone", SYS_clone, 0, 0, CLONE_THREAD, 0}, /* as fork does it: no thread */
    {"wait4", SYS_wait4, 0, 0, 0, 0},
    {"thread", SYS_clone3, 0, 0, 0, 1}, /* as pthread_create does it */
    {"create", SYS_openat, 2, O_CREAT, O_CREAT, 0},
    {"rename", SYS_renameat, 0, 0, 0, 0},
    {"statx", SYS_statx, 0, 0, 0, 0},
    {"getrusage", SYS_getrusage, 0, RUSAGE_THREAD, ~0u, 1},
    {"write", SYS_process_vm_writev, 0, 0, 0, 0},
    {"write", SYS_ptrace, 0, PTRACE_POKETEXT, ~0u, 0},
    {"write", SYS_ptrace, 0, PTRACE_POKEDATA, ~0u, 0},
    {"write", SYS_ptrace, 0, PTRACE_POKEUSER, ~0u, 0},
    {"write", SYS_ptrace, 0, PTRACE_SETREGSET, ~0u, 0},
    {"write", SYS_openat, 2, O_WRONLY, O_ACCMODE, 0}, /* /proc/PID/mem, for one */
    {"write", SYS_openat, 2, O_RDWR, O_ACCMODE, 0},
};
enum { FILTERED_CALLS = sizeof(filtered_calls) / sizeof(filtered_calls[0]), FILTER_STEPS = 6 };

/* The first of that name. */
static const struct filtered_call *find_filtered_call(const char *name)
{
    for (size_t i = 0; i < FILTERED_CALLS; i++)
        if (!strcmp(name, filtered_calls[i].name))
            return &filtered_calls[i];
    die("what is %s?", name);
}

static unsigned append(struct sock_filter *code, unsigned n, const struct filtered_call *call,
                       unsigned action)
{
    const struct sock_filter steps[FILTER_STEPS] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->number, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 (unsigned)(offsetof(struct seccomp_data, args) + 8 * call->argument)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, call->mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
    };
    memcpy(code + n, steps, sizeof(steps));
    return n + FILTER_STEPS;
}

/* On all of that one's name, for this thread and what it starts. What seccomp(2) returns. */
static int put_filter_on(const struct filtered_call *call, unsigned action, unsigned flags)
{
    struct sock_filter code[FILTERED_CALLS * FILTER_STEPS + 1];
    unsigned n = 0;
    for (size_t i = 0; i < FILTERED_CALLS; i++)
        if (!strcmp(call->name, filtered_calls[i].name))
            n = append(code, n, &filtered_calls[i], action);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)n, code};
    long result = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (result == 0)
        result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (result < 0)
        die("no such seccomp filter here: %s", strerror(errno));
    return (int)result;
}

#endif
