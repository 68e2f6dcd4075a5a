#include <criterion/criterion.h>

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "text.h"

/* What load complained about: the lines, one after the other, each with a newline. */
struct heard {
    char buf[8192];
    struct ljt_text lines;
    unsigned count;
};

static void hear(const char *line, void *arg)
{
    struct heard *heard = arg;

    cr_expect(strlen(line) <= LJT_CONFIG_LINE_MAX, "%zu characters: %s", strlen(line), line);
    for (const char *p = line; *p; p++)
        cr_expect(*p >= ' ' && *p <= '~', "byte %#x in: %s", (unsigned char)*p, line);
    ljt_text_string(&heard->lines, line);
    ljt_text_string(&heard->lines, "\n");
    heard->count++;
}

static struct heard heard;

/* Load an environment given as arguments. */
#define load(...) load_environment((char *const[]){__VA_ARGS__, NULL})

static struct ljt_config load_environment(char *const *environment)
{
    struct ljt_config config;

    heard.count = 0;
    ljt_text_init(&heard.lines, heard.buf, sizeof(heard.buf));
    ljt_config_load(environment, &config, hear, &heard);
    return config;
}

static const struct ljt_config_option *option(const char *name)
{
    for (size_t i = 0; i < ljt_config_option_count; i++)
        if (strcmp(ljt_config_options[i].name, name) == 0)
            return &ljt_config_options[i];
    cr_assert(0, "no option %s", name);
    return NULL;
}

static int parses(const char *name, const char *value)
{
    struct ljt_config config = {0};

    return ljt_config_parse(option(name), value, &config) == 0;
}

#define expect_quiet() cr_expect(heard.count == 0, "complained: %s", heard.buf)
#define expect_complaint(line)                                                                               \
    cr_expect(heard.count == 1 && strcmp(heard.buf, line "\n") == 0, "complained %u times: %s", heard.count, \
              heard.buf)

/* ---- Defaults ---- */

Test(config, has_the_documented_defaults)
{
    struct ljt_config c = load("PATH=/bin", "HOME=/");

    expect_quiet();
    cr_expect(c.enable == 1);
    cr_expect(c.mode == LJT_MODE_AUTO);
    cr_expect(c.interval_ms == 1000);
    cr_expect(c.decay_ms == 1000);
    cr_expect(c.min_reclaim == 1024 * 1024);
    cr_expect(c.max_cpu_pct == 1.0);
    cr_expect(c.max_hold_us == 20);
    cr_expect(c.signo == SIGUSR2);
    cr_expect(c.log_path[0] == 0);
    cr_expect(c.log_level == LJT_LOG_WARN);
    cr_expect(c.stats_format == LJT_STATS_AUTO && c.stats_file[0] == 0);
    cr_expect(c.stats_at_exit == 0);
    cr_expect(c.debug == 0);
}

Test(config, loads_the_defaults_without_an_environment)
{
    struct ljt_config with = load("PATH=/bin"), without;

    ljt_config_load(NULL, &without, NULL, NULL);
    cr_expect(memcmp(&with, &without, sizeof(with)) == 0);
    ljt_config_load((char *const[]){"LJTRIM_ENABLE=maybe", NULL}, &without, NULL, NULL);
    cr_expect(memcmp(&with, &without, sizeof(with)) == 0);
}

Test(config, table_is_complete_and_its_defaults_are_allowed)
{
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        const struct ljt_config_option *o = &ljt_config_options[i];
        cr_expect(strncmp(o->name, "LJTRIM_", 7) == 0, "%s", o->name);
        cr_expect(o->help && *o->help && o->help[strlen(o->help) - 1] == '.', "%s", o->name);
        cr_expect(o->unit && o->allowed && *o->allowed, "%s", o->name);
        cr_expect(strchr(o->allowed, '|') == NULL && strchr(o->help, '|') == NULL, "%s", o->name);
        cr_expect(parses(o->name, o->initial), "%s=%s", o->name, o->initial);
    }
}

