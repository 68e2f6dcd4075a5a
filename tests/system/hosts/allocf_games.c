/*
 * allocf_games GAME: hosts that play with lua_setallocf, while the state's memory is being purged.
 *   set-back       puts the allocator that it saw at the very start back, once the state has grown, and goes on
 *   wrap-early     puts a wrapper around the allocator before the state grows
 *   wrap-state     the same with the allocator's own data: linked statically, it looks like LuaJIT's own function
 *   wrap-late      puts a wrapper around the allocator when the state has grown
 *   unwrap         wraps late and takes the wrapper away again
 *   wrap-raw       puts a wrapper around the allocator that it saw at the very start when the state has grown
 *   wrap-first     puts a wrapper around it before the state grows, and takes that away when it has grown
 *   replace        serves new blocks from memory of its own when the state has grown, and passes on what it does not know
 *   replace-early  the same before the state grows, so that its arena never does
 *   limit          wraps late, and refuses what goes beyond a limit, as Tarantool's does: out of memory, often
 *   flip           changes between the first and the current allocator, a thousand times
 */
#include <stdbool.h>
#include <sys/mman.h>

#include "churn.h"

struct wrapper {
    lua_Alloc inner;
    void *inner_data;
    long calls;
    size_t used, limit; /* bytes; of the game `limit` */
    long refusals;
};

static void *pass_on(void *data, void *block, size_t old_size, size_t new_size)
{
    struct wrapper *w = data;

    w->calls++;
    return w->inner(w->inner_data, block, old_size, new_size);
}

static lua_Alloc inner;
static long inner_calls;

static void *pass_on_as_it_is(void *data, void *block, size_t old_size, size_t new_size)
{
    inner_calls++;
    return inner(data, block, old_size, new_size);
}

static void *refuse_beyond_limit(void *data, void *block, size_t old_size, size_t new_size)
{
    struct wrapper *w = data;
    size_t used = w->used - old_size + new_size;
    void *result;

    w->calls++;
    if (new_size > old_size && used > w->limit) {
        w->refusals++;
        return NULL;
    }
    result = w->inner(w->inner_data, block, old_size, new_size);
    if (result || new_size == 0)
        w->used = used;
    return result;
}

/* Memory of our own, below 2^47 as LuaJIT needs it. Nothing in it is used twice. */
static char *own;
static size_t own_size, own_used;

static void *replace(void *data, void *block, size_t old_size, size_t new_size)
{
    struct wrapper *w = data;
    bool is_own = (char *)block >= own && (char *)block < own + own_size;
    void *fresh = NULL;

    w->calls++;
    if (new_size > 0) {
        if (new_size > own_size - own_used)
            return NULL;
        fresh = own + own_used;
        own_used += (new_size + 15) & ~(size_t)15;
        if (block)
            memcpy(fresh, block, old_size < new_size ? old_size : new_size);
    }
    if (block && !is_own)
        w->inner(w->inner_data, block, old_size, 0);
    return fresh;
}

