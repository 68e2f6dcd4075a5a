/*
 * LJTRIM_SIGNAL: ours and the host's, side by side.
 */
#include "lab.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "next.h"
#include "signals.h"

static void set_up(void)
{
    lab_init();
    ljt_next_init();
    cr_assert(ljt_next.sigaction != NULL && ljt_config.signo == SIGUSR2);
    lab_catch_stderr();
}

TestSuite(signals, .init = set_up, .timeout = LAB_TIMEOUT);

static volatile sig_atomic_t host_calls, host_signo, host_had_info;

static void host_handler(int signo)
{
    host_calls++;
    host_signo = signo;
    errno = EBADF;
}

static void host_handler_with_info(int signo, siginfo_t *info, void *context)
{
    host_calls++;
    host_signo = signo;
    host_had_info = info != NULL && info->si_pid == getpid() && context != NULL;
}

/* What a host's sigaction(SIGUSR2) does when we stand in front of it. */
static void host_sets(void (*handler)(int), struct sigaction *old)
{
    struct sigaction act = {.sa_handler = handler};
    int result = -7;
    if (ljt_signals_action(SIGUSR2, &act, old, &result) == 0)
        result = ljt_next.sigaction(SIGUSR2, &act, old);
    cr_assert(result == 0);
}

static struct sigaction really(void)
{
    struct sigaction now;
    cr_assert(ljt_next.sigaction(SIGUSR2, NULL, &now) == 0);
    return now;
}

static unsigned reports(void)
{
    unsigned n = 0;
    for (const char *at = lab_said(); (at = strstr(at, "ljtrim: pid ")) != NULL; at++)
        n++;
    return n;
}

Test(signals, nothing_is_installed_before_a_vm_is_armed)
{
    struct sigaction old;
    int result;
    cr_expect(ljt_signals_action(SIGUSR2, NULL, &old, &result) == 1 && result == 0);
    cr_expect(old.sa_handler == SIG_DFL && really().sa_handler == SIG_DFL);
    host_sets(host_handler, NULL);
    cr_expect(really().sa_handler == host_handler);
}

Test(signals, a_host_that_does_not_care_gets_a_report_and_lives)
{
    ljt_signals_install();
    errno = EDOM;
    raise(SIGUSR2);
    cr_expect(reports() == 1 && errno == EDOM, "said: %s", lab_said());
    raise(SIGUSR2);
    cr_expect(reports() == 2);
}

Test(signals, the_handler_that_was_there_before_still_runs)
{
    host_sets(host_handler, NULL);
    ljt_signals_install();
    raise(SIGUSR2);
    cr_expect(host_calls == 1 && host_signo == SIGUSR2 && reports() == 1);
}

static int (*undisturbed)(int signo, const struct sigaction *act, struct sigaction *old);

static int disturbed(int signo, const struct sigaction *act, struct sigaction *old)
{
    ljt_next.sigaction = undisturbed;
    raise(SIGUSR1);
    return undisturbed(signo, act, old);
}

static void sets_the_other(int signo)
{
    (void)signo;
    host_sets(host_handler, NULL);
}

/* It would wait for its own thread, or what it has set would be lost. */
Test(signals, a_handler_in_the_middle_of_it_may_set_an_action)
{
    struct sigaction act = {.sa_handler = sets_the_other};
    cr_assert(ljt_next.sigaction(SIGUSR1, &act, NULL) == 0);
    undisturbed = ljt_next.sigaction;
    ljt_next.sigaction = disturbed;
    ljt_signals_install();
    raise(SIGUSR2);
    cr_expect(host_calls == 1 && reports() == 1);
}

Test(signals, the_handler_that_comes_after_runs_too)
{
    ljt_signals_install();
    host_sets(host_handler, NULL);
    raise(SIGUSR2);
    cr_expect(host_calls == 1 && reports() == 1);
    host_sets(SIG_IGN, NULL);
    raise(SIGUSR2);
    host_sets(SIG_DFL, NULL);
    raise(SIGUSR2);
    cr_expect(host_calls == 1 && reports() == 3, "it gets the report instead of being ended");
}

