/*
 * ljtrim report PID: watches a process for a while and writes down what became of its memory, as .html or .svg.
 *
 * Of a process with libljtrim the figures are those that the library keeps; it is never stopped, its heap is read
 * for the map while it runs. In any other the heap is walked as `ljtrim inspect` does. So that this costs the process
 * little, whatever its size, it is stopped again only when stops make up at most 1% of the time; until then it is
 * read while it runs, and that for at most 10% of the time. Samples in between tell RSS alone.
 */
#include "arguments.h"
#include "commands.h"
#include "permission.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SECONDS = 60,
    INTERVAL_MS = 1000,
    MIN_INTERVAL_MS = 100,
    STOP_SHARE = 100, /* of the time a process may be stopped, */
    WALK_SHARE = 10,  /* and of which we may read it: one part in so many */
    MAP_PAUSE_S = 5,  /* at least, between two maps of a process with libljtrim */
    LOOKS = 4         /* stops for a heap that is not at rest, before it is read while it runs */
};

struct options {
    pid_t pid;
    long seconds; /* 0: until it ends, or we are interrupted */
    long interval_ms;
    const char *file;
    struct ljt_inspection_how how;
    char default_file[64];
};

struct watch {
    const struct options *options;
    struct ljt_report *report;
    double began_us, next_walk_us, next_stop_us;
    int pidfd;  /* -1: this kernel has none */
    bool exact; /* nothing asks for a reading without a stop */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* ---- Looking ---- */

static double seconds_since_start(const struct watch *w)
{
    return (ljt_now_us() - w->began_us) * 1e-6;
}

/* A process that has ended and waits to be collected has no memory. */
static uint64_t rss_of(pid_t pid)
{
    return (uint64_t)ljt_status_number(pid, "VmRSS:", 10, 0) << 10;
}

static int inspect(struct watch *w, struct ljt_inspection *n, bool may_stop)
{
    struct ljt_inspection_how how = w->options->how;
    how.no_stop |= !may_stop;
    how.max_looks = LOOKS;
    int error = ljt_inspection_take(n, w->options->pid, &how);
    struct ljt_report *r = w->report;
    r->stops += n->remote.stops;
    r->all_stops_us += n->remote.all_stops_us;
    if (n->remote.longest_stop_us > r->longest_stop_us)
        r->longest_stop_us = n->remote.longest_stop_us;
    if (error != 0 || !n->restless || how.no_stop)
        return error;
    /* Never at rest: better roughly than not at all. */
    ljt_inspection_free(n);
    how.no_stop = true;
    return ljt_inspection_take(n, w->options->pid, &how);
}

/* Walks the heap; what was there before stays if the process ends meanwhile. */
static int walk(struct watch *w, bool must)
{
    struct ljt_report *r = w->report;
    struct ljt_inspection n;
    double from = ljt_now_us(), stopped = r->all_stops_us;
    int error = inspect(w, &n, w->exact && (must || from >= w->next_stop_us));
    bool ended = rss_of(w->options->pid) == 0;
    if (error == 0 && !ended && (n.count != 0 || r->walks == 0)) {
        ljt_inspection_free(&r->last);
        r->last = n;
        r->last_at = seconds_since_start(w);
        r->walks++;
        r->rough_walks += n.total.approximate;
        /* A library of another version is there all the same: what it claims is no reason to stop it. */
        w->exact &= !n.holders.has_libljtrim;
    } else {
        ljt_inspection_free(&n);
        error = ended ? -ESRCH : error;
    }
    double now = ljt_now_us(), pause = (now - from) * (WALK_SHARE - 1);
    if (r->preloaded && pause < MAP_PAUSE_S * 1e6)
        pause = MAP_PAUSE_S * 1e6;
    if (r->all_stops_us > stopped)
        w->next_stop_us = now + (r->all_stops_us - stopped) * (STOP_SHARE - 1);
    w->next_walk_us = now + pause;
    return error;
}

/* Figures of the library's own, if there are any. */
static void read_stats(struct watch *w, struct ljt_sample *s)
{
    static struct ljt_stats_reading fresh;
    if (ljt_stats_read(&fresh, w->options->pid) != 0)
        return;
    const uint64_t *v = fresh.snapshot.total.value;
    w->report->stats = fresh;
    s->told = true;
    s->mapped = v[LJT_STATS_mapped];
    s->resident = v[LJT_STATS_resident];
    s->floor = v[LJT_STATS_floor];
    s->live = v[LJT_STATS_live];
}

/* Takes a sample, with a walk if one is due or wanted. 0, or -errno: -ESRCH once it has ended. */
static int sample(struct watch *w, bool must_walk)
{
    struct ljt_report *r = w->report;
    int error = 0;
    bool walked = must_walk || ljt_now_us() >= w->next_walk_us;
    if (walked)
        error = walk(w, must_walk);
    if (r->curve.count == 0) { /* the time begins with the first sample, however long the first walk took */
        w->began_us = ljt_now_us();
        r->last_at = 0;
    }
    struct ljt_sample s = {.at = seconds_since_start(w), .rss = rss_of(w->options->pid)};
    if (s.rss == 0)
        return -ESRCH;
    if (r->preloaded) {
        read_stats(w, &s);
    } else if (walked && error == 0 && r->last.count != 0 && !r->last.restless) {
        const struct ljt_arena_figures *f = &r->last.total;
        s.told = true;
        s.mapped = f->mapped;
        s.resident = f->resident;
        s.floor = f->floor;
        s.live = f->live;
    }
    if (error == 0)
        ljt_curve_add(&r->curve, &s);
    r->seconds = s.at;
    return error;
}

/* ---- Watching ---- */

/* Sleeps until then, a signal, or the process's end: true if it has ended. */
static bool sleep_until(const struct watch *w, double us)
{
    while (!interrupted) {
        double left = us - ljt_now_us();
        if (left <= 0)
            return false;
        struct pollfd fd = {.fd = w->pidfd, .events = POLLIN};
        struct timespec pause = {.tv_sec = (time_t)(left * 1e-6)};
        pause.tv_nsec = (long)((left - (double)pause.tv_sec * 1e6) * 1e3);
        /* A signal between our look at `interrupted` and here is seen a second later at most. */
        if (pause.tv_sec >= 1)
            pause = (struct timespec){.tv_sec = 1};
        if (ppoll(&fd, w->pidfd >= 0, &pause, NULL) > 0)
            return true;
    }
    return false;
}

/* 0, or -errno if there is nothing to write down. */
static int watch(struct watch *w)
{
    struct ljt_report *r = w->report;
    const struct options *o = w->options;
    int error = ljt_stats_read(&r->stats, o->pid);
    r->preloaded = error == 0 || error == -ENODATA;
    w->exact = !r->preloaded && error != -EPROTO;
    w->began_us = ljt_now_us();
    clock_gettime(CLOCK_REALTIME, &r->started);
    error = sample(w, true);
    if (error != 0 || r->last.count == 0)
        return error;
    bool ended = false;
    for (unsigned long i = 1; !ended && !interrupted; i++) {
        double next = w->began_us + (double)i * (double)o->interval_ms * 1e3, now = ljt_now_us();
        if (next < now) { /* a walk took longer than the interval */
            i = (unsigned long)((now - w->began_us) / ((double)o->interval_ms * 1e3));
            continue;
        }
        double end = w->began_us + (double)o->seconds * 1e6;
        if (o->seconds != 0 && next > end + 1e3) {
            ended = sleep_until(w, end);
            break;
        }
        ended = sleep_until(w, next);
        if (!ended && !interrupted)
            ended = sample(w, false) == -ESRCH;
    }
    /* The map and the verdict are of the end. */
    if (!ended && seconds_since_start(w) - r->last_at > 0.5)
        ended = sample(w, true) == -ESRCH;
    r->end = ended ? LJT_REPORT_TARGET_ENDED : interrupted ? LJT_REPORT_INTERRUPTED : LJT_REPORT_COMPLETE;
    if (ended)
        r->seconds = seconds_since_start(w);
    return 0;
}

/* ---- The file ---- */

/* 0, or -errno: -EEXIST for what is not an ordinary file. */
static int may_write(const char *path)
{
    char directory[4096];
    struct stat st;
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): ljt_refuse_value never returns 0, so there is a path */
    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return -EEXIST;
    if ((size_t)snprintf(directory, sizeof(directory), "%s", path) >= sizeof(directory) - 32)
        return -ENAMETOOLONG;
    char *slash = strrchr(directory, '/');
    if (slash == NULL)
        strcpy(directory, ".");
    else
        slash[slash == directory] = '\0';
    return access(directory, W_OK | X_OK) == 0 ? 0 : -errno;
}

