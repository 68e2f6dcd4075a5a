/* Reading another process, through /proc, ptrace and process_vm_readv. See remote.h. */
#include "remote.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * The PAGEMAP_SCAN ioctl, Linux 6.7: include/uapi/linux/fs.h, which Debian 12's headers are older than.
 */
struct scan_region {
    uint64_t start, end, categories;
};

struct scan_request {
    uint64_t size, flags, start, end, walk_end, regions, nregions, max_pages;
    uint64_t inverted, mask, any_of, wanted;
};

static_assert(sizeof(struct scan_request) == 96, "struct pm_scan_arg");

#define SCAN_IOCTL _IOWR('f', 16, struct scan_request)
#define SCAN_IS_ZERO_PAGE ((uint64_t)1 << 5)

static const uint64_t PAGEMAP_PRESENT = 1ull << 63;
static const uint64_t PAGEMAP_SWAPPED = 1ull << 62;

static void read_comm(struct ljt_remote *r)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)r->pid);
    r->comm[0] = '\0';
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fgets(r->comm, sizeof(r->comm), f) != NULL)
        r->comm[strcspn(r->comm, "\n")] = '\0';
    for (char *c = r->comm; *c != '\0'; c++) /* its process has chosen it: nothing for a terminal to obey */
        *c = *c >= ' ' && *c <= '~' ? *c : '?';
    fclose(f);
}

pid_t ljt_inner_pid(pid_t pid)
{
    char path[64], line[256];
    pid_t inner = pid;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return pid;
    while (fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, "NSpid:", 6) == 0) /* outermost first */
            inner = (pid_t)atoi(strrchr(line, '\t') + 1);
    fclose(f);
    return inner;
}

int ljt_remote_open(struct ljt_remote *r, pid_t pid)
{
    char path[64];
    *r = (struct ljt_remote){.pid = pid, .page = (size_t)sysconf(_SC_PAGESIZE), .pagemap = -1};
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    if (access(path, F_OK) != 0)
        return -ESRCH;
    read_comm(r);
    snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
    r->pagemap = open(path, O_RDONLY | O_CLOEXEC);
    if (r->pagemap < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    return ljt_remote_load_vmas(r);
}

void ljt_remote_close(struct ljt_remote *r)
{
    ljt_remote_resume(r);
    if (r->pagemap >= 0)
        close(r->pagemap);
    r->pagemap = -1;
    free(r->threads);
    free(r->vmas.at);
    r->threads = NULL;
    r->vmas = (struct ljt_vmas){0};
}

/* Grows an array so that it has room for one more element. */
static int reserve_one(void **array, size_t n, size_t element)
{
    if (n != 0 && (n < 16 || (n & (n - 1)) != 0))
        return 0;
    void *bigger = realloc(*array, (n < 16 ? 16 : 2 * n) * element);
    if (bigger == NULL)
        return -ENOMEM;
    *array = bigger;
    return 0;
}

int ljt_vmas_append(struct ljt_vmas *v, uintptr_t start, uintptr_t end)
{
    if (reserve_one((void **)&v->at, v->count, sizeof(*v->at)) != 0)
        return -ENOMEM;
    v->at[v->count++] = (struct ljt_vma){start, end};
    return 0;
}

/* A line's name that an allocator's mapping may bear: none, or one given with PR_SET_VMA_ANON_NAME. */
static bool is_anonymous_name(const char *name)
{
    return name[0] == '\0' || strncmp(name, "[anon:", 6) == 0;
}

int ljt_remote_load_vmas(struct ljt_remote *r)
{
    char path[64], line[4352];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)r->pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return errno == ENOENT ? -ESRCH : -errno;
    r->vmas.count = 0;
    int error = 0;
    while (error == 0 && fgets(line, sizeof(line), f) != NULL) {
        unsigned long start, end, inode;
        char mode[8];
        int name = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %lu %n", &start, &end, mode, &inode, &name) < 4 || name == 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(mode, "rw-p") != 0 || inode != 0 || !is_anonymous_name(line + name))
            continue;
        error = ljt_vmas_append(&r->vmas, start, end);
    }
    fclose(f);
    return error;
}

/* ---- Stopping ---- */

/* Waits until a seized and interrupted thread has stopped. 0; -ESRCH if it is gone; -ETIMEDOUT. */
static int wait_for_stop(struct ljt_thread *t, const struct timespec *deadline)
{
    for (;;) {
        int status;
        pid_t got = waitpid(t->tid, &status, __WALL | WNOHANG);
        if (got == t->tid) {
            if (!WIFSTOPPED(status))
                return -ESRCH;
            /* Not our interrupt but a signal on its way: hold it back and hand it on when we let go. */
            if (status >> 16 != PTRACE_EVENT_STOP)
                t->signal = WSTOPSIG(status);
            return 0;
        }
        if (got < 0 && errno != EINTR)
            return -ESRCH;
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > deadline->tv_sec ||
            (now.tv_sec == deadline->tv_sec && now.tv_nsec > deadline->tv_nsec))
            return -ETIMEDOUT;
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
}

static bool is_held(const struct ljt_remote *r, pid_t tid)
{
    for (size_t i = 0; i < r->nthreads; i++)
        if (r->threads[i].tid == tid)
            return true;
    return false;
}

