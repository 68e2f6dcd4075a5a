/*
 * Every system call of the kernel's table that has to do with heaps fails in turn (fault.h): under LuaJIT's own allocator
 * and under ours. What Lua computes does not change, and where the library's service is lost one line says so. The
 * calls for files that are written are test_file_faults.c's.
 *
 * Each process has a peak, a trough in which the thread gives back what it can, a fork, a peak, a close.
 */
#include "lab.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "fault.h"

#define MS UINT64_C(1000000)

/* ---- The calls, and what their manuals say ---- */

static const struct fault_call mmap_call = {
    "mmap",
    TOLD,
    {ENOMEM, EAGAIN, EPERM, EACCES, EBADF, EEXIST, EINVAL, ENFILE, ENODEV, EOVERFLOW, ETXTBSY, -1}};
static const struct fault_call munmap_call = {"munmap", NONE, {EINVAL, ENOMEM, -1}};
static const struct fault_call madvise_call = {
    "madvise", TOLD, {EINVAL, EAGAIN, EACCES, EBADF, EIO, ENOMEM, EPERM, ENOSYS, -1}};
static const struct fault_call process_madvise_call = {
    "process_madvise", NONE, {PARTLY, ENOSYS, EPERM, EBADF, EFAULT, EINVAL, ENOMEM, ESRCH, -1}};
static const struct fault_call mincore_call = {
    "mincore", TOLD, {EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM, ENOSYS, -1}};
static const struct fault_call membarrier_call = {"membarrier", NONE, {ENOSYS, EPERM, EINVAL, -1}};
static const struct fault_call peek_call = {
    "process_vm_readv", PASSING, {PARTLY, EFAULT, EINVAL, ENOMEM, EPERM, ESRCH, ENOSYS, -1}};
static const struct fault_call read_file_call = {"open_and_read",
                                                 NONE,
                                                 {PARTLY, ENOENT, EACCES, EMFILE, ENFILE, ENOMEM, EIO, EINTR,
                                                  ELOOP, ENODEV, ENOTDIR, EAGAIN, EISDIR, EPERM, -1}};
static const struct fault_call mremap_call = {"mremap", NONE, {EAGAIN, EFAULT, EINVAL, ENOMEM, -1}};
static const struct fault_call futex_call = {
    "futex (wait)", NONE, {EAGAIN, EINTR, ETIMEDOUT, EINVAL, EFAULT, EACCES, ENOSYS, -1}};
static const struct fault_call futex_wake_call = {"futex (wake)", TOLD, {EINVAL, EFAULT, EACCES, ENOSYS, -1}};
/* The table's entry says 0 whatever the error is: one stands for all. */
static const struct fault_call threads_call = {"statx", NONE, {ENOENT, -1}};

static void *fault_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    return fault_strikes(&mmap_call) ? MAP_FAILED : fault_real.mmap(addr, len, prot, flags, fd, off);
}

static int fault_munmap(void *addr, size_t len)
{
    return fault_strikes(&munmap_call) ? -1 : fault_real.munmap(addr, len);
}

static int fault_madvise(void *addr, size_t len, int advice)
{
    return fault_strikes(&madvise_call) ? -1 : fault_real.madvise(addr, len, advice);
}

/* Partly: a page less than the first range, as if a signal had come or the rest were not mapped. */
static ssize_t fault_process_madvise(const struct iovec *ranges, size_t count, int advice)
{
    if (!fault_strikes(&process_madvise_call))
        return fault_real.process_madvise(ranges, count, advice);
    if (fault_plan.error != PARTLY)
        return -1;
    size_t some = ranges[0].iov_len - ljt_page_size;
    return some == 0 || fault_real.madvise(ranges[0].iov_base, some, advice) == 0 ? (ssize_t)some : -1;
}

static int fault_mincore(void *addr, size_t len, unsigned char *vec)
{
    return fault_strikes(&mincore_call) ? -1 : fault_real.mincore(addr, len, vec);
}

static int fault_membarrier(int cmd)
{
    return fault_strikes(&membarrier_call) ? -1 : fault_real.membarrier(cmd);
}

static ssize_t fault_peek(void *to, const void *from, size_t len)
{
    if (!fault_strikes(&peek_call))
        return fault_real.peek(to, from, len);
    return fault_plan.error == PARTLY ? fault_real.peek(to, from, len / 2) : -1;
}

static ssize_t fault_read_file(const char *path, char *buf, size_t size)
{
    if (!fault_strikes(&read_file_call))
        return fault_real.read_file(path, buf, size);
    ssize_t n = fault_plan.error == PARTLY ? fault_real.read_file(path, buf, size) : -1;
    return n > 0 ? n / 2 : n;
}

