/*
 * Runs a Lua script in a new state. Shared by the host that links LuaJIT and by the plugin that brings it along.
 */
#ifndef LJT_TEST_RUN_SCRIPT_H
#define LJT_TEST_RUN_SCRIPT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "host.h"

static int run_script_in(lua_State *L, int argc, char **argv)
{
    if (!L)
        die("no Lua state");
    luaL_openlibs(L);
    lua_createtable(L, argc, 0);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");
    if (luaL_dofile(L, argv[0]))
        die("%s", lua_tostring(L, -1));
    return 0;
}

__attribute__((unused)) static int run_script(int argc, char **argv)
{
    lua_State *L = luaL_newstate();
    int status = run_script_in(L, argc, argv);

    lua_close(L);
    return status;
}

#endif
