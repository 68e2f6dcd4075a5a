/*
 * A LuaJIT by its symbols, whose allocator is laid out as none that there was: its state is larger than any. It grows, and its
 * memory has to stay as it is.
 */
#include <stdbool.h>
#include <sys/mman.h>

#include "host.h"

int plugin_run(int argc, char **argv);
void luaJIT_setmode(void);
void alien_newstate(void) __asm__("lua_newstate");

void luaJIT_setmode(void)
{
}
void alien_newstate(void)
{
}

enum { STATE_CHUNK = 0x380, GG_CHUNK = 0x1800, PIECES = 64 };

static size_t *map(size_t size)
{
    size_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die("no memory");
    for (size_t i = 0; i < size / sizeof(*p); i++)
        p[i] = i | 1;
    return p;
}

int plugin_run(int argc, char **argv)
{
    const size_t size = 128 << 10;
    size_t *piece[PIECES];
    bool intact = true;

    (void)argc;
    (void)argv;
    piece[0] = map(size);
    piece[0][0] = 0;
    piece[0][1] = STATE_CHUNK | 3;
    piece[0][STATE_CHUNK / 8 + 1] = GG_CHUNK | 3;
    for (int i = 1; i < PIECES; i++)
        piece[i] = map(i % 2 ? size : 2 * size);
    sleep_ms(300);
    for (int p = 0; p < PIECES; p++)
        for (size_t i = p == 0 ? STATE_CHUNK : 0; i < size / sizeof(size_t); i++)
            intact &= piece[p][i] == (i | 1);
    puts(intact ? "intact" : "changed");
    return !intact;
}
