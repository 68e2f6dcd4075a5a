/*
 * Who holds a process's memory: every mapping of /proc/PID/smaps is given to one holder, and what LuaJIT's and
 * glibc's allocators hold inside anonymous mappings is told apart page by page (the kernel merges neighbours).
 *
 * Sums over all holders are the process's RSS, Pss and swap. Where the target runs on, a page may be counted
 * twice or not at all.
 */
#ifndef LJT_HOLDERS_H
#define LJT_HOLDERS_H

#include "arenas.h"

enum ljt_holder {
    LJT_HOLDER_ARENAS,  /* LuaJIT's allocator: its arenas */
    LJT_HOLDER_BLOCKS,  /* LuaJIT's allocator: large blocks with mappings of their own */
    LJT_HOLDER_MACHINE, /* executable anonymous mappings: LuaJIT's machine code, that of PCRE's JIT too */
    LJT_HOLDER_GLIBC,   /* [heap], heaps of 64 MiB, large blocks */
    LJT_HOLDER_STACKS,
    LJT_HOLDER_SHARED, /* shared memory: anonymous, System V, POSIX, memfd */
    LJT_HOLDER_FILES,
    LJT_HOLDER_OTHER, /* anonymous: tables of libraries, other allocators */
    LJT_HOLDERS
};

struct ljt_held {
    size_t rss, pss, swap; /* bytes */
    size_t mappings;
};

struct ljt_holders {
    struct ljt_held by[LJT_HOLDERS], all;
    bool has_libljtrim; /* libljtrim.so is mapped */
};

/* "LuaJIT's arenas", and a word for programs: "arenas". */
extern const char *const ljt_holder_names[LJT_HOLDERS];
extern const char *const ljt_holder_keys[LJT_HOLDERS];

/* 0 or -errno. `measured` (count of them) may be left out where there is no arena. */
int ljt_holders_read(struct ljt_holders *h, const struct ljt_remote *r, const struct ljt_arenas *a,
                     const struct ljt_measured *measured, size_t count);

#endif
