/*
 * stats: what there is to know, gathered once, told in several ways.
 *
 * Gathering copies the figures of all arenas into a plain snapshot (struct ljt_stats_snapshot); formatting
 * (stats_format.c) makes text, JSON or Prometheus' exposition of one and knows nothing of arenas, so that the command
 * ljtrim uses it for other processes. What figures there are: stats_fields.h. Sizes of an arena, and of the total:
 *
 *     mapped = live + free           live: what the VM counts itself (collectgarbage "count"), without the
 *                                    blocks that lj_alloc maps directly; free: the rest, overhead included
 *     mapped = purgeable + floor     purgeable: whole pages inside free chunks; floor: pages that are needed
 *     resident <= mapped             resident - floor is what a purge could still give back
 *
 * Sizes are those of the last look. Counters of the total never fall: they count VMs that are gone or given up.
 *
 * Locks: ljt_wiped.stats around gathering and formatting, one at a time; inside it the registry lock.
 * Threads: any, whether or not there is a reclaimer. Not from a signal handler, and not from inside the allocator.
 * Allocates nothing by malloc.
 */
#ifndef LJT_STATS_H
#define LJT_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "gate.h"
#include "histogram.h"
#include "module.h"
#include "stats_fields.h"

struct ljt_arena_stats;

#define LJT_STATS_INDEX(name, ...) LJT_STATS_##name,
enum ljt_stats_index { LJT_STATS_TABLE(LJT_STATS_INDEX) LJT_STATS_FIELDS };
#undef LJT_STATS_INDEX

enum ljt_stats_scope { LJT_STATS_PROCESS = 1, LJT_STATS_TOTAL = 2, LJT_STATS_ARENA = 4 };

enum ljt_stats_kind {
    LJT_STATS_ID,
    LJT_STATS_ADDRESS,
    LJT_STATS_UNIX_MS,
    LJT_STATS_MODE,
    LJT_STATS_FLAG,  /* 0, 1 */
    LJT_STATS_COUNT, /* may rise and fall, as BYTES, NS and PER_MILLE */
    LJT_STATS_BYTES,
    LJT_STATS_NS,
    LJT_STATS_PER_MILLE,
    LJT_STATS_COUNT_TOTAL, /* counters, from here on */
    LJT_STATS_BYTES_TOTAL,
    LJT_STATS_NS_TOTAL
};

static inline bool ljt_stats_is_counter(enum ljt_stats_kind kind)
{
    return kind >= LJT_STATS_COUNT_TOTAL;
}

enum { LJT_STATS_NAME_SIZE = 24, LJT_STATS_COMPUTED = -1 };

struct ljt_stats_field {
    char name[LJT_STATS_NAME_SIZE]; /* terminated */
    unsigned scope;                 /* LJT_STATS_PROCESS, or LJT_STATS_TOTAL, LJT_STATS_ARENA or both */
    enum ljt_stats_kind kind;
    int source; /* offset in struct ljt_arena_stats, or LJT_STATS_COMPUTED */
    const char *text, *metric, *help;
};

extern const struct ljt_stats_field ljt_stats_fields[LJT_STATS_FIELDS];

/* The figures of an arena, or of the process and its total; 0 where a field does not belong. By enum ljt_stats_index. */
struct ljt_stats_row {
    uint64_t value[LJT_STATS_FIELDS];
};

/* What is known of a LuaJIT's own symbols. In the dump alone. */
struct ljt_stats_module {
    char name[40];    /* of its file; "" is the executable */
    char symbols[96]; /* where they are from, or why there are none */
};

struct ljt_stats_snapshot {
    char version[16];                  /* the library's */
    uint64_t arenas;                   /* rows of arena[] that are filled */
    struct ljt_histogram waits, holds; /* of the total */
    struct ljt_stats_row total;        /* PROCESS and TOTAL figures */
    struct ljt_stats_row arena[LJT_GATES];
    uint64_t modules; /* of module[] */
    struct ljt_stats_module module[LJT_MODULES];
};

/* Adds the counters of the table and the histograms, not the sizes. Of `from` a writer may be at work meanwhile. */
void ljt_stats_add_counters(struct ljt_arena_stats *into, const struct ljt_arena_stats *from);

/* Gathers, and calls `use` (may be NULL) with the result, which lives only during the call. `use` must not gather. */
void ljt_stats_gather(void (*use)(const struct ljt_stats_snapshot *snapshot, void *arg), void *arg);

/*
 * Gathers and formats into buf[size], terminated. Returns the length. What does not fit is left out in whole pieces
 * (arenas, metrics) and that is said in the text itself; 0 where not even that fits. 16 KiB are enough for the total
 * in any format; an arena takes 1.5 KiB.
 */
size_t ljt_stats_format(enum ljt_stats_format how, char *buf, size_t size);

/* The same for a snapshot that one has. Needs no lock. */
size_t ljt_stats_format_snapshot(const struct ljt_stats_snapshot *snapshot, enum ljt_stats_format format,
                                 char *buf, size_t size);

/* Writes the dump to the log, as LJTRIM_STATS_FORMAT says. */
void ljt_stats_dump(void);

/*
 * For the reclaimer, after each round: keeps what others read (stats_page.h, LJTRIM_STATS_FILE) current. `pause` is for
 * how long it is about to sleep, ns (0: not at all, UINT64_MAX: without end); returns for how long it may.
 */
uint64_t ljt_stats_keep(uint64_t now, uint64_t pause);

/* LJTRIM_STATS_AT_EXIT, and what becomes of the file. */
void ljt_stats_at_exit(void);

#endif
