/* ljtrim inspect PID: who holds the memory of this process, and what of it does LuaJIT's allocator keep? */
#include "arguments.h"
#include "commands.h"
#include "inspection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV };

struct options {
    pid_t pid;
    enum format format;
    const char *map; /* file to draw into, or NULL */
    struct ljt_inspection_how how;
};

/* ---- The command ---- */

static int fail(pid_t pid, int error)
{
    char buf[512];
    struct ljt_text t = LJT_TEXT(buf);
    int status = ljt_inspection_explain(&t, pid, error);
    fprintf(stderr, "ljtrim: %s\n", buf);
    return status;
}

static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.how = {.max_stop_ms = -1, .max_looks = LJT_MAX_LOOKS}};
    for (int i = 1; i < argc; i++) {
        const char *value, *word = argv[i];
        if (strcmp(word, "--json") == 0) {
            o->format = FORMAT_JSON;
        } else if (strcmp(word, "--csv") == 0) {
            o->format = FORMAT_CSV;
        } else if (strcmp(word, "--no-stop") == 0) {
            o->how.no_stop = true;
        } else if ((value = ljt_value_of("--map", argc, argv, &i)) != NULL) {
            if (!ljt_has_suffix(value, ".svg") && !ljt_has_suffix(value, ".png"))
                return ljt_refuse_value(argv[0], "--map", "a file that ends in .svg or .png", value);
            o->map = value;
        } else if ((value = ljt_value_of("--max-stop", argc, argv, &i)) != NULL) {
            if ((o->how.max_stop_ms = ljt_number(value, 0)) < 0)
                return ljt_refuse_value(argv[0], "--max-stop", "milliseconds, or 0 for no limit", value);
        } else if (ljt_take_pid(argv[0], word, &o->pid) != 0) {
            return -EINVAL;
        }
    }
    if (ljt_want_pid(argv[0], o->pid) != 0)
        return -EINVAL;
    /* Scripts want figures that add up. */
    if (o->how.max_stop_ms < 0)
        o->how.max_stop_ms = o->format == FORMAT_CSV ? 0 : LJT_MAX_STOP_MS;
    o->how.arenas_only = o->format == FORMAT_CSV && o->map == NULL; /* the map tells who holds the rest */
    return 0;
}

static int draw(const struct ljt_inspection *n, const char *path)
{
    int error = ljt_inspection_draw(n, path);
    if (error == 0)
        return LJT_EXIT_OK;
    fprintf(stderr, "ljtrim: could not write %s (%s)\n", path, strerror(-error));
    return LJT_EXIT_FAILED;
}

static int show(const struct ljt_inspection *n, const struct options *o)
{
    int status = n->restless ? LJT_EXIT_UNREADABLE : n->count == 0 ? LJT_EXIT_NO_ARENA : LJT_EXIT_OK;
    if (o->format == FORMAT_JSON)
        ljt_inspection_print_json(n);
    else if (o->format == FORMAT_TEXT && (n->count != 0 || !n->restless))
        ljt_inspection_print_text(n);
    else if (o->format == FORMAT_CSV && n->count != 0)
        ljt_inspection_print_csv(n);
    fflush(stdout);
    if (n->count == 0 && n->restless)
        fprintf(stderr, "ljtrim: the LuaJIT heap of process %d (%s) never added up in %u looks; try again\n",
                (int)o->pid, n->remote.comm, n->remote.stops);
    else if (n->count == 0 && o->format == FORMAT_CSV)
        fprintf(stderr, "ljtrim: process %d (%s) has no LuaJIT arena\n", (int)o->pid, n->remote.comm);
    else if (n->count != 0 && o->map != NULL && draw(n, o->map) != LJT_EXIT_OK)
        status = LJT_EXIT_FAILED;
    return status;
}

int ljt_inspect_main(int argc, char **argv)
{
    struct ljt_inspection n;
    struct options o;
    if (parse(argc, argv, &o) != 0)
        return LJT_EXIT_USAGE;
    int error = ljt_inspection_take(&n, o.pid, &o.how);
    int status = error != 0 ? fail(o.pid, error) : show(&n, &o);
    ljt_inspection_free(&n);
    return status;
}
