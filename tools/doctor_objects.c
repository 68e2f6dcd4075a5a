/* The executable and its libraries: those a process has mapped, or those a command would load. */
#include "doctor.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_OBJECTS = 256 };

static bool is_known(const struct ljt_doctor *d, const char *path)
{
    for (size_t i = 0; i < d->nobjects; i++)
        if (strcmp(ljt_base_name(d->objects[i].path), ljt_base_name(path)) == 0)
            return true;
    return false;
}

/* Takes a descriptor; 0 or -errno. */
static int append(struct ljt_doctor *d, int fd, const char *path)
{
    if (fd < 0)
        return fd;
    if (d->objects == NULL)
        d->objects = calloc(MAX_OBJECTS, sizeof(*d->objects));
    if (d->objects == NULL || d->nobjects == MAX_OBJECTS) {
        close(fd);
        return -ENOMEM;
    }
    int error = ljt_object_read_from(&d->objects[d->nobjects], fd, path);
    d->nobjects += error == 0;
    return error;
}

/* ---- A process ---- */

int ljt_doctor_load_process(struct ljt_doctor *d)
{
    char path[64], line[4352], exe[LJT_OBJECT_PATH];
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)d->pid);
    ssize_t n = readlink(path, exe, sizeof(exe) - 1);
    if (n < 0)
        return access("/proc/self", F_OK) == 0 && errno == ENOENT ? -ESRCH : -errno;
    exe[n] = '\0';
    int error = append(d, ljt_open_in("", path), exe); /* this way also if it was replaced since */
    if (error != 0)
        return error;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)d->pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return -errno;
    while (fgets(line, sizeof(line), f) != NULL) {
        char mode[8];
        int name = 0;
        if (sscanf(line, "%*s %7s %*s %*s %*s %n", mode, &name) != 1 || name == 0 || mode[2] != 'x' ||
            line[name] != '/')
            continue;
        line[strcspn(line, "\n")] = '\0';
        if (!is_known(d, line + name))
            (void)append(d, ljt_open_in(d->root, line + name), line + name);
    }
    fclose(f);
    return 0;
}

/* ---- A command ---- */

/* Tries directory/name; "$ORIGIN" is where the object that needs it lies. */
static bool try_directory(struct ljt_doctor *d, const char *directory, size_t n, const char *origin,
                          const char *name)
{
    char path[2 * LJT_OBJECT_PATH];
    if (n >= 7 && strncmp(directory, "$ORIGIN", 7) == 0)
        snprintf(path, sizeof(path), "%.*s%.*s/%s", (int)(ljt_base_name(origin) - origin), origin,
                 (int)(n - 7), directory + 7, name);
    else
        snprintf(path, sizeof(path), "%.*s/%s", (int)n, directory, name);
    char *real = realpath(path, NULL);
    bool found = real != NULL && (is_known(d, real) || append(d, ljt_open_in("", real), real) == 0);
    free(real);
    return found;
}

static bool try_list(struct ljt_doctor *d, const char *list, const char *origin, const char *name)
{
    while (list != NULL && *list != '\0') {
        size_t n = strcspn(list, ":\n");
        if (n != 0 && try_directory(d, list, n, origin, name))
            return true;
        list += n + (list[n] != '\0');
    }
    return false;
}

/* The directories of /etc/ld.so.conf.d: where Debian keeps its libraries among others. */
static bool try_configured(struct ljt_doctor *d, const char *name)
{
    glob_t files = {0};
    bool found = false;
    if (glob("/etc/ld.so.conf.d/*.conf", 0, NULL, &files) == 0) {
        for (size_t i = 0; !found && i < files.gl_pathc; i++) {
            char line[LJT_OBJECT_PATH];
            FILE *f = fopen(files.gl_pathv[i], "re");
            while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
                found = line[0] == '/' && try_directory(d, line, strcspn(line, " \n"), "", name);
            if (f != NULL)
                fclose(f);
        }
    }
    globfree(&files);
    return found || try_list(d, "/lib64:/usr/lib64:/lib:/usr/lib:/usr/local/lib", "", name);
}

/* What the objects from `first` on need, and what that needs. Each library is looked for once. */
static void load_needed(struct ljt_doctor *d, size_t first)
{
    for (size_t i = first; i < d->nobjects; i++) {
        for (size_t k = 0; k < d->objects[i].nneeded; k++) {
            const struct ljt_object *o = &d->objects[i];
            const char *name = o->needed[k];
            if (!is_known(d, name) && !try_list(d, getenv("LD_LIBRARY_PATH"), "", name) &&
                !try_list(d, o->runpath, o->path, name))
                (void)try_configured(d, name);
        }
    }
}

void ljt_doctor_load_object(struct ljt_doctor *d, const char *path)
{
    size_t first = d->nobjects;
    if (!is_known(d, path) && append(d, ljt_open_in(d->root, path), path) == 0 && d->pid == 0)
        load_needed(d, first);
}

/* The path of a command, as execvp finds it. */
static int find_command(const char *name, char *path)
{
    if (strchr(name, '/') != NULL)
        return realpath(name, path) == NULL ? -errno : 0;
    const char *list = getenv("PATH");
    for (list = list == NULL ? "/usr/bin:/bin" : list; *list != '\0';) {
        char candidate[PATH_MAX];
        size_t n = strcspn(list, ":");
        snprintf(candidate, sizeof(candidate), "%.*s/%s", (int)n, list, name);
        if (access(candidate, X_OK) == 0)
            return realpath(candidate, path) == NULL ? -errno : 0;
        list += n + (list[n] != '\0');
    }
    return -ENOENT;
}

int ljt_doctor_load_command(struct ljt_doctor *d)
{
    enum { MAX_SCRIPTS = 4 }; /* a script's interpreter may be a script */
    char path[PATH_MAX], word[256];
    snprintf(word, sizeof(word), "%s", d->argv[0]);
    for (int i = 0; i < MAX_SCRIPTS; i++) {
        int error = find_command(word, path);
        if (error == 0)
            error = append(d, ljt_open_in("", path), path);
        if (error != 0)
            return error;
        const struct ljt_object *o = &d->objects[0];
        if (!o->is_script) {
            load_needed(d, 0);
            return 0;
        }
        /* "#!/usr/bin/env luajit" */
        const char *interpreter = o->interpreter;
        if (strncmp(interpreter, "/usr/bin/env ", 13) == 0)
            interpreter += 13;
        snprintf(word, sizeof(word), "%.*s", (int)strcspn(interpreter, " "), interpreter);
        d->nobjects = 0;
    }
    return -ELOOP;
}