Test(config, off_and_zero_before_it_is_loaded)
{
    static const struct ljt_config zero;

    cr_expect(memcmp(&ljt_config, &zero, sizeof(zero)) == 0 && zero.enable == 0);
}

/* ---- Good values ---- */

Test(config, takes_every_variable)
{
    struct ljt_config c = load(
        "LJTRIM_ENABLE=0", "LJTRIM_MODE=observe", "LJTRIM_INTERVAL_MS=1", "LJTRIM_DECAY_MS=3600000",
        "LJTRIM_MIN_RECLAIM=64K", "LJTRIM_MAX_CPU_PCT=0.25", "LJTRIM_MAX_HOLD_US=10000", "LJTRIM_SIGNAL=none",
        "LJTRIM_LOG=/tmp/trim.%p.log", "LJTRIM_LOG_LEVEL=debug", "LJTRIM_STATS_FORMAT=JSON",
        "LJTRIM_STATS_FILE=/run/%p.prom", "LJTRIM_STATS_AT_EXIT=1", "LJTRIM_DEBUG=poison,verify");

    expect_quiet();
    cr_expect(c.enable == 0);
    cr_expect(c.mode == LJT_MODE_OBSERVE);
    cr_expect(c.interval_ms == 1);
    cr_expect(c.decay_ms == 3600000);
    cr_expect(c.min_reclaim == 65536);
    cr_expect(c.max_cpu_pct == 0.25);
    cr_expect(c.max_hold_us == 10000);
    cr_expect(c.signo == 0);
    cr_expect_str_eq(c.log_path, "/tmp/trim.%p.log");
    cr_expect(c.log_level == LJT_LOG_DEBUG);
    cr_expect(c.stats_format == LJT_STATS_JSON);
    cr_expect_str_eq(c.stats_file, "/run/%p.prom");
    cr_expect(c.stats_at_exit == 1);
    cr_expect(c.debug == (LJT_DEBUG_POISON | LJT_DEBUG_VERIFY));
}

Test(config, takes_sizes_with_suffixes)
{
    cr_expect(load("LJTRIM_MIN_RECLAIM=0").min_reclaim == 0);
    cr_expect(load("LJTRIM_MIN_RECLAIM=1234").min_reclaim == 1234);
    cr_expect(load("LJTRIM_MIN_RECLAIM=4k").min_reclaim == 4096);
    cr_expect(load("LJTRIM_MIN_RECLAIM=3M").min_reclaim == 3145728);
    cr_expect(load("LJTRIM_MIN_RECLAIM=1024G").min_reclaim == UINT64_C(1) << 40);
    expect_quiet();
}

Test(config, takes_decimals_whatever_the_locale)
{
    /* May not be installed; the parser never asks for it either way. */
    setlocale(LC_ALL, "de_DE.UTF-8");
    cr_expect(load("LJTRIM_MAX_CPU_PCT=0.01").max_cpu_pct == 0.01);
    cr_expect(load("LJTRIM_MAX_CPU_PCT=100").max_cpu_pct == 100.0);
    cr_expect(load("LJTRIM_MAX_CPU_PCT=100.0").max_cpu_pct == 100.0);
    cr_expect(load("LJTRIM_MAX_CPU_PCT=2.123456789").max_cpu_pct == 2.123456);
    expect_quiet();
    cr_expect(!parses("LJTRIM_MAX_CPU_PCT", "2,5"));
}

Test(config, takes_signals_by_name_and_number)
{
    cr_expect(load("LJTRIM_SIGNAL=HUP").signo == SIGHUP);
    cr_expect(load("LJTRIM_SIGNAL=SIGUSR1").signo == SIGUSR1);
    cr_expect(load("LJTRIM_SIGNAL=sigusr1").signo == SIGUSR1);
    cr_expect(load("LJTRIM_SIGNAL=12").signo == 12);
    cr_expect(load("LJTRIM_SIGNAL=0").signo == 0);
    cr_expect(load("LJTRIM_SIGNAL=RTMIN").signo == SIGRTMIN);
    cr_expect(load("LJTRIM_SIGNAL=RTMIN+3").signo == SIGRTMIN + 3);
    cr_expect(load("LJTRIM_SIGNAL=SIGRTMAX-1").signo == SIGRTMAX - 1);
    expect_quiet();
}

