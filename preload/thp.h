/*
 * thp: keeps khugepaged from filling what was purged.
 *
 * Where transparent huge pages are on for everybody ("always"), khugepaged makes one huge page of a few small ones
 * and many holes, and the memory is back. So whole segments are advised MADV_NOHUGEPAGE before their first purge:
 * once, again when they have grown. Never runs (each would split a mapping; 65,531 of them made a host's malloc
 * fail), never direct blocks (mremap can't grow across mappings of unlike advice), never the opposite advice. The
 * first refusal ends it. LJTRIM_THP=keep leaves huge pages alone.
 */
#ifndef LJT_THP_H
#define LJT_THP_H

#include <stddef.h>
#include <stdint.h>

/* Finds out whether it matters here. Once a process tree, before a chroot: when the first arena is armed. */
void ljt_thp_init(void);

struct ljt_arena;

/* Advises the listed segments of an arena, if they have changed since it last did. Nothing may be held. */
void ljt_thp_advise(struct ljt_arena *a);

#endif
