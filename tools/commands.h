/* The subcommands of ljtrim and what they exit with. argv[0] is the subcommand's name. */
#ifndef LJT_COMMANDS_H
#define LJT_COMMANDS_H

#ifndef LJTRIM_VERSION
#define LJTRIM_VERSION "0.1.0"
#endif

enum ljt_exit {
    LJT_EXIT_OK = 0,
    LJT_EXIT_FAILED = 1,     /* what no other status says: no memory, a process that cannot be stopped */
    LJT_EXIT_USAGE = 2,      /* unknown subcommand or option */
    LJT_EXIT_NO_PROCESS = 3, /* it does not exist, or ended meanwhile */
    LJT_EXIT_NO_PERMISSION = 4,
    LJT_EXIT_NO_ARENA = 5,   /* a process without a LuaJIT heap */
    LJT_EXIT_UNREADABLE = 6, /* a LuaJIT heap, but never at rest when we looked */
};

int ljt_inspect_main(int argc, char **argv);

#endif
