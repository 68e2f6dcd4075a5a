/* ljtrim top: every preloaded process that may be read, in a table that is drawn anew every few seconds. */
#include "arguments.h"
#include "commands.h"
#include "permission.h"
#include "stats_reader.h"
#include "version.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { INTERVAL = 2, WIDTH = 79 };

struct process {
    pid_t pid;
    unsigned long long started; /* so that a number used again is another process */
    char comm[32];
    uint64_t rss, mapped, resident, floor, purged, cpu_ns, arenas;
    uint64_t read_at; /* CLOCK_MONOTONIC, ns */
    uint64_t purged_per_s, cpu_per_mille;
};

struct table {
    struct process *at;
    size_t count, room;
    size_t forbidden; /* processes that may not be read */
    pid_t forbidden_pid;
    size_t unreadable; /* preloaded, of a version that cannot be read */
    size_t idle;       /* preloaded, without figures yet */
};

static uint64_t ratio(const struct process *p)
{
    return p->floor > 0 ? p->resident * 100 / p->floor : 0;
}

static uint64_t key_rss(const struct process *p)
{
    return p->rss;
}
static uint64_t key_mapped(const struct process *p)
{
    return p->mapped;
}
static uint64_t key_resident(const struct process *p)
{
    return p->resident;
}
static uint64_t key_floor(const struct process *p)
{
    return p->floor;
}
static uint64_t key_purged(const struct process *p)
{
    return p->purged;
}
static uint64_t key_rate(const struct process *p)
{
    return p->purged_per_s;
}
static uint64_t key_cpu(const struct process *p)
{
    return p->cpu_ns;
}
static uint64_t key_pid(const struct process *p)
{
    return UINT64_MAX - (uint64_t)p->pid;
}

/* Largest first, of pid the smallest. */
static const struct {
    const char *name;
    uint64_t (*key)(const struct process *p);
} keys[] = {{"rss", key_rss},     {"mapped", key_mapped}, {"resident", key_resident},
            {"floor", key_floor}, {"ratio", ratio},       {"purged", key_purged},
            {"rate", key_rate},   {"cpu", key_cpu},       {"pid", key_pid}};

struct options {
    bool once;
    long interval; /* s */
    uint64_t (*key)(const struct process *p);
};

static const struct options *sorting; /* of qsort, which has no argument for it */

static int by_key(const void *a, const void *b)
{
    uint64_t x = sorting->key(a), y = sorting->key(b);
    if (x != y)
        return x < y ? 1 : -1;
    return ((const struct process *)a)->pid < ((const struct process *)b)->pid ? -1 : 1;
}

/* ---- Gathering ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Name and start time of /proc/PID/stat: "17 (name) S 1 ...", the 22nd field. */
static void read_identity(struct process *p)
{
    char path[64], line[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)p->pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    size_t n = fread(line, 1, sizeof(line) - 1, f);
    fclose(f);
    line[n] = '\0';
    char *open = strchr(line, '('), *close = strrchr(line, ')');
    if (open == NULL || close == NULL)
        return;
    snprintf(p->comm, sizeof(p->comm), "%.*s", (int)(close - open - 1), open + 1);
    (void)sscanf(close + 1,
                 " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
                 &p->started);
}

static void compare(struct process *p, const struct table *before)
{
    for (size_t i = 0; i < before->count; i++) {
        const struct process *b = &before->at[i];
        if (b->pid != p->pid || b->started != p->started || p->read_at <= b->read_at)
            continue;
        double s = (double)(p->read_at - b->read_at) * 1e-9;
        if (p->purged > b->purged)
            p->purged_per_s = (uint64_t)((double)(p->purged - b->purged) / s);
        if (p->cpu_ns > b->cpu_ns)
            p->cpu_per_mille = (uint64_t)((double)(p->cpu_ns - b->cpu_ns) * 1e-6 / s + 0.5);
    }
}

