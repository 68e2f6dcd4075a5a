/* ljtrim help: the subcommands in a few words, and the table of options. */
#include "commands.h"
#include "config.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char ljt_usage[] = "usage: ljtrim inspect PID [--json | --csv] [--map FILE] [--no-stop]\n"
                         "                      [--max-stop MS]\n"
                         "       ljtrim stats PID [--json | --prometheus | --growth] [--watch SECONDS]\n"
                         "       ljtrim top [--once] [--interval SECONDS] [--sort KEY]\n"
                         "       ljtrim report PID [--seconds N] [--interval S] [-o FILE] [--no-stop]\n"
                         "                     [--max-stop MS]\n"
                         "       ljtrim run [--OPTION VALUE ...] -- COMMAND [ARG ...]\n"
                         "       ljtrim doctor [PID | -- COMMAND [ARG ...]]\n"
                         "       ljtrim help [SUBCOMMAND | OPTION]\n"
                         "       ljtrim version\n"
                         "\n"
                         "inspect  says who holds the memory of a running process, how much of what\n"
                         "         LuaJIT's allocator holds is free, and what libljtrim would return\n"
                         "stats    shows the figures of a process in which libljtrim is preloaded\n"
                         "top      shows all such processes, again and again\n"
                         "report   watches a process for a while and writes its memory over time and page\n"
                         "         by page into one HTML or SVG file\n"
                         "run      runs a command with libljtrim preloaded\n"
                         "doctor   says what libljtrim finds here, in a process or in a command, what\n"
                         "         stands in its way, and what to do about it\n"
                         "help     explains a subcommand or an option; without a word: all options\n";

static const char inspect_help[] =
    "ljtrim inspect PID [--json | --csv] [--map FILE] [--no-stop] [--max-stop MS]\n"
    "\n"
    "The process needs no preparation and need not use libljtrim. It is searched\n"
    "for LuaJIT's arenas while it runs, and stopped for the walk over their chunks,\n"
    "usually for some milliseconds; a system call like epoll_wait that it sleeps in\n"
    "may return EINTR once.\n"
    "\n"
    "  --json         one JSON object, sizes in bytes: docs/TOOLS.md\n"
    "  --csv          one line, sizes in bytes: pid, arenas, mapped, live, free,\n"
    "                 purgeable, floor, resident, reclaimable, direct, lua_heap,\n"
    "                 rss, pss, stopped_us\n"
    "  --map FILE     draws the pages of the arenas into FILE, .svg or .png\n"
    "  --no-stop      reads while the process runs: the figures are approximate\n"
    "  --max-stop MS  after this time the process runs on and the rest is read\n"
    "                 meanwhile (default 20; with --csv 0: as long as it takes)\n"
    "\n"
    "  mapped         address space of the arena's segments\n"
    "  live           chunks in use, with their headers\n"
    "  free           chunks free for the VM's next allocations\n"
    "  purgeable      whole pages inside free chunks\n"
    "  floor          mapped - purgeable: what no reclaimer can go below without\n"
    "                 moving objects\n"
    "  resident       pages of the arena that exist in memory\n"
    "  reclaimable    resident and purgeable: what a purge would give back now\n"
    "  direct         large blocks: 128 KiB and more, with mappings of their own\n"
    "\n"
    "Exit status: 0 done, 2 usage, 3 no such process, 4 no permission, 5 no LuaJIT\n"
    "arena in it, 6 an arena that was never at rest, 1 anything else\n";

