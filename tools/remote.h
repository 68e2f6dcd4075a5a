/*
 * Reading another process: its mappings, which of its pages exist, its memory; and holding it still for a
 * moment.
 *
 * Nothing is ever written to the target and no page of it is brought into being: process_vm_readv on an
 * untouched anonymous page would map the page of zeroes there, so every read asks /proc/PID/pagemap first
 * (ljt_pages_load) and skips what is absent. A swapped page is read, and thereby swapped in.
 *
 * The target is held with PTRACE_SEIZE and PTRACE_INTERRUPT on every thread. No signal is sent, a stopped job
 * stays stopped, and if this process dies the kernel detaches and the target runs on.
 *
 * Functions return 0 or a count, or -errno: -ESRCH no such process, -EPERM or -EACCES not ours to read.
 */
#ifndef LJT_REMOTE_H
#define LJT_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ljt_vma {
    uintptr_t start, end;
};

struct ljt_vmas {
    struct ljt_vma *at;
    size_t count;
};

/* 0 or -ENOMEM. free(v->at) at the end. */
int ljt_vmas_append(struct ljt_vmas *v, uintptr_t start, uintptr_t end);

struct ljt_remote {
    pid_t pid;
    char comm[32]; /* /proc/PID/comm */
    size_t page;   /* bytes */
    int pagemap;   /* file descriptor of /proc/PID/pagemap */

    struct ljt_vmas
        vmas; /* private anonymous readable and writable ones, ascending; [stack] and [heap] left out */

    struct ljt_thread {
        pid_t tid;
        int signal; /* a signal it was about to get when we stopped it, handed on by ljt_remote_resume */
    } * threads;
    size_t nthreads; /* held ones; 0 while the target runs */

    /* How often it was stopped, since when (CLOCK_MONOTONIC) it is, for how long at most it was, and in all. */
    unsigned stops;
    double stopped_at_us, longest_stop_us, all_stops_us;
};

/* CLOCK_MONOTONIC in microseconds. */
double ljt_now_us(void);

/* A process's id as itself sees it, in its own PID namespace. */
pid_t ljt_inner_pid(pid_t pid);

int ljt_remote_open(struct ljt_remote *r, pid_t pid);
void ljt_remote_close(struct ljt_remote *r); /* resumes first */

/* Reads /proc/PID/maps anew. */
int ljt_remote_load_vmas(struct ljt_remote *r);

/* Stops all threads, or none. -ETIMEDOUT: one of them (asleep in the kernel) did not stop within 2 s. */
int ljt_remote_stop(struct ljt_remote *r);
void ljt_remote_resume(struct ljt_remote *r);

/* Reads exactly n bytes of pages known to exist: 0, or -EFAULT. */
int ljt_remote_read(const struct ljt_remote *r, uintptr_t address, void *to, size_t n);

/* Bytes of /proc/PID/smaps_rollup; both 0 if the kernel has none. */
int ljt_remote_rss(const struct ljt_remote *r, size_t *rss, size_t *pss);

/*
 * Which pages of [start, end) exist, one byte a page. A page that was only read is mapped to the kernel's
 * page of zeroes: it costs nothing and RSS leaves it out, so it counts as absent, where the kernel can tell
 * (Linux 6.7).
 */
enum { LJT_PAGE_ABSENT, LJT_PAGE_PRESENT, LJT_PAGE_SWAPPED };

struct ljt_pages {
    uintptr_t start;
    size_t count;
    uint8_t *state; /* kept and reused by the next load; free() at the end */
    size_t capacity;
};

int ljt_pages_load(struct ljt_pages *p, const struct ljt_remote *r, uintptr_t start, uintptr_t end);

#endif
