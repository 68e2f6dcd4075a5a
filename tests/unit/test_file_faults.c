/*
 * Every system call that the log and the statistics file make fails in turn (fault.h). The program notices nothing: its
 * errno, its signals and its descriptors stay as they are. A reader finds whole statistics or none, and whatever gets lost,
 * a line says so.
 */
#include "lab.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "log.h"
#include "stats_file.h"

/* ---- The calls, and what their manuals say ---- */

static const struct fault_call open_call = {
    "openat", TOLD, {EACCES,  EAGAIN, EBADF,      EBUSY,     EDQUOT, EEXIST, EFAULT,  EFBIG,        EINTR,
                     EINVAL,  EISDIR, ELOOP,      EMFILE,    ENFILE, ENODEV, ENOENT,  ENOMEM,       ENOSPC,
                     ENOTDIR, ENXIO,  EOPNOTSUPP, EOVERFLOW, EPERM,  EROFS,  ETXTBSY, ENAMETOOLONG, -1}};
static const struct fault_call duplicate_call = {"fcntl", TOLD, {EBADF, EINVAL, EMFILE, -1}};
static const struct fault_call fstat_call = {"fstat", TOLD, {EBADF, EFAULT, EIO, ENOMEM, EOVERFLOW, -1}};
static const struct fault_call write_call = {"write",
                                             TOLD,
                                             {PARTLY, EAGAIN, EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG,
                                              EINTR, EINVAL, EIO, ENOSPC, EPERM, EPIPE, -1}};
static const struct fault_call poll_call = {"poll", NONE, {EFAULT, EINTR, EINVAL, ENOMEM, -1}};
static const struct fault_call close_call = {"close", TOLD, {EBADF, EINTR, EIO, ENOSPC, EDQUOT, -1}};
static const struct fault_call rename_call = {"renameat",
                                              TOLD,
                                              {EACCES, EBUSY, EDQUOT, EFAULT, EINVAL, EISDIR, ELOOP, EMLINK,
                                               ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR, ENOTEMPTY,
                                               EEXIST, EPERM, EROFS, EXDEV, -1}};
static const struct fault_call unlink_call = {"unlinkat",
                                              TOLD,
                                              {EACCES, EBADF, EBUSY, EFAULT, EINVAL, EIO, EISDIR, ELOOP,
                                               ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, EPERM, EROFS, -1}};
/* Not EAGAIN: that nothing is pending is an answer, and no kernel's while a signal is. */
static const struct fault_call take_signal_call = {
    "rt_sigtimedwait", NONE, {EFAULT, EINTR, EINVAL, ENOSYS, EPERM, -1}};

static int fault_open(const char *path, int flags, mode_t mode)
{
    return fault_strikes(&open_call) ? -1 : fault_real.open(path, flags, mode);
}

static int fault_duplicate(int fd, int least)
{
    return fault_strikes(&duplicate_call) ? -1 : fault_real.duplicate(fd, least);
}

static int fault_fstat(int fd, struct stat *st)
{
    return fault_strikes(&fstat_call) ? -1 : fault_real.fstat(fd, st);
}

/* But for stderr, where all is said that can't be said elsewhere. */
static ssize_t fault_write(int fd, const void *buf, size_t len)
{
    if (fd == STDERR_FILENO || !fault_strikes(&write_call))
        return fault_real.write(fd, buf, len);
    return fault_plan.error == PARTLY ? fault_real.write(fd, buf, (len + 1) / 2) : -1;
}

static int fault_poll(struct pollfd *fds, unsigned long n, int ms)
{
    return fault_strikes(&poll_call) ? -1 : fault_real.poll(fds, n, ms);
}

/* The descriptor is gone all the same: so it is on Linux. */
static int fault_close(int fd)
{
    int error = fault_strikes(&close_call) ? fault_plan.error : 0;
    int result = fault_real.close(fd);
    errno = error != 0 ? error : errno;
    return error != 0 ? -1 : result;
}

static int fault_rename(const char *from, const char *to)
{
    return fault_strikes(&rename_call) ? -1 : fault_real.rename(from, to);
}