static int add(struct table *t, const struct ljt_stats_reading *r, const struct table *before)
{
    const uint64_t *v = r->snapshot.total.value;
    if (t->count == t->room) {
        size_t room = t->room == 0 ? 64 : 2 * t->room;
        struct process *bigger = realloc(t->at, room * sizeof(*bigger));
        if (bigger == NULL)
            return -ENOMEM;
        t->at = bigger;
        t->room = room;
    }
    struct process *p = &t->at[t->count++];
    *p = (struct process){
        .pid = r->pid,
        .rss = (uint64_t)ljt_status_number(r->pid, "VmRSS:", 10, 0) << 10,
        .mapped = v[LJT_STATS_mapped],
        .resident = v[LJT_STATS_resident],
        .floor = v[LJT_STATS_floor],
        .purged = v[LJT_STATS_purged],
        .cpu_ns = v[LJT_STATS_reclaimer_cpu_ns] + v[LJT_STATS_unit_cpu_ns],
        .arenas = v[LJT_STATS_arenas],
        .read_at = now_ns(),
    };
    read_identity(p);
    compare(p, before);
    return 0;
}

static int gather(struct table *t, struct ljt_stats_reading *r, const struct table *before)
{
    int error = 0;
    *t = (struct table){0};
    DIR *d = opendir("/proc");
    if (d == NULL)
        return -errno;
    for (struct dirent *e; error == 0 && (e = readdir(d)) != NULL;) {
        pid_t pid = (pid_t)ljt_number(e->d_name, 1);
        if (pid <= 0)
            continue;
        switch (-ljt_stats_read(r, pid)) {
        case 0: error = add(t, r, before); break;
        case EACCES:
        case EPERM:
            t->forbidden++;
            t->forbidden_pid = pid;
            break;
        case EPROTO: t->unreadable++; break;
        case ENODATA: t->idle++; break;
        default: break; /* not preloaded; or it ended */
        }
    }
    closedir(d);
    return error;
}

/* ---- The picture ---- */

static void right(struct ljt_text *t, size_t column, uint64_t bytes)
{
    size_t from = t->len;
    ljt_text_bytes(t, bytes);
    ljt_text_align_right(t, from, column);
}

static void line(struct ljt_text *t, const struct process *p)
{
    size_t from = t->len;
    ljt_text_unsigned(t, (uint64_t)p->pid);
    ljt_text_align_right(t, from, 7);
    ljt_text_string(t, " ");
    ljt_text_foreign(t, p->comm, 12);
    right(t, 30, p->rss);
    right(t, 40, p->resident);
    right(t, 50, p->floor);
    from = t->len;
    if (p->floor > 0)
        ljt_text_printf(t, "%llu.%02llu", (unsigned long long)(ratio(p) / 100),
                        (unsigned long long)(ratio(p) % 100));
    else
        ljt_text_string(t, "-");
    ljt_text_align_right(t, from, 56);
    right(t, 66, p->purged);
    from = t->len;
    ljt_text_percent(t, p->cpu_per_mille, 1000);
    ljt_text_align_right(t, from, 73);
    from = t->len;
    ljt_text_unsigned(t, p->arenas);
    ljt_text_align_right(t, from, 78);
    ljt_text_string(t, "\n");
}

static const char heading[] =
    "    PID NAME              RSS  RESIDENT     FLOOR RATIO    PURGED   CPU ARENAS\n";

static void remarks(struct ljt_text *t, const struct table *table)
{
    if (table->count == 0)
        ljt_text_string(t, "no process with libljtrim and figures\n");
    if (table->idle > 0)
        ljt_text_printf(t, "%zu more with libljtrim, and no heap of LuaJIT's own allocator of 2 MiB\n",
                        table->idle);
    if (table->unreadable > 0)
        ljt_text_printf(t, "%zu more with a libljtrim that this ljtrim (" LJT_VERSION ") cannot read\n",
                        table->unreadable);
    if (table->forbidden > 0) {
        ljt_text_printf(
            t, table->forbidden == 1 ? "%zu process may not be read: " : "%zu processes may not be read: ",
            table->forbidden);
        ljt_permission_explain(t, table->forbidden_pid);
        ljt_text_string(t, "\n");
    }
}