/* Seizes the threads that are not held yet. The number of new ones, or -errno. */
static int hold_new_threads(struct ljt_remote *r, const struct timespec *deadline)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)r->pid);
    DIR *d = opendir(path);
    if (d == NULL)
        return errno == ENOENT ? -ESRCH : -errno;
    size_t before = r->nthreads;
    int error = 0;
    for (struct dirent *e; error == 0 && (e = readdir(d)) != NULL;) {
        pid_t tid = (pid_t)atoi(e->d_name);
        if (tid <= 0 || is_held(r, tid))
            continue;
        error = reserve_one((void **)&r->threads, r->nthreads, sizeof(*r->threads));
        if (error != 0)
            break;
        if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0) {
            if (errno != ESRCH) /* a thread may end at any time */
                error = -errno;
            continue;
        }
        r->threads[r->nthreads++] = (struct ljt_thread){.tid = tid};
        ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
    }
    closedir(d);
    for (size_t i = before; error == 0 && i < r->nthreads; i++) {
        error = wait_for_stop(&r->threads[i], deadline);
        if (error == -ESRCH)
            error = 0;
    }
    return error != 0 ? error : (int)(r->nthreads - before);
}

double ljt_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

int ljt_remote_stop(struct ljt_remote *r)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += 2;
    r->stopped_at_us = ljt_now_us();
    r->stops++;
    int n;
    /* A thread not yet stopped may have started another one: until a look finds no new thread. */
    do
        n = hold_new_threads(r, &deadline);
    while (n > 0);
    if (n == 0 && r->nthreads == 0)
        n = -ESRCH;
    if (n < 0)
        ljt_remote_resume(r);
    return n;
}

void ljt_remote_resume(struct ljt_remote *r)
{
    if (r->nthreads == 0)
        return;
    for (size_t i = 0; i < r->nthreads; i++)
        ptrace(PTRACE_DETACH, r->threads[i].tid, NULL, (void *)(intptr_t)r->threads[i].signal);
    r->nthreads = 0;
    double took = ljt_now_us() - r->stopped_at_us;
    r->all_stops_us += took;
    if (took > r->longest_stop_us)
        r->longest_stop_us = took;
}

/* ---- Memory ---- */

int ljt_remote_read(const struct ljt_remote *r, uintptr_t address, void *to, size_t n)
{
    struct iovec local = {to, n}, remote = {(void *)address, n};
    return process_vm_readv(r->pid, &local, 1, &remote, 1, 0) == (ssize_t)n ? 0 : -EFAULT;
}

int ljt_remote_rss(const struct ljt_remote *r, size_t *rss, size_t *pss)
{
    char path[64], line[256];
    *rss = *pss = 0;
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)r->pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return -errno;
    while (fgets(line, sizeof(line), f) != NULL) {
        size_t kib;
        if (sscanf(line, "Rss: %zu", &kib) == 1)
            *rss = kib << 10;
        else if (sscanf(line, "Pss: %zu", &kib) == 1)
            *pss = kib << 10;
    }
    fclose(f);
    return 0;
}

static void clear_zero_pages(struct ljt_pages *p, const struct ljt_remote *r, uintptr_t end)
{
    struct scan_region regions[64];
    struct scan_request scan = {
        .size = sizeof(scan),
        .start = p->start,
        .end = end,
        .regions = (uintptr_t)regions,
        .nregions = 64,
        .mask = SCAN_IS_ZERO_PAGE,
        .wanted = SCAN_IS_ZERO_PAGE,
    };
    int n;
    while (scan.start < end && (n = ioctl(r->pagemap, SCAN_IOCTL, &scan)) >= 0) {
        for (int i = 0; i < n; i++)
            for (uintptr_t at = regions[i].start; at < regions[i].end; at += r->page)
                p->state[(at - p->start) / r->page] = LJT_PAGE_ABSENT;
        if (scan.walk_end <= scan.start)
            break;
        scan.start = scan.walk_end;
    }
}

int ljt_pages_load(struct ljt_pages *p, const struct ljt_remote *r, uintptr_t start, uintptr_t end)
{
    uint64_t entries[1024];
    size_t count = (end - start) / r->page;
    if (count > p->capacity) {
        uint8_t *bigger = realloc(p->state, count);
        if (bigger == NULL)
            return -ENOMEM;
        p->state = bigger;
        p->capacity = count;
    }
    p->start = start;
    p->count = count;
    for (size_t i = 0; i < count;) {
        size_t n = count - i < 1024 ? count - i : 1024;
        ssize_t got = pread(r->pagemap, entries, n * 8, (off_t)((start / r->page + i) * 8));
        if (got < 8)
            return got < 0 ? -errno : -ESRCH; /* 0 bytes: the process is gone */
        n = (size_t)got / 8;
        for (size_t k = 0; k < n; k++)
            p->state[i + k] = (entries[k] & PAGEMAP_PRESENT) != 0   ? LJT_PAGE_PRESENT
                              : (entries[k] & PAGEMAP_SWAPPED) != 0 ? LJT_PAGE_SWAPPED
                                                                    : LJT_PAGE_ABSENT;
        i += n;
    }
    clear_zero_pages(p, r, end);
    return 0;
}