/* Who reads the path finds the report of before or this one, never a part. */
static int write_file(const struct ljt_report *r, const char *path)
{
    char temporary[4096];
    snprintf(temporary, sizeof(temporary), "%s.%d.new", path, (int)getpid());
    int error = may_write(path), fd = -1;
    if (error == 0 && (fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0)
        error = -errno;
    if (error != 0)
        return error;
    FILE *f = fdopen(fd, "w");
    if (f == NULL) {
        error = -errno;
        close(fd);
    } else {
        error = ljt_has_suffix(path, ".svg") ? ljt_report_write_svg(f, r) : ljt_report_write_html(f, r);
        if (fflush(f) != 0 && error == 0)
            error = -errno;
        if (ferror(f) && error == 0)
            error = -EIO;
        if (fclose(f) != 0 && error == 0)
            error = -errno;
    }
    if (error == 0 && rename(temporary, path) != 0)
        error = -errno;
    if (error != 0)
        (void)unlink(temporary);
    return error;
}

static int fail_to_write(const char *path, int error)
{
    fprintf(stderr, "ljtrim: could not write %s (%s)\n", path,
            error == -EEXIST ? "it is not an ordinary file" : strerror(-error));
    return LJT_EXIT_FAILED;
}

/* ---- The command ---- */

/* "2", "0.5": as milliseconds, or -1. */
static long milliseconds(const char *s)
{
    char *end;
    errno = 0;
    double seconds = strtod(s, &end);
    if (errno != 0 || end == s || *end != '\0' || !(seconds * 1000 >= MIN_INTERVAL_MS) || seconds > 86400)
        return -1;
    return (long)(seconds * 1000 + 0.5);
}

static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.seconds = SECONDS, .interval_ms = INTERVAL_MS};
    o->how.max_stop_ms = LJT_MAX_STOP_MS;
    for (int i = 1; i < argc; i++) {
        const char *value, *word = argv[i];
        if (strcmp(word, "--no-stop") == 0) {
            o->how.no_stop = true;
        } else if ((value = ljt_value_of("--max-stop", argc, argv, &i)) != NULL) {
            if ((o->how.max_stop_ms = ljt_number(value, 1)) < 0)
                return ljt_refuse_value(argv[0], "--max-stop", "milliseconds", value);
        } else if ((value = ljt_value_of("--seconds", argc, argv, &i)) != NULL) {
            if ((o->seconds = ljt_number(value, 0)) < 0)
                return ljt_refuse_value(argv[0], "--seconds", "seconds, or 0 for no limit", value);
        } else if ((value = ljt_value_of("--interval", argc, argv, &i)) != NULL) {
            if ((o->interval_ms = milliseconds(value)) < 0)
                return ljt_refuse_value(argv[0], "--interval", "seconds, 0.1 to 86400", value);
        } else if ((value = ljt_value_of("-o", argc, argv, &i)) != NULL) {
            if (!ljt_has_suffix(value, ".html") && !ljt_has_suffix(value, ".svg"))
                return ljt_refuse_value(argv[0], "-o", "a file that ends in .html or .svg", value);
            o->file = value;
        } else if (ljt_take_pid(argv[0], word, &o->pid) != 0) {
            return -EINVAL;
        }
    }
    if (ljt_want_pid(argv[0], o->pid) != 0)
        return -EINVAL;
    if (o->file == NULL) {
        snprintf(o->default_file, sizeof(o->default_file), "ljtrim-report-%d.html", (int)o->pid);
        o->file = o->default_file;
    }
    return 0;
}

