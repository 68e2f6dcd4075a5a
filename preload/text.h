/*
 * text: build text in a buffer that the caller owns.
 *
 * For the statistics dump, the option tables and the lines that a signal handler writes. A builder never
 * writes past its buffer, always leaves a terminated string, and counts what did not fit in `lost`, so that
 * whoever is short of room gets a shorter text and never a wrong one. Numbers are formatted with integer
 * arithmetic alone, independent of the locale.
 *
 * Never allocates, never fails, keeps no state outside the builder.
 * Threads: a builder belongs to one thread at a time.
 * Signals: everything here is async-signal-safe, ljt_text_printf alone excepted (it is vsnprintf).
 */
#ifndef LJT_TEXT_H
#define LJT_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct ljt_text {
    char *buf;   /* cap bytes; buf[len] is 0 once something was written */
    size_t len;  /* bytes written, without the terminator: len < cap, or 0 where cap is 0 */
    size_t cap;  /* size of buf, the terminator included */
    size_t lost; /* bytes that did not fit */
};

/* A builder for the char array `array`, ready to use: struct ljt_text t = LJT_TEXT(array); */
#define LJT_TEXT(array)                                           \
    {                                                             \
        .buf = (array), .len = 0, .cap = sizeof(array), .lost = 0 \
    }

/* Start an empty text in buf. cap may be 0 (then buf may be NULL and everything is lost). */
void ljt_text_init(struct ljt_text *t, char *buf, size_t cap);

/* Append n bytes as they are, a string, one character (count times), an unsigned or a signed number. */
void ljt_text_append(struct ljt_text *t, const char *bytes, size_t n);
void ljt_text_string(struct ljt_text *t, const char *string);
void ljt_text_repeat(struct ljt_text *t, char c, size_t count);
void ljt_text_unsigned(struct ljt_text *t, uint64_t value);
void ljt_text_signed(struct ljt_text *t, int64_t value);
void ljt_text_hex(struct ljt_text *t, uint64_t value); /* 0x7f... */

/*
 * Append by a printf format. No floating-point conversions (%f prints a locale's decimal point).
 * Not async-signal-safe. At most 1024 bytes are formatted at a time, the rest counts as lost.
 */
void ljt_text_printf(struct ljt_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A size in binary units, rounded to nearest, with one decimal below 100: "17 B", "812 KiB", "12.3 MiB". */
void ljt_text_bytes(struct ljt_text *t, uint64_t bytes);

/* A duration given in nanoseconds: "17 ns", "1.2 us", "812 us", "3.4 ms", "10.0 s". Rounded as above. */
void ljt_text_duration(struct ljt_text *t, uint64_t ns);

/* part of whole with one decimal, rounded to nearest: "12.3%". "-" where whole is 0. */
void ljt_text_percent(struct ljt_text *t, uint64_t part, uint64_t whole);

/* Pad the last line with spaces until it is `column` characters long; one space if it is longer already. */
void ljt_text_column(struct ljt_text *t, size_t column);

/*
 * Shift what was appended since `from` (an earlier t->len, on the last line) to the right until the line
 * is `column` characters long: right-aligned numbers. Nothing where the line is longer already.
 *     size_t from = t->len; ljt_text_bytes(t, n); ljt_text_align_right(t, from, 40);
 */
void ljt_text_align_right(struct ljt_text *t, size_t from, size_t column);

/*
 * Append words, broken at spaces so that no line gets longer than `width`; every line but the first starts
 * with `indent` spaces. Goes on from wherever the last line is now; a word longer than a line stays whole.
 */
void ljt_text_wrap(struct ljt_text *t, const char *words, size_t indent, size_t width);

/*
 * Append at most `max` (at least 3) characters of a string that came from outside: what is not printable
 * ASCII becomes '?', a longer string ends in "...".
 */
void ljt_text_foreign(struct ljt_text *t, const char *string, size_t max);

/* Append a path with every %p replaced by the process id. */
void ljt_text_path(struct ljt_text *t, const char *path, int64_t pid);

#endif
