/*
 * Every system call that the kernel's table makes fails in turn, with every error that its manual has, at the 1st, 2nd,
 * 3rd and 10th call, and from the first one on for ever. What Lua computes does not change, and where the library's
 * service is lost one line says so.
 *
 * Each run is a process of its own: a peak, a trough in which the thread gives back what it can, a fork, a peak, a
 * close. How many faults there were goes to build/results/faults.csv.
 */
#include "lab.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

/* No error: the call does a part of what it was asked for, and says so. */
#define PARTLY 0

/* What may come of a call that always fails. */
enum loss { NONE, TOLD, UNSEEN }; /* the pages go back; they stay, and a line says why; no VM is ever found */

struct call {
    const char *name;
    enum loss loss;
    int errors[16]; /* ends with -1 */
};

/* One fault: what fails, with what, and when. */
static struct {
    const struct call *call;
    int error;
    unsigned nth;
    bool onwards;
} plan;

/* Shared with the process that has the fault. */
static struct tally {
    _Atomic unsigned calls, faults;
    char why[400];
} * tally;

static struct ljt_kernel real;

static bool fails(const struct call *call)
{
    if (plan.call != call)
        return false;
    unsigned n = atomic_fetch_add(&tally->calls, 1) + 1;
    if (n != plan.nth && !(plan.onwards && n > plan.nth))
        return false;
    atomic_fetch_add(&tally->faults, 1);
    errno = plan.error;
    return true;
}

/* ---- The calls, and what their manuals say ---- */

static const struct call mmap_call = {
    "mmap",
    TOLD,
    {ENOMEM, EAGAIN, EPERM, EACCES, EBADF, EEXIST, EINVAL, ENFILE, ENODEV, EOVERFLOW, ETXTBSY, -1}};
static const struct call munmap_call = {"munmap", NONE, {EINVAL, ENOMEM, -1}};
static const struct call madvise_call = {
    "madvise", TOLD, {EINVAL, EAGAIN, EACCES, EBADF, EIO, ENOMEM, EPERM, ENOSYS, -1}};
static const struct call process_madvise_call = {
    "process_madvise", NONE, {PARTLY, ENOSYS, EPERM, EBADF, EFAULT, EINVAL, ENOMEM, ESRCH, -1}};
static const struct call mincore_call = {
    "mincore", TOLD, {EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM, ENOSYS, -1}};
static const struct call membarrier_call = {"membarrier", NONE, {ENOSYS, EPERM, EINVAL, -1}};
static const struct call peek_call = {
    "process_vm_readv", UNSEEN, {PARTLY, EFAULT, EINVAL, ENOMEM, EPERM, ESRCH, ENOSYS, -1}};
static const struct call read_file_call = {"open_and_read",
                                           NONE,
                                           {PARTLY, ENOENT, EACCES, EMFILE, ENFILE, ENOMEM, EIO, EINTR, ELOOP,
                                            ENODEV, ENOTDIR, EAGAIN, EISDIR, EPERM, -1}};
static const struct call futex_call = {
    "futex", NONE, {EAGAIN, EINTR, ETIMEDOUT, EINVAL, EFAULT, EACCES, ENOSYS, -1}};

static void *fault_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    return fails(&mmap_call) ? MAP_FAILED : real.mmap(addr, len, prot, flags, fd, off);
}

static int fault_munmap(void *addr, size_t len)
{
    return fails(&munmap_call) ? -1 : real.munmap(addr, len);
}

static int fault_madvise(void *addr, size_t len, int advice)
{
    return fails(&madvise_call) ? -1 : real.madvise(addr, len, advice);
}

/* Partly: a page less than the first range, as if a signal had come or the rest were not mapped. */
static ssize_t fault_process_madvise(const struct iovec *ranges, size_t count, int advice)
{
    if (!fails(&process_madvise_call))
        return real.process_madvise(ranges, count, advice);
    if (plan.error != PARTLY)
        return -1;
    size_t some = ranges[0].iov_len - ljt_page_size;
    return some == 0 || real.madvise(ranges[0].iov_base, some, advice) == 0 ? (ssize_t)some : -1;
}