Test(config, refuses_signals_that_cannot_ask_for_a_dump)
{
    static const char *const bad[] = {
        "KILL",    "STOP",   "SEGV",      "9",  "11",  "PIPE",    "SIG",
        "USR3",    "65",     "32",        "33", "-1",  "RTMIN-1", "RTMIN+99",
        "RTMAX+1", "RTMIN+", "SIGSIGHUP", "",   "12 ", "USR2x",   "99999999999999999999",
        "SIG12",   "RTM"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect(!parses("LJTRIM_SIGNAL", bad[i]), "%s", bad[i]);
}

Test(config, takes_words_in_any_case_and_flags_in_any_order)
{
    cr_expect(load("LJTRIM_MODE=NATIVE").mode == LJT_MODE_NATIVE);
    cr_expect(load("LJTRIM_DEBUG=verify").debug == LJT_DEBUG_VERIFY);
    cr_expect(load("LJTRIM_DEBUG=verify,poison").debug == (LJT_DEBUG_VERIFY | LJT_DEBUG_POISON));
    cr_expect(load("LJTRIM_DEBUG=none").debug == 0);
    cr_expect(load("LJTRIM_DEBUG=").debug == 0);
    expect_quiet();
}

Test(config, of_a_name_given_twice_the_first_counts)
{
    struct ljt_config c = load("LJTRIM_DECAY_MS=5", "LJTRIM_DECAY_MS=banana", "LJTRIM_DECAY_MS=7");

    expect_quiet();
    cr_expect(c.decay_ms == 5);
}

Test(config, keeps_its_own_copy_of_the_path)
{
    char variable[] = "LJTRIM_LOG=/var/log/trim";
    struct ljt_config c = load(variable);

    memset(variable, 'x', sizeof(variable) - 1);
    cr_expect_str_eq(c.log_path, "/var/log/trim");
}

/* ---- Bad values ---- */

Test(config, names_variable_value_bounds_and_default_of_a_bad_value)
{
    struct ljt_config c = load("LJTRIM_DECAY_MS=banana");

    expect_complaint("LJTRIM_DECAY_MS=banana is not allowed (a number of milliseconds from 0 to 3600000); "
                     "using 1000");
    cr_expect(c.decay_ms == 1000);
}

Test(config, rejects_a_negative_decay_and_uses_the_default)
{
    cr_expect(load("LJTRIM_DECAY_MS=-1").decay_ms == 1000);
    cr_expect(heard.count == 1);
}

Test(config, rejects_what_is_not_quite_a_number)
{
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "1s",
                                      "0x10",
                                      "+1",
                                      "1e3",
                                      "1.0",
                                      "1\n",
                                      "-0",
                                      "1000ms",
                                      "3600001",
                                      "18446744073709551616",
                                      "99999999999999999999999999999999",
                                      "\xef\xbc\x91"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect(!parses("LJTRIM_DECAY_MS", bad[i]), "%s", bad[i]);
    cr_expect(!parses("LJTRIM_INTERVAL_MS", "0"));
    cr_expect(!parses("LJTRIM_MAX_HOLD_US", "0"));
    cr_expect(!parses("LJTRIM_MAX_HOLD_US", "10001"));
}

Test(config, rejects_what_is_not_quite_a_size)
{
    static const char *const bad[] = {
        "",   "K", "1T", "1KB", "1 K", "1MiB", "-1K", "1.5M", "1025G", "18014398509481984K", "17179869184G",
        "1KK"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect(!parses("LJTRIM_MIN_RECLAIM", bad[i]), "%s", bad[i]);
}

Test(config, rejects_what_is_not_quite_a_percentage)
{
    static const char *const bad[] = {"",
                                      "0",
                                      "0.009",
                                      "100.000001",
                                      "1.",
                                      ".5",
                                      "1%",
                                      "nan",
                                      "inf",
                                      "1e1",
                                      "-1",
                                      "1..2",
                                      "1.2.3",
                                      "18446744073709.551615",
                                      "18446744073709551615"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect(!parses("LJTRIM_MAX_CPU_PCT", bad[i]), "%s", bad[i]);
}

Test(config, rejects_words_that_are_not_in_the_list)
{
    cr_expect(!parses("LJTRIM_ENABLE", "yes"));
    cr_expect(!parses("LJTRIM_ENABLE", "2"));
    cr_expect(!parses("LJTRIM_ENABLE", "01"));
    cr_expect(!parses("LJTRIM_ENABLE", ""));
    cr_expect(!parses("LJTRIM_MODE", ""));
    cr_expect(!parses("LJTRIM_MODE", "nativ"));
    cr_expect(!parses("LJTRIM_MODE", "natives"));
    cr_expect(!parses("LJTRIM_MODE", "patch"));
    cr_expect(!parses("LJTRIM_DEBUG", "poison,"));
    cr_expect(!parses("LJTRIM_DEBUG", ",poison"));
    cr_expect(!parses("LJTRIM_DEBUG", "poison verify"));
    cr_expect(!parses("LJTRIM_DEBUG", "none,poison"));
}

Test(config, rejects_paths_that_cannot_be_meant)
{
    char path[LJT_CONFIG_PATH_SIZE + 1];

    cr_expect(!parses("LJTRIM_LOG", ""));
    cr_expect(!parses("LJTRIM_LOG", "/tmp/a%d"));
    cr_expect(!parses("LJTRIM_LOG", "/tmp/a%"));
    cr_expect(!parses("LJTRIM_LOG", "/tmp/a\nb"));
    memset(path, 'a', sizeof(path));
    path[LJT_CONFIG_PATH_SIZE] = 0;
    cr_expect(!parses("LJTRIM_LOG", path));
    path[LJT_CONFIG_PATH_SIZE - 1] = 0;
    cr_expect(parses("LJTRIM_LOG", path));
}

Test(config, complaints_are_short_and_printable_whatever_the_value)
{
    static char variable[70000] = "LJTRIM_";

    for (size_t i = 0; i < ljt_config_option_count; i++) {
        int n = snprintf(variable, sizeof(variable), "%s=", ljt_config_options[i].name);
        memset(variable + n, '\033', sizeof(variable) - (size_t)n - 1);
        load(variable); /* hear() checks length and characters */
        cr_expect(heard.count == 1, "%s", ljt_config_options[i].name);
        cr_expect(strstr(heard.buf, "???...") != NULL, "%s", heard.buf);
        cr_expect(strstr(heard.buf, ljt_config_options[i].allowed) != NULL, "cut: %s", heard.buf);
        cr_expect(strstr(heard.buf, "); using ") != NULL, "cut: %s", heard.buf);
    }
    memset(variable + 7, '\xff', sizeof(variable) - 8);
    variable[sizeof(variable) - 2] = '=';
    load(variable);
    cr_expect(heard.count == 1 && strstr(heard.buf, "is not a variable") != NULL);
}

/* ---- Unknown names ---- */

Test(config, suggests_the_variable_that_was_meant)
{
    static const char *const meant[][2] = {
        {"LJTRIM_DECAY=5", "LJTRIM_DECAY_MS"},      {"LJTRIM_DCEAY_MS=5", "LJTRIM_DECAY_MS"},
        {"LJTRIM_decay_ms=5", "LJTRIM_DECAY_MS"},   {"LJTRIM_LOGLEVEL=info", "LJTRIM_LOG_LEVEL"},
        {"LJTRIM_ENABLED=1", "LJTRIM_ENABLE"},      {"LJTRIM_INTERVAL=1", "LJTRIM_INTERVAL_MS"},
        {"LJTRIM_MAX_CPU=1", "LJTRIM_MAX_CPU_PCT"},
    };

    for (size_t i = 0; i < sizeof(meant) / sizeof(meant[0]); i++) {
        char expected[64];
        load((char *)meant[i][0]);
        snprintf(expected, sizeof(expected), "(did you mean %s?); ignoring it\n", meant[i][1]);
        cr_expect(heard.count == 1 && strstr(heard.buf, expected) != NULL, "%s", heard.buf);
    }
}

Test(config, suggests_nothing_where_nothing_is_close)
{
    load("LJTRIM_FROBNICATE=1");
    expect_complaint("LJTRIM_FROBNICATE is not a variable of this version; ignoring it");
    load("LJTRIM_=1");
    expect_complaint("LJTRIM_ is not a variable of this version; ignoring it");
    load("LJTRIM_A_VERY_LONG_NAME_THAT_NO_OPTION_WILL_EVER_HAVE=1");
    expect_complaint(
        "LJTRIM_A_VERY_LONG_NAME_THAT_NO_OPTIO... is not a variable of this version; ignoring it");
}

Test(config, ignores_other_names_and_entries_without_a_value)
{
    load("LJTRIM=1", "LJTRIM_DECAY_MS", "XLJTRIM_FOO=1", "ljtrim_foo=1", "=", "");
    expect_quiet();
}

Test(config, stops_complaining_after_a_while)
{
    char *environment[101];
    char names[100][32];

    for (int i = 0; i < 100; i++) {
        snprintf(names[i], sizeof(names[i]), "LJTRIM_UNKNOWN_%d=1", i);
        environment[i] = names[i];
    }
    environment[100] = NULL;
    load_environment(environment);
    cr_expect(heard.count == 17, "%u lines", heard.count);
    cr_expect(strstr(heard.buf, "more LJTRIM_ variables") != NULL);
}

static void hear_level(const char *line, void *arg)
{
    const struct ljt_config *config = arg;

    (void)line;
    cr_expect(config->log_level == LJT_LOG_DEBUG, "complained before the configuration was complete");
}

Test(config, complains_only_when_the_configuration_is_complete)
{
    struct ljt_config c;

    ljt_config_load((char *const[]){"LJTRIM_FOO=1", "LJTRIM_MODE=x", "LJTRIM_LOG_LEVEL=debug", NULL}, &c,
                    hear_level, &c);
}

Test(config, is_not_secure_in_an_ordinary_process)
{
    cr_expect(ljt_config_is_secure() == 0);
}

/* ---- Any values ---- */

static uint64_t random_state;

static unsigned random_below(unsigned n) /* xorshift64 */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 20) % n;
}

/* TEST_SEED=n repeats a run. */
static void random_seed(const char *test)
{
    const char *given = getenv("TEST_SEED");

    random_state = given ? strtoull(given, NULL, 10) : ((uint64_t)time(NULL) << 20 ^ (uint64_t)getpid());
    random_state += random_state == 0;
    fprintf(stderr, "config: %s: TEST_SEED=%llu\n", test, (unsigned long long)random_state);
}

/* A value that is often nearly right: pieces of the values that options take, and a few stray bytes. */
static void random_value(char *value, size_t size)
{
    static const char *const pieces[] = {"0",
                                         "1",
                                         "9",
                                         "1000",
                                         "3600000",
                                         ".",
                                         "-",
                                         "+",
                                         "K",
                                         "M",
                                         "G",
                                         "auto",
                                         "native",
                                         "none",
                                         ",",
                                         "poison",
                                         "SIG",
                                         "USR2",
                                         "RTMIN",
                                         "RTMAX",
                                         "stderr",
                                         "/tmp/",
                                         "%p",
                                         "%",
                                         " ",
                                         "\n",
                                         "\xff",
                                         "warn",
                                         "18446744073709551615",
                                         "verify"};
    struct ljt_text t;

    ljt_text_init(&t, value, size);
    for (unsigned n = random_below(5); n > 0; n--) {
        if (random_below(8) == 0)
            ljt_text_append(&t, (const char[]){(char)(1 + random_below(255))}, 1);
        else
            ljt_text_string(&t, pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))]);
    }
}

