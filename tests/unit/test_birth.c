/* VMs that have our allocator from their first byte on. The process has no interposed lua_newstate: tests call what is behind it. */
#include "lab.h"

#include <dlfcn.h>
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <string.h>
#include <sys/mman.h>

#include "birth.h"
#include "patched.h"
#include "takeover.h"

#define LJ_ALLOCF_INTERNAL ((void *)(uintptr_t)(1237 << 4))

static void init(void)
{
    lab_init();
    ljt_config.mode = LJT_MODE_PATCHED;
}

TestSuite(birth, .init = init, .timeout = LAB_TIMEOUT);

/* An address in LuaJIT's luaL_newstate. */
static uintptr_t in_luaL_newstate(void)
{
    return (uintptr_t)dlsym(RTLD_DEFAULT, "luaL_newstate") + 8;
}

static lua_State *newstate(void *f, void *ud)
{
    errno = 0;
    lua_State *L = ljt_birth_newstate(f, ud, 0, 0, in_luaL_newstate());
    cr_assert_not_null(L);
    cr_expect_eq(errno, 0);
    return L;
}

static bool is_mapped(const void *p)
{
    unsigned char resident;
    return mincore((void *)((uintptr_t)p & -ljt_page_size), ljt_page_size, &resident) == 0;
}

Test(birth, vm_is_armed_and_served_by_us_at_once)
{
    for (int round = 0; round < 3; round++) {
        lua_State *L = newstate(LJ_ALLOCF_INTERNAL, NULL);
        void *ud;
        lua_Alloc f = lua_getallocf(L, &ud);
        struct ljt_arena *a = lab_arena_of(ud);
        cr_assert_not_null(a);
        cr_expect_eq(a->slot, 0, "the slot of the one before");
        cr_expect_eq(f, ljt_gate_trampoline(a->slot));
        cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED) && a->is_patched);
        cr_expect_eq(a->gg, (void *)L);
        cr_expect_eq(ljt_gates[a->slot].gg, (void *)L);
        cr_expect_eq(a->gc_width, 8);
        luaL_openlibs(L);
        lab_run(L, lab_churn);
        lab_prove(a->m);
        size_t mapped = a->module->mapped;
        cr_expect_gt(mapped, MIB);
        lua_close(L);
        cr_expect(ljt_arena_is(a, LJT_ARENA_DEAD));
        cr_expect_eq(a->module->mapped, 0, "%zu of %zu", a->module->mapped, mapped);
        cr_expect_not(is_mapped(ud));
    }
}

/* Another thread's VM may have it proven, or a fork. It has no place for the gate yet. */
Test(birth, vm_that_is_being_born_is_not_proven)
{
    lua_State *L = newstate(LJ_ALLOCF_INTERNAL, NULL);
    void *ud;
    lua_getallocf(L, &ud);
    struct ljt_module *module = lab_arena_of(ud)->module;
    lua_close(L);
    struct ljt_arena *a = ljt_arena_bear(module);
    cr_assert(a != NULL && ljt_arena_is(a, LJT_ARENA_GATED));
    ljt_arena_prove_waiting();
    cr_assert((atomic_load(&ljt_wiped.word[a->slot].want) & LJT_WANT_PROVE) != 0);
    cr_expect_not_null(ljt_gate_trampoline(a->slot)(a->m, NULL, 0, 100));
    cr_expect(ljt_arena_is(a, LJT_ARENA_GATED));
    cr_expect_eq(atomic_load(&ljt_wiped.word[a->slot].want), LJT_WANT_LIVE);
}

Test(birth, other_modes_pass_it_on)
{
    static const int modes[] = {LJT_MODE_AUTO, LJT_MODE_NATIVE, LJT_MODE_OBSERVE};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        ljt_config.mode = modes[i];
        lua_State *L = newstate(LJ_ALLOCF_INTERNAL, NULL);
        void *ud;
        cr_expect_eq(lua_getallocf(L, &ud), lab_allocf());
        lua_close(L);
    }
    ljt_config.mode = LJT_MODE_PATCHED;
    ljt_config.enable = 0;
    lua_State *L = newstate(LJ_ALLOCF_INTERNAL, NULL);
    void *ud;
    cr_expect_eq(lua_getallocf(L, &ud), lab_allocf());
    lua_close(L);
}

