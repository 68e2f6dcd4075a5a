/*
 * log: lines for people, to stderr or to the file that LJTRIM_LOG names.
 *
 * We are a guest in somebody's process: silent unless something is wrong, one write(2) a line so that lines
 * of several processes never mix (except the rest of a line of which a full disk took only a part), no effect on the host
 * when the log is a full disk, a closed pipe or a terminal that went away (withhold.h). A line that does not get into the
 * log file is missing there; the first time one line on stderr says so.
 *
 * Never allocates, never blocks on a lock, never is a cancellation point, never changes errno.
 * Threads: any thread, at any time, also before ljt_log_open (then warnings and errors go to stderr).
 * Fork: a child goes on with the inherited file, or opens its own where the path has %p.
 * Signals: ljt_log_signal and ljt_log_raw are async-signal-safe; the others are not (vsnprintf).
 *
 * A log file is opened at the first line, so that processes with nothing to say leave no empty files behind.
 * It is never a symbolic link, nor anything that belongs to another user than this one and root, nor a file with other
 * names, and never opened for reading; a new one has mode 0600. Where it can't be opened, one line says so and
 * the log is stderr. A host that closes descriptors it doesn't know (daemons do) may reuse the number of
 * ours: before every line the descriptor is compared with the file that was opened, and a stranger is left
 * alone.
 */
#ifndef LJT_LOG_H
#define LJT_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

struct ljt_text;

enum { LJT_LOG_LINE_MAX = 1024 }; /* bytes of a line, "ljtrim: " and the newline included; longer is cut */

/*
 * Take level and path from `config` (copied). Opens nothing. Closes the file of an earlier call. For the
 * constructor: not while another thread logs.
 */
void ljt_log_open(const struct ljt_config *config);

/* Another level from now on. Any thread, async-signal-safe. */
void ljt_log_set_level(enum ljt_log_level level);

/* Whether a line of this level would be written: for callers whose arguments cost something. */
bool ljt_log_enabled(enum ljt_log_level level);

/* One line: "ljtrim: ", the text, a newline. Control characters in the text become '?'. No %f. */
void ljt_log(enum ljt_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As ljt_log, but only the first time for each `once` (a child counts with its parent). */
struct ljt_once {
    int done; /* 0, then 1: accessed atomically by ljt_log_once alone */
};
void ljt_log_once(struct ljt_once *once, enum ljt_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * A whole buffer as it is, whatever the level: a dump. Goes on after short writes; where the reader does not
 * keep up, gives up after a second. len may be 0.
 */
void ljt_log_raw(const char *buf, size_t len);

/* `text` as it is (the caller gives prefix and newline), in one write, whatever the level. */
void ljt_log_signal(const char *text);

/* Reasons beside those of errno. */
enum { LJT_LOG_FOREIGN = 5001, LJT_LOG_LINKED };

/* Appends why something with a file failed, in words where it is one of the reasons that occur. */
void ljt_log_reason(struct ljt_text *out, int error);

/*
 * For ljt_config_load. ljt_log_complaint writes the line at once, as a warning; where `config` is not NULL it
 * is a struct ljt_config by which the log is opened first. ljt_log_defer keeps the line (4 KiB in all, the
 * rest is dropped) until ljt_log_deferred writes them, once: a process without LuaJIT must print nothing,
 * not even about a mistyped variable.
 */
void ljt_log_complaint(const char *line, void *config);
void ljt_log_defer(const char *line, void *unused);
void ljt_log_deferred(void);

#endif