static void check_bounds(const struct ljt_config *c, const char *value)
{
    cr_assert(c->enable == 0 || c->enable == 1, "%s", value);
    cr_assert((unsigned)c->mode <= LJT_MODE_OFF, "%s", value);
    cr_assert(c->interval_ms >= 1 && c->interval_ms <= 3600000, "%s", value);
    cr_assert(c->decay_ms <= 3600000, "%s", value);
    cr_assert(c->min_reclaim <= UINT64_C(1) << 40, "%s", value);
    cr_assert(c->max_cpu_pct >= 0.01 && c->max_cpu_pct <= 100, "%s", value);
    cr_assert(c->max_hold_us >= 1 && c->max_hold_us <= 10000, "%s", value);
    cr_assert(c->signo >= 0 && c->signo <= SIGRTMAX && c->signo != SIGKILL && c->signo != SIGSEGV, "%s",
              value);
    cr_assert(memchr(c->log_path, 0, sizeof(c->log_path)) != NULL, "%s", value);
    cr_assert((unsigned)c->log_level <= LJT_LOG_DEBUG, "%s", value);
    cr_assert(memchr(c->stats_file, 0, sizeof(c->stats_file)) != NULL, "%s", value);
    cr_assert((unsigned)c->stats_format <= LJT_STATS_AUTO, "%s", value);
    cr_assert(c->stats_at_exit == 0 || c->stats_at_exit == 1, "%s", value);
    cr_assert((c->debug & ~(unsigned)(LJT_DEBUG_POISON | LJT_DEBUG_VERIFY)) == 0, "%s", value);
}

