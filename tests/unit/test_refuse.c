/* refuse, sandbox: where we leave everything alone, and what a filter's victim tells us. */
#include <criterion/criterion.h>
#include <errno.h>
#include <lauxlib.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"
#include "refuse.h"
#include "sandbox.h"

TestSuite(refuse, .init = lab_init);
TestSuite(sandbox, .init = lab_init);

/* ---- refuse ---- */

static int ignored_madvise(void *addr, size_t len, int advice)
{
    (void)addr, (void)len, (void)advice;
    return 0;
}

Test(refuse, no_vm_is_gated_where_dontneed_does_not_zero)
{
    ljt_kernel.madvise = ignored_madvise;
    lab_catch_stderr();
    for (int i = 0; i < 3; i++) {
        struct lab_vm vm = lab_vm_open();
        ljt_alloc_fn *before = lab_vm_allocf(&vm);
        cr_expect(lab_vm_adopt(&vm) == NULL && lab_vm_allocf(&vm) == before);
        lua_close(vm.L);
    }
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "MADV_DONTNEED") &&
                  strstr(lab_said(), "left alone"),
              "said: %s", lab_said());
}

Test(refuse, who_only_observes_needs_nothing)
{
    ljt_kernel.madvise = ignored_madvise;
    ljt_config.mode = LJT_MODE_OBSERVE;
    lab_catch_stderr();
    struct lab_vm vm = lab_vm_open();
    cr_expect(lab_vm_adopt(&vm) != NULL && lab_said_lines() == 0, "said: %s", lab_said());
}

/* A first mapping that begins with a chunk of this head; the module asks for another one, and so it is looked at. */
static void announce_arena(size_t head)
{
    size_t *arena =
        mmap(NULL, LJT_LJ_GRANULARITY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    arena[1] = head;
    ljt_arena_mapped((uintptr_t)arena, LJT_LJ_GRANULARITY, lab_pc());
    ljt_arena_mapped((uintptr_t)arena + ((uintptr_t)1 << 40), 2 * LJT_LJ_GRANULARITY, lab_pc());
}

Test(refuse, an_unknown_layout_costs_one_line)
{
    lab_catch_stderr();
    announce_arena((LJT_LJ_STATE_CHUNK + 16) | 3);
    announce_arena((LJT_LJ_STATE_CHUNK + 16) | 3);
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "896 bytes") && strstr(lab_said(), "left alone"),
              "said: %s", lab_said());
}

Test(refuse, mappings_that_are_no_arena_cost_none)
{
    lab_catch_stderr();
    announce_arena(0x12345678);
    announce_arena((LJT_LJ_STATE_CHUNK + 16) | 3); /* not the first of its module: a later segment */
    cr_expect_eq(lab_said_lines(), 0, "said: %s", lab_said());
}

static ssize_t (*real_peek)(void *to, const void *from, size_t len);
static int peek_error;

static ssize_t failing_peek(void *to, const void *from, size_t len)
{
    if (peek_error == 0)
        return real_peek(to, from, len);
    errno = peek_error;
    return -1;
}

static void let_reads_fail(int error)
{
    real_peek = ljt_kernel.peek;
    ljt_kernel.peek = failing_peek;
    peek_error = error;
    lab_catch_stderr();
}

static void vm_that_can_not_be_read(int error, const char *why)
{
    let_reads_fail(error);
    struct lab_vm vm = lab_vm_open();
    cr_expect(lab_vm_adopt(&vm) == NULL);
    lab_vm_mapped_again(&vm);
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), why) && strstr(lab_said(), "left alone until"),
              "said: %s", lab_said());
    peek_error = 0;
    lab_vm_mapped_again(&vm);
    cr_expect(lab_arena_of(vm.m) != NULL, "it is found as soon as it can be read");
}

Test(refuse, memory_that_can_not_be_read_costs_one_line)
{
    vm_that_can_not_be_read(ESRCH, "error 3");
}

/* That there is nothing may be believed only where there is nothing. */
Test(refuse, memory_that_is_said_not_to_be_there_costs_one_line)
{
    vm_that_can_not_be_read(EFAULT, "error 14");
}

