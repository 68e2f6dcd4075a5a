#include "cgroup.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernel.h"
#include "text.h"

static const size_t NO_LIMIT_V1 = (size_t)1 << 60; /* v1 says "none" with a number close to 2^63 */

/* ---- Reading ---- */

/* A file's first 32 KiB, as a string; NULL if it can't be read. It lasts until the next. */
static char *read_file(const char *path)
{
    static char buf[32 << 10];
    ssize_t n = ljt_kernel.read_file(path, buf, sizeof(buf) - 1);
    if (n < 0)
        return NULL;
    buf[n] = '\0';
    return buf;
}

static char *read_in(const char *directory, const char *name)
{
    char path[2 * LJT_CGROUP_PATH + 64];
    struct ljt_text t = LJT_TEXT(path);
    ljt_text_string(&t, directory);
    ljt_text_string(&t, "/");
    ljt_text_string(&t, name);
    return t.lost > 0 ? NULL : read_file(path);
}

/* Ends the line or field at `at`, and returns where the next one starts; NULL at the end. */
static char *cut(char *at, char separator)
{
    char *end = strchr(at, separator);
    if (end != NULL)
        *end++ = '\0';
    return end;
}

/* A decimal number; `otherwise` where there is none. */
static size_t number(const char *at, size_t otherwise)
{
    size_t n = 0;
    if (*at < '0' || *at > '9')
        return otherwise;
    for (; *at >= '0' && *at <= '9'; at++)
        n = n > SIZE_MAX / 10 - 1 ? SIZE_MAX : n * 10 + (size_t)(*at - '0');
    return n;
}

static size_t number_in(const char *directory, const char *name, size_t otherwise)
{
    const char *text = read_in(directory, name);
    return text == NULL ? otherwise : number(text, otherwise);
}

/* The figure behind "key " at the start of a line of memory.stat; 0 where there is none. */
static size_t figure(const char *stat, const char *key)
{
    size_t n = strlen(key);
    for (const char *at = stat; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, key, n) == 0 && at[n] == ' ')
            return number(at + n + 1, 0);
    }
    return 0;
}

/* ---- Where it is ---- */

/* Whether `word` is among the comma-separated words of `list`. */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || at[n] == '\0'))
            return true;
    return false;
}

static void copy(char *to, size_t size, const char *from)
{
    struct ljt_text t;
    ljt_text_init(&t, to, size);
    ljt_text_string(&t, from);
}

/* The process's path in the memory hierarchy: v1's controller if there is one, else v2. The version, or 0. */
static int find_path(pid_t pid, char *path, size_t size)
{
    char file[64] = "/proc/self/cgroup";
    int version = 0;
    if (pid != 0) {
        struct ljt_text t = LJT_TEXT(file);
        ljt_text_string(&t, "/proc/");
        ljt_text_unsigned(&t, (uint64_t)pid);
        ljt_text_string(&t, "/cgroup");
    }
    for (char *line = read_file(file), *next; line != NULL && version != 1; line = next) {
        next = cut(line, '\n');
        char *controllers = cut(line, ':');
        char *at = controllers == NULL ? NULL : cut(controllers, ':');
        if (at == NULL)
            continue;
        bool v1 = has_word(controllers, "memory");
        if (!v1 && controllers[0] != '\0')
            continue;
        version = v1 ? 1 : 2;
        copy(path, size, at);
    }
    return version;
}

/*
 * Where that hierarchy is mounted, and which part of it: mountinfo's fields 5 and 4, the type and the super
 * block's options behind " - ".
 */
static bool find_mount(int version, char *mount, char *part)
{
    enum { PART = 3, MOUNT = 4, FIELDS = 5 };
    for (char *line = read_file("/proc/self/mountinfo"), *next; line != NULL; line = next) {
        next = cut(line, '\n');
        char *type = strstr(line, " - ");
        char *source = type == NULL ? NULL : cut(type += 3, ' ');
        char *options = source == NULL ? NULL : cut(source, ' ');
        if (options == NULL || !(version == 2 ? strcmp(type, "cgroup2") == 0
                                              : strcmp(type, "cgroup") == 0 && has_word(options, "memory")))
            continue;
        char *field[FIELDS] = {line};
        for (int i = 0; i < FIELDS && field[i] != NULL; i++) {
            char *rest = cut(field[i], ' ');
            if (i + 1 < FIELDS)
                field[i + 1] = rest;
        }
        if (field[MOUNT] == NULL)
            continue;
        copy(mount, LJT_CGROUP_PATH, field[MOUNT]);
        copy(part, LJT_CGROUP_PATH, strcmp(field[PART], "/") == 0 ? "" : field[PART]);
        return true;
    }
    return false;
}

