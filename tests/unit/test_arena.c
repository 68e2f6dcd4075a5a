/*
 * The life of an arena: found, checked, gated, proven, closed, lost.
 */
#include "lab.h"

#include "reclaim.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "module.h"

TestSuite(arena, .init = lab_init, .timeout = LAB_TIMEOUT);

/* A call through whatever allocf is. */
static void call(const struct lab_vm *vm)
{
    lua_newuserdata(vm->L, 16);
    lua_pop(vm->L, 1);
}

static bool is_gated(const struct lab_vm *vm)
{
    struct ljt_arena *a = lab_arena_of(vm->m);
    return a != NULL && lab_vm_allocf(vm) == ljt_gate_trampoline(a->slot);
}

/* ---- Found and gated ---- */

Test(arena, a_vm_that_has_not_grown_is_left_alone)
{
    struct lab_vm vm = lab_vm_open();
    lab_vm_announce(&vm);
    lab_vm_mapped_again(&vm);
    cr_expect(lab_arena_of(vm.m) == NULL && lab_vm_allocf(&vm) == vm.allocf);
    lab_vm_grow(&vm, 200 * KIB);
    lab_vm_mapped_again(&vm);
    cr_expect(is_gated(&vm), "it stayed a candidate");
}

Test(arena, a_grown_vm_is_gated_and_armed_by_its_first_call)
{
    struct lab_vm vm = lab_vm_open();
    lab_catch_stderr();
    struct ljt_arena *a = lab_vm_adopt(&vm);
    cr_assert(a != NULL && ljt_arena_is(a, LJT_ARENA_GATED) && is_gated(&vm));
    cr_expect(a->m == vm.m && a->allocf == vm.allocf && ljt_gates[a->slot].allocf == vm.allocf);
    call(&vm);
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED) && is_gated(&vm));
    cr_expect(atomic_load(&ljt_wiped.word[a->slot].want) == LJT_WANT_LIVE);
    void *ud;
    lua_getallocf(vm.L, &ud);
    cr_expect(ud == vm.m, "allocd stays");

    luaL_openlibs(vm.L);
    lab_run(vm.L,
            "local t = {} for i = 1, 1e5 do t[i] = {tostring(i)} end for i = 1, 1e5 do assert(t[i][1] == "
            "tostring(i)) end");
    lab_prove(vm.m);
    cr_expect(lab_said_lines() == 0, "said: %s", lab_said());
}

Test(arena, is_gated_once)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lab_vm_announce(&vm);
    lab_vm_mapped_again(&vm);
    cr_expect(lab_arena_of(vm.m) == a && atomic_load(&ljt_arena_slots) == 1);
    call(&vm);
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED));
}

