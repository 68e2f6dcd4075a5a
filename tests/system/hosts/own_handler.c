/*
 * own_handler: a host with a handler of its own for SIGUSR2, installed after its Lua state has grown. The handler must
 * run, be reported back by sigaction, and be removable.
 */
#include <signal.h>

#include "churn.h"

static volatile sig_atomic_t handled, told;

static void by_signal(int number)
{
    handled += number == SIGUSR2;
}

static void by_sigaction(int number, siginfo_t *info, void *context)
{
    (void)context;
    handled += number == SIGUSR2;
    told = (int)info->si_pid;
}

static void raise_and_count(int expected, const char *what)
{
    kill(getpid(), SIGUSR2);
    for (int i = 0; i < 100 && handled < expected; i++)
        sleep_ms(5);
    if (handled != expected)
        die("%s: the handler ran %d times, %d expected", what, (int)handled, expected);
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = by_sigaction, .sa_flags = SA_SIGINFO | SA_RESTART}, seen;
    struct churn c;

    churn_open(&c, luaL_newstate(), 20000, 11);
    churn_fill(&c);
    churn_drop(&c, 20);
    sleep_ms(300); /* the reclaimer is up */

    if (signal(SIGUSR2, by_signal) == SIG_ERR)
        die("signal: %s", strerror(errno));
    raise_and_count(1, "signal");
    if (sigaction(SIGUSR2, &action, &seen))
        die("sigaction: %s", strerror(errno));
    if (seen.sa_handler != by_signal)
        die("sigaction did not report the handler that signal had installed");
    sleep_ms(300);
    raise_and_count(2, "sigaction");
    if (told != getpid())
        die("the handler was not told who sent the signal");
    if (sigaction(SIGUSR2, NULL, &seen) || seen.sa_sigaction != by_sigaction || !(seen.sa_flags & SA_SIGINFO))
        die("sigaction did not report the host's handler");
    if (signal(SIGUSR2, SIG_IGN) == SIG_ERR)
        die("signal: %s", strerror(errno));
    sleep_ms(300);
    raise_and_count(2, "ignored");
    churn_step(&c, 5000);
    churn_verify(&c, "after the signals");
    lua_close(c.L);
    churn_release(&c);
    printf("handled %d\n", (int)handled);
    return 0;
}
