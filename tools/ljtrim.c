/*
 * ljtrim, the command for people: looks at LuaJIT processes from outside, and starts them with the library.
 * This file only chooses the subcommand.
 */
#include "commands.h"
#include "version.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
} subcommands[] = {
    {"inspect", ljt_inspect_main}, {"stats", ljt_stats_main}, {"top", ljt_top_main},
    {"report", ljt_report_main},   {"run", ljt_run_main},     {"doctor", ljt_doctor_main},
    {"help", ljt_help_main},       {"--help", ljt_help_main}, {"-h", ljt_help_main},
};

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs(ljt_usage, stderr);
        return LJT_EXIT_USAGE;
    }
    if (strcmp(argv[1], "version") == 0 || strcmp(argv[1], "--version") == 0) {
        puts("ljtrim " LJT_VERSION);
        return LJT_EXIT_OK;
    }
    for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++)
        if (strcmp(argv[1], subcommands[i].name) == 0)
            return subcommands[i].main(argc - 1, argv + 1);
    fprintf(stderr, "ljtrim: unknown subcommand '%s'; see 'ljtrim help'\n", argv[1]);
    return LJT_EXIT_USAGE;
}
