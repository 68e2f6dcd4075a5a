/*
 * nginx_conf: what nginx's configuration says outside of all braces: which modules are loaded, which variables are kept.
 *
 * It is read, not by nginx but by a reader that knows its grammar's outlines: words, quotes, braces, includes. The
 * configuration is another process's, and may mean harm. Files and directories are opened below that process's root,
 * regular files alone are read, each once, and how much is looked at is bounded. What was left out for it is said.
 */
#ifndef LJT_NGINX_CONF_H
#define LJT_NGINX_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum {
    LJT_NGINX_WORD = 512,
    LJT_NGINX_PATH = 2 * LJT_NGINX_WORD,
    LJT_NGINX_VARIABLE = 128,
    LJT_NGINX_MODULES = 64,
    LJT_NGINX_VARIABLES = 256,
    /* Bounds on all of it together. ingress-nginx writes files of tens of MB; includes outside of braces are few. */
    LJT_NGINX_FILES = 1000,   /* and patterns of them */
    LJT_NGINX_NAMES = 100000, /* in directories */
    LJT_NGINX_MIB = 64
};

/* A file to be read, or a pattern of such. */
struct ljt_nginx_file {
    char *path;
    size_t wild; /* where in it its wildcards begin; 0: it has none */
};

struct ljt_nginx_conf {
    char path[LJT_NGINX_PATH]; /* of the main file, as nginx's process sees it */
    char prefix[LJT_NGINX_WORD];
    char modules[LJT_NGINX_MODULES][LJT_NGINX_PATH]; /* of `load_module` */
    size_t nmodules;
    char variables[LJT_NGINX_VARIABLES][LJT_NGINX_VARIABLE]; /* names of `env` */
    size_t nvariables;
    bool readable;      /* the main file */
    char left_out[512]; /* the first thing that was not read and why, or "" */

    struct ljt_nginx_file files[LJT_NGINX_FILES]; /* in the order in which they were named */
    size_t nfiles;
    size_t included, names, bytes; /* so many until now */
};

/* Nothing of it has been read. `path` is absolute, or relative to the prefix. ljt_nginx_conf_free in the end. */
void ljt_nginx_conf_init(struct ljt_nginx_conf *c, const char *prefix, const char *path);
void ljt_nginx_conf_free(struct ljt_nginx_conf *c);

/* Reads the main file and what it includes as a process sees them whose root directory is `root` ("": our own). */
void ljt_nginx_conf_read(struct ljt_nginx_conf *c, const char *root);

/* The contents of one file: the files that it includes are noted in c->files. */
void ljt_nginx_conf_parse(struct ljt_nginx_conf *c, FILE *file);

bool ljt_nginx_conf_keeps(const struct ljt_nginx_conf *c, const char *variable);

#endif
