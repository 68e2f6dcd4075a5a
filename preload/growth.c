#include "growth.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "callers.h"
#include "kernel.h"
#include "lua_frames.h"
#include "reclaim.h"
#include "symbols.h"

/* At most one sample in this time: it costs the VM 20 us and the reclaimer 60 us (TEST_FIGURES=1, test_growth.c). */
#define INTERVAL ((uint64_t)20000000)

enum { SAMPLES = 8, STACK = 8 << 10, PCS = 32, C_FRAMES = 4, PATHS = 64, SHOWN = 16 };

/* ---- Samples: written by mutators, read by the reclaimer ---- */

enum { EMPTY, WRITING, FULL };

struct sample {
    _Atomic int state; /* EMPTY -> WRITING by a mutator, -> FULL by the same, -> EMPTY by the reclaimer */
    uint64_t bytes, mappings;
    unsigned lua_frames;
    struct ljt_lua_frame lua[LJT_LUA_FRAMES];
    struct ljt_callers_stack stack;
    uintptr_t text_lo, text_hi; /* of the LuaJIT that has mapped */
    unsigned char copy[STACK];
};

static struct sample samples[SAMPLES];
static _Atomic uint64_t last_sample; /* when */
static _Atomic uint64_t skipped_bytes, skipped_mappings;

/* Of each slot's VM. Written by its mutator alone; begun anew when the slot serves another VM. */
static struct ljt_lua_vm vms[LJT_GATES];

#if defined(__x86_64__)
#define READ_REGISTERS(reg)                                                                           \
    __asm__ volatile(                                                                                 \
        "movq %%rbx, 24(%0)\n\tmovq %%rbp, 48(%0)\n\tmovq %%rsp, 56(%0)\n\t"                          \
        "movq %%r12, 96(%0)\n\tmovq %%r13, 104(%0)\n\tmovq %%r14, 112(%0)\n\tmovq %%r15, 120(%0)\n\t" \
        "leaq 0(%%rip), %%rax\n\tmovq %%rax, 128(%0)"                                                 \
        :                                                                                             \
        : "r"(reg)                                                                                    \
        : "rax", "memory")
#elif defined(__aarch64__)
#define READ_REGISTERS(reg)                                                                              \
    __asm__ volatile("stp x19, x20, [%0, 152]\n\tstp x21, x22, [%0, 168]\n\tstp x23, x24, [%0, 184]\n\t" \
                     "stp x25, x26, [%0, 200]\n\tstp x27, x28, [%0, 216]\n\tstp x29, x30, [%0, 232]\n\t" \
                     "mov x9, sp\n\tstr x9, [%0, 248]\n\tadr x9, .\n\tstr x9, [%0, 256]"                 \
                     :                                                                                   \
                     : "r"(reg)                                                                          \
                     : "x9", "memory")
#endif

/* Of the VMs in a call, the one on this thread's stack. */
static void take_lua_frames(struct sample *s, const struct ljt_module *module, uintptr_t sp)
{
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    bool ours = false;
    s->lua_frames = 0;
    for (unsigned i = 0; i < slots && !ours; i++) {
        const struct ljt_arena *a = &ljt_arenas[i];
        if (!ljt_arena_is(a, LJT_ARENA_ARMED) || a->module != module ||
            (atomic_load_explicit(&ljt_gates[i].busy, memory_order_relaxed) & 1) == 0)
            continue;
        struct ljt_lua_vm vm = vms[i];
        if (vm.gg != (uintptr_t)a->gg || vm.place != (uintptr_t)a->place)
            vm = (struct ljt_lua_vm){(uintptr_t)a->gg, (uintptr_t)a->place, 0};
        s->lua_frames = ljt_lua_frames(&vm, sp, s->lua, &ours);
        if (ours)
            vms[i] = vm;
    }
}