Test(signals, a_handler_with_siginfo_gets_it)
{
    ljt_signals_install();
    struct sigaction act = {.sa_sigaction = host_handler_with_info, .sa_flags = SA_SIGINFO};
    int result;
    cr_assert(ljt_signals_action(SIGUSR2, &act, NULL, &result) == 1 && result == 0);
    raise(SIGUSR2);
    cr_expect(host_calls == 1 && host_had_info && reports() == 1);
}

/* As who has got it from a signal() that we do not see, and restores it. */
Test(signals, ours_is_never_taken_for_the_host_s)
{
    host_sets(host_handler, NULL);
    ljt_signals_install();
    struct sigaction ours = really();
    int result = -1;
    cr_expect(ljt_signals_action(SIGUSR2, &ours, NULL, &result) == 1 && result == 0);
    raise(SIGUSR2);
    cr_expect(host_calls == 1 && reports() == 1);
    host_sets((void (*)(int))(uintptr_t)ours.sa_sigaction, NULL);
    raise(SIGUSR2);
    cr_expect(host_calls == 2 && reports() == 2);
}

Test(signals, a_handler_for_one_shot_runs_once)
{
    struct sigaction once = {.sa_handler = host_handler, .sa_flags = (int)SA_RESETHAND}, now;
    int result;
    ljt_signals_install();
    cr_assert(ljt_signals_action(SIGUSR2, &once, NULL, &result) == 1 && result == 0);
    cr_expect(ljt_signals_action(SIGUSR2, NULL, &now, &result) == 1 && now.sa_handler == host_handler);
    raise(SIGUSR2);
    cr_expect(host_calls == 1);
    cr_expect(ljt_signals_action(SIGUSR2, NULL, &now, &result) == 1 && now.sa_handler == SIG_DFL);
    raise(SIGUSR2);
    cr_expect(host_calls == 1 && reports() == 2, "by default it is ours alone");
    cr_assert(ljt_signals_action(SIGUSR2, &once, NULL, &result) == 1 && result == 0);
    raise(SIGUSR2);
    cr_expect(host_calls == 2, "set anew, it runs again");
}

Test(signals, the_host_is_told_of_its_own_actions_alone)
{
    struct sigaction old;
    int result;
    host_sets(host_handler, NULL);
    ljt_signals_install();
    cr_assert(ljt_signals_action(SIGUSR2, NULL, &old, &result) == 1 && result == 0);
    cr_expect(old.sa_handler == host_handler && (old.sa_flags & SA_SIGINFO) == 0);
    host_sets(SIG_IGN, &old);
    cr_expect(old.sa_handler == host_handler);
    host_sets(SIG_DFL, &old);
    cr_expect(old.sa_handler == SIG_IGN);
    cr_expect(really().sa_handler != SIG_DFL, "while ours is there");
}

Test(signals, other_signals_are_none_of_our_business)
{
    struct sigaction act = {.sa_handler = host_handler}, old;
    int result;
    ljt_signals_install();
    cr_expect(ljt_signals_action(SIGUSR1, &act, &old, &result) == 0);
    cr_expect(ljt_signals_action(0, &act, &old, &result) == 0);
}

Test(signals, none_means_none)
{
    ljt_config.signo = 0;
    ljt_signals_install();
    cr_expect(really().sa_handler == SIG_DFL);
}

Test(signals, flags_and_mask_of_the_host_are_kept)
{
    ljt_signals_install();
    cr_expect((really().sa_flags & SA_RESTART) != 0, "who has no handler expects no EINTR");
    struct sigaction act = {.sa_handler = host_handler, .sa_flags = SA_NODEFER};
    sigaddset(&act.sa_mask, SIGALRM);
    int result;
    cr_assert(ljt_signals_action(SIGUSR2, &act, NULL, &result) == 1);
    struct sigaction now = really();
    cr_expect((now.sa_flags & SA_RESTART) == 0 && (now.sa_flags & SA_NODEFER) != 0);
    cr_expect(sigismember(&now.sa_mask, SIGALRM) == 1);
}

Test(signals, installing_twice_does_not_make_us_our_own_host)
{
    host_sets(host_handler, NULL);
    ljt_signals_install();
    ljt_signals_install();
    raise(SIGUSR2);
    cr_expect(host_calls == 1 && reports() == 1);
}
