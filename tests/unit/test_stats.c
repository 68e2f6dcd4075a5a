/*
 * The dump, from figures that are given.
 */
#include "lab.h"

#include <setjmp.h>
#include <signal.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spending.h"
#include "stats.h"

TestSuite(stats, .init = lab_init, .timeout = LAB_TIMEOUT);

static struct ljt_arena *arena(uint64_t mib)
{
    static struct ljt_module module;
    unsigned slot = atomic_load(&ljt_arena_slots);
    struct ljt_arena *a = &ljt_arenas[slot];
    a->slot = slot;
    a->m = (struct ljt_lj_state *)(0x7f0000000010 + ((uintptr_t)slot << 32));
    a->module = &module;
    a->gc_width = 8;
    a->stats.mapped = mib * MIB;
    a->stats.resident = mib * MIB / 2;
    a->stats.purgeable = mib * MIB * 9 / 10;
    a->stats.live = mib * MIB / 20;
    a->stats.purged = mib * MIB * 3;
    a->stats.purge_calls = 1234;
    a->stats.refaults = mib * MIB / 4;
    a->stats.looks = 17;
    a->stats.segments = 5;
    a->stats.units[LJT_UNIT_BY_MUTATOR] = 41;
    a->stats.units[LJT_UNIT_BY_RECLAIMER] = 43;
    for (uint64_t i = 1; i <= 1000; i++)
        ljt_histogram_add(&a->stats.waits, i * 1000);
    ljt_histogram_add(&a->stats.holds, 2000000);
    atomic_store(&a->state, LJT_ARENA_ARMED);
    atomic_store(&ljt_arena_slots, slot + 1);
    return a;
}

static const char *dump(void)
{
    lab_catch_stderr();
    ljt_stats_dump();
    return lab_said();
}

static unsigned occurrences(const char *text, const char *part)
{
    unsigned n = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

static void expect_narrow_lines(const char *text)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        cr_expect(length < 100, "%zu characters: %.*s", length, (int)length, text);
        cr_expect(text[length] == '\n', "the last line is whole");
        text += length + (text[length] == '\n');
    }
}

Test(stats, dump_of_nothing_says_so)
{
    const char *text = dump();
    cr_expect(strstr(text, "0 arenas") != NULL, "%s", text);
    expect_narrow_lines(text);
}

Test(stats, dump_has_all_fields)
{
    arena(100);
    const char *text = dump();
    static const char *const field[] = {"statistics of pid",
                                        "mode",
                                        "mapped",
                                        "live",
                                        "free",
                                        "fragmentation",
                                        "resident",
                                        "floor",
                                        "purgeable",
                                        "purged",
                                        "calls",
                                        "refaults",
                                        "direct",
                                        "reclaimer CPU",
                                        "waits",
                                        "holds",
                                        "looks",
                                        "units",
                                        "withdrawn",
                                        "descheduled",
                                        "crowded",
                                        "5 segments",
                                        "gc 64"};
    for (size_t i = 0; i < sizeof(field) / sizeof(field[0]); i++)
        cr_expect(strstr(text, field[i]) != NULL, "%s in\n%s", field[i], text);
    cr_expect(strstr(text, "total: 1 arena\n") != NULL);
    expect_narrow_lines(text);
}

Test(stats, dump_says_so_where_the_budget_is_spent)
{
    arena(100);
    lab_fake_time();
    ljt_config.max_cpu_pct = 1;
    ljt_spending_open(ljt_kernel.now());
    ljt_spending_charge(ljt_kernel.now());
    cr_expect(strstr(dump(), "budget") == NULL);
    ljt_spending_add_faults((uint64_t)2 << 30); /* 0.79 s; the bucket has 0.6 */
    ljt_spending_charge(ljt_kernel.now());
    const char *text = dump();
    cr_expect(strstr(text, "\nCPU budget spent, nothing is done for 18") != NULL, "%s", text);
    expect_narrow_lines(text);
    lab_pass_time((uint64_t)19 * 1000000000);
    cr_expect(strstr(dump(), "budget") == NULL, "until then");
}

Test(stats, sizes_are_those_of_the_equations)
{
    arena(1000);
    const char *text = dump();
    cr_expect(strstr(text, "1000 MiB  live") != NULL, "%s", text);
    cr_expect(strstr(text, "50.0 MiB") != NULL, "live");
    cr_expect(strstr(text, "950 MiB") != NULL, "free = mapped - live");
    cr_expect(strstr(text, "95.0%") != NULL, "of fragmentation");
    cr_expect(strstr(text, "900 MiB") != NULL, "purgeable");
    cr_expect(strstr(text, "100 MiB") != NULL, "floor = mapped - purgeable");
    cr_expect(strstr(text, "500 MiB") != NULL, "resident");
    cr_expect(strstr(text, "1000 p50 ") != NULL, "waits: %s", text);
}

