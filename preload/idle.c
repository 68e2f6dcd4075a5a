#include "idle.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>

#include "arena.h"
#include "control.h"
#include "gate.h"
#include "gc.h"
#include "kernel.h"
#include "log.h"
#include "mask.h"
#include "reclaim.h"

#define MS UINT64_C(1000000)

/* A step is made of so many of LuaJIT's own (lua_gc's KiB), doubled and halved to take between these times. */
#define DEMAND_FIRST 8
#define DEMAND_MAX 1024
#define STEP_SHORT (MS / 4)
#define STEP_LONG (MS / 2)

/* ---- Lua's API, as the object exports it that the VM's code lies in ---- */

#define LUA_GCSTEP 5 /* lua.h, 5.1 */

struct api {
    bool sought;
    int (*gc)(void *L, int what, int data);
    int (*cpcall)(void *L, int (*function)(void *L), void *ud);
    int (*gettop)(void *L);
    void (*settop)(void *L, int index);
    struct exdata {
        void *(*get)(void *L);
        void (*set)(void *L, void *data);
    } exdata[2]; /* luajit2's own: NULL elsewhere */
};

static void *symbol(const struct ljt_module *mod, void *handle, const char *name)
{
    uintptr_t p = (uintptr_t)dlsym(handle, name);
    bool ours = p >= atomic_load_explicit(&mod->text_lo, memory_order_relaxed) &&
                p < atomic_load_explicit(&mod->text_hi, memory_order_relaxed);
    return ours ? (void *)p : NULL; /* else another Lua's */
}

static const struct api *api_of(const struct ljt_module *mod)
{
    static struct api apis[LJT_MODULES];
    static struct ljt_once missing;
    struct api *api = &apis[mod - ljt_modules];
    if (!api->sought) {
        api->sought = true;
        void *handle = dlopen(mod->path[0] != '\0' ? mod->path : NULL, RTLD_LAZY | RTLD_NOLOAD);
        if (handle != NULL) {
            *(void **)&api->gc = symbol(mod, handle, "lua_gc");
            *(void **)&api->cpcall = symbol(mod, handle, "lua_cpcall");
            *(void **)&api->gettop = symbol(mod, handle, "lua_gettop");
            *(void **)&api->settop = symbol(mod, handle, "lua_settop");
            *(void **)&api->exdata[0].get = symbol(mod, handle, "lua_getexdata");
            *(void **)&api->exdata[0].set = symbol(mod, handle, "lua_setexdata");
            *(void **)&api->exdata[1].get = symbol(mod, handle, "lua_getexdata2");
            *(void **)&api->exdata[1].set = symbol(mod, handle, "lua_setexdata2");
            dlclose(handle);
        }
        if (api->gc == NULL || api->cpcall == NULL || api->gettop == NULL || api->settop == NULL) {
            api->gc = NULL;
            ljt_log_once(&missing, LJT_LOG_WARN,
                         "the program does not export Lua's API; LJTRIM_IDLE_GC has no effect");
        }
    }
    return api->gc != NULL ? api : NULL;
}

/* ---- Is nothing of Lua on the stack? ---- */

/*
 * lua_State, with GC64, in every revision from 2014 to 2026. `cframe` is the innermost C frame from which the thread
 * was entered: NULL when it is suspended, or not running.
 */
enum { THREAD_GCT = 9, THREAD_STATUS = 11, THREAD_GLREF = 16, THREAD_CFRAME = 80, THREAD_SIZE = 96 };
#define GCT_THREAD 6 /* ~LJ_TTHREAD */

/*
 * Behind the collector's fields, global_State has the main thread and the one that was entered last (cur_L), with
 * GC64 between 96 and 361 bytes from gc.total on. Which word is which differs: any that is a thread of this VM counts.
 */
#define SCAN_BYTES 512

static uint64_t word_at(uintptr_t p)
{
    return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
}

