/*
 * fork_churn HOW CHILDREN [held]: a big Lua state is forked again and again while it is being purged; parent and child both
 * go on using it, and check every object. With "held" a silent one is not forked before the reclaimer has held it.
 *   HOW   fork      the usual way
 *         clone     clone(SIGCHLD), which skips the handlers of pthread_atfork
 *         threads   fork, while three more threads work in states of their own
 *         nested    the child forks again
 *         vfork     vfork and exec
 *         spawn     posix_spawn
 */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>

#include "churn.h"

#define SLOTS 20000
#define WORKERS 3

extern char **environ;

static volatile int stop;

static void *work_beside(void *argument)
{
    struct churn c;

    churn_open(&c, luaL_newstate(), 4000, (uint64_t)(uintptr_t)argument);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        churn_fill(&c);
        churn_drop(&c, 50);
        churn_verify(&c, "thread beside the forks");
    }
    lua_close(c.L);
    churn_release(&c);
    return NULL;
}

/* What a child does with the state it inherited; some children live long enough to be purged themselves. */
static void live_as_child(struct churn *c, int number)
{
    churn_verify(c, "child, at first");
    churn_step(c, 2000);
    churn_verify(c, "child, after allocation");
    churn_drop(c, 40);
    churn_verify(c, "child, after the drop");
    if (number % 5 == 0)
        sleep_ms(30);
    churn_verify(c, "child, after a rest");
    churn_fill(c);
    churn_verify(c, "child, grown again");
    if (number % 2)
        lua_close(c->L);
}

static pid_t run_true(int use_vfork)
{
    char *arguments[] = {"true", NULL};
    pid_t child = -1;
    int error;

    if (use_vfork) {
        child = vfork();
        if (child == 0) {
            execvp("true", arguments);
            _exit(127);
        }
    } else {
        error = posix_spawnp(&child, "true", NULL, NULL, arguments, environ);
        if (error)
            die("posix_spawn: %s", strerror(error));
    }
    return child;
}

static pid_t fork_by(const char *how)
{
    if (!strcmp(how, "clone"))
        return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    return fork();
}

int main(int argc, char **argv)
{
    const char *how = argc > 2 ? argv[1] : "fork";
    int children = argc > 2 ? atoi(argv[2]) : 20;
    int nested = !strcmp(how, "nested");
    int executes = !strcmp(how, "vfork") || !strcmp(how, "spawn");
    pthread_t workers[WORKERS];
    int running = 0;
    struct churn c;

    if (!strcmp(how, "threads"))
        for (; running < WORKERS; running++)
            if (pthread_create(&workers[running], NULL, work_beside, (void *)(uintptr_t)(running + 1)))
                die("pthread_create failed");

    churn_open(&c, luaL_newstate(), SLOTS, 42);
    for (int i = 0; i < children; i++) {
        pid_t child;

        churn_fill(&c);
        churn_drop(&c, 20);
        if (i % 3 == 0)
            churn_rest(&c, argc > 3);
        child = executes ? run_true(!strcmp(how, "vfork")) : fork_by(how);
        if (child < 0)
            die("%s: %s", how, strerror(errno));
        if (child == 0) {
            if (nested) {
                pid_t grandchild = fork();

                if (grandchild == 0) {
                    live_as_child(&c, i);
                    _exit(0);
                }
                expect_success_of(grandchild, "grandchild");
            }
            live_as_child(&c, i);
            _exit(0);
        }
        churn_step(&c, 3000);
        churn_verify(&c, "parent");
        expect_success_of(child, how);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    while (running)
        pthread_join(workers[--running], NULL);
    churn_verify(&c, "parent, at the end");
    lua_close(c.L);
    churn_release(&c);
    printf("%d children\n", children);
    return 0;
}