Test(arena, a_vm_whose_segment_was_prepended_is_gated)
{
    struct lab_vm vm = lab_vm_open();
    lab_vm_announce(&vm);
    /* Whatever is mapped behind it, segments come before it, sooner or later. */
    (void)mmap((void *)(vm.base + 128 * KIB), 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    lab_vm_grow(&vm, 4 * MIB);
    lab_vm_mapped_again(&vm);
    cr_assert(is_gated(&vm));
    call(&vm);
    cr_expect(ljt_arena_is(lab_arena_of(vm.m), LJT_ARENA_ARMED));
    lua_close(vm.L);
}

Test(arena, knows_what_the_vm_counts)
{
    struct lab_vm vm = lab_vm_open();
    lab_vm_announce(&vm);
    lab_run(vm.L, "keep = nil for i = 1, 20000 do keep = {keep} end"); /* nothing that is mapped directly */
    lab_vm_mapped_again(&vm);
    call(&vm);
    struct ljt_arena *a = lab_arena_of(vm.m);
    cr_assert(a != NULL && ljt_arena_is(a, LJT_ARENA_ARMED));
    cr_expect(a->gc_width == 8 || a->gc_width == 4);
    uint64_t count = (uint64_t)lua_gc(vm.L, LUA_GCCOUNT, 0) * 1024 + (uint64_t)lua_gc(vm.L, LUA_GCCOUNTB, 0);
    cr_expect(ljt_arena_gc_total(a) == count, "%llu", (unsigned long long)ljt_arena_gc_total(a));
    a->gc_width = 0;
    cr_expect(ljt_arena_gc_total(a) == 0);
}

/* ---- Builds of former days ---- */

/* From 2.0.0-beta1 to today: the state with a PRNG and without, pointers of 8 bytes in the VM and of 4. */
Test(arena, every_layout_is_gated_and_armed)
{
    for (int old = 0; old < 2; old++)
        for (unsigned width = 4; width <= 8; width += 4) {
            struct ljt_lj_state *m = old ? lab_old_heap(1 * MIB) : lab_heap(1 * MIB);
            struct lab_vm vm = lab_vm_make(m, width);
            struct ljt_lj_chunk *gg = ljt_lj_chunk_next(lab_chunk(m));
            size_t head = gg->head;
            struct ljt_arena *a = lab_vm_adopt(&vm);
            cr_assert(a != NULL && ljt_arena_is(a, LJT_ARENA_GATED), "old %d, width %u", old, width);
            cr_expect(a->gg == ljt_lj_chunk_to_mem(gg) && a->allocf == vm.allocf);
            lab_vm_call(a);
            cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED), "old %d, width %u", old, width);
            cr_expect(gg->head == head, "nothing is written behind the state");
            lab_prove(m);
        }
}

/* The limit of what it may use follows in the next 4 bytes: read as one number of 8 the two are past all belief. */
Test(arena, a_vm_without_gc64_counts_in_4_bytes)
{
    struct lab_vm vm = lab_vm_make(lab_old_heap(1 * MIB), 4);
    struct ljt_arena *a = lab_vm_adopt(&vm);
    lab_vm_call(a);
    cr_assert(ljt_arena_is(a, LJT_ARENA_ARMED) && a->gc_width == 4);
    cr_expect(ljt_arena_gc_total(a) == 200 * KIB, "%llu", (unsigned long long)ljt_arena_gc_total(a));
}

/* ---- Left alone ---- */

static void *own_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    return lab_allocf()(ud, ptr, osize, nsize);
}

Test(arena, a_vm_with_the_host_s_own_allocator_is_left_alone)
{
    struct lab_vm vm = lab_vm_open();
    lab_vm_announce(&vm);
    lua_setallocf(vm.L, own_alloc, vm.m);
    lab_vm_grow(&vm, 200 * KIB);
    lab_vm_mapped_again(&vm);
    cr_expect(lab_arena_of(vm.m) == NULL && lab_vm_allocf(&vm) == own_alloc);
    call(&vm);
}

Test(arena, memory_that_is_no_vm_is_left_alone)
{
    char *zeroes = ljt_kernel_alloc(128 * KIB), *junk = ljt_kernel_alloc(128 * KIB);
    lab_seed("arena: junk");
    for (size_t i = 0; i < 128 * KIB / 8; i++)
        ((uint64_t *)junk)[i] = lab_random();
    struct ljt_lj_state *bare = lab_heap(128 * KIB); /* a state, but no VM in it */
    struct ljt_lj_state *almost = lab_heap(256 * KIB);
    uint64_t *gg = lab_malloc(almost, 5000); /* allocd, but no allocf of LuaJIT's before it */
    gg[10] = (uint64_t)lab_malloc;
    gg[11] = (uint64_t)almost;
    const uintptr_t base[] = {(uintptr_t)zeroes, (uintptr_t)junk, bare->seg.base, almost->seg.base, 4096};
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof(base) / sizeof(base[0]); i++)
            ljt_arena_mapped(base[i], 128 * KIB, lab_pc());
    ljt_arena_mapped((uintptr_t)zeroes, 256 * KIB, lab_pc());
    cr_expect(atomic_load(&ljt_arena_slots) == 0);
    cr_expect(gg[10] == (uint64_t)lab_malloc);
    cr_expect(junk[0] != 0 || junk[1] != 0);
}

