/*
 * timed [-n TIMES] [-r] [NAME=VALUE ...] COMMAND [ARG ...]: runs a command TIMES times, one after the other, and
 * prints one line: wall seconds, processor seconds (user + system), and the largest RSS in KiB. The times are per
 * run. With -r the mean RSS over the time of the runs follows, in KiB, looked at every 10 ms from outside.
 *
 * The environment is set for the command alone: with env(1) in between, a preloaded library would load twice.
 * The command's output is thrown away; if it fails, so do we.
 */
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "command.h"

#define LOOK_EVERY_MS 10

/* Looks at a process until it ends; returns the integral of its RSS over time, in KiB seconds. */
static double watch(pid_t child)
{
    char path[64], text[128];
    double sum = 0, last = now();
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)child);
    int statm = open(path, O_RDONLY);
    struct pollfd end = {(int)syscall(SYS_pidfd_open, child, 0), POLLIN, 0};
    if (statm < 0 || end.fd < 0) {
        fprintf(stderr, "timed: cannot watch: %s\n", strerror(errno));
        exit(1);
    }
    while (poll(&end, 1, LOOK_EVERY_MS) == 0) {
        unsigned long pages = 0;
        ssize_t n = pread(statm, text, sizeof(text) - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        sscanf(text, "%*u %lu", &pages);
        double t = now();
        sum += (double)pages * (double)sysconf(_SC_PAGESIZE) / 1024 * (t - last);
        last = t;
    }
    close(statm);
    close(end.fd);
    return sum;
}

int main(int argc, char **argv)
{
    long times = 1;
    int opt, watched = 0;
    double rss_seconds = 0;
    while ((opt = getopt(argc, argv, "+n:r")) != -1) {
        if (opt == 'r')
            watched = 1;
        else
            times = opt == 'n' ? strtol(optarg, NULL, 10) : 0;
    }
    char **command = argv + optind;
    while (*command != NULL && strchr(*command, '=') != NULL)
        command++;
    if (times < 1 || *command == NULL) {
        fprintf(stderr, "usage: timed [-n TIMES] [-r] [NAME=VALUE ...] COMMAND [ARG ...]\n");
        return 2;
    }

    double start = now();
    for (long i = 0; i < times; i++) {
        pid_t child = fork();
        int status = -1;
        if (child == 0)
            run(argv + optind);
        if (watched && child > 0)
            rss_seconds += watch(child);
        if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) {
            fprintf(stderr, "timed: %s failed (status %#x)\n", *command, (unsigned)status);
            return 1;
        }
    }
    double wall = now() - start;

    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("%.9f %.9f %ld", wall / (double)times,
           (seconds(usage.ru_utime) + seconds(usage.ru_stime)) / (double)times, usage.ru_maxrss);
    if (watched)
        printf(" %.0f", rss_seconds / wall);
    printf("\n");
    return 0;
}
