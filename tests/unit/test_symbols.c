/*
 * What is done with symbols: an allocf that they contradict is refused, mappings from elsewhere are passed over.
 */
#include "lab.h"

#include <errno.h>
#include <lauxlib.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>

#include "kernel.h"
#include "reclaim.h"
#include "symbols.h"

TestSuite(symbols, .init = lab_init, .timeout = LAB_TIMEOUT);

/* As if they had been read. */
static struct ljt_module *module_with_symbols(uintptr_t lj_alloc_f)
{
    struct ljt_module *mod = ljt_module_resolve(lab_pc());
    cr_assert(mod != NULL);
    mod->symbols.functions = 1;
    mod->symbols.lj_alloc_f[0] = lj_alloc_f;
    mod->symbols.count = 2;
    mod->symbols.all = true;
    mod->symbols.range[0].lo = lj_alloc_f;
    mod->symbols.range[0].hi = lj_alloc_f + 16;
    mod->symbols.range[1].lo = 0x5000;
    mod->symbols.range[1].hi = 0x6000;
    atomic_store(&mod->symbols.read, true);
    return mod;
}

Test(symbols, without_the_companion_nothing_is_contradicted)
{
    struct ljt_module *mod = ljt_module_resolve(lab_pc());
    errno = EDOM;
    cr_expect(ljt_symbols_ready(mod, lab_pc()) && errno == EDOM);
    cr_expect(ljt_symbols_contradict(mod, lab_pc(), lab_pc()) == NULL);
    cr_expect_str_eq(mod->symbols.text, "none (not looked for)");
    cr_expect(ljt_symbols_allow(mod, 1), "and every mapping may be lj_alloc's");
}

Test(symbols, a_companion_that_is_not_there_is_said)
{
    struct ljt_module *mod = ljt_module_resolve(lab_pc());
    ljt_symbols_use("/no/such/file.so");
    cr_expect(ljt_symbols_ready(mod, lab_pc()));
    cr_expect(ljt_symbols_contradict(mod, lab_pc(), lab_pc()) == NULL);
    cr_expect_str_eq(mod->symbols.text, "none (libljtrim-symtab.so can't be loaded)");
}

Test(symbols, a_stripped_object_has_none)
{
    struct ljt_module *mod = ljt_module_resolve(lab_pc());
    ljt_symbols_use(LJT_SYMTAB_LIBRARY);
    errno = EDOM;
    cr_expect(ljt_symbols_ready(mod, lab_pc()) && errno == EDOM);
    cr_expect(ljt_symbols_contradict(mod, lab_pc(), lab_pc()) == NULL);
    cr_expect(atomic_load(&mod->symbols.read));
    if (mod->symbols.functions == 0) /* a debug package may be installed */
        cr_expect_str_eq(mod->symbols.text, "none (stripped)");
}

Test(symbols, another_function_at_allocf_is_refused)
{
    struct ljt_module *mod = module_with_symbols(0x4000);
    cr_expect(ljt_symbols_contradict(mod, 0x4000, 0x5010) == NULL);
    cr_expect(ljt_symbols_contradict(mod, 0x4001, 0x5010) != NULL, "not its first byte");
    cr_expect(ljt_symbols_contradict(mod, 0x5000, 0x5010) != NULL);
    cr_expect(atomic_load(&mod->symbols.contradicted) == 2);
}

Test(symbols, mappings_from_elsewhere_are_passed_over_once_that_was_seen_to_hold)
{
    struct ljt_module *mod = module_with_symbols(0x4000);
    cr_expect(ljt_symbols_allow(mod, 0x7000), "nothing proven yet");
    cr_expect(ljt_symbols_contradict(mod, 0x4000, 0x7000) == NULL);
    cr_expect(ljt_symbols_allow(mod, 0x7000), "lj_alloc maps from there: inlined into who knows what");
    cr_expect(ljt_symbols_contradict(mod, 0x4000, 0x5fff) == NULL);
    cr_expect(ljt_symbols_allow(mod, 0x5000) && ljt_symbols_allow(mod, 0x400f));
    cr_expect(!ljt_symbols_allow(mod, 0x7000) && !ljt_symbols_allow(mod, 0x6000));

    mod->symbols.all = false;
    atomic_store(&mod->symbols.narrow, false);
    cr_expect(ljt_symbols_contradict(mod, 0x4000, 0x5fff) == NULL && ljt_symbols_allow(mod, 0x7000),
              "not all functions are known");
}

