/*
 * module: which loaded object a call came from.
 *
 * A LuaJIT is recognised by what it does (mapping its arenas) and by what its arenas look like, not by its name:
 * here we only learn the bounds of the object that maps, so that `allocf` can be required to lie in the same
 * object's text. At most LJT_MODULES objects are remembered.
 *
 * Entries are added under a lock of their own and never removed; readers need none. An object that
 * was unloaded leaves its entry behind; ljt_module_resolve renews it when another is loaded there. One that
 * holds a gated arena is pinned and can't be unloaded.
 */
#ifndef LJT_MODULE_H
#define LJT_MODULE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LJT_MODULES 16
#define LJT_MODULE_RANGES 48

/*
 * What its symbols say of lj_alloc; symbols.h. Written once, before `read`, which is written with release; then
 * constant, but for the last two.
 */
struct ljt_module_symbols {
    _Atomic bool read;
    unsigned count;
    bool all; /* range[] is all of lj_alloc */
    struct {
        uintptr_t lo, hi;
    } range[LJT_MODULE_RANGES]; /* its functions' code */
    unsigned functions;
    uintptr_t lj_alloc_f[4];       /* more than one if there is more than one LuaJIT in it */
    char text[192];                /* where they are from, or why there are none */
    _Atomic bool narrow;           /* range[] tells lj_alloc's mappings from others */
    _Atomic unsigned contradicted; /* VMs whose allocf is not lj_alloc_f */
};

struct ljt_module {
    _Atomic uintptr_t text_lo, text_hi; /* executable segments; hi is written last */
    bool exports_lua;                   /* its dynamic symbols include lua_newstate */
    bool exports_luajit;                /* and luaJIT_setmode */
    bool has_mapped;                    /* a candidate of it was seen. Under the registry lock */
    _Atomic bool pinned;
    _Atomic(void *) newstate;         /* its lua_newstate, if it calls its own and is pinned: of birth.c */
    _Atomic bool refuses;             /* it takes no allocator but its own: of birth.c */
    char path[256];                   /* as the loader has it; "" is the executable */
    _Atomic size_t mapped;            /* bytes it has mapped as lj_alloc would: arenas and direct blocks */
    _Atomic unsigned long map_events; /* how often that changed: a segment list older than this is stale */
    struct ljt_module_symbols symbols;
};

extern struct ljt_module ljt_modules[LJT_MODULES];

/* The remembered object whose text holds `pc`; NULL if none does. A few compares. */
struct ljt_module *ljt_module_find(uintptr_t pc);

/*
 * The same, asking the dynamic loader (dl_iterate_phdr: takes its lock, so no lock of ours may be held). Remembers
 * the object if it is new. NULL for our own object, for code outside every object, or when the table is full.
 */
struct ljt_module *ljt_module_resolve(uintptr_t pc);

/* A function of a loaded object, by its dynamic symbols. */
struct ljt_module_definition {
    uintptr_t address;
    size_t size;
    char path[256]; /* of the object that was searched */
};

/*
 * The definition of `name` in the object whose text holds `pc`; with 0, in the first object that has one, in the order
 * of loading, ours left out. Takes the loader's lock.
 */
bool ljt_module_define(uintptr_t pc, const char *name, struct ljt_module_definition *found);

/* The one definition of `name` that there is, ours left out; false where there are more, or none. Likewise. */
bool ljt_module_define_alone(const char *name, struct ljt_module_definition *found);

/* Does any object that is loaded by now export LuaJIT's API? Takes the loader's lock. */
bool ljt_module_luajit_loaded(void);

/* Keeps the object loaded for good (RTLD_NOLOAD | RTLD_NODELETE). May allocate; takes the loader's lock: symbols.h. */
void ljt_module_pin(struct ljt_module *mod);

#endif
