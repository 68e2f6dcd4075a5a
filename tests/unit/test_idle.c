/*
 * Idle collection, with waits that return at once: when steps are made, and what the caller is told.
 */
#include "lab.h"

#include <dlfcn.h>
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "control.h"
#include "gc.h"
#include "idle.h"

static unsigned (*real_threads)(void);
static unsigned threads = 1; /* Criterion has some of its own */

static unsigned count_threads(void)
{
    return threads;
}

static void *sleep_on(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

static void set_up(void)
{
    real_threads = ljt_kernel.threads;
    lab_init();
    ljt_kernel.threads = count_threads;
    ljt_config.idle_gc = 1;
}

TestSuite(idle, .init = set_up, .timeout = LAB_TIMEOUT);

static struct lab_vm vm;
static struct ljt_arena *arena;

static void open_vm_with(const char *chunk)
{
    vm = lab_vm_open();
    luaL_openlibs(vm.L);
    arena = lab_vm_arm(&vm);
    lab_vm_know_gc(&vm, arena);
    atomic_fetch_or(&ljt_wiped.word[arena->slot].want, LJT_WANT_WAKE); /* the next call goes the slow way */
    lab_run(vm.L, chunk);
}

/* 10 MB of garbage, of which the collector knows nothing. */
static void open_vm(void)
{
    open_vm_with("local gone = {} for i = 1, 6000 do gone[i] = ('x'):rep(1000) .. i end collectgarbage() "
                 "for i = 6000, 10000 do gone[i] = ('x'):rep(1000) .. i end");
}

static uint64_t steps(void)
{
    return atomic_load(&arena->stats.idle_steps);
}

static int closed;

static int close_a_descriptor(lua_State *L)
{
    (void)L;
    closed++;
    return 0;
}

/* ---- A wait that is told what to say, and notes what it was asked ---- */

static struct {
    unsigned calls, naps, glances;
    int event_at;      /* the call that has an event; 0: none */
    unsigned raise_at; /* the call in which SIGUSR1 comes */
    int error;
    int event_after_close, error_after_close;
    int asked, last; /* ms; what the program has asked for, what the last call was told */
} wait;

static int fake_wait(void *arg, const uint64_t *ns)
{
    int timeout = ns == NULL ? wait.asked : (int)((*ns + 999999) / 1000000);
    cr_assert(arg == &wait && errno == 42, "errno is the caller's");
    wait.calls++;
    wait.naps += timeout == (int)ljt_config.decay_ms;
    wait.glances += timeout == 0;
    wait.last = timeout;
    if (wait.calls == wait.raise_at)
        raise(SIGUSR1);
    if (wait.error != 0 || (closed && wait.error_after_close != 0)) {
        errno = wait.error != 0 ? wait.error : wait.error_after_close;
        return -1;
    }
    if (closed && wait.event_after_close)
        return 7;
    return (int)wait.calls == wait.event_at ? 7 : 0;
}

static uint64_t ns_of(int timeout)
{
    return timeout < 0 ? LJT_IDLE_FOREVER : (uint64_t)timeout * 1000000;
}

static int wait_as(int timeout, bool repeats)
{
    wait.calls = wait.naps = wait.glances = 0;
    wait.asked = timeout;
    errno = 42;
    return ljt_idle_wait(fake_wait, &wait, ns_of(timeout), repeats);
}

static int wait_for(int timeout)
{
    return wait_as(timeout, false);
}

Test(idle, a_vm_that_only_waits_is_collected)
{
    open_vm();
    uint64_t before = ljt_arena_gc_total(arena);
    cr_expect(wait_for(-1) == 0 && errno == 42);
    cr_expect(wait.naps == 1 && wait.glances == steps() && wait.last == -1 && steps() > 3);
    cr_expect(ljt_arena_gc_total(arena) < before / 4);
    cr_expect(atomic_load(&arena->stats.idle_collected) > before / 2);
    uint64_t so_far = steps();
    wait_for(-1);
    cr_expect(wait.calls == 1 && wait.last == -1 && steps() == so_far, "nothing is left to do");
}

Test(idle, a_peak_that_ends_right_after_a_cycle_is_collected)
{
    open_vm_with("local gone = {} for i = 1, 10000 do gone[i] = ('x'):rep(1000) .. i end collectgarbage()");
    struct ljt_gc gc;
    cr_assert(ljt_gc_read(arena, &gc) && ljt_gc_growth(&gc) < gc.total / 64, "LuaJIT knows of no growth");
    wait_for(-1);
    cr_expect(ljt_arena_gc_total(arena) < gc.total / 4);
}

Test(idle, what_stays_in_use_is_tried_less_often)
{
    open_vm_with("kept = {} for i = 1, 6000 do kept[i] = ('x'):rep(1000) .. i end collectgarbage()");
    wait_for(-1);
    uint64_t so_far = steps();
    cr_expect(so_far > 0, "it might have been garbage");
    lab_run(vm.L, "for i = 1, 3000 do kept.last = 'a' .. i end");
    wait_for(-1);
    cr_expect(steps() == so_far, "a 64th of it in allocator calls was enough the first time");
    lab_run(vm.L, "for i = 1, 18000 do kept.last = 'b' .. i end");
    wait_for(-1);
    cr_expect(steps() > so_far, "an eighth is, the second");
}

static volatile sig_atomic_t handled;

static void handle(int signo)
{
    (void)signo;
    handled++;
    if (LAB_SLOWNESS == 1) /* else ThreadSanitizer reports it */
        errno = EBADF;
}

static void set_action(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    cr_assert(sigaction(SIGUSR1, &action, NULL) == 0);
}

static bool is_the_same(const sigset_t *a, const sigset_t *b)
{
    return memcmp(a, b, _NSIG / 8) == 0; /* the kernel writes no more of them */
}

/* It comes within a step: before the program's wait has gone on, its loop must know. */
Test(idle, a_handler_ends_the_wait)
{
    sigset_t before, after;
    open_vm();
    set_action(handle);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    wait.raise_at = 3;
    cr_expect(wait_for(-1) == -1 && errno == EINTR);
    cr_expect(handled == 1 && steps() == 2, "%d handled after %d steps", (int)handled, (int)steps());
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    cr_expect(is_the_same(&before, &after));
    wait.raise_at = 0;
    cr_expect(wait_for(-1) == 0 && errno == 42);
    cr_expect(steps() > 3, "it goes on");
}

Test(idle, a_signal_that_nobody_handles_ends_no_wait)
{
    open_vm();
    set_action(SIG_IGN);
    wait.raise_at = 3;
    cr_expect(wait_for(-1) == 0 && errno == 42);
    cr_expect(steps() > 3);
}

static sigjmp_buf outside;

static void jump_out(int signo)
{
    siglongjmp(outside, signo);
}

static int raise_now(lua_State *L)
{
    (void)L;
    raise(SIGUSR1);
    return 0;
}

/* Not out of a step, with the collector in the middle of something, and the heap perhaps. */
Test(idle, a_handler_may_jump_out_of_the_wait)
{
    open_vm();
    set_action(jump_out);
    lua_pushcfunction(vm.L, raise_now);
    lua_setglobal(vm.L, "raise_now");
    lab_run(vm.L, "for i = 1, 3 do getmetatable(newproxy(true)).__gc = function() raise_now() end end");
    if (sigsetjmp(outside, 1) == 0) {
        wait_for(-1);
        cr_assert_fail("it has not jumped");
    }
    uint64_t so_far = steps();
    cr_expect((atomic_load(&ljt_gates[arena->slot].busy) & 1) == 0);
    lab_run(vm.L, "gone = {} for i = 1, 20000 do gone[i] = ('x'):rep(1000) .. i end gone = nil");
    set_action(SIG_IGN);
    int n = wait_for(-1);
    cr_expect(steps() > so_far, "%d, %d after %d: it goes on", n, (int)steps(), (int)so_far);
    lab_prove(vm.m);
}

Test(idle, the_first_event_ends_it_and_the_next_wait_goes_on)
{
    open_vm();
    wait.event_at = 1;
    cr_expect(wait_for(-1) == 7 && steps() == 0, "during the nap");
    wait.event_at = 3;
    cr_expect(wait_for(-1) == 7 && steps() == 2);
    wait.event_at = 0;
    cr_expect(wait_for(-1) == 0 && steps() > 3);
    struct ljt_gc gc;
    cr_expect(ljt_gc_read(arena, &gc) && ljt_gc_rests(&gc));
}

Test(idle, errors_are_the_callers)
{
    open_vm();
    wait.error = EBADF;
    cr_expect(wait_for(-1) == -1 && errno == EBADF && wait.calls == 1 && steps() == 0);
}

Test(idle, a_short_wait_is_left_alone)
{
    open_vm();
    cr_expect(!ljt_idle_may_collect(0) && !ljt_idle_may_collect(ns_of(100)) &&
              ljt_idle_may_collect(ns_of(101)) && ljt_idle_may_collect(LJT_IDLE_FOREVER));
    wait_for((int)ljt_config.decay_ms);
    cr_expect(wait.calls == 1 && steps() == 0);
    ljt_config.idle_gc = 0;
    cr_expect(!ljt_idle_may_collect(LJT_IDLE_FOREVER));
}

Test(idle, the_time_is_kept)
{
    open_vm();
    lab_fake_time();
    wait_for((int)ljt_config.decay_ms + 10); /* the nap takes no time here */
    cr_expect(steps() > 0 && wait.glances > 0 && wait.last > 0 && wait.last <= (int)ljt_config.decay_ms + 10,
              "%d", wait.last);
}

Test(idle, not_before_lua_was_seen_on_the_stack)
{
    open_vm();
    cr_assert(arena->idle.witnessed);
    arena->idle.witnessed = false;
    wait_for(-1);
    cr_expect(wait.calls == 1 && steps() == 0);
    ljt_idle_witness(arena);
    cr_expect(!arena->idle.witnessed, "it is not there now");
}

static int wait_from_lua(lua_State *L)
{
    lua_pushinteger(L, wait_for(-1));
    return 1;
}

Test(idle, never_below_lua)
{
    open_vm();
    lua_register(vm.L, "wait", wait_from_lua);
    static const char *const ways[] = {"wait()", "coroutine.wrap(wait)()",
                                       "coroutine.wrap(function() pcall(wait) end)()",
                                       "table.sort({1, 2}, function() wait() return false end)"};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        lab_run(vm.L, ways[i]);
        cr_expect(wait.calls == 1 && steps() == 0, "%s", ways[i]);
    }
    lua_State *co = lua_newthread(vm.L); /* as nginx: the main thread is not the one that runs */
    lua_getglobal(co, "wait");
    lua_resume(co, 0);
    cr_expect(wait.calls == 1 && steps() == 0);
    lua_pop(vm.L, 1);
    wait_for(-1);
    cr_expect(steps() > 0);
}

