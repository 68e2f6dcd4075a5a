/*
 * stats_page: the last snapshot, where another process can read it.
 *
 * A variable of the library's that is found by its name, `ljtrim_stats_page`, in the library's dynamic symbols as they
 * lie in the process's memory, and read with process_vm_readv: of a stopped process, of one in a container, without a
 * file that somebody would have to secure or remove, and without the process noticing. Who may do so is the kernel's
 * business (ptrace access).
 *
 * Written by whoever gathers, between two increments of `sequence`: odd means under way. A reader copies, and looks
 * whether `sequence` is even and the same as before. In a forked child it is its parent's until it gathers itself:
 * compare the snapshot's pid.
 *
 * Versions: figures are found by name, through `field`; a reader skips those that it does not know, and the snapshot's
 * shape follows from the counts here. What can't be told so makes `layout` another number.
 */
#ifndef LJT_STATS_PAGE_H
#define LJT_STATS_PAGE_H

#include <assert.h>

#include "stats.h"

#define LJT_STATS_PAGE_SYMBOL "ljtrim_stats_page"
#define LJT_STATS_MAGIC 0x7374617473746a6cu /* "ljtstats" */

enum { LJT_STATS_LAYOUT = 1 };

struct ljt_stats_page {
    uint64_t magic;
    uint32_t layout;
    uint32_t fields;                     /* figures in a row, and elements of field[] */
    uint32_t field_size;                 /* of an element: its name, terminated, comes first */
    uint32_t buckets;                    /* of a histogram: 3 words, and these */
    uint32_t rows;                       /* of snapshot->arena */
    uint32_t module_size;                /* of an element of snapshot->module */
    const struct ljt_stats_field *field; /* what the figures are called */
    struct ljt_stats_snapshot *snapshot;
    _Atomic uint64_t sequence; /* 0: nothing was gathered yet */
};

static_assert(offsetof(struct ljt_stats_page, field) == 32 && sizeof(struct ljt_stats_page) == 56,
              "layout 1");
static_assert(offsetof(struct ljt_stats_snapshot, waits) == 24 &&
                  sizeof(struct ljt_histogram) == (3 + LJT_HISTOGRAM_BUCKETS) * 8 &&
                  offsetof(struct ljt_stats_snapshot, total) == 24 + 2 * sizeof(struct ljt_histogram) &&
                  offsetof(struct ljt_stats_snapshot, arena) ==
                      offsetof(struct ljt_stats_snapshot, total) + 8 * LJT_STATS_FIELDS &&
                  offsetof(struct ljt_stats_snapshot, modules) ==
                      offsetof(struct ljt_stats_snapshot, arena) + LJT_GATES * 8 * LJT_STATS_FIELDS &&
                  offsetof(struct ljt_stats_snapshot, module) ==
                      offsetof(struct ljt_stats_snapshot, modules) + 8,
              "layout 1: version, number of arenas, waits, holds, total, arenas, number of modules, modules");

extern struct ljt_stats_page ljtrim_stats_page;

#endif