Test(stats, totals_are_sums)
{
    arena(100);
    arena(300);
    struct ljt_arena *lost = arena(777);
    atomic_store(&lost->state, LJT_ARENA_LOST);
    const char *text = dump();
    cr_expect(strstr(text, "total: 2 arenas, 1 left alone") != NULL, "%s", text);
    cr_expect(strstr(text, "400 MiB") != NULL && strstr(text, "777 MiB") == NULL);
    cr_expect(strstr(text, "3702") != NULL, "purge calls: of the lost one, too, since counters never fall");
    cr_expect(strstr(text, "3000 p50 ") != NULL, "waits");
    cr_expect(occurrences(text, "arena 0x") == 2);
}

static sigjmp_buf landing;

static void jump(int signo)
{
    siglongjmp(landing, signo);
}

static void interrupted(const struct ljt_stats_snapshot *s, void *arg)
{
    (void)s, (void)arg;
    raise(SIGUSR1);
}

/* A handler that jumps out of ljtrim_stats would leave them to nobody: every mapping of LuaJIT's would wait. */
Test(stats, a_jump_out_of_them_leaves_nothing_locked)
{
    signal(SIGUSR1, jump);
    if (sigsetjmp(landing, 1) == 0) {
        ljt_stats_gather(interrupted, NULL);
        cr_assert_fail("nobody has jumped");
    }
    cr_expect_eq(atomic_load(&ljt_wiped.registry), 0);
    cr_expect_eq(atomic_load(&ljt_wiped.stats), 0);
}

Test(stats, a_closed_vm_stays_in_the_total)
{
    arena(100);
    struct ljt_arena *closed = arena(300);
    atomic_store(&closed->state, LJT_ARENA_DEAD);
    for (int swept = 0; swept < 2; swept++) {
        const char *text = dump();
        cr_expect(strstr(text, "total: 1 arena\n") != NULL, "%s", text);
        cr_expect(strstr(text, "1.2 GiB in 2468 calls") != NULL, "%s", text);
        cr_expect(strstr(text, "100 MiB  live") != NULL && strstr(text, "400 MiB") == NULL, "%s", text);
        ljt_arena_sweep(closed->slot);
        cr_expect(ljt_arena_is(closed, LJT_ARENA_FREE) && closed->stats.purged == 0);
    }
}

/* ---- Formats ---- */

/* A JSON parser that knows just enough to tell whether a text is valid: the end of the value at `at`, or NULL. */
static const char *skip_space(const char *at)
{
    return at + strspn(at, " \n");
}

static const char *json_value(const char *at);

static const char *json_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    while (*at >= ' ' && *at <= '~' && *at != '"' && *at != '\\')
        at++;
    return *at == '"' ? at + 1 : NULL;
}