Test(idle, never_beside_another_thread)
{
    open_vm();
    for (threads = 0; threads < 4; threads++) {
        if (threads == 1)
            continue;
        wait_for(-1);
        cr_expect(wait.calls == 1 && steps() == 0, "%u threads", threads);
    }
    atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_STARTED); /* it should be one of them */
    threads = 1;
    wait_for(-1);
    cr_expect(wait.calls == 1 && steps() == 0);
    threads = 2;
    wait_for(-1);
    cr_expect(steps() > 0);
}

Test(idle, the_kernel_counts_threads)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t first, second;
    pthread_mutex_lock(&lock);
    pthread_create(&first, NULL, sleep_on, &lock); /* a sanitizer starts one of its own with it */
    unsigned before = real_threads();
    cr_expect(before >= 2);
    pthread_create(&second, NULL, sleep_on, &lock);
    cr_expect(real_threads() == before + 1);
    pthread_mutex_unlock(&lock);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
}

Test(idle, never_where_the_collector_is_not_to_run)
{
    open_vm();
    lab_run(vm.L, "collectgarbage('stop')");
    wait_for(-1);
    cr_expect(wait.calls == 1 && steps() == 0, "stopped");
    lab_run(vm.L, "collectgarbage('restart') collectgarbage('setpause', 1000)");
    wait_for(-1);
    cr_expect(wait.calls == 1 && steps() == 0, "a long pause");
    lab_run(vm.L, "collectgarbage('setpause', 200)");
    cr_assert(ljt_control_pause(0) == 0);
    wait_for(-1);
    cr_expect(wait.calls == 1 && steps() == 0, "we are to pause");
    cr_assert(ljt_control_resume() == 0);
    wait_for(-1);
    cr_expect(steps() > 0);
}

