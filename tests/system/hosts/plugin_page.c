/*
 * plugin_page: what ljtrim stats finds in a process with another version of the library. Named libljtrim.so by the test.
 * PAGE_LAYOUT is the layout that it claims to have; else it has that of today with figures in another order, one that
 * nobody knows yet, and few of those that there are.
 */
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { BUCKETS = 256, FIELDS = 4, ROWS = 2 };

static struct {
    char name[40]; /* longer than today */
} field[FIELDS] = {{"moonlight"}, {"resident"}, {"pid"}, {"mapped"}};

static struct {
    char version[16];
    uint64_t arenas;
    uint64_t waits[3 + BUCKETS], holds[3 + BUCKETS];
    uint64_t total[FIELDS], arena[ROWS][FIELDS];
    uint64_t modules;
} snapshot = {
    .version = "9.0\033\"x",
    .arenas = 1,
    .total = {17, 1 << 20, 0, 5 << 20},
    .arena = {{17, 1 << 20, 0, 5 << 20}},
};

struct {
    uint64_t magic;
    uint32_t layout, fields, field_size, buckets, rows, module_size;
    void *field, *snapshot;
    uint64_t sequence;
} ljtrim_stats_page = {0x7374617473746a6cu, 1, FIELDS, sizeof(field[0]), BUCKETS, ROWS, 77, field,
                       &snapshot,           4};

__attribute__((constructor)) static void begin(void)
{
    const char *layout = getenv("PAGE_LAYOUT");
    if (layout != NULL)
        ljtrim_stats_page.layout = (uint32_t)atoi(layout);
    snapshot.total[2] = (uint64_t)getpid();
}