static int fault_unlink(const char *path)
{
    return fault_strikes(&unlink_call) ? -1 : fault_real.unlink(path);
}

static int fault_take_signal(const sigset_t *set)
{
    return fault_strikes(&take_signal_call) ? -1 : fault_real.take_signal(set);
}

static void install(void)
{
    fault_real = ljt_kernel;
    ljt_kernel.open = fault_open;
    ljt_kernel.duplicate = fault_duplicate;
    ljt_kernel.fstat = fault_fstat;
    ljt_kernel.write = fault_write;
    ljt_kernel.poll = fault_poll;
    ljt_kernel.close = fault_close;
    ljt_kernel.rename = fault_rename;
    ljt_kernel.unlink = fault_unlink;
    ljt_kernel.take_signal = fault_take_signal;
}

/* ---- The process that has the fault ---- */

#define ROUNDS 12
#define LARGE 20000 /* bytes of statistics, and of a dump */

static char directory[32], log_path[64], figures[64];

/* What a file holds; NULL where there is none. */
static const char *content(const char *path)
{
    static char buf[1 << 17];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    buf[n > 0 ? n : 0] = '\0';
    return buf;
}

static unsigned entries(const char *path)
{
    unsigned n = 0;
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return n;
}

static unsigned times(const char *text, const char *needle)
{
    unsigned n = 0;
    for (; text != NULL && (text = strstr(text, needle)) != NULL; text += strlen(needle))
        n++;
    return n;
}

/* In the log or on stderr, which stands in for it. */
static unsigned times_said(const char *needle)
{
    return times(content(log_path), needle) + times(lab_said(), needle);
}

static void begin(void)
{
    struct ljt_config config;
    strcpy(directory, "/tmp/ljt-faults-XXXXXX");
    EXPECT(mkdtemp(directory) != NULL, "no directory: %s", strerror(errno));
    snprintf(log_path, sizeof(log_path), "%s/log", directory);
    snprintf(figures, sizeof(figures), "%s/figures", directory);
    lab_init();
    lab_catch_stderr();
    ljt_config_load(NULL, &config, NULL, NULL);
    strcpy(config.log_path, log_path);
    ljt_log_open(&config);
    install();
}

static void end(void)
{
    unlink(log_path);
    unlink(figures);
    EXPECT(rmdir(directory) == 0, "something is left behind: %s", strerror(errno));
}

/* The statistics of a round: a line, and many bytes of a letter that is the round's. */
static const char *figures_of(int round)
{
    static char text[LARGE + 1];
    memset(text, 'a' + round, LARGE);
    memcpy(text, "ljtrim\n", 7);
    return text;
}

/* Writes the statistics of a round. The last that were written whole are those that a reader finds. */
static void write_figures(int round, int *last)
{
    unsigned before = fault_count();
    errno = 77;
    int error = ljt_stats_file_write(figures, figures_of(round), LARGE);
    EXPECT(errno == 77, "errno is %d", errno);
    EXPECT(error != 0 || fault_plan.call != &close_call || fault_count() == before,
           "a failed close is no failure");
    *last = error == 0 ? round : *last;
    const char *found = content(figures);
    EXPECT(*last < 0 ? found == NULL : found != NULL && strcmp(found, figures_of(*last)) == 0,
           "round %d, error %d: statistics that are not those of round %d", round, error, *last);
    EXPECT(error == 0 ||
               times_said("can't write the statistics") + times(lab_said(), "can't write to the log") > 0,
           "%s, and nothing is said", strerror(-error));
}

static void write_line(int round)
{
    errno = 77;
    ljt_log(LJT_LOG_WARN, "round %d.", round);
    EXPECT(errno == 77, "errno is %d", errno);
}

