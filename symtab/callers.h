/*
 * callers: the call path that a thread was in, from its registers and a copy of the upper end of its stack.
 *
 * Nothing of this runs on that thread, which goes on meanwhile: libunwind works on the copy, and reads unwind tables
 * through the kernel, so that an object that is unloaded meanwhile is an end of the path and not a fault.
 *
 * Allocates from malloc, takes the loader's lock. One thread at a time.
 */
#ifndef LJT_CALLERS_H
#define LJT_CALLERS_H

#include <stddef.h>
#include <stdint.h>

enum { LJT_CALLERS_REGISTERS = 33, LJT_CALLERS_NAME = 64 };

struct ljt_callers_stack {
    uintptr_t
        reg[LJT_CALLERS_REGISTERS]; /* by DWARF's numbers, which are libunwind's; the program counter too */
    uintptr_t sp;                   /* where the copy begins */
    size_t size;
    const unsigned char *copy;
};

/* The return addresses, innermost first; how many. 0 is the last one where no object has code: compiled Lua code. */
typedef unsigned ljt_callers_unwind_fn(const struct ljt_callers_stack *stack, uintptr_t *pc, unsigned max);
ljt_callers_unwind_fn ljt_callers_unwind;
#define LJT_CALLERS_UNWIND_NAME "ljt_callers_unwind"

/* "function" where one is exported there, "object+0x1234" otherwise. */
typedef void ljt_callers_name_fn(uintptr_t pc, char name[LJT_CALLERS_NAME]);
ljt_callers_name_fn ljt_callers_name;
#define LJT_CALLERS_NAME_NAME "ljt_callers_name"

/* Where libunwind has the program counter and the stack pointer. */
#if defined(__x86_64__)
enum { LJT_CALLERS_SP = 7, LJT_CALLERS_PC = 16 };
#elif defined(__aarch64__)
enum { LJT_CALLERS_SP = 31, LJT_CALLERS_PC = 32 };
#endif

#endif
