/*
 * late_sandbox CALL: a process with a Lua state forks, and the child shuts itself in: from then on the kernel kills it for
 * CALL (membarrier, mincore, process_vm_readv, process_madvise, getrusage, prctl, statx). Then the child's state has a peak and a
 * trough, and a second state is made. Ends with the child's status.
 */
#include <lauxlib.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <lua.h>
#include <lualib.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "host.h"

static const struct {
    const char *name;
    unsigned number;
} calls[] = {
    {"membarrier", SYS_membarrier},
    {"mincore", SYS_mincore},
    {"process_vm_readv", SYS_process_vm_readv},
    {"process_madvise", SYS_process_madvise},
    {"statx", SYS_statx},
    {"getrusage", SYS_getrusage},
    {"prctl", SYS_prctl},
};

static lua_State *state(void)
{
    lua_State *L = luaL_newstate();
    if (!L)
        die("no Lua state");
    luaL_openlibs(L);
    return L;
}

static void run(lua_State *L, const char *chunk)
{
    if (luaL_dostring(L, chunk))
        die("%s", lua_tostring(L, -1));
}

static void shut_in(unsigned number)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        die("no seccomp filter here: %s", strerror(errno));
}

#define PEAK                                                             \
    "kept = {} for i = 1, 60000 do kept[i] = {('x'):rep(200) .. i} end " \
    "for i = 1, 60000 do if i % 100 ~= 0 then kept[i] = nil end end collectgarbage() collectgarbage()"

int main(int argc, char **argv)
{
    unsigned i = 0;
    int status;
    while (argc == 2 && i < sizeof(calls) / sizeof(calls[0]) && strcmp(argv[1], calls[i].name))
        i++;
    if (argc != 2 || i == sizeof(calls) / sizeof(calls[0]))
        die("usage: late_sandbox CALL");
    lua_State *L = state();
    run(L, "early = {} for i = 1, 10000 do early[i] = {i} end"); /* known, but too small for a thread */
    pid_t pid = fork();
    if (pid == 0) {
        shut_in(calls[i].number);
        run(L, PEAK);
        for (int n = 0; n < 100; n++) {
            sleep_ms(5);
            run(L, "local t = {} for i = 1, 100 do t[i] = {i} end");
        }
        lua_State *second = state();
        run(second, PEAK);
        run(L, "for i = 100, 60000, 100 do assert(kept[i][1] == ('x'):rep(200) .. i) end");
        lua_close(second);
        lua_close(L);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid)
        die("the child is gone");
    lua_close(L);
    if (WIFSIGNALED(status))
        die("the child was killed by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}
