/*
 * docs/STATS.md has the figures of the table, no more and no fewer.
 */
#include "lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"
#include "text.h"

TestSuite(stats_docs, .timeout = LAB_TIMEOUT);

static const char *unit(enum ljt_stats_kind kind)
{
    switch (kind) {
    case LJT_STATS_ADDRESS: return "address, a string";
    case LJT_STATS_UNIX_MS: return "ms since 1970";
    case LJT_STATS_MODE: return "a word";
    case LJT_STATS_FLAG: return "true, false";
    case LJT_STATS_BYTES: return "bytes";
    case LJT_STATS_NS: return "ns";
    case LJT_STATS_PER_MILLE: return "0 to 1";
    case LJT_STATS_COUNT_TOTAL: return "counter";
    case LJT_STATS_BYTES_TOTAL: return "counter, bytes";
    case LJT_STATS_NS_TOTAL: return "counter, ns";
    default: return "number";
    }
}

static void json_table(struct ljt_text *t)
{
    ljt_text_string(
        t, "\n| key | where | unit | what |\n|---|---|---|---|\n"
           "| `schema` | top | number | 1: what is described here. |\n"
           "| `version` | top | a string | The library's version. |\n"
           "| `total` | top | object | The figures of the process. |\n"
           "| `arena` | top | array | An object a Lua heap. |\n"
           "| `arenas_left_out` | top | number | Heaps missing in `arena`: the buffer was too small. |\n");
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++) {
        const struct ljt_stats_field *f = &ljt_stats_fields[i];
        const char *where = f->scope == LJT_STATS_PROCESS ? "top"
                            : f->scope == LJT_STATS_TOTAL ? "total"
                            : f->scope == LJT_STATS_ARENA ? "arena"
                                                          : "total, arena";
        ljt_text_printf(t, "| `%s` | %s | %s | %s |\n", f->name, where, unit(f->kind), f->help);
    }
    ljt_text_string(t, "\n");
}

static void prometheus_table(struct ljt_text *t)
{
    ljt_text_string(t, "\n| metric | type | key | what |\n|---|---|---|---|\n"
                       "| `ljtrim_info` | gauge | `version`, `mode` | Always 1; both are labels. |\n");
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++) {
        const struct ljt_stats_field *f = &ljt_stats_fields[i];
        if (f->metric != NULL)
            ljt_text_printf(t, "| `ljtrim_%s` | %s | `%s` | %s |\n", f->metric,
                            ljt_stats_is_counter(f->kind) ? "counter" : "gauge", f->name, f->help);
    }
    ljt_text_string(
        t,
        "| `ljtrim_wait_seconds` | histogram | `waits` | How long VMs were kept in the gate's slow "
        "path. |\n"
        "| `ljtrim_hold_seconds` | histogram | `holds` | How long the reclaimer has held Lua heaps. |\n\n");
}

/* The text with what stands between `mark` and the next end mark replaced. */
static void replace(struct ljt_text *to, const char *from, const char *mark,
                    void (*table)(struct ljt_text *t))
{
    const char *begin = strstr(from, mark);
    cr_assert(begin != NULL, "%s", mark);
    begin += strlen(mark);
    const char *end = strstr(begin, "<!-- end -->");
    cr_assert(end != NULL, "%s", mark);
    ljt_text_append(to, from, (size_t)(begin - from));
    table(to);
    ljt_text_string(to, end);
}

Test(stats_docs, tables_are_up_to_date)
{
    static const char path[] = "docs/STATS.md";
    static char found[1 << 16], half[1 << 16], wanted[1 << 16];
    struct ljt_text first = LJT_TEXT(half), second = LJT_TEXT(wanted);
    FILE *f = fopen(path, "r");
    cr_assert(f != NULL, "can't read %s", path);
    found[fread(found, 1, sizeof(found) - 1, f)] = '\0';
    fclose(f);
    replace(&first, found, "<!-- json -->", json_table);
    replace(&second, half, "<!-- prometheus -->", prometheus_table);
    cr_assert(first.lost + second.lost == 0);
    if (getenv("UPDATE_DOCS") != NULL) {
        f = fopen(path, "w");
        cr_assert(f != NULL, "can't write %s", path);
        cr_assert(fputs(wanted, f) >= 0 && fclose(f) == 0);
        return;
    }
    cr_expect(strcmp(found, wanted) == 0, "%s is old: UPDATE_DOCS=1 make test-unit", path);
}

Test(stats_docs, metrics_are_named_as_prometheus_wants_them)
{
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++) {
        const struct ljt_stats_field *f = &ljt_stats_fields[i];
        const char *m = f->metric;
        cr_expect(f->help[0] != '\0' && strchr(f->help, '\\') == NULL && strchr(f->help, '|') == NULL, "%s",
                  f->name);
        if (m == NULL)
            continue;
        size_t n = strlen(m);
        bool total = n > 6 && strcmp(m + n - 6, "_total") == 0;
        cr_expect(total == ljt_stats_is_counter(f->kind), "%s: counters, and they alone, end in _total", m);
        bool bytes = f->kind == LJT_STATS_BYTES || f->kind == LJT_STATS_BYTES_TOTAL;
        bool time = f->kind == LJT_STATS_NS || f->kind == LJT_STATS_NS_TOTAL;
        cr_expect(bytes == (strstr(m, "_bytes") != NULL), "%s", m);
        cr_expect(time == (strstr(m, "_seconds") != NULL), "%s", m);
        cr_expect((f->scope & (LJT_STATS_PROCESS | LJT_STATS_TOTAL)) != 0, "%s is of no total", m);
        cr_expect(f->kind != LJT_STATS_PER_MILLE && f->kind != LJT_STATS_ADDRESS, "%s", m);
    }
}