/* On a terminal in place: home, each line cut and cleared to its end, then what is below. */
static void show(const struct table *table, bool in_place)
{
    enum { ROOM = 1 << 20 };
    struct winsize window = {.ws_row = 0};
    char *buf = malloc(ROOM);
    struct ljt_text t;
    if (buf == NULL)
        return;
    ljt_text_init(&t, buf, ROOM);
    ljt_text_string(&t, heading);
    for (size_t i = 0; i < table->count; i++)
        line(&t, &table->at[i]);
    remarks(&t, table);
    if (!in_place) {
        fputs(buf, stdout);
    } else {
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_row < 2 || window.ws_col < 2)
            window = (struct winsize){.ws_row = 24, .ws_col = WIDTH + 1};
        fputs("\033[H", stdout);
        unsigned rows = 0;
        for (const char *at = buf; *at != '\0' && rows + 1 < window.ws_row; rows++) {
            size_t n = strcspn(at, "\n");
            printf("%.*s\033[K\n", (int)(n < window.ws_col ? n : window.ws_col - 1u), at);
            at += n + (at[n] == '\n');
        }
        fputs("\033[J", stdout);
    }
    fflush(stdout);
    free(buf);
}

/* ---- The command ---- */

static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.interval = INTERVAL, .key = key_rss};
    for (int i = 1; i < argc; i++) {
        const char *value, *word = argv[i];
        if (strcmp(word, "--once") == 0) {
            o->once = true;
        } else if ((value = ljt_value_of("--interval", argc, argv, &i)) != NULL) {
            if ((o->interval = ljt_number(value, 1)) < 0)
                return ljt_refuse_value(argv[0], "--interval", "seconds", value);
        } else if ((value = ljt_value_of("--sort", argc, argv, &i)) != NULL) {
            o->key = NULL;
            for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
                if (strcmp(value, keys[k].name) == 0)
                    o->key = keys[k].key;
            if (o->key == NULL)
                return ljt_refuse_value(argv[0], "--sort",
                                        "rss, mapped, resident, floor, ratio, purged, rate, cpu or pid",
                                        value);
        } else {
            fprintf(stderr, "ljtrim: top: '%s' is no option; see 'ljtrim help'\n", word);
            return -EINVAL;
        }
    }
    return 0;
}

int ljt_top_main(int argc, char **argv)
{
    struct options o;
    struct table table, before = {0};
    if (parse(argc, argv, &o) != 0)
        return LJT_EXIT_USAGE;
    struct ljt_stats_reading *r = malloc(sizeof(*r));
    if (r == NULL)
        return LJT_EXIT_FAILED;
    bool in_place = !o.once && isatty(STDOUT_FILENO);
    int error;
    for (bool first = true;; first = false) {
        error = gather(&table, r, &before);
        free(before.at);
        before = table;
        if (error != 0)
            break;
        sorting = &o;
        if (table.count > 0)
            qsort(table.at, table.count, sizeof(*table.at), by_key);
        if (in_place && first)
            fputs("\033[H\033[J", stdout);
        else if (!in_place && !first)
            putchar('\n');
        show(&table, in_place);
        if (o.once || ferror(stdout))
            break;
        nanosleep(&(struct timespec){.tv_sec = o.interval}, NULL);
    }
    sorting = NULL;
    free(before.at);
    free(r);
    if (error == 0)
        return LJT_EXIT_OK;
    fprintf(stderr, "ljtrim: top: could not look through /proc (%s)\n", strerror(-error));
    return LJT_EXIT_FAILED;
}
