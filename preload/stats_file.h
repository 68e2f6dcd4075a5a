/*
 * stats_file: LJTRIM_STATS_FILE.
 *
 * The file is replaced as a whole, by rename, so that a reader finds the old or the new figures and never a part. What
 * goes wrong (a full disk, a directory that is not there) costs one line until it works again; the last whole file
 * stays, and nothing else is left behind. The file is created anew each time, with mode 0600, under a name of its own
 * in the same directory: a symbolic link that somebody put there is replaced, not followed.
 *
 * Allocates nothing, is no cancellation point, keeps errno.
 * Threads: one at a time (the reclaimer, or the thread that exits when there is no reclaimer at it).
 */
#ifndef LJT_STATS_FILE_H
#define LJT_STATS_FILE_H

#include <stddef.h>

#include "config.h"

/* The format of the file called so, where the configuration says `asked`. */
enum ljt_stats_format ljt_stats_file_format(const char *path, enum ljt_stats_format asked);

/* Replaces the file that `path` (with %p) names. 0 or -errno; a failure is logged, unless the last try failed, too. */
int ljt_stats_file_write(const char *path, const char *buf, size_t len);

/* Removes the file, if this process has written it. A failure is logged. */
void ljt_stats_file_remove(const char *path);

#endif
