#include "permission.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CAPABILITY_SYS_PTRACE = 19 };

unsigned long long ljt_status_number(pid_t pid, const char *field, int base, unsigned long long otherwise)
{
    char path[64], line[256];
    unsigned long long n = otherwise;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return n;
    while (fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            n = strtoull(line + strlen(field), NULL, base);
    fclose(f);
    return n;
}

static int ptrace_scope(void)
{
    FILE *f = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
    int scope = 0;
    if (f != NULL) {
        if (fscanf(f, "%d", &scope) != 1)
            scope = 0;
        fclose(f);
    }
    return scope;
}

static bool in_same_user_namespace(pid_t pid)
{
    char path[64], own[128], other[128];
    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    ssize_t n = readlink("/proc/self/ns/user", own, sizeof(own));
    ssize_t m = readlink(path, other, sizeof(other));
    return n < 0 || m < 0 || (n == m && memcmp(own, other, (size_t)n) == 0);
}

void ljt_permission_explain(struct ljt_text *t, pid_t pid)
{
    unsigned long long tracer = ljt_status_number(pid, "TracerPid:", 10, 0);
    bool capable = (ljt_status_number(getpid(), "CapEff:", 16, 0) >> CAPABILITY_SYS_PTRACE & 1) != 0;
    bool own = ljt_status_number(pid, "Uid:", 10, (unsigned long long)-1) == geteuid();
    int scope = ptrace_scope();
    if (tracer != 0)
        ljt_text_printf(t, "process %llu (a debugger, strace) holds it already: end that first", tracer);
    else if (scope == 3)
        ljt_text_string(t, "kernel.yama.ptrace_scope is 3: nobody may, until the next boot");
    else if (!capable && own && scope != 0)
        ljt_text_printf(t,
                        "kernel.yama.ptrace_scope is %d and CAP_SYS_PTRACE is missing: use sudo, or "
                        "grant it (docker run --cap-add SYS_PTRACE)",
                        scope);
    else if (!capable)
        ljt_text_printf(t,
                        "CAP_SYS_PTRACE is missing and the process %s: use sudo, or grant it "
                        "(docker run --cap-add SYS_PTRACE)",
                        own ? "has changed its user or is protected" : "is another user's");
    else if (!in_same_user_namespace(pid))
        ljt_text_string(t, "the process is in another user namespace: CAP_SYS_PTRACE is needed there");
    else
        ljt_text_string(t, "despite CAP_SYS_PTRACE: a security module or seccomp forbids it");
}

enum ljt_exit ljt_process_explain(struct ljt_text *t, pid_t pid, int error)
{
    if (access("/proc/self", F_OK) != 0) {
        ljt_text_printf(t, "cannot look at process %d: /proc is not mounted here", (int)pid);
        return LJT_EXIT_FAILED;
    }
    bool hidden = error == -ESRCH && kill(pid, 0) != 0 && errno == EPERM;
    if (error == -ESRCH && !hidden) {
        ljt_text_printf(t, "no process %d", (int)pid);
        return LJT_EXIT_NO_PROCESS;
    }
    ljt_text_printf(t, "may not read process %d (%s): ", (int)pid,
                    hidden ? "/proc hides it, hidepid" : strerror(-error));
    ljt_permission_explain(t, pid);
    return LJT_EXIT_NO_PERMISSION;
}
