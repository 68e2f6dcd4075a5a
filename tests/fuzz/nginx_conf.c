/*
 * fuzz/nginx_conf: any bytes at all as nginx's configuration, which `ljtrim doctor` reads.
 *
 * An input holds files one after the other, separated by form feeds, in the order in which they are read.
 *
 * What must hold: texts end, counts are within their bounds, no file is named twice.
 */
#include <string.h>

#include "fuzz.h"
#include "nginx_conf.h"

static void demand_end(const char *text, size_t size)
{
    demand(memchr(text, '\0', size) != NULL, "a text ends");
}

static void check_files(const struct ljt_nginx_conf *c)
{
    demand(c->nfiles >= 1 && c->nfiles <= c->included && c->included <= LJT_NGINX_FILES, "bounds of files");
    for (size_t i = 0; i < c->nfiles; i++) {
        const struct ljt_nginx_file *f = &c->files[i];
        demand(f->path[0] == '/', "paths are absolute");
        demand(f->wild == 0 || (f->wild < strlen(f->path) && strchr("*?[", f->path[f->wild]) != NULL),
               "a pattern has a wildcard");
        for (size_t k = 0; k < i; k++)
            demand(f->wild != c->files[k].wild || strcmp(f->path, c->files[k].path) != 0, "no file twice");
    }
}

int ljt_fuzz_nginx_conf(const uint8_t *bytes, size_t n)
{
    static struct ljt_nginx_conf c;
    memset(&c, 0xff, sizeof(c));
    ljt_nginx_conf_init(&c, "/usr/share/nginx", "/etc/nginx/nginx.conf");
    for (size_t at = 0; at < n;) {
        const uint8_t *end = memchr(bytes + at, '\f', n - at);
        size_t length = end != NULL ? (size_t)(end - bytes) - at : n - at;
        FILE *file = length == 0 ? NULL : fmemopen((void *)(uintptr_t)(bytes + at), length, "r");
        if (file != NULL) {
            ljt_nginx_conf_parse(&c, file);
            fclose(file);
        }
        at += length + 1;
    }
    demand_end(c.left_out, sizeof(c.left_out));
    demand(c.bytes <= n, "each byte is looked at once");
    demand(c.nmodules <= LJT_NGINX_MODULES && c.nvariables <= LJT_NGINX_VARIABLES, "bounds");
    for (size_t i = 0; i < c.nmodules; i++) {
        demand_end(c.modules[i], sizeof(c.modules[i]));
        demand(c.modules[i][0] == '/', "paths are absolute");
    }
    for (size_t i = 0; i < c.nvariables; i++) {
        demand_end(c.variables[i], sizeof(c.variables[i]));
        demand(strchr(c.variables[i], '=') == NULL, "a name has no value");
        demand(ljt_nginx_conf_keeps(&c, c.variables[i]), "it is kept");
    }
    check_files(&c);
    ljt_fuzz_accepted += c.nvariables != 0 && c.nmodules != 0 && c.nfiles > 1;
    ljt_nginx_conf_free(&c);
    return 0;
}
