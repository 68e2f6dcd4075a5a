/*
 * thp: keeps huge pages from holding what was purged.
 *
 * Where transparent huge pages are on for everybody ("always"), khugepaged makes one huge page of a few small ones
 * and many holes, and the memory is back. So whole segments are advised MADV_NOHUGEPAGE before their first purge:
 * once, again when they have grown. Never runs (each would split a mapping; 65,531 of them made a host's malloc
 * fail), never direct blocks (mremap can't grow across mappings of unlike advice), never the opposite advice. The
 * first refusal ends it.
 *
 * And a huge page that was there before stays charged to the control group in whole when a part of it is purged, whatever
 * RSS says: the kernel splits it when it is short of memory, or never. Seen: 64 MiB purged to 4, 64 MiB charged. MADV_COLD
 * on what is left splits it at once (mm/madvise.c, madvise_cold_or_pageout_pte_range; Linux 5.4), a quarter of a
 * millisecond each, and loses nothing: only the pages' place among those that the kernel would take first.
 *
 * LJTRIM_THP=keep leaves huge pages alone.
 */
#ifndef LJT_THP_H
#define LJT_THP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Finds out whether it matters here. Once a process tree, before a chroot: when the first arena is armed. */
void ljt_thp_init(void);

struct ljt_arena;

/* Advises the listed segments of an arena, if they have changed since it last did. Nothing may be held. */
void ljt_thp_advise(struct ljt_arena *a);

/*
 * Splits the huge pages of which these runs, just purged and not yet marked so in the shadow, were a part. Where huge
 * pages matter only; by the reclaimer, nothing held: it takes the arena's life lock for each huge page anew, since a VM
 * that unmaps would wait for it.
 */
void ljt_thp_split(struct ljt_arena *a, const struct iovec *run, unsigned runs);

#endif
