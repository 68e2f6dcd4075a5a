/*
 * Statistics of a preloaded process, read from its memory: preload/stats_page.h says what lies there.
 *
 * The process is neither stopped nor signalled, nothing is written to it, and it may be stopped itself. The library is
 * found in /proc/PID/maps, its page through its dynamic symbols as they lie in the process's memory: no file is opened,
 * so that a library that was replaced or that lies in a container is no different.
 */
#ifndef LJT_STATS_READER_H
#define LJT_STATS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "stats.h"
#include "text.h"

struct ljt_stats_reading {
    pid_t pid;
    uint32_t layout;                    /* of the page that was found */
    bool torn;                          /* stopped in the middle of gathering: figures may not agree */
    unsigned missing;                   /* figures that this library does not have; they read 0 */
    struct ljt_stats_snapshot snapshot; /* 100 KiB: not for the stack */
};

/*
 * 0, or -errno:
 *     -ESRCH             no such process
 *     -EPERM, -EACCES    not ours to read
 *     -ENOENT            libljtrim.so is not in it
 *     -ENODATA           it is, but has nothing gathered: no Lua heap of this process has grown
 *     -EPROTO            it is, but of a version that has no page, or of another layout
 */
int ljt_stats_read(struct ljt_stats_reading *r, pid_t pid);

/*
 * The list of who makes heaps grow (preload/growth.h), as text. 0, or -errno as above; -ENODATA: nothing was sampled,
 * -EOPNOTSUPP: the library has no such list.
 */
int ljt_growth_read(pid_t pid, char *text, size_t room);

/* One sentence about such an error, without "ljtrim: " and newline; and the exit status that goes with it. */
int ljt_stats_explain(struct ljt_text *t, const struct ljt_stats_reading *r, int error);

#endif
