/*
 * Runs Criterion's tests without Criterion's runner, for make check-tsan: the runner shares an arena with the
 * processes that it starts, at addresses that TSan does not let it have (Snaipe/Criterion issue 274, open).
 *
 * The tests keep to Criterion's headers; what these call is defined here, and libcriterion is not linked. Each
 * test runs in a forked child, one after the other. Parameterized tests and theories are not supported: they fail.
 * Arguments are test names, or parts of them ("gate/"): only the tests of these names, or that contain one of the parts, run.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEST_FAILED = 1, TEST_SKIPPED = 77, TEST_TIMEOUT_S = 300 };

struct criterion_options criterion_options;

/* Where the linker has put what Test() and TestSuite() define; the latter may not occur at all. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak)), *__stop_cr_sts[] __attribute__((weak));

static struct criterion_test *current; /* in the child: the test that runs */
static bool expectation_failed;
static FILE *to_developer; /* what stderr was: tests catch it */

/* The sanitizers' run time: where their reports go (sanitizer/common_interface_defs.h). */
extern void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

static struct criterion_test_extra_data *suite_of(const struct criterion_test *test)
{
    for (struct criterion_suite **s = __start_cr_sts; s < __stop_cr_sts; s++)
        if (strcmp((*s)->name, test->category) == 0)
            return (*s)->data;
    return NULL;
}

/* ---- What Criterion's macros call ---- */

void criterion_internal_test_setup(void)
{
    struct criterion_test_extra_data *suite = suite_of(current);
    if (suite != NULL && suite->init != NULL)
        suite->init();
    if (current->data->init != NULL)
        current->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
    fn();
}

void criterion_internal_test_teardown(void)
{
    struct criterion_test_extra_data *suite = suite_of(current);
    if (current->data->fini != NULL)
        current->data->fini();
    if (suite != NULL && suite->fini != NULL)
        suite->fini();
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
    if (!stats->passed)
        fprintf(to_developer, "[----] %s:%u: %s\n", stats->file, stats->line, stats->message);
}

void cri_asserts_passed_incr(void)
{
}

void criterion_abort_test(void)
{
    exit(TEST_FAILED);
}

void criterion_continue_test(void)
{
    expectation_failed = true;
}

void criterion_skip_test(const char *format, ...)
{
    char why[256];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    fprintf(to_developer, "skip %s: %s\n", current->data->identifier_, why);
    exit(TEST_SKIPPED);
}

void criterion_test_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    exit(TEST_FAILED);
}

/* The first of the arguments is the expression's text, except for cr_fail, which has none. */
char *cr_translate_assert_msg(int index, ...)
{
    va_list args;
    char *message = NULL;
    va_start(args, index);
    const char *expression = index == CRITERION_ASSERT_MSG_FAIL ? "failed" : va_arg(args, const char *);
    if (asprintf(&message, "not so: %s", expression) < 0)
        message = NULL;
    va_end(args);
    return message;
}

int cr_asprintf(char **out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vasprintf(out, format, args);
    va_end(args);
    return length;
}

void cr_asprintf_free(char *message)
{
    free(message);
}

/* ---- The runner ---- */

/* Is the name one of the words in $TEST_SKIP? What can't work on a machine (scripts/check-arm64) is listed there. */
static bool is_to_be_skipped(const char *name)
{
    const char *list = getenv("TEST_SKIP");
    size_t n = strlen(name);
    for (const char *at = list; at != NULL && (at = strstr(at, name)) != NULL; at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

/* 1 passed, 0 failed, -1 skipped. */
static int run(struct criterion_test *test)
{
    const struct criterion_test_extra_data *suite = suite_of(test);
    double timeout = test->data->timeout > 0 ? test->data->timeout : TEST_TIMEOUT_S;
    if (test->data->disabled || (suite != NULL && suite->disabled) ||
        is_to_be_skipped(test->data->identifier_))
        return -1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        current = test;
        if (__sanitizer_set_report_fd != NULL)
            __sanitizer_set_report_fd((void *)(intptr_t)fileno(to_developer));
        alarm((unsigned)timeout + 1);
        test->test();
        exit(expectation_failed ? TEST_FAILED : 0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED && test->data->exit_code != TEST_SKIPPED)
        return -1;
    if (WIFSIGNALED(status)) {
        if (WTERMSIG(status) != test->data->signal) /* scripts/run-units looks for the word */
            fprintf(stderr, "CRASH: signal %d%s\n", WTERMSIG(status),
                    WTERMSIG(status) == SIGALRM ? ", its time was over" : "");
        return WTERMSIG(status) == test->data->signal;
    }
    return test->data->signal == 0 && WEXITSTATUS(status) == test->data->exit_code;
}

static bool is_name(const char *word)
{
    for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++)
        if (*t != NULL && strcmp((*t)->data->identifier_, word) == 0)
            return true;
    return false;
}

/* A whole name means that test alone, though others' begin with it. */
static bool is_chosen(const char *name, int count, char **words)
{
    for (int i = 0; i < count; i++)
        if (is_name(words[i]) ? strcmp(name, words[i]) == 0 : strstr(name, words[i]) != NULL)
            return true;
    return count == 0;
}

int main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0, skipped = 0;
    to_developer = fdopen(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100), "w");
    if (to_developer == NULL)
        to_developer = stderr;
    setvbuf(to_developer, NULL, _IONBF, 0);
    for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
        /* The section may be padded with empty entries. */
        if (*t == NULL || !is_chosen((*t)->data->identifier_, argc - 1, argv + 1))
            continue;
        int result = (*t)->data->kind_ == CR_TEST_NORMAL ? run(*t) : 0;
        passed += result == 1;
        failed += result == 0;
        skipped += result == -1;
        if (result != 1)
            fprintf(stderr, "[%s] %s\n", result == 0 ? "FAIL" : "SKIP", (*t)->data->identifier_);
    }
    printf("%u passed, %u failed", passed, failed);
    if (skipped != 0)
        printf(", %u skipped", skipped);
    putchar('\n');
    return failed != 0;
}