static bool in_arena(const struct ljt_arena *a, uintptr_t p)
{
    for (const struct ljt_lj_segment *s = &a->m->seg; s != NULL; s = s->next)
        if (p >= s->base && p + THREAD_SIZE <= s->base + s->size)
            return true;
    return false;
}

static bool is_thread(const struct ljt_arena *a, uintptr_t p)
{
    return p % 8 == 0 && in_arena(a, p) && ((const uint8_t *)p)[THREAD_GCT] == GCT_THREAD &&
           word_at(p + THREAD_GLREF) == word_at((uintptr_t)a->gg + THREAD_GLREF);
}

/* Is that the main thread, at the start of GG_State? */
static bool main_is_sane(const struct ljt_arena *a)
{
    uintptr_t gg = (uintptr_t)a->gg, g = word_at(gg + THREAD_GLREF);
    return g > gg && g <= (uintptr_t)a->place && is_thread(a, gg);
}

/* How many of global_State's words are threads that run; the first that is the main thread left out. */
static unsigned running(const struct ljt_arena *a)
{
    const struct ljt_lj_chunk *c = ljt_lj_mem_to_chunk(a->gg);
    uintptr_t from = (uintptr_t)a->gc_total + LJT_GC_BYTES, end = (uintptr_t)c + ljt_lj_chunk_size(c);
    bool main_seen = false;
    unsigned n = 0;
    if (end > from + SCAN_BYTES)
        end = from + SCAN_BYTES;
    for (uintptr_t at = from; at + 8 <= end; at += 8) {
        uintptr_t p = word_at(at);
        if (!is_thread(a, p))
            continue;
        if (p == (uintptr_t)a->gg && !main_seen)
            main_seen = true; /* mainthref, which says nothing about cur_L */
        else
            n += word_at(p + THREAD_CFRAME) != 0;
    }
    return n;
}

void ljt_idle_witness(struct ljt_arena *a)
{
    struct ljt_gc gc;
    if (ljt_config.idle_gc && !a->idle.witnessed && ljt_arena_is(a, LJT_ARENA_ARMED) && ljt_gc_read(a, &gc))
        a->idle.witnessed = main_is_sane(a) && running(a) > 0;
}

static bool nobody_is_in(const struct ljt_arena *a)
{
    uintptr_t gg = (uintptr_t)a->gg;
    return a->idle.witnessed &&
           (atomic_load_explicit(&ljt_gates[a->slot].busy, memory_order_relaxed) & 1) == 0 &&
           main_is_sane(a) && ((const uint8_t *)gg)[THREAD_STATUS] == 0 && word_at(gg + THREAD_CFRAME) == 0 &&
           running(a) == 0;
}

/* The same, asked outside of the gate: the reclaimer may be in the heap, and unmaps segments of a patched one. */
static bool nobody_was_in(struct ljt_arena *a)
{
    ljt_lock *life = &ljt_wiped.word[a->slot].life;
    sigset_t before;
    ljt_mask_signals(&before);
    ljt_lock_acquire(life);
    bool nobody = ljt_arena_is(a, LJT_ARENA_ARMED) && nobody_is_in(a);
    ljt_lock_release(life);
    ljt_mask_restore(&before);
    return nobody;
}

/* ---- Steps ---- */

/* The process has one thread for all of this, and it is not in two places: see `collecting`. */
static bool collecting;
static const struct api *step_api;
static int step_demand, step_ended_cycle;

static int protected_step(void *L)
{
    step_ended_cycle = step_api->gc(L, LUA_GCSTEP, step_demand);
    return 0;
}

static uint64_t calls(const struct ljt_arena *a)
{
    return atomic_load_explicit(&ljt_gates[a->slot].busy, memory_order_relaxed) / 2;
}

