/*
 * nginx keeps from its environment only what its configuration declares. The configuration is read, not by
 * nginx but by a reader that knows its grammar's outlines: words, quotes, braces, includes. Only what stands
 * outside of all braces matters here.
 */
#include "config.h"
#include "doctor.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 8, WORD = 512, MAX_DEPTH = 8, MAX_MODULES = 32, MAX_DECLARED = 64 };

struct nginx {
    struct ljt_doctor *d;
    char prefix[WORD], conf[2 * WORD]; /* conf: as nginx's process sees it */
    char modules[MAX_MODULES][2 * WORD];
    size_t nmodules;
    char declared[MAX_DECLARED][128]; /* names of `env` */
    size_t ndeclared;
    bool readable; /* the main file */
};

/* ---- Its grammar ---- */

struct reader {
    FILE *file;
    char words[WORDS][WORD];
    size_t count;
};

static void skip_line(FILE *f)
{
    int c;
    while ((c = fgetc(f)) != EOF && c != '\n') {
    }
}

/* Skips a block in braces. What is inside may be Lua: only braces count. */
static void skip_block(FILE *f)
{
    int c, depth = 1;
    while (depth > 0 && (c = fgetc(f)) != EOF)
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
    while ((c = fgetc(r->file)) != EOF) {
        if (quote != 0) {
            if (c == quote)
                quote = 0;
            else
                add_character(r, &length, c);
        } else if (c == '#' && length == 0) {
            skip_line(r->file);
        } else if ((c == '"' || c == '\'') && length == 0) {
            quote = c;
        } else if (c == '{') {
            skip_block(r->file);
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

/* A path in the configuration is relative to the directory of the main file (include), or to the prefix. */
static void make_absolute(char *to, size_t size, const char *directory, const char *path)
{
    if (path[0] == '/')
        snprintf(to, size, "%s", path);
    else
        snprintf(to, size, "%s/%s", directory, path);
}

static void read_file(struct nginx *n, const char *path, int depth);

static void include(struct nginx *n, const char *pattern, int depth)
{
    char directory[2 * WORD], path[4 * WORD], outside[4 * WORD + 64];
    snprintf(directory, sizeof(directory), "%.*s", (int)(ljt_base_name(n->conf) - n->conf), n->conf);
    make_absolute(path, sizeof(path), directory, pattern);
    snprintf(outside, sizeof(outside), "%s%s", n->d->root, path);
    glob_t files = {0};
    if (glob(outside, 0, NULL, &files) == 0)
        for (size_t i = 0; i < files.gl_pathc; i++)
            read_file(n, files.gl_pathv[i] + strlen(n->d->root), depth + 1);
    globfree(&files);
}

static void read_file(struct nginx *n, const char *path, int depth)
{
    struct reader *r = calloc(1, sizeof(*r));
    int fd = ljt_open_in(n->d->root, path);
    if (r == NULL || fd < 0 || (r->file = fdopen(fd, "r")) == NULL) {
        if (fd >= 0)
            close(fd);
        free(r);
        return;
    }
    n->readable = true;
    while (next_directive(r)) {
        const char *name = r->words[0], *value = r->words[1];
        if (r->count < 2)
            continue;
        if (strcmp(name, "include") == 0 && depth < MAX_DEPTH)
            include(n, value, depth);
        else if (strcmp(name, "load_module") == 0 && n->nmodules < MAX_MODULES)
            make_absolute(n->modules[n->nmodules++], sizeof(n->modules[0]), n->prefix, value);
        else if (strcmp(name, "env") == 0 && n->ndeclared < MAX_DECLARED)
            snprintf(n->declared[n->ndeclared++], sizeof(n->declared[0]), "%.*s", (int)strcspn(value, "="),
                     value);
    }
    fclose(r->file);
    free(r);
}

/* ---- Where the configuration is ---- */

/* An argument of ./configure: "--conf-path=" and what follows up to a space. */
static bool configured(const struct ljt_object *o, const char *name, char *value, size_t size)
{
    const char *at = strstr(o->configured, name);
    if (at == NULL)
        return false;
    at += strlen(name);
    snprintf(value, size, "%.*s", (int)strcspn(at, " "), at);
    return true;
}

/* -p PREFIX and -c FILE from the words of a command line; both may be joined: -cFILE. */
static void read_arguments(char **argv, char *prefix, char *conf, size_t size)
{
    for (char **word = argv; *word != NULL; word++) {
        char *to = strncmp(*word, "-c", 2) == 0 ? conf : strncmp(*word, "-p", 2) == 0 ? prefix : NULL;
        if (to == NULL)
            continue;
        if ((*word)[2] != '\0')
            snprintf(to, size, "%s", *word + 2);
        else if (word[1] != NULL)
            snprintf(to, size, "%s", *++word);
    }
}

/* A master's title is "nginx: master process " and its command line. Its words, in `line`. */
static bool read_title(pid_t pid, char *line, size_t size, char **argv, size_t room)
{
    char path[64];
    static const char title[] = "nginx: master process ";
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    FILE *f = fopen(path, "re");
    size_t n = f == NULL ? 0 : fread(line, 1, size - 1, f), count = 0;
    if (f != NULL)
        fclose(f);
    line[n] = '\0';
    bool master = n >= sizeof(title) && memcmp(line, title, sizeof(title) - 1) == 0;
    for (size_t i = 0; i < n; i++)
        if (line[i] == '\0')
            line[i] = ' ';
    char *rest = master ? line + sizeof(title) - 1 : line;
    for (char *word; count + 1 < room && (word = strsep(&rest, " ")) != NULL;)
        if (word[0] != '\0')
            argv[count++] = word;
    argv[count] = NULL;
    return master;
}

static pid_t parent_of(pid_t pid)
{
    char path[64], line[256];
    int parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "PPid: %d", &parent) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return parent;
}

static void locate(struct nginx *n)
{
    const struct ljt_object *exe = &n->d->objects[0];
    char conf[WORD] = "conf/nginx.conf", line[4096], *words[64];
    snprintf(n->prefix, sizeof(n->prefix), "/usr/local/nginx");
    (void)configured(exe, "--prefix=", n->prefix, sizeof(n->prefix));
    (void)configured(exe, "--conf-path=", conf, sizeof(conf));
    if (n->d->pid == 0)
        read_arguments(n->d->argv + 1, n->prefix, conf, WORD);
    else if (read_title(n->d->pid, line, sizeof(line), words, 64) ||
             read_title(parent_of(n->d->pid), line, sizeof(line), words, 64))
        read_arguments(words, n->prefix, conf, WORD);
    make_absolute(n->conf, sizeof(n->conf), n->prefix, conf);
}

/* ---- Findings ---- */

static bool is_declared(const struct nginx *n, const char *name)
{
    for (size_t i = 0; i < n->ndeclared; i++)
        if (strcmp(n->declared[i], name) == 0)
            return true;
    return false;
}

static void want_declared(struct nginx *n, const char *name)
{
    char remedy[3 * WORD];
    if (is_declared(n, name)) {
        ljt_found(n->d, LJT_LEVEL_OK, "", NULL, "'env %s;' is there", name);
        return;
    }
    snprintf(remedy, sizeof(remedy), "add 'env %s;' to it, outside of all blocks", name);
    ljt_found(n->d, LJT_LEVEL_TODO, "", remedy,
              "'env %s;' is missing: a binary upgrade (SIGUSR2) would go without", name);
}

static bool is_nginx(const struct ljt_doctor *d)
{
    const char *name = d->nobjects == 0 ? "" : ljt_base_name(d->objects[0].path);
    return strncmp(name, "nginx", 5) == 0 || strncmp(name, "openresty", 9) == 0;
}

static struct nginx *read_nginx(struct ljt_doctor *d)
{
    struct nginx *n = is_nginx(d) ? calloc(1, sizeof(*n)) : NULL;
    if (n != NULL) {
        n->d = d;
        locate(n);
        read_file(n, n->conf, 0);
    }
    return n;
}

void ljt_doctor_load_nginx_modules(struct ljt_doctor *d)
{
    struct nginx *n = read_nginx(d);
    for (size_t i = 0; n != NULL && i < n->nmodules; i++)
        ljt_doctor_load_object(d, n->modules[i]);
    free(n);
}

void ljt_doctor_check_nginx(struct ljt_doctor *d)
{
    struct nginx *n = read_nginx(d);
    char value[16];
    if (n == NULL)
        return;
    if (!n->readable) {
        ljt_found(d, LJT_LEVEL_NOTE, "nginx", "look for 'env LD_PRELOAD;' in its configuration yourself",
                  "%s cannot be read", n->conf);
    } else {
        ljt_found(d, LJT_LEVEL_OK, "nginx", NULL, "configuration %s", n->conf);
        want_declared(n, "LD_PRELOAD");
        for (size_t i = 0; i < ljt_config_option_count; i++)
            if (ljt_doctor_variable(d, ljt_config_options[i].name, value, sizeof(value)))
                want_declared(n, ljt_config_options[i].name);
    }
    free(n);
}
