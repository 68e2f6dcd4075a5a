/* nginx keeps from its environment only what its configuration declares. */
#include "config.h"
#include "doctor.h"
#include "nginx_conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void locate(const struct ljt_doctor *d, struct ljt_nginx_conf *c)
{
    const struct ljt_object *exe = &d->objects[0];
    char prefix[LJT_NGINX_WORD] = "/usr/local/nginx", path[LJT_NGINX_WORD] = "conf/nginx.conf";
    char line[4096], *words[64];
    (void)configured(exe, "--prefix=", prefix, sizeof(prefix));
    (void)configured(exe, "--conf-path=", path, sizeof(path));
    if (d->pid == 0)
        read_arguments(d->argv + 1, prefix, path, LJT_NGINX_WORD);
    else if (read_title(d->pid, line, sizeof(line), words, 64) ||
             read_title(parent_of(d->pid), line, sizeof(line), words, 64))
        read_arguments(words, prefix, path, LJT_NGINX_WORD);
    ljt_nginx_conf_init(c, prefix, path);
}

/* ---- Findings ---- */

static void want_declared(struct ljt_doctor *d, const struct ljt_nginx_conf *c, const char *name)
{
    char remedy[128];
    if (ljt_nginx_conf_keeps(c, name)) {
        ljt_found(d, LJT_LEVEL_OK, "", NULL, "'env %s;' is there", name);
        return;
    }
    snprintf(remedy, sizeof(remedy), "add 'env %s;' to it, outside of all blocks", name);
    ljt_found(d, LJT_LEVEL_TODO, "", remedy,
              "'env %s;' is missing: a binary upgrade (SIGUSR2) would go without", name);
}

static bool is_nginx(const struct ljt_doctor *d)
{
    const char *name = d->nobjects == 0 ? "" : ljt_base_name(d->objects[0].path);
    return strncmp(name, "nginx", 5) == 0 || strncmp(name, "openresty", 9) == 0;
}

/* NULL if it is not nginx. */
static struct ljt_nginx_conf *read_configuration(const struct ljt_doctor *d)
{
    struct ljt_nginx_conf *c = is_nginx(d) ? malloc(sizeof(*c)) : NULL;
    if (c != NULL) {
        locate(d, c);
        ljt_nginx_conf_read(c, d->root);
    }
    return c;
}

static void forget(struct ljt_nginx_conf *c)
{
    if (c != NULL)
        ljt_nginx_conf_free(c);
    free(c);
}

void ljt_doctor_load_nginx_modules(struct ljt_doctor *d)
{
    struct ljt_nginx_conf *c = read_configuration(d);
    for (size_t i = 0; c != NULL && i < c->nmodules; i++)
        ljt_doctor_load_object(d, c->modules[i]);
    forget(c);
}

void ljt_doctor_check_nginx(struct ljt_doctor *d)
{
    struct ljt_nginx_conf *c = read_configuration(d);
    char value[16];
    if (c == NULL)
        return;
    if (!c->readable) {
        ljt_found(d, LJT_LEVEL_NOTE, "nginx", "look for 'env LD_PRELOAD;' in its configuration yourself",
                  "%s", c->left_out);
    } else {
        ljt_found(d, LJT_LEVEL_OK, "nginx", NULL, "configuration %s", c->path);
        if (c->left_out[0] != '\0')
            ljt_found(d, LJT_LEVEL_NOTE, "", "look for 'env' lines in the rest yourself",
                      "not all of it was read: %s", c->left_out);
        want_declared(d, c, "LD_PRELOAD");
        for (size_t i = 0; i < ljt_config_option_count; i++)
            if (ljt_doctor_variable(d, ljt_config_options[i].name, value, sizeof(value)))
                want_declared(d, c, ljt_config_options[i].name);
    }
    forget(c);
}
