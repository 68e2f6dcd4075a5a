#include <string.h>

#include "stats.h"
#include "text.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* What may be said about what was left out: this much room is kept for it. */
enum { EPILOGUE = 160 };

static bool has(unsigned field, unsigned scope)
{
    return (ljt_stats_fields[field].scope & scope) != 0;
}

static const char *mode_word(uint64_t mode)
{
    switch (mode) {
    case LJT_MODE_OBSERVE: return "observe";
    case LJT_MODE_OFF: return "off";
    case LJT_MODE_PATCHED: return "patched";
    default: return "native";
    }
}

/* A number of billionths in decimal, without zeros at its end: 1.5, 0.000001023, 3. */
static void billionths(struct ljt_text *t, uint64_t n)
{
    char digits[10];
    ljt_text_unsigned(t, n / 1000000000);
    n %= 1000000000;
    if (n == 0)
        return;
    for (int i = 8; i >= 0; i--, n /= 10)
        digits[i] = (char)('0' + n % 10);
    size_t length = 9;
    while (digits[length - 1] == '0')
        length--;
    ljt_text_string(t, ".");
    ljt_text_append(t, digits, length);
}

/* ---- Text ---- */

static const char *mode_text(uint64_t mode)
{
    switch (mode) {
    case LJT_MODE_OBSERVE: return "observe (LJTRIM_MODE)";
    case LJT_MODE_NATIVE: return "native (LJTRIM_MODE)";
    case LJT_MODE_PATCHED: return "patched (LJTRIM_MODE)";
    default: return "native (auto: lj_alloc was recognised)";
    }
}

/* Sizes end 9 characters after their label, so that those of a column stand below each other. */
static void text_bytes(struct ljt_text *t, uint64_t bytes)
{
    size_t from = t->len, line = t->len;
    while (line > 0 && t->buf[line - 1] != '\n')
        line--;
    ljt_text_bytes(t, bytes);
    ljt_text_align_right(t, from, from - line + 9);
}

static void text_row(struct ljt_text *t, const struct ljt_stats_row *row, unsigned scope)
{
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++) {
        const struct ljt_stats_field *f = &ljt_stats_fields[i];
        if (f->text == NULL || !has(i, scope))
            continue;
        ljt_text_string(t, f->text);
        switch (f->kind) {
        case LJT_STATS_BYTES:
        case LJT_STATS_BYTES_TOTAL: text_bytes(t, row->value[i]); break;
        case LJT_STATS_NS:
        case LJT_STATS_NS_TOTAL: ljt_text_duration(t, row->value[i]); break;
        case LJT_STATS_PER_MILLE: ljt_text_percent(t, row->value[i], 1000); break;
        default: ljt_text_unsigned(t, row->value[i]); break;
        }
    }
    ljt_text_string(t, "\n");
}

static void text_arena(struct ljt_text *t, const struct ljt_stats_row *row)
{
    const uint64_t *v = row->value;
    ljt_text_string(t, "arena ");
    ljt_text_hex(t, v[LJT_STATS_address]);
    ljt_text_string(t, " ");
    ljt_text_unsigned(t, v[LJT_STATS_segments]);
    ljt_text_string(t, " segments, gc ");
    ljt_text_string(t, v[LJT_STATS_gc_bits] == 64 ? "64" : v[LJT_STATS_gc_bits] == 32 ? "32" : "unknown");
    if (v[LJT_STATS_patched]) {
        ljt_text_string(t, ", patched, ");
        ljt_text_bytes(t, v[LJT_STATS_parked]);
        ljt_text_string(t, " parked");
    }
    ljt_text_string(t, v[LJT_STATS_wrapped] ? ", allocf wrapped by the program\n" : "\n");
    text_row(t, row, LJT_STATS_ARENA);
}

static void text_total(struct ljt_text *t, const struct ljt_stats_snapshot *s)
{
    const uint64_t *v = s->total.value;
    ljt_text_string(t, "ljtrim: statistics of pid ");
    ljt_text_unsigned(t, v[LJT_STATS_pid]);
    ljt_text_string(t, "\nmode ");
    ljt_text_string(t, mode_text(v[LJT_STATS_mode]));
    ljt_text_string(t, v[LJT_STATS_paused] ? "; paused by the program" : "");
    ljt_text_string(t, v[LJT_STATS_membarrier] ? "; membarrier" : "; no membarrier, full fences");
    if (v[LJT_STATS_budget_wait_ns] > 0) {
        ljt_text_string(t, "\nCPU budget spent, nothing is done for ");
        ljt_text_duration(t, v[LJT_STATS_budget_wait_ns]);
    }
    ljt_text_string(t, "\ntotal: ");
    ljt_text_unsigned(t, v[LJT_STATS_arenas]);
    ljt_text_string(t, v[LJT_STATS_arenas] == 1 ? " arena" : " arenas");
    if (v[LJT_STATS_arenas_left_alone] > 0) {
        ljt_text_string(t, ", ");
        ljt_text_unsigned(t, v[LJT_STATS_arenas_left_alone]);
        ljt_text_string(t, " left alone");
    }
    ljt_text_string(t, "\n");
    text_row(t, &s->total, LJT_STATS_TOTAL);
    for (uint64_t i = 0; i < s->modules; i++) {
        ljt_text_string(t, "symbols of ");
        ljt_text_foreign(t, s->module[i].name[0] != '\0' ? s->module[i].name : "the executable",
                         sizeof(s->module[i].name));
        ljt_text_string(t, ": ");
        ljt_text_foreign(t, s->module[i].symbols, sizeof(s->module[i].symbols));
        ljt_text_string(t, "\n");
    }
}

