#include "arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *ljt_value_of(const char *name, int argc, char **argv, int *i)
{
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0 || (argv[*i][n] != '\0' && argv[*i][n] != '='))
        return NULL;
    if (argv[*i][n] == '=')
        return argv[*i] + n + 1;
    return *i + 1 < argc ? argv[++*i] : "";
}

long ljt_number(const char *s, long least)
{
    char *end;
    errno = 0;
    long n = strtol(s, &end, 10);
    return errno == 0 && end != s && *end == '\0' && n >= least && n < 1 << 30 ? n : -1;
}

bool ljt_has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

int ljt_refuse_value(const char *command, const char *option, const char *wants, const char *value)
{
    fprintf(stderr, "ljtrim: %s: %s wants %s, not '%s'\n", command, option, wants, value);
    return -EINVAL;
}

int ljt_take_pid(const char *command, const char *word, pid_t *pid)
{
    long n = *pid == 0 ? ljt_number(word, 1) : -1;
    if (n > 0) {
        *pid = (pid_t)n;
        return 0;
    }
    fprintf(stderr, "ljtrim: %s: '%s' is neither a process id nor an option; see 'ljtrim help'\n", command,
            word);
    return -EINVAL;
}

int ljt_want_pid(const char *command, pid_t pid)
{
    if (pid != 0)
        return 0;
    fprintf(stderr, "ljtrim: %s: which process? ljtrim %s PID; see 'ljtrim help'\n", command, command);
    return -EINVAL;
}