static const char stats_help[] =
    "ljtrim stats PID [--json | --prometheus | --growth] [--watch SECONDS]\n"
    "\n"
    "Shows what libljtrim has counted in a process in which it is preloaded: the same\n"
    "figures as its dump (SIGUSR2) and LJTRIM_STATS_FILE, read from its memory. It is\n"
    "neither stopped nor signalled, and it may itself be stopped. They are gathered\n"
    "when something has changed; a VM that does nothing has old ones.\n"
    "\n"
    "  --json           one JSON object: docs/STATS.md\n"
    "  --prometheus     Prometheus' text exposition\n"
    "  --growth         who makes its heaps grow: Lua functions and C callers, by bytes;\n"
    "                   for processes started with LJTRIM_GROWTH=on\n"
    "  --watch SECONDS  again and again, until the process ends\n"
    "\n"
    "Exit status: 0 done, 2 usage, 3 no such process, 4 no permission, 5 no Lua heap\n"
    "in it has grown, 7 libljtrim is not in it, 1 anything else\n";

static const char top_help[] =
    "ljtrim top [--once] [--interval SECONDS] [--sort KEY]\n"
    "\n"
    "Shows every process with libljtrim that may be read, in containers too, without\n"
    "disturbing them. On a terminal the table is drawn in place until it is\n"
    "interrupted; elsewhere one follows the other.\n"
    "\n"
    "  --once              one table\n"
    "  --interval SECONDS  between two tables (2)\n"
    "  --sort KEY          rss, mapped, resident, floor, ratio, purged, rate, cpu: the\n"
    "                      largest first; or pid (rss)\n"
    "\n"
    "  RSS       of the process\n"
    "  RESIDENT  of its Lua heaps, at the last look\n"
    "  FLOOR     of these, what no purge can go below; RATIO: resident / floor\n"
    "  PURGED    given back to the kernel so far; rate: a second, since the last table\n"
    "  CPU       what the library takes of one processor, since the last table\n"
    "  ARENAS    Lua heaps that are looked after\n"
    "\n"
    "Exit status: 0 done, 2 usage, 1 anything else\n";

static const char report_help[] =
    "ljtrim report PID [--seconds N] [--interval S] [-o FILE] [--no-stop]\n"
    "              [--max-stop MS]\n"
    "\n"
    "Watches a process and writes one file that needs nothing else: RSS and what\n"
    "LuaJIT's arenas hold over time, the map of their pages, figures, the verdict.\n"
    "With libljtrim in the process the figures are its own, and it is never stopped.\n"
    "Otherwise its heap is walked as by inspect: it is stopped again only when stops\n"
    "make up at most 1% of the time, and read while it runs for at most 10%.\n"
    "\n"
    "  --seconds N    for so long (60); 0: until it ends, or ljtrim is interrupted\n"
    "  --interval S   seconds between two samples (1; 0.1 at least)\n"
    "  -o FILE        .html or .svg (ljtrim-report-PID.html)\n"
    "  --no-stop      never stops it: the figures are approximate\n"
    "  --max-stop MS  after this time it runs on, the rest is read meanwhile (20)\n"
    "\n"
    "If it ends, or an interrupt, SIGTERM or SIGHUP comes, what has been seen until\n"
    "then is written.\n"
    "\n"
    "Exit status: 0 done, 2 usage, 3 no such process, 4 no permission, 5 no LuaJIT\n"
    "arena in it, 6 an arena that was never at rest, 1 anything else\n";

static const char run_help[] =
    "ljtrim run [--library FILE] [--print] [--OPTION VALUE ...] -- COMMAND [ARG ...]\n"
    "\n"
    "Sets LD_PRELOAD (what is in it stays, behind libljtrim.so) and LJTRIM_\n"
    "variables, then runs the command in its own place. Each variable is an option:\n"
    "--decay-ms 500 is LJTRIM_DECAY_MS=500; one that is 0 or 1 needs no value:\n"
    "--stats-at-exit. Values are checked before anything is run. 'ljtrim help' lists\n"
    "them.\n"
    "\n"
    "  --library FILE  this libljtrim.so; otherwise the one beside ljtrim, in ../lib\n"
    "                  or ../lib64, in /usr/local/lib, /usr/lib or /usr/lib64\n"
    "  --print         prints the variables, one a line, and runs nothing\n"
    "\n"
    "Exit status: the command's; 2 usage, 126 the command cannot be run, 127 it is\n"
    "not found, 1 libljtrim.so is not found\n";