static int fault_mincore(void *addr, size_t len, unsigned char *vec)
{
    return fails(&mincore_call) ? -1 : real.mincore(addr, len, vec);
}

static int fault_membarrier(int cmd)
{
    return fails(&membarrier_call) ? -1 : real.membarrier(cmd);
}

static ssize_t fault_peek(void *to, const void *from, size_t len)
{
    if (!fails(&peek_call))
        return real.peek(to, from, len);
    return plan.error == PARTLY ? real.peek(to, from, len / 2) : -1;
}

static ssize_t fault_read_file(const char *path, char *buf, size_t size)
{
    if (!fails(&read_file_call))
        return real.read_file(path, buf, size);
    ssize_t n = plan.error == PARTLY ? real.read_file(path, buf, size) : -1;
    return n > 0 ? n / 2 : n;
}

/* Without the sleep: that is what an error is to the caller. */
static void fault_futex_wait(const volatile void *word, uint32_t value, uint64_t ns)
{
    if (!fails(&futex_call))
        real.futex_wait(word, value, ns);
}

static void install(void)
{
    real = ljt_kernel;
    ljt_kernel.mmap = fault_mmap;
    ljt_kernel.munmap = fault_munmap;
    ljt_kernel.madvise = fault_madvise;
    ljt_kernel.process_madvise = fault_process_madvise;
    ljt_kernel.mincore = fault_mincore;
    ljt_kernel.membarrier = fault_membarrier;
    ljt_kernel.peek = fault_peek;
    ljt_kernel.read_file = fault_read_file;
    ljt_kernel.futex_wait = fault_futex_wait;
}

/* ---- The process that has the fault ---- */

#define EXPECT(condition, ...)                                     \
    do {                                                           \
        if (!(condition)) {                                        \
            snprintf(tally->why, sizeof(tally->why), __VA_ARGS__); \
            _exit(1);                                              \
        }                                                          \
    } while (0)

static void run_lua(lua_State *L, const char *chunk)
{
    EXPECT(luaL_dostring(L, chunk) == 0, "Lua: %s", lua_tostring(L, -1));
}

/* 3 MiB of strings, 1 in 200 of which survives, with a pattern that is known. */
static const char *const fill =
    "keep, gone = keep or {}, {} "
    "function piece(i) return ('%d:'):format(i) .. ('x'):rep(200 + i % 57) end "
    "for i = 1, 11000 do gone[i] = piece(i) if i % 200 == 0 then keep[i / 200] = piece(-i) end end "
    "check = function() for i = 1, 55 do assert(keep[i] == piece(i * -200), i) end end check()";
static const char *const drop = "gone = nil collectgarbage() collectgarbage() check()";

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

/* A peak, a trough, a peak. Returns whether pages have come back. */
static void live(void)
{
    struct lab_vm vm = lab_vm_open();
    luaL_openlibs(vm.L);
    lab_vm_announce(&vm);
    run_lua(vm.L, fill);
    lab_vm_mapped_again(&vm);
    run_lua(vm.L, "check()");
    tell_of_mappings();
    size_t high = lab_resident_pages(vm.m), low = high;
    run_lua(vm.L, drop);
    tell_of_mappings();
    uint64_t end = real.now() + 60 * 1000 * MS;
    bool spoke = false;
    while (low > high / 2 && !spoke && real.now() < end) {
        struct timespec pause = {0, 2000000};
        nanosleep(&pause, NULL);
        run_lua(vm.L, "check() for i = 1, 200 do local t = {i, 'k' .. i} end");
        low = lab_resident_pages(vm.m);
        spoke = lab_said_lines() != 0;
        if (lab_arena_of(vm.m) == NULL) /* not found, or given up: no use in waiting */
            break;
    }
    let_child_live(vm.L);
    run_lua(vm.L, fill);
    run_lua(vm.L, drop);
    run_lua(vm.L, "check()");
    lua_close(vm.L);

    unsigned lines = lab_said_lines();
    EXPECT(lines <= 1, "%u lines: %s", lines, lab_said());
    EXPECT(low <= high / 2 || lines == 1 || plan.call->loss == UNSEEN,
           "%zu of %zu pages stay, and nothing is said", low, high);
    EXPECT(low <= high / 2 || plan.call->loss != NONE || !plan.onwards, "%zu of %zu pages stay: %s", low,
           high, lab_said());
}

