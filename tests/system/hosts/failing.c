/*
 * failing CALL ERROR WHEN FILE COMMAND [ARG ...]: runs a command in which a system call fails that libljtrim.so makes. A
 * filter asks this process about each such call.
 *   CALL    of seccomp_filter.h
 *   ERROR   its number
 *   WHEN    3: the third of them, in whichever thread or child; 3-: that and all that come later
 * FILE gets "CALLS FAULTS": how many of them there were, and how many have failed. Ends as the command does.
 *
 * The host's own calls go through: a call is the library's if the instruction that makes it is in libljtrim.so, or if
 * nobody else makes one with such arguments.
 */
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "seccomp_filter.h"

/* Where libljtrim.so's code is in the process that was asked about last. */
static struct {
    pid_t pid;
    uint64_t lo, hi;
} library;

static void find_library(pid_t pid)
{
    char path[64], line[512], may_execute;
    uint64_t lo, hi;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "r");
    library.pid = pid;
    library.lo = library.hi = 0;
    while (maps && fgets(line, sizeof(line), maps))
        if (strstr(line, "/libljtrim.so") && sscanf(line, "%lx-%lx %*c%*c%c", &lo, &hi, &may_execute) == 3 &&
            may_execute == 'x') {
            library.lo = lo;
            library.hi = hi;
        }
    if (maps)
        fclose(maps);
}

static int is_in_library(pid_t pid, uint64_t instruction)
{
    if (pid != library.pid || instruction < library.lo || instruction >= library.hi)
        find_library(pid); /* it may be another program by now */
    return instruction >= library.lo && instruction < library.hi;
}

/* The command, in a process that shares its descriptors with this one until it is another program. */
static pid_t start(const struct filtered_call *call, char **command, int *listener)
{
    volatile int *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    *shared = -1;
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        *shared = put_filter_on(call, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
        execvp(command[0], command);
        die("%s: %s", command[0], strerror(errno));
    }
    siginfo_t ended = {0};
    while (*shared < 0 && waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           ended.si_pid == 0)
        sleep_ms(1);
    if (*shared < 0)
        die("nobody will ask");
    *listener = *shared;
    return child;
}

static unsigned calls, faults, first, last;

static void answer(int listener, const struct filtered_call *call, int error)
{
    static union {
        struct seccomp_notif notif;
        char room[512]; /* a later kernel's may be larger */
    } asked;
    static union {
        struct seccomp_notif_resp resp;
        char room[512];
    } said;
    memset(&asked, 0, sizeof(asked));
    memset(&said, 0, sizeof(said));
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0)
        return; /* whoever has asked is gone */
    pid_t pid = (pid_t)asked.notif.pid;
    said.resp.id = asked.notif.id;
    said.resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    if (call->through_libc || is_in_library(pid, asked.notif.data.instruction_pointer)) {
        calls++;
        if (calls >= first && calls <= last) {
            faults++;
            said.resp.flags = 0;
            said.resp.error = -error;
        }
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &said);
}

int main(int argc, char **argv)
{
    int listener, status;
    char *end;

    if (argc < 6)
        die("usage: failing CALL ERROR WHEN FILE COMMAND [ARG ...]");
    const struct filtered_call *call = find_filtered_call(argv[1]);
    int error = atoi(argv[2]);
    first = (unsigned)strtoul(argv[3], &end, 10);
    last = *end == '-' ? ~0u : first;
    pid_t child = start(call, argv + 5, &listener);
    struct pollfd p = {.fd = listener, .events = POLLIN};
    do { /* until nobody is left who could ask */
        if (poll(&p, 1, -1) > 0 && (p.revents & POLLIN))
            answer(listener, call, error);
    } while (!(p.revents & (POLLHUP | POLLERR)));

    FILE *file = fopen(argv[4], "w");
    if (!file || fprintf(file, "%u %u\n", calls, faults) < 0 || fclose(file))
        die("%s: %s", argv[4], strerror(errno));
    if (waitpid(child, &status, 0) != child)
        die("the command is gone");
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
