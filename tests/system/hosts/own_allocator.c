/*
 * own_allocator: a host that passes its own allocator to lua_newstate. It is the only one that may be called, it stays
 * the state's allocator, and all that it gave comes back.
 */
#include "churn.h"

static long live_bytes, calls;

static void *count_and_pass_on(void *data, void *block, size_t old_size, size_t new_size)
{
    if (data != &calls)
        die("the allocator was called with someone else's data");
    calls++;
    live_bytes += (long)new_size - (long)(block ? old_size : 0);
    if (new_size)
        return realloc(block, new_size);
    free(block);
    return NULL;
}

int main(int argc, char **argv)
{
    struct churn c;
    lua_State *L = lua_newstate(count_and_pass_on, &calls);
    void *data = NULL;

    if (!L) {
        printf("this LuaJIT takes no allocator\n");
        return 77;
    }
    churn_open(&c, L, 5000, 7);
    for (int round = 0; round < 20; round++) {
        churn_fill(&c);
        churn_drop(&c, 20);
        churn_verify(&c, "own allocator");
        if (round % 5 == 0)
            sleep_ms(5);
        if (lua_getallocf(L, &data) != count_and_pass_on || data != &calls)
            die("the state's allocator was replaced");
    }
    if (argc > 1) { /* own_allocator MILLISECONDS: stays for whoever wants to ask it something */
        printf("ready\n");
        fflush(stdout);
        sleep_ms(atoi(argv[1]));
    }
    lua_close(L);
    churn_release(&c);
    if (live_bytes)
        die("%ld bytes were not given back", live_bytes);
    printf("own allocator kept: %s\n", calls > 100000 ? "yes" : "hardly used");
    return 0;
}
