/*
 * takeover: how the patched allocator gets into a VM, and out again.
 *
 * LJTRIM_MODE=patched: when an arena has been proven, the gate's calls go to ljt_patched_alloc instead of to the
 * VM's lj_alloc_f. Both work on the same state in the same format, so nothing is moved, no block has to be told from
 * another by its address, closing is as before, and a program that sets lj_alloc_f back finds a heap that it can go
 * on with at once. It works for every linkage, since the way in is the gate's.
 *
 * A VM whose pointers have 32 bits is refused: it can't use memory from just anywhere. It is trimmed as in native
 * mode.
 */
#ifndef LJT_TAKEOVER_H
#define LJT_TAKEOVER_H

struct ljt_arena;
struct ljt_lj_state;

/* Takes over an arena that has just been proven, if that is wanted and possible. On the mutator's thread. */
void ljt_takeover(struct ljt_arena *a);

/* A heap of ours, for a VM that is about to be (birth.h). Its first segment is counted as its module's. */
struct ljt_lj_state *ljt_takeover_create(struct ljt_arena *a);

/* On the reclaimer's thread, when a look has begun, before its first unit. */
void ljt_takeover_before_look(struct ljt_arena *a);

/*
 * Leaves it to lj_alloc, which goes on where we have left off; what is parked stays out of its sight. The caller has
 * excluded the mutator or is it. No effect on an arena that is not ours.
 */
void ljt_takeover_end(struct ljt_arena *a);

/* Frees the table of what was parked: the VM is gone. */
void ljt_takeover_drop(struct ljt_arena *a);

#endif