Test(arena, two_places_that_look_like_allocf_are_one_too_many)
{
    struct ljt_lj_state *m = lab_heap(256 * KIB);
    uint64_t *gg = lab_malloc(m, 5000);
    gg[10] = gg[50] = (uint64_t)lab_allocf();
    gg[11] = gg[51] = (uint64_t)m;
    ljt_arena_mapped(m->seg.base, 128 * KIB, lab_pc());
    ljt_arena_mapped(m->seg.base + 128 * KIB, 256 * KIB, lab_pc());
    cr_expect(atomic_load(&ljt_arena_slots) == 0 && gg[10] == (uint64_t)lab_allocf());
    gg[50] = 0;
    ljt_arena_mapped(m->seg.base + 128 * KIB, 256 * KIB, lab_pc());
    cr_expect(atomic_load(&ljt_arena_slots) == 1 && gg[10] != (uint64_t)lab_allocf(), "one is enough");
}

static void (*real_wait)(const volatile void *address, uint32_t value, uint64_t ns);
static _Atomic int stage; /* of the next test */

static void note_wait(const volatile void *address, uint32_t value, uint64_t ns)
{
    atomic_store(&stage, 1);
    real_wait(address, value, ns);
}

static void *unmap_a_segment_without_claims(void *base)
{
    ljt_arena_unmapping((uintptr_t)base, LJT_LJ_GRANULARITY, lab_pc());
    int none = 0;
    atomic_compare_exchange_strong(&stage, &none, 2);
    return NULL;
}

Test(arena, what_comes_without_the_gate_unmaps_nothing_during_a_hold)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    void *elsewhere = ljt_kernel_alloc(LJT_LJ_GRANULARITY); /* neither the state is there nor a claim */
    real_wait = ljt_kernel.futex_wait;
    cr_assert(ljt_gate_hold(a->slot, 0));
    atomic_store(a->place, a->allocf);
    ljt_kernel.futex_wait = note_wait;
    pthread_t host;
    pthread_create(&host, NULL, unmap_a_segment_without_claims, elsewhere);
    while (atomic_load(&stage) == 0)
        sched_yield();
    cr_expect(atomic_load(&stage) == 1, "it waits for the unit's end");
    ljt_gate_release(a->slot);
    pthread_join(host, NULL);
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED), "nothing of it is gone");
}

Test(arena, a_candidate_that_was_unmapped_is_forgotten)
{
    struct lab_vm vm = lab_vm_open();
    lab_vm_announce(&vm);
    ljt_arena_unmapping(vm.base, LJT_LJ_GRANULARITY, lab_pc());
    lab_vm_grow(&vm, 200 * KIB);
    lab_vm_mapped_again(&vm);
    cr_expect(lab_arena_of(vm.m) == NULL);
}

Test(arena, a_vm_is_found_among_more_mappings_than_are_remembered)
{
    char *blocks = ljt_kernel_alloc(32 * MIB);
    for (size_t i = 0; i < 200; i++)
        ljt_arena_mapped((uintptr_t)blocks + i * 128 * KIB, 128 * KIB, lab_pc());
    struct lab_vm vm = lab_vm_open();
    lab_vm_announce(&vm);
    for (size_t i = 200; i < 230; i++)
        ljt_arena_mapped((uintptr_t)blocks + i * 128 * KIB, 128 * KIB, lab_pc());
    lab_vm_grow(&vm, 200 * KIB);
    for (int turn = 0; turn < 4; turn++) /* 64 candidates are checked at a time */
        lab_vm_mapped_again(&vm);
    cr_expect(is_gated(&vm));
}