Test(config, any_value_is_either_refused_or_within_bounds_and_survives_a_round_trip)
{
    struct ljt_config defaults, config, again;
    char value[128], text[LJT_CONFIG_PATH_SIZE];
    unsigned taken = 0;

    random_seed("any value");
    ljt_config_load(NULL, &defaults, NULL, NULL);
    for (int round = 0; round < 200000; round++) {
        const struct ljt_config_option *o =
            &ljt_config_options[random_below((unsigned)ljt_config_option_count)];
        struct ljt_text t = LJT_TEXT(text);
        random_value(value, sizeof(value));
        config = defaults;
        int error = ljt_config_parse(o, value, &config);
        if (error) {
            cr_assert(error == -EINVAL);
            cr_assert(memcmp(&config, &defaults, sizeof(config)) == 0, "%s=%s changed it", o->name, value);
            continue;
        }
        taken++;
        check_bounds(&config, value);
        ljt_config_value(o, &config, &t);
        again = defaults;
        cr_assert(ljt_config_parse(o, text, &again) == 0, "%s=%s became %s", o->name, value, text);
        cr_assert(memcmp(&config.enable, &again.enable, offsetof(struct ljt_config, log_path)) == 0 &&
                      strcmp(config.log_path, again.log_path) == 0 && config.log_level == again.log_level &&
                      config.stats_format == again.stats_format &&
                      strcmp(config.stats_file, again.stats_file) == 0 &&
                      config.stats_at_exit == again.stats_at_exit && config.debug == again.debug,
                  "%s=%s became %s", o->name, value, text);
    }
    cr_expect(taken > 1000, "only %u values were allowed: the generator tests nothing", taken);
}