static void *own(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)osize;
    (*(int *)ud)++;
    return nsize == 0 ? (free(ptr), NULL) : realloc(ptr, nsize);
}

Test(birth, allocator_of_a_program_s_own_is_left_alone)
{
    int calls = 0;
    lua_State *L = newstate(own, &calls);
    void *ud;
    cr_expect(lua_getallocf(L, &ud) == own && ud == &calls);
    cr_expect_gt(calls, 0);
    lua_close(L);
    cr_expect_eq(ljt_arena_slots, 0, "no slot was taken for it");
}

/* There luaL_newstate has made the arena before it calls lua_newstate. */
Test(birth, form_before_2020_is_passed_on_and_taken_over_once_it_has_grown)
{
    struct ljt_lj_state *m = lab_heap(LJT_LJ_GRANULARITY);
    struct lab_vm vm = {
        .L = newstate((void *)lab_allocf(), m), .m = m, .allocf = lab_allocf(), .base = m->seg.base};
    void *ud;
    cr_expect(lua_getallocf(vm.L, &ud) == vm.allocf && ud == m);
    cr_expect_eq(ljt_arena_slots, 0, "no slot was taken for it");
    lab_vm_announce(&vm);
    lab_vm_mapped_again(&vm);
    cr_expect_null(lab_arena_of(m), "it has not grown");

    luaL_openlibs(vm.L);
    lab_run(vm.L, "pad = {} for i = 1, 3000 do pad[i] = { i } end");
    lab_vm_mapped_again(&vm);
    struct ljt_arena *a = lab_arena_of(m);
    cr_assert_not_null(a);
    lab_run(vm.L, lab_churn);
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED) && a->is_patched);
    lab_prove(m);
    lua_close(vm.L);
    cr_expect(ljt_arena_is(a, LJT_ARENA_DEAD));
    cr_expect_not(is_mapped(m));
}

Test(birth, without_a_free_slot_the_vm_keeps_its_allocator)
{
    lab_catch_stderr();
    for (unsigned i = 0; i < LJT_GATES; i++)
        ljt_arenas[i].state = LJT_ARENA_LOST;
    lua_State *L = newstate(LJ_ALLOCF_INTERNAL, NULL);
    void *ud;
    cr_expect_eq(lua_getallocf(L, &ud), lab_allocf());
    lua_close(L);
    cr_expect_eq(lab_said_lines(), 1);
}

static void *no_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    (void)addr, (void)len, (void)prot, (void)flags, (void)fd, (void)off;
    errno = ENOMEM;
    return MAP_FAILED;
}

Test(birth, without_memory_for_ours_the_vm_keeps_its_allocator)
{
    lua_close(newstate(LJ_ALLOCF_INTERNAL, NULL)); /* what is tried out once has been */
    struct ljt_kernel kernel = ljt_kernel;
    ljt_kernel.mmap = no_mmap;
    lua_State *L = newstate(LJ_ALLOCF_INTERNAL, NULL);
    ljt_kernel = kernel;
    void *ud;
    cr_expect_eq(lua_getallocf(L, &ud), lab_allocf());
    lua_close(L);
    for (unsigned i = 0; i < LJT_GATES; i++)
        cr_expect(ljt_arena_is(&ljt_arenas[i], LJT_ARENA_FREE), "slot %u", i);
}

/* The real one is that of the caller's object; of a caller in none, the first there is. */
Test(birth, real_one_is_found_for_every_caller)
{
    uintptr_t callers[] = {in_luaL_newstate(), (uintptr_t)&newstate, (uintptr_t)dlsym(RTLD_NEXT, "qsort"),
                           16};
    ljt_config.mode = LJT_MODE_AUTO;
    for (size_t i = 0; i < sizeof(callers) / sizeof(callers[0]); i++) {
        lua_State *L = ljt_birth_newstate(LJ_ALLOCF_INTERNAL, NULL, 0, 0, callers[i]);
        cr_assert_not_null(L, "caller %zu", i);
        lua_close(L);
    }
}
