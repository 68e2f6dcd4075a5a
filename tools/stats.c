/* ljtrim stats PID: the figures of a preloaded process, as it last gathered them. */
#include "arguments.h"
#include "commands.h"
#include "growth.h"
#include "permission.h"
#include "stats_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct options {
    pid_t pid;
    enum ljt_stats_format format;
    bool growth;
    long watch; /* seconds between two readings; 0: one reading */
};

static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.format = LJT_STATS_TEXT};
    for (int i = 1; i < argc; i++) {
        const char *value, *word = argv[i];
        if (strcmp(word, "--json") == 0) {
            o->format = LJT_STATS_JSON;
        } else if (strcmp(word, "--growth") == 0) {
            o->growth = true;
        } else if (strcmp(word, "--prometheus") == 0) {
            o->format = LJT_STATS_PROMETHEUS;
        } else if ((value = ljt_value_of("--watch", argc, argv, &i)) != NULL) {
            if ((o->watch = ljt_number(value, 1)) < 0)
                return ljt_refuse_value(argv[0], "--watch", "seconds", value);
        } else if (ljt_take_pid(argv[0], word, &o->pid) != 0) {
            return -EINVAL;
        }
    }
    if (o->pid != 0 && o->growth && (o->format != LJT_STATS_TEXT || o->watch != 0)) {
        fprintf(stderr, "ljtrim: stats: --growth is text, told once\n");
        return -EINVAL;
    }
    return ljt_want_pid(argv[0], o->pid);
}

/* The line that the dump does not have: who it is, and how old the figures are. */
static void print_head(const struct ljt_stats_reading *r)
{
    char buf[256], comm[64] = "";
    struct ljt_text t = LJT_TEXT(buf);
    struct timespec now;
    snprintf(buf, sizeof(buf), "/proc/%d/comm", (int)r->pid);
    FILE *f = fopen(buf, "re");
    if (f != NULL) {
        if (fgets(comm, sizeof(comm), f) != NULL)
            comm[strcspn(comm, "\n")] = '\0';
        fclose(f);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age = (int64_t)now.tv_sec - (int64_t)(r->snapshot.total.value[LJT_STATS_time_unix_ms] / 1000);
    ljt_text_init(&t, buf, sizeof(buf));
    ljt_text_printf(&t, "process %d (", (int)r->pid);
    ljt_text_foreign(&t, comm, 32);
    ljt_text_string(&t, ")  RSS ");
    ljt_text_bytes(&t, ljt_status_number(r->pid, "VmRSS:", 10, 0) << 10);
    ljt_text_printf(&t, "  libljtrim %s  gathered %lld s ago%s\n", r->snapshot.version,
                    (long long)(age > 0 ? age : 0),
                    r->torn ? "  approximate: it is stopped while it gathers" : "");
    fputs(buf, stdout);
}

static int print(const struct ljt_stats_reading *r, enum ljt_stats_format format)
{
    enum { ROOM = 1 << 20 };
    char *buf = malloc(ROOM);
    if (buf == NULL)
        return LJT_EXIT_FAILED;
    size_t length = ljt_stats_format_snapshot(&r->snapshot, format, buf, ROOM);
    if (format == LJT_STATS_TEXT)
        print_head(r);
    fwrite(buf, 1, length, stdout);
    free(buf);
    return fflush(stdout) == 0 ? LJT_EXIT_OK : LJT_EXIT_FAILED;
}

static int print_growth(pid_t pid)
{
    static char text[sizeof(((struct ljt_growth_page *)0)->text) + 1];
    static struct ljt_stats_reading r;
    int error = ljt_growth_read(pid, text, sizeof(text));
    if (error == 0)
        return fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? LJT_EXIT_OK : LJT_EXIT_FAILED;
    if (error == -ENODATA || error == -EOPNOTSUPP) {
        fprintf(stderr,
                "ljtrim: process %d has no list of who makes its heaps grow: it must have been started with "
                "LJTRIM_GROWTH=on, and a heap must have grown since\n",
                (int)pid);
        return LJT_EXIT_NO_ARENA;
    }
    char buf[512];
    struct ljt_text t = LJT_TEXT(buf);
    r.pid = pid;
    int status = ljt_stats_explain(&t, &r, error);
    fprintf(stderr, "ljtrim: %s\n", buf);
    return status;
}

int ljt_stats_main(int argc, char **argv)
{
    struct options o;
    if (parse(argc, argv, &o) != 0)
        return LJT_EXIT_USAGE;
    if (o.growth)
        return print_growth(o.pid);
    struct ljt_stats_reading *r = malloc(sizeof(*r));
    if (r == NULL)
        return LJT_EXIT_FAILED;
    int status = LJT_EXIT_OK;
    for (bool first = true;; first = false) {
        int error = ljt_stats_read(r, o.pid);
        if (error != 0 && !first && error == -ESRCH)
            break; /* what was watched has ended */
        if (error != 0) {
            char buf[512];
            struct ljt_text t = LJT_TEXT(buf);
            status = ljt_stats_explain(&t, r, error);
            fprintf(stderr, "ljtrim: %s\n", buf);
            break;
        }
        if (first && r->missing > 0)
            fprintf(
                stderr,
                "ljtrim: libljtrim %s in process %d does not have %u of the figures; they are shown as 0\n",
                r->snapshot.version, (int)o.pid, r->missing);
        if (!first && o.format == LJT_STATS_TEXT)
            fputs(isatty(STDOUT_FILENO) ? "\033[H\033[J" : "\n", stdout);
        else if (first && o.watch > 0 && o.format == LJT_STATS_TEXT && isatty(STDOUT_FILENO))
            fputs("\033[H\033[J", stdout);
        status = print(r, o.format);
        if (status != LJT_EXIT_OK || o.watch == 0)
            break;
        nanosleep(&(struct timespec){.tv_sec = o.watch}, NULL);
    }
    free(r);
    return status;
}
