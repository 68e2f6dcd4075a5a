/*
 * candidate: finds VMs by what the objects map that could be LuaJIT.
 *
 * A first mapping of 128 KiB may be the first of an arena: it stays a candidate while its memory could still become a
 * VM's. When its object maps again, it is looked at from outside, without ever faulting: the sizes of the first two
 * chunks, GG_State in the second, and in that allocf beside allocd. What passes is a VM by all that can be seen; the
 * proof comes later, on its own thread.
 *
 * All under the registry lock; called by the mmap hooks. Nothing is allocated, and a host's stack may be small.
 */
#ifndef LJT_CANDIDATE_H
#define LJT_CANDIDATE_H

#include <stddef.h>
#include <stdint.h>

#include "gate.h"

struct ljt_module;

struct ljt_candidate_vm {
    struct ljt_module *module;
    uintptr_t born; /* where its first mapping was asked for */
    uintptr_t state, gg;
    uintptr_t place; /* &g->allocf */
    ljt_alloc_fn *allocf;
    size_t state_size; /* where its layout is not known */
    int error;         /* where it can't be read */
};

typedef void ljt_candidate_adopt_fn(const struct ljt_candidate_vm *vm);

/*
 * allocf, allocd: two adjacent words of global_State, whose offset differs between versions. How many such pairs are in
 * `gg`, GG_State's bytes: allocd the state, allocf in [lo, hi). Fills in vm's place and allocf: the last pair's.
 */
unsigned ljt_candidate_find_allocf(const unsigned char *gg, size_t gg_len, uintptr_t lo, uintptr_t hi,
                                   struct ljt_candidate_vm *vm);

/* The oldest of 1,024 is forgotten for a new one. */
void ljt_candidates_add(uintptr_t base, struct ljt_module *module, uintptr_t pc);

/* Looks at some of a module's candidates; those that are VMs are adopted, and none any more. */
void ljt_candidates_check(const struct ljt_module *module, ljt_candidate_adopt_fn *adopt);

/* No candidate is in this memory any more. */
void ljt_candidates_forget(uintptr_t addr, size_t len);

#endif
