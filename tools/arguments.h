/* Options of subcommands. */
#ifndef LJT_ARGUMENTS_H
#define LJT_ARGUMENTS_H

#include <stdbool.h>
#include <sys/types.h>

/* "--name=value" or "--name", "value". NULL if argv[*i] is not this option; "" if its value is missing. */
const char *ljt_value_of(const char *name, int argc, char **argv, int *i);

/* A whole number from `least` to 2^30, or -1. */
long ljt_number(const char *s, long least);

/* Does the name of a file end so, with something before? */
bool ljt_has_suffix(const char *name, const char *suffix);

/* These return 0, or -EINVAL and have said why. `command` is the subcommand's name. */

/* Always the latter: the option wants something else than this value. */
int ljt_refuse_value(const char *command, const char *option, const char *wants, const char *value);

/* A word that is no option is the process id, the first time. */
int ljt_take_pid(const char *command, const char *word, pid_t *pid);

/* Was there one? */
int ljt_want_pid(const char *command, pid_t pid);

#endif
