/*
 * Who makes a heap grow: Lua functions read from a running VM, call paths from copied stacks, the list of both.
 */
#include "lab.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "callers.h"
#include "growth.h"
#include "lua_frames.h"
#include "symbols.h"
#include "text.h"

TestSuite(growth, .init = lab_init, .timeout = LAB_TIMEOUT);

static struct ljt_lua_frame frame[LJT_LUA_FRAMES];
static unsigned frames;
static bool ours;
static struct ljt_lua_vm vm;
static uintptr_t sp_offset;

static int probe(lua_State *L)
{
    (void)L;
    frames = ljt_lua_frames(&vm, (uintptr_t)__builtin_frame_address(0) - 256 + sp_offset, frame, &ours);
    return 0;
}

static struct lab_vm open_vm(lua_CFunction probed)
{
    struct lab_vm v = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&v);
    cr_assert(a != NULL);
    vm = (struct ljt_lua_vm){(uintptr_t)a->gg, (uintptr_t)a->place, 0};
    luaL_openlibs(v.L);
    lua_register(v.L, "probe", probed);
    return v;
}

static void run(struct lab_vm *v, const char *name, const char *script)
{
    cr_assert(luaL_loadbuffer(v->L, script, strlen(script), name) == 0 && lua_pcall(v->L, 0, 0, 0) == 0, "%s",
              lua_tostring(v->L, -1));
}

static void expect_frame(unsigned i, const char *source, uint32_t line)
{
    cr_assert(i < frames, "%u of %u", i, frames);
    cr_expect_str_eq(frame[i].source, source);
    cr_expect(frame[i].line == line && frame[i].at_work, "line %u, %u expected", frame[i].line, line);
}

static const char nested[] = "local function inner()\n"
                             "  local t = {}\n"
                             "  probe() return t\n"
                             "end\n"
                             "local function outer(...)\n"
                             "  local a, b = ...\n"
                             "  local t = inner() return t\n"
                             "end\n"
                             "\n"
                             "local t = outer(1, 2) return t\n";

Test(growth, frames_are_the_running_functions_and_their_lines)
{
    struct lab_vm v = open_vm(probe);
    run(&v, "@app/handlers.lua", nested);
    cr_assert_eq(frames, 3);
    cr_expect(ours);
    expect_frame(0, "app/handlers.lua", 3);
    expect_frame(1, "app/handlers.lua", 7);
    expect_frame(2, "app/handlers.lua", 10);
}

Test(growth, frames_are_those_of_the_running_coroutine)
{
    struct lab_vm v = open_vm(probe);
    run(&v, "=main",
        "local co = coroutine.wrap(function()\n  local t = {}\n  probe()\n  return t\nend)\nlocal t = co()");
    cr_assert_geq(frames, 1);
    expect_frame(0, "main", 3);
}

Test(growth, frames_pass_by_functions_of_c)
{
    struct lab_vm v = open_vm(probe);
    run(&v, "@x.lua",
        "local ok = pcall(function()\n  table.sort({ 2, 1 }, function(a, b)\n    probe()\n    return a < b\n "
        " end)\nend)");
    cr_assert_geq(frames, 2);
    expect_frame(0, "x.lua", 3);
    cr_expect_str_eq(frame[1].source, "x.lua");
}

Test(growth, a_program_without_a_name_is_its_first_line)
{
    struct lab_vm v = open_vm(probe);
    static const char script[] =
        "probe() local a = 'a line that is rather longer than there is room for in a frame'\nlocal x";
    run(&v, script, script);
    cr_assert_eq(frames, 1);
    cr_expect(strncmp(frame[0].source, "probe() local a", 15) == 0 &&
              strlen(frame[0].source) < LJT_LUA_SOURCE);
    run(&v, "@/a/very/long/path/that/does/not/fit/into/a/frame/of/ours/file.lua", "probe()");
    cr_expect(strstr(frame[0].source, "/ours/file.lua") != NULL, "%s", frame[0].source);
}

Test(growth, a_vm_on_another_stack_has_no_frames)
{
    struct lab_vm v = open_vm(probe);
    sp_offset = MIB;
    run(&v, "@x.lua", "probe()");
    cr_expect(frames == 0 && !ours);
}

static ssize_t (*real_peek)(void *, const void *, size_t);

/* Reads that lie now and then. */
static ssize_t lying_peek(void *to, const void *from, size_t len)
{
    ssize_t n = real_peek(to, from, len);
    if (n > 0 && lab_below(6) == 0) {
        size_t at = lab_below((size_t)n);
        uint64_t lie = lab_below(2) ? lab_random() : (uintptr_t)from + lab_below(4096);
        memcpy((char *)to + at, &lie, (size_t)n - at < 8 ? (size_t)n - at : 8);
    }
    return n;
}

