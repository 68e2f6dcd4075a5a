/*
 * sandbox CALL ACTION COMMAND [ARG ...]: runs a command under a seccomp filter that has an opinion on some system call.
 *   CALL     process_vm_readv, mincore, madvise, process_madvise, membarrier, prctl, clone (as fork does it: no
 *            thread), thread (clone3, as pthread_create does it), create (openat that may make a file), rename, statx,
 *            write (whatever changes another process, and openat of any file to write), none
 *   ACTION   a number of an error (0: the call does nothing and succeeds), kill, or kill-thread
 * Of madvise only MADV_DONTNEED is meant, of prctl PR_SET_NAME.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "host.h"

/* Those of one name are meant together. */
static const struct {
    const char *name;
    unsigned number, argument, value, mask; /* meant if (argument & mask) == value */
} calls[] = {
    {"none", ~0u, 0, 0, 0},
    {"process_vm_readv", SYS_process_vm_readv, 0, 0, 0},
    {"mincore", SYS_mincore, 0, 0, 0},
    {"madvise", SYS_madvise, 2, MADV_DONTNEED, ~0u},
    {"process_madvise", SYS_process_madvise, 0, 0, 0},
    {"membarrier", SYS_membarrier, 0, 0, 0},
    {"prctl", SYS_prctl, 0, PR_SET_NAME, ~0u},
    {"clone", SYS_clone, 0, 0, CLONE_THREAD},
    {"thread", SYS_clone3, 0, 0, 0},
    {"create", SYS_openat, 2, O_CREAT, O_CREAT},
    {"rename", SYS_renameat, 0, 0, 0},
    {"statx", SYS_statx, 0, 0, 0},
    {"write", SYS_process_vm_writev, 0, 0, 0},
    {"write", SYS_ptrace, 0, PTRACE_POKETEXT, ~0u},
    {"write", SYS_ptrace, 0, PTRACE_POKEDATA, ~0u},
    {"write", SYS_ptrace, 0, PTRACE_POKEUSER, ~0u},
    {"write", SYS_ptrace, 0, PTRACE_SETREGSET, ~0u},
    {"write", SYS_openat, 2, O_WRONLY, O_ACCMODE}, /* /proc/PID/mem, for one */
    {"write", SYS_openat, 2, O_RDWR, O_ACCMODE},
};
enum { CALLS = sizeof(calls) / sizeof(calls[0]), STEPS = 6 };

static unsigned append(struct sock_filter *code, unsigned n, unsigned call, unsigned action)
{
    const struct sock_filter steps[STEPS] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[call].number, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 (unsigned)(offsetof(struct seccomp_data, args) + 8 * calls[call].argument)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, calls[call].mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[call].value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
    };
    memcpy(code + n, steps, sizeof(steps));
    return n + STEPS;
}

int main(int argc, char **argv)
{
    struct sock_filter code[CALLS * STEPS + 1];
    unsigned action, n = 0;

    if (argc < 4)
        die("usage: sandbox CALL ACTION COMMAND [ARG ...]");
    if (!strcmp(argv[2], "kill"))
        action = SECCOMP_RET_KILL_PROCESS;
    else if (!strcmp(argv[2], "kill-thread"))
        action = SECCOMP_RET_KILL_THREAD;
    else
        action = SECCOMP_RET_ERRNO | (unsigned)atoi(argv[2]);
    for (unsigned i = 0; i < CALLS; i++)
        if (!strcmp(argv[1], calls[i].name))
            n = append(code, n, i, action);
    if (n == 0)
        die("what is %s?", argv[1]);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        die("no seccomp filter here: %s", strerror(errno));
    execvp(argv[3], argv + 3);
    die("%s: %s", argv[3], strerror(errno));
}