static void end_cycle(struct ljt_arena *a, const struct ljt_gc *gc)
{
    a->idle.begun = false;
    a->idle.calls = calls(a);
    if (a->idle.total > gc->total)
        ljt_histogram_bump(&a->stats.idle_collected, a->idle.total - gc->total);
    if (a->idle.from_rest)
        ljt_worth_learn(&a->idle.worth, a->idle.total, gc->total);
    else /* it was under way while the VM was at work */
        a->idle.worth.again = LJT_WORTH_AGAIN;
}

/* A cycle that is under way, ours or not, is ended, if it may free enough to matter; a new one must be likely to pay. */
static bool worth_it(struct ljt_arena *a, const struct ljt_gc *gc)
{
    bool rests = ljt_gc_rests(gc);
    if (rests && a->idle.begun) /* ended by the VM itself */
        end_cycle(a, gc);
    if (gc->pause > LJT_USUAL_PAUSE || (!rests && !ljt_gc_runs(gc)))
        return false;
    return rests ? ljt_worth_pays(&a->idle.worth, gc, false) ||
                       ljt_worth_a_try(&a->idle.worth, gc, calls(a) - a->idle.calls)
                 : a->idle.begun || gc->total >= ljt_config.min_reclaim;
}

/* A VM that should be collected, and may be now; *later: there is one that may not be now. */
static struct ljt_arena *find(bool *later)
{
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    struct ljt_gc gc;
    for (unsigned i = 0; i < slots; i++) {
        struct ljt_arena *a = &ljt_arenas[i];
        uint32_t want = atomic_load_explicit(&ljt_wiped.word[i].want, memory_order_acquire);
        if (!ljt_arena_is(a, LJT_ARENA_ARMED) || (want & LJT_WANT_LIVE) == 0 || !ljt_gc_read(a, &gc) ||
            !worth_it(a, &gc) || api_of(a->module) == NULL)
            continue;
        if (nobody_was_in(a))
            return a;
        *later = true;
    }
    return NULL;
}

/*
 * lua_cpcall without the thread's extra data. nginx keeps the request there that a thread serves; the main thread may
 * have one of a request that is long over. Finalizers that ask for it find none, as in nginx's init phase.
 */
static int call_bare(const struct api *api, void *L)
{
    void *was[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++)
        if (api->exdata[i].get != NULL && api->exdata[i].set != NULL) {
            was[i] = api->exdata[i].get(L);
            api->exdata[i].set(L, NULL);
        }
    int status = api->cpcall(L, protected_step, NULL);
    for (int i = 0; i < 2; i++)
        if (api->exdata[i].get != NULL && api->exdata[i].set != NULL)
            api->exdata[i].set(L, was[i]);
    return status;
}

/* One step. True if finalizers may have run in it. */
static bool step(struct ljt_arena *a)
{
    static struct ljt_once failed;
    static int demand = DEMAND_FIRST;
    struct ljt_gc gc;
    int saved = errno;
    uint64_t start = ljt_kernel.now();
    bool begins = !a->idle.begun;
    collecting = true;
    bool finalizes = ljt_gc_read(a, &gc) && gc.finalizable;
    if (begins) {
        a->idle.begun = true;
        a->idle.from_rest = ljt_gc_rests(&gc);
        a->idle.total = gc.total;
    }
    step_api = api_of(a->module);
    step_demand = demand;
    step_ended_cycle = 0;
    int top = step_api->gettop(a->gg);
    if (call_bare(step_api, a->gg) != 0) {
        step_api->settop(a->gg, top); /* the error's value */
        ljt_log_once(&failed, LJT_LOG_WARN, "a finalizer failed in an idle collection; its error is dropped");
    }
    bool known = ljt_gc_read(a, &gc);
    finalizes |= (known && gc.finalizable) || (begins && step_ended_cycle);
    if (known && step_ended_cycle)
        end_cycle(a, &gc);
    ljt_histogram_bump(&a->stats.idle_steps, 1);
    uint64_t took = ljt_kernel.now() - start;
    if (took > STEP_LONG && demand > 1)
        demand /= 2;
    else if (took < STEP_SHORT && demand < DEMAND_MAX)
        demand *= 2;
    collecting = false;
    errno = saved;
    return finalizes;
}