static int probe_often(lua_State *L)
{
    for (int i = 0; i < 20000; i++) {
        if (lab_below(4) == 0)
            vm.cur_l = 0;
        probe(L);
        cr_assert(frames <= LJT_LUA_FRAMES);
        for (unsigned k = 0; k < frames; k++) {
            cr_assert(memchr(frame[k].source, '\0', LJT_LUA_SOURCE) != NULL);
            for (const char *c = frame[k].source; *c != '\0'; c++)
                cr_assert(*c >= ' ' && *c <= '~');
        }
    }
    return 0;
}

Test(growth, nothing_that_it_reads_makes_it_fault)
{
    lab_seed("growth");
    struct lab_vm v = open_vm(probe_often);
    real_peek = ljt_kernel.peek;
    ljt_kernel.peek = lying_peek;
    run(&v, "@app.lua", nested);
    ljt_kernel.peek = real_peek;
}

Test(growth, memory_that_is_no_vm_has_no_frames)
{
    static uint64_t junk[1024];
    lab_seed("growth");
    for (int zero = 0; zero < 2; zero++) {
        for (size_t i = 0; i < 1024; i++)
            junk[i] = zero ? 0 : (uintptr_t)&junk[lab_below(1024)];
        vm = (struct ljt_lua_vm){(uintptr_t)junk, (uintptr_t)(junk + 20), 0};
        probe(NULL);
        cr_expect(frames == 0 && vm.cur_l == 1);
    }
}

/* ---- Samples and the list ---- */

static const struct ljt_module *module;

static int grow(lua_State *L)
{
    (void)L;
    atomic_fetch_or(&ljt_gates[0].busy, 1); /* as in the gate */
    ljt_growth_sample(module, MIB);
    atomic_fetch_add(&ljt_gates[0].busy, 1);
    return 0;
}

static const char *text(void)
{
    static char buf[32 << 10];
    struct ljt_text t = LJT_TEXT(buf);
    ljt_growth_digest();
    buf[0] = '\0';
    ljt_growth_text(&t);
    return buf;
}

static struct lab_vm open_growing_vm(void)
{
    struct lab_vm v = open_vm(grow);
    ljt_config.growth = 1;
    lua_register(v.L, "grow", grow);
    module = ljt_arenas[0].module;
    lab_fake_time();
    lab_stop_time();
    lab_pass_time(1000000000);
    return v;
}

Test(growth, list_names_who_asked_with_bytes)
{
    struct lab_vm v = open_growing_vm();
    run(&v, "@small.lua", "grow()");
    lab_pass_time(30000000);
    for (int i = 0; i < 3; i++) {
        run(&v, "@large.lua", "\n\ngrow()");
        lab_pass_time(30000000);
    }
    const char *large = strstr(text(), "3.0 MiB  large.lua:3\n"),
               *small = strstr(text(), "1.0 MiB  small.lua:1\n");
    cr_expect(large != NULL && small != NULL && large < small, "%s", text());
    cr_expect(strstr(text(), "growth: 4.0 MiB in 4 mappings, 4 of them looked at") != NULL, "%s", text());
    cr_expect(strstr(ljtrim_growth_page.text, "large.lua:3") != NULL && ljtrim_growth_page.sequence % 2 == 0);
}

Test(growth, bytes_in_between_count_with_the_next_sample)
{
    struct lab_vm v = open_growing_vm();
    run(&v, "@x.lua", "for i = 1, 100 do grow() end"); /* time stands still: the first is a sample */
    cr_expect(strstr(text(), "growth: 1.0 MiB in 1 mappings, 1 of") != NULL, "%s", text());
    lab_pass_time(30000000);
    run(&v, "@x.lua", "grow()");
    cr_expect(strstr(text(), "growth: 101 MiB in 101 mappings, 2 of") != NULL, "%s", text());
}

Test(growth, samples_that_nobody_collects_are_few)
{
    struct lab_vm v = open_growing_vm();
    for (int i = 0; i < 100; i++) {
        run(&v, "@x.lua", "grow()");
        lab_pass_time(30000000);
    }
    cr_expect(strstr(text(), "8 of them looked at") != NULL, "%s", text());
}

