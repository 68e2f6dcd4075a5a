/*
 * allocf_games GAME: hosts that play with lua_setallocf, while the state's memory is being purged.
 *   set-back     puts the allocator that it saw at the very start back, once the state has grown, and goes on
 *   wrap-early   puts a wrapper around the allocator before the state grows
 *   wrap-state   the same with the allocator's own data: linked statically, it looks like LuaJIT's own function
 *   wrap-late    puts a wrapper around the allocator when the state has grown
 *   unwrap       wraps late and takes the wrapper away again
 *   flip         changes between the first and the current allocator, a thousand times
 */
#include "churn.h"

struct wrapper {
    lua_Alloc inner;
    void *inner_data;
    long calls;
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
    churn_open(&c, L, 8000, 99);
    if (!strcmp(game, "wrap-early")) {
        wrapper.inner = first;
        wrapper.inner_data = first_data;
        lua_setallocf(L, pass_on, &wrapper);
    } else if (!strcmp(game, "wrap-state")) {
        inner = first;
        lua_setallocf(L, pass_on_as_it_is, first_data);
    }
    work(&c, 6, "before the change");
    later = lua_getallocf(L, &later_data);
    if (later_data != (later == pass_on ? (void *)&wrapper : first_data))
        die("the allocator's data was replaced");

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
    } else if (strcmp(game, "wrap-early") && strcmp(game, "wrap-state")) {
        die("unknown game '%s'", game);
    }
    work(&c, 10, "after the change");
    if (!strcmp(game, "unwrap")) {
        lua_setallocf(L, later, later_data);
        work(&c, 6, "without the wrapper");
    }
    if (!strncmp(game, "wrap", 4) && wrapper.calls + inner_calls < 100000)
        die("the wrapper was not called: %ld", wrapper.calls + inner_calls);
    lua_close(L);
    churn_release(&c);
    printf("%s: allocator %s\n", game, first == later ? "never replaced" : "replaced");
    return 0;
}