/* The whole way: a VM whose proof says yes and whose symbols say no is left alone, with one line. */
Test(symbols, a_vm_that_they_contradict_is_left_alone)
{
    struct lab_vm vm = lab_vm_open();
    lab_catch_stderr();
    module_with_symbols((uintptr_t)vm.allocf + 64);
    struct ljt_arena *a = lab_vm_adopt(&vm);
    cr_assert(a != NULL);
    lab_vm_allocf (&vm)(vm.m, NULL, 0, 16); /* its first call, by which it would be proven */
    cr_expect(ljt_arena_is(a, LJT_ARENA_LOST));
    cr_expect(lab_vm_allocf(&vm) == vm.allocf, "the gate is gone");
    cr_expect(strstr(lab_said(), "its allocator is not lj_alloc_f") != NULL, "%s", lab_said());
    cr_expect_eq(lab_said_lines(), 1);
}

Test(symbols, a_vm_that_they_confirm_is_taken)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_module *mod = module_with_symbols((uintptr_t)vm.allocf);
    struct ljt_arena *a = lab_vm_arm(&vm);
    cr_assert(a != NULL);
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED) && atomic_load(&mod->symbols.contradicted) == 0);
}

/* Who holds the lock may hold it for long: the VM goes on, and is proven when it is free. */
Test(symbols, a_vm_that_finds_the_lock_taken_is_proven_later)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_adopt(&vm);
    cr_assert(a != NULL);
    ljt_symbols_fork_prepare();
    lua_newuserdata(vm.L, 16);
    lua_newuserdata(vm.L, 16);
    cr_expect(ljt_arena_is(a, LJT_ARENA_GATED));
    ljt_symbols_fork_parent();
    cr_expect(ljt_arena_is(a, LJT_ARENA_GATED), "not by another thread");
    lua_newuserdata(vm.L, 16);
    cr_expect(ljt_arena_is(a, LJT_ARENA_ARMED));
    lua_close(vm.L);
}

static unsigned many_threads(void)
{
    return 7;
}

/* Another thread may hold the loader's lock and wait for this one. */
Test(symbols, beside_other_threads_the_loader_is_asked_by_a_thread_of_our_own)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_adopt(&vm);
    cr_assert(a != NULL);
    ljt_kernel.threads = many_threads;
    cr_expect(
        lab_await_doing(ljt_arena_is(a, LJT_ARENA_ARMED), (lua_newuserdata(vm.L, 16), lab_pause_ms(1))));
    cr_expect(a->module->pinned && atomic_load(&a->module->symbols.read));
    lua_close(vm.L);
}

/* Each had the other proven again, and itself, in a call that never returned. */
Test(symbols, vms_that_no_thread_can_be_started_for_do_not_wait_for_each_other)
{
    struct lab_vm one = lab_vm_open(), other = lab_vm_open();
    struct ljt_arena *a = lab_vm_adopt(&one), *b = lab_vm_adopt(&other);
    cr_assert(a != NULL && b != NULL);
    lab_catch_stderr();
    ljt_kernel.threads = many_threads;
    if (!lab_filter(SYS_clone3, SECCOMP_RET_ERRNO | EAGAIN) ||
        !lab_filter(SYS_clone, SECCOMP_RET_ERRNO | EAGAIN))
        cr_skip_test("seccomp filters are not allowed here");
    for (int i = 0; i < 3; i++) {
        lua_newuserdata(one.L, 16);
        lua_newuserdata(other.L, 16);
    }
    cr_expect(ljt_arena_is(a, LJT_ARENA_GATED) && ljt_arena_is(b, LJT_ARENA_GATED));
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "a thread can't be started") != NULL, "%s",
              lab_said());
    lua_close(one.L);
    lua_close(other.L);
}

/* A child that may have malloc's lock taken for ever must not ask the loader, which allocates. */
Test(symbols, in_a_raw_copy_nobody_asks_the_loader)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_adopt(&vm);
    cr_assert(a != NULL);
    ljt_reclaim_forbid();
    lua_newuserdata(vm.L, 16);
    cr_expect(ljt_arena_is(a, LJT_ARENA_GATED) && !a->module->pinned);
    lua_close(vm.L);
}

/* An object that was unloaded takes its symbols along. */
Test(symbols, are_forgotten_with_their_object)
{
    struct ljt_module *mod = module_with_symbols(0x4000);
    strcpy(mod->path, "/gone.so");
    cr_expect(ljt_module_resolve(lab_pc()) == mod);
    cr_expect(!atomic_load(&mod->symbols.read) && mod->symbols.functions == 0);
}
