/*
 * symbols: what the symbols of a LuaJIT say, where it has any.
 *
 * Everything works without: most packages are stripped. Where symbols are there they sharpen two things: `allocf`
 * must be lj_alloc_f, or the VM is left alone (the heap's proof said yes, so one of the two is wrong); and of the
 * mappings that the object makes, only those made inside lj_alloc are its heap's. The latter is believed only after
 * the mapping that began a proven arena was seen to come from there.
 *
 * They are read once for each object, when the first of its VMs is proven, by libljtrim-symtab.so beside us, which is
 * closed again; and the object is pinned, before anything is purged. That is the earliest moment at which LuaJIT is
 * known to be at work, so mostly before a host forks, changes its root or gives up privileges; and processes without
 * LuaJIT pay nothing.
 *
 * Both need the loader's lock, and who holds that may be waiting for this very VM: an object's constructor that has
 * started the VM's thread, a destructor that stops it. So the VM's own thread asks the loader only where the process has
 * no other thread, and nobody else can hold the lock. Else a thread of ours asks, and the VM waits for 10 ms at most;
 * what is not known by then is known later (ljt_arena_prove_waiting).
 */
#ifndef LJT_SYMBOLS_H
#define LJT_SYMBOLS_H

#include "callers.h"
#include "module.h"

/* Remembers where we were loaded from. For the constructor; allocates nothing. */
void ljt_symbols_init(void);

/* Another libljtrim-symtab.so than the one beside us. For tests. */
void ljt_symbols_use(const char *path);

/*
 * On a VM's thread, after its heap was proven: are the symbols of the object that holds `pc` read (as far as there are
 * any), and is it pinned? The first call sees to that. False: not yet, whoever does it has the VM proven again then; or
 * never, in a process that can have no thread of ours.
 */
bool ljt_symbols_ready(struct ljt_module *mod, uintptr_t pc);

/*
 * Does `allocf` agree with the object's symbols, if it has any and they are read? `born` is where the arena's first mapping was asked for. NULL, or why not.
 */
const char *ljt_symbols_contradict(struct ljt_module *mod, uintptr_t allocf, uintptr_t born);

/* May a mapping asked for at `pc`, inside the object, be lj_alloc's? True wherever symbols don't say otherwise. */
static inline bool ljt_symbols_allow(const struct ljt_module *mod, uintptr_t pc)
{
    if (!atomic_load_explicit(&mod->symbols.narrow, memory_order_acquire))
        return true;
    for (unsigned i = 0; i < mod->symbols.count; i++)
        if (pc >= mod->symbols.range[i].lo && pc < mod->symbols.range[i].hi)
            return true;
    return false;
}

/*
 * With LJTRIM_GROWTH=on the companion stays open, for these: NULL where there is none. Written once, before an arena is
 * armed. To be called on the reclaimer's thread, between enter (false: not now) and leave: they take the loader's locks,
 * of which glibc's fork does not free all in the child, where the first exception would then wait for ever.
 */
struct ljt_symbols_callers {
    ljt_callers_unwind_fn *unwind;
    ljt_callers_name_fn *name;
};
extern struct ljt_symbols_callers ljt_symbols_callers;
bool ljt_symbols_enter(void);
void ljt_symbols_leave(void);

/* Fork handlers: the loader's lists must not be copied while we are changing them. */
void ljt_symbols_fork_prepare(void);
void ljt_symbols_fork_parent(void);

#endif
