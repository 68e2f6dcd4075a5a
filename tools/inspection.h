/* What `ljtrim inspect` finds out about a process; `ljtrim report` does so again and again. */
#ifndef LJT_INSPECTION_H
#define LJT_INSPECTION_H

#include "arenas.h"
#include "cgroup.h"
#include "holders.h"
#include "text.h"

struct ljt_inspection {
    struct ljt_remote remote;
    pid_t inner_pid; /* in its own PID namespace; the same as remote.pid outside of containers */
    struct ljt_arenas found;
    struct ljt_measured *arenas; /* by size, the largest first */
    size_t count;
    struct ljt_arena_figures total;
    struct ljt_histograms histograms;
    size_t direct;     /* bytes of address space in large blocks with mappings of their own */
    size_t returnable; /* bytes that libljtrim would return: what is reclaimable, less the room it leaves */
    bool restless;     /* an arena was left out: it never was at rest */
    size_t rss, pss;   /* of the whole process, before the walk */
    struct ljt_holders holders;
    struct ljt_cgroup_place cgroup;
    struct ljt_cgroup_use cgroup_use;
};

enum { LJT_MAX_LOOKS = 40, LJT_MAX_STOP_MS = 20 };

struct ljt_inspection_how {
    bool no_stop;     /* read while it runs */
    long max_stop_ms; /* after that it runs on; 0: no limit */
    int max_looks;    /* at arenas that are not at rest */
    bool arenas_only; /* neither holders nor cgroup: no verdict then */
};

/*
 * 0, or -errno as remote.h says; -ETIMEDOUT. No arena is not an error. Free *n in any case. Not for two threads: raises
 * this process's priority while it works.
 */
int ljt_inspection_take(struct ljt_inspection *n, pid_t pid, const struct ljt_inspection_how *how);
void ljt_inspection_free(struct ljt_inspection *n);

/* One sentence about such an error, without "ljtrim: " and newline; and the exit status that goes with it. */
int ljt_inspection_explain(struct ljt_text *t, pid_t pid, int error);

void ljt_inspection_verdict(const struct ljt_inspection *n, struct ljt_text *out);
void ljt_inspection_print_text(const struct ljt_inspection *n);
void ljt_inspection_print_json(const struct ljt_inspection *n);
void ljt_inspection_print_csv(const struct ljt_inspection *n);

/* 0, -ENOTSUP: neither .svg nor .png, -errno: could not be written. */
int ljt_inspection_draw(const struct ljt_inspection *n, const char *path);

#endif