/* A VM that does not grow is of no use to us, so that this costs only who grows late among more than 1,024 that never do. */
Test(arena, one_more_than_1024_that_have_not_grown_takes_the_place_of_the_oldest)
{
    enum { REMEMBERED = 1024 };
    char *blocks = ljt_kernel_alloc(REMEMBERED * 128 * KIB);
    struct lab_vm oldest = lab_vm_open(), next = lab_vm_open();
    lab_vm_announce(&oldest);
    lab_vm_announce(&next);
    for (size_t i = 2; i < REMEMBERED + 1; i++)
        ljt_arena_mapped((uintptr_t)blocks + (i - 2) * 128 * KIB, 128 * KIB, lab_pc());
    lab_vm_grow(&oldest, 200 * KIB);
    lab_vm_grow(&next, 200 * KIB);
    for (int turn = 0; turn < 2 * REMEMBERED / 64; turn++)
        lab_vm_mapped_again(&next);
    cr_expect(lab_arena_of(oldest.m) == NULL);
    cr_expect(is_gated(&next));
}

static ssize_t no_peek(void *to, const void *from, size_t len)
{
    (void)to, (void)from, (void)len;
    errno = EFAULT;
    return -1;
}

Test(arena, memory_that_can_not_be_read_is_left_alone)
{
    struct lab_vm vm = lab_vm_open();
    lab_vm_announce(&vm);
    lab_vm_grow(&vm, 200 * KIB);
    ljt_kernel.peek = no_peek;
    lab_vm_mapped_again(&vm);
    cr_expect(lab_arena_of(vm.m) == NULL);
}

static struct lab_vm raced;
static ssize_t (*real_peek)(void *to, const void *from, size_t len);

/* The host sets its own allocator at the worst moment: after the check has read the old one. */
static ssize_t racing_peek(void *to, const void *from, size_t len)
{
    ssize_t n = real_peek(to, from, len);
    if (len > 2000)
        lua_setallocf(raced.L, own_alloc, raced.m);
    return n;
}

Test(arena, a_host_that_sets_allocf_during_the_check_wins)
{
    raced = lab_vm_open();
    lab_vm_announce(&raced);
    lab_vm_grow(&raced, 200 * KIB);
    real_peek = ljt_kernel.peek;
    ljt_kernel.peek = racing_peek;
    lab_vm_mapped_again(&raced);
    cr_expect(lab_vm_allocf(&raced) == own_alloc && lab_arena_of(raced.m) == NULL);
    call(&raced);

    ljt_kernel.peek = real_peek; /* the slot is free for the next */
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    cr_expect(a->slot == 0);
}

/* ---- Refused ---- */

Test(arena, a_broken_heap_is_refused_with_one_line)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_adopt(&vm);
    cr_assert(a != NULL);
    lab_catch_stderr();
    /* Not so bad that the VM itself would stumble over it in one small call. */
    vm.m->treebins[31] = (struct ljt_lj_tree_chunk *)(vm.base + 8);
    call(&vm);
    cr_expect(lab_vm_allocf(&vm) == vm.allocf, "the gate is gone");
    cr_expect(!ljt_arena_is(a, LJT_ARENA_ARMED) && !ljt_arena_is(a, LJT_ARENA_GATED));
    cr_expect(lab_said_lines() == 1 &&
                  strstr(lab_said(), "could not be proven (a bin's links are broken)") != NULL,
              "said: %s", lab_said());
    vm.m->treebins[31] = NULL;
    lab_run(vm.L, "local t = {} for i = 1, 1e4 do t[i] = {i} end");
    lab_prove(vm.m);

    /* Nor does anyone touch it later. */
    atomic_fetch_or(&ljt_wiped.word[a->slot].want, LJT_WANT_REQUEST);
    a->work.kind = LJT_UNIT_SEGMENTS;
    ljt_gate_trampoline(a->slot)(vm.m, NULL, 0, 100);
    cr_expect(a->work.segments == 0);
}

/* ---- Closed ---- */