static void check_lines(void)
{
    char line[32];
    unsigned lost = 0, doubled = 0;
    for (int round = 0; round < ROUNDS; round++) {
        snprintf(line, sizeof(line), "ljtrim: round %d.\n", round);
        unsigned n = times_said(line);
        lost += n == 0;
        doubled += n > 1;
    }
    unsigned told = times(lab_said(), "can't write to the log"),
             fallen = times(lab_said(), "can't open the log");
    EXPECT(doubled == 0, "%u lines twice", doubled);
    EXPECT(lost == 0 || told == 1, "%u lines lost, and told %u times: %s", lost, told, lab_said());
    EXPECT(told <= 1 && fallen <= 1, "said more than once: %s", lab_said());
}

/*
 * The log's at most. Where it can't be told from others: none if that was so when it was opened, for then it was closed
 * again; else it and the one that was taken for another.
 */
static unsigned descriptors_of_ours(void)
{
    return fault_plan.call != &fstat_call ? 1 : fault_plan.nth == 1 ? 0 : 2;
}

/* A log and a statistics file, in a process whose standard input is closed, which nothing of ours may become. */
static void live(void)
{
    sigset_t before = {0}, after = {0};
    int last = -1;
    begin();
    close(STDIN_FILENO);
    unsigned descriptors = entries("/proc/self/fd");
    sigprocmask(SIG_SETMASK, NULL, &before);
    for (int round = 0; round < ROUNDS; round++) {
        write_line(round);
        write_figures(round, &last);
        EXPECT(fcntl(STDIN_FILENO, F_GETFD) < 0, "something has the place of standard input");
        if (round == ROUNDS / 2)
            ljt_log_raw(figures_of(round), LARGE);
        EXPECT(entries("/proc/self/fd") <= descriptors + descriptors_of_ours(), "%u descriptors more",
               entries("/proc/self/fd") - descriptors);
    }
    check_lines();
    EXPECT(sigprocmask(SIG_SETMASK, NULL, &after) == 0 && memcmp(&before, &after, sizeof(after)) == 0,
           "other signals are blocked");

    errno = 77;
    ljt_stats_file_remove(figures);
    EXPECT(errno == 77, "errno is %d", errno);
    bool stays = content(figures) != NULL;
    EXPECT(!stays || (fault_plan.call == &unlink_call &&
                      (fault_plan.error == ENOENT || times_said("can't remove the statistics") == 1)),
           "the statistics stay, and nothing is said");
    end();
}

/* A pipe whose reader has gone: each line raises SIGPIPE, which would end this process. */
static void live_with_a_broken_pipe(void)
{
    begin();
    EXPECT(mkfifo(log_path, 0600) == 0, "no pipe: %s", strerror(errno));
    int reader = open(log_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    write_line(0);
    close(reader);
    signal(SIGPIPE, SIG_DFL);
    for (int round = 1; round < ROUNDS; round++)
        write_line(round);
    EXPECT(times(lab_said(), "can't write to the log") == 1 && lab_said_lines() == 1, "%s", lab_said());
    end();
}

/* ---- All of them ---- */

TestSuite(file_faults, .timeout = LAB_TIMEOUT);

Test(file_faults, files_can_not_be_opened)
{
    fault_each(&open_call, ALL_ERRORS, "", live);
}

Test(file_faults, descriptors_can_not_be_moved)
{
    fault_each(&duplicate_call, ALL_ERRORS, "", live);
}

Test(file_faults, descriptors_can_not_be_told_from_others)
{
    fault_each(&fstat_call, ALL_ERRORS, "", live);
}

Test(file_faults, writes_fail_or_end_early)
{
    fault_each(&write_call, ALL_ERRORS, "", live);
}

Test(file_faults, readers_can_not_be_asked_for)
{
    fault_each(&poll_call, ALL_ERRORS, "", live);
}

Test(file_faults, files_are_closed_with_an_error)
{
    fault_each(&close_call, ALL_ERRORS, "", live);
}

Test(file_faults, statistics_can_not_be_renamed)
{
    fault_each(&rename_call, ALL_ERRORS, "", live);
}

Test(file_faults, files_can_not_be_removed)
{
    fault_each(&unlink_call, ALL_ERRORS, "", live);
}

Test(file_faults, signals_can_not_be_taken_back)
{
    fault_each(&take_signal_call, ALL_ERRORS, "", live_with_a_broken_pipe);
}
