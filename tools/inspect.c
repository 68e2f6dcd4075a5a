/*
 * ljtrim inspect PID: who holds the memory of this LuaJIT process?
 *
 * The order of things keeps the target's stop short: its memory is searched for arenas while it runs; it is
 * stopped only for the walk over the heap. Where a stop falls into the middle of an allocation, the heap does
 * not add up; then it runs on for a few milliseconds and is stopped again.
 */
#include "arenas.h"
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_STOPS = 40, PAUSE_MS = 3 };

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV };

struct report {
    struct ljt_arena_figures *arenas;
    struct ljt_arena_figures total;
    size_t count;
    size_t direct; /* bytes in directly mapped blocks */
    size_t ndirect;
    size_t rss, pss;
    unsigned stops;
    double longest_stop; /* microseconds */
    bool restless;       /* an arena was left out: it never was at rest */
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* Stops the target and measures the arenas not measured yet. The number still missing, or -errno. */
static int measure_once(struct report *rep, struct ljt_remote *r, struct ljt_arenas *a)
{
    int missing = 0, error = ljt_remote_stop(r);
    double stopped = now_us();
    if (error == 0)
        error = ljt_remote_load_vmas(r);
    for (size_t i = 0; error == 0 && i < a->count; i++) {
        if (a->states[i] == 0)
            continue;
        error = ljt_arena_measure(&rep->arenas[rep->count], r, a->states[i]);
        if (error == -EAGAIN) {
            missing++;
            error = 0;
        } else {
            a->states[i] = 0;
            rep->count += error == 0;
            error = error == -ENOENT ? 0 : error;
        }
    }
    double took = now_us() - stopped;
    ljt_remote_resume(r);
    rep->stops++;
    if (took > rep->longest_stop)
        rep->longest_stop = took;
    return error != 0 ? error : missing;
}

static int measure(struct report *rep, struct ljt_remote *r)
{
    struct ljt_arenas a;
    int error = ljt_arenas_find(&a, r);
    rep->arenas = calloc(a.count + 1, sizeof(*rep->arenas));
    if (rep->arenas == NULL)
        error = -ENOMEM;
    int missing = error != 0 || a.count == 0 ? 0 : 1;
    while (error == 0 && missing != 0 && rep->stops < MAX_STOPS) {
        if (rep->stops != 0)
            nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
        missing = measure_once(rep, r, &a);
        if (missing < 0)
            error = missing;
    }
    rep->restless = missing > 0;
    for (size_t i = 0; i < rep->count; i++)
        ljt_arena_add(&rep->total, &rep->arenas[i]);
    for (size_t i = 0; i < a.ndirect; i++)
        rep->direct += a.direct[i].end - a.direct[i].start;
    rep->ndirect = a.ndirect;
    ljt_arenas_free(&a);
    return error;
}

/* ---- Output ---- */

static double mib(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

static double ratio(size_t a, size_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

static void print_row(const char *name, const struct ljt_arena_figures *f)
{
    printf("%-14s %4zu %8.1f %8.1f %8.1f %9.1f %8.1f %8.1f %6.2f\n", name, f->segments, mib(f->mapped),
           mib(f->live), mib(f->free), mib(f->purgeable), mib(f->floor), mib(f->resident),
           ratio(f->resident, f->floor));
}

static void print_text(const struct report *rep, const struct ljt_remote *r)
{
    const struct ljt_arena_figures *t = &rep->total;
    printf("%d (%s): %zu LuaJIT arena%s, stopped for %.2f ms\n\n", (int)r->pid, r->comm, rep->count,
           rep->count == 1 ? "" : "s", rep->longest_stop / 1000);
    printf("%-14s %4s %8s %8s %8s %9s %8s %8s %6s\n", "arena (MiB)", "segs", "mapped", "live", "free",
           "purgeable", "floor", "resident", "ratio");
    for (size_t i = 0; i < rep->count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%#zx", (size_t)rep->arenas[i].state);
        print_row(name, &rep->arenas[i]);
    }
    if (rep->count > 1)
        print_row("total", t);
    printf("\n");
    printf("%-22s %8.1f MiB   Pss %.1f MiB\n", "process RSS", mib(rep->rss), mib(rep->pss));
    printf("%-22s %8.1f MiB   %.0f%% of RSS\n", "LuaJIT arenas", mib(t->resident),
           100 * ratio(t->resident, rep->rss));
    printf("%-22s %8.1f MiB   in %zu mappings of their own\n", "large blocks", mib(rep->direct),
           rep->ndirect);
    if (t->swapped != 0)
        printf("%-22s %8.1f MiB\n", "swapped out", mib(t->swapped));
    printf("%-22s %8.1f MiB   what collectgarbage(\"count\") says\n", "Lua heap", mib(t->lua_heap));
    printf("%-22s %8.1f MiB   resident pages that hold nothing, %.0f%% of RSS\n", "reclaimable now",
           mib(t->reclaimable), 100 * ratio(t->reclaimable, rep->rss));
}

static void print_json_figures(const struct ljt_arena_figures *f)
{
    printf("\"segments\": %zu, \"mapped\": %zu, \"live\": %zu, \"free\": %zu, \"overhead\": %zu, ",
           f->segments, f->mapped, f->live, f->free, f->overhead);
    printf("\"purgeable\": %zu, \"floor\": %zu, \"resident\": %zu, \"swapped\": %zu, \"reclaimable\": %zu, ",
           f->purgeable, f->floor, f->resident, f->swapped, f->reclaimable);
    printf("\"live_chunks\": %zu, \"free_chunks\": %zu, \"lua_heap\": %zu, \"resident_to_floor\": %.4f",
           f->live_chunks, f->free_chunks, f->lua_heap, ratio(f->resident, f->floor));
}

/* A process chooses its name: anything but plain ASCII is left out rather than escaped. */
static void print_json_name(const char *name)
{
    putchar('"');
    for (; *name != '\0'; name++)
        if (*name >= ' ' && *name <= '~' && *name != '"' && *name != '\\')
            putchar(*name);
    putchar('"');
}

static void print_json(const struct report *rep, const struct ljt_remote *r)
{
    printf("{\"pid\": %d, \"name\": ", (int)r->pid);
    print_json_name(r->comm);
    printf(", \"page_size\": %zu, \"rss\": %zu, \"pss\": %zu, \"direct\": %zu, \"direct_blocks\": %zu,\n",
           r->page, rep->rss, rep->pss, rep->direct, rep->ndirect);
    printf(" \"stopped_us\": %.0f, \"stops\": %u, \"complete\": %s,\n \"arenas\": [", rep->longest_stop,
           rep->stops, rep->restless ? "false" : "true");
    for (size_t i = 0; i < rep->count; i++) {
        printf("%s{\"state\": \"%#zx\", ", i == 0 ? "" : ",\n  ", (size_t)rep->arenas[i].state);
        print_json_figures(&rep->arenas[i]);
        printf("}");
    }
    printf("],\n \"total\": {");
    print_json_figures(&rep->total);
    printf("}}\n");
}

static void print_csv(const struct report *rep, const struct ljt_remote *r)
{
    const struct ljt_arena_figures *t = &rep->total;
    printf("%d,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%.0f\n", (int)r->pid, rep->count, t->mapped,
           t->live, t->free, t->purgeable, t->floor, t->resident, t->reclaimable, rep->direct, t->lua_heap,
           rep->rss, rep->pss, rep->longest_stop);
}

/* ---- The command ---- */

static int fail(pid_t pid, int error)
{
    switch (-error) {
    case ESRCH: fprintf(stderr, "ljtrim: no process %d\n", (int)pid); return LJT_EXIT_NO_PROCESS;
    case EPERM:
    case EACCES:
        fprintf(stderr,
                "ljtrim: may not read process %d (%s); run as its user or root, or grant CAP_SYS_PTRACE; "
                "it must not be under a debugger\n",
                (int)pid, strerror(-error));
        return LJT_EXIT_NO_PERMISSION;
    case ETIMEDOUT:
        fprintf(stderr, "ljtrim: process %d did not stop within 2 s (asleep in the kernel); left as it was\n",
                (int)pid);
        return LJT_EXIT_FAILED;
    default:
        fprintf(stderr, "ljtrim: could not inspect process %d (%s)\n", (int)pid, strerror(-error));
        return LJT_EXIT_FAILED;
    }
}

static int parse(int argc, char **argv, pid_t *pid, enum format *format)
{
    *pid = 0;
    *format = FORMAT_TEXT;
    for (int i = 1; i < argc; i++) {
        char *end;
        long n = strtol(argv[i], &end, 10);
        if (strcmp(argv[i], "--json") == 0)
            *format = FORMAT_JSON;
        else if (strcmp(argv[i], "--csv") == 0)
            *format = FORMAT_CSV;
        else if (*pid == 0 && argv[i][0] != '-' && *end == '\0' && n > 0 && n < 1 << 30)
            *pid = (pid_t)n;
        else {
            fprintf(stderr,
                    "ljtrim: inspect: '%s' is neither a process id nor an option; see 'ljtrim help'\n",
                    argv[i]);
            return -EINVAL;
        }
    }
    if (*pid == 0) {
        fprintf(stderr, "ljtrim: inspect: which process? ljtrim inspect PID [--json | --csv]\n");
        return -EINVAL;
    }
    return 0;
}

int ljt_inspect_main(int argc, char **argv)
{
    struct ljt_remote r;
    struct report rep = {0};
    enum format format;
    pid_t pid;
    if (parse(argc, argv, &pid, &format) != 0)
        return LJT_EXIT_USAGE;
    int error = ljt_remote_open(&r, pid);
    if (error == 0) {
        ljt_remote_rss(&r, &rep.rss, &rep.pss);
        error = measure(&rep, &r);
    }
    int status = LJT_EXIT_OK;
    if (error != 0) {
        status = fail(pid, error);
    } else if (rep.count == 0 && rep.restless) {
        fprintf(stderr, "ljtrim: the LuaJIT heap of process %d (%s) never added up in %u looks; try again\n",
                (int)pid, r.comm, rep.stops);
        status = LJT_EXIT_UNREADABLE;
    } else if (rep.count == 0) {
        fprintf(stderr, "ljtrim: process %d (%s) has no LuaJIT arena\n", (int)pid, r.comm);
        status = LJT_EXIT_NO_ARENA;
    } else {
        (format == FORMAT_JSON ? print_json : format == FORMAT_CSV ? print_csv : print_text)(&rep, &r);
        if (rep.restless)
            status = LJT_EXIT_UNREADABLE;
    }
    free(rep.arenas);
    ljt_remote_close(&r);
    return status;
}
