/*
 * Each test runs in a process of its own, so it may put a file or a pipe in the place of stderr.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "log.h"

static char dir[] = "/tmp/ljt-log-XXXXXX";
static int saved_stderr = -1;
static char captured[65536];

static void set_up(void)
{
    cr_assert(mkdtemp(dir) != NULL);
    saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
}

static void tear_down(void)
{
    char command[64];

    dup2(saved_stderr, STDERR_FILENO);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    cr_expect(system(command) == 0);
}

TestSuite(log, .init = set_up, .fini = tear_down, .timeout = 600);

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *p = path[next++ % 4];

    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

/* What a file holds, in `captured`; empty where there is none. */
static const char *content(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, captured, sizeof(captured) - 1) : 0;

    captured[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
    return captured;
}

/* From here on, what goes to stderr goes to a file. */
static void catch_stderr(void)
{
    int fd = open(in_dir("stderr"), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

    cr_assert(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    close(fd);
}

static const char *caught(void)
{
    return content(in_dir("stderr"));
}

/* A pipe that does not block in the place of stderr; its reading end. */
static int pipe_stderr(void)
{
    int ends[2];

    cr_assert(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    cr_assert(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    close(ends[1]);
    return ends[0];
}

static void log_to(const char *path, enum ljt_log_level level)
{
    struct ljt_config config;

    ljt_config_load(NULL, &config, NULL, NULL);
    if (path != NULL)
        snprintf(config.log_path, sizeof(config.log_path), "%s", path);
    config.log_level = level;
    ljt_log_open(&config);
}

/* ---- Lines ---- */

Test(log, prefixes_a_line_and_ends_it)
{
    catch_stderr();
    log_to(NULL, LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "arena %d left alone (%s)", 3, "no proof");
    cr_expect_str_eq(caught(), "ljtrim: arena 3 left alone (no proof)\n");
}

Test(log, writes_warnings_to_stderr_before_it_is_opened)
{
    catch_stderr();
    ljt_log(LJT_LOG_INFO, "not this");
    ljt_log(LJT_LOG_WARN, "this");
    cr_expect_str_eq(caught(), "ljtrim: this\n");
}

Test(log, drops_lines_below_its_level)
{
    catch_stderr();
    log_to(NULL, LJT_LOG_INFO);
    ljt_log(LJT_LOG_ERROR, "1");
    ljt_log(LJT_LOG_INFO, "2");
    ljt_log(LJT_LOG_DEBUG, "3");
    cr_expect_str_eq(caught(), "ljtrim: 1\nljtrim: 2\n");
    cr_expect(ljt_log_enabled(LJT_LOG_INFO) && !ljt_log_enabled(LJT_LOG_DEBUG));
}

Test(log, writes_each_line_in_one_write)
{
    int ends[2];
    char buf[256];

    /* Of a datagram socket, each write is read by itself. */
    cr_assert(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0);
    cr_assert(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    ljt_log(LJT_LOG_WARN, "one %s", "two");
    ljt_log_signal("ljtrim: from a handler\n");
    ssize_t n = read(ends[0], buf, sizeof(buf));
    cr_expect(n == 16 && memcmp(buf, "ljtrim: one two\n", 16) == 0);
    n = read(ends[0], buf, sizeof(buf));
    cr_expect(n == 23 && memcmp(buf, "ljtrim: from a handler\n", 23) == 0);
}

Test(log, cuts_a_long_line_and_shows_it)
{
    static char words[5000];

    catch_stderr();
    memset(words, 'x', sizeof(words) - 1);
    ljt_log(LJT_LOG_WARN, "%s", words);
    cr_expect(strlen(caught()) == LJT_LOG_LINE_MAX);
    cr_expect_str_eq(captured + LJT_LOG_LINE_MAX - 6, "xx...\n");
    /* The longest line that is not cut: 1015 characters of text. */
    words[LJT_LOG_LINE_MAX - 9] = 0;
    catch_stderr();
    ljt_log(LJT_LOG_WARN, "%s", words);
    cr_expect(strlen(caught()) == LJT_LOG_LINE_MAX && strchr(captured, '.') == NULL);
}

Test(log, keeps_a_line_one_line)
{
    catch_stderr();
    ljt_log(LJT_LOG_WARN, "%s", "a\nljtrim: b\033[2J\x7f caf\xc3\xa9");
    cr_expect_str_eq(caught(), "ljtrim: a?ljtrim: b?[2J? caf\xc3\xa9\n");
}

Test(log, says_once_what_is_to_be_said_once)
{
    static struct ljt_once first, second;

    catch_stderr();
    for (int i = 0; i < 3; i++) {
        ljt_log_once(&first, LJT_LOG_WARN, "first, round %d", i);
        ljt_log_once(&second, LJT_LOG_INFO, "not at this level");
    }
    log_to(NULL, LJT_LOG_INFO);
    ljt_log_once(&second, LJT_LOG_INFO, "second");
    cr_expect_str_eq(caught(), "ljtrim: first, round 0\nljtrim: second\n");
}

static void *say_once(void *once)
{
    ljt_log_once(once, LJT_LOG_WARN, "once");
    ljt_log(LJT_LOG_WARN, "each");
    return NULL;
}

Test(log, threads_share_a_file_and_a_once)
{
    static struct ljt_once once;
    pthread_t threads[8];
    unsigned lines = 0;

    log_to(in_dir("log"), LJT_LOG_WARN);
    for (int i = 0; i < 8; i++)
        cr_assert(pthread_create(&threads[i], NULL, say_once, &once) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    content(in_dir("log"));
    cr_expect(strstr(captured, "ljtrim: once\n") != NULL);
    for (char *p = captured; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    cr_expect(lines == 9, "%u lines: %s", lines, captured);
}

Test(log, preserves_errno)
{
    log_to("/nowhere/at/all", LJT_LOG_WARN);
    catch_stderr();
    errno = ERANGE;
    ljt_log(LJT_LOG_WARN, "x");
    ljt_log_raw("x\n", 2);
    ljt_log_signal("x\n");
    close(STDERR_FILENO);
    ljt_log(LJT_LOG_WARN, "x");
    log_to(NULL, LJT_LOG_WARN);
    cr_expect(errno == ERANGE);
}

/* ---- The host's signals and pipes ---- */

Test(log, closed_pipe_does_not_kill_the_host)
{
    sigset_t pending;

    close(pipe_stderr());
    signal(SIGPIPE, SIG_DFL);
    ljt_log(LJT_LOG_WARN, "nobody reads this");
    ljt_log_raw("nor this", 8);
    ljt_log_signal("nor this");
    cr_expect(sigpending(&pending) == 0 && !sigismember(&pending, SIGPIPE));
    cr_expect(sigprocmask(SIG_SETMASK, NULL, &pending) == 0 && !sigismember(&pending, SIGPIPE));
}

Test(log, leaves_a_pending_sigpipe_of_the_host_alone)
{
    sigset_t set;

    close(pipe_stderr());
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGPIPE);
    ljt_log(LJT_LOG_WARN, "nobody reads this");
    cr_expect(sigpending(&set) == 0 && sigismember(&set, SIGPIPE));
    cr_expect(sigprocmask(SIG_SETMASK, NULL, &set) == 0 && sigismember(&set, SIGPIPE), "still blocked");
}

/* Whether writes to it block or not: a line may be written while a VM is held up. */
static void full_pipe(int flags)
{
    struct timespec before, after;
    int reader = pipe_stderr();

    while (write(STDERR_FILENO, captured, 4096) > 0)
        ;
    fcntl(STDERR_FILENO, F_SETFL, flags);
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < 100; i++)
        ljt_log(LJT_LOG_WARN, "no room");
    clock_gettime(CLOCK_MONOTONIC, &after);
    cr_expect(after.tv_sec - before.tv_sec < 60); /* at a second each, as for a dump, it would be more */
    close(reader);
}

Test(log, full_pipe_drops_lines_and_does_not_wait)
{
    full_pipe(O_NONBLOCK);
}
Test(log, full_pipe_that_blocks_drops_lines_and_does_not_wait)
{
    full_pipe(0);
}

Test(log, dump_gives_up_on_a_reader_that_sleeps)
{
    int reader = pipe_stderr();
    static char dump[1 << 20];

    memset(dump, 'd', sizeof(dump));
    ljt_log_raw(dump, sizeof(dump));
    cr_expect(read(reader, dump, 16) == 16 && dump[0] == 'd');
    close(reader);
}

static void *read_all(void *arg)
{
    int fd = *(int *)arg;
    size_t sum = 0;
    char buf[4096];

    fcntl(fd, F_SETFL, 0);
    for (ssize_t n; (n = read(fd, buf, sizeof(buf))) > 0;)
        sum += (size_t)n;
    return (void *)sum;
}

/* How much of a dump arrives, of as many bytes as a pipe holds at four times. */
static size_t dump_and_read(void)
{
    static char dump[256 << 10];
    int reader = pipe_stderr();
    pthread_t thread;
    void *sum;

    memset(dump, 'd', sizeof(dump));
    cr_assert(pthread_create(&thread, NULL, read_all, &reader) == 0);
    ljt_log_raw(dump, sizeof(dump));
    ljt_log_raw(dump, 0);
    close(STDERR_FILENO);
    pthread_join(thread, &sum);
    close(reader);
    return (size_t)sum;
}

/* A reader that has no processor for a second is given up: that is no mistake, but for it to be so each time. */
Test(log, dump_goes_on_after_short_writes)
{
    size_t sum = 0;

    for (int tries = 0; tries < 20 && sum != 256 << 10; tries++)
        sum = dump_and_read();
    cr_expect(sum == 256 << 10, "%zu bytes", sum);
}

static void *log_while_cancelled(void *arg)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    ljt_log(LJT_LOG_WARN, "still here");
    ljt_log_raw("ljtrim: and here\n", 17);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return arg;
}

/* A host's thread that was cancelled inside our mmap would leave the arena busy for ever. */
Test(log, is_no_cancellation_point)
{
    pthread_t thread;
    void *result;
    int marker;

    log_to(in_dir("log"), LJT_LOG_WARN);
    cr_assert(pthread_create(&thread, NULL, log_while_cancelled, &marker) == 0);
    pthread_join(thread, &result);
    cr_expect(result == &marker);
    cr_expect_str_eq(content(in_dir("log")), "ljtrim: still here\nljtrim: and here\n");
}

/* ---- The file ---- */

Test(log, appends_to_a_file_that_only_the_owner_may_read)
{
    struct stat st;

    umask(0);
    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "1");
    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "2");
    cr_expect_str_eq(content(in_dir("log")), "ljtrim: 1\nljtrim: 2\n");
    cr_expect(stat(in_dir("log"), &st) == 0 && (st.st_mode & 0777) == 0600);
}

Test(log, creates_no_file_while_there_is_nothing_to_say)
{
    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_INFO, "too quiet");
    cr_expect(access(in_dir("log"), F_OK) != 0);
}

Test(log, puts_the_pid_into_the_path)
{
    char name[64];

    log_to(in_dir("%p-%p.log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "x");
    snprintf(name, sizeof(name), "%d-%d.log", getpid(), getpid());
    cr_expect_str_eq(content(in_dir(name)), "ljtrim: x\n");
}

/* Log one line in a child; its pid. */
static pid_t log_in_child(const char *line)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        ljt_log(LJT_LOG_WARN, "%s", line);
        _exit(0);
    }
    cr_assert(waitpid(child, &status, 0) == child && status == 0);
    return child;
}

Test(log, child_writes_to_its_own_file_where_the_path_has_the_pid)
{
    char parent[64], child[64];

    log_to(in_dir("%p.log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "parent");
    snprintf(parent, sizeof(parent), "%d.log", getpid());
    snprintf(child, sizeof(child), "%d.log", log_in_child("child"));
    ljt_log(LJT_LOG_WARN, "parent again");
    cr_expect_str_eq(content(in_dir(parent)), "ljtrim: parent\nljtrim: parent again\n");
    cr_expect_str_eq(content(in_dir(child)), "ljtrim: child\n");
}

/* nginx's master opens the file as root; a worker that gave up its rights could not. */
Test(log, child_goes_on_with_the_inherited_file_where_it_has_not)
{
    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "parent");
    cr_assert(rename(in_dir("log"), in_dir("moved")) == 0);
    log_in_child("child");
    cr_expect_str_eq(content(in_dir("moved")), "ljtrim: parent\nljtrim: child\n");
    cr_expect(access(in_dir("log"), F_OK) != 0);
}

/* The descriptor of the only file below `dir` that this process has open, or -1. */
static int find_log_fd(void)
{
    char link[64], target[256];

    for (int fd = 3; fd < 256; fd++) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = 0;
        if (fd != saved_stderr && strncmp(target, dir, strlen(dir)) == 0)
            return fd;
    }
    return -1;
}

Test(log, leaves_a_descriptor_alone_that_the_host_closed_and_reused)
{
    int fd, other;

    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "1");
    fd = find_log_fd();
    cr_assert(fd > STDERR_FILENO);
    cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    other = open(in_dir("customer"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert(other >= 0 && dup2(other, fd) == fd);
    ljt_log(LJT_LOG_WARN, "2");
    cr_expect_str_eq(content(in_dir("log")), "ljtrim: 1\nljtrim: 2\n");
    cr_expect_str_empty(content(in_dir("customer")));
    cr_expect(fcntl(fd, F_GETFD) >= 0, "closed the host's descriptor");
    log_to(NULL, LJT_LOG_WARN);
    cr_expect(fcntl(fd, F_GETFD) >= 0, "closed the host's descriptor");
}

Test(log, opens_the_file_again_when_the_host_closed_it)
{
    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "1");
    close(find_log_fd());
    ljt_log(LJT_LOG_WARN, "2");
    cr_expect_str_eq(content(in_dir("log")), "ljtrim: 1\nljtrim: 2\n");
}

Test(log, never_takes_the_place_of_a_closed_standard_stream)
{
    close(STDIN_FILENO);
    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "1");
    cr_expect(fcntl(STDIN_FILENO, F_GETFD) < 0);
    cr_expect(find_log_fd() > STDERR_FILENO);
    cr_expect_str_eq(content(in_dir("log")), "ljtrim: 1\n");
}

