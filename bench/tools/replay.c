/*
 * replay PID SECONDS: what giving back pages costs when nothing else is done.
 *
 * Notes which anonymous pages of a process are present, waits, and looks again: pages that have gone from mappings
 * that are still there were purged. Then it makes mappings of its own of the same shape, touches the same pages,
 * and purges the same runs, one madvise(MADV_DONTNEED) each. Prints: bytes, runs, and the nanoseconds of processor
 * time that took. It knows nothing of the library: /proc/PID/pagemap is all it reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAPPINGS 4096
#define PRESENT ((uint64_t)3 << 62) /* present, or swapped out */

struct mapping {
    uintptr_t start, end;
    unsigned char *before; /* a byte a page: present at the first look */
};

static size_t page;

__attribute__((noreturn)) static void die(const char *what)
{
    fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_proc(const char *pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        die(path);
    return fd;
}

/* Private writable mappings without a file or a name. */
static size_t anonymous(const char *pid, struct mapping *m)
{
    char line[512], perms[8];
    size_t n = 0;
    FILE *maps = fdopen(open_proc(pid, "maps"), "r");
    while (n < MAPPINGS && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long start, end, inode;
        int name = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %lu %n", &start, &end, perms, &inode, &name) == 4 &&
            strcmp(perms, "rw-p") == 0 && inode == 0 && line[name] == '\0')
            m[n++] = (struct mapping){start, end, NULL};
    }
    fclose(maps);
    return n;
}

/* One byte a page: is it there? Pages whose mapping has gone count as not there. */
static unsigned char *presence(const char *pid, uintptr_t start, uintptr_t end)
{
    size_t pages = (end - start) / page;
    uint64_t *entries = calloc(pages, sizeof(*entries));
    unsigned char *present = malloc(pages);
    int fd = open_proc(pid, "pagemap");
    if (entries == NULL || present == NULL)
        die("memory");
    if (pread(fd, entries, pages * sizeof(*entries), (off_t)(start / page * sizeof(*entries))) < 0)
        die("pagemap");
    close(fd);
    for (size_t i = 0; i < pages; i++)
        present[i] = (entries[i] & PRESENT) != 0;
    free(entries);
    return present;
}

static int still_mapped(const struct mapping *now, size_t n, uintptr_t a)
{
    for (size_t i = 0; i < n; i++)
        if (a >= now[i].start && a < now[i].end)
            return 1;
    return 0;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct total {
    size_t pages, runs;
    uint64_t ns;
};

/* Purges what `gone` says from a mapping of our own, in runs. */
static void purge(const struct mapping *m, const unsigned char *gone, struct total *sum)
{
    size_t pages = (m->end - m->start) / page;
    char *own = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED)
        die("mmap");
    madvise(own, pages * page, MADV_NOHUGEPAGE); /* a heap that grows page by page has none either */
    for (size_t i = 0; i < pages; i++)
        if (m->before[i])
            own[i * page] = 1;
    uint64_t start = cpu_ns();
    for (size_t i = 0; i < pages; i++) {
        size_t from = i;
        while (i < pages && gone[i])
            i++;
        if (i == from)
            continue;
        if (madvise(own + from * page, (i - from) * page, MADV_DONTNEED) != 0)
            die("madvise");
        sum->pages += i - from;
        sum->runs++;
    }
    sum->ns += cpu_ns() - start;
    munmap(own, pages * page);
}

int main(int argc, char **argv)
{
    static struct mapping before[MAPPINGS], after[MAPPINGS];
    struct total sum = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: replay PID SECONDS\n");
        return 2;
    }
    page = (size_t)sysconf(_SC_PAGESIZE);
    size_t n = anonymous(argv[1], before);
    for (size_t i = 0; i < n; i++)
        before[i].before = presence(argv[1], before[i].start, before[i].end);
    sleep((unsigned)atoi(argv[2]));
    size_t m = anonymous(argv[1], after);
    unsigned char **gone = calloc(n, sizeof(*gone));
    for (size_t i = 0; i < n; i++) {
        size_t pages = (before[i].end - before[i].start) / page;
        gone[i] = presence(argv[1], before[i].start, before[i].end);
        for (size_t k = 0; k < pages; k++)
            gone[i][k] =
                before[i].before[k] && !gone[i][k] && still_mapped(after, m, before[i].start + k * page);
    }
    for (size_t i = 0; i < n; i++)
        purge(&before[i], gone[i], &sum);
    printf("%zu %zu %llu\n", sum.pages * page, sum.runs, (unsigned long long)sum.ns);
    return 0;
}
