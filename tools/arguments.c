#include "arguments.h"

#include <errno.h>
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
