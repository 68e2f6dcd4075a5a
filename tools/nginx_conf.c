#include "nginx_conf.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "object.h"

/* ---- What is to be read ---- */

/* The first reason is the one that is told. */
__attribute__((format(printf, 2, 3))) static void leave_out(struct ljt_nginx_conf *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (c->left_out[0] == '\0')
        vsnprintf(c->left_out, sizeof(c->left_out), format, args);
    va_end(args);
}

/*
 * A file, or a pattern whose wildcards come behind the first `plain` bytes. What is named once more is left alone:
 * includes may go round in circles.
 */
static void add_file(struct ljt_nginx_conf *c, const char *path, size_t plain)
{
    const char *wild = strpbrk(path + plain, "*?[");
    struct ljt_nginx_file file = {.wild = wild == NULL ? 0 : (size_t)(wild - path)};
    if (c->included == LJT_NGINX_FILES) {
        leave_out(c, "it includes more than %d files", LJT_NGINX_FILES);
        return;
    }
    c->included++;
    for (size_t i = 0; i < c->nfiles; i++)
        if (c->files[i].wild == file.wild && strcmp(c->files[i].path, path) == 0)
            return;
    file.path = strdup(path);
    if (file.path == NULL)
        leave_out(c, "no memory");
    else
        c->files[c->nfiles++] = file;
}

static void make_absolute(char *to, size_t size, const char *directory, const char *path)
{
    if (path[0] == '/')
        snprintf(to, size, "%s", path);
    else
        snprintf(to, size, "%s/%s", directory, path);
}

void ljt_nginx_conf_init(struct ljt_nginx_conf *c, const char *prefix, const char *path)
{
    memset(c, 0, sizeof(*c));
    snprintf(c->prefix, sizeof(c->prefix), "%s", prefix);
    make_absolute(c->path, sizeof(c->path), prefix, path);
    add_file(c, c->path, strlen(c->path)); /* nginx takes it for no pattern */
}

void ljt_nginx_conf_free(struct ljt_nginx_conf *c)
{
    for (size_t i = 0; i < c->nfiles; i++)
        free(c->files[i].path);
    c->nfiles = 0;
}

/* ---- Directives ---- */

/* What is included is relative to the main file's directory. */
static void include(struct ljt_nginx_conf *c, const char *pattern)
{
    char directory[LJT_NGINX_PATH], path[2 * LJT_NGINX_PATH];
    int n = (int)(ljt_base_name(c->path) - c->path);
    snprintf(directory, sizeof(directory), "%.*s", n > 0 ? n - 1 : 0, c->path);
    make_absolute(path, sizeof(path), directory, pattern);
    add_file(c, path, 0);
}

static void load_module(struct ljt_nginx_conf *c, const char *path)
{
    if (c->nmodules == LJT_NGINX_MODULES)
        leave_out(c, "it loads more than %d modules", LJT_NGINX_MODULES);
    else
        make_absolute(c->modules[c->nmodules++], sizeof(c->modules[0]), c->prefix, path);
}

/* NAME, or NAME=VALUE */
static void keep_variable(struct ljt_nginx_conf *c, const char *declaration)
{
    if (c->nvariables == LJT_NGINX_VARIABLES)
        leave_out(c, "it declares more than %d variables", LJT_NGINX_VARIABLES);
    else
        snprintf(c->variables[c->nvariables++], sizeof(c->variables[0]), "%.*s",
                 (int)strcspn(declaration, "="), declaration);
}

bool ljt_nginx_conf_keeps(const struct ljt_nginx_conf *c, const char *variable)
{
    for (size_t i = 0; i < c->nvariables; i++)
        if (strcmp(c->variables[i], variable) == 0)
            return true;
    return false;
}

/* ---- Its grammar ---- */

enum { WORDS = 8, WORD = LJT_NGINX_WORD };

struct reader {
    struct ljt_nginx_conf *conf;
    FILE *file;
    char words[WORDS][WORD];
    size_t count;
};

static int next_character(struct reader *r)
{
    static const size_t limit = (size_t)LJT_NGINX_MIB << 20;
    if (r->conf->bytes == limit) {
        leave_out(r->conf, "it is longer than %d MiB", LJT_NGINX_MIB);
        return EOF;
    }
    int c = getc_unlocked(r->file);
    r->conf->bytes += c != EOF;
    return c;
}

static void skip_line(struct reader *r)
{
    int c;
    while ((c = next_character(r)) != EOF && c != '\n') {
    }
}

/* Skips a block in braces. What is inside may be Lua: only braces count. */
static void skip_block(struct reader *r)
{
    int c, depth = 1;
    while (depth > 0 && (c = next_character(r)) != EOF)
        depth += c == '{' ? 1 : c == '}' ? -1 : 0;
}

static void add_character(struct reader *r, size_t *length, int c)
{
    if (r->count < WORDS && *length + 1 < WORD) {
        r->words[r->count][(*length)++] = (char)c;
        r->words[r->count][*length] = '\0';
    }
}

