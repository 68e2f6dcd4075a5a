/*
 * close_states COUNT [held]: opens a state, lets it grow and shrink, and closes it while it is being purged, COUNT times;
 * with "held" a silent one not before the reclaimer has held it. No mapping may be left behind: lua_close of plain LuaJIT
 * unmaps an arena as a whole.
 */
#include "churn.h"

#define WARM_UP 20

static void use_one_state(unsigned number, int until_held)
{
    struct churn c;

    churn_open(&c, luaL_newstate(), 800 + number % 5 * 600, number + 1);
    churn_fill(&c);
    switch (number % 4) {
    case 0: /* closed at its peak */ break;
    case 1: /* closed at the moment when most of it became free */ churn_drop(&c, 30); break;
    case 2: /* closed while the reclaimer works on a silent state */
        churn_drop(&c, 30);
        churn_rest(&c, until_held);
        churn_verify(&c, "before it is closed");
        break;
    case 3: /* closed in the middle of churn, with purges behind it */
        churn_drop(&c, 10);
        churn_step(&c, 800);
        churn_verify(&c, "in the middle of churn");
        break;
    }
    lua_close(c.L);
    churn_release(&c);
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 200;
    long mappings = 0, size = 0, mappings_after, size_after;

    for (unsigned i = 0; i < WARM_UP + count; i++) {
        if (i == WARM_UP) {
            sleep_ms(50);
            mappings = count_mappings();
            size = status_kb("VmSize");
        }
        use_one_state(i, argc > 2);
    }
    sleep_ms(50);
    mappings_after = count_mappings();
    size_after = status_kb("VmSize");
    printf("%u states, mappings %ld -> %ld, size %ld -> %ld KiB\n", count, mappings, mappings_after, size,
           size_after);
    if (mappings_after > mappings + 8)
        die("mappings leak: %ld before, %ld after", mappings, mappings_after);
    if (size_after > size + 4096)
        die("address space leaks: %ld KiB before, %ld KiB after", size, size_after);
    return 0;
}
