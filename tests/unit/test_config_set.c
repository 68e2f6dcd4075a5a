/*
 * Changing options while the process runs.
 */
#include "lab.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "log.h"
#include "text.h"

TestSuite(config_set, .init = lab_init, .timeout = LAB_TIMEOUT);

static char said[LJT_CONFIG_LINE_MAX + 1];

static int set(const char *name, const char *value)
{
    struct ljt_text error = LJT_TEXT(said);
    said[0] = 0;
    return ljt_config_set(name, value, &error);
}

Test(config_set, tells_a_path_in_plain_characters)
{
    char buf[256];
    struct ljt_text error = LJT_TEXT(buf);
    char *environment[] = {"LJTRIM_LOG=/tmp/\xc3\xbc.log", NULL};
    ljt_config_load(environment, &ljt_config, NULL, NULL);
    cr_expect_str_not_empty(ljt_config.log_path);
    cr_expect(ljt_config_set("log", "/x", &error) == -EPERM);
    cr_expect_str_eq(buf, "LJTRIM_LOG is fixed when the process starts; keeping /tmp/??.log");
}

Test(config_set, takes_names_with_and_without_prefix_in_either_case)
{
    cr_expect(set("LJTRIM_DECAY_MS", "17") == 0 && ljt_config.decay_ms == 17);
    cr_expect(set("decay_ms", "18") == 0 && ljt_config.decay_ms == 18);
    cr_expect(set("Ljtrim_Decay_Ms", "19") == 0 && ljt_config.decay_ms == 19);
    cr_expect(ljt_config_find("min_reclaim") == ljt_config_find("LJTRIM_MIN_RECLAIM"));
    cr_expect(ljt_config_find("") == NULL && ljt_config_find("LJTRIM_") == NULL);
    cr_expect_str_empty(said, "said: %s", said);
}

Test(config_set, parses_as_the_environment_does)
{
    cr_expect(set("min_reclaim", "2M") == 0 && ljt_config.min_reclaim == 2 * MIB);
    cr_expect(set("max_cpu_pct", "2.5") == 0 && ljt_config.max_cpu_pct == 2.5);
    cr_expect(set("log_level", "Debug") == 0 && ljt_config.log_level == LJT_LOG_DEBUG);
    cr_expect(set("stats_at_exit", "1") == 0 && ljt_config.stats_at_exit == 1);
}

Test(config_set, refuses_in_the_environments_words_and_keeps_what_was)
{
    cr_expect(set("decay_ms", "500") == 0);
    cr_expect(set("decay_ms", "3600001") == -EINVAL && ljt_config.decay_ms == 500);
    cr_expect_str_eq(said, "LJTRIM_DECAY_MS=3600001 is not allowed (a number of milliseconds from 0 to "
                           "3600000); keeping 500");
    cr_expect(set("max_cpu_pct", "") == -EINVAL && ljt_config.max_cpu_pct == 1.0);
    cr_expect(set("decay", "1") == -ENOENT);
    cr_expect_str_eq(said, "LJTRIM_DECAY is not a variable of this version (did you mean "
                           "LJTRIM_DECAY_MS?); ignoring it");
    cr_expect(set("mode", "observe") == -EPERM && ljt_config.mode == LJT_MODE_AUTO);
    cr_expect_str_eq(said, "LJTRIM_MODE is fixed when the process starts; keeping auto");
    char longest[5000];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    cr_expect(set(longest, "1") == -ENOENT && said[0] != 0);
    cr_expect(set("decay_ms", longest) == -EINVAL && strstr(said, "keeping 500") != NULL, "said: %s", said);
    cr_expect(ljt_config_set("decay_ms", "x", NULL) == -EINVAL);
}

Test(config_set, every_option_that_may_change_takes_its_default_and_no_other_changes)
{
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        const struct ljt_config_option *o = &ljt_config_options[i];
        cr_expect(set(o->name, o->initial) == (o->runtime ? 0 : -EPERM), "%s", o->name);
        cr_expect(!o->runtime || (o->kind != LJT_CONFIG_PATH && o->kind != LJT_CONFIG_SIGNAL),
                  "%s is not of a size that is stored in one piece", o->name);
    }
}

/* For TSan: readers and writers at once, and never a value that nobody wrote. */
static _Atomic bool over;

static void *reader(void *unused)
{
    (void)unused;
    while (!atomic_load(&over)) {
        uint64_t decay = ljt_config.decay_ms;
        double cpu = ljt_config.max_cpu_pct;
        cr_assert((decay == 1000 || decay == 3600000) && (cpu == 1.0 || cpu == 99.75));
        char buf[32];
        struct ljt_text t = LJT_TEXT(buf);
        ljt_config_value(ljt_config_find("max_cpu_pct"), &ljt_config, &t);
        cr_assert(strcmp(buf, "1") == 0 || strcmp(buf, "99.75") == 0, "%s", buf);
    }
    return NULL;
}

Test(config_set, other_threads_see_whole_values)
{
    pthread_t thread;
    cr_assert(pthread_create(&thread, NULL, reader, NULL) == 0);
    for (size_t i = 0; i < lab_count("SETS", 20000); i++) {
        cr_assert(set("decay_ms", i % 2 ? "1000" : "3600000") == 0);
        cr_assert(set("max_cpu_pct", i % 2 ? "1" : "99.75") == 0);
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
}