Test(growth, list_stays_bounded)
{
    struct lab_vm v = open_growing_vm();
    char name[32];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "@f%d.lua", i);
        run(&v, name, "grow()");
        lab_pass_time(30000000);
        text();
    }
    cr_expect(strlen(text()) < 8000 && strstr(text(), "300 of them") != NULL, "%s", text());
}

Test(growth, off_means_nothing)
{
    cr_expect_str_eq(text(), "");
    cr_expect_eq(ljtrim_growth_page.sequence, 0);
}

/* Stands in the middle of the path that is unwound. */
__attribute__((noinline)) static void sample_from_here(void)
{
    ljt_growth_sample(module, MIB);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

Test(growth, call_paths_are_unwound_from_a_copy)
{
    open_growing_vm();
    ljt_symbols_callers.name = ljt_callers_name;
    ljt_symbols_callers.unwind = ljt_callers_unwind;
    sample_from_here();
    const char *list = text();
    /* Frames of our own object are left out, which here is the whole program: what called it is left. */
    cr_expect(strstr(list, "libc") != NULL || strstr(list, "criterion") != NULL, "%s", list);
    cr_expect(strstr(list, "compiled code") == NULL, "%s", list);
}

Test(growth, an_unwound_path_leads_through_its_callers)
{
    static unsigned char copy[8192];
    uintptr_t pc[32];
    struct ljt_callers_stack s = {.copy = copy, .size = sizeof(copy)};
    uintptr_t here = 0;
#if defined(__x86_64__)
    __asm__ volatile("leaq 0(%%rip), %0" : "=r"(here));
    __asm__ volatile("movq %%rsp, %0\n\tmovq %%rbp, %1\n\tmovq %%rbx, %2"
                     : "=m"(s.sp), "=m"(s.reg[6]), "=m"(s.reg[3]));
#else
    return;
#endif
    s.reg[LJT_CALLERS_SP] = s.sp;
    s.reg[LJT_CALLERS_PC] = here;
    cr_assert_gt(ljt_kernel.peek(copy, (void *)s.sp, sizeof(copy)), 0);
    unsigned n = ljt_callers_unwind(&s, pc, 32);
    cr_assert(n >= 2 && pc[0] == here, "%u", n);

    lab_seed("growth"); /* any registers and any stack at all */
    for (int i = 0; i < 500; i++) {
        for (unsigned k = 0; k < LJT_CALLERS_REGISTERS; k++)
            s.reg[k] = lab_below(2) ? lab_random() : s.sp + lab_below(16384);
        s.reg[LJT_CALLERS_PC] = lab_below(4) ? pc[lab_below(n)] : lab_random();
        s.reg[LJT_CALLERS_SP] = s.sp + 8 * lab_below(1000);
        for (size_t at = 0; at < sizeof(copy); at += 8) {
            uintptr_t word = lab_below(2) ? lab_random() : pc[lab_below(n)];
            memcpy(copy + at, &word, 8);
        }
        uintptr_t found[32];
        cr_assert_leq(ljt_callers_unwind(&s, found, 32), 32);
    }
}

/* What a sample costs the VM: TEST_FIGURES=1 prints it. */
static int time_samples(lua_State *L)
{
    enum { ROUNDS = 2000 };
    uint64_t start = ljt_kernel.thread_cpu(), with_digest;
    for (int i = 0; i < ROUNDS; i++) {
        lab_pass_time(30000000);
        grow(L);
        if (i % 4 == 3)
            ljt_growth_digest();
    }
    with_digest = ljt_kernel.thread_cpu() - start;
    start = ljt_kernel.thread_cpu();
    for (int i = 0; i < ROUNDS; i++) {
        lab_pass_time(30000000);
        grow(L);
        if (i % 8 == 7) { /* emptied without digestion: only who samples is timed */
            ljt_symbols_callers.unwind = NULL;
            ljt_growth_digest();
            ljt_symbols_callers.unwind = ljt_callers_unwind;
        }
    }
    uint64_t without = ljt_kernel.thread_cpu() - start;
    fprintf(stderr, "a sample: %u ns for the VM, %u ns for the reclaimer\n", (unsigned)(without / ROUNDS),
            (unsigned)((with_digest - without) / ROUNDS));
    return 0;
}

Test(growth, costs_are_measured_on_demand)
{
    if (getenv("TEST_FIGURES") == NULL)
        return;
    struct lab_vm v = open_growing_vm();
    ljt_symbols_callers.name = ljt_callers_name;
    ljt_symbols_callers.unwind = ljt_callers_unwind;
    lua_register(v.L, "probe", time_samples);
    run(&v, "@app.lua", nested);
}
