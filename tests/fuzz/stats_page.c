/*
 * fuzz/stats_page: a process that pretends to have libljtrim.so, and lies.
 *
 * The process is this one: a file whose name begins with libljtrim is mapped at LJT_FUZZ_LIBRARY, and the input is what
 * lies there, from the ELF header to the statistics. The reader finds it in /proc, and reads it through the kernel.
 *
 * What must hold: what comes back can be printed, has bounded counts, and formats in every format.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef LJT_FUZZER
#include <time.h>
#endif

#include "fuzz.h"
#include "growth.h"
#include "stats_reader.h"

#ifdef LJT_FUZZER
/* The reader waits for a page that is being written; the fuzzer has no time for that. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time;
    (void)left;
    return 0;
}
#endif

static uint8_t *library(void)
{
    static uint8_t *mapped;
    char directory[] = "/tmp/ljtrim-fuzz.XXXXXX", path[sizeof(directory) + 32];
    if (mapped != NULL)
        return mapped;
    demand(mkdtemp(directory) != NULL, "there is a directory");
    snprintf(path, sizeof(path), "%s/libljtrim-hostile.so", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    demand(fd >= 0 && ftruncate(fd, LJT_FUZZ_LIBRARY_SIZE) == 0, "there is a file");
    mapped = mmap((void *)LJT_FUZZ_LIBRARY, LJT_FUZZ_LIBRARY_SIZE, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    demand(mapped == (void *)LJT_FUZZ_LIBRARY, "the file is mapped");
    close(fd);
    unlink(path);
    rmdir(directory);
    return mapped;
}

static void demand_printable(const char *text, size_t size, const char *besides)
{
    size_t n = strnlen(text, size);
    demand(n < size, "a text ends");
    for (size_t i = 0; i < n; i++)
        demand((text[i] >= ' ' && text[i] <= '~') || strchr(besides, text[i]) != NULL,
               "a text can be printed");
}

int ljt_fuzz_stats_page(const uint8_t *bytes, size_t n)
{
    static struct ljt_stats_reading r;
    static char text[64 << 10];
    static size_t dirty = LJT_FUZZ_LIBRARY_SIZE;
    uint8_t *to = library();
    n = n < LJT_FUZZ_LIBRARY_SIZE ? n : LJT_FUZZ_LIBRARY_SIZE;
    memcpy(to, bytes, n);
    memset(to + n, 0, dirty > n ? dirty - n : 0);
    dirty = n;

    memset(&r, 0xff, sizeof(r));
    int error = ljt_stats_read(&r, getpid());
    demand(error <= 0, "0 or -errno");
    struct ljt_text t = LJT_TEXT(text);
    if (error != 0)
        ljt_stats_explain(&t, &r, error);
    demand_printable(text, sizeof(text), "");
    /* -ENODATA: all is there, but of another process; as good as 0, for who lies. */
    if (error == 0 || (error == -ENODATA && r.snapshot.arenas <= LJT_GATES)) {
        ljt_fuzz_accepted += r.missing < LJT_STATS_FIELDS; /* figures come and go between versions */
        demand(r.snapshot.arenas <= LJT_GATES && r.snapshot.modules <= LJT_MODULES, "bounds");
        demand_printable(r.snapshot.version, sizeof(r.snapshot.version), "");
        for (unsigned i = 0; i < r.snapshot.modules; i++) {
            demand_printable(r.snapshot.module[i].name, sizeof(r.snapshot.module[i].name), "");
            demand_printable(r.snapshot.module[i].symbols, sizeof(r.snapshot.module[i].symbols), "");
        }
        for (enum ljt_stats_format format = LJT_STATS_TEXT; format <= LJT_STATS_PROMETHEUS; format++) {
            size_t length = ljt_stats_format_snapshot(&r.snapshot, format, text, sizeof(text));
            demand(length < sizeof(text) && strlen(text) == length, "a format ends");
            demand_printable(text, sizeof(text), "\n");
        }
    }
    if (ljt_growth_read(getpid(), text, sizeof(text)) == 0)
        demand_printable(text, sizeof(text), "\n");
    return 0;
}
