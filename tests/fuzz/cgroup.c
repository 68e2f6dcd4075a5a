/*
 * fuzz/cgroup: any text at all in the files that tell of memory and of pressure.
 *
 * An input holds the files one after the other, separated by form feeds, in the order of `file`; the last is what every
 * other path reads. One that is missing can't be read, and neither can an empty one.
 *
 * What must hold: paths and names end, figures are within their bounds.
 */
#include <errno.h>
#include <string.h>

#include "cgroup.h"
#include "fuzz.h"
#include "kernel.h"
#include "pressure.h"

static const char *const file[] = {
    "/proc/self/cgroup", "/proc/self/mountinfo", "memory.stat",           "memory.pressure",
    "memory.max",        "memory.high",          "memory.limit_in_bytes", ""};
enum { FILES = sizeof(file) / sizeof(file[0]) };

static const uint8_t *content[FILES];
static size_t length[FILES];

static ssize_t read_content(const char *path, char *buf, size_t size)
{
    unsigned i = 0;
    size_t n = strlen(path);
    while (strlen(file[i]) > n || strcmp(path + n - strlen(file[i]), file[i]) != 0)
        i++;
    if (length[i] == 0) {
        errno = ENOENT;
        return -1;
    }
    n = length[i] < size ? length[i] : size;
    memcpy(buf, content[i], n);
    return (ssize_t)n;
}

int ljt_fuzz_cgroup(const uint8_t *bytes, size_t n)
{
    struct ljt_cgroup_place place;
    struct ljt_cgroup_use use;
    for (unsigned i = 0; i < FILES; i++) {
        const uint8_t *end = n == 0 ? NULL : memchr(bytes, '\f', n);
        content[i] = bytes;
        length[i] = end != NULL ? (size_t)(end - bytes) : n;
        size_t used = length[i] + (end != NULL);
        bytes = used > 0 ? bytes + used : bytes;
        n -= used;
    }
    ljt_kernel.read_file = read_content;
    memset(&place, 0xff, sizeof(place));
    ljt_cgroup_find(&place, 0);
    demand(place.version >= 0 && place.version <= 2, "a version");
    demand(memchr(place.name, '\0', sizeof(place.name)) != NULL, "the name ends");
    demand(memchr(place.directory, '\0', sizeof(place.directory)) != NULL, "the path ends");
    demand(place.version == 0 || place.top <= strlen(place.directory), "the mount is part of the path");
    ljt_fuzz_accepted += place.version == 2;
    ljt_cgroup_read(&place, &use);
    demand(use.stalled <= 10099, "per cent, in hundredths");
    demand(ljt_cgroup_stalled("/proc/pressure/memory") <= 10099, "likewise");
    ljt_pressure_forget();
    enum ljt_pressure_level level = ljt_pressure_check(1);
    demand(level >= LJT_PRESSURE_NONE && level <= LJT_PRESSURE_HIGH, "a level");
    return 0;
}