static const char *json_members(const char *at, bool named, char end)
{
    at = skip_space(at + 1);
    if (*at == end)
        return at + 1;
    for (;;) {
        at = skip_space(at);
        if (named) {
            at = json_string(at);
            if (at == NULL || *at != ':')
                return NULL;
            at++;
        }
        at = json_value(at);
        if (at == NULL)
            return NULL;
        at = skip_space(at);
        if (*at == end)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

static const char *json_value(const char *at)
{
    char *end;
    at = skip_space(at);
    if (*at == '{' || *at == '[')
        return json_members(at, *at == '{', *at == '{' ? '}' : ']');
    if (*at == '"')
        return json_string(at);
    if (strncmp(at, "true", 4) == 0)
        return at + 4;
    if (strncmp(at, "false", 5) == 0)
        return at + 5;
    if (*at < '0' || *at > '9')
        return NULL;
    strtod(at, &end);
    return end;
}

static bool is_json(const char *text)
{
    const char *end = json_value(text);
    return end != NULL && strcmp(end, "\n") == 0;
}

static char formatted[1 << 20];

static const char *as(enum ljt_stats_format format)
{
    size_t length = ljt_stats_format(format, formatted, sizeof(formatted));
    cr_assert(length == strlen(formatted) && length > 0);
    return formatted;
}

Test(stats, json_is_valid_and_has_every_field_where_it_belongs)
{
    cr_expect(is_json(as(LJT_STATS_JSON)), "of nothing: %s", formatted);
    arena(100);
    arena(300);
    cr_expect(is_json(as(LJT_STATS_JSON)), "%s", formatted);
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++) {
        unsigned scope = ljt_stats_fields[i].scope;
        unsigned expected =
            scope == LJT_STATS_PROCESS ? 1 : !!(scope & LJT_STATS_TOTAL) + 2 * !!(scope & LJT_STATS_ARENA);
        char key[LJT_STATS_NAME_SIZE + 8];
        snprintf(key, sizeof(key), "\"%.*s\": ", LJT_STATS_NAME_SIZE, ljt_stats_fields[i].name);
        cr_expect(occurrences(formatted, key) == expected, "%s %u times", key, occurrences(formatted, key));
    }
    cr_expect(strstr(formatted, "\"mapped\": 419430400,") != NULL, "the total: %s", formatted);
    cr_expect(strstr(formatted, "\"fragmentation\": 0.95,") != NULL);
    cr_expect(strstr(formatted, "\"arenas_left_out\": 0\n") != NULL);
}

/* Whatever the size of the buffer: bounded, terminated, and valid. */
Test(stats, json_in_any_buffer_is_valid)
{
    static char buf[20000];
    arena(100);
    arena(300);
    arena(500);
    unsigned errors = 0, partial = 0, whole = 0;
    for (size_t size = 1; size < sizeof(buf); size += size < 400 ? 1 : 37) {
        memset(buf, 'x', sizeof(buf));
        size_t length = ljt_stats_format(LJT_STATS_JSON, buf, size);
        cr_assert(length < size && buf[length] == '\0' && buf[size] == 'x', "%zu in %zu", length, size);
        cr_assert(length == 0 || is_json(buf), "in %zu: %s", size, buf);
        errors += strstr(buf, "error") != NULL;
        whole += strstr(buf, "\"arenas_left_out\": 0\n") != NULL;
        partial += strstr(buf, "\"arenas_left_out\": 1\n") != NULL;
    }
    cr_expect(errors > 0 && partial > 0 && whole > 0);
}

/* On the heap and of exactly that size, so that AddressSanitizer sees what is beyond. */
Test(stats, every_format_stays_within_its_buffer)
{
    arena(100);
    arena(300);
    for (enum ljt_stats_format f = LJT_STATS_TEXT; f <= LJT_STATS_PROMETHEUS; f++) {
        cr_expect(ljt_stats_format(f, NULL, 0) == 0);
        for (size_t size = 1; size < 12000; size += size < 300 ? 1 : 61) {
            char *buf = malloc(size);
            size_t length = ljt_stats_format(f, buf, size);
            cr_assert(length < size && buf[length] == '\0' && strlen(buf) == length, "%zu", size);
            cr_assert(length == 0 || buf[length - 1] == '\n', "%zu: whole lines only", size);
            free(buf);
        }
    }
}

Test(stats, text_says_what_it_leaves_out)
{
    static char buf[4000];
    for (int i = 0; i < 9; i++)
        arena(10);
    size_t length = ljt_stats_format(LJT_STATS_TEXT, buf, sizeof(buf));
    cr_expect(length > 2000 && length < sizeof(buf));
    unsigned shown = occurrences(buf, "arena 0x");
    char said[60];
    snprintf(said, sizeof(said), "left out, for want of room: %u arenas\n", 9 - shown);
    cr_expect(shown > 1 && shown < 9 && strstr(buf, said) != NULL, "%u: %s", shown, buf);
    expect_narrow_lines(buf);
}

Test(stats, sixteen_kib_are_enough_for_the_total_of_large_figures)
{
    static char buf[16 << 10];
    struct ljt_arena *a = arena(100000000);
    a->stats.purged = a->stats.refaults = UINT64_MAX / 4;
    a->stats.looks = a->stats.withdrawn = UINT64_MAX / 4;
    for (enum ljt_stats_format f = LJT_STATS_TEXT; f <= LJT_STATS_PROMETHEUS; f++) {
        cr_expect(ljt_stats_format(f, buf, sizeof(buf)) > 0);
        cr_expect(f == LJT_STATS_JSON || strstr(buf, "left out, for") == NULL, "%s", buf);
    }
}

Test(stats, large_figures_stay_within_the_lines)
{
    struct ljt_arena *a = arena(100000000);
    a->stats.purge_calls = a->stats.looks = a->stats.withdrawn = a->stats.descheduled = 400000000;
    a->stats.units[0] = a->stats.units[1] = 400000000;
    atomic_store(&a->stats.crowded, 400000000);
    a->pace.wrapped = true;
    expect_narrow_lines(dump());
}

Test(stats, live_is_never_more_than_mapped)
{
    struct ljt_arena *a = arena(64);
    a->stats.live = 10000 * MIB; /* the VM's own count, with what is mapped directly and not known to be */
    const char *text = dump();
    cr_expect(strstr(text, "fragmentation 0.0%") != NULL, "%s", text);
    expect_narrow_lines(text);
}

Test(stats, dump_of_as_many_arenas_as_there_can_be_ends_with_a_whole_line)
{
    for (unsigned i = 0; i < LJT_GATES; i++)
        arena(10);
    const char *text = dump();
    cr_expect(strstr(text, "total: 256 arenas") != NULL);
    cr_expect(occurrences(text, "arena 0x") == 256, "%u", occurrences(text, "arena 0x"));
    expect_narrow_lines(text);
}
