#include "lab.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "reclaim.h"

/* So that no machine's load decides whether the loader has answered in time: see symbols.h. */
static unsigned no_company(void)
{
    return 1 + ljt_reclaim_running();
}

void lab_init(void)
{
    struct ljt_config config;
    ljt_kernel.threads = no_company;
    ljt_kernel_init();
    ljt_kernel_probe();
    ljt_config_load(NULL, &config, NULL, NULL);
    ljt_log_open(&config);
    config.pressure = LJT_PRESSURE_OFF;
    ljt_config = config;
    atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_FAILED);
}

/* ---- Waiting ---- */

void lab_pause_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&ts, NULL);
}

static void (*unwatched_wait)(const volatile void *word, uint32_t value, uint64_t ns);
static _Atomic bool asleep;
static _Atomic unsigned sleeps;

/* Who waits for the reclaimer comes here, too, but with a limit. */
static void watched_wait(const volatile void *word, uint32_t value, uint64_t ns)
{
    if (ns == UINT64_MAX) {
        atomic_fetch_add(&sleeps, 1);
        atomic_store(&asleep, true);
    }
    unwatched_wait(word, value, ns);
    if (ns == UINT64_MAX)
        atomic_store(&asleep, false);
}

void lab_watch_sleep(void)
{
    unwatched_wait = ljt_kernel.futex_wait;
    ljt_kernel.futex_wait = watched_wait;
}

bool lab_is_asleep(void)
{
    return atomic_load(&asleep);
}

unsigned lab_sleeps(void)
{
    return atomic_load(&sleeps);
}

/* ---- Randomness ---- */

static uint64_t random_state = 1;

uint64_t lab_random(void) /* xorshift64* */
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t lab_below(uint64_t n)
{
    return (lab_random() >> 16) % n;
}

void lab_seed(const char *test)
{
    const char *given = getenv("TEST_SEED");
    random_state = given ? strtoull(given, NULL, 10) : ((uint64_t)time(NULL) << 20 ^ (uint64_t)getpid());
    random_state += random_state == 0;
    fprintf(stderr, "%s: TEST_SEED=%llu\n", test, (unsigned long long)random_state);
}

size_t lab_count(const char *variable, size_t otherwise)
{
    const char *given = getenv(variable);
    return given != NULL ? strtoull(given, NULL, 10) : otherwise / LAB_SLOWNESS;
}

/* ---- Real VMs ---- */

struct lab_vm lab_vm_open(void)
{
    struct lab_vm vm = {.L = luaL_newstate()};
    void *ud;
    cr_assert(vm.L != NULL);
    vm.allocf = lua_getallocf(vm.L, &ud);
    vm.m = ud;
    vm.base = (uintptr_t)ud - LJT_LJ_MEM_OFFSET;
    return vm;
}

ljt_alloc_fn *lab_allocf(void)
{
    static ljt_alloc_fn *allocf;
    if (allocf == NULL) {
        struct lab_vm vm = lab_vm_open();
        allocf = vm.allocf;
        lua_close(vm.L);
    }
    return allocf;
}

uintptr_t lab_pc(void)
{
    return (uintptr_t)lab_allocf();
}

void lab_vm_announce(const struct lab_vm *vm)
{
    ljt_arena_mapped(vm->base, LJT_LJ_GRANULARITY, (uintptr_t)vm->allocf);
}

void lab_vm_mapped_again(const struct lab_vm *vm)
{
    ljt_arena_mapped(vm->m->seg.base, 2 * LJT_LJ_GRANULARITY, (uintptr_t)vm->allocf);
}

void lab_vm_grow(const struct lab_vm *vm, size_t bytes)
{
    for (size_t done = 0; done < bytes; done += 100 * KIB)
        cr_assert(vm->allocf(vm->m, NULL, 0, 100 * KIB) != NULL);
}

struct ljt_arena *lab_arena_of(const struct ljt_lj_state *m)
{
    for (unsigned i = 0; i < LJT_GATES; i++)
        if (ljt_arenas[i].m == m && !ljt_arena_is(&ljt_arenas[i], LJT_ARENA_FREE) &&
            !ljt_arena_is(&ljt_arenas[i], LJT_ARENA_DEAD) && !ljt_arena_is(&ljt_arenas[i], LJT_ARENA_TAKEN))
            return &ljt_arenas[i];
    return NULL;
}