Test(config, any_number_is_taken_exactly_when_it_is_within_bounds)
{
    random_seed("any number");
    for (int round = 0; round < 50000; round++) {
        const struct ljt_config_option *o =
            &ljt_config_options[random_below((unsigned)ljt_config_option_count)];
        char value[32];
        struct ljt_config config = {0};
        if (o->kind != LJT_CONFIG_NUMBER)
            continue;
        uint64_t n = random_below(2) ? random_state >> random_below(64) : o->max - 2 + random_below(5);
        snprintf(value, sizeof(value), "%llu", (unsigned long long)n);
        int error = ljt_config_parse(o, value, &config);
        cr_assert((error == 0) == (n >= o->min && n <= o->max), "%s=%s", o->name, value);
        if (error == 0)
            cr_assert(*(uint64_t *)((char *)&config + o->offset) == n, "%s=%s", o->name, value);
    }
}

Test(config, any_environment_loads)
{
    random_seed("any environment");
    for (int round = 0; round < 3000; round++) {
        char names[8][384];
        char *environment[9];
        for (int i = 0; i < 8; i++) {
            char value[128];
            const char *name = ljt_config_options[random_below((unsigned)ljt_config_option_count)].name;
            random_value(value, sizeof(value));
            snprintf(names[i], sizeof(names[i]), "%s%s=%s", name, random_below(4) ? "" : value, value);
            if (random_below(4) == 0)
                names[i][7 + random_below(4)] = (char)(1 + random_below(255));
            environment[i] = names[i];
        }
        environment[8] = NULL;
        struct ljt_config c = load_environment(environment);
        check_bounds(&c, names[0]);
    }
}

