/*
 * stuck HOW: a host whose VM goes nowhere after it has grown and shrunk. Prints `stuck` when it is.
 *   loop     runs Lua code that does nothing and allocates nothing, for ever
 *   wrapper  waits for ever in an allocator of its own, which was put in front of what was there
 *   inside   waits for ever inside LuaJIT's allocator: its mmap never returns (plugin_stall.so is preloaded)
 */
#include <dlfcn.h>
#include <pthread.h>

#include "churn.h"

static lua_Alloc inner;
static void *inner_data;
static volatile int stuck;

static void say(void)
{
    static const char word[] = "stuck\n";
    if (write(STDOUT_FILENO, word, sizeof(word) - 1) < 0)
        _exit(1);
}

static void *wait_for_ever(void *data, void *block, size_t old_size, size_t new_size)
{
    (void)data;
    if (stuck && new_size > 0) {
        say();
        for (;;)
            pause();
    }
    return inner(inner_data, block, old_size, new_size);
}

static void run(lua_State *L, const char *code)
{
    if (luaL_dostring(L, code))
        die("%s", lua_tostring(L, -1));
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    struct churn c;

    churn_open(&c, luaL_newstate(), 40000, 5);
    churn_fill(&c);
    churn_drop(&c, 20);
    sleep_ms(300); /* the reclaimer is up */
    if (!strcmp(how, "loop")) {
        say();
        run(c.L, "while true do end");
    } else if (!strcmp(how, "wrapper")) {
        inner = lua_getallocf(c.L, &inner_data);
        lua_setallocf(c.L, wait_for_ever, inner_data);
        stuck = 1;
        run(c.L, "local t = {} for i = 1, 1e6 do t[i] = {i} end");
    } else if (!strcmp(how, "inside")) {
        volatile int *stall = dlsym(RTLD_DEFAULT, "stall_mmap");
        if (!stall)
            die("plugin_stall.so is not preloaded");
        *stall = 1;
        say();
        run(c.L, "local t = {} for i = 1, 1e9 do t[i] = {i} end");
    }
    die("it was to be stuck, %s", how);
}
