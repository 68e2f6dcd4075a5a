/*
 * Another Lua, not LuaJIT: it exports lua_newstate, with a third argument as Lua 5.5's, and luaL_newstate calls it through the PLT
 * with an allocator of its own object's. It has to get what was passed.
 */
#include <stddef.h>

#include "host.h"

typedef void *alloc_fn(void *ud, void *ptr, size_t osize, size_t nsize);

int plugin_run(int argc, char **argv);
void *other_newstate(alloc_fn *f, void *ud, unsigned seed) __asm__("lua_newstate");
void *other_default(void) __asm__("luaL_newstate");

static void *l_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud, (void)ptr, (void)osize, (void)nsize;
    return NULL;
}

void *other_newstate(alloc_fn *f, void *ud, unsigned seed)
{
    static char state;
    if (f != l_alloc || ud || seed != 0x5eed)
        die("something else was passed");
    return &state;
}

void *other_default(void)
{
    void *volatile L = other_newstate(l_alloc, NULL, 0x5eed);
    return L;
}

int plugin_run(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts(other_default() ? "passed on" : "nothing came back");
    return 0;
}
