/*
 * A plugin whose constructor starts a thread, has it set up a Lua state, and waits for that: the loader's lock is held
 * meanwhile, by a thread that waits for the VM. Once the plugin is loaded the thread runs the script.
 */
#include <pthread.h>
#include <semaphore.h>

#include "run_script.h"

int plugin_run(int argc, char **argv);

static pthread_t thread;
static sem_t ready, go;
static int script_argc;
static char **script_argv;

static void *allocate(void *unused, void *block, size_t old, size_t size)
{
    (void)unused;
    (void)old;
    if (size > 0)
        return realloc(block, size);
    free(block);
    return NULL;
}

static void *run(void *unused)
{
    lua_State *L = lua_newstate(allocate, NULL); /* which the library has to find for us */
    (void)unused;
    if (!L)
        die("no Lua state");
    lua_close(L);
    L = luaL_newstate();
    if (!L || luaL_dostring(L, "kept = {} for i = 1, 20000 do kept[i] = {i} end"))
        die("the state can't be set up");
    sem_post(&ready);
    while (sem_wait(&go))
        ;
    run_script_in(L, script_argc, script_argv);
    lua_close(L);
    return NULL;
}

__attribute__((constructor)) static void start(void)
{
    sem_init(&ready, 0, 0);
    sem_init(&go, 0, 0);
    if (pthread_create(&thread, NULL, run, NULL))
        die("no thread");
    while (sem_wait(&ready))
        ;
}

int plugin_run(int argc, char **argv)
{
    script_argc = argc;
    script_argv = argv;
    sem_post(&go);
    return pthread_join(thread, NULL);
}
