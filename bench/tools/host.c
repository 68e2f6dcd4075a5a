/*
 * host [-m] [-t] [-i] SCRIPT [ARG ...]: runs a script in a new state, with `arg` as luajit sets it.
 *
 *   -m   the state's allocator is libc's: realloc and free, or those of whatever is preloaded in their place. This is
 *        how a program puts LuaJIT on another allocator, and how the peers are measured
 *   -t   collectgarbage() calls malloc_trim(0) when it is through, as programs do that know of their heap
 *   -i   the interpreter alone: no machine code is compiled
 *
 * Without -m the state has LuaJIT's own allocator: the same program, so that nothing but the allocator differs.
 */
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *from_malloc(void *data, void *block, size_t old_size, size_t new_size)
{
    (void)data, (void)old_size;
    if (new_size)
        return realloc(block, new_size);
    free(block);
    return NULL;
}

/* What luaL_newstate sets and lua_newstate does not. */
static int panic(lua_State *L)
{
    fprintf(stderr, "host: %s\n", lua_tostring(L, -1));
    exit(1);
}

static int collect_and_trim(lua_State *L)
{
    int n = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, LUA_MULTRET);
    malloc_trim(0);
    return lua_gettop(L);
}

int main(int argc, char **argv)
{
    int opt, with_malloc = 0, trim = 0, interpret = 0;
    while ((opt = getopt(argc, argv, "+mti")) != -1) {
        with_malloc |= opt == 'm';
        trim |= opt == 't';
        interpret |= opt == 'i';
    }
    if (optind >= argc) {
        fprintf(stderr, "usage: host [-m] [-t] [-i] SCRIPT [ARG ...]\n");
        return 2;
    }
    lua_State *L = with_malloc ? lua_newstate(from_malloc, NULL) : luaL_newstate();
    if (L == NULL) {
        fprintf(stderr, "host: no Lua state%s\n", with_malloc ? ": this LuaJIT takes no allocator" : "");
        return 1;
    }
    lua_atpanic(L, panic);
    luaL_openlibs(L);
    if (interpret)
        luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    if (trim) {
        lua_getglobal(L, "collectgarbage");
        lua_pushcclosure(L, collect_and_trim, 1);
        lua_setglobal(L, "collectgarbage");
    }
    lua_newtable(L);
    for (int i = optind; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - optind);
    }
    lua_setglobal(L, "arg");
    if (luaL_dofile(L, argv[optind])) {
        fprintf(stderr, "host: %s\n", lua_tostring(L, -1));
        return 1;
    }
    lua_close(L);
    return 0;
}