__attribute__((noinline)) void ljt_growth_sample(const struct ljt_module *module, size_t len)
{
    atomic_fetch_add_explicit(&skipped_bytes, len, memory_order_relaxed);
    atomic_fetch_add_explicit(&skipped_mappings, 1, memory_order_relaxed);
    uint64_t now = ljt_kernel.now(), last = atomic_load_explicit(&last_sample, memory_order_relaxed);
    if (now - last < INTERVAL || !atomic_compare_exchange_strong_explicit(
                                     &last_sample, &last, now, memory_order_relaxed, memory_order_relaxed))
        return;
    struct sample *s = samples;
    for (int empty = EMPTY; s < samples + SAMPLES; s++, empty = EMPTY)
        if (atomic_compare_exchange_strong_explicit(&s->state, &empty, WRITING, memory_order_acquire,
                                                    memory_order_relaxed))
            break;
    if (s == samples + SAMPLES)
        return;
    s->bytes = atomic_exchange_explicit(&skipped_bytes, 0, memory_order_relaxed);
    s->mappings = atomic_exchange_explicit(&skipped_mappings, 0, memory_order_relaxed);
    s->text_lo = atomic_load_explicit(&module->text_lo, memory_order_relaxed);
    s->text_hi = atomic_load_explicit(&module->text_hi, memory_order_relaxed);
    memset(s->stack.reg, 0, sizeof(s->stack.reg));
    READ_REGISTERS(s->stack.reg);
    s->stack.sp = s->stack.reg[LJT_CALLERS_SP];
    /* As much as there is: a stack may end before. */
    ssize_t n = ljt_kernel.peek(s->copy, (const void *)s->stack.sp, sizeof(s->copy));
    s->stack.size = n < 0 ? 0 : (size_t)n;
    s->stack.copy = s->copy;
    take_lua_frames(s, module, s->stack.sp);
    atomic_store_explicit(&s->state, FULL, memory_order_release); /* pairs with ljt_growth_digest */
    if (s == &samples[SAMPLES / 2])                               /* half of them wait */
        ljt_reclaim_wake();
}

/* ---- The list: guarded by ljt_wiped.growth ---- */

struct path {
    uint64_t bytes, samples;
    unsigned lua_frames, c_frames;
    struct ljt_lua_frame lua[LJT_LUA_FRAMES];
    uintptr_t pc[C_FRAMES];
    char c[C_FRAMES][LJT_CALLERS_NAME];
};

static struct path paths[PATHS];
static unsigned path_count;
static uint64_t all_bytes, all_mappings, all_samples;
static uint64_t owner; /* the process whose figures these are */

static bool is_same(const struct path *a, const struct path *b)
{
    if (a->lua_frames != b->lua_frames || a->c_frames != b->c_frames ||
        memcmp(a->pc, b->pc, a->c_frames * sizeof(a->pc[0])) != 0)
        return false;
    for (unsigned i = 0; i < a->lua_frames; i++)
        if (a->lua[i].line != b->lua[i].line || strcmp(a->lua[i].source, b->lua[i].source) != 0)
            return false;
    return true;
}

static void name_callers(struct path *p)
{
    if (p->c_frames == 0 || !ljt_symbols_enter())
        return;
    for (unsigned k = 0; k < p->c_frames; k++)
        ljt_symbols_callers.name(p->pc[k], p->c[k]);
    ljt_symbols_leave();
}

/* Keeps the list sorted. A new path takes the smallest one's place when the list is full, and has to beat it anew. */
static void count(const struct path *p)
{
    unsigned i = 0;
    while (i < path_count && !is_same(&paths[i], p))
        i++;
    if (i == path_count) {
        if (path_count < PATHS)
            path_count++;
        else
            i--;
        paths[i] = *p;
        name_callers(&paths[i]);
    } else {
        paths[i].bytes += p->bytes;
        paths[i].samples++;
    }
    for (; i > 0 && paths[i].bytes > paths[i - 1].bytes; i--) {
        struct path swap = paths[i - 1];
        paths[i - 1] = paths[i];
        paths[i] = swap;
    }
}

/* What lies outside of LuaJIT and of us says who asked. Where LuaJIT is in the executable, so is everybody else. */
static void take_c_frames(struct path *p, const struct sample *s)
{
    extern const char image_start[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));
    extern const char image_end[] __asm__("_end") __attribute__((visibility("hidden")));
    uintptr_t pc[PCS];
    p->c_frames = 0;
    if (!ljt_symbols_enter())
        return;
    unsigned n = ljt_symbols_callers.unwind(&s->stack, pc, PCS);
    ljt_symbols_leave();
    for (unsigned i = 0; i < n && p->c_frames < C_FRAMES; i++)
        if ((pc[i] < (uintptr_t)image_start || pc[i] >= (uintptr_t)image_end) &&
            (pc[i] < s->text_lo || pc[i] >= s->text_hi))
            p->pc[p->c_frames++] = pc[i];
}