static unsigned finalized;

static int fail_or_wait(lua_State *L)
{
    if (finalized++ % 2 == 0)
        return luaL_error(L, "in a finalizer");
    uint64_t before = steps();
    cr_expect(ljt_idle_wait(fake_wait, &wait, LJT_IDLE_FOREVER, false) == 0 && steps() == before,
              "not within a step");
    return 0;
}

Test(idle, finalizers_end_the_wait_by_eintr_and_may_fail)
{
    lab_catch_stderr();
    open_vm();
    for (int i = 0; i < 10; i++) {
        lua_newuserdata(vm.L, 8);
        lua_newtable(vm.L);
        lua_pushcfunction(vm.L, fail_or_wait);
        lua_setfield(vm.L, -2, "__gc");
        lua_setmetatable(vm.L, -2);
    }
    lua_settop(vm.L, 0);
    lua_pushliteral(vm.L, "mine");
    int n = 0, rounds = 0;
    errno = 42;
    while (finalized < 10 && rounds++ < 50) {
        errno = 42;
        n = ljt_idle_wait(fake_wait, &wait, LJT_IDLE_FOREVER, false);
    }
    cr_expect(n == -1 && errno == EINTR);
    cr_expect(finalized == 10 && lua_gettop(vm.L) == 1, "%u, %d", finalized, lua_gettop(vm.L));
    cr_expect(lab_said_lines() == 1, "%s", lab_said());
}

