/*
 * A Lua state that keeps growing, shrinking and checking itself.
 *
 * Slots of a Lua table hold userdata and strings; what each must contain follows from a seed that is kept outside of
 * Lua's heap. A page that was discarded, or a chunk that was handed out twice, shows up as a pattern that is wrong.
 */
#ifndef LJT_TEST_CHURN_H
#define LJT_TEST_CHURN_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "host.h"

enum churn_kind { CHURN_EMPTY, CHURN_USERDATA, CHURN_STRING };

struct churn_slot {
    uint64_t seed;
    uint32_t size;
    uint32_t kind;
};

struct churn {
    lua_State *L;
    struct churn_slot *slots;
    unsigned count;
    uint64_t random;
    char *buffer; /* where strings are composed */
};

#define CHURN_LARGEST (400 * 1024)

static const char churn_key[] = "churn";

static uint64_t churn_word(uint64_t seed, size_t index)
{
    return (seed ^ index) * 0x9e3779b97f4a7c15u + (index << 17);
}

static void churn_paint(void *memory, size_t size, uint64_t seed)
{
    char *bytes = memory;

    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = churn_word(seed, i / 8);

        memcpy(bytes + i, &word, size - i < 8 ? size - i : 8);
    }
}

/* Returns the offset of the first byte that is wrong, or -1. */
static long churn_damage(const void *memory, size_t size, uint64_t seed)
{
    const char *bytes = memory;

    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = churn_word(seed, i / 8);

        if (memcmp(bytes + i, &word, size - i < 8 ? size - i : 8))
            return (long)i;
    }
    return -1;
}

/* Mostly small objects as Lua has them, some of a few pages, a few that lj_alloc maps directly. */
static uint32_t churn_size(uint64_t *random)
{
    uint64_t dice = random_below(random, 2000);

    if (dice < 1700)
        return (uint32_t)(8 + random_below(random, 500));
    if (dice < 1980)
        return (uint32_t)(512 + random_below(random, 7000));
    if (dice < 1999)
        return (uint32_t)(8192 + random_below(random, 60000));
    return (uint32_t)(130000 + random_below(random, CHURN_LARGEST - 130000));
}

/* Adopts a state that is fresh from lua_newstate or luaL_newstate. */
__attribute__((unused)) static void churn_open(struct churn *c, lua_State *L, unsigned slots, uint64_t seed)
{
    if (!L)
        die("no Lua state");
    c->L = L;
    c->count = slots;
    c->random = seed;
    c->slots = calloc(slots, sizeof *c->slots);
    c->buffer = malloc(CHURN_LARGEST);
    if (!c->slots || !c->buffer)
        die("out of memory");
    lua_pushlightuserdata(L, (void *)(uintptr_t)churn_key);
    lua_createtable(L, (int)slots, 0);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

/* Forgets the slots; the state itself is the caller's to close. */
__attribute__((unused)) static void churn_release(struct churn *c)
{
    free(c->slots);
    free(c->buffer);
    c->slots = NULL;
    c->buffer = NULL;
}

static void churn_push_table(struct churn *c)
{
    lua_pushlightuserdata(c->L, (void *)(uintptr_t)churn_key);
    lua_rawget(c->L, LUA_REGISTRYINDEX);
}

static void churn_set(struct churn *c, unsigned index, enum churn_kind kind)
{
    struct churn_slot *slot = &c->slots[index];

    slot->kind = kind;
    slot->seed = random_next(&c->random);
    slot->size = churn_size(&c->random);
    switch (kind) {
    case CHURN_USERDATA: churn_paint(lua_newuserdata(c->L, slot->size), slot->size, slot->seed); break;
    case CHURN_STRING:
        churn_paint(c->buffer, slot->size, slot->seed);
        lua_pushlstring(c->L, c->buffer, slot->size);
        break;
    case CHURN_EMPTY: lua_pushnil(c->L); break;
    }
    lua_rawseti(c->L, -2, (int)index + 1);
}

/* Replaces `replacements` slots chosen at random: objects die young, at random places. */
__attribute__((unused)) static void churn_step(struct churn *c, unsigned replacements)
{
    churn_push_table(c);
    while (replacements--) {
        unsigned index = (unsigned)random_below(&c->random, c->count);

        churn_set(c, index, random_next(&c->random) & 1 ? CHURN_USERDATA : CHURN_STRING);
    }
    lua_pop(c->L, 1);
}

/* Fills every slot: the peak. */
__attribute__((unused)) static void churn_fill(struct churn *c)
{
    churn_push_table(c);
    for (unsigned i = 0; i < c->count; i++)
        churn_set(c, i, i & 1 ? CHURN_USERDATA : CHURN_STRING);
    lua_pop(c->L, 1);
}

/* Empties all but every keep_every-th slot and collects: the trough. */
__attribute__((unused)) static void churn_drop(struct churn *c, unsigned keep_every)
{
    churn_push_table(c);
    for (unsigned i = 0; i < c->count; i++)
        if (i % keep_every)
            churn_set(c, i, CHURN_EMPTY);
    lua_pop(c->L, 1);
    lua_gc(c->L, LUA_GCCOLLECT, 0);
    lua_gc(c->L, LUA_GCCOLLECT, 0);
}

/*
 * Leaves the state alone for longer than the 3 ms that are silence to the library, so that the reclaimer holds its heap,
 * unit by unit: what comes next comes at any point of that. With until_held it does not come before a unit was done so.
 */
__attribute__((unused)) static void churn_rest(struct churn *c, int until_held)
{
    static const char units[] = "ljtrim_units_by_reclaimer_total";
    long long before = library_total(units);
    time_t began = time(NULL);

    sleep_us(3500 + (long)random_below(&c->random, 2500));
    while (until_held && before >= 0 && library_total(units) == before) {
        if (time(NULL) - began > 60)
            die("the reclaimer has not held a silent heap");
        sleep_us((long)random_below(&c->random, 1000));
    }
}

__attribute__((unused)) static void churn_verify(struct churn *c, const char *when)
{
    churn_push_table(c);
    for (unsigned i = 0; i < c->count; i++) {
        struct churn_slot *slot = &c->slots[i];
        const void *memory = NULL;
        size_t size = 0;
        long wrong;

        if (slot->kind == CHURN_EMPTY)
            continue;
        lua_rawgeti(c->L, -1, (int)i + 1);
        if (slot->kind == CHURN_USERDATA) {
            memory = lua_touserdata(c->L, -1);
            size = lua_objlen(c->L, -1);
        } else if (lua_type(c->L, -1) == LUA_TSTRING) {
            memory = lua_tolstring(c->L, -1, &size);
        }
        if (!memory || size != slot->size)
            die("%s: slot %u lost its object (%zu bytes, %u expected)", when, i, size, slot->size);
        wrong = churn_damage(memory, size, slot->seed);
        if (wrong >= 0)
            die("%s: slot %u is damaged at byte %ld of %u, at %p", when, i, wrong, slot->size, memory);
        lua_pop(c->L, 1);
    }
    lua_pop(c->L, 1);
}

#endif
