/*
 * raw_child HOW COMPANY: a process with COMPANY other threads copies itself without fork's handlers, by _Fork or by a
 * raw clone; the child goes on with the parent's Lua state. Prints how many threads the child has then. Where others
 * may have held malloc's lock as it was copied, one more than 1 would have been started at the risk of waiting for ever.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include "churn.h"

extern pid_t _Fork(void) __attribute__((weak));

static void *keep_company(void *unused)
{
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

int main(int argc, char **argv)
{
    struct churn c;
    pthread_t thread;

    if (argc < 3)
        die("usage: raw_child _Fork|clone COMPANY");
    churn_open(&c, luaL_newstate(), 20000, 42);
    churn_fill(&c);
    churn_drop(&c, 20);
    for (int i = atoi(argv[2]); i > 0; i--)
        if (pthread_create(&thread, NULL, keep_company, NULL))
            die("no thread");

    pid_t child = strcmp(argv[1], "_Fork") == 0 && _Fork != NULL
                      ? _Fork()
                      : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child < 0)
        die("%s: %s", argv[1], strerror(errno));
    if (child == 0) {
        churn_verify(&c, "child, at first");
        churn_fill(&c);
        churn_drop(&c, 20);
        churn_verify(&c, "child, after a peak");
        printf("threads %ld\n", status_kb("Threads"));
        fflush(stdout);
        _exit(0);
    }
    expect_success_of(child, argv[1]);
    churn_verify(&c, "parent");
    return 0;
}
