/*
 * ljtrim inspect PID: who holds the memory of this process, and what of it does LuaJIT's allocator keep?
 *
 * The order of things keeps the target's stop short: its memory is searched for arenas while it runs; it is
 * stopped only for the walk over the heap, and not longer than --max-stop says: after that the walk goes on
 * while it runs. Where a stop falls into the middle of an allocation, the heap does not add up; then it runs
 * on for a few milliseconds and is stopped again.
 */
#include "arguments.h"
#include "commands.h"
#include "inspection.h"
#include "permission.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { MAX_STOPS = 40, PAUSE_MS = 3, MAX_STOP_MS = 20 };

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV };

struct options {
    pid_t pid;
    enum format format;
    const char *map;  /* file to draw into, or NULL */
    bool no_stop;     /* read while it runs */
    long max_stop_ms; /* 0: no limit; -1: not said */
};

/* ---- Measuring ---- */

/* Measures the arenas not measured yet, with the target stopped if so wanted. The number missing, or -errno. */
static int measure_once(struct ljt_inspection *n, const struct options *o)
{
    struct ljt_remote *r = &n->remote;
    int missing = 0, error = o->no_stop ? 0 : ljt_remote_stop(r);
    double deadline = o->max_stop_ms == 0 ? 0 : r->stopped_at_us + (double)o->max_stop_ms * 1000;
    if (error == 0)
        error = ljt_remote_load_vmas(r);
    for (size_t i = 0; error == 0 && i < n->found.count; i++) {
        if (n->found.states[i] == 0)
            continue;
        struct ljt_measured *m = &n->arenas[n->count];
        error = ljt_arena_measure(m, r, n->found.states[i], deadline);
        if (error != 0)
            ljt_measured_free(m);
        if (error == -EAGAIN) {
            missing++;
            error = 0;
        } else {
            n->found.states[i] = 0;
            n->count += error == 0;
            error = error == -ENOENT ? 0 : error;
        }
    }
    ljt_remote_resume(r);
    return error != 0 ? error : missing;
}

static int largest_first(const void *a, const void *b)
{
    size_t x = ((const struct ljt_measured *)a)->figures.mapped;
    size_t y = ((const struct ljt_measured *)b)->figures.mapped;
    return x < y ? 1 : x == y ? 0 : -1;
}

static void add_up(struct ljt_inspection *n)
{
    if (n->arenas != NULL)
        qsort(n->arenas, n->count, sizeof(*n->arenas), largest_first);
    for (size_t i = 0; i < n->count; i++) {
        size_t reclaimable = n->arenas[i].figures.reclaimable;
        ljt_arena_add(&n->total, &n->arenas[i].figures);
        ljt_histograms_add(&n->histograms, &n->arenas[i].histograms);
        n->returnable += reclaimable > LJT_VM_ROOM ? reclaimable - LJT_VM_ROOM : 0;
    }
    for (size_t i = 0; i < n->found.direct.count; i++)
        n->direct += n->found.direct.at[i].end - n->found.direct.at[i].start;
}

static int measure(struct ljt_inspection *n, const struct options *o)
{
    int error = ljt_arenas_find(&n->found, &n->remote), looks = 0;
    n->arenas = calloc(n->found.count + 1, sizeof(*n->arenas));
    if (n->arenas == NULL)
        return -ENOMEM;
    int missing = error != 0 || n->found.count == 0 ? 0 : 1;
    /* Where processors are scarce, whoever holds another process should not queue up for one. */
    (void)setpriority(PRIO_PROCESS, 0, -20);
    for (; error == 0 && missing != 0 && looks < MAX_STOPS; looks++) {
        if (looks != 0)
            nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
        missing = measure_once(n, o);
        if (missing < 0)
            error = missing;
    }
    n->restless = missing > 0;
    add_up(n);
    return error;
}

static int examine(struct ljt_inspection *n, const struct options *o)
{
    int error = ljt_remote_open(&n->remote, o->pid);
    if (error != 0)
        return error;
    ljt_remote_rss(&n->remote, &n->rss, &n->pss);
    error = measure(n, o);
    if (error != 0 || o->format == FORMAT_CSV)
        return error;
    n->inner_pid = ljt_inner_pid(o->pid);
    ljt_cgroup_find(&n->cgroup, o->pid);
    ljt_cgroup_read(&n->cgroup, &n->cgroup_use);
    return ljt_holders_read(&n->holders, &n->remote, &n->found, n->arenas, n->count);
}

/* ---- The command ---- */