Test(arena, closing_unmaps_all_and_counts_it)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lab_run(vm.L, "keep = nil for i = 1, 5000 do keep = {keep} end");
    vm.m->trim_check = vm.m->release_checks =
        SIZE_MAX; /* the VM itself unmaps nothing: no hook would hear of it */
    uintptr_t base[100];
    size_t n = 0, bytes = 0;
    for (const struct ljt_lj_segment *s = &vm.m->seg; s != NULL && n < 100; s = s->next) {
        base[n++] = s->base;
        bytes += s->size;
    }
    struct ljt_module *module = a->module;
    atomic_store(&module->mapped, bytes + 5 * MIB);
    lua_close(vm.L);
    cr_expect(ljt_arena_is(a, LJT_ARENA_DEAD));
    cr_expect(atomic_load(&module->mapped) == 5 * MIB, "%zu", atomic_load(&module->mapped));
    unsigned char vec;
    for (size_t i = 0; i < n; i++)
        cr_expect(mincore((void *)base[i], ljt_page_size, &vec) != 0, "segment %zu is gone", i);
    cr_expect(!ljt_arena_owns(a->slot, vm.m));
}

Test(arena, closing_with_claims_out_unmaps_all_too)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    uintptr_t top = (uintptr_t)vm.m->top;
    lab_vm_grow(&vm, 500 * KIB);
    a->work.ledger[0].chunk =
        ljt_heap_claim(vm.m, vm.m->top, (uintptr_t)vm.m->top, (uintptr_t)vm.m->top + 8192);
    a->work.claims = 1;
    lua_close(vm.L);
    unsigned char vec;
    cr_expect(ljt_arena_is(a, LJT_ARENA_DEAD) && mincore((void *)(top & ~(uintptr_t)4095), 4096, &vec) != 0);
}

Test(arena, slots_are_used_again)
{
    for (int i = 0; i < 40; i++) {
        struct lab_vm vm = lab_vm_open();
        struct ljt_arena *a = lab_vm_arm(&vm);
        cr_assert(a->slot == 0 && a->work.claims == 0 && a->stats.purged == 0);
        cr_assert((atomic_load(&ljt_gates[0].busy) / 2 - a->idle.calls) < 1000, "calls of its own");
        a->stats.purged = 1;
        a->work.segments = 9;
        lua_close(vm.L);
    }
    cr_expect(atomic_load(&ljt_arena_slots) == 1);
}

Test(arena, a_slot_whose_last_call_has_not_returned_is_not_used_again)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lua_close(vm.L);
    atomic_fetch_or(&ljt_gates[a->slot].busy, 1);
    struct lab_vm next = lab_vm_open();
    cr_expect(lab_vm_arm(&next)->slot == 1);
    atomic_fetch_add(&ljt_gates[a->slot].busy, 1);
    struct lab_vm third = lab_vm_open();
    cr_expect(lab_vm_arm(&third)->slot == 0);
}

Test(arena, three_hundred_vms)
{
    enum { VMS = 300 };
    static struct lab_vm vm[VMS];
    unsigned gated = 0;
    lab_catch_stderr();
    for (int i = 0; i < VMS; i++) {
        vm[i] = lab_vm_open();
        gated += lab_vm_adopt(&vm[i]) != NULL;
        call(&vm[i]);
    }
    cr_expect(gated == LJT_GATES, "%u", gated);
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "more than 256 Lua VMs") != NULL, "said: %s",
              lab_said());
    for (int i = 0; i < VMS; i++) {
        lab_run(vm[i].L, "local t = {} for i = 1, 500 do t[i] = {i} end");
        lab_prove(vm[i].m);
        lua_close(vm[i].L);
    }
    for (unsigned i = 0; i < LJT_GATES; i++)
        cr_assert(ljt_arena_is(&ljt_arenas[i], LJT_ARENA_DEAD));
    struct lab_vm again = lab_vm_open();
    cr_expect(lab_vm_arm(&again) != NULL);
}

/* ---- Lost ---- */

Test(arena, a_vm_that_goes_without_the_gate_is_dead)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lua_setallocf(vm.L, vm.allocf, vm.m); /* the host sets it back: lua_close unmaps without a word */
    ljt_arena_unmapping(vm.base, LJT_LJ_GRANULARITY, lab_pc());
    cr_expect(ljt_arena_is(a, LJT_ARENA_DEAD));
    lua_close(vm.L);
    struct lab_vm next = lab_vm_open();
    cr_expect(lab_vm_arm(&next)->slot == a->slot);
}