/* ---- The wait ---- */

/* Has any VM moved since nothing was found to do? Of static memory alone: other threads' VMs may be going away. */
static uint64_t nothing_to_do_at;

static uint64_t movements(void)
{
    uint64_t sum = 0;
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    for (unsigned i = 0; i < slots; i++)
        sum += atomic_load_explicit(&ljt_gates[i].busy, memory_order_relaxed) + 1;
    return sum;
}

static uint64_t left(uint64_t deadline)
{
    uint64_t now = ljt_kernel.now();
    return deadline <= now ? 0 : deadline - now;
}

static int interrupted(void)
{
    errno = EINTR;
    return -1;
}

/* Has a handler of the program's run just now, if signals are let through for that long? */
static bool a_handler_ran(const sigset_t *mask)
{
    struct timespec at_once = {0, 0};
    return ljt_kernel_call(SYS_ppoll, 0, 0, (long)&at_once, (long)mask, _NSIG / 8, 0) < 0 && errno == EINTR;
}

/* What the program has asked for. */
struct idle_wait {
    int (*wait)(void *arg, const uint64_t *ns);
    void *arg;
    uint64_t deadline; /* 0: none */
    bool repeats;
};

/*
 * Steps, until nothing is left to do: false; or until the wait is over, by *result. No handler of the program's runs within
 * a step, where it would find the VM at work though the program waits, and may jump out of it: but after each, and ends
 * the wait, as it would have ended the program's own.
 */
static bool collect(const struct idle_wait *w, const sigset_t *before, bool *finalizes, bool *later,
                    int *result)
{
    static const uint64_t glance = 0;
    int saved = errno;
    for (struct ljt_arena *a; !ljt_reclaim_has_company() && (a = find(later)) != NULL;) {
        *finalizes |= step(a);
        errno = saved;
        int n = w->wait(w->arg, &glance);
        if (n == 0 && a_handler_ran(before))
            n = interrupted();
        if (n != 0) {
            *result = *finalizes && (n < 0 || w->repeats) ? interrupted() : n;
            return true;
        }
        errno = saved;
        if (w->deadline != 0 && left(w->deadline) == 0) {
            *result = 0;
            return true;
        }
    }
    errno = saved;
    return false;
}

int ljt_idle_wait(int (*wait)(void *arg, const uint64_t *ns), void *arg, uint64_t timeout, bool repeats)
{
    if (collecting || movements() == nothing_to_do_at || ljt_control_paused() || ljt_reclaim_has_company())
        return wait(arg, NULL);
    int saved = errno;
    bool finalizes = false, later = false;
    struct idle_wait w = {wait, arg, 0, repeats};
    if (find(&later) != NULL) {
        uint64_t nap = (ljt_config.decay_ms > LJT_IDLE_LEAST ? ljt_config.decay_ms : LJT_IDLE_LEAST) * MS;
        errno = saved;
        if (timeout <= nap)
            return wait(arg, NULL);
        w.deadline = timeout != LJT_IDLE_FOREVER ? ljt_kernel.now() + timeout : 0;
        int n = wait(arg, &nap);
        if (n != 0)
            return n;
        sigset_t before;
        ljt_mask_handlers(&before);
        bool over = collect(&w, &before, &finalizes, &later, &n);
        int error = errno;
        ljt_mask_restore(&before);
        errno = error;
        if (over)
            return n;
    }
    if (!later)
        nothing_to_do_at = movements();
    errno = saved;
    if (finalizes)
        return interrupted();
    if (w.deadline == 0)
        return wait(arg, NULL);
    uint64_t rest = left(w.deadline);
    return wait(arg, &rest);
}
