#include "candidate.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "heap.h"
#include "kernel.h"
#include "module.h"
#include "refuse.h"

#define CANDIDATES 1024

/*
 * A mapping that may be the first of an arena. It stays a candidate while its memory could still become a VM:
 * a state that is being set up on another thread, or one that has not grown.
 */
struct candidate {
    uintptr_t base; /* 0: empty */
    struct ljt_module *module;
    uintptr_t pc; /* where it was asked for */
    bool first;   /* of its module: if that is a LuaJIT, this is an arena */
};

static struct candidate candidates[CANDIDATES];
static unsigned candidate_slots; /* used so far */
static unsigned next_candidate;  /* the oldest is overwritten */

/* GG_State is 5 to 8 KiB; it is the first allocation of its arena. */
#define GG_MIN ((size_t)1 << 10)
#define GG_MAX ((size_t)32 << 10)

/* What a light check has read of it; static, since a host's stack may be small. */
static unsigned char gg_copy[GG_MAX];

enum verdict { NOT_A_VM, UNKNOWN_LAYOUT, UNREADABLE, TOO_YOUNG, A_VM };

/* Reads without ever faulting: the mapping may have gone in a way that did not pass by us. 0, or the errno of failure. */
static int peek(void *to, uintptr_t from, size_t len)
{
    ssize_t n = ljt_kernel.peek(to, (const void *)from, len);
    return n == (ssize_t)len ? 0 : n < 0 ? errno : EFAULT;
}

/* That there is nothing to read is an answer, if it is true; but not of a mapping that may be no arena, and closed to all. */
static enum verdict verdict_of_error(const struct candidate *c, int error, struct ljt_candidate_vm *vm)
{
    unsigned char present[LJT_LJ_GRANULARITY / 4096];
    vm->error = error;
    if (error != EFAULT)
        return UNREADABLE;
    return c->first && ljt_kernel.mincore((void *)c->base, LJT_LJ_GRANULARITY, present) == 0 ? UNREADABLE
                                                                                             : NOT_A_VM;
}

/* An arena's first chunk holds its state, whatever that looks like: in use, and of a state's size, more or less. */
static bool is_like_an_arena(size_t prev_foot, size_t head)
{
    return prev_foot == 0 && (head & 7) == (LJT_LJ_CINUSE | LJT_LJ_PINUSE) && ljt_lj_head_size(head) >= 512 &&
           ljt_lj_head_size(head) <= 4096;
}

unsigned ljt_candidate_find_allocf(const unsigned char *gg, size_t gg_len, uintptr_t lo, uintptr_t hi,
                                   struct ljt_candidate_vm *vm)
{
    unsigned found = 0;
    for (size_t at = 0; at + 16 <= gg_len; at += 8) {
        uintptr_t word[2];
        memcpy(word, gg + at, sizeof(word));
        if (word[1] != vm->state || word[0] < lo || word[0] >= hi)
            continue;
        vm->place = vm->gg + at;
        vm->allocf = (ljt_alloc_fn *)word[0];
        found++;
    }
    return found;
}

/*
 * The light check. The VM may be running on another thread meanwhile: everything read is a hint, but for what
 * never changes after lua_newstate (the chunk sizes, GG_State's place, allocd), and the proof comes later.
 */
static enum verdict check(const struct candidate *c, struct ljt_candidate_vm *vm)
{
    struct {
        size_t prev_foot, head;
        struct ljt_lj_state m;
    } arena;
    int error = peek(&arena, c->base, sizeof(arena));
    if (error != 0)
        return verdict_of_error(c, error, vm);
    if (arena.head == 0)
        return TOO_YOUNG;
    if (!ljt_lj_head_is_state(arena.head)) {
        vm->state_size = ljt_lj_head_size(arena.head);
        return is_like_an_arena(arena.prev_foot, arena.head) ? UNKNOWN_LAYOUT : NOT_A_VM;
    }

    vm->state = c->base + LJT_LJ_MEM_OFFSET;
    uintptr_t gg_chunk = c->base + ljt_lj_head_size(arena.head);
    size_t gg_words[2];
    if ((error = peek(gg_words, gg_chunk, sizeof(gg_words))) != 0)
        return verdict_of_error(c, error, vm);
    size_t gg_size = ljt_lj_head_size(gg_words[1]);
    if (!ljt_lj_head_cinuse(gg_words[1]) || gg_size < GG_MIN || gg_size > GG_MAX ||
        gg_chunk + gg_size > c->base + LJT_LJ_GRANULARITY)
        return TOO_YOUNG; /* GG_State not allocated yet */
    vm->gg = gg_chunk + LJT_LJ_MEM_OFFSET;
    size_t gg_len = gg_size - LJT_LJ_MEM_OFFSET;
    if ((error = peek(gg_copy, vm->gg, gg_len)) != 0)
        return verdict_of_error(c, error, vm);

    uintptr_t lo = atomic_load_explicit(&c->module->text_lo, memory_order_relaxed);
    uintptr_t hi = atomic_load_explicit(&c->module->text_hi, memory_order_relaxed);
    if (ljt_candidate_find_allocf(gg_copy, gg_len, lo, hi, vm) != 1)
        return TOO_YOUNG; /* not set up yet, or its allocator is not this module's: a host's own */
    bool grown = arena.m.seg.next != NULL || arena.m.seg.size > LJT_LJ_GRANULARITY;
    return grown ? A_VM : TOO_YOUNG;
}

/*
 * At most so many a mapping: each costs a system call, and a host may have a thousand VMs that do not grow. They
 * take turns; one that grows maps again and again.
 */
#define CHECKS 64

void ljt_candidates_check(const struct ljt_module *module, ljt_candidate_adopt_fn *adopt)
{
    static unsigned next;
    for (unsigned i = 0; i < candidate_slots && i < CHECKS; i++) {
        struct candidate *c = &candidates[next++ % candidate_slots];
        if (c->base == 0 || c->module != module)
            continue;
        if (!ljt_refuse_look(module))
            return;
        struct ljt_candidate_vm vm = {.module = c->module, .born = c->pc};
        enum verdict verdict = check(c, &vm);
        if (verdict == A_VM && !ljt_refuse_vm())
            adopt(&vm);
        if (verdict == UNKNOWN_LAYOUT && c->first)
            ljt_refuse_layout(module, vm.state_size);
        if (verdict == UNREADABLE)
            ljt_refuse_unreadable(module, vm.error);
        if (verdict != TOO_YOUNG && verdict != UNREADABLE)
            c->base = 0;
    }
}

void ljt_candidates_add(uintptr_t base, struct ljt_module *module, uintptr_t pc)
{
    unsigned i = 0;
    while (i < candidate_slots && candidates[i].base != 0)
        i++;
    if (i == CANDIDATES)
        i = next_candidate++ % CANDIDATES;
    else if (i == candidate_slots)
        candidate_slots++;
    candidates[i] = (struct candidate){base, module, pc, !module->has_mapped};
    module->has_mapped = true;
}

void ljt_candidates_forget(uintptr_t addr, size_t len)
{
    for (unsigned i = 0; i < candidate_slots; i++)
        if (candidates[i].base - addr < len)
            candidates[i].base = 0;
}