Test(log, falls_back_to_stderr_and_says_so_once)
{
    char expected[512];

    catch_stderr();
    log_to(in_dir("no/such/log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "1");
    ljt_log(LJT_LOG_WARN, "2");
    snprintf(expected, sizeof(expected),
             "ljtrim: can't open the log %s (no such directory); logging to stderr\nljtrim: 1\nljtrim: 2\n",
             in_dir("no/such/log"));
    cr_expect_str_eq(caught(), expected);
}

Test(log, says_once_that_lines_are_missing)
{
    catch_stderr();
    log_to("/dev/full", LJT_LOG_WARN);
    for (int i = 0; i < 3; i++)
        ljt_log(LJT_LOG_WARN, "%d", i);
    ljt_log_raw("ljtrim: dump\n", 13);
    cr_expect_str_eq(caught(),
                     "ljtrim: can't write to the log /dev/full (no space left); lines are missing in it\n");
}

Test(log, limit_on_file_sizes_does_not_kill_the_host)
{
    struct rlimit old, limit;
    sigset_t pending, mask;

    catch_stderr();
    cr_assert(getrlimit(RLIMIT_FSIZE, &old) == 0);
    limit = (struct rlimit){.rlim_cur = 300, .rlim_max = old.rlim_max};
    log_to(in_dir("log"), LJT_LOG_WARN);
    signal(SIGXFSZ, SIG_DFL);
    cr_assert(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    for (int i = 0; i < 20; i++)
        ljt_log(LJT_LOG_WARN, "one of twenty lines");
    cr_expect(sigpending(&pending) == 0 && !sigismember(&pending, SIGXFSZ));
    cr_expect(sigprocmask(SIG_SETMASK, NULL, &mask) == 0 && !sigismember(&mask, SIGXFSZ));
    setrlimit(RLIMIT_FSIZE, &old);
    cr_expect(strlen(content(in_dir("log"))) == 300);
    cr_expect(strstr(caught(), "(beyond the limit on file sizes); lines are missing in it") != NULL, "%s",
              captured);
}

static void expect_fallback(const char *name, const char *reason)
{
    catch_stderr();
    log_to(in_dir(name), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "x");
    cr_expect(strstr(caught(), reason) != NULL && strstr(captured, "ljtrim: x\n") != NULL, "%s", captured);
}

Test(log, follows_no_symbolic_link)
{
    cr_assert(symlink(in_dir("target"), in_dir("link")) == 0);
    expect_fallback("link", "(it is a symbolic link)");
    cr_expect(access(in_dir("target"), F_OK) != 0);
}

Test(log, does_not_wait_for_the_reader_of_a_fifo)
{
    cr_assert(mkfifo(in_dir("fifo"), 0600) == 0);
    expect_fallback("fifo", "(nobody reads the pipe)");
}

Test(log, refuses_a_file_that_has_another_name)
{
    close(open(in_dir("theirs"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    cr_assert(link(in_dir("theirs"), in_dir("link")) == 0);
    expect_fallback("link", "(it has other names: hard links)");
    cr_expect_str_eq(content(in_dir("theirs")), "");
}

Test(log, refuses_what_belongs_to_somebody_else)
{
    if (geteuid() != 0)
        cr_skip_test("only root can give files away");
    close(open(in_dir("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
    cr_assert(mkfifo(in_dir("fifo"), 0666) == 0);
    int reader = open(in_dir("fifo"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    cr_assert(reader >= 0 && chown(in_dir("file"), 65534, 65534) == 0 &&
              chown(in_dir("fifo"), 65534, 65534) == 0);
    expect_fallback("file", "(it belongs to another user)");
    expect_fallback("fifo", "(it belongs to another user)");
    char byte;
    cr_expect_str_eq(content(in_dir("file")), "");
    cr_expect(read(reader, &byte, 1) <= 0);
    close(reader);
}

Test(log, goes_on_in_a_file_of_its_own_and_in_a_device)
{
    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "1");
    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "2");
    cr_expect_str_eq(content(in_dir("log")), "ljtrim: 1\nljtrim: 2\n");
    catch_stderr();
    log_to("/dev/null", LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "3");
    cr_expect_str_eq(caught(), "");
}

Test(log, new_file_is_for_its_owner_alone)
{
    struct stat st;
    mode_t mask = umask(0);
    log_to(in_dir("log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "1");
    umask(mask);
    cr_expect(stat(in_dir("log"), &st) == 0 && (st.st_mode & 07777) == 0600);
}

Test(log, falls_back_where_the_path_is_a_directory)
{
    expect_fallback(".", "(it is a directory)");
}

Test(log, falls_back_where_descriptors_have_run_out)
{
    struct rlimit old, limit;

    catch_stderr();
    cr_assert(getrlimit(RLIMIT_NOFILE, &old) == 0);
    limit = (struct rlimit){.rlim_cur = 3, .rlim_max = old.rlim_max};
    log_to(in_dir("log"), LJT_LOG_WARN);
    cr_assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    ljt_log(LJT_LOG_WARN, "x");
    setrlimit(RLIMIT_NOFILE, &old);
    cr_expect(strstr(caught(), "(too many open files)") != NULL, "%s", captured);
}

Test(log, falls_back_where_the_pid_makes_the_path_too_long)
{
    char path[LJT_CONFIG_PATH_SIZE];
    static const char end[] = "%p%p%p%p%p%p%p%p%p%p";

    catch_stderr();
    memset(path, '/', sizeof(path));
    memcpy(path + sizeof(path) - sizeof(end), end, sizeof(end));
    log_to(path, LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "x");
    if (getpid() > 99)
        cr_expect(strstr(caught(), "(the path is too long)") != NULL, "%s", captured);
    cr_expect(strstr(caught(), "ljtrim: x\n") != NULL);
}

Test(log, child_tries_again_to_open_what_its_parent_could_not)
{
    catch_stderr();
    log_to(in_dir("late/log"), LJT_LOG_WARN);
    ljt_log(LJT_LOG_WARN, "parent");
    cr_assert(mkdir(in_dir("late"), 0700) == 0);
    log_in_child("child");
    ljt_log(LJT_LOG_WARN, "parent again");
    cr_expect_str_eq(content(in_dir("late/log")), "ljtrim: child\n");
    cr_expect(strstr(caught(), "ljtrim: parent again\n") != NULL);
}

/* ---- Handlers ---- */

static void handler(int signo)
{
    (void)signo;
    ljt_log_signal("ljtrim: handler\n");
}

/* Whichever comes first opens the file; nothing gets lost, nothing deadlocks, one descriptor is left. */
Test(log, handler_may_interrupt_anything)
{
    struct sigaction action = {.sa_handler = handler};
    pid_t parent = getpid(), child;
    unsigned lines = 0;

    sigaction(SIGUSR2, &action, NULL);
    log_to(in_dir("log"), LJT_LOG_WARN);
    child = fork();
    if (child == 0) {
        for (int i = 0; i < 200; i++)
            kill(parent, SIGUSR2);
        _exit(0);
    }
    for (int i = 0; i < 300; i++)
        ljt_log(LJT_LOG_WARN, "main");
    while (waitpid(child, NULL, 0) < 0)
        ;
    content(in_dir("log"));
    for (char *p = captured; (p = strstr(p, "ljtrim: main\n")) != NULL; p++)
        lines++;
    cr_expect(lines == 300, "%u lines", lines);
    close(find_log_fd());
    cr_expect(find_log_fd() == -1, "a descriptor was left behind");
}

/* ---- Complaints about the configuration ---- */

Test(log, keeps_complaints_until_they_are_asked_for)
{
    struct ljt_config config;

    catch_stderr();
    ljt_config_load((char *const[]){"LJTRIM_MODE=x", "LJTRIM_FOO=1", NULL}, &config, ljt_log_defer, NULL);
    cr_expect_str_empty(caught());
    ljt_log_deferred();
    ljt_log_deferred();
    cr_expect_str_eq(
        caught(), "ljtrim: LJTRIM_MODE=x is not allowed (auto, native, patched, observe or off); using auto\n"
                  "ljtrim: LJTRIM_FOO is not a variable of this version; ignoring it\n");
}

Test(log, has_nothing_to_say_where_nobody_complained)
{
    catch_stderr();
    ljt_log_deferred();
    cr_expect_str_empty(caught());
}

Test(log, drops_complaints_that_do_not_fit)
{
    char line[LJT_CONFIG_LINE_MAX + 1];
    unsigned lines = 0;

    catch_stderr();
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = 0;
    for (int i = 0; i < 100; i++)
        ljt_log_defer(line, NULL);
    ljt_log_deferred();
    caught();
    for (char *p = captured; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    cr_expect(lines == 4096 / sizeof(line), "%u lines", lines);
}

Test(log, complaint_goes_to_the_log_that_the_configuration_names)
{
    struct ljt_config config;
    char variable[300];

    catch_stderr();
    snprintf(variable, sizeof(variable), "LJTRIM_LOG=%s", in_dir("log"));
    ljt_config_load((char *const[]){"LJTRIM_ENABLE=2", variable, NULL}, &config, ljt_log_complaint, &config);
    cr_expect_str_empty(caught());
    cr_expect_str_eq(content(in_dir("log")), "ljtrim: LJTRIM_ENABLE=2 is not allowed (0 or 1); using 1\n");
}