/* ---- Values as text ---- */

static void expect_written(const char *name, const char *value, const char *written)
{
    struct ljt_config c = {0};
    char buf[64];
    struct ljt_text t = LJT_TEXT(buf);

    cr_expect(ljt_config_parse(option(name), value, &c) == 0, "%s=%s", name, value);
    ljt_config_value(option(name), &c, &t);
    cr_expect(strcmp(buf, written) == 0, "%s=%s is written as %s", name, value, buf);
}

Test(config, writes_defaults_as_they_stand_in_the_table)
{
    for (size_t i = 0; i < ljt_config_option_count; i++)
        expect_written(ljt_config_options[i].name, ljt_config_options[i].initial,
                       ljt_config_options[i].initial);
}

Test(config, writes_values_in_their_shortest_form)
{
    expect_written("LJTRIM_MIN_RECLAIM", "0", "0");
    expect_written("LJTRIM_MIN_RECLAIM", "2048K", "2M");
    expect_written("LJTRIM_MIN_RECLAIM", "1025", "1025");
    expect_written("LJTRIM_MIN_RECLAIM", "1024G", "1024G");
    expect_written("LJTRIM_MAX_CPU_PCT", "2.50", "2.5");
    expect_written("LJTRIM_MAX_CPU_PCT", "0.010", "0.01");
    expect_written("LJTRIM_MAX_CPU_PCT", "10.000001", "10.000001");
    expect_written("LJTRIM_SIGNAL", "SIGRTMIN", "RTMIN+0");
    expect_written("LJTRIM_SIGNAL", "0", "none");
    expect_written("LJTRIM_DEBUG", "verify,poison", "poison,verify");
}

/* ---- Documentation ---- */

Test(config, help_names_every_option_in_lines_below_80_columns)
{
    static char buf[16384];
    struct ljt_text t = LJT_TEXT(buf);

    ljt_config_help(&t);
    cr_expect(t.lost == 0);
    for (size_t i = 0; i < ljt_config_option_count; i++)
        cr_expect(strstr(buf, ljt_config_options[i].name) != NULL, "%s", ljt_config_options[i].name);
    for (char *line = buf, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        cr_expect(end - line < 80, "%.*s", (int)(end - line), line);
}

/* Runs in the top directory, as make does. UPDATE_DOCS=1 writes the file. */
Test(config, options_page_is_up_to_date)
{
    static const char path[] = "docs/OPTIONS.md";
    static char wanted[16384], found[16384];
    struct ljt_text t = LJT_TEXT(wanted);
    FILE *f;

    ljt_config_markdown(&t);
    cr_assert(t.lost == 0);
    if (getenv("UPDATE_DOCS") != NULL) {
        f = fopen(path, "w");
        cr_assert(f != NULL, "can't write %s", path);
        cr_assert(fputs(wanted, f) >= 0 && fclose(f) == 0);
    }
    f = fopen(path, "r");
    cr_assert(f != NULL, "can't read %s", path);
    size_t n = fread(found, 1, sizeof(found) - 1, f);
    fclose(f);
    cr_expect(n == t.len && memcmp(found, wanted, n) == 0, "%s is old: UPDATE_DOCS=1 make test-unit", path);
}