/* ---- JSON ---- */

static void json_row(struct ljt_text *t, const struct ljt_stats_row *row, unsigned scope, const char *indent)
{
    const char *separator = "";
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++) {
        if (!has(i, scope))
            continue;
        uint64_t v = row->value[i];
        ljt_text_string(t, separator);
        separator = ",\n";
        ljt_text_string(t, indent);
        ljt_text_string(t, "\"");
        ljt_text_string(t, ljt_stats_fields[i].name);
        ljt_text_string(t, "\": ");
        switch (ljt_stats_fields[i].kind) {
        case LJT_STATS_FLAG: ljt_text_string(t, v ? "true" : "false"); break;
        case LJT_STATS_PER_MILLE: billionths(t, v * 1000000); break;
        case LJT_STATS_MODE:
            ljt_text_string(t, "\"");
            ljt_text_string(t, mode_word(v));
            ljt_text_string(t, "\"");
            break;
        case LJT_STATS_ADDRESS: /* a string: a JSON number is a double to many */
            ljt_text_string(t, "\"");
            ljt_text_hex(t, v);
            ljt_text_string(t, "\"");
            break;
        default: ljt_text_unsigned(t, v); break;
        }
    }
}

static void json_total(struct ljt_text *t, const struct ljt_stats_snapshot *s)
{
    ljt_text_string(t, "{\n  \"schema\": 1,\n  \"version\": \"");
    ljt_text_foreign(t, s->version, sizeof(s->version) - 1);
    ljt_text_string(t, "\",\n");
    json_row(t, &s->total, LJT_STATS_PROCESS, "  ");
    ljt_text_string(t, ",\n  \"total\": {\n");
    json_row(t, &s->total, LJT_STATS_TOTAL, "    ");
    ljt_text_string(t, "\n  },\n  \"arena\": [");
}

static void json_arena(struct ljt_text *t, const struct ljt_stats_row *row)
{
    ljt_text_string(t, t->buf[t->len - 1] == '[' ? "{\n" : ", {\n");
    json_row(t, row, LJT_STATS_ARENA, "    ");
    ljt_text_string(t, "\n  }");
}

/* ---- Prometheus' text exposition, version 0.0.4 ---- */

/* "{pid="17"", to be closed by the caller: several workers' files are read by one collector. */
static void label_pid(struct ljt_text *t, const struct ljt_stats_snapshot *s)
{
    ljt_text_string(t, "{pid=\"");
    ljt_text_unsigned(t, s->total.value[LJT_STATS_pid]);
    ljt_text_string(t, "\"");
}

static void family(struct ljt_text *t, const char *metric, const char *type, const char *help)
{
    const char *const part[] = {"# HELP ljtrim_", metric, " ",  help, "\n# TYPE ljtrim_",
                                metric,           " ",    type, "\n"};
    for (size_t i = 0; i < COUNT_OF(part); i++)
        ljt_text_string(t, part[i]);
}

static void sample(struct ljt_text *t, const struct ljt_stats_snapshot *s, const char *metric,
                   const char *suffix)
{
    ljt_text_string(t, "ljtrim_");
    ljt_text_string(t, metric);
    ljt_text_string(t, suffix);
    label_pid(t, s);
}

static void prometheus_info(struct ljt_text *t, const struct ljt_stats_snapshot *s)
{
    family(t, "info", "gauge", "Version and mode of the library; always 1.");
    sample(t, s, "info", "");
    ljt_text_string(t, ",version=\"");
    ljt_text_foreign(t, s->version, sizeof(s->version) - 1);
    ljt_text_string(t, "\",mode=\"");
    ljt_text_string(t, mode_word(s->total.value[LJT_STATS_mode]));
    ljt_text_string(t, "\"} 1\n");
}

static void prometheus_field(struct ljt_text *t, const struct ljt_stats_snapshot *s, unsigned i)
{
    const struct ljt_stats_field *f = &ljt_stats_fields[i];
    family(t, f->metric, ljt_stats_is_counter(f->kind) ? "counter" : "gauge", f->help);
    sample(t, s, f->metric, "");
    ljt_text_string(t, "} ");
    if (f->kind == LJT_STATS_NS || f->kind == LJT_STATS_NS_TOTAL)
        billionths(t, s->total.value[i]);
    else
        ljt_text_unsigned(t, s->total.value[i]);
    ljt_text_string(t, "\n");
}

