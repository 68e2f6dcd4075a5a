/*
 * Inspecting a process: its arenas found and measured, and who holds the rest of its memory. See inspection.h.
 *
 * The order of things keeps the target's stop short: its memory is searched for arenas while it runs; it is
 * stopped only for the walk over the heap, and not longer than it is allowed to be: after that the walk goes on
 * while it runs. Where a stop falls into the middle of an allocation, the heap does not add up; then it runs
 * on for a few milliseconds and is stopped again.
 */
#include "commands.h"
#include "inspection.h"
#include "permission.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { PAUSE_MS = 3, DOUBTS = 3 };

/* ---- Measuring ---- */

/*
 * Measures the arenas not measured yet, with the target stopped if so wanted. The number missing, or -errno.
 *
 * What does not look like an arena in a target that stands still is none. One that runs may have mapped a segment after its
 * mappings were read: the first DOUBTS looks leave that open.
 */
static int measure_once(struct ljt_inspection *n, const struct ljt_inspection_how *how, int look)
{
    struct ljt_remote *r = &n->remote;
    int missing = 0, error = how->no_stop ? 0 : ljt_remote_stop(r);
    double deadline = how->max_stop_ms == 0 ? 0 : r->stopped_at_us + (double)how->max_stop_ms * 1000;
    if (error == 0)
        error = ljt_remote_load_vmas(r);
    for (size_t i = 0; error == 0 && i < n->found.count; i++) {
        if (n->found.states[i] == 0)
            continue;
        struct ljt_measured *m = &n->arenas[n->count];
        bool runs = r->nthreads == 0;
        error = ljt_arena_measure(m, r, n->found.states[i], deadline);
        if (error != 0)
            ljt_measured_free(m);
        if (error == -EAGAIN || (error == -ENOENT && runs && look < DOUBTS)) {
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
    size_t count = n->arenas == NULL ? 0 : n->count;
    if (count > 0)
        qsort(n->arenas, count, sizeof(*n->arenas), largest_first);
    for (size_t i = 0; i < count; i++) {
        size_t reclaimable = n->arenas[i].figures.reclaimable;
        ljt_arena_add(&n->total, &n->arenas[i].figures);
        ljt_histograms_add(&n->histograms, &n->arenas[i].histograms);
        n->returnable += reclaimable > LJT_VM_ROOM ? reclaimable - LJT_VM_ROOM : 0;
    }
    for (size_t i = 0; i < n->found.direct.count; i++)
        n->direct += n->found.direct.at[i].end - n->found.direct.at[i].start;
}

static int measure(struct ljt_inspection *n, const struct ljt_inspection_how *how)
{
    int error = ljt_arenas_find(&n->found, &n->remote), looks = 0;
    n->arenas = calloc(n->found.count + 1, sizeof(*n->arenas));
    if (n->arenas == NULL)
        return -ENOMEM;
    int missing = error != 0 || n->found.count == 0 ? 0 : 1;
    /* Where processors are scarce, whoever holds another process should not queue up for one. */
    int nice = getpriority(PRIO_PROCESS, 0);
    (void)setpriority(PRIO_PROCESS, 0, -20);
    for (; error == 0 && missing != 0 && looks < how->max_looks; looks++) {
        if (looks != 0)
            nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
        missing = measure_once(n, how, looks);
        if (missing < 0)
            error = missing;
    }
    (void)setpriority(PRIO_PROCESS, 0, nice);
    n->restless = missing > 0;
    add_up(n);
    return error;
}

/* ---- All of it ---- */

int ljt_inspection_take(struct ljt_inspection *n, pid_t pid, const struct ljt_inspection_how *how)
{
    *n = (struct ljt_inspection){0};
    int error = ljt_remote_open(&n->remote, pid);
    if (error != 0)
        return error;
    ljt_remote_rss(&n->remote, &n->rss, &n->pss);
    error = measure(n, how);
    if (error != 0 || how->arenas_only)
        return error;
    n->inner_pid = ljt_inner_pid(pid);
    ljt_cgroup_find(&n->cgroup, pid);
    ljt_cgroup_read(&n->cgroup, &n->cgroup_use);
    return ljt_holders_read(&n->holders, &n->remote, &n->found, n->arenas, n->count);
}

void ljt_inspection_free(struct ljt_inspection *n)
{
    for (size_t i = 0; i < n->count; i++)
        ljt_measured_free(&n->arenas[i]);
    free(n->arenas);
    ljt_arenas_free(&n->found);
    ljt_remote_close(&n->remote);
    *n = (struct ljt_inspection){.remote.pagemap = -1};
}

int ljt_inspection_explain(struct ljt_text *t, pid_t pid, int error)
{
    switch (-error) {
    case ESRCH:
    case EPERM:
    case EACCES: return ljt_process_explain(t, pid, error);
    case ETIMEDOUT:
        ljt_text_printf(
            t, "process %d did not stop within 2 s (asleep in the kernel); left as it was. Try --no-stop",
            (int)pid);
        return LJT_EXIT_FAILED;
    default:
        ljt_text_printf(t, "could not inspect process %d (%s)", (int)pid, strerror(-error));
        return LJT_EXIT_FAILED;
    }
}