struct ljt_arena *lab_vm_adopt(const struct lab_vm *vm)
{
    lab_vm_announce(vm);
    lab_vm_grow(vm, 200 * KIB);
    lab_vm_mapped_again(vm);
    return lab_arena_of(vm->m);
}

ljt_alloc_fn *lab_vm_allocf(const struct lab_vm *vm)
{
    return lua_getallocf(vm->L, NULL);
}

struct ljt_arena *lab_vm_arm(const struct lab_vm *vm)
{
    struct ljt_arena *a = lab_vm_adopt(vm);
    cr_assert(a != NULL && ljt_arena_is(a, LJT_ARENA_GATED));
    lua_newuserdata(vm->L, 16);
    lua_pop(vm->L, 1);
    cr_assert(ljt_arena_is(a, LJT_ARENA_ARMED));
    return a;
}

void lab_vm_know_gc(const struct lab_vm *vm, struct ljt_arena *a)
{
    a->gc_width = 8;
    if (ljt_arena_gc_total(a) >> 10 != (uint64_t)lua_gc(vm->L, LUA_GCCOUNT, 0))
        cr_skip_test("this LuaJIT has no GC64");
}

/* ---- Hand-made arenas ---- */

static struct ljt_lj_state *lay_out(void *base, size_t size, size_t state_chunk)
{
    static uint64_t prng[8]; /* read when no mapping fits below 2^47 at the first try */
    struct ljt_lj_chunk *first = base;
    struct ljt_lj_state *m = ljt_lj_chunk_to_mem(first);
    cr_assert(first != NULL);
    first->head = state_chunk | LJT_LJ_CINUSE | LJT_LJ_PINUSE;
    m->seg.base = (uintptr_t)base;
    m->seg.size = size;
    m->release_checks = LJT_LJ_MAX_RELEASE_CHECK_RATE;
    if (state_chunk == LJT_LJ_STATE_CHUNK) /* else the next chunk's head is there */
        m->prng = prng;
    for (unsigned i = 0; i < LJT_LJ_SMALLBINS; i++) {
        struct ljt_lj_chunk *bin = ljt_lj_smallbin(m, i);
        bin->fd = bin->bk = bin;
    }
    m->top = ljt_lj_chunk_next(first);
    m->topsize = size - state_chunk - LJT_LJ_TOP_FOOT;
    m->top->head = m->topsize | LJT_LJ_PINUSE;
    ljt_lj_chunk_next(m->top)->head = LJT_LJ_TOP_FOOT;
    m->trim_check = SIZE_MAX; /* what the VM does about its top is no part of most tests */
    return m;
}

struct ljt_lj_state *lab_heap(size_t size)
{
    return lab_heap_in(ljt_kernel_alloc(size), size);
}

struct ljt_lj_state *lab_heap_in(void *zeroed, size_t size)
{
    return lay_out(zeroed, size, LJT_LJ_STATE_CHUNK);
}

struct ljt_lj_state *lab_old_heap(size_t size)
{
    return lay_out(ljt_kernel_alloc(size), size, LJT_LJ_STATE_CHUNK_OLD);
}

void lab_add_segment(struct ljt_lj_state *m, size_t size)
{
    struct ljt_lj_chunk *rest = m->top;
    struct ljt_lj_chunk *record = ljt_lj_chunk_next(rest);
    struct ljt_lj_segment *old = ljt_lj_chunk_to_mem(record);
    rest->head |= LJT_LJ_CINUSE; /* freed when all is in place */
    record->head = LJT_LJ_SEGMENT_CHUNK | LJT_LJ_CINUSE | LJT_LJ_PINUSE;
    *old = m->seg;
    for (size_t at = 8; at < 32; at += 8)
        *(size_t *)((uintptr_t)record + LJT_LJ_SEGMENT_CHUNK + at) = LJT_LJ_FENCEPOST;

    m->seg.base = (uintptr_t)ljt_kernel_alloc(size);
    m->seg.size = size;
    m->seg.next = old;
    cr_assert(m->seg.base != 0);
    m->top = (struct ljt_lj_chunk *)m->seg.base;
    m->topsize = size - LJT_LJ_TOP_FOOT;
    m->top->head = m->topsize | LJT_LJ_PINUSE;
    ljt_lj_chunk_next(m->top)->head = LJT_LJ_TOP_FOOT;
    lab_free(m, ljt_lj_chunk_to_mem(rest));
}

