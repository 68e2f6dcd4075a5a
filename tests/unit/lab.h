/*
 * lab: heaps to experiment on.
 *
 * Real VMs (luaL_newstate), arenas that are made by hand in a mapping and then driven by LuaJIT's own allocator,
 * a walk that knows nothing of heap.c, a fake clock, and a place that catches what the library logs. The process
 * has no interposed mmap: tests call the hooks themselves, as if LuaJIT had mapped.
 */
#ifndef LJT_TEST_LAB_H
#define LJT_TEST_LAB_H

#include <criterion/criterion.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "arena.h"
#include "config.h"
#include "gate.h"
#include "heap.h"
#include "kernel.h"
#include "lj_layout.h"
#include "reclaim.h"
#include "unit.h"

struct lua_State;

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* Under a sanitizer everything is slower by an order of magnitude. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LAB_SLOWNESS 10
#else
#define LAB_SLOWNESS 1
#endif

/*
 * Defaults for the configuration, the kernel's facts, no reclaimer thread (nothing starts one). But for pressure, which is
 * off: how short of memory the machine is that runs the tests is not to matter.
 */
void lab_init(void);

/*
 * ---- Waiting ----
 * No test may depend on how soon a thread has a processor, nor on how long the process is stopped meanwhile. It waits for
 * what is to come; the limits are there to end what hangs, and cost nothing where nothing does.
 */
#define LAB_PATIENCE 200 /* s that one wait may take */
#define LAB_TIMEOUT 600  /* s that one test may take */

void lab_pause_ms(long ms);

/* Waits for the condition, doing something again and again meanwhile. False where it does not come. */
#define lab_await_doing(condition, ...)                                                               \
    ({                                                                                                \
        bool met_;                                                                                    \
        for (time_t began_ = time(NULL); !(met_ = (condition)) && time(NULL) - began_ < LAB_PATIENCE; \
             (__VA_ARGS__))                                                                           \
            ;                                                                                         \
        met_;                                                                                         \
    })
#define lab_await(condition) lab_await_doing(condition, lab_pause_ms(5))

/* From here on: is the reclaimer in a sleep that only a ring ends, and how many of these there were. */
void lab_watch_sleep(void);
bool lab_is_asleep(void);
unsigned lab_sleeps(void);

/* ---- Randomness: TEST_SEED=n repeats a run ---- */

void lab_seed(const char *test);
uint64_t lab_random(void);
uint64_t lab_below(uint64_t n); /* 0 to n - 1 */

/* A count from the environment, or the default divided by LAB_SLOWNESS. */
size_t lab_count(const char *variable, size_t otherwise);

/* ---- Real VMs ---- */

struct lab_vm {
    struct lua_State *L;
    struct ljt_lj_state *m;
    ljt_alloc_fn *allocf; /* lj_alloc_f */
    uintptr_t base;       /* of its first mapping */
};

struct lab_vm lab_vm_open(void);

/* Runs Lua source, which must succeed. */
void lab_run(struct lua_State *L, const char *chunk);

/* Lua source: 60,000 objects of many sizes, of which 1 in 100 stays, checked, in `kept`. */
extern const char lab_churn[];

/* Leaves garbage behind whose finalizer is a function of the test's. */
void lab_finalize_by(struct lua_State *L, int (*finalizer)(struct lua_State *L));

/* lj_alloc_f, and an address in its text. */
ljt_alloc_fn *lab_allocf(void);
uintptr_t lab_pc(void);

/* What the mmap hook hears of: the VM's first mapping, one that is not the first of any. */
void lab_vm_announce(const struct lab_vm *vm);
void lab_vm_mapped_again(const struct lab_vm *vm);

/* Makes its arena larger than the first mapping, by `bytes` at least. */
void lab_vm_grow(const struct lab_vm *vm, size_t bytes);

/* Announce, grow, gate. Returns its arena, GATED; NULL if it was not taken. lab_vm_arm: makes its first call, too. */
struct ljt_arena *lab_vm_adopt(const struct lab_vm *vm);
struct ljt_arena *lab_vm_arm(const struct lab_vm *vm);

/*
 * Has its collector's fields read: lab_vm_arm can't prove their size, as lab_vm_grow's blocks are unknown to the VM.
 * Skips the test where this LuaJIT has no GC64.
 */
void lab_vm_know_gc(const struct lab_vm *vm, struct ljt_arena *a);

/* The arena of a state, or NULL. */
struct ljt_arena *lab_arena_of(const struct ljt_lj_state *m);