static int fail(pid_t pid, int error)
{
    char buf[512];
    struct ljt_text t = LJT_TEXT(buf);
    switch (-error) {
    case ESRCH: fprintf(stderr, "ljtrim: no process %d\n", (int)pid); return LJT_EXIT_NO_PROCESS;
    case EPERM:
    case EACCES:
        ljt_text_printf(&t, "ljtrim: may not read process %d (%s): ", (int)pid, strerror(-error));
        ljt_permission_explain(&t, pid);
        fprintf(stderr, "%s\n", buf);
        return LJT_EXIT_NO_PERMISSION;
    case ETIMEDOUT:
        fprintf(stderr,
                "ljtrim: process %d did not stop within 2 s (asleep in the kernel); left as it was. "
                "Try --no-stop\n",
                (int)pid);
        return LJT_EXIT_FAILED;
    default:
        fprintf(stderr, "ljtrim: could not inspect process %d (%s)\n", (int)pid, strerror(-error));
        return LJT_EXIT_FAILED;
    }
}

static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.max_stop_ms = -1};
    for (int i = 1; i < argc; i++) {
        const char *value, *word = argv[i];
        if (strcmp(word, "--json") == 0) {
            o->format = FORMAT_JSON;
        } else if (strcmp(word, "--csv") == 0) {
            o->format = FORMAT_CSV;
        } else if (strcmp(word, "--no-stop") == 0) {
            o->no_stop = true;
        } else if ((value = ljt_value_of("--map", argc, argv, &i)) != NULL) {
            size_t n = strlen(value);
            if (n < 5 || (strcmp(value + n - 4, ".svg") != 0 && strcmp(value + n - 4, ".png") != 0)) {
                fprintf(stderr, "ljtrim: inspect: --map wants a file that ends in .svg or .png, not '%s'\n",
                        value);
                return -EINVAL;
            }
            o->map = value;
        } else if ((value = ljt_value_of("--max-stop", argc, argv, &i)) != NULL) {
            if ((o->max_stop_ms = ljt_number(value, 0)) < 0) {
                fprintf(stderr,
                        "ljtrim: inspect: --max-stop wants milliseconds, or 0 for no limit, not '%s'\n",
                        value);
                return -EINVAL;
            }
        } else if (o->pid == 0 && ljt_number(word, 1) > 0) {
            o->pid = (pid_t)ljt_number(word, 1);
        } else {
            fprintf(stderr,
                    "ljtrim: inspect: '%s' is neither a process id nor an option; see 'ljtrim help'\n", word);
            return -EINVAL;
        }
    }
    if (o->pid == 0) {
        fprintf(stderr, "ljtrim: inspect: which process? ljtrim inspect PID; see 'ljtrim help'\n");
        return -EINVAL;
    }
    /* Scripts want figures that add up. */
    if (o->max_stop_ms < 0)
        o->max_stop_ms = o->format == FORMAT_CSV ? 0 : MAX_STOP_MS;
    return 0;
}

static int draw(const struct ljt_inspection *n, const char *path)
{
    int error = ljt_inspection_draw(n, path);
    if (error == 0)
        return LJT_EXIT_OK;
    fprintf(stderr, "ljtrim: could not write %s (%s)\n", path, strerror(-error));
    return LJT_EXIT_FAILED;
}

static int show(const struct ljt_inspection *n, const struct options *o)
{
    int status = n->restless ? LJT_EXIT_UNREADABLE : n->count == 0 ? LJT_EXIT_NO_ARENA : LJT_EXIT_OK;
    if (o->format == FORMAT_JSON)
        ljt_inspection_print_json(n);
    else if (o->format == FORMAT_TEXT && (n->count != 0 || !n->restless))
        ljt_inspection_print_text(n);
    else if (o->format == FORMAT_CSV && n->count != 0)
        ljt_inspection_print_csv(n);
    fflush(stdout);
    if (n->count == 0 && n->restless)
        fprintf(stderr, "ljtrim: the LuaJIT heap of process %d (%s) never added up in %u looks; try again\n",
                (int)o->pid, n->remote.comm, n->remote.stops);
    else if (n->count == 0 && o->format == FORMAT_CSV)
        fprintf(stderr, "ljtrim: process %d (%s) has no LuaJIT arena\n", (int)o->pid, n->remote.comm);
    else if (n->count != 0 && o->map != NULL && draw(n, o->map) != LJT_EXIT_OK)
        status = LJT_EXIT_FAILED;
    return status;
}

int ljt_inspect_main(int argc, char **argv)
{
    struct ljt_inspection n = {0};
    struct options o;
    if (parse(argc, argv, &o) != 0)
        return LJT_EXIT_USAGE;
    int error = examine(&n, &o);
    int status = error != 0 ? fail(o.pid, error) : show(&n, &o);
    for (size_t i = 0; i < n.count; i++)
        ljt_measured_free(&n.arenas[i]);
    free(n.arenas);
    ljt_arenas_free(&n.found);
    ljt_remote_close(&n.remote);
    return status;
}