void *lab_malloc(struct ljt_lj_state *m, size_t n)
{
    void *mem = lab_allocf()(m, NULL, 0, n);
    cr_assert(mem != NULL);
    return mem;
}

void lab_free(struct ljt_lj_state *m, void *mem)
{
    lab_allocf()(m, mem, 0, 0);
}

void *lab_chunk_alloc(struct ljt_lj_state *m, size_t chunk_size)
{
    return lab_malloc(m, chunk_size - LJT_LJ_CHUNK_OVERHEAD);
}

struct ljt_lj_chunk *lab_chunk(void *mem)
{
    return ljt_lj_mem_to_chunk(mem);
}

struct ljt_lj_chunk *lab_free_chunk(struct ljt_lj_state *m, size_t chunk_size)
{
    /* From top's low end, whatever lies in the bins. */
    struct ljt_lj_chunk *c = m->top;
    size_t top_end = (uintptr_t)m->top + m->topsize;
    cr_assert(m->topsize > chunk_size + 64);
    struct ljt_lj_chunk *wall = ljt_lj_chunk_at(c, chunk_size);
    c->head = chunk_size | LJT_LJ_CINUSE | LJT_LJ_PINUSE;
    wall->head = LJT_LJ_MIN_CHUNK | LJT_LJ_CINUSE | LJT_LJ_PINUSE;
    m->top = ljt_lj_chunk_next(wall);
    m->topsize = top_end - (uintptr_t)m->top;
    m->top->head = m->topsize | LJT_LJ_PINUSE;
    lab_free(m, ljt_lj_chunk_to_mem(c));
    return c;
}

void lab_fragment(struct ljt_lj_state *m, size_t chunks, size_t max_size)
{
    void **mem = calloc(chunks, sizeof(*mem));
    cr_assert(mem != NULL);
    for (size_t i = 0; i < chunks; i++) {
        size_t limit = lab_below(4) == 0 ? max_size : max_size / 16 + 64;
        size_t n = 8 + lab_below(limit);
        if (lab_below(3) == 0) /* sizes that repeat */
            n = (n & ~(size_t)4095) + 200;
        mem[i] = lab_malloc(m, n);
    }
    for (size_t i = 0; i < chunks; i++)
        if (lab_below(2) == 0)
            lab_free(m, mem[i]);
    free(mem);
}

struct ljt_arena *lab_arm(struct ljt_lj_state *m)
{
    static struct ljt_module module;
    static _Atomic(ljt_alloc_fn *) place[LJT_GATES];
    unsigned slot = atomic_load(&ljt_arena_slots);
    struct ljt_arena *a = &ljt_arenas[slot];
    a->slot = slot;
    a->m = m;
    a->gg = (void *)1;
    a->module = &module;
    a->allocf = lab_allocf();
    a->place = &place[slot];
    atomic_store(a->place, ljt_gate_trampoline(slot));
    ljt_gates[slot].allocf = a->allocf;
    ljt_gates[slot].gg = a->gg;
    atomic_store(&ljt_wiped.word[slot].want, LJT_WANT_LIVE);
    atomic_store(&a->state, LJT_ARENA_ARMED);
    atomic_store(&ljt_arena_slots, slot + 1);
    return a;
}

void lab_list_segments(struct ljt_arena *a)
{
    ljt_work_begin_list(&a->work);
    while (!a->work.listed)
        ljt_unit_run(a, LJT_UNIT_BY_MUTATOR);
}

/* Where allocf is in GG_State differs between versions; what follows it does not. */
struct lab_vm lab_vm_make(struct ljt_lj_state *m, unsigned gc_width)
{
    struct lab_vm vm = {.m = m, .allocf = lab_allocf(), .base = (uintptr_t)m - LJT_LJ_MEM_OFFSET};
    uint64_t *gg = lab_malloc(m, 5000);
    uint64_t *g = gg + 50;
    cr_assert((uintptr_t)lab_chunk(gg) == (uintptr_t)ljt_lj_chunk_next(lab_chunk(m)), "the first block");
    lab_vm_grow(&vm, 200 * KIB);
    const uint64_t total = 200 * KIB, threshold = 2 * total;
    g[0] = (uint64_t)vm.allocf;
    g[1] = (uint64_t)m;
    g[2] = gc_width == 8 ? total : total | threshold << 32;
    g[3] = gc_width == 8 ? threshold : 0;
    return vm;
}