void ljt_cgroup_find(struct ljt_cgroup_place *place, pid_t pid)
{
    char path[LJT_CGROUP_PATH], mount[LJT_CGROUP_PATH], part[LJT_CGROUP_PATH];
    memset(place, 0, sizeof(*place));
    int version = find_path(pid, path, sizeof(path));
    if (version == 0)
        return;
    copy(place->name, sizeof(place->name), path);
    if (!find_mount(version, mount, part))
        return;
    /* A container that sees its own cgroup alone has that mounted as the hierarchy's root. */
    const char *below = path;
    size_t n = strlen(part);
    if (n > 0 && strncmp(path, part, n) == 0 && (path[n] == '/' || path[n] == '\0'))
        below = path + n;
    struct ljt_text t = LJT_TEXT(place->directory);
    ljt_text_string(&t, mount);
    ljt_text_string(&t, strcmp(below, "/") == 0 ? "" : below);
    if (read_in(place->directory, "memory.stat") == NULL)
        copy(place->directory, sizeof(place->directory), mount);
    place->top = strlen(mount);
    place->version = version;
}

/* ---- What it says ---- */

static void lower(size_t *least, size_t n)
{
    if (n < *least && n < NO_LIMIT_V1)
        *least = n;
}

/* What the level uses that can't be dropped at once, if that is nearer its bound than what was found before. */
static void consider(struct ljt_cgroup_use *use, const char *directory, int version, size_t bound)
{
    if (bound >= NO_LIMIT_V1)
        return;
    size_t charged = number_in(directory, version == 2 ? "memory.current" : "memory.usage_in_bytes", 0);
    const char *stat = read_in(directory, "memory.stat");
    size_t inactive = stat == NULL ? 0 : figure(stat, version == 2 ? "inactive_file" : "total_inactive_file");
    size_t used = charged > inactive ? charged - inactive : 0;
    if (use->bound == SIZE_MAX ||
        (double)used / (double)(bound + 1) > (double)use->used / (double)(use->bound + 1)) {
        use->used = used;
        use->bound = bound;
    }
}

void ljt_cgroup_read(const struct ljt_cgroup_place *place, struct ljt_cgroup_use *use)
{
    char directory[sizeof(place->directory)];
    int version = place->version;
    *use = (struct ljt_cgroup_use){.limit = SIZE_MAX, .high = SIZE_MAX, .bound = SIZE_MAX};
    if (version == 0)
        return;
    copy(directory, sizeof(directory), place->directory);
    use->charged = number_in(directory, version == 2 ? "memory.current" : "memory.usage_in_bytes", 0);
    const char *stat = read_in(directory, "memory.stat");
    use->anonymous = stat == NULL ? 0 : figure(stat, version == 2 ? "anon" : "total_rss");
    if (version == 2) {
        struct ljt_text t = LJT_TEXT(directory);
        ljt_text_string(&t, place->directory);
        ljt_text_string(&t, "/memory.pressure");
        use->stalled = ljt_cgroup_stalled(directory);
        copy(directory, sizeof(directory), place->directory);
    }
    while (strlen(directory) >= place->top) {
        size_t limit = number_in(directory, version == 2 ? "memory.max" : "memory.limit_in_bytes", SIZE_MAX);
        size_t high = version == 2 ? number_in(directory, "memory.high", SIZE_MAX) : SIZE_MAX;
        lower(&use->limit, limit);
        lower(&use->high, high);
        consider(use, directory, version, limit < high ? limit : high);
        char *slash = strrchr(directory, '/');
        if (slash == NULL)
            break;
        *slash = '\0';
    }
}

unsigned ljt_cgroup_stalled(const char *path)
{
    const char *text = read_file(path);
    const char *at = text == NULL || strncmp(text, "some ", 5) != 0 ? NULL : strstr(text, "avg10=");
    if (at == NULL)
        return 0;
    at += strlen("avg10=");
    const char *point = strchr(at, '.');
    size_t whole = number(at, 0), cents = point == NULL ? 0 : number(point + 1, 0); /* two digits, always */
    return (unsigned)(whole > 100 ? 10000 : whole * 100 + (cents < 100 ? cents : 0));
}
