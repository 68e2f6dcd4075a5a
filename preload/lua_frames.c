#include "lua_frames.h"

#include <assert.h>
#include <string.h>

#include "kernel.h"

/* ---- The objects, as src/lj_obj.h has them with LJ_GC64 since LuaJIT 2.1.0-beta1 (2015) ---- */

enum { STRING = 4, THREAD = 6, PROTOTYPE = 7, FUNCTION = 8 }; /* gct: the complement of the type tag */

struct header {
    uint64_t nextgc;
    uint8_t marked, gct;
};

struct thread { /* lua_State */
    uint64_t nextgc;
    uint8_t marked, gct, dummy_ffid, status;
    uint64_t glref, gclist, base, top, maxstack, stack, openupval, env, cframe;
};
static_assert(offsetof(struct thread, glref) == 16 && offsetof(struct thread, base) == 32 &&
                  offsetof(struct thread, stack) == 56 && offsetof(struct thread, cframe) == 80,
              "lua_State of GC64");

struct function { /* GCfunc */
    uint64_t nextgc;
    uint8_t marked, gct, ffid, nupvalues;
    uint64_t env, gclist, pc; /* pc: the first instruction; of a Lua function, right behind its prototype */
};
static_assert(offsetof(struct function, pc) == 32, "GCfunc of GC64");

struct prototype { /* GCproto */
    uint64_t nextgc;
    uint8_t marked, gct, numparams, framesize;
    uint32_t sizebc, unused;
    uint64_t gclist, k, uv;
    uint32_t sizekgc, sizekn, sizept;
    uint8_t sizeuv, flags;
    uint16_t trace;
    uint64_t chunkname;
    int32_t firstline, numline;
    uint64_t lineinfo, uvinfo, varinfo;
};
static_assert(offsetof(struct prototype, chunkname) == 64 && offsetof(struct prototype, lineinfo) == 80 &&
                  sizeof(struct prototype) == 104,
              "GCproto of GC64");

enum { STRING_DATA = 24 }; /* sizeof(GCstr); its text ends with a zero byte */
enum {
    FRAME_LUA = 0,
    FRAME_VARARG = 3,
    FRAME_TYPE = 3
}; /* src/lj_frame.h; of the word below a frame's base */
static const uint64_t POINTER = ((uint64_t)1 << 47) - 1; /* a GC64 value without its tag */
static const size_t STACK_REACH = (size_t)64 << 20;      /* a C stack is no larger */
enum { SEARCH = 1536, SOURCE_MAX = 512, DEPTH = 16 };

static bool peek(void *to, uint64_t from, size_t n)
{
    return from >= 4096 && from <= POINTER && (from & 3) == 0 &&
           ljt_kernel.peek(to, (const void *)(uintptr_t)from, n) == (ssize_t)n;
}

static bool read_thread(struct thread *L, uint64_t at, uint64_t g)
{
    return (at & 7) == 0 && peek(L, at, sizeof(*L)) && L->gct == THREAD && L->glref == g;
}

/* ---- Where cur_L is ---- */

/*
 * Before it stand two instructions, bc_cfunc_int and bc_cfunc_ext: FUNCC or FUNCCW, which follow each other, with
 * A = LUA_MINSTACK = 20 and D = 0.
 */
static bool is_before_cur_l(uint64_t word)
{
    uint32_t internal = (uint32_t)word, external = (uint32_t)(word >> 32);
    uint32_t op = internal & 0xff, other = external & 0xff;
    return internal >> 8 == 20 && external >> 8 == 20 && op != 0 && (other == op || other == op + 1);
}

static uintptr_t find_cur_l(const struct ljt_lua_vm *vm, uint64_t *g)
{
    struct thread main, L;
    uint64_t word[64];
    if (!peek(&main, vm->gg, sizeof(main)) || main.gct != THREAD || main.glref <= vm->gg ||
        main.glref > vm->place || vm->place - main.glref > 256)
        return 1;
    *g = main.glref;
    uintptr_t found = 1;
    /* A window of 64 words, of which the last is the next one's first: a pair is never cut. */
    for (uintptr_t at = vm->place; at < vm->place + SEARCH; at += sizeof(word) - 8) {
        if (!peek(word, at, sizeof(word)))
            return found;
        for (unsigned i = 0; i + 1 < 64; i++) {
            if (!is_before_cur_l(word[i]) || !read_thread(&L, word[i + 1], *g))
                continue;
            if (found != 1)
                return 1; /* two of them: then we know nothing */
            found = at + 8 * (i + 1);
        }
    }
    return found;
}

/* ---- Functions ---- */

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