/* Without the sleep, or after a short one where the entry has that: so it is to the caller. */
static void fault_futex_wait(const volatile void *word, uint32_t value, uint64_t ns)
{
    if (!fault_strikes(&futex_call))
        fault_real.futex_wait(word, value, ns);
    else if (fault_plan.error != EAGAIN && fault_plan.error != EINTR && fault_plan.error != ETIMEDOUT)
        lab_pause_ms(1);
}

static void *fault_mremap(void *addr, size_t old_len, size_t new_len, int flags)
{
    return fault_strikes(&mremap_call) ? MAP_FAILED : fault_real.mremap(addr, old_len, new_len, flags);
}

static int fault_futex_wake(const volatile void *word, int waiters)
{
    return fault_strikes(&futex_wake_call) ? -1 : fault_real.futex_wake(word, waiters);
}

static unsigned fault_threads(void)
{
    return fault_strikes(&threads_call) ? 0 : fault_real.threads();
}

static void install(void)
{
    fault_real = ljt_kernel;
    ljt_kernel.mmap = fault_mmap;
    ljt_kernel.munmap = fault_munmap;
    ljt_kernel.madvise = fault_madvise;
    ljt_kernel.process_madvise = fault_process_madvise;
    ljt_kernel.mincore = fault_mincore;
    ljt_kernel.membarrier = fault_membarrier;
    ljt_kernel.peek = fault_peek;
    ljt_kernel.read_file = fault_read_file;
    ljt_kernel.futex_wait = fault_futex_wait;
    ljt_kernel.futex_wake = fault_futex_wake;
    ljt_kernel.mremap = fault_mremap;
}

/* ---- The process that has the fault ---- */

static bool patched; /* by our own allocator */

/* A mapping that is refused to our allocator is one that the VM has asked for: it hears of it as from LuaJIT's own. */
static bool may_lack_memory(void)
{
    return patched && fault_plan.call == &mmap_call;
}

/* Where memory is lacking: once more without what was dropped, and where it will always be, not at all. */
static void run_lua(lua_State *L, const char *chunk)
{
    for (bool again = false; luaL_dostring(L, chunk) != 0; again = true) {
        const char *error = lua_tostring(L, -1);
        EXPECT(may_lack_memory() && !again && strcmp(error, "not enough memory") == 0, "Lua: %s", error);
        lua_pop(L, 1);
        lua_pushnil(L);
        lua_setglobal(L, "gone");
        lua_gc(L, LUA_GCCOLLECT, 0);
        EXPECT(luaL_dostring(L, "check()") == 0, "Lua, short of memory: %s", lua_tostring(L, -1));
        if (fault_plan.onwards)
            return;
    }
}

/*
 * 3 MiB of strings, 1 in 100 of which survives, with a pattern that is known. Not so many that a table of them is a block with
 * a mapping of its own: nobody here tells of those, and the collector's sum would look too large for the heap.
 */
static const char *const fill =
    "keep, gone = keep or {}, {} "
    "function piece(i) return ('%d:'):format(i) .. ('x'):rep(500 + i % 57) end "
    "for i = 1, 5500 do gone[i] = piece(i) if i % 100 == 0 then keep[i / 100] = piece(-i) end end "
    "check = function() for i = 1, 55 do assert(keep[i] == piece(i * -100), i) end end check()";
static const char *const drop = "gone = nil collectgarbage() collectgarbage() check()";

/* Blocks with a mapping of their own, which grow three times each. */
static const char *const stretch = "for n = 1, 4 do local t = {} for i = 1, 70000 do t[i] = i end "
                                   "for i = 1, 70000 do assert(t[i] == i) end end check()";

static void tell_of_mappings(void)
{
    ljt_arena_remapped(0, 1 * MIB, 1 * MIB, lab_pc());
}

static void let_child_live(lua_State *L)
{
    ljt_gate_fork_prepare();
    pid_t child = fork();
    EXPECT(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        ljt_gate_fork_child();
#ifndef __SANITIZE_THREAD__ /* which ends a child of a process with threads that starts one itself */
        run_lua(L, "check() for i = 1, 2000 do gone = {piece(i)} end check()");
#else
        (void)L;
#endif
        _exit(0);
    }
    ljt_gate_fork_parent();
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    EXPECT(status == 0, "a child ended with status %#x", (unsigned)status);
}

