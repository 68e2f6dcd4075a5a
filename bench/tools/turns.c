/*
 * turns MS [NAME=VALUE ...] COMMAND [ARG ...] [-- [NAME=VALUE ...] COMMAND [ARG ...]]...: runs commands at the same time
 * in turns of so many ms, all but one of them stopped (SIGSTOP), until each has ended. Prints a line for each, in their order:
 * the seconds that it had its turn, and processor seconds (user + system).
 *
 * A machine that is shared changes its speed from one second to the next. So it does for all of them alike. Time goes on
 * for those that are stopped: what a program does by the clock comes sooner, by the measure of its own work. A command may have
 * threads, no children. Its output is thrown away; if one fails, so do we, and the others end.
 */
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "command.h"

#define COMMANDS 8

static struct command {
    char **argv;
    pid_t pid;
    struct pollfd end; /* readable when it has ended */
    double wall, processor;
    bool ended;
} commands[COMMANDS];

static void finish(unsigned n, int status)
{
    for (unsigned i = 0; i < n; i++)
        if (commands[i].pid > 0 && !commands[i].ended)
            kill(commands[i].pid, SIGKILL);
    exit(status);
}

static void start(struct command *c, unsigned n)
{
    c->pid = fork();
    if (c->pid == 0) {
        raise(SIGSTOP); /* until its first turn */
        run(c->argv);
    } else if (c->pid > 0) {
        waitpid(c->pid, NULL, WUNTRACED);
    }
    c->end = (struct pollfd){(int)syscall(SYS_pidfd_open, c->pid, 0), POLLIN, 0};
    if (c->pid < 0 || c->end.fd < 0) {
        perror("turns");
        finish(n, 1);
    }
}

static void take_turn(struct command *c, int ms, unsigned n)
{
    struct rusage usage;
    int status;
    double began = now();
    kill(c->pid, SIGCONT);
    c->ended = poll(&c->end, 1, ms) > 0;
    if (!c->ended)
        kill(c->pid, SIGSTOP);
    c->wall += now() - began;
    if (!c->ended)
        return;
    if (wait4(c->pid, &status, 0, &usage) < 0 || status != 0) {
        fprintf(stderr, "turns: a command failed (status %#x)\n", (unsigned)status);
        finish(n, 1);
    }
    c->processor = seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

int main(int argc, char **argv)
{
    unsigned n = 0, left;
    int ms = argc > 2 ? atoi(argv[1]) : 0;
    for (int i = 2; i < argc && n < COMMANDS; i++) {
        commands[n++].argv = argv + i;
        while (i < argc && strcmp(argv[i], "--") != 0)
            i++;
        argv[i] = NULL; /* at the end it is */
    }
    if (ms < 1 || n == 0) {
        fprintf(stderr, "usage: turns MS [NAME=VALUE ...] COMMAND [ARG ...] [-- ...]\n");
        return 2;
    }
    for (unsigned i = 0; i < n; i++)
        start(&commands[i], n);
    do {
        left = 0;
        for (unsigned i = 0; i < n; i++) {
            if (!commands[i].ended)
                take_turn(&commands[i], ms, n);
            left += !commands[i].ended;
        }
    } while (left != 0);
    for (unsigned i = 0; i < n; i++)
        printf("%.9f %.9f\n", commands[i].wall, commands[i].processor);
    return 0;
}