/* "@path" is a file, "=name" a name, anything else the program itself: its first line. */
static bool read_source(char *to, uint64_t chunkname)
{
    struct header h;
    char text[SOURCE_MAX + 1];
    if ((chunkname & 7) != 0 || !peek(&h, chunkname, sizeof(h)) || h.gct != STRING)
        return false;
    /* It may end before a page that is not there. */
    ssize_t n = ljt_kernel.peek(text, (const void *)(uintptr_t)(chunkname + STRING_DATA), SOURCE_MAX);
    if (n <= 0)
        return false;
    text[n] = '\0';
    bool named = text[0] == '@' || text[0] == '=';
    char *name = named ? text + 1 : text;
    if (!named)
        name[strcspn(name, "\r\n")] = '\0';
    if (!is_printable(name))
        return false;
    size_t length = strlen(name);
    if (named && length >= LJT_LUA_SOURCE) { /* a path's end says more than its beginning */
        name += length - (LJT_LUA_SOURCE - 1);
        length = LJT_LUA_SOURCE - 1;
    }
    length = length < LJT_LUA_SOURCE ? length : LJT_LUA_SOURCE - 1;
    memcpy(to, name, length);
    to[length] = '\0';
    return length > 0;
}

/* lj_debug_line: a byte, two or four an instruction, from firstline on. 0: not known. */
static uint32_t line_of(const struct prototype *p, uint64_t bytecode, uint64_t pc)
{
    uint64_t index = (pc - bytecode) / 4; /* of the instruction at work; 0 is the function's header */
    uint32_t line = 0;
    if (pc < bytecode || index >= p->sizebc || p->lineinfo == 0)
        return 0;
    if (index == 0)
        return (uint32_t)p->firstline;
    unsigned width = p->numline < 256 ? 1 : p->numline < 65536 ? 2 : 4;
    if (ljt_kernel.peek(&line, (const void *)(uintptr_t)(p->lineinfo + (index - 1) * width), width) !=
            (ssize_t)width ||
        line > (uint32_t)p->numline)
        return 0;
    return (uint32_t)p->firstline + line;
}

/* pc: the instruction at work, or 0. */
static bool read_function(struct ljt_lua_frame *to, const struct function *f, uint64_t pc)
{
    struct prototype p;
    if (!peek(&p, f->pc - sizeof(p), sizeof(p)) || p.gct != PROTOTYPE || p.sizebc == 0 ||
        p.sizept < sizeof(p) + 4 * (uint64_t)p.sizebc || p.firstline < 0 || p.numline < 0 ||
        !read_source(to->source, p.chunkname))
        return false;
    uint32_t line = pc == 0 ? 0 : line_of(&p, f->pc, pc);
    to->at_work = line != 0;
    to->line = line != 0 ? line : (uint32_t)p.firstline;
    return true;
}

/* ---- The walk ---- */

unsigned ljt_lua_frames(struct ljt_lua_vm *vm, uintptr_t sp, struct ljt_lua_frame frame[LJT_LUA_FRAMES],
                        bool *ours)
{
    uint64_t now[2], g = 0; /* cur_L, jit_base */
    struct thread L;
    unsigned count = 0;
    *ours = false;
    if (vm->cur_l == 0)
        vm->cur_l = find_cur_l(vm, &g);
    if (vm->cur_l == 1 || !peek(now, vm->cur_l, sizeof(now)) || !peek(&L, vm->gg, sizeof(L)))
        return 0;
    g = L.glref;
    if (!read_thread(&L, now[0], g))
        return 0;
    uint64_t cframe = L.cframe & ~(uint64_t)7;
    if (cframe < sp || cframe - sp > STACK_REACH)
        return 0;
    *ours = true;
    bool compiled = now[1] != 0;
    uint64_t base = compiled ? now[1] : L.base, pc = 0;
    bool again = false; /* the frame of a vararg function lies twice on the stack */
    for (unsigned depth = 0; depth < DEPTH && count < LJT_LUA_FRAMES; depth++) {
        uint64_t slot[2]; /* the function, and how to get to the frame before */
        struct function f;
        if (base < L.stack + 16 || base > L.maxstack + 4096 || !peek(slot, base - 16, sizeof(slot)) ||
            !peek(&f, slot[0] & POINTER, sizeof(f)) || f.gct != FUNCTION)
            break;
        if (f.ffid == 0 && !again && read_function(&frame[count], &f, pc))
            count++;
        again = (slot[1] & FRAME_TYPE) == FRAME_VARARG;
        if ((slot[1] & FRAME_TYPE) == FRAME_LUA) {
            uint32_t call; /* its A says how far the callee's base lies above the caller's */
            pc = slot[1] - 4;
            if (!peek(&call, pc, sizeof(call)))
                break;
            base -= 8 * (2 + (uint64_t)(call >> 8 & 0xff));
        } else {
            uint64_t delta = slot[1] & ~(uint64_t)7;
            if (delta == 0 || delta > base - L.stack)
                break;
            base -= delta;
            pc = 0;
        }
    }
    return count;
}
