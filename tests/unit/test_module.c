/*
 * Which object a call came from.
 */
#include "lab.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "module.h"

TestSuite(module, .init = lab_init, .timeout = LAB_TIMEOUT);

Test(module, nothing_is_known_before_it_is_asked_for)
{
    cr_expect(ljt_module_find(lab_pc()) == NULL && ljt_module_find(0) == NULL);
}

Test(module, the_object_of_a_pc_is_found_and_remembered)
{
    struct ljt_module *lua = ljt_module_resolve(lab_pc());
    cr_assert(lua != NULL);
    cr_expect(strstr(lua->path, "luajit") != NULL, "%s", lua->path);
    cr_expect(lab_pc() >= atomic_load(&lua->text_lo) && lab_pc() < atomic_load(&lua->text_hi));
    cr_expect(ljt_module_find(lab_pc()) == lua && ljt_module_resolve(lab_pc()) == lua);
    cr_expect(ljt_module_find(atomic_load(&lua->text_hi)) == NULL);
    cr_expect(ljt_module_find(atomic_load(&lua->text_lo) - 1) == NULL);

    struct ljt_module *libc = ljt_module_resolve((uintptr_t)dlsym(RTLD_NEXT, "qsort"));
    cr_expect(libc != NULL && libc != lua);
    cr_expect(ljt_module_find(lab_pc()) == lua);
}

Test(module, who_exports_lua_is_known)
{
    struct ljt_module *lua = ljt_module_resolve(lab_pc());
    struct ljt_module *libc = ljt_module_resolve((uintptr_t)dlsym(RTLD_NEXT, "qsort"));
    cr_assert(lua != NULL && libc != NULL);
    cr_expect(lua->exports_lua && !libc->exports_lua);
}

Test(module, neither_we_nor_code_outside_of_objects_are_one)
{
    char *heap = malloc(100);
    cr_expect(ljt_module_resolve((uintptr_t)&ljt_module_resolve) == NULL, "our own object");
    cr_expect(ljt_module_resolve((uintptr_t)heap) == NULL);
    cr_expect(ljt_module_resolve(0) == NULL && ljt_module_resolve(UINTPTR_MAX) == NULL);
    cr_expect(ljt_modules[0].text_hi == 0, "none was remembered");
    free(heap);
}

Test(module, a_full_table_remembers_no_more)
{
    for (unsigned i = 0; i < LJT_MODULES; i++) {
        atomic_store(&ljt_modules[i].text_lo, 0x1000 * (i + 1));
        atomic_store(&ljt_modules[i].text_hi, 0x1000 * (i + 1) + 1);
    }
    cr_expect(ljt_module_resolve(lab_pc()) == NULL);
    cr_expect(ljt_module_find(0x3000) == &ljt_modules[2]);
}

/* An object is unloaded, another is loaded there: the entry is renewed, but not where a gate leads into it. */
Test(module, an_object_that_took_another_s_place_takes_its_entry)
{
    struct ljt_module *mod = ljt_module_resolve(lab_pc());
    cr_assert(mod != NULL);
    uintptr_t hi = atomic_load(&mod->text_hi);
    strcpy(mod->path, "/gone.so");
    atomic_store(&mod->text_hi, hi - 1);
    atomic_store(&mod->mapped, 1234);
    mod->exports_lua = false;
    cr_expect(ljt_module_resolve(lab_pc()) == mod);
    cr_expect(strstr(mod->path, "luajit") != NULL && mod->exports_lua && atomic_load(&mod->mapped) == 0);
    cr_expect(atomic_load(&mod->text_hi) == hi);

    strcpy(mod->path, "/gone.so");
    mod->pinned = true;
    struct ljt_module *other = ljt_module_resolve(lab_pc());
    cr_expect(other != mod, "a pinned object can't have gone");
}

Test(module, pinning_keeps_the_object_and_errno)
{
    struct ljt_module *mod = ljt_module_resolve(lab_pc());
    cr_assert(mod != NULL);
    errno = EDOM;
    ljt_module_pin(mod);
    ljt_module_pin(mod);
    cr_expect(mod->pinned && errno == EDOM);

    struct ljt_module executable = {.path = ""}, gone = {.path = "/no/such/file.so"};
    ljt_module_pin(&executable);
    ljt_module_pin(&gone);
    cr_expect(executable.pinned && gone.pinned && errno == EDOM);
}
