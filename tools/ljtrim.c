/*
 * ljtrim, the command for people: looks at LuaJIT processes from outside. This file only chooses the
 * subcommand.
 */
#include "commands.h"

#include <stdio.h>
#include <string.h>

static const char USAGE[] =
    "usage: ljtrim inspect PID [--json | --csv]\n"
    "       ljtrim help | version\n"
    "\n"
    "inspect  finds the arenas of LuaJIT's allocator in a running process and says how much of\n"
    "         what they hold is live, free and returnable to the kernel. The process needs no\n"
    "         preparation and need not use libljtrim. It is stopped for some milliseconds; a\n"
    "         system call like epoll_wait that it sleeps in may return EINTR once.\n"
    "\n"
    "  --json   one JSON object, all sizes in bytes\n"
    "  --csv    one line, all sizes in bytes: pid, arenas, mapped, live, free, purgeable, floor,\n"
    "           resident, reclaimable, direct, lua_heap, rss, pss, stopped_us\n"
    "\n"
    "  mapped       address space of the arena's segments\n"
    "  live         chunks in use, with their headers\n"
    "  free         chunks free for the VM's next allocations\n"
    "  purgeable    whole pages inside free chunks\n"
    "  floor        mapped - purgeable: what no reclaimer can go below without moving objects\n"
    "  resident     pages of the arena that exist in memory\n"
    "  reclaimable  resident and purgeable: what a purge would give back now\n"
    "  direct       blocks of 128 KiB and more, which have mappings of their own\n"
    "\n"
    "exit status: 0 done, 2 usage, 3 no such process, 4 no permission, 5 no LuaJIT arena in it,\n"
    "6 an arena that was never at rest, 1 anything else\n";

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "inspect") == 0)
        return ljt_inspect_main(argc - 1, argv + 1);
    if (argc == 2 && (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0)) {
        fputs(USAGE, stdout);
        return LJT_EXIT_OK;
    }
    if (argc == 2 && (strcmp(argv[1], "version") == 0 || strcmp(argv[1], "--version") == 0)) {
        puts("ljtrim " LJTRIM_VERSION);
        return LJT_EXIT_OK;
    }
    if (argc >= 2)
        fprintf(stderr, "ljtrim: unknown subcommand '%s'; see 'ljtrim help'\n", argv[1]);
    else
        fputs(USAGE, stderr);
    return LJT_EXIT_USAGE;
}
