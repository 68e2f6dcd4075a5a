/* The subcommands of ljtrim and what they exit with. argv[0] is the subcommand's name. */
#ifndef LJT_COMMANDS_H
#define LJT_COMMANDS_H

#include <stddef.h>

enum ljt_exit {
    LJT_EXIT_OK = 0,
    LJT_EXIT_FAILED = 1,     /* what no other status says: no memory, a process that cannot be stopped */
    LJT_EXIT_TODO = 1,       /* doctor: something to do */
    LJT_EXIT_USAGE = 2,      /* unknown subcommand or option */
    LJT_EXIT_NO_PROCESS = 3, /* it does not exist, or ended meanwhile */
    LJT_EXIT_NO_PERMISSION = 4,
    LJT_EXIT_NO_ARENA = 5,   /* a process without a LuaJIT heap */
    LJT_EXIT_UNREADABLE = 6, /* a LuaJIT heap, but never at rest when we looked */
    LJT_EXIT_NOT_PRELOADED = 7,
    LJT_EXIT_NOT_EXECUTABLE = 126,
    LJT_EXIT_NOT_FOUND = 127,
};

int ljt_inspect_main(int argc, char **argv);
int ljt_stats_main(int argc, char **argv);
int ljt_top_main(int argc, char **argv);
int ljt_report_main(int argc, char **argv);
int ljt_run_main(int argc, char **argv);
int ljt_doctor_main(int argc, char **argv);
int ljt_help_main(int argc, char **argv);

extern const char ljt_usage[];

/* The option of the table that is called decay-ms, DECAY_MS or LJTRIM_DECAY_MS (the first `length` bytes). */
const struct ljt_config_option *ljt_find_option(const char *word, size_t length);

/*
 * The libljtrim.so that belongs to this command: beside it, in ../lib, or where libraries are installed.
 * 0, or -ENOENT.
 */
int ljt_find_library(char *path, size_t size);

#endif