static void begin(void)
{
    install();
    lab_catch_stderr();
    lab_init();
    fault_real.threads = ljt_kernel.threads; /* the lab's own */
    ljt_kernel.threads = fault_threads;
    ljt_gate_init();
    atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_NONE);
    ljt_config.mode = patched ? LJT_MODE_PATCHED : LJT_MODE_AUTO;
    ljt_config.interval_ms = 1;
    ljt_config.decay_ms = 0;
    ljt_config.min_reclaim = 0;
    ljt_config.max_cpu_pct = 100;
    ljt_config.pressure = LJT_PRESSURE_AUTO; /* which reads files */
}

/* A peak, a trough, a peak. */
static void live(void)
{
    begin();
    struct lab_vm vm = lab_vm_open();
    luaL_openlibs(vm.L);
    lab_vm_announce(&vm);
    run_lua(vm.L, fill);
    lab_vm_mapped_again(&vm);
    run_lua(vm.L, "check()");
    lab_vm_mapped_again(&vm);
    run_lua(vm.L, "check()");
    tell_of_mappings();
    size_t high = lab_resident_pages(vm.m), low = high;
    run_lua(vm.L, drop);
    tell_of_mappings();
    uint64_t end = fault_real.now() + 60 * 1000 * MS;
    bool lost = false;
    while (low > high / 2 && !lost && fault_real.now() < end) {
        struct timespec pause = {0, 2000000};
        nanosleep(&pause, NULL);
        run_lua(vm.L, "check() for i = 1, 200 do local t = {i, 'k' .. i} end");
        low = lab_resident_pages(vm.m);
        bool spoke = lab_said_lines() != 0 && (fault_plan.onwards || fault_plan.call->loss != PASSING);
        lost = spoke || lab_arena_of(vm.m) == NULL; /* told, not found, or given up: no use in waiting */
    }
    run_lua(vm.L, stretch);
    let_child_live(vm.L);
    run_lua(vm.L, fill);
    run_lua(vm.L, drop);
    run_lua(vm.L, "check()");
    lua_close(vm.L);

    unsigned lines = lab_said_lines();
    bool may_end = fault_plan.call->loss == TOLD || (fault_plan.call->loss == PASSING && fault_plan.onwards);
    EXPECT(lines <= 1, "%u lines: %s", lines, lab_said());
    EXPECT(low <= high / 2 || (may_end && lines == 1), "%zu of %zu pages stay: %s", low, high, lab_said());
}

/* ---- All of them ---- */

static void each_fault(const struct fault_call *call)
{
    fault_each(call, ALL_ERRORS, "", live);
}

static void each_fault_of_our_allocator(const struct fault_call *call)
{
    patched = true;
    fault_each(call, LAB_SLOWNESS == 1 ? ALL_ERRORS : 2, " (patched)", live);
}

TestSuite(faults, .timeout = 1800);

Test(faults, mmap_fails)
{
    each_fault(&mmap_call);
}

Test(faults, munmap_fails)
{
    each_fault(&munmap_call);
}

Test(faults, madvise_fails)
{
    each_fault(&madvise_call);
}

Test(faults, process_madvise_fails_or_ends_early)
{
    each_fault(&process_madvise_call);
}

Test(faults, mincore_fails)
{
    each_fault(&mincore_call);
}

Test(faults, membarrier_fails)
{
    each_fault(&membarrier_call);
}

Test(faults, peeking_fails_or_ends_early)
{
    each_fault(&peek_call);
}

Test(faults, files_can_not_be_read_or_only_in_part)
{
    each_fault(&read_file_call);
}

Test(faults, futex_fails)
{
    each_fault(&futex_call);
}

Test(faults, futex_wakes_nobody)
{
    each_fault(&futex_wake_call);
}

Test(faults, threads_can_not_be_counted)
{
    each_fault(&threads_call);
}

/* ---- Under our own allocator, what it asks the kernel for besides ---- */

Test(faults, mmap_fails_under_our_allocator)
{
    each_fault_of_our_allocator(&mmap_call);
}

Test(faults, munmap_fails_under_our_allocator)
{
    each_fault_of_our_allocator(&munmap_call);
}

Test(faults, mremap_fails_under_our_allocator)
{
    each_fault_of_our_allocator(&mremap_call);
}

Test(faults, madvise_fails_under_our_allocator)
{
    each_fault_of_our_allocator(&madvise_call);
}

Test(faults, process_madvise_fails_or_ends_early_under_our_allocator)
{
    each_fault_of_our_allocator(&process_madvise_call);
}

Test(faults, mincore_fails_under_our_allocator)
{
    each_fault_of_our_allocator(&mincore_call);
}
