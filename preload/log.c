#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"
#include "text.h"
#include "withhold.h"

#define PREFIX "ljtrim: "
enum { PREFIX_LENGTH = sizeof(PREFIX) - 1 };

/* ---- Writing ---- */

/* How often a write is tried again that signals interrupt, and how long a reader may hold up one dump. */
enum { WRITE_TRIES = 100, WAIT_MS = 1000 };

static uint64_t now_ms(void)
{
    return ljt_kernel.now() / 1000000;
}

/* Waits until fd takes more. False where that is not before `end`, in ms. */
static bool wait_writable(int fd, uint64_t end)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    uint64_t now = now_ms();

    return now < end && (ljt_kernel.poll(&p, 1, (int)(end - now)) > 0 || errno == EINTR);
}

/*
 * Would a line have to wait for a reader? A pipe that can take PIPE_BUF bytes is writable, and no line is longer. Whoever is
 * told of it may be inside of a VM, or hold one up.
 */
static bool would_wait(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return ljt_kernel.poll(&p, 1, 0) == 0;
}

/*
 * One write, or as many as it takes (within bounds): a disk that is almost full takes a part. `patient`: a reader may be
 * behind for a moment. 0, or the errno of failure.
 */
static int write_all(int fd, const char *buf, size_t len, bool patient)
{
    int tries = WRITE_TRIES;
    uint64_t end = 0; /* set when the reader first is behind */

    while (len > 0) {
        if (!patient && would_wait(fd))
            return EAGAIN;
        ssize_t n = ljt_kernel.write(fd, buf, len);
        if (n > 0) {
            buf += n;
            len -= (size_t)n;
        } else if (n < 0 && errno == EINTR && tries-- > 0) {
            continue;
        } else if (n < 0 && errno == EAGAIN && patient) {
            end = end ? end : now_ms() + WAIT_MS;
            if (!wait_writable(fd, end))
                return EAGAIN;
        } else {
            return n < 0 ? errno : EIO;
        }
    }
    return 0;
}

/* The same, and no signal comes of it. */
static int write_quietly(int fd, const char *buf, size_t len, bool patient)
{
    struct ljt_withheld signals;

    if (!ljt_withhold(&signals))
        return EPERM;
    int error = write_all(fd, buf, len, patient);
    ljt_withhold_end(&signals, error);
    return error;
}

/* ---- The file ---- */

static struct {
    /* has_pid and path change in the constructor, before other threads of ours exist. */
    char path[LJT_CONFIG_PATH_SIZE]; /* empty: stderr. Written by ljt_log_open alone */
    bool has_pid;                    /* the path has %p. Likewise */
    _Atomic int level; /* the least important level that is written. ljt_log_open, ljt_log_set_level */

    /*
     * What is open: pid << 32 | (descriptor + 1), or 0. Set by whoever needs the file first, with a
     * compare-and-swap: a loser (another thread, or the thread that a signal handler interrupted) closes its
     * own. The pid is that of the process that opened it. Descriptor 2 means that opening failed.
     */
    _Atomic uint64_t target;
    /* The file behind the descriptor, stored before target. Torn or outdated, it costs opening again. */
    _Atomic uint64_t device, inode;
    _Atomic bool gaps; /* a line is missing in it, and that was said */
} file = {.level = LJT_LOG_WARN};

static int target_fd(uint64_t target)
{
    return (int)(target & UINT32_MAX) - 1;
}

/* Whether fd is still the file that we opened, and not one that the host opened after closing ours. */
static bool still_ours(int fd)
{
    struct stat st;

    if (ljt_kernel.fstat(fd, &st) != 0)
        return false;
    return atomic_load_explicit(&file.device, memory_order_relaxed) == (uint64_t)st.st_dev &&
           atomic_load_explicit(&file.inode, memory_order_relaxed) == (uint64_t)st.st_ino;
}

/*
 * Whether a file that was there before us may have the log. The log often lies in a directory where others can write,
 * and a master process runs as root: what somebody else has left there, a file or a FIFO of theirs, or another name of a
 * file that is not for us, is refused. Devices (/dev/null) are root's.
 */
static int check_found(const struct stat *st)
{
    if (st->st_uid != geteuid() && st->st_uid != 0)
        return -LJT_LOG_FOREIGN;
    if (S_ISREG(st->st_mode) ? st->st_nlink > 1 : S_ISBLK(st->st_mode))
        return S_ISREG(st->st_mode) ? -LJT_LOG_LINKED : -EACCES;
    return 0;
}

/*
 * Opens the log file; *created says whether it is new. O_NONBLOCK: a FIFO that nobody reads would stop the host here for
 * ever. With O_EXCL nothing is opened that was there: our own file is known to be ours, whatever a file server makes of
 * its owner.
 */
