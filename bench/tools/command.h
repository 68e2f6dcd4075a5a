/* What is measured: a command with its environment, [NAME=VALUE ...] COMMAND [ARG ...]; and its time. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

/* In the child: the environment is set for the command alone, what it prints is thrown away. */
static inline void run(char **argv)
{
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDOUT_FILENO);
    while (strchr(*argv, '=') != NULL)
        putenv(*argv++);
    execvp(*argv, argv);
    fprintf(stderr, "%s: %s\n", *argv, strerror(errno));
    _exit(127);
}
