/*
 * errno_kept: neither an allocation nor a collection may change errno, whatever the allocator has to ask the kernel.
 */
#include "churn.h"

static void expect_errno(int number, const char *after)
{
    if (errno != number)
        die("errno changed from %d to %d after %s", number, errno, after);
}

int main(void)
{
    struct churn c;
    lua_State *L;
    uint64_t random = 5;

    errno = EXDEV;
    L = luaL_newstate();
    expect_errno(EXDEV, "luaL_newstate");
    churn_open(&c, L, 4000, 3);
    for (int round = 0; round < 30; round++) {
        errno = EXDEV;
        churn_fill(&c);
        expect_errno(EXDEV, "growth");
        churn_drop(&c, 50);
        expect_errno(EXDEV, "a full collection");
        for (int i = 0; i < 2000; i++) {
            errno = EL2NSYNC;
            lua_newuserdata(L, churn_size(&random));
            expect_errno(EL2NSYNC, "one allocation");
            lua_settop(L, 0);
        }
        sleep_ms(2);
    }
    churn_verify(&c, "at the end");
    errno = EXDEV;
    lua_close(L);
    expect_errno(EXDEV, "lua_close");
    printf("errno kept\n");
    return 0;
}