/* A finalizer may have closed what is waited for: that is no error of the program's, and with poll no event. */
Test(idle, what_is_found_after_finalizers_is_an_interruption_where_it_will_be_found_again)
{
    static const struct {
        int error, event;
        bool repeats;
        int result, says;
    } cases[] = {{EBADF, 0, false, -1, EINTR},
                 {EBADF, 0, true, -1, EINTR},
                 {0, 1, true, -1, EINTR},
                 {0, 1, false, 7, 42}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        open_vm();
        lab_finalize_by(vm.L, close_a_descriptor);
        memset(&wait, 0, sizeof(wait));
        closed = 0;
        wait.error_after_close = cases[i].error;
        wait.event_after_close = cases[i].event;
        int n = wait_as(-1, cases[i].repeats);
        cr_expect(closed == 1 && n == cases[i].result && errno == cases[i].says, "%zu: %d %d %d", i, closed,
                  n, errno);
        lua_close(vm.L);
    }
}

/* ---- How large a step is: each object that it sweeps is a call through the gate ---- */

static uint64_t (*clock_of_the_lab)(void);
static uint64_t reading_takes; /* ns, as far as the clock tells */

static uint64_t clock_that_goes(void)
{
    lab_pass_time(reading_takes);
    return clock_of_the_lab();
}

enum { SWEPT = 4000 };
static uint64_t calls_before, swept[SWEPT]; /* by each step */
static unsigned sizes;
static void (*between_steps)(void);

static int counting_wait(void *arg, const uint64_t *ns)
{
    (void)arg;
    uint64_t calls = atomic_load(&ljt_gates[arena->slot].busy) / 2;
    if (ns != NULL && *ns == 0 && sizes < SWEPT) {
        swept[sizes++] = calls - calls_before;
        if (between_steps != NULL)
            between_steps();
    }
    calls_before = calls;
    return 0;
}