/* Bounds: the largest whole number of ns below each power of two from 2^8 to 2^30, so that every count is exact. */
enum { FIRST_OCTAVE = 8, LAST_OCTAVE = 30 };

static void prometheus_histogram(struct ljt_text *t, const struct ljt_stats_snapshot *s, const char *metric,
                                 const struct ljt_histogram *h, const char *help)
{
    uint64_t seen = 0;
    unsigned bucket = 0;
    family(t, metric, "histogram", help);
    for (unsigned octave = FIRST_OCTAVE; octave <= LAST_OCTAVE + 1; octave++) {
        bool last = octave > LAST_OCTAVE;
        unsigned end = last ? LJT_HISTOGRAM_BUCKETS : ljt_histogram_bucket(UINT64_C(1) << octave);
        for (; bucket < end; bucket++)
            seen += atomic_load_explicit(&h->bucket[bucket], memory_order_relaxed);
        sample(t, s, metric, "_bucket");
        ljt_text_string(t, ",le=\"");
        if (last)
            ljt_text_string(t, "+Inf");
        else
            billionths(t, (UINT64_C(1) << octave) - 1);
        ljt_text_string(t, "\"} ");
        ljt_text_unsigned(t, seen);
        ljt_text_string(t, "\n");
    }
    sample(t, s, metric, "_sum");
    ljt_text_string(t, "} ");
    billionths(t, atomic_load_explicit(&h->sum, memory_order_relaxed));
    ljt_text_string(t, "\n");
    sample(t, s, metric, "_count");
    ljt_text_string(t, "} ");
    ljt_text_unsigned(t, seen); /* not h->count: it must be the last bucket's */
    ljt_text_string(t, "\n");
}

/* The families in turn, the n-th at each call. False where there is none. */
static bool prometheus_family(struct ljt_text *t, const struct ljt_stats_snapshot *s, unsigned n)
{
    if (n < LJT_STATS_FIELDS) {
        if (ljt_stats_fields[n].metric != NULL)
            prometheus_field(t, s, n);
        return true;
    }
    switch (n - LJT_STATS_FIELDS) {
    case 0: prometheus_info(t, s); return true;
    case 1:
        prometheus_histogram(t, s, "wait_seconds", &s->waits,
                             "How long VMs were kept in the gate's slow path.");
        return true;
    case 2:
        prometheus_histogram(t, s, "hold_seconds", &s->holds, "How long the reclaimer has held Lua heaps.");
        return true;
    default: return false;
    }
}

/* ---- Whole pieces only ---- */

static void undo(struct ljt_text *t, size_t len)
{
    t->len = len;
    t->buf[len] = '\0';
}

/* Did all of it fit, with room for the epilogue? Else it is taken back to `len`. */
static bool kept(struct ljt_text *t, size_t len)
{
    if (t->lost == 0 && t->cap - t->len > EPILOGUE)
        return true;
    undo(t, len);
    t->lost = 0;
    return false;
}

static size_t format_arenas(struct ljt_text *t, const struct ljt_stats_snapshot *s, bool json)
{
    uint64_t left_out = s->arenas;
    (json ? json_total : text_total)(t, s);
    if (!kept(t, 0)) {
        ljt_text_string(t, json ? "{\"schema\": 1, \"error\": \"the buffer is too small\"}\n"
                                : "ljtrim: statistics: the buffer is too small\n");
        if (t->lost > 0)
            undo(t, 0);
        return t->len;
    }
    for (uint64_t i = 0; i < s->arenas; i++, left_out--) {
        size_t len = t->len;
        (json ? json_arena : text_arena)(t, &s->arena[i]);
        if (!kept(t, len))
            break;
    }
    if (json || left_out > 0) {
        ljt_text_string(t, json ? "],\n  \"arenas_left_out\": " : "left out, for want of room: ");
        ljt_text_unsigned(t, left_out);
        ljt_text_string(t, json ? "\n}\n" : " arenas\n");
    }
    return t->len;
}

static size_t format_prometheus(struct ljt_text *t, const struct ljt_stats_snapshot *s)
{
    unsigned left_out = 0;
    for (unsigned n = 0;; n++) {
        size_t len = t->len;
        if (!prometheus_family(t, s, n))
            break;
        left_out += !kept(t, len);
    }
    if (left_out > 0) {
        ljt_text_string(t, "# left out, for want of room: ");
        ljt_text_unsigned(t, left_out);
        ljt_text_string(t, " metrics\n");
    }
    if (t->lost > 0)
        undo(t, 0);
    return t->len;
}

size_t ljt_stats_format_snapshot(const struct ljt_stats_snapshot *s, enum ljt_stats_format format, char *buf,
                                 size_t size)
{
    struct ljt_text t;
    ljt_text_init(&t, buf, size);
    if (size == 0)
        return 0;
    if (format == LJT_STATS_PROMETHEUS)
        return format_prometheus(&t, s);
    return format_arenas(&t, s, format == LJT_STATS_JSON);
}