static int open_path(const char *path, bool *created)
{
    const int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
    int fd = -1;
    for (int tries = 0; tries < 3; tries++) { /* it may come and go in between */
        fd = ljt_kernel.open(path, flags | O_CREAT | O_EXCL, 0600);
        *created = fd >= 0;
        if (fd >= 0 || errno != EEXIST)
            break;
        fd = ljt_kernel.open(path, flags, 0);
        if (fd >= 0 || errno != ENOENT)
            break;
    }
    return fd;
}

/* A new descriptor of the log file, above stderr, and its identity stored. -errno. */
static int open_file(const char *path)
{
    struct stat st;
    bool created;
    int fd = open_path(path, &created);

    if (fd < 0)
        return -errno;
    if (fd <= STDERR_FILENO) {
        /* The host closed its standard streams: in their place the log would catch what isn't for it. */
        int high = ljt_kernel.duplicate(fd, STDERR_FILENO + 1);
        int error = errno;
        ljt_kernel.close(fd);
        if (high < 0)
            return -error;
        fd = high;
    }
    int refused = ljt_kernel.fstat(fd, &st) != 0 ? -errno : created ? 0 : check_found(&st);
    if (refused != 0) {
        ljt_kernel.close(fd);
        return refused;
    }
    atomic_store_explicit(&file.device, (uint64_t)st.st_dev, memory_order_relaxed);
    atomic_store_explicit(&file.inode, (uint64_t)st.st_ino, memory_order_relaxed);
    return fd;
}

/* Without strerror: it takes locks and asks the locale. */
void ljt_log_reason(struct ljt_text *out, int error)
{
    switch (error) {
    case EAGAIN: ljt_text_string(out, "its reader is behind"); break;
    case EACCES:
    case EPERM: ljt_text_string(out, "permission denied"); break;
    case EIO: ljt_text_string(out, "input/output error"); break;
    case EISDIR: ljt_text_string(out, "it is a directory"); break;
    case ELOOP: ljt_text_string(out, "it is a symbolic link"); break;
    case EMFILE:
    case ENFILE: ljt_text_string(out, "too many open files"); break;
    case ENAMETOOLONG: ljt_text_string(out, "the path is too long"); break;
    case ENOMEM: ljt_text_string(out, "out of memory"); break;
    case ENOENT:
    case ENOTDIR: ljt_text_string(out, "no such directory"); break;
    case EFBIG: ljt_text_string(out, "beyond the limit on file sizes"); break;
    case EDQUOT:
    case ENOSPC: ljt_text_string(out, "no space left"); break;
    case EPIPE:
    case ENXIO: ljt_text_string(out, "nobody reads the pipe"); break;
    case LJT_LOG_FOREIGN: ljt_text_string(out, "it belongs to another user"); break;
    case LJT_LOG_LINKED: ljt_text_string(out, "it has other names: hard links"); break;
    case EROFS: ljt_text_string(out, "read-only file system"); break;
    default:
        ljt_text_string(out, "error ");
        ljt_text_signed(out, error);
        break;
    }
}

/* To stderr: PREFIX "can't <what> the log <path> (<why>); <what happens now>". */
static void complain(const char *what, const char *path, int error, const char *now)
{
    char buf[LJT_LOG_LINE_MAX];
    struct ljt_text line = LJT_TEXT(buf);

    ljt_text_string(&line, PREFIX "can't ");
    ljt_text_string(&line, what);
    ljt_text_string(&line, " the log ");
    ljt_text_foreign(&line, path, 200);
    ljt_text_string(&line, " (");
    ljt_log_reason(&line, error);
    ljt_text_string(&line, "); ");
    ljt_text_string(&line, now);
    ljt_text_string(&line, "\n");
    (void)write_quietly(STDERR_FILENO, line.buf, line.len, false);
}

/*
 * Open the file in place of `old`, the current target, of which descriptor `stale` (or -1) is to be closed.
 * Pairs with itself in another thread or in a handler: only one of them publishes.
 */
