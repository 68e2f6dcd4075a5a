/*
 * growth: who makes a heap grow.
 *
 * With LJTRIM_GROWTH=on. When lj_alloc maps memory for a VM, that thread leaves behind which Lua functions it is in
 * (lua_frames.h), its registers and a copy of the upper 8 KiB of its stack; at most once in 20 ms, bytes mapped in
 * between count with the next. Later, the reclaimer's thread has libljtrim-symtab.so unwind the copy with libunwind and
 * keeps a list of the paths with the most bytes. On the mutator's path nothing is unwound, allocated, locked or waited
 * for, and nothing is read but through the kernel.
 *
 * It is a profile of growth, not of what is in the heap: memory that is used again without a new mapping is not seen.
 */
#ifndef LJT_GROWTH_H
#define LJT_GROWTH_H

#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "gate.h"
#include "text.h"

struct ljt_module;

/* In the mmap hook, after lj_alloc has mapped `len` bytes for a VM of this module, in a gated call. */
void ljt_growth_sample(const struct ljt_module *module, size_t len);

static inline void ljt_growth_mapped(const struct ljt_module *module, size_t len)
{
    if (ljt_config.growth)
        ljt_growth_sample(module, len);
}

/* What came since the last time. On the reclaimer's thread; it allocates. */
void ljt_growth_digest(void);

/* The list, largest first. Any thread; takes ljt_wiped.growth. Nothing where nothing was sampled. */
void ljt_growth_text(struct ljt_text *t);

/*
 * The same text where another process can read it, as ljt_stats_page: `sequence` is odd while it is written. In a
 * forked child it is its parent's until the child's own reclaimer has written it: compare pid.
 */
#define LJT_GROWTH_PAGE_SYMBOL "ljtrim_growth_page"
#define LJT_GROWTH_MAGIC 0x6874776f7267746au

struct ljt_growth_page {
    uint64_t magic;
    _Atomic uint64_t sequence; /* 0: nothing yet */
    uint64_t pid;
    uint64_t length;
    char text[8 << 10];
};

extern struct ljt_growth_page ljtrim_growth_page;

#endif
