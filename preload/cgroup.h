/*
 * cgroup: a process's memory cgroup, v1 or v2: what is charged to it, and the limits above it.
 *
 * Reads /proc and the cgroup file system through ljt_kernel, with buffers of its own: no malloc, no stdio. For the
 * library's reclaimer and for the command. Not for two threads at once.
 */
#ifndef LJT_CGROUP_H
#define LJT_CGROUP_H

#include <stddef.h>
#include <sys/types.h>

#define LJT_CGROUP_PATH 1024

/* Where it is. Does not change while a process stays where it is. */
struct ljt_cgroup_place {
    int version;                         /* 1, 2; 0: none found */
    char name[256];                      /* as /proc/PID/cgroup says, cut if longer */
    char directory[2 * LJT_CGROUP_PATH]; /* its files */
    size_t top;                          /* length of the part of that where the hierarchy is mounted */
};

/* What it says. Bytes. */
struct ljt_cgroup_use {
    size_t charged;   /* of all processes in it, the page cache included; 0: not known */
    size_t anonymous; /* of these, anonymous memory; 0: not known */
    size_t limit;     /* the lowest on the way up; SIZE_MAX: none */
    size_t high;      /* memory.high (v2), the lowest on the way up; SIZE_MAX: none */
    /* The level on the way up that is nearest its limit or its memory.high; bound SIZE_MAX: no level has one. */
    size_t used, bound; /* used: what can't be dropped at once: charged without the inactive page cache */
    unsigned stalled;   /* time that tasks waited for memory in the last 10 s, in 1/100 %; v2 */
};

/* Finds the place of a process; 0: of this one. version is 0 where there is none, or no permission. */
void ljt_cgroup_find(struct ljt_cgroup_place *place, pid_t pid);

/* Reads it. Never fails: what cannot be found out stays as above. */
void ljt_cgroup_read(const struct ljt_cgroup_place *place, struct ljt_cgroup_use *use);

/* "some avg10" of a file of pressure stall information, in 1/100 %; 0 where there is none. */
unsigned ljt_cgroup_stalled(const char *path);

#endif
