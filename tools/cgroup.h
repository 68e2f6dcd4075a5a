/* The memory cgroup of a process: what is charged to it, and the limits above it. v1 and v2. */
#ifndef LJT_CGROUP_H
#define LJT_CGROUP_H

#include <stddef.h>
#include <sys/types.h>

struct ljt_cgroup {
    int version;      /* 1, 2; 0: none found */
    char name[256];   /* as /proc/PID/cgroup says, cut if longer */
    size_t charged;   /* bytes, of all processes in it, the page cache included; 0: not known */
    size_t anonymous; /* of these, anonymous memory; 0: not known */
    size_t limit;     /* the lowest on the way up; SIZE_MAX: none */
    size_t high;      /* memory.high (v2), the lowest on the way up; SIZE_MAX: none */
};

/* Never fails: what cannot be found out stays as above. */
void ljt_cgroup_read(struct ljt_cgroup *c, pid_t pid);

#endif