static void prepare_to_replace(void)
{
    own_size = (size_t)8 << 30;
    own = mmap(NULL, own_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (own == MAP_FAILED)
        die("no memory");
}

/* Allocates until the limit refuses; then everything goes. */
static int overflow(lua_State *L)
{
    lua_newtable(L);
    for (int i = 1; i < 1000000; i++) {
        lua_newuserdata(L, 1000);
        lua_rawseti(L, -2, i);
    }
    return 0;
}

/* While another state grows the library looks at all that have not. */
static void grow_a_neighbour(void)
{
    lua_State *L = luaL_newstate();

    if (!L || luaL_dostring(L, "local t = {} for i = 1, 20000 do t[i] = {i} end"))
        die("no neighbour");
    lua_close(L);
}

static void work(struct churn *c, int rounds, const char *when)
{
    for (int i = 0; i < rounds; i++) {
        churn_fill(c);
        churn_drop(c, 30);
        churn_verify(c, when);
        if (i % 3 == 0)
            sleep_ms(3);
        churn_verify(c, when);
    }
}

int main(int argc, char **argv)
{
    const char *game = argc > 1 ? argv[1] : "";
    struct wrapper wrapper = {0};
    lua_State *L = luaL_newstate();
    lua_Alloc first, later;
    void *first_data, *later_data;
    struct churn c;

    if (!L)
        die("no Lua state");
    first = lua_getallocf(L, &first_data);
    if (!strcmp(game, "replace-early")) {
        prepare_to_replace();
        wrapper.inner = first;
        wrapper.inner_data = first_data;
        lua_setallocf(L, replace, &wrapper);
    }
    churn_open(&c, L, 8000, 99);
    if (!strcmp(game, "wrap-early") || !strcmp(game, "wrap-first")) {
        wrapper.inner = first;
        wrapper.inner_data = first_data;
        lua_setallocf(L, pass_on, &wrapper);
    } else if (!strcmp(game, "wrap-state")) {
        inner = first;
        lua_setallocf(L, pass_on_as_it_is, first_data);
    }
    work(&c, 6, "before the change");
    if (!strcmp(game, "replace-early"))
        grow_a_neighbour();
    later = lua_getallocf(L, &later_data);
    if (later_data != (later == pass_on || later == replace ? (void *)&wrapper : first_data))
        die("the allocator's data was replaced");
    if (!strcmp(game, "replace-early") && later != replace)
        die("the program's own allocator was replaced");

    if (!strcmp(game, "set-back")) {
        lua_setallocf(L, first, first_data);
    } else if (!strcmp(game, "wrap-late") || !strcmp(game, "unwrap")) {
        wrapper.inner = later;
        wrapper.inner_data = later_data;
        lua_setallocf(L, pass_on, &wrapper);
    } else if (!strcmp(game, "flip")) {
        for (int i = 0; i < 1000; i++) {
            lua_setallocf(L, first, first_data);
            churn_step(&c, 50);
            lua_setallocf(L, later, later_data);
            churn_step(&c, 50);
            if (i % 100 == 0)
                work(&c, 1, "between two changes");
        }
    } else if (!strcmp(game, "wrap-raw")) {
        wrapper.inner = first;
        wrapper.inner_data = first_data;
        lua_setallocf(L, pass_on, &wrapper);
    } else if (!strcmp(game, "wrap-first")) {
        lua_setallocf(L, first, first_data);
    } else if (!strcmp(game, "replace")) {
        prepare_to_replace();
        wrapper.inner = later;
        wrapper.inner_data = later_data;
        lua_setallocf(L, replace, &wrapper);
    } else if (!strcmp(game, "limit")) {
        wrapper.inner = later;
        wrapper.inner_data = later_data;
        wrapper.used = (size_t)lua_gc(L, LUA_GCCOUNT, 0) << 10;
        wrapper.limit = wrapper.used * 2 + (32 << 20);
        lua_setallocf(L, refuse_beyond_limit, &wrapper);
        for (int i = 0; i < 10; i++) {
            if (lua_cpcall(L, overflow, NULL) != LUA_ERRMEM)
                die("no error of memory");
            lua_pop(L, 1);
            lua_gc(L, LUA_GCCOLLECT, 0);
            work(&c, 1, "after a refusal");
        }
        if (wrapper.refusals < 10)
            die("%ld refusals", wrapper.refusals);
    } else if (strcmp(game, "wrap-early") && strcmp(game, "wrap-state") && strcmp(game, "replace-early")) {
        die("unknown game '%s'", game);
    }
    work(&c, 10, "after the change");
    if (!strcmp(game, "unwrap")) {
        lua_setallocf(L, later, later_data);
        work(&c, 6, "without the wrapper");
    }
    if ((!strncmp(game, "wrap", 4) || !strncmp(game, "replace", 7)) && wrapper.calls + inner_calls < 50000)
        die("the program's allocator was not called: %ld", wrapper.calls + inner_calls);
    lua_close(L);
    churn_release(&c);
    printf("%s: allocator %s\n", game, first == later ? "never replaced" : "replaced");
    return 0;
}
