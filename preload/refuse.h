/*
 * refuse: reasons to leave every Lua VM of this process alone.
 *
 * What we do rests on the kernel and on knowing the allocator. Where one of the two is not what it has to be, the process runs
 * as if we were not there, and one line says why: under valgrind, which keeps its own account of every byte; where
 * MADV_DONTNEED does not give back zeroed pages (some emulators; memory that is locked as it is mapped); where a
 * sandbox kills for what can't be done without; where an arena is laid out in a way that is not known; and while the kernel
 * does not let us read what may be one.
 */
#ifndef LJT_REFUSE_H
#define LJT_REFUSE_H

#include <stdbool.h>

struct ljt_module;

/* Is this valgrind? Takes the loader's lock: called from the constructor. */
void ljt_refuse_init(void);

/*
 * Before the memory of a candidate of this module is read: may it be? Under the registry lock, like all below.
 */
bool ljt_refuse_look(const struct ljt_module *module);

/* Before the first VM is gated, and each after it: is there a reason not to? Finds out once and says it once. */
bool ljt_refuse_vm(void);

/* A LuaJIT's first arena begins with a chunk of `size` bytes, which is no state that we know. Said once. */
void ljt_refuse_layout(const struct ljt_module *module, unsigned long size);

/* What may be an arena of this module's can't be read, this time; `error` says why. Said once, if it is a LuaJIT. */
void ljt_refuse_unreadable(const struct ljt_module *module, int error);

#endif
