#include "stats_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel.h"
#include "log.h"
#include "text.h"

enum { TEMPORARY = 32 }; /* ".", the pid and ".tmp" */

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

/* System calls by number: open and write of the C library are cancellation points. */
static int open_new(const char *path)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
    long fd = ljt_kernel_call(SYS_openat, AT_FDCWD, (long)path, flags, 0600, 0, 0);
    if (fd < 0 && errno == EEXIST) { /* of a process that had our pid and was killed */
        ljt_kernel_call(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0, 0);
        fd = ljt_kernel_call(SYS_openat, AT_FDCWD, (long)path, flags, 0600, 0, 0);
    }
    return fd < 0 ? -errno : (int)fd;
}

static int write_all(int fd, const char *buf, size_t len)
{
    while (len > 0) {
        long n = ljt_kernel_call(SYS_write, fd, (long)buf, (long)len, 0, 0, 0);
        if (n < 0 && errno == EINTR)
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
    if (ljt_kernel_call(SYS_close, fd, 0, 0, 0, 0, 0) != 0 && error == 0)
        error = -errno;
    if (error == 0 &&
        ljt_kernel_call(SYS_renameat, AT_FDCWD, (long)temporary, AT_FDCWD, (long)path, 0, 0) != 0)
        error = -errno;
    if (error != 0)
        ljt_kernel_call(SYS_unlinkat, AT_FDCWD, (long)temporary, 0, 0, 0, 0);
    return error;
}

/* Beyond a limit on file sizes a write raises SIGXFSZ, which ends a process: taken back, as SIGPIPE is in log.c. */
static int replace_quietly(const char *path, const char *temporary, const char *buf, size_t len)
{
    const struct timespec now = {0};
    sigset_t limit, old, pending;
    sigemptyset(&limit);
    sigaddset(&limit, SIGXFSZ);
    bool blocked = pthread_sigmask(SIG_BLOCK, &limit, &old) == 0;
    bool was_pending = sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1;
    int error = replace(path, temporary, buf, len);
    if (error == -EFBIG && blocked && !was_pending)
        ljt_kernel_call(SYS_rt_sigtimedwait, (long)&limit, 0, (long)&now, _NSIG / 8, 0, 0);
    if (blocked)
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

static void complain(const char *path, int error)
{
    char buf[64];
    struct ljt_text reason = LJT_TEXT(buf);
    ljt_log_reason(&reason, error);
    ljt_log(LJT_LOG_WARN, "can't write the statistics to %.200s (%s); trying on in silence", path, buf);
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
        complain(name, -error);
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
    if (written == getpid() && expanded.lost == 0)
        ljt_kernel_call(SYS_unlinkat, AT_FDCWD, (long)name, 0, 0, 0, 0);
    errno = saved;
}