/* So many tables are garbage; what `between` says is done after each step of their collection. */
static void collect_tables(unsigned tables, int stepmul, void (*between)(void))
{
    open_vm();
    lua_gc(vm.L, LUA_GCSETSTEPMUL, stepmul);
    lua_pushinteger(vm.L, (lua_Integer)tables);
    lua_setglobal(vm.L, "N");
    lab_run(vm.L, "collectgarbage() collectgarbage('stop') for i = 1, N do x = { i } end x = nil "
                  "collectgarbage('restart')");
    lab_fake_time();
    clock_of_the_lab = ljt_kernel.now;
    ljt_kernel.now = clock_that_goes;
    between_steps = between;
    ljt_idle_wait(counting_wait, NULL, LJT_IDLE_FOREVER, false);
    cr_assert(sizes < SWEPT);
}

#define SLOW UINT64_C(2000000) /* ns */
static unsigned fast_from, slow_from;

/* Slow until ten steps that sweep were as small as can be, fast for six, slow again. */
static void be_slow_fast_and_slow(void)
{
    static unsigned alike;
    alike = sizes > 1 && swept[sizes - 1] > 100 && swept[sizes - 1] == swept[sizes - 2] ? alike + 1 : 0;
    if (fast_from == 0 && alike == 10) {
        fast_from = sizes;
        reading_takes = 0;
    }
    if (fast_from != 0 && sizes == fast_from + 6) {
        slow_from = sizes;
        reading_takes = SLOW;
    }
}

Test(idle, a_step_that_takes_long_makes_the_next_smaller)
{
    reading_takes = SLOW;
    collect_tables(200000, 200, be_slow_fast_and_slow);
    cr_assert(slow_from != 0 && sizes > slow_from + 8, "%u steps", sizes);
    for (unsigned i = fast_from + 1; i < slow_from; i++)
        cr_expect(swept[i] > swept[i - 1] * 5 / 4, "step %u: %llu, %llu before", i,
                  (unsigned long long)swept[i], (unsigned long long)swept[i - 1]);
    for (unsigned i = slow_from + 1; i < slow_from + 6; i++)
        cr_expect(swept[i] < swept[i - 1] * 3 / 4, "step %u: %llu, %llu before", i,
                  (unsigned long long)swept[i], (unsigned long long)swept[i - 1]);
}

/* 1,024 of LuaJIT's steps, each of which sweeps 40 objects here. */
Test(idle, no_step_is_larger_than_the_largest)
{
    collect_tables(300000, 20, NULL);
    uint64_t largest = 0;
    unsigned as_large = 0;
    for (unsigned i = 0; i < sizes; i++)
        largest = swept[i] > largest ? swept[i] : largest;
    for (unsigned i = 0; i < sizes; i++)
        as_large += swept[i] > 1000 * 40;
    cr_expect(largest <= 1030 * 40, "%llu objects", (unsigned long long)largest);
    cr_expect(as_large >= 3, "%u steps", as_large);
}

static void *seen = &finalized;
static void *(*get_exdata)(lua_State *L);

static int see_exdata(lua_State *L)
{
    seen = get_exdata(L);
    return 0;
}

Test(idle, finalizers_find_no_request_of_nginx)
{
    open_vm();
    void (*set_exdata)(lua_State *, void *);
    *(void **)&set_exdata = dlsym(RTLD_DEFAULT, "lua_setexdata");
    *(void **)&get_exdata = dlsym(RTLD_DEFAULT, "lua_getexdata");
    if (set_exdata == NULL || get_exdata == NULL)
        cr_skip_test("luajit2 alone has extra data");
    lua_newuserdata(vm.L, 8);
    lua_newtable(vm.L);
    lua_pushcfunction(vm.L, see_exdata);
    lua_setfield(vm.L, -2, "__gc");
    lua_setmetatable(vm.L, -2);
    lua_settop(vm.L, 0);
    set_exdata(vm.L, &wait);
    wait_for(-1);
    cr_expect(seen == NULL, "it was called, and found none");
    cr_expect(get_exdata(vm.L) == &wait, "the thread's own is as it was");
}