static const char doctor_help[] =
    "ljtrim doctor [PID | -- COMMAND [ARG ...]]\n"
    "\n"
    "Looks at this machine, and at a running process or at a command (which is not\n"
    "run): where LuaJIT is and how it is linked, whether a preloaded library can\n"
    "reach it, what the kernel offers, the cgroup's limits, nginx's configuration,\n"
    "other preloaded libraries. Lines that begin with 'todo' ask for something and\n"
    "say what.\n"
    "\n"
    "Exit status: 0 all is well, 1 something to do, 2 usage, 3 no such process or\n"
    "command, 4 no permission\n";

static const char help_help[] =
    "ljtrim help [SUBCOMMAND | OPTION]\n"
    "\n"
    "Explains a subcommand or an option of the library; without a word: all options.\n";

static const char version_help[] = "ljtrim version\n"
                                   "\n"
                                   "Prints the version of the command.\n";

static const struct {
    const char *word, *text;
} topics[] = {{"inspect", inspect_help}, {"stats", stats_help},    {"top", top_help},
              {"report", report_help},   {"run", run_help},        {"doctor", doctor_help},
              {"help", help_help},       {"version", version_help}};

static char lower_dash(char c)
{
    return c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

const struct ljt_config_option *ljt_find_option(const char *word, size_t length)
{
    enum { PREFIX = 7 }; /* LJTRIM_ */
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        const char *name = ljt_config_options[i].name;
        for (int whole = 0; whole < 2; whole++) {
            const char *candidate = whole ? name : name + PREFIX;
            size_t k = 0;
            while (k < length && candidate[k] != '\0' && lower_dash(word[k]) == lower_dash(candidate[k]))
                k++;
            if (k == length && candidate[k] == '\0')
                return &ljt_config_options[i];
        }
    }
    return NULL;
}

static void print_option(const struct ljt_config_option *option)
{
    char buf[2048];
    struct ljt_text t = LJT_TEXT(buf);
    ljt_text_string(&t, option->name);
    ljt_text_string(&t, ", --");
    for (const char *c = option->name + 7; *c != '\0'; c++)
        ljt_text_append(&t, &(char){lower_dash(*c)}, 1);
    ljt_text_string(&t, "\n  ");
    ljt_text_wrap(&t, option->help, 2, 79);
    ljt_text_string(&t, "\n  Default: ");
    ljt_text_string(&t, option->initial);
    ljt_text_string(&t, "\n  Allowed: ");
    ljt_text_wrap(&t, option->allowed, 2, 79);
    puts(buf);
}

int ljt_help_main(int argc, char **argv)
{
    enum { ROOM = 16384 };
    if (argc >= 2) {
        const char *word = argv[1];
        for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
            if (strcmp(word, topics[i].word) == 0) {
                fputs(topics[i].text, stdout);
                return LJT_EXIT_OK;
            }
        }
        while (*word == '-')
            word++;
        const struct ljt_config_option *option = ljt_find_option(word, strlen(word));
        if (option == NULL) {
            fprintf(stderr, "ljtrim: there is no option or subcommand '%s'; see 'ljtrim help'\n", argv[1]);
            return LJT_EXIT_USAGE;
        }
        print_option(option);
        return LJT_EXIT_OK;
    }
    char *buf = malloc(ROOM);
    if (buf == NULL)
        return LJT_EXIT_FAILED;
    struct ljt_text t;
    ljt_text_init(&t, buf, ROOM);
    ljt_config_help(&t);
    printf("%s\nOptions of the library, as environment variables. ljtrim run takes them as\n--decay-ms "
           "500:\n\n%s",
           ljt_usage, buf);
    free(buf);
    return LJT_EXIT_OK;
}
