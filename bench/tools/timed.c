/*
 * timed [-n TIMES] [NAME=VALUE ...] COMMAND [ARG ...]: runs a command TIMES times, one after the other, and prints
 * one line: wall seconds, processor seconds (user + system), and the largest RSS in KiB. The times are per run.
 *
 * The environment is set for the command alone: with env(1) in between, a preloaded library would load twice.
 * The command's output is thrown away; if it fails, so do we.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static void run(char **argv)
{
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDOUT_FILENO);
    while (strchr(*argv, '=') != NULL)
        putenv(*argv++);
    execvp(*argv, argv);
    fprintf(stderr, "timed: %s: %s\n", *argv, strerror(errno));
    _exit(127);
}

int main(int argc, char **argv)
{
    long times = 1;
    int opt;
    while ((opt = getopt(argc, argv, "+n:")) != -1)
        times = opt == 'n' ? strtol(optarg, NULL, 10) : 0;
    char **command = argv + optind;
    while (*command != NULL && strchr(*command, '=') != NULL)
        command++;
    if (times < 1 || *command == NULL) {
        fprintf(stderr, "usage: timed [-n TIMES] [NAME=VALUE ...] COMMAND [ARG ...]\n");
        return 2;
    }

    double start = now();
    for (long i = 0; i < times; i++) {
        pid_t child = fork();
        int status = -1;
        if (child == 0)
            run(argv + optind);
        if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) {
            fprintf(stderr, "timed: %s failed (status %#x)\n", *command, (unsigned)status);
            return 1;
        }
    }
    double wall = now() - start;

    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("%.9f %.9f %ld\n", wall / (double)times,
           (seconds(usage.ru_utime) + seconds(usage.ru_stime)) / (double)times, usage.ru_maxrss);
    return 0;
}
