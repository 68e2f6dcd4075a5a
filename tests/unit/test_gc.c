/*
 * The collector's fields: of a real VM, against what its API says; and made by hand, each wrong in turn.
 */
#include "lab.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "gc.h"

TestSuite(gc, .init = lab_init, .timeout = LAB_TIMEOUT);

static struct lab_vm vm;
static struct ljt_arena *arena;

static void open_vm(void)
{
    vm = lab_vm_open();
    luaL_openlibs(vm.L);
    arena = lab_vm_arm(&vm);
    lab_vm_know_gc(&vm, arena);
}

static struct ljt_gc fields(void)
{
    struct ljt_gc gc;
    cr_assert(ljt_gc_read(arena, &gc));
    return gc;
}

Test(gc, agrees_with_the_api)
{
    open_vm();
    lab_run(
        vm.L,
        "keep = {} for i = 1, 5000 do keep[i] = ('x'):rep(100) .. i end collectgarbage() collectgarbage()");
    struct ljt_gc gc = fields();
    cr_expect(gc.total ==
              ((uint64_t)lua_gc(vm.L, LUA_GCCOUNT, 0) << 10) + (uint64_t)lua_gc(vm.L, LUA_GCCOUNTB, 0));
    cr_expect(gc.pause == 200 && gc.stepmul == 200);
    cr_expect(ljt_gc_rests(&gc) && !ljt_gc_runs(&gc));
    cr_expect(ljt_gc_growth(&gc) < 64 * KIB, "%llu", (unsigned long long)ljt_gc_growth(&gc));
    lua_gc(vm.L, LUA_GCSETPAUSE, 317);
    lua_gc(vm.L, LUA_GCSETSTEPMUL, 411);
    gc = fields();
    cr_expect(gc.pause == 317 && gc.stepmul == 411);
    cr_expect(!ljt_gc_rests(&gc), "not as the last cycle has left it");
}

Test(gc, follows_cycles_that_the_vm_drives)
{
    open_vm();
    unsigned rests = 0, runs = 0;
    lua_gc(vm.L, LUA_GCCOLLECT, 0);
    for (int i = 0; i < 20000; i++) {
        lua_pushfstring(vm.L, "string %d", i);
        lua_pop(vm.L, 1);
        struct ljt_gc gc = fields();
        cr_expect(ljt_gc_rests(&gc) != ljt_gc_runs(&gc), "state %u", gc.state);
        rests += ljt_gc_rests(&gc);
        runs += ljt_gc_runs(&gc);
    }
    cr_expect(rests > 0 && runs > 0, "%u %u", rests, runs);
}

Test(gc, a_stopped_collector_neither_rests_nor_runs)
{
    open_vm();
    lua_gc(vm.L, LUA_GCCOLLECT, 0);
    lua_gc(vm.L, LUA_GCSTOP, 0);
    struct ljt_gc gc = fields();
    cr_expect(!ljt_gc_rests(&gc) && !ljt_gc_runs(&gc));
    lua_gc(vm.L, LUA_GCRESTART, 0);
    gc = fields();
    cr_expect(!ljt_gc_rests(&gc), "by hand");
    lua_gc(vm.L, LUA_GCCOLLECT, 0);
    gc = fields();
    cr_expect(ljt_gc_rests(&gc));
}

static unsigned finalized;

static int in_finalizer(lua_State *L)
{
    (void)L;
    struct ljt_gc gc = fields();
    cr_expect(!ljt_gc_rests(&gc) && !ljt_gc_runs(&gc), "state %u, threshold %llx", gc.state,
              (unsigned long long)gc.threshold);
    finalized++;
    return 0;
}

Test(gc, within_a_finalizer_it_neither_rests_nor_runs)
{
    open_vm();
    for (int i = 0; i < 10; i++) {
        lua_newuserdata(vm.L, 8);
        lua_newtable(vm.L);
        lua_pushcfunction(vm.L, in_finalizer);
        lua_setfield(vm.L, -2, "__gc");
        lua_setmetatable(vm.L, -2);
    }
    lua_settop(vm.L, 0);
    lua_gc(vm.L, LUA_GCCOLLECT, 0);
    cr_expect(finalized == 10);
}

