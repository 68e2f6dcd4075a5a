/*
 * idle_loop MODE [CHUNK [FUNCTION]]: a C program with an event loop and a VM that drops 60 MB and then does nothing at all.
 * CHUNK, if given, is Lua that is run after the drop. FUNCTION is what it waits in: epoll_wait, or one of its kin.
 *   loop       waits without end, for a timer of IDLE_SECONDS (3); again where it is interrupted
 *   timeout    waits 700 ms for nothing, until most is collected
 *   early      the timer comes after 0.3 s, in the midst of the collection
 *   from_lua, from_coroutine   waits as a C function that Lua has called
 *   threads    has a second thread, which waits too
 * Prints `result N errno E after MS interrupted TIMES before KB after KB`, having checked that what survives is intact; MS of
 * the longest wait.
 */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>

#include "host.h"

static const char *mode, *function = "epoll_wait";
static int epoll_fd, timer_fd, never_fd, timeout_ms = -1, interrupted;

static long now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int is(const char *name)
{
    return strcmp(function, name) == 0;
}

/* select and pselect, and what they have made of the sets: the timer is there or not, and nothing else is. */
static int wait_select(const struct timespec *ts)
{
    fd_set readable, writable;
    struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000}, before = tv;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(timer_fd, &readable);
    FD_SET(never_fd, &readable);
    FD_SET(never_fd + 1, &readable); /* above the highest that is asked for: not to be touched */
    FD_SET(timer_fd, &writable);     /* never is */
    int n = is("select") ? select(never_fd + 1, &readable, &writable, NULL, timeout_ms < 0 ? NULL : &tv)
                         : pselect(never_fd + 1, &readable, &writable, NULL, ts, NULL);
    int saved = errno;
    if (!FD_ISSET(timer_fd, &readable) != (n == 0) || !FD_ISSET(never_fd, &readable) != (n >= 0) ||
        !FD_ISSET(timer_fd, &writable) != (n >= 0) ||
        !FD_ISSET(never_fd + 1, &readable) != ((never_fd + 1) / 64 == never_fd / 64 && n >= 0))
        die("%s said %d and left other sets", function, n);
    if (is("select") && timeout_ms >= 0 &&
        (n == 0 ? tv.tv_sec + tv.tv_usec != 0 : !timercmp(&tv, &before, <)))
        die("select said %d and that %ld.%06ld s were left", n, (long)tv.tv_sec, (long)tv.tv_usec);
    errno = saved;
    return n;
}

static int wait_once(void)
{
    struct epoll_event event[4];
    struct pollfd fd = {.fd = timer_fd, .events = POLLIN};
    struct timespec ts = {timeout_ms / 1000, timeout_ms % 1000 * 1000000}, *end = timeout_ms < 0 ? NULL : &ts;
    if (is("poll"))
        return poll(&fd, 1, timeout_ms);
    if (is("ppoll"))
        return ppoll(&fd, 1, end, NULL);
    if (is("select") || is("pselect"))
        return wait_select(end);
    if (is("epoll_pwait"))
        return epoll_pwait(epoll_fd, event, 4, timeout_ms, NULL);
    if (is("epoll_pwait2"))
        return epoll_pwait2(epoll_fd, event, 4, end, NULL);
    return epoll_wait(epoll_fd, event, 4, timeout_ms);
}

static int wait_for_event(lua_State *L)
{
    bool timeout = strcmp(mode, "timeout") == 0;
    int n, waits = 0;
    long longest = 0, before = lua_gc(L, LUA_GCCOUNT, 0);
    const char *seconds = getenv("IDLE_SECONDS");
    struct itimerspec in = {.it_value = {seconds != NULL ? atoi(seconds) : 3, 0}};
    if (strcmp(mode, "early") == 0)
        in.it_value = (struct timespec){0, 300000000};
    if (timeout)
        timeout_ms = 700;
    else
        timerfd_settime(timer_fd, 0, &in, NULL);
    /* Again until it has been collected: when that begins is the library's affair. */
    do {
        long start = now_ms(), took;
        errno = 0;
        while ((n = wait_once()) < 0 && errno == EINTR)
            interrupted++;
        took = now_ms() - start;
        longest = took > longest ? took : longest;
        if (timeout && took < timeout_ms - 1)
            die("a wait of %d ms ended after %ld", timeout_ms, took);
    } while (timeout && ++waits < 40 && lua_gc(L, LUA_GCCOUNT, 0) > before / 16);
    printf("result %d errno %d after %ld interrupted %d before %ld after %ld\n", n, errno, longest,
           interrupted, before, (long)lua_gc(L, LUA_GCCOUNT, 0));
    return 0;
}

static void run(lua_State *L, const char *chunk)
{
    if (luaL_dostring(L, chunk))
        die("%s", lua_tostring(L, -1));
}

/* So that the reclaimer has its turns, and finds Lua on the stack at least once. */
static int nap(lua_State *L)
{
    (void)L;
    sleep_ms(3);
    return 0;
}

static void *second_thread(void *unused)
{
    sleep_ms(10000);
    return unused;
}

int main(int argc, char **argv)
{
    lua_State *L = luaL_newstate();
    struct epoll_event event = {.events = EPOLLIN};
    pthread_t thread;
    if (argc < 2)
        die("usage: idle_loop MODE [CHUNK [FUNCTION]]");
    mode = argv[1];
    luaL_openlibs(L);
    lua_register(L, "nap", nap);
    epoll_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, 0);
    never_fd = eventfd(0, 0);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event);
    run(L, "keep = {} local gone = {} for i = 1, 60000 do gone[i] = ('x'):rep(1000) .. i "
           "if i % 500 == 0 then nap() end if i % 1000 == 0 then keep[i] = ('y'):rep(1000) .. i end end");
    if (argc > 2)
        run(L, argv[2]);
    if (argc > 3)
        function = argv[3];
    if (strcmp(mode, "threads") == 0)
        pthread_create(&thread, NULL, second_thread, NULL);
    sleep_ms(400); /* the reclaimer is there by now */
    lua_pushliteral(L, "on the stack");
    int top = lua_gettop(L);
    if (strcmp(mode, "from_lua") == 0) {
        lua_pushcfunction(L, wait_for_event);
        lua_call(L, 0, 0);
    } else if (strcmp(mode, "from_coroutine") == 0) {
        lua_State *co = lua_newthread(L);
        lua_pushcfunction(co, wait_for_event);
        lua_resume(co, 0);
        lua_pop(L, 1);
    } else {
        wait_for_event(L);
    }
    if (lua_gettop(L) != top || strcmp(lua_tostring(L, -1), "on the stack") != 0)
        die("the stack is not what it was");
    run(L, "for i = 1000, 60000, 1000 do assert(keep[i] == ('y'):rep(1000) .. i) end if finalized then "
           "print('finalized', finalized) end");
    lua_close(L);
    return 0;
}
