/* Options of subcommands. */
#ifndef LJT_ARGUMENTS_H
#define LJT_ARGUMENTS_H

/* "--name=value" or "--name", "value". NULL if argv[*i] is not this option; "" if its value is missing. */
const char *ljt_value_of(const char *name, int argc, char **argv, int *i);

/* A whole number from `least` to 2^30, or -1. */
long ljt_number(const char *s, long least);

#endif