static void write_page(void)
{
    struct ljt_growth_page *page = &ljtrim_growth_page;
    struct ljt_text t;
    atomic_fetch_add_explicit(&page->sequence, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    ljt_text_init(&t, page->text, sizeof(page->text));
    page->pid = (uint64_t)getpid();
    ljt_growth_text(&t);
    page->length = t.len;
    atomic_fetch_add_explicit(&page->sequence, 1, memory_order_release);
}

void ljt_growth_digest(void)
{
    bool any = false;
    static struct path p;
    if (!ljt_config.growth)
        return;
    for (struct sample *s = samples; s < samples + SAMPLES; s++) {
        if (atomic_load_explicit(&s->state, memory_order_acquire) != FULL)
            continue;
        memset(&p, 0, sizeof(p));
        p.bytes = s->bytes;
        p.samples = 1;
        p.lua_frames = s->lua_frames;
        memcpy(p.lua, s->lua, sizeof(p.lua));
        take_c_frames(&p, s);
        uint64_t mappings = s->mappings;
        atomic_store_explicit(&s->state, EMPTY, memory_order_release);

        ljt_lock_acquire(&ljt_wiped.growth);
        if (owner != (uint64_t)getpid()) { /* a forked child's own */
            owner = (uint64_t)getpid();
            path_count = 0;
            all_bytes = all_mappings = all_samples = 0;
        }
        all_bytes += p.bytes;
        all_mappings += mappings;
        all_samples++;
        count(&p);
        ljt_lock_release(&ljt_wiped.growth);
        any = true;
    }
    if (any)
        write_page();
}

/* ---- Telling ---- */

static void text_path(struct ljt_text *t, const struct path *p)
{
    size_t from = t->len;
    ljt_text_bytes(t, p->bytes);
    ljt_text_align_right(t, from, 12);
    ljt_text_string(t, "  ");
    for (unsigned i = 0; i < p->lua_frames; i++) {
        ljt_text_string(t, i > 0 ? "\n                < " : "");
        ljt_text_foreign(t, p->lua[i].source, LJT_LUA_SOURCE);
        if (p->lua[i].line == 0) {
            ljt_text_string(t, " (main chunk)");
        } else {
            ljt_text_string(t, ":");
            ljt_text_unsigned(t, p->lua[i].line);
            ljt_text_string(t, p->lua[i].at_work ? "" : " (function)");
        }
    }
    for (unsigned i = 0; i < p->c_frames; i++) {
        ljt_text_string(t, i > 0 || p->lua_frames > 0 ? "\n                < " : "");
        if (p->c[i][0] != '\0')
            ljt_text_foreign(t, p->c[i], LJT_CALLERS_NAME);
        else
            ljt_text_hex(t, p->pc[i]);
    }
    if (p->lua_frames == 0 && p->c_frames == 0)
        ljt_text_string(t, "not known");
    ljt_text_string(t, "\n");
}

void ljt_growth_text(struct ljt_text *t)
{
    if (!ljt_config.growth)
        return;
    ljt_lock_acquire(&ljt_wiped.growth);
    if (owner == (uint64_t)getpid() && all_samples > 0) {
        ljt_text_string(t, "growth: ");
        ljt_text_bytes(t, all_bytes);
        ljt_text_string(t, " in ");
        ljt_text_unsigned(t, all_mappings);
        ljt_text_string(t, " mappings, ");
        ljt_text_unsigned(t, all_samples);
        ljt_text_string(t, " of them looked at; by who asked:\n");
        for (unsigned i = 0; i < path_count && i < SHOWN && t->cap - t->len > 1024; i++)
            text_path(t, &paths[i]);
    }
    ljt_lock_release(&ljt_wiped.growth);
}

__attribute__((visibility("default"))) struct ljt_growth_page ljtrim_growth_page = {.magic =
                                                                                        LJT_GROWTH_MAGIC};
