#include "stats_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"
#include "log.h"
#include "text.h"
#include "withhold.h"

enum {
    TEMPORARY = 32,   /* ".", the pid and ".tmp" */
    WRITE_TRIES = 100 /* of one that signals interrupt */
};

static bool failing;  /* the last try failed, and that was said */
static pid_t written; /* by this process; what a parent has written is not a child's to remove */

static bool ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n >= m && strcmp(path + n - m, ending) == 0;
}

enum ljt_stats_format ljt_stats_file_format(const char *path, enum ljt_stats_format asked)
{
    if (asked != LJT_STATS_AUTO)
        return asked;
    return ends_in(path, ".prom")   ? LJT_STATS_PROMETHEUS
           : ends_in(path, ".json") ? LJT_STATS_JSON
                                    : LJT_STATS_TEXT;
}

static int open_new(const char *path)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
    int fd = ljt_kernel.open(path, flags, 0600);
    if (fd < 0 && errno == EEXIST) { /* of a process that had our pid and was killed */
        ljt_kernel.unlink(path);
        fd = ljt_kernel.open(path, flags, 0600);
    }
    return fd < 0 ? -errno : fd;
}

static int write_all(int fd, const char *buf, size_t len)
{
    for (int tries = WRITE_TRIES; len > 0;) {
        ssize_t n = ljt_kernel.write(fd, buf, len);
        if (n < 0 && errno == EINTR && tries-- > 0)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENOSPC;
        buf += n;
        len -= (size_t)n;
    }
    return 0;
}

static int replace(const char *path, const char *temporary, const char *buf, size_t len)
{
    int fd = open_new(temporary);
    if (fd < 0)
        return fd;
    int error = write_all(fd, buf, len);
    /* A full disk may be told of at close alone (NFS, quotas). */
    if (ljt_kernel.close(fd) != 0 && error == 0)
        error = -errno;
    if (error == 0 && ljt_kernel.rename(temporary, path) != 0)
        error = -errno;
    if (error != 0)
        ljt_kernel.unlink(temporary);
    return error;
}

/* The same, and no signal comes of it. */
static int replace_quietly(const char *path, const char *temporary, const char *buf, size_t len)
{
    struct ljt_withheld signals;
    if (!ljt_withhold(&signals))
        return -EPERM;
    int error = replace(path, temporary, buf, len);
    ljt_withhold_end(&signals, -error);
    return error;
}

static void complain(const char *what, const char *path, int error, const char *now)
{
    char buf[64];
    struct ljt_text reason = LJT_TEXT(buf);
    ljt_log_reason(&reason, error);
    ljt_log(LJT_LOG_WARN, "can't %s %.200s (%s); %s", what, path, buf, now);
}

int ljt_stats_file_write(const char *path, const char *buf, size_t len)
{
    char name[LJT_CONFIG_PATH_SIZE], other[LJT_CONFIG_PATH_SIZE + TEMPORARY];
    struct ljt_text expanded = LJT_TEXT(name), temporary = LJT_TEXT(other);
    int saved = errno, error = -ENAMETOOLONG;
    pid_t pid = getpid();
    ljt_text_path(&expanded, path, pid);
    if (expanded.lost == 0) {
        ljt_text_string(&temporary, name);
        ljt_text_string(&temporary, ".");
        ljt_text_signed(&temporary, pid); /* two processes may have been given the same name */
        ljt_text_string(&temporary, ".tmp");
        error = replace_quietly(name, other, buf, len);
    }
    if (error == 0)
        written = pid;
    else if (!failing)
        complain("write the statistics to", name, -error, "trying on in silence");
    failing = error != 0;
    errno = saved;
    return error;
}

void ljt_stats_file_remove(const char *path)
{
    char name[LJT_CONFIG_PATH_SIZE];
    struct ljt_text expanded = LJT_TEXT(name);
    int saved = errno;
    ljt_text_path(&expanded, path, getpid());
    if (written == getpid() && expanded.lost == 0 && ljt_kernel.unlink(name) != 0 && errno != ENOENT)
        complain("remove the statistics", name, errno, "they stay behind");
    errno = saved;
}
