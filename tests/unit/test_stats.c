/*
 * The dump, from figures that are given.
 */
#include "lab.h"

#include <stdlib.h>
#include <string.h>

#include "stats.h"

TestSuite(stats, .init = lab_init, .timeout = 60);

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
    cr_expect(strstr(text, "2468") != NULL, "purge calls");
    cr_expect(strstr(text, "2000 p50 ") != NULL, "waits");
    cr_expect(occurrences(text, "arena 0x") == 2);
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
