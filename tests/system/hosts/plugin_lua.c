/*
 * A plugin that brings LuaJIT into a host that does not know it, as nginx's Lua module does.
 */
#include "run_script.h"

int plugin_run(int argc, char **argv);
int plugin_leave(int argc, char **argv);

int plugin_run(int argc, char **argv)
{
    return run_script(argc, argv);
}

/* The same, but the state is not closed. */
int plugin_leave(int argc, char **argv)
{
    return run_script_in(luaL_newstate(), argc, argv);
}
