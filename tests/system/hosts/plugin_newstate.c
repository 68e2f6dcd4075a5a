/*
 * A LuaJIT built with LUAJIT_USE_SYSMALLOC, as far as lua_newstate can see: luaL_newstate passes an allocator of its own
 * object's and no data. The states are real ones. Opened by nolua_plugin, so that none of it is in the global scope.
 *
 *   system          makes a state with luaL_newstate, works, closes it, tells who served it from the first
 *   refusing        the same; lua_newstate takes no other allocator than that one, as without GC64
 *   own             calls lua_newstate itself, with its own allocator
 *   sentinel        asks the real LuaJIT for its internal allocator, as its luaL_newstate does
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "churn.h"

int plugin_run(int argc, char **argv);
void luaJIT_setmode(void);
lua_State *real_newstate(lua_Alloc f, void *ud) __asm__("lua_newstate");
lua_State *system_newstate(void) __asm__("luaL_newstate");

static bool refusing;
static long system_calls, own_calls;

void luaJIT_setmode(void)
{
}

static void *serve(void *ptr, size_t nsize)
{
    if (nsize)
        return realloc(ptr, nsize);
    free(ptr);
    return NULL;
}

static void *mem_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)osize;
    if (ud)
        die("data where there should be none");
    system_calls++;
    return serve(ptr, nsize);
}

static void *own_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)osize;
    if (ud != &own_calls)
        die("the allocator was called with someone else's data");
    own_calls++;
    return serve(ptr, nsize);
}

/* Of the real LuaJIT, which stands behind this object. */
static void *real(const char *name)
{
    static void *luajit;
    if (!luajit && !(luajit = dlopen("libluajit-5.1.so.2", RTLD_NOW | RTLD_LOCAL)))
        die("%s", dlerror());
    return dlsym(luajit, name);
}

lua_State *real_newstate(lua_Alloc f, void *ud)
{
    if (refusing && f != mem_alloc)
        return NULL;
    return ((lua_State * (*)(lua_Alloc, void *)) real("lua_newstate"))(f, ud);
}

/* Through the PLT, and not as the last thing it does: as LuaJIT's. */
lua_State *system_newstate(void)
{
    lua_State *volatile L = real_newstate(mem_alloc, NULL);
    return L;
}

int plugin_run(int argc, char **argv)
{
    const char *how = argv[0];
    lua_State *L;
    struct churn c;
    Dl_info served;
    void *data;

    if (argc < 1)
        die("how?");
    refusing = strcmp(how, "refusing") == 0;
    for (int round = 0; round < 4; round++) {
        if (strcmp(how, "own") == 0)
            L = real_newstate(own_alloc, &own_calls);
        else if (strcmp(how, "sentinel") == 0)
            L = ((lua_State * (*)(void)) real("luaL_newstate"))();
        else
            L = system_newstate();
        if (!L)
            die("no state");
        if (!dladdr(*(void **)(lua_Alloc[]){lua_getallocf(L, &data)}, &served))
            die("an allocator from nowhere");
        churn_open(&c, L, 5000, 7);
        for (int i = 0; i < 8; i++) {
            churn_fill(&c);
            churn_drop(&c, 20);
            churn_verify(&c, how);
            sleep_ms(2);
        }
        lua_close(L);
        churn_release(&c);
    }
    printf("served by %s, %s\n",
           strstr(served.dli_fname, "libljtrim.so") ? "libljtrim"
           : strstr(served.dli_fname, "libluajit")  ? "LuaJIT"
                                                    : "the plugin",
           system_calls ? "by mem_alloc"
           : own_calls  ? "by its own"
                        : "by neither");
    return 0;
}