Test(arena, a_vm_that_loses_a_claim_is_lost)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    a->work.ledger[0].chunk = (struct ljt_lj_chunk *)0x7f0000001000;
    a->work.claims = 1;
    ljt_arena_unmapping(0x7f0000100000, 128 * KIB, lab_pc());
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED), "that was not it");
    ljt_arena_unmapping(0x7f0000000000, 128 * KIB, 1);
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED), "nor was that LuaJIT");
    ljt_arena_unmapping(0x7f0000000000, 128 * KIB, lab_pc());
    cr_expect(ljt_arena_is(a, LJT_ARENA_LOST));
}

Test(arena, what_the_vm_unmaps_in_a_call_is_its_own_business)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    void *segment = ljt_kernel_alloc(LJT_LJ_GRANULARITY);
    a->work.ledger[0].chunk = segment;
    a->work.claims = 1;
    atomic_fetch_or(&ljt_gates[a->slot].busy, 1);
    ljt_arena_unmapping((uintptr_t)segment, LJT_LJ_GRANULARITY, lab_pc());
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED));
}

/* A longjmp over lj_alloc, then the gate is taken away, then the VM closed. */
Test(arena, a_state_that_goes_is_gone_though_a_call_never_returned)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    atomic_fetch_or(&ljt_gates[a->slot].busy, 1);
    atomic_store(a->place, a->allocf);
    ljt_arena_unmapping(vm.base, LJT_LJ_GRANULARITY, lab_pc());
    cr_expect(ljt_arena_is(a, LJT_ARENA_DEAD));
    lab_vm_announce(&vm);
    lab_vm_grow(&vm, 200 * KIB);
    lab_vm_mapped_again(&vm);
    cr_expect(lab_arena_of(vm.m) != a, "whose last call has not returned: the slot is not used again");
}

Test(arena, losing_one_says_why_and_what_stays_claimed)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    lab_catch_stderr();
    ljt_arena_lose(a, "a test");
    cr_expect(ljt_arena_is(a, LJT_ARENA_LOST));
    cr_expect(lab_said_lines() == 0, "not where somebody may wait");
    ljt_arena_tell_loss(a);
    ljt_arena_tell_loss(a);
    cr_expect(lab_said_lines() == 1);
    cr_expect(strstr(lab_said(), "(a test)") != NULL && strstr(lab_said(), "claimed") == NULL);
    a->work.claims = 1;
    a->work.claimed_bytes = 12 * KIB;
    ljt_arena_lose(a, "a test");
    ljt_arena_tell_loss(a);
    cr_expect(strstr(lab_said(), "12 KiB stay claimed") != NULL, "said: %s", lab_said());
    call(&vm); /* and the VM goes on */
    lab_prove(vm.m);
    lua_close(vm.L);
}

/* ---- Counting ---- */

Test(arena, mappings_made_while_claims_are_out_are_counted)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    a->work.claims = 1;
    lab_vm_mapped_again(&vm); /* not from this VM: no call is under way */
    cr_expect(atomic_load(&a->stats.crowded) == 0);
    atomic_fetch_or(&ljt_gates[a->slot].busy, 1);
    lab_vm_mapped_again(&vm);
    cr_expect(atomic_load(&a->stats.crowded) == 1);
    a->work.claims = 0;
    lab_vm_mapped_again(&vm);
    cr_expect(atomic_load(&a->stats.crowded) == 1);
}