/* What g->allocf is now. */
ljt_alloc_fn *lab_vm_allocf(const struct lab_vm *vm);

/* ---- Hand-made arenas ---- */

/* An empty arena whose only segment has this size (whole pages). */
struct ljt_lj_state *lab_heap(size_t size);
struct ljt_lj_state *lab_heap_in(void *zeroed, size_t size);

/*
 * The same with the state of before June 2020, which has no PRNG. LuaJIT's allocator of today would ask for it if the kernel
 * had no place below 2^47: such a heap is large enough, or grows by lab_add_segment.
 */
struct ljt_lj_state *lab_old_heap(size_t size);

/* A second segment of this size, which has the new top, as lj_alloc adds one that it can't merge. */
void lab_add_segment(struct ljt_lj_state *m, size_t size);

void *lab_malloc(struct ljt_lj_state *m, size_t n);
void lab_free(struct ljt_lj_state *m, void *mem);

/* The payload of a chunk of this size, and the chunk of a payload. */
void *lab_chunk_alloc(struct ljt_lj_state *m, size_t chunk_size);
struct ljt_lj_chunk *lab_chunk(void *mem);

/*
 * A free chunk of exactly this size (at least 256) between two in use, in the treebins. What must be free
 * together is made by lab_malloc and lab_free.
 */
struct ljt_lj_chunk *lab_free_chunk(struct ljt_lj_state *m, size_t chunk_size);

/* Many chunks in use and free, of sizes that repeat: trees with depth, and rings. */
void lab_fragment(struct ljt_lj_state *m, size_t chunks, size_t max_size);

/* A slot, ARMED, for a hand-made arena. Its gate's place is a word of the lab's. */
struct ljt_arena *lab_arm(struct ljt_lj_state *m);

/* Lists its segments, in as many units as that takes on this machine. */
void lab_list_segments(struct ljt_arena *a);

/*
 * A VM as far as its memory tells, in a new hand-made arena of 512 KiB or more: GG_State, in it allocf and allocd, and behind
 * these the collector's counters, of `gc_width` bytes each (4: no GC64). It has no lua_State, but can be announced and adopted.
 */
struct lab_vm lab_vm_make(struct ljt_lj_state *m, unsigned gc_width);

/* A call through the gate, as a VM makes one. */
void lab_vm_call(const struct ljt_arena *a);

/* ---- Independent looks at a heap ---- */

struct lab_map {
    size_t count;
    struct {
        uintptr_t at;
        size_t size;
        bool in_use;
    } chunk[];
};

/* Every chunk in address order of each segment in turn. To be freed by free(). */
struct lab_map *lab_map(const struct ljt_lj_state *m);
bool lab_map_equal(const struct lab_map *a, const struct lab_map *b);

/* Is the heap in chunks as it was then? Frees the map. */
bool lab_map_is_still(struct lab_map *before, const struct ljt_lj_state *m);

/* The whole pages inside free chunks: how many. `each` (may be NULL) is called with every run of them. */
size_t lab_free_pages(const struct ljt_lj_state *m, void (*each)(uintptr_t lo, uintptr_t hi, void *arg),
                      void *arg);

/* The largest piece that the VM could have without mapping more: of top, dv and the bins. */
size_t lab_largest_room(const struct ljt_lj_state *m);

/* Proves it and compares the sums with those of the walk. */
void lab_prove(struct ljt_lj_state *m);

/* Pages of the arena's segments that are resident, asked of the kernel. */
size_t lab_resident_pages(const struct ljt_lj_state *m);

/* A counter that another thread may be writing: no more than a glance, which TSan is not to judge. */
uint64_t lab_glance(const uint64_t *counter);

/*
 * ---- The fake clock ----
 * It moves when told; and while it runs, by what futex_wait would have slept. It runs from lab_fake_time on.
 */

void lab_fake_time(void);
void lab_stop_time(void);
void lab_go_on(void);
void lab_pass_time(uint64_t ns);

/*
 * ---- System calls that are not allowed ----
 * For the rest of this test the system call of that number is answered with this action of seccomp's. False where
 * filters are not allowed here.
 */
bool lab_filter(unsigned number, unsigned action);

/* What /sys says of transparent huge pages from here on: the file `enabled`, and that one has 2 MiB. */
void lab_huge_pages(const char *enabled);

/* ---- The log ---- */

/* From here on, what goes to stderr is caught. lab_said: all of it until now, a terminated string. */
void lab_catch_stderr(void);
const char *lab_said(void);
unsigned lab_said_lines(void);

#endif
