/*
 * What `ljtrim doctor` looks at, and how it says what it finds: a line each, with its remedy where there is
 * something to do.
 */
#ifndef LJT_DOCTOR_H
#define LJT_DOCTOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "object.h"

enum ljt_level {
    LJT_LEVEL_OK,   /* as it should be */
    LJT_LEVEL_NOTE, /* good to know */
    LJT_LEVEL_TODO  /* stands in the way, or makes libljtrim do less */
};

struct ljt_doctor {
    pid_t pid;                  /* the process, or 0: a command, or nothing but this machine */
    char root[64];              /* "/proc/PID/root", or "" */
    char **argv;                /* the command, or NULL */
    struct ljt_object *objects; /* the executable first, then what is loaded with it */
    size_t nobjects;
    bool todo; /* something was */
};

/*
 * Says what was found about `subject`, and what to do about it (NULL: nothing). `finding` is a printf format.
 */
void ljt_found(struct ljt_doctor *d, enum ljt_level level, const char *subject, const char *remedy,
               const char *finding, ...) __attribute__((format(printf, 5, 6)));

/* Reads the executable and its libraries into d->objects: 0 or -errno. */
int ljt_doctor_load_process(struct ljt_doctor *d);
int ljt_doctor_load_command(struct ljt_doctor *d);
/* One more, and what it needs; known ones are left out. */
void ljt_doctor_load_object(struct ljt_doctor *d, const char *path);

/* The modules that nginx's configuration loads, if it is nginx. A running one has them already. */
void ljt_doctor_load_nginx_modules(struct ljt_doctor *d);

/* The chapters. */
void ljt_doctor_check_machine(struct ljt_doctor *d);
void ljt_doctor_check_library(struct ljt_doctor *d);
void ljt_doctor_check_cgroup(struct ljt_doctor *d);
void ljt_doctor_check_executable(struct ljt_doctor *d);
void ljt_doctor_check_luajit(struct ljt_doctor *d);
void ljt_doctor_check_preloads(struct ljt_doctor *d);
void ljt_doctor_check_nginx(struct ljt_doctor *d);

/* The process's own environment: the value of a variable, into `value`; false if it has none. */
bool ljt_doctor_variable(const struct ljt_doctor *d, const char *name, char *value, size_t size);

/* The object that has LuaJIT's code, or NULL. */
const struct ljt_object *ljt_doctor_luajit(const struct ljt_doctor *d);

#endif
