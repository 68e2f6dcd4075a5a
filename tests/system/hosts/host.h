/*
 * What the small hosts share: giving up with a message, numbers from /proc/self and from the library, and a repeatable
 * random source.
 */
#ifndef LJT_TEST_HOST_H
#define LJT_TEST_HOST_H

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

__attribute__((noreturn, format(printf, 1, 2), unused)) static void die(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "host: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(1);
}

/* splitmix64: the same seed gives the same run on every machine. */
__attribute__((unused)) static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

__attribute__((unused)) static uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return random_next(state) % limit;
}

/* Straight from the kernel: with a slow clock, libfaketime's nanosleep makes what is left after each signal ten times longer. */
__attribute__((unused)) static void sleep_us(long us)
{
    struct timespec pause = {us / 1000000, us % 1000000 * 1000};

    while (syscall(SYS_nanosleep, &pause, &pause) && errno == EINTR)
        ;
}

__attribute__((unused)) static void sleep_ms(long ms)
{
    sleep_us(ms * 1000);
}

/* Reads a field of /proc/self/status, such as "VmSize", in KiB. */
__attribute__((unused)) static long status_kb(const char *field)
{
    char line[256];
    long value = -1;
    size_t length = strlen(field);
    FILE *file = fopen("/proc/self/status", "r");

    if (!file)
        die("no /proc/self/status: %s", strerror(errno));
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, field, length) && line[length] == ':')
            value = strtol(line + length + 1, NULL, 10);
    fclose(file);
    return value;
}

__attribute__((unused)) static long count_mappings(void)
{
    long lines = 0;
    int c;
    FILE *file = fopen("/proc/self/maps", "r");

    if (!file)
        die("no /proc/self/maps: %s", strerror(errno));
    while ((c = getc(file)) != EOF)
        lines += c == '\n';
    fclose(file);
    return lines;
}

/* A number of the library's statistics, summed over arenas and closed states; -1 without the library. */
__attribute__((unused)) static long long library_total(const char *name)
{
    static char text[64 << 10];
    int (*stats)(const char *, char *, size_t) =
        (int (*)(const char *, char *, size_t))(uintptr_t)dlsym(RTLD_DEFAULT, "ljtrim_stats");
    const char *line = text;
    size_t length = strlen(name);
    double sum = 0;

    if (stats == NULL || stats("prometheus", text, sizeof(text)) < 0)
        return -1;
    for (; line != NULL; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, name, length) == 0 && (line[length] == ' ' || line[length] == '{'))
            sum += strtod(strchr(line[length] == '{' ? strchr(line, '}') : line, ' '), NULL);
    return (long long)sum;
}

/* Waits for a child and dies unless it exited with 0. */
__attribute__((unused)) static void expect_success_of(pid_t child, const char *what)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            die("%s: waitpid: %s", what, strerror(errno));
    if (WIFSIGNALED(status))
        die("%s: child was killed by signal %d", what, WTERMSIG(status));
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        die("%s: child ended with status %#x", what, (unsigned)status);
}

#endif
