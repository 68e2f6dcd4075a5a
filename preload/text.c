#include "text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void ljt_text_init(struct ljt_text *t, char *buf, size_t cap)
{
    *t = (struct ljt_text){.buf = buf, .cap = cap};
    if (cap > 0)
        buf[0] = 0;
}

/* How many more bytes fit, the terminator left aside. */
static size_t text_room(const struct ljt_text *t)
{
    return t->cap > t->len ? t->cap - t->len - 1 : 0;
}

void ljt_text_append(struct ljt_text *t, const char *bytes, size_t n)
{
    size_t room = text_room(t);
    size_t take = n < room ? n : room;

    t->lost += n - take;
    if (t->cap == 0)
        return;
    memcpy(t->buf + t->len, bytes, take);
    t->len += take;
    t->buf[t->len] = 0;
}

void ljt_text_string(struct ljt_text *t, const char *string)
{
    ljt_text_append(t, string, strlen(string));
}

void ljt_text_repeat(struct ljt_text *t, char c, size_t count)
{
    size_t room = text_room(t);
    size_t take = count < room ? count : room;

    t->lost += count - take;
    if (t->cap == 0)
        return;
    memset(t->buf + t->len, c, take);
    t->len += take;
    t->buf[t->len] = 0;
}

static void text_number(struct ljt_text *t, uint64_t value, unsigned base)
{
    char digits[20]; /* UINT64_MAX has 20 decimal digits */
    size_t at = sizeof(digits);

    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    ljt_text_append(t, digits + at, sizeof(digits) - at);
}

void ljt_text_unsigned(struct ljt_text *t, uint64_t value)
{
    text_number(t, value, 10);
}

void ljt_text_signed(struct ljt_text *t, int64_t value)
{
    if (value < 0)
        ljt_text_append(t, "-", 1);
    /* Negated as unsigned: INT64_MIN has no positive counterpart. */
    text_number(t, value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
}

void ljt_text_hex(struct ljt_text *t, uint64_t value)
{
    ljt_text_append(t, "0x", 2);
    text_number(t, value, 16);
}

void ljt_text_printf(struct ljt_text *t, const char *format, ...)
{
    char piece[1025];
    va_list args;

    va_start(args, format);
    int n = vsnprintf(piece, sizeof(piece), format, args);
    va_end(args);
    if (n < 0)
        return;
    size_t whole = (size_t)n, kept = whole < sizeof(piece) ? whole : sizeof(piece) - 1;
    ljt_text_append(t, piece, kept);
    t->lost += whole - kept;
}

/* value / unit, rounded to nearest. Written so that nothing overflows. */
static uint64_t text_rounded(uint64_t value, uint64_t unit)
{
    return value / unit + (value % unit >= unit - unit / 2);
}

/*
 * Append value in the first of `units` in which it is below `base` after rounding (1023.9 KiB is 1.0 MiB, not
 * 1024 KiB), else in the last one: one decimal below 100, none from there on.
 */
static void text_scaled(struct ljt_text *t, uint64_t value, unsigned base, const char *const *units)
{
    uint64_t unit = 1;

    while (text_rounded(value, unit) >= base && units[1] != NULL) {
        unit *= base;
        units++;
    }
    /* The remainder is below the unit, at most 2^50: times 10 it fits. */
    uint64_t tenths = value / unit * 10 + text_rounded(value % unit * 10, unit);
    if (unit == 1 || tenths >= 1000) {
        ljt_text_unsigned(t, text_rounded(value, unit));
    } else {
        ljt_text_unsigned(t, tenths / 10);
        ljt_text_append(t, ".", 1);
        ljt_text_unsigned(t, tenths % 10);
    }
    ljt_text_append(t, " ", 1);
    ljt_text_string(t, *units);
}

void ljt_text_bytes(struct ljt_text *t, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", NULL};

    text_scaled(t, bytes, 1024, units);
}

void ljt_text_duration(struct ljt_text *t, uint64_t ns)
{
    static const char *const units[] = {"ns", "us", "ms", "s", NULL};

    text_scaled(t, ns, 1000, units);
}

void ljt_text_percent(struct ljt_text *t, uint64_t part, uint64_t whole)
{
    /* Only the proportion counts: make room for the factor of 1000. */
    while (part > UINT64_MAX / 1000 || whole > UINT64_MAX / 1000) {
        part /= 2;
        whole /= 2;
    }
    if (whole == 0) {
        ljt_text_append(t, "-", 1);
        return;
    }
    uint64_t tenths = text_rounded(part * 1000, whole);
    ljt_text_unsigned(t, tenths / 10);
    ljt_text_append(t, ".", 1);
    ljt_text_unsigned(t, tenths % 10);
    ljt_text_append(t, "%", 1);
}

/* Characters on the last line so far. */
static size_t text_line_length(const struct ljt_text *t)
{
    size_t at = t->len;

    while (at > 0 && t->buf[at - 1] != '\n')
        at--;
    return t->len - at;
}

void ljt_text_column(struct ljt_text *t, size_t column)
{
    size_t length = text_line_length(t);

    ljt_text_repeat(t, ' ', length < column ? column - length : 1);
}

void ljt_text_align_right(struct ljt_text *t, size_t from, size_t column)
{
    size_t length = text_line_length(t), moved = t->len - from;

    if (from > t->len || length >= column)
        return;
    size_t gap = column - length;
    if (gap > text_room(t)) /* what would have to be cut is what was asked for: rather leave it unaligned */
        return;
    memmove(t->buf + from + gap, t->buf + from, moved);
    memset(t->buf + from, ' ', gap);
    t->len += gap;
    t->buf[t->len] = 0;
}

void ljt_text_wrap(struct ljt_text *t, const char *words, size_t indent, size_t width)
{
    size_t column = text_line_length(t);
    bool first = true; /* of its line: no space in front */

    for (words += strspn(words, " "); *words; words += strspn(words, " ")) {
        size_t n = strcspn(words, " ");
        if (!first && column + 1 + n > width) {
            ljt_text_append(t, "\n", 1);
            ljt_text_repeat(t, ' ', indent);
            column = indent;
            first = true;
        }
        if (!first) {
            ljt_text_append(t, " ", 1);
            column++;
        }
        ljt_text_append(t, words, n);
        column += n;
        first = false;
        words += n;
    }
}

void ljt_text_foreign(struct ljt_text *t, const char *string, size_t max)
{
    size_t n = strnlen(string, max + 1);
    size_t keep = n > max ? max - 3 : n;

    for (size_t i = 0; i < keep; i++) {
        char c = string[i];
        ljt_text_append(t, c >= ' ' && c <= '~' ? &c : "?", 1);
    }
    if (n > max)
        ljt_text_append(t, "...", 3);
}

void ljt_text_path(struct ljt_text *t, const char *path, int64_t pid)
{
    for (const char *p; (p = strstr(path, "%p")) != NULL; path = p + 2) {
        ljt_text_append(t, path, (size_t)(p - path));
        ljt_text_signed(t, pid);
    }
    ljt_text_string(t, path);
}
