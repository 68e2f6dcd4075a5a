/*
 * fuzz/frames: any bytes at all as a VM whose running functions are asked for.
 *
 * The input is what reads at LJT_FUZZ_VM, GG_State first; nothing is mapped there: whoever reads without asking the
 * kernel crashes.
 *
 * What must hold: names can be printed and end, lines are lines, and what isn't ours has no frames.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "kernel.h"
#include "lua_frames.h"

static const uint8_t *vm_bytes;
static size_t vm_size;

static ssize_t peek_input(void *to, const void *from, size_t n)
{
    uintptr_t at = (uintptr_t)from;
    if (at < LJT_FUZZ_VM || at - LJT_FUZZ_VM >= vm_size) {
        errno = EFAULT;
        return -1;
    }
    size_t left = vm_size - (at - LJT_FUZZ_VM);
    n = n < left ? n : left;
    memcpy(to, vm_bytes + (at - LJT_FUZZ_VM), n);
    return (ssize_t)n;
}

int ljt_fuzz_frames(const uint8_t *bytes, size_t n)
{
    struct ljt_lua_vm vm = {.gg = LJT_FUZZ_VM, .place = LJT_FUZZ_VM + LJT_FUZZ_VM_GATE};
    struct ljt_lua_frame frame[LJT_LUA_FRAMES];
    ssize_t (*peek)(void *, const void *, size_t) = ljt_kernel.peek;
    vm_bytes = bytes;
    vm_size = n;
    ljt_kernel.peek = peek_input;
    for (int again = 0; again < 2; again++) { /* looked for, and known */
        bool ours;
        memset(frame, 0xff, sizeof(frame));
        unsigned count = ljt_lua_frames(&vm, LJT_FUZZ_VM + 4096, frame, &ours);
        ljt_fuzz_accepted += count > 0;
        demand(count <= LJT_LUA_FRAMES && (ours || count == 0), "bounds");
        for (unsigned i = 0; i < count; i++) {
            size_t length = strnlen(frame[i].source, LJT_LUA_SOURCE);
            demand(length > 0 && length < LJT_LUA_SOURCE, "a name ends");
            for (size_t k = 0; k < length; k++)
                demand(frame[i].source[k] >= ' ' && frame[i].source[k] <= '~', "a name can be printed");
            demand(!frame[i].at_work || frame[i].line != 0, "a line at work is known");
        }
    }
    ljt_kernel.peek = peek;
    return 0;
}
