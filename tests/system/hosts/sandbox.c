/*
 * sandbox CALL ACTION COMMAND [ARG ...]: runs a command under a seccomp filter that has an opinion on some system call.
 *   CALL     of seccomp_filter.h
 *   ACTION   a number of an error (0: the call does nothing and succeeds), kill, or kill-thread
 */
#include "seccomp_filter.h"

int main(int argc, char **argv)
{
    unsigned action;

    if (argc < 4)
        die("usage: sandbox CALL ACTION COMMAND [ARG ...]");
    if (!strcmp(argv[2], "kill"))
        action = SECCOMP_RET_KILL_PROCESS;
    else if (!strcmp(argv[2], "kill-thread"))
        action = SECCOMP_RET_KILL_THREAD;
    else
        action = SECCOMP_RET_ERRNO | (unsigned)atoi(argv[2]);

    put_filter_on(find_filtered_call(argv[1]), action, 0);
    execvp(argv[3], argv + 3);
    die("%s: %s", argv[3], strerror(errno));
}