static void end_word(struct reader *r, size_t *length)
{
    if (*length != 0 && r->count < WORDS)
        r->count++;
    *length = 0;
}

/* The next directive outside of braces; false at the end. */
static bool next_directive(struct reader *r)
{
    size_t length = 0;
    int c, quote = 0;
    r->count = 0;
    while ((c = next_character(r)) != EOF) {
        if (quote != 0) {
            if (c == quote)
                quote = 0;
            else
                add_character(r, &length, c);
        } else if (c == '#' && length == 0) {
            skip_line(r);
        } else if ((c == '"' || c == '\'') && length == 0) {
            quote = c;
        } else if (c == '{') {
            skip_block(r);
            r->count = length = 0;
        } else if (c == ';') {
            end_word(r, &length);
            return true;
        } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            end_word(r, &length);
        } else {
            add_character(r, &length, c);
        }
    }
    return false;
}

void ljt_nginx_conf_parse(struct ljt_nginx_conf *c, FILE *file)
{
    struct reader r = {.conf = c, .file = file};
    while (next_directive(&r)) {
        const char *name = r.words[0], *value = r.words[1];
        if (r.count < 2)
            continue;
        if (strcmp(name, "include") == 0)
            include(c, value);
        else if (strcmp(name, "load_module") == 0)
            load_module(c, value);
        else if (strcmp(name, "env") == 0)
            keep_variable(c, value);
    }
}

/* ---- Its files ---- */

/* What is not there, or not a directory: a name that a pattern has found need not go on as the pattern does. */
static bool is_missing(int error)
{
    return error == -ENOENT || error == -ENOTDIR;
}

static FILE *open_regular(struct ljt_nginx_conf *c, const char *root, const char *path, bool *empty)
{
    struct stat s;
    int fd = ljt_open_in(root, path);
    bool regular = fd >= 0 && fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
    FILE *file = regular ? fdopen(fd, "r") : NULL;
    if (file != NULL) {
        *empty = s.st_size == 0;
        return file;
    }
    if (fd >= 0)
        close(fd);
    if (!is_missing(fd) || !c->readable)
        leave_out(c, "%s cannot be read (%s)", path,
                  regular                    ? "no memory"
                  : fd >= 0 || fd == -EINVAL ? "not a regular file"
                                             : strerror(-fd));
    return NULL;
}

static void read_file(struct ljt_nginx_conf *c, const char *root, const char *path)
{
    bool empty;
    FILE *file = open_regular(c, root, path, &empty);
    if (file == NULL)
        return;
    c->readable = true; /* others are named only by what has been read */
    if (!empty) /* as all of /proc says it is: to read there may be to wait, or to take away (/proc/kmsg) */
        ljt_nginx_conf_parse(c, file);
    fclose(file);
}

static DIR *open_directory(struct ljt_nginx_conf *c, const char *root, const char *path)
{
    int fd = ljt_open_in(root, path);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    int error = fd < 0 ? fd : -errno;
    if (directory != NULL)
        return directory;
    if (fd >= 0)
        close(fd);
    if (!is_missing(error) && error != -EINVAL)
        leave_out(c, "%s cannot be read (%s)", path, strerror(-error));
    return NULL;
}

/*
 * Puts what a directory has in the place of a pattern's first part with wildcards. By hand, as glob() would follow
 * links out of the root, and knows no bounds.
 */
static void expand(struct ljt_nginx_conf *c, const char *root, const char *pattern, size_t wild)
{
    char directory[PATH_MAX], part[PATH_MAX], path[PATH_MAX];
    while (wild > 0 && pattern[wild - 1] != '/')
        wild--;
    int before = (int)wild, length = (int)strcspn(pattern + before, "/");
    snprintf(directory, sizeof(directory), "%.*s", before, pattern);
    snprintf(part, sizeof(part), "%.*s", length, pattern + before);
    DIR *d = open_directory(c, root, directory);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (c->names == LJT_NGINX_NAMES) {
            leave_out(c, "there are more than %d names in its directories", LJT_NGINX_NAMES);
            break;
        }
        c->names++;
        if (fnmatch(part, e->d_name, FNM_PERIOD) == 0 &&
            snprintf(path, sizeof(path), "%.*s%s%s", before, pattern, e->d_name, pattern + before + length) <
                PATH_MAX)
            add_file(c, path, wild + strlen(e->d_name));
    }
    if (d != NULL)
        closedir(d);
}

void ljt_nginx_conf_read(struct ljt_nginx_conf *c, const char *root)
{
    for (size_t i = 0; i < c->nfiles; i++) { /* more are named meanwhile */
        const struct ljt_nginx_file *f = &c->files[i];
        if (f->wild == 0)
            read_file(c, root, f->path);
        else
            expand(c, root, f->path, f->wild);
    }
}