Test(arena, counts_what_the_module_has_mapped)
{
    struct ljt_module *module = ljt_module_resolve(lab_pc());
    cr_assert(module != NULL);
    size_t before = atomic_load(&module->mapped);
    unsigned long events = atomic_load(&module->map_events);
    ljt_arena_mapped(0x7f0000000000, 1 * MIB, lab_pc());
    ljt_arena_remapped(0x7f0000000000, 1 * MIB, 3 * MIB, lab_pc());
    ljt_arena_remapped(0x7f0000000000, 3 * MIB, 2 * MIB, lab_pc());
    cr_expect(atomic_load(&module->mapped) == before + 2 * MIB);
    ljt_arena_unmapping(0x7f0000000000, 2 * MIB, lab_pc());
    cr_expect(atomic_load(&module->mapped) == before);
    cr_expect(atomic_load(&module->map_events) == events + 4);
    ljt_arena_mapped(0x7f0000000000, 1 * MIB, 1); /* somebody else */
    cr_expect(atomic_load(&module->mapped) == before);
}

Test(arena, fork_copies_the_registry_at_rest)
{
    ljt_arena_fork_prepare();
    cr_expect(atomic_load(&ljt_wiped.registry) != 0);
    ljt_arena_fork_parent();
    cr_expect(atomic_load(&ljt_wiped.registry) == 0);
    ljt_lock_acquire(&ljt_wiped.registry);
    uint64_t start = ljt_kernel.now();
    ljt_arena_fork_prepare(); /* does not wait without end */
    cr_expect(ljt_kernel.now() - start >= 9000000);
    ljt_arena_fork_parent();
    cr_expect(atomic_load(&ljt_wiped.registry) != 0, "it lets go of nothing that it did not take");
}

/* In a child: it seems to be in a call, since the fork came in one of another thread's. */
Test(arena, another_vm_s_growth_leaves_a_wiped_word_alone)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    _Atomic uint32_t *want = &ljt_wiped.word[a->slot].want;
    atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_NONE);
    atomic_store(want, 0);
    ljt_arena_grew(a, 1 * MIB);
    cr_expect_eq(atomic_load(want), 0);
    atomic_store(want, LJT_WANT_LIVE);
    ljt_arena_grew(a, 1 * MIB);
    cr_expect_eq(atomic_load(want), LJT_WANT_LIVE | LJT_WANT_START);
}

/* ---- A signal handler that jumps out of a call ---- */

static sigjmp_buf landing;
static ssize_t (*real_peek)(void *to, const void *from, size_t len);
static unsigned (*real_threads)(void);

static void jump(int signo)
{
    (void)signo;
    siglongjmp(landing, 1);
}

/* Under the registry lock. */
static ssize_t interrupted_peek(void *to, const void *from, size_t len)
{
    raise(SIGUSR1);
    return real_peek(to, from, len);
}

/* Under the lock of the symbols. */
static unsigned interrupted_threads(void)
{
    raise(SIGUSR1);
    return real_threads();
}

Test(arena, a_jump_out_of_a_mapping_leaves_nothing_locked)
{
    struct lab_vm vm = lab_vm_open();
    lab_vm_announce(&vm);
    lab_vm_grow(&vm, 200 * KIB);
    signal(SIGUSR1, jump);
    real_peek = ljt_kernel.peek;
    ljt_kernel.peek = interrupted_peek;
    if (sigsetjmp(landing, 1) == 0) {
        lab_vm_mapped_again(&vm);
        cr_assert_fail("nobody has jumped");
    }
    ljt_kernel.peek = real_peek;
    cr_assert_eq(atomic_load(&ljt_wiped.registry), 0);
    struct lab_vm another = lab_vm_open();
    lab_vm_arm(&another);
}

Test(arena, a_jump_out_of_the_first_call_leaves_nothing_locked)
{
    struct lab_vm vm = lab_vm_open(), another = lab_vm_open();
    struct ljt_arena *a = lab_vm_adopt(&vm);
    signal(SIGUSR1, jump);
    real_threads = ljt_kernel.threads;
    ljt_kernel.threads = interrupted_threads;
    if (sigsetjmp(landing, 1) == 0) {
        call(&vm);
        cr_assert_fail("nobody has jumped");
    }
    ljt_kernel.threads = real_threads;
    cr_expect_eq(atomic_load(&ljt_gates[a->slot].busy) % 2, 1, "it never returned");
    cr_assert_eq(atomic_load(&ljt_wiped.symbols), 0);
    lab_vm_arm(&another);
}
