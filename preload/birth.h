/*
 * birth: VMs that have our allocator from their first byte on.
 *
 * LJTRIM_MODE=patched takes over the heaps that it can prove (takeover.h). For those that it can't (LuaJIT built with
 * LUAJIT_USE_SYSMALLOC, an allocator laid out as none we know) there is lua_newstate, to which a program may pass an allocator:
 * where LuaJIT's own luaL_newstate calls it, it gets ours. What a program passes itself is its business.
 *
 *     LJ_ALLOCF_INTERNAL, NULL         LuaJIT since June 2020: "make me an lj_alloc"; whoever says so
 *     a function of LuaJIT's, NULL     from luaL_newstate alone: LUAJIT_USE_SYSMALLOC
 *     lj_alloc_f, its state            LuaJIT before June 2020: left alone, the arena is there already
 *     anything else                    left alone, as in other Luas, which don't export luaJIT_setmode
 *
 * In any other mode the call is passed straight on. `auto` never comes here by itself: whether an arena can be proven
 * is known when it has grown, and then its VM has been in use for long.
 *
 * The real lua_newstate is found per caller, since each LuaJIT that was opened with RTLD_LOCAL is seen by those alone who
 * need it. A LuaJIT linked statically calls its own: it is never seen here.
 */
#ifndef LJT_BIRTH_H
#define LJT_BIRTH_H

#include <stdint.h>

/*
 * lua_newstate as called from `pc`. The third argument is that of Lua 5.5, the fourth nobody's yet; they are passed on.
 * NULL, as without memory, where there is no Lua.
 */
void *ljt_birth_newstate(void *f, void *ud, uintptr_t third, uintptr_t fourth, uintptr_t pc);

#endif
