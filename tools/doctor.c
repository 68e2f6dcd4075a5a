/* ljtrim doctor [PID | -- COMMAND]: what libljtrim will find here, and what stands in its way. */
#include "doctor.h"
#include "commands.h"
#include "permission.h"
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void ljt_found(struct ljt_doctor *d, enum ljt_level level, const char *subject, const char *remedy,
               const char *finding, ...)
{
    enum { COLUMN = 20, WIDTH = 79 };
    static const char *const words[] = {"ok", "note", "todo"};
    char said[1024], plain[sizeof(said)] = "", buf[2048];
    struct ljt_text t = LJT_TEXT(buf), p = LJT_TEXT(plain);
    va_list args;
    va_start(args, finding);
    vsnprintf(said, sizeof(said), finding, args);
    va_end(args);
    ljt_text_foreign(&p, said, sizeof(plain) - 1); /* paths and versions are what a process makes of them */
    ljt_text_printf(&t, "%-6s%s", words[level], subject);
    ljt_text_column(&t, COLUMN);
    ljt_text_wrap(&t, plain, COLUMN, WIDTH);
    if (remedy != NULL) {
        ljt_text_string(&t, "\n");
        ljt_text_repeat(&t, ' ', COLUMN);
        ljt_text_string(&t, "-> ");
        ljt_text_wrap(&t, remedy, COLUMN + 3, WIDTH);
    }
    puts(buf);
    d->todo |= level == LJT_LEVEL_TODO;
}

bool ljt_doctor_variable(const struct ljt_doctor *d, const char *name, char *value, size_t size)
{
    if (d->pid == 0) {
        const char *own = getenv(name);
        snprintf(value, size, "%s", own == NULL ? "" : own);
        return own != NULL;
    }
    char path[64], *line = NULL;
    size_t room = 0, n = strlen(name);
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%d/environ", (int)d->pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && !found && getdelim(&line, &room, '\0', f) > 0) {
        found = strncmp(line, name, n) == 0 && line[n] == '=';
        if (found)
            snprintf(value, size, "%s", line + n + 1);
    }
    free(line);
    if (f != NULL)
        fclose(f);
    return found;
}

static void examine(struct ljt_doctor *d)
{
    if (d->nobjects != 0) {
        if (d->pid == 0)
            ljt_doctor_load_nginx_modules(d);
        ljt_doctor_check_executable(d);
        ljt_doctor_check_luajit(d);
        if (ljt_doctor_luajit(d) != NULL) {
            ljt_doctor_check_preloads(d);
            ljt_doctor_check_nginx(d);
        }
    }
    if (d->pid == 0)
        ljt_doctor_check_library(d);
    ljt_doctor_check_machine(d);
    ljt_doctor_check_cgroup(d);
}

static int parse(int argc, char **argv, struct ljt_doctor *d)
{
    if (argc == 1)
        return 0;
    char *end;
    long n = strtol(argv[1], &end, 10);
    if (argc == 2 && *end == '\0' && n > 0 && n < 1 << 30) {
        d->pid = (pid_t)n;
        snprintf(d->root, sizeof(d->root), "/proc/%d/root", (int)d->pid);
        return 0;
    }
    int first = strcmp(argv[1], "--") == 0 ? 2 : 1;
    if (first < argc && (first == 2 || argv[1][0] != '-')) {
        d->argv = argv + first;
        return 0;
    }
    fprintf(stderr, "ljtrim: doctor: neither a process id nor a command; see 'ljtrim help doctor'\n");
    return -EINVAL;
}

static int fail(const struct ljt_doctor *d, int error)
{
    char buf[512];
    struct ljt_text t = LJT_TEXT(buf);
    if (d->pid == 0) {
        fprintf(stderr, "ljtrim: doctor: cannot read '%s' (%s)\n", d->argv[0], strerror(-error));
        return LJT_EXIT_NO_PROCESS;
    }
    enum ljt_exit status = ljt_process_explain(&t, d->pid, error == -ENOENT ? -ESRCH : error);
    fprintf(stderr, "ljtrim: %s\n", buf);
    return status;
}

int ljt_doctor_main(int argc, char **argv)
{
    struct ljt_doctor d = {0};
    if (parse(argc, argv, &d) != 0)
        return LJT_EXIT_USAGE;
    int error = d.pid != 0 ? ljt_doctor_load_process(&d) : d.argv != NULL ? ljt_doctor_load_command(&d) : 0;
    if (error != 0) {
        free(d.objects);
        return fail(&d, error);
    }
    examine(&d);
    free(d.objects);
    return d.todo ? LJT_EXIT_TODO : LJT_EXIT_OK;
}