static void begin(void)
{
    alarm(200);
    install();
    lab_catch_stderr();
    lab_init();
    ljt_gate_init();
    atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_NONE);
    ljt_config.interval_ms = 1;
    ljt_config.decay_ms = 0;
    ljt_config.min_reclaim = 0;
    ljt_config.max_cpu_pct = 100;
    ljt_config.pressure = LJT_PRESSURE_AUTO; /* which reads files */
}

/* ---- All of them ---- */

/* Leaves the line `name,value` in build/results/faults.csv, in the place of an earlier one. */
static void record(const char *name, unsigned value)
{
    static const char library[] = LJT_LIBRARY;
    char path[sizeof(library) + 32], text[16384] = "", *line = text, *next;
    size_t length = strlen(name);
    snprintf(path, sizeof(path), "%.*s/results", (int)(strrchr(library, '/') - library), library);
    (void)mkdir(path, 0755);
    strcat(path, "/faults.csv");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || flock(fd, LOCK_EX) != 0)
        return;
    ssize_t n = read(fd, text, sizeof(text) - 200);
    text[n > 0 ? n : 0] = '\0';
    while ((next = strchr(line, '\n')) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ',')
            memmove(line, next + 1, strlen(next + 1) + 1);
        else
            line = next + 1;
    }
    line += sprintf(line, "%s,%u\n", name, value);
    if (ftruncate(fd, 0) == 0)
        (void)!pwrite(fd, text, (size_t)(line - text), 0);
    close(fd);
}

static unsigned faults_of_one_run(void)
{
    memset(tally, 0, sizeof(*tally));
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        begin();
        live();
        _exit(0);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    cr_expect(status == 0, "%s: %s at call %u%s: status %#x: %s", plan.call->name,
              plan.error == PARTLY ? "partly done" : strerror(plan.error), plan.nth,
              plan.onwards ? " and later" : "", (unsigned)status, tally->why);
    return atomic_load(&tally->faults);
}

static void all_faults(const struct call *call)
{
    static const unsigned nth[] = {1, 2, 3, 10};
    char name[64];
    unsigned runs = 0, faults = 0;
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(tally != MAP_FAILED);
    plan.call = call;
    for (const int *error = call->errors; *error >= 0; error++) {
        plan.error = *error;
        for (unsigned i = 0; i < (LAB_SLOWNESS == 1 ? 4 : 1); i++) {
            plan.nth = nth[i];
            plan.onwards = false;
            unsigned n = faults_of_one_run();
            faults += n;
            runs += n != 0; /* else there were not so many calls */
        }
        plan.nth = 1;
        plan.onwards = true;
        unsigned n = faults_of_one_run();
        faults += n;
        runs += n != 0;
    }
    snprintf(name, sizeof(name), "runs_%s", call->name);
    record(name, runs);
    snprintf(name, sizeof(name), "faults_%s", call->name);
    record(name, faults);
}

TestSuite(faults, .timeout = 1800);

Test(faults, mmap_fails)
{
    all_faults(&mmap_call);
}

Test(faults, munmap_fails)
{
    all_faults(&munmap_call);
}

Test(faults, madvise_fails)
{
    all_faults(&madvise_call);
}

Test(faults, process_madvise_fails_or_ends_early)
{
    all_faults(&process_madvise_call);
}

Test(faults, mincore_fails)
{
    all_faults(&mincore_call);
}

Test(faults, membarrier_fails)
{
    all_faults(&membarrier_call);
}

Test(faults, peeking_fails_or_ends_early)
{
    all_faults(&peek_call);
}

Test(faults, files_can_not_be_read_or_only_in_part)
{
    all_faults(&read_file_call);
}

Test(faults, futex_fails)
{
    all_faults(&futex_call);
}