void lab_vm_call(const struct ljt_arena *a)
{
    cr_assert(ljt_gate_trampoline(a->slot)(a->m, NULL, 0, 16) != NULL);
}

/* ---- Independent looks ---- */

struct walk {
    const struct ljt_lj_state *m;
    const struct ljt_lj_segment *seg;
    uintptr_t at;
};

/* One chunk after the other; false after the last. */
static bool walk_next(struct walk *w, struct ljt_lj_chunk **c, size_t *size)
{
    for (;;) {
        if (w->seg == NULL)
            return false;
        if (w->at == 0)
            w->at = w->seg->base;
        *c = (struct ljt_lj_chunk *)w->at;
        *size = (*c)->head & ~(size_t)3;
        cr_assert(w->at < w->seg->base + w->seg->size && *size >= 8, "chunk %p of %zu bytes", (void *)*c,
                  *size);
        bool last = *c == w->m->top || (*c)->head == LJT_LJ_FENCEPOST;
        bool fence = (*c)->head == LJT_LJ_FENCEPOST;
        w->at = last ? 0 : w->at + *size;
        w->seg = last ? w->seg->next : w->seg;
        if (!fence)
            return true;
    }
}

struct lab_map *lab_map(const struct ljt_lj_state *m)
{
    struct lab_map *map = NULL;
    size_t room = 0, count = 0;
    struct walk w = {m, &m->seg, 0};
    struct ljt_lj_chunk *c;
    size_t size;
    while (walk_next(&w, &c, &size)) {
        if (count == room) {
            room = room == 0 ? 256 : room * 2;
            map = realloc(map, sizeof(*map) + room * sizeof(map->chunk[0]));
            cr_assert(map != NULL);
        }
        map->chunk[count].at = (uintptr_t)c;
        map->chunk[count].size = size;
        map->chunk[count].in_use = (c->head & LJT_LJ_CINUSE) != 0;
        count++;
    }
    map->count = count;
    return map;
}

bool lab_map_equal(const struct lab_map *a, const struct lab_map *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->chunk[i].at != b->chunk[i].at || a->chunk[i].size != b->chunk[i].size ||
            a->chunk[i].in_use != b->chunk[i].in_use)
            return false;
    return true;
}

bool lab_map_is_still(struct lab_map *before, const struct ljt_lj_state *m)
{
    struct lab_map *now = lab_map(m);
    bool equal = lab_map_equal(before, now);
    free(before);
    free(now);
    return equal;
}

size_t lab_free_pages(const struct ljt_lj_state *m, void (*each)(uintptr_t, uintptr_t, void *), void *arg)
{
    struct walk w = {m, &m->seg, 0};
    struct ljt_lj_chunk *c;
    size_t size, pages = 0;
    while (walk_next(&w, &c, &size)) {
        if ((c->head & LJT_LJ_CINUSE) != 0)
            continue;
        uintptr_t lo = (uintptr_t)c + 64 + ljt_page_size - 1, hi = (uintptr_t)c + size;
        lo -= lo % ljt_page_size;
        hi -= hi % ljt_page_size;
        if (lo >= hi)
            continue;
        pages += (hi - lo) / ljt_page_size;
        if (each != NULL)
            each(lo, hi, arg);
    }
    return pages;
}

size_t lab_largest_room(const struct ljt_lj_state *m)
{
    struct walk w = {m, &m->seg, 0};
    struct ljt_lj_chunk *c;
    size_t size, largest = 0;
    while (walk_next(&w, &c, &size))
        if ((c->head & LJT_LJ_CINUSE) == 0 && size > largest)
            largest = size;
    return largest;
}

void lab_prove(struct ljt_lj_state *m)
{
    struct ljt_heap_census census;
    enum ljt_heap_fault fault = ljt_heap_prove(m, &census);
    cr_assert(fault == LJT_HEAP_OK, "the heap is broken: %s", ljt_heap_fault_text(fault));
    cr_assert(census.mapped == census.live + census.free + census.overhead);
}

