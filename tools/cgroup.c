#include "cgroup.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 1024 };

static const size_t NO_LIMIT_V1 = (size_t)1 << 60; /* v1 says "none" with a number close to 2^63 */

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

/* The process's path in the memory hierarchy: v1's controller if there is one, else v2. The version, or 0. */
static int read_path(pid_t pid, char *path, size_t size)
{
    char file[64], line[PATH_SIZE];
    int version = 0;
    snprintf(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
    FILE *f = fopen(file, "re");
    if (f == NULL)
        return 0;
    while (version != 1 && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *at = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (at == NULL)
            continue;
        *at++ = '\0';
        bool v1 = has_word(controllers + 1, "memory");
        if (!v1 && controllers[1] != '\0')
            continue;
        version = v1 ? 1 : 2;
        snprintf(path, size, "%s", at);
    }
    fclose(f);
    return version;
}

/*
 * Where that hierarchy is mounted, and which part of it: mountinfo's fields 5 and 4, the type and the super
 * block's options behind " - ".
 */
static bool find_mount(int version, char *mount, char *root)
{
    char line[4096], where[PATH_SIZE], part[PATH_SIZE], type[64], options[512];
    bool found = false;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), f) != NULL) {
        const char *tail = strstr(line, " - ");
        if (tail == NULL || sscanf(line, "%*s %*s %*s %1023s %1023s", part, where) != 2 ||
            sscanf(tail, " - %63s %*s %511s", type, options) != 2)
            continue;
        found = version == 2 ? strcmp(type, "cgroup2") == 0
                             : strcmp(type, "cgroup") == 0 && has_word(options, "memory");
    }
    fclose(f);
    if (found) {
        snprintf(mount, PATH_SIZE, "%s", where);
        snprintf(root, PATH_SIZE, "%s", strcmp(part, "/") == 0 ? "" : part);
    }
    return found;
}

/* ---- What it says ---- */

static size_t read_number(const char *directory, const char *file, size_t otherwise)
{
    char path[2 * PATH_SIZE + 32], text[64];
    snprintf(path, sizeof(path), "%s/%s", directory, file);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return otherwise;
    size_t n = otherwise;
    if (fgets(text, sizeof(text), f) != NULL && text[0] >= '0' && text[0] <= '9')
        n = strtoull(text, NULL, 10);
    fclose(f);
    return n;
}

static size_t read_anonymous(const char *directory, int version)
{
    char path[2 * PATH_SIZE + 32], line[128];
    size_t n = 0, found = 0;
    snprintf(path, sizeof(path), "%s/memory.stat", directory);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, version == 2 ? "anon %zu" : "total_rss %zu", &n) == 1)
            found = n;
    fclose(f);
    return found;
}

static void lower(size_t *least, size_t n)
{
    if (n < *least && n < NO_LIMIT_V1)
        *least = n;
}

void ljt_cgroup_read(struct ljt_cgroup *c, pid_t pid)
{
    char path[PATH_SIZE], mount[PATH_SIZE], root[PATH_SIZE], directory[2 * PATH_SIZE];
    *c = (struct ljt_cgroup){.limit = SIZE_MAX, .high = SIZE_MAX};
    int version = read_path(pid, path, sizeof(path));
    if (version == 0)
        return;
    snprintf(c->name, sizeof(c->name), "%.*s", (int)sizeof(c->name) - 1, path);
    if (!find_mount(version, mount, root))
        return;
    /* A container that sees its own cgroup alone has that mounted as the hierarchy's root. */
    const char *below = path;
    if (root[0] != '\0' && strncmp(path, root, strlen(root)) == 0)
        below = path + strlen(root);
    snprintf(directory, sizeof(directory), "%s%s", mount, strcmp(below, "/") == 0 ? "" : below);
    if (access(directory, F_OK) != 0)
        snprintf(directory, sizeof(directory), "%s", mount);
    const char *current = version == 2 ? "memory.current" : "memory.usage_in_bytes";
    c->version = version;
    c->charged = read_number(directory, current, 0);
    c->anonymous = read_anonymous(directory, version);
    for (size_t least = strlen(mount); strlen(directory) >= least;) {
        lower(&c->limit,
              read_number(directory, version == 2 ? "memory.max" : "memory.limit_in_bytes", SIZE_MAX));
        if (version == 2)
            lower(&c->high, read_number(directory, "memory.high", SIZE_MAX));
        char *slash = strrchr(directory, '/');
        if (slash == NULL)
            break;
        *slash = '\0';
    }
}