Test(gc, a_demand_drives_a_whole_cycle_by_allocations_alone)
{
    open_vm();
    lab_run(vm.L,
            "keep = {} for i = 1, 20000 do keep[i] = ('x'):rep(100) .. i end collectgarbage() keep = nil");
    uint64_t before = fields().total;
    ljt_gc_demand(arena, 10000, 10000);
    unsigned pieces = 0;
    struct ljt_gc gc = fields();
    while (!ljt_gc_rests(&gc) && pieces++ < 10000) {
        lua_newuserdata(vm.L, 1);
        lua_pop(vm.L, 1);
        gc = fields();
    }
    cr_expect(ljt_gc_rests(&gc) && gc.total < before / 2, "%llu of %llu", (unsigned long long)gc.total,
              (unsigned long long)before);
    cr_expect(pieces * 64 < before / 20, "%u allocations", pieces);
}

/* ---- Made by hand ---- */

static unsigned char *made; /* gc.total */

static void make(void)
{
    struct ljt_lj_state *m = lab_heap(1 * MIB);
    arena = lab_arm(m);
    arena->gg = lab_malloc(m, 4096);
    memset(arena->gg, 0, 4096);
    made = (unsigned char *)arena->gg + 1024;
    arena->gc_total = made;
    arena->gc_width = 8;
    *(uint64_t *)made = 5000000;
    *(uint64_t *)(made + 8) = 4000000;
    made[16] = 0x21;
    *(uint64_t *)(made + 80) = 2000000;
    *(uint32_t *)(made + 88) = 200;
    *(uint32_t *)(made + 92) = 200;
}

static bool readable(void)
{
    struct ljt_gc gc;
    return ljt_gc_read(arena, &gc);
}

Test(gc, reads_what_is_made_by_hand)
{
    make();
    struct ljt_gc gc = fields();
    cr_expect(gc.total == 5000000 && gc.threshold == 4000000 && gc.estimate == 2000000 && gc.state == 0);
    cr_expect(ljt_gc_rests(&gc) && ljt_gc_growth(&gc) == 3000000);
    *(uint64_t *)made = 1000;
    gc = fields();
    cr_expect(ljt_gc_growth(&gc) == 0);
    ljt_gc_demand(arena, 1, 1);
    cr_expect(*(uint64_t *)(made + 8) == 0, "not below zero");
}

Test(gc, demands_add_up_but_not_for_ever)
{
    make();
    *(uint64_t *)(made + 72) = 4096;
    cr_expect(fields().debt == 4096);
    ljt_gc_demand(arena, 10, 24);
    cr_expect(*(uint64_t *)(made + 8) == 5000000 - 10 * KIB);
    *(uint64_t *)(made + 72) = 20 * KIB;
    ljt_gc_demand(arena, 10, 24);
    cr_expect(*(uint64_t *)(made + 8) == 5000000 - 4 * KIB, "as many as there is room for");
    *(uint64_t *)(made + 72) = 50 * KIB;
    ljt_gc_demand(arena, 10, 24);
    cr_expect(*(uint64_t *)(made + 8) == 5000000, "a step at the next check, and no more of them");
}

Test(gc, what_can_not_be_is_not_read)
{
    make();
    static const struct {
        unsigned at, size;
        uint64_t value;
    } wrong[] = {{0, 8, UINT64_C(1) << 47},
                 {80, 8, UINT64_C(0x7fff12345678abcd)},
                 {16, 1, 0},
                 {16, 1, 3},
                 {16, 1, 0x11},
                 {17, 1, 6},
                 {88, 4, 0x80001234},
                 {92, 4, 0x80001234}};
    cr_expect(readable());
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint64_t right = 0;
        memcpy(&right, made + wrong[i].at, wrong[i].size);
        memcpy(made + wrong[i].at, &wrong[i].value, wrong[i].size);
        cr_expect(!readable(), "wrong %zu", i);
        memcpy(made + wrong[i].at, &right, wrong[i].size);
    }
    cr_expect(readable());
}

Test(gc, without_gc64_or_beyond_the_block_nothing_is_read)
{
    make();
    arena->gc_width = 4;
    cr_expect(!readable());
    arena->gc_width = 0;
    cr_expect(!readable());
    arena->gc_width = 8;
    arena->gc_total = (unsigned char *)arena->gg + 4096 - 80;
    cr_expect(!readable());
}

Test(gc, any_other_threshold_is_no_rest)
{
    make();
    for (int off = -1; off <= 1; off++) {
        *(uint64_t *)(made + 8) = 4000000 + (uint64_t)(int64_t)off;
        struct ljt_gc gc = fields();
        cr_expect(ljt_gc_rests(&gc) == (off == 0));
    }
}