static int fail(const struct ljt_report *r, pid_t pid, int error)
{
    char buf[512];
    struct ljt_text t = LJT_TEXT(buf);
    int status;
    if (error != 0) {
        status = ljt_inspection_explain(&t, pid, error);
    } else if (r->last.restless) {
        ljt_text_printf(&t, "the LuaJIT heap of process %d never added up; try again", (int)pid);
        status = LJT_EXIT_UNREADABLE;
    } else {
        ljt_text_printf(&t, "process %d (", (int)pid);
        ljt_text_foreign(&t, r->last.remote.comm, 32);
        ljt_text_printf(&t, ") has no LuaJIT arena; 'ljtrim inspect %d' says who holds its memory", (int)pid);
        status = LJT_EXIT_NO_ARENA;
    }
    fprintf(stderr, "ljtrim: %s\n", buf);
    return status;
}

static int finish(const struct ljt_report *r, const struct options *o)
{
    char verdict[512];
    struct ljt_text t = LJT_TEXT(verdict);
    int error = write_file(r, o->file);
    if (error != 0)
        return fail_to_write(o->file, error);
    if (r->end == LJT_REPORT_TARGET_ENDED)
        printf("Process %d ended after %.1f s: the report tells of it until then.\n", (int)o->pid,
               r->seconds);
    else if (r->end == LJT_REPORT_INTERRUPTED)
        printf("Interrupted after %.1f s: the report tells of that time.\n", r->seconds);
    ljt_inspection_verdict(&r->last, &t);
    printf("%s\n%s\n", verdict, o->file);
    return fflush(stdout) == 0 ? LJT_EXIT_OK : LJT_EXIT_FAILED;
}

static void remember_command(struct ljt_report *r, int argc, char **argv)
{
    struct ljt_text t = LJT_TEXT(r->command);
    ljt_text_string(&t, "ljtrim");
    for (int i = 0; i < argc; i++) {
        ljt_text_string(&t, " ");
        ljt_text_string(&t, argv[i]);
    }
}

int ljt_report_main(int argc, char **argv)
{
    static struct ljt_report report; /* 150 KiB: not for the stack */
    struct options o;
    if (parse(argc, argv, &o) != 0)
        return LJT_EXIT_USAGE;
    int error = may_write(o.file);
    if (error != 0)
        return fail_to_write(o.file, error);
    report.pid = o.pid;
    remember_command(&report, argc, argv);
    report.last.remote.pagemap = -1;

    /* A second signal ends us as ever. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup */
        sigaction(SIGHUP, &action, NULL);
    struct watch w = {.options = &o, .report = &report};
    w.pidfd = (int)syscall(SYS_pidfd_open, o.pid, 0);
    if (isatty(STDERR_FILENO) && o.seconds != 1)
        fprintf(stderr, "ljtrim: watching process %d; an interrupt ends it early\n", (int)o.pid);
    error = watch(&w);
    int status = error != 0 || report.last.count == 0 ? fail(&report, o.pid, error) : finish(&report, &o);
    ljt_inspection_free(&report.last);
    if (w.pidfd >= 0)
        close(w.pidfd);
    return status;
}