Test(refuse, memory_that_has_gone_costs_none)
{
    lab_catch_stderr();
    void *arena = mmap(NULL, LJT_LJ_GRANULARITY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ljt_arena_mapped((uintptr_t)arena, LJT_LJ_GRANULARITY, lab_pc());
    munmap(arena, LJT_LJ_GRANULARITY);
    ljt_arena_mapped((uintptr_t)arena + ((uintptr_t)1 << 40), 2 * LJT_LJ_GRANULARITY, lab_pc());
    cr_expect_eq(lab_said_lines(), 0, "said: %s", lab_said());
}

Test(refuse, memory_of_what_is_no_luajit_costs_none)
{
    let_reads_fail(ESRCH);
    struct ljt_module *module = ljt_module_resolve(lab_pc());
    module->exports_luajit = false;
    announce_arena(LJT_LJ_STATE_CHUNK | 3);
    cr_expect_eq(lab_said_lines(), 0, "said: %s", lab_said());
    module->exports_luajit = true;
    announce_arena(LJT_LJ_STATE_CHUNK | 3);
    cr_expect_eq(lab_said_lines(), 1, "said: %s", lab_said());
}

/* ---- sandbox ---- */

/* The deadly calls as a set. */
static unsigned deadly(void)
{
    unsigned set = 0;
    for (unsigned call = 0; call < LJT_CALLS; call++)
        set |= (unsigned)ljt_sandbox_kills((enum ljt_sandbox_call)call) << call;
    return set;
}

static void ask_under(unsigned number, unsigned action)
{
    if (!lab_filter(number, action))
        cr_skip_test("seccomp filters are not allowed here");
    errno = 7;
    ljt_sandbox_ask();
    cr_expect_eq(errno, 7);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "the host sees no child");
}

Test(sandbox, without_a_filter_nothing_is_deadly)
{
    ljt_sandbox_ask();
    cr_expect_eq(deadly(), 0);
}

Test(sandbox, each_call_that_kills_is_found)
{
    ask_under(SYS_membarrier, SECCOMP_RET_KILL_PROCESS);
    lab_filter(SYS_mincore, SECCOMP_RET_KILL_THREAD);
    cr_expect_eq(deadly(), 1u << LJT_CALL_MEMBARRIER);
    errno = 0;
    cr_expect(ljt_kernel.membarrier(0) == -1 && errno == ENOSYS, "the call is not made");
}

Test(sandbox, two_that_kill_are_found)
{
    if (!lab_filter(SYS_process_vm_readv, SECCOMP_RET_KILL_THREAD))
        cr_skip_test("seccomp filters are not allowed here");
    ask_under(SYS_process_madvise, SECCOMP_RET_KILL_PROCESS);
    cr_expect_eq(deadly(), 1u << LJT_CALL_PROCESS_VM_READV | 1u << LJT_CALL_PROCESS_MADVISE);
    char a = 1, b = 0;
    cr_expect(ljt_kernel.peek(&b, &a, 1) == 1 && b == 1, "mincore stands in");
}

/* In a child: whatever else in this process waits needs its futex. */
Test(sandbox, who_waits_does_not_spin_where_futex_is_refused)
{
    pid_t child = fork();
    if (child == 0) {
        static uint32_t word;
        if (!lab_filter(SYS_futex, SECCOMP_RET_ERRNO | ENOSYS))
            _exit(77);
        uint64_t start = ljt_kernel.now();
        for (int i = 0; i < 20; i++)
            ljt_kernel.futex_wait(&word, 0, UINT64_MAX);
        _exit(ljt_kernel.now() - start >= 20 * 1000000);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    if (status == 77 << 8)
        cr_skip_test("seccomp filters are not allowed here");
    cr_expect_eq(status, 1 << 8, "status %#x", (unsigned)status);
}

Test(sandbox, an_error_is_not_deadly)
{
    ask_under(SYS_membarrier, SECCOMP_RET_ERRNO | EPERM);
    cr_expect_eq(deadly(), 0);
}

Test(sandbox, what_can_not_be_tried_is_not_done)
{
    ask_under(SYS_clone, SECCOMP_RET_ERRNO | EAGAIN);
    cr_expect_eq(deadly(), (1u << LJT_CALLS) - 1);
}