static int open_target(uint64_t old, int stale, pid_t pid)
{
    char buf[LJT_CONFIG_PATH_SIZE];
    struct ljt_text path = LJT_TEXT(buf);
    ljt_text_path(&path, file.path, pid);
    int fd = path.lost == 0 ? open_file(buf) : -ENAMETOOLONG;
    int error = fd < 0 ? -fd : 0;

    if (error)
        fd = STDERR_FILENO;
    uint64_t new = (uint64_t)pid << 32 | (uint64_t)(fd + 1);
    if (!atomic_compare_exchange_strong_explicit(&file.target, &old, new, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        if (!error)
            ljt_kernel.close(fd);
        return old ? target_fd(old) : STDERR_FILENO;
    }
    if (stale >= 0)
        ljt_kernel.close(stale);
    if (error)
        complain("open", buf, error, "logging to stderr");
    return fd;
}

/* Where lines go now. Async-signal-safe. */
static int log_fd(void)
{
    if (file.path[0] == 0)
        return STDERR_FILENO;

    pid_t pid = getpid();
    uint64_t target = atomic_load_explicit(&file.target, memory_order_acquire); /* pairs with open_target */
    bool here = target >> 32 == (uint64_t)pid;
    int fd = target_fd(target);

    if (fd == STDERR_FILENO && here)
        return fd; /* it couldn't be opened, and that was said */
    if (fd <= STDERR_FILENO || !still_ours(fd))
        return open_target(target, -1, pid);
    if (file.has_pid && !here)
        return open_target(target, fd, pid); /* the parent's: this process has a file of its own */
    return fd;
}

static void complain_of_gap(int error)
{
    char buf[LJT_CONFIG_PATH_SIZE];
    struct ljt_text path = LJT_TEXT(buf);

    ljt_text_path(&path, file.path, getpid());
    complain("write to", buf, error, "lines are missing in it");
}

/* What does not get into the file is missing there, and the first time stderr has a line to say so. */
static void write_log(const char *buf, size_t len, bool patient)
{
    int fd = log_fd();
    int error = write_quietly(fd, buf, len, patient);

    if (error != 0 && fd != STDERR_FILENO &&
        !atomic_exchange_explicit(&file.gaps, true, memory_order_relaxed))
        complain_of_gap(error);
}

void ljt_log_open(const struct ljt_config *config)
{
    int saved = errno;
    uint64_t target = atomic_exchange_explicit(&file.target, 0, memory_order_acq_rel);
    int fd = target_fd(target);

    if (fd > STDERR_FILENO && still_ours(fd))
        ljt_kernel.close(fd);
    memcpy(file.path, config->log_path, sizeof(file.path));
    file.path[sizeof(file.path) - 1] = 0;
    file.has_pid = strstr(file.path, "%p") != NULL;
    atomic_store_explicit(&file.gaps, false, memory_order_relaxed);
    atomic_store_explicit(&file.level, (int)config->log_level, memory_order_relaxed);
    errno = saved;
}

/* ---- Lines ---- */

void ljt_log_set_level(enum ljt_log_level level)
{
    atomic_store_explicit(&file.level, (int)level, memory_order_relaxed);
}

bool ljt_log_enabled(enum ljt_log_level level)
{
    return (int)level <= atomic_load_explicit(&file.level, memory_order_relaxed);
}

static void log_line(const char *format, va_list args)
{
    char line[LJT_LOG_LINE_MAX] = PREFIX;
    const size_t room = sizeof(line) - PREFIX_LENGTH; /* for the text and its terminator, later the newline */
    int saved = errno;
    int n = vsnprintf(line + PREFIX_LENGTH, room, format, args);

    if (n >= 0) {
        size_t len = (size_t)n;
        if (len >= room) {
            len = room - 1;
            memset(line + sizeof(line) - 4, '.', 3);
        }
        len += PREFIX_LENGTH;
        for (size_t i = PREFIX_LENGTH; i < len; i++)
            if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
                line[i] = '?';
        line[len] = '\n';
        write_log(line, len + 1, false);
    }
    errno = saved;
}

void ljt_log(enum ljt_log_level level, const char *format, ...)
{
    va_list args;

    if (!ljt_log_enabled(level))
        return;
    va_start(args, format);
    log_line(format, args);
    va_end(args);
}

void ljt_log_once(struct ljt_once *once, enum ljt_log_level level, const char *format, ...)
{
    va_list args;

    if (!ljt_log_enabled(level) || __atomic_exchange_n(&once->done, 1, __ATOMIC_RELAXED) != 0)
        return;
    va_start(args, format);
    log_line(format, args);
    va_end(args);
}

void ljt_log_raw(const char *buf, size_t len)
{
    int saved = errno;

    write_log(buf, len, true);
    errno = saved;
}

void ljt_log_signal(const char *text)
{
    int saved = errno;

    write_log(text, strlen(text), false);
    errno = saved;
}

/* ---- Complaints about the configuration ---- */

void ljt_log_complaint(const char *line, void *config)
{
    if (config != NULL)
        ljt_log_open(config);
    ljt_log(LJT_LOG_WARN, "%s", line);
}

/* Lines, each with its terminator. Written in the constructor, taken by whoever sets `taken` first. */
static struct {
    char lines[4096];
    size_t len;
    _Atomic int taken;
} deferred;

void ljt_log_defer(const char *line, void *unused)
{
    size_t n = strlen(line) + 1;

    (void)unused;
    if (n > sizeof(deferred.lines) - deferred.len)
        return;
    memcpy(deferred.lines + deferred.len, line, n);
    deferred.len += n;
}

void ljt_log_deferred(void)
{
    if (deferred.len == 0 || atomic_exchange_explicit(&deferred.taken, 1, memory_order_relaxed) != 0)
        return;
    for (size_t at = 0; at < deferred.len; at += strlen(deferred.lines + at) + 1)
        ljt_log(LJT_LOG_WARN, "%s", deferred.lines + at);
}
