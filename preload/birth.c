#include "birth.h"

#include <dlfcn.h>
#include <errno.h>

#include "arena.h"
#include "config.h"
#include "log.h"
#include "mask.h"
#include "module.h"
#include "next.h"

typedef void *newstate_fn(void *f, void *ud, uintptr_t third, uintptr_t fourth);

/* lj_state.h, LuaJIT commit a44f53ac (June 2020) */
#define LJ_ALLOCF_INTERNAL ((void *)(uintptr_t)(1237 << 4))

/* ---- The real one ---- */

/* Of an object's own scope: itself and what it needs. */
static void *find_in_scope_of(const char *path)
{
    void *handle = path[0] == '\0' ? NULL : dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == NULL)
        return NULL;
    void *found = dlsym(handle, "lua_newstate");
    dlclose(handle);
    return found;
}

/*
 * What the dynamic linker would have bound the caller to if we were not there. An object that has one of its own, as LuaJIT
 * has, means that; any other sees the process's global scope first, then its own, in which a LuaJIT that was
 * opened with RTLD_LOCAL is. Who is in neither (machine code from LuaJIT's compiler) gets the first there is.
 */
static newstate_fn *find_real(uintptr_t pc)
{
    struct ljt_module *module = ljt_module_find(pc);
    void *found = module == NULL ? NULL : atomic_load_explicit(&module->newstate, memory_order_relaxed);
    if (found != NULL)
        return (newstate_fn *)found;
    int saved = errno;
    sigset_t before;
    ljt_mask_signals(&before);
    struct ljt_module_definition own, other;
    if (ljt_module_define(pc, "lua_newstate", &own)) {
        found = (void *)own.address;
        if (module != NULL && module->pinned) /* it will stay: the loader need not be asked again */
            atomic_store_explicit(&module->newstate, found, memory_order_relaxed);
    }
    /* dlsym waits for the loader's lock, which who waits for this VM may hold (symbols.h): not where there is no choice. */
    if (found == NULL && ljt_module_define_alone("lua_newstate", &other))
        found = (void *)other.address;
    if (found == NULL)
        found = ljt_next_find("lua_newstate");
    if (found == NULL)
        found = find_in_scope_of(own.path);
    if (found == NULL && ljt_module_define(0, "lua_newstate", &own))
        found = (void *)own.address;
    ljt_mask_restore(&before);
    errno = saved;
    return (newstate_fn *)found;
}

/* ---- Which of them get our allocator ---- */

static bool is_in(uintptr_t pc, const struct ljt_module *module)
{
    return pc >= atomic_load_explicit(&module->text_lo, memory_order_relaxed) &&
           pc < atomic_load_explicit(&module->text_hi, memory_order_relaxed);
}

static bool leaves_the_choice(const struct ljt_module *module, const void *f, const void *ud, uintptr_t pc)
{
    struct ljt_module_definition caller;
    if (!module->exports_luajit || ud != NULL)
        return false;
    if (f == LJ_ALLOCF_INTERNAL)
        return true;
    return is_in((uintptr_t)f, module) && is_in(pc, module) &&
           ljt_module_define(pc, "luaL_newstate", &caller) && pc - caller.address <= caller.size;
}

void *ljt_birth_newstate(void *f, void *ud, uintptr_t third, uintptr_t fourth, uintptr_t pc)
{
    newstate_fn *real = find_real(pc);
    if (real == NULL) {
        errno = ENOSYS;
        return NULL;
    }
    if (!ljt_config.enable || ljt_config.mode != LJT_MODE_PATCHED)
        return real(f, ud, third, fourth);
    int saved = errno;
    sigset_t before;
    ljt_mask_signals(&before);
    struct ljt_module *module = ljt_module_resolve((uintptr_t)real);
    struct ljt_arena *a = NULL;
    if (module != NULL && !atomic_load_explicit(&module->refuses, memory_order_relaxed) &&
        leaves_the_choice(module, f, ud, pc))
        a = ljt_arena_bear(module);
    ljt_mask_restore(&before);
    errno = saved;
    if (a == NULL)
        return real(f, ud, third, fourth);

    void *L = real((void *)ljt_gate_trampoline(a->slot), a->m, third, fourth);
    saved = errno;
    ljt_mask_signals(&before);
    if (L != NULL)
        ljt_arena_born(a);
    else
        ljt_arena_close(a->slot);
    ljt_mask_restore(&before);
    errno = saved;
    if (L != NULL)
        return L;
    static struct ljt_once once;
    L = real(f, ud, third, fourth);
    if (L != NULL) { /* else there is no memory: that is no refusal */
        atomic_store_explicit(&module->refuses, true, memory_order_relaxed);
        ljt_log_once(
            &once, LJT_LOG_WARN,
            "a Lua VM keeps its own allocator (lua_newstate takes no other: not built with GC64); it is "
            "trimmed as by LJTRIM_MODE=native");
    }
    return L;
}
