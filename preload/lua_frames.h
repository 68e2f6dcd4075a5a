/*
 * lua_frames: which Lua functions a VM is in, read from outside of it.
 *
 * For VMs with GC64 whose interpreter keeps g->cur_L (LuaJIT 2.1 since 2015). No offset in global_State is believed:
 * cur_L is found by what stands around it, and every object on the way by its type tag, its links and plain sense.
 * What does not fit ends the walk: a short answer or none, never a wrong guess followed further. All reads go through
 * the kernel (ljt_kernel.peek), so that nothing faults.
 *
 * On the thread that is in the VM, inside of its allocator. Allocates nothing, takes no lock, a few microseconds.
 */
#ifndef LJT_LUA_FRAMES_H
#define LJT_LUA_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LJT_LUA_FRAMES = 4, LJT_LUA_SOURCE = 48 };

struct ljt_lua_frame {
    char source[LJT_LUA_SOURCE]; /* its end, where it is longer: "handlers.lua", printable, terminated */
    uint32_t line;               /* the line at work, or else that at which the function begins */
    bool at_work;
};

/* A VM: where its GG_State is and, once found, where in global_State cur_L lies. */
struct ljt_lua_vm {
    uintptr_t gg, place; /* of g->allocf */
    uintptr_t cur_l;     /* the address of g->cur_L; 0: not found yet; 1: it is not there */
};

/*
 * The innermost Lua functions; how many. `sp` is the stack pointer of the thread that is in the VM: a VM that is on
 * another thread's stack gives none, and *ours is false.
 */
unsigned ljt_lua_frames(struct ljt_lua_vm *vm, uintptr_t sp, struct ljt_lua_frame frame[LJT_LUA_FRAMES],
                        bool *ours);

#endif
