/* What `ljtrim inspect` has found out about a process, for those who print it. */
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

void ljt_inspection_verdict(const struct ljt_inspection *n, struct ljt_text *out);
void ljt_inspection_print_text(const struct ljt_inspection *n);
void ljt_inspection_print_json(const struct ljt_inspection *n);
void ljt_inspection_print_csv(const struct ljt_inspection *n);

/* 0, -ENOTSUP: neither .svg nor .png, -errno: could not be written. */
int ljt_inspection_draw(const struct ljt_inspection *n, const char *path);

#endif