size_t lab_resident_pages(const struct ljt_lj_state *m)
{
    size_t resident = 0;
    for (const struct ljt_lj_segment *s = &m->seg; s != NULL; s = s->next) {
        size_t pages = s->size >> ljt_page_shift;
        unsigned char *vec = malloc(pages);
        cr_assert(vec != NULL && mincore((void *)s->base, s->size, vec) == 0);
        for (size_t i = 0; i < pages; i++)
            resident += vec[i] & 1;
        free(vec);
    }
    return resident;
}

__attribute__((noinline, no_sanitize("thread"))) uint64_t lab_glance(const uint64_t *counter)
{
    return *(const volatile uint64_t *)counter;
}

/* ---- The fake clock ---- */

static _Atomic uint64_t fake_now = UINT64_C(1000000000000);
static _Atomic bool stopped;
static void (*real_futex_wait)(const volatile void *word, uint32_t value, uint64_t ns);

static uint64_t fake_clock(void)
{
    return atomic_load(&fake_now);
}

/* A sleep without end is a real one, but short: spurious returns are allowed. */
static void fake_futex_wait(const volatile void *word, uint32_t value, uint64_t ns)
{
    if (ns == UINT64_MAX || atomic_load(&stopped)) {
        real_futex_wait(word, value, 1000000);
        return;
    }
    atomic_fetch_add(&fake_now, ns);
    sched_yield();
}

void lab_fake_time(void)
{
    real_futex_wait = ljt_kernel.futex_wait;
    ljt_kernel.now = fake_clock;
    ljt_kernel.futex_wait = fake_futex_wait;
}

void lab_stop_time(void)
{
    atomic_store(&stopped, true);
}

void lab_go_on(void)
{
    atomic_store(&stopped, false);
}

void lab_pass_time(uint64_t ns)
{
    atomic_fetch_add(&fake_now, ns);
}

/* ---- Huge pages ---- */

static const char *huge_pages_enabled;

static ssize_t read_huge_pages(const char *path, char *buf, size_t size)
{
    const char *text = strstr(path, "hpage_pmd_size") != NULL ? "2097152\n" : huge_pages_enabled;
    cr_assert(strlen(text) <= size);
    memcpy(buf, text, strlen(text));
    return (ssize_t)strlen(text);
}

void lab_huge_pages(const char *enabled)
{
    huge_pages_enabled = enabled;
    ljt_kernel.read_file = read_huge_pages;
}

/* ---- The log ---- */

static int caught = -1;

void lab_catch_stderr(void)
{
    caught = memfd_create("stderr", MFD_CLOEXEC);
    cr_assert(caught >= 0);
    fcntl(caught, F_SETFL, O_APPEND);
    cr_assert(dup2(caught, STDERR_FILENO) == STDERR_FILENO);
}

const char *lab_said(void)
{
    static char text[256 << 10];
    ssize_t n = pread(caught, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

unsigned lab_said_lines(void)
{
    unsigned lines = 0;
    for (const char *c = lab_said(); *c != '\0'; c++)
        lines += *c == '\n';
    return lines;
}

/* ---- AddressSanitizer ---- */

#ifdef __SANITIZE_ADDRESS__
int __lsan_is_turned_off(void);

/* Criterion's runner leaks 144 bytes of its own, and fails by it; the tests run in processes that have BXFI_MAP. */
int __lsan_is_turned_off(void)
{
    return getenv("BXFI_MAP") == NULL;
}
#endif

/* ---- Lua ---- */

void lab_run(lua_State *L, const char *chunk)
{
    cr_assert(luaL_dostring(L, chunk) == 0, "%s", lua_tostring(L, -1));
}

const char lab_churn[] = "local t = {} "
                         "for i = 1, 60000 do t[i] = { i, 'name-' .. i, string.rep('x', i % 300) } end "
                         "for i = 1, 60000 do if i % 100 ~= 0 then t[i] = false end end "
                         "collectgarbage() collectgarbage() "
                         "for i = 100, 60000, 100 do assert(t[i][1] == i and t[i][2] == 'name-' .. i) end "
                         "kept = t";

void lab_finalize_by(lua_State *L, lua_CFunction finalizer)
{
    lua_newuserdata(L, 8);
    lua_newtable(L);
    lua_pushcfunction(L, finalizer);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_settop(L, 0);
}

/* ---- System calls that are not allowed ---- */

bool lab_filter(unsigned number, unsigned action)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
