#include <criterion/criterion.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* What a function appends to an empty text. */
#define expect_text(expected, function, ...)                                                                \
    do {                                                                                                    \
        char buf_[256];                                                                                     \
        struct ljt_text t_ = LJT_TEXT(buf_);                                                                \
        function(&t_, __VA_ARGS__);                                                                         \
        cr_expect(strcmp(buf_, expected) == 0, "%s(" #__VA_ARGS__ "): \"%s\", not \"%s\"", #function, buf_, \
                  expected);                                                                                \
        cr_expect(t_.len == strlen(expected) && t_.lost == 0);                                              \
    } while (0)

Test(text, gives_sizes_in_the_largest_unit_that_fits)
{
    expect_text("0 B", ljt_text_bytes, 0);
    expect_text("17 B", ljt_text_bytes, 17);
    expect_text("1023 B", ljt_text_bytes, 1023);
    expect_text("1.0 KiB", ljt_text_bytes, 1024);
    expect_text("1.5 KiB", ljt_text_bytes, 1536);
    expect_text("99.9 KiB", ljt_text_bytes, 102348);
    expect_text("100 KiB", ljt_text_bytes, 102400 - 10);
    expect_text("812 KiB", ljt_text_bytes, 812 * 1024);
    expect_text("12.3 MiB", ljt_text_bytes, 12897485);
    expect_text("2.0 GiB", ljt_text_bytes, UINT64_C(1) << 31);
    expect_text("128 TiB", ljt_text_bytes, UINT64_C(1) << 47);
    expect_text("16384 PiB", ljt_text_bytes, UINT64_MAX);
}

Test(text, moves_to_the_next_unit_where_rounding_fills_one)
{
    expect_text("1.0 MiB", ljt_text_bytes, 1024 * 1024 - 1);
    expect_text("1.0 MiB", ljt_text_bytes, 1023 * 1024 + 512);
    expect_text("1023 KiB", ljt_text_bytes, 1023 * 1024 + 511);
    expect_text("1.0 ms", ljt_text_duration, 999500);
    expect_text("999 us", ljt_text_duration, 999499);
}

Test(text, gives_durations_in_the_largest_unit_that_fits)
{
    expect_text("0 ns", ljt_text_duration, 0);
    expect_text("999 ns", ljt_text_duration, 999);
    expect_text("1.2 us", ljt_text_duration, 1234);
    expect_text("3.4 ms", ljt_text_duration, 3400000);
    expect_text("10.0 s", ljt_text_duration, UINT64_C(10000000000));
    expect_text("18446744074 s", ljt_text_duration, UINT64_MAX);
}

Test(text, gives_percentages_with_one_decimal)
{
    expect_text("0.0%", ljt_text_percent, 0, 5);
    expect_text("12.3%", ljt_text_percent, 123, 1000);
    expect_text("33.3%", ljt_text_percent, 1, 3);
    expect_text("66.7%", ljt_text_percent, 2, 3);
    expect_text("100.0%", ljt_text_percent, 7, 7);
    expect_text("250.0%", ljt_text_percent, 5, 2);
    expect_text("50.0%", ljt_text_percent, UINT64_MAX / 2, UINT64_MAX);
    expect_text("-", ljt_text_percent, 1, 0);
    expect_text("-", ljt_text_percent, 0, 0);
}

Test(text, writes_numbers_to_their_limits)
{
    expect_text("0", ljt_text_unsigned, 0);
    expect_text("18446744073709551615", ljt_text_unsigned, UINT64_MAX);
    expect_text("-9223372036854775808", ljt_text_signed, INT64_MIN);
    expect_text("9223372036854775807", ljt_text_signed, INT64_MAX);
    expect_text("-1", ljt_text_signed, -1);
    expect_text("0xffffffffffffffff", ljt_text_hex, UINT64_MAX);
    expect_text("0x0", ljt_text_hex, 0);
}

Test(text, never_writes_past_its_buffer_and_counts_what_is_lost)
{
    char memory[32];

    for (size_t cap = 0; cap <= 16; cap++) {
        struct ljt_text t;
        memset(memory, '#', sizeof(memory));
        ljt_text_init(&t, memory + 8, cap);
        ljt_text_string(&t, "abc");
        ljt_text_printf(&t, "%d", 12345);
        ljt_text_repeat(&t, '.', 3);
        ljt_text_bytes(&t, 17);
        cr_expect(t.len + t.lost == 15, "capacity %zu: %zu + %zu", cap, t.len, t.lost);
        cr_expect(t.len == (cap == 0 ? 0 : cap - 1 < 15 ? cap - 1 : 15));
        cr_expect(cap == 0 || strncmp(memory + 8, "abc12345...17 B", t.len) == 0);
        cr_expect(cap == 0 || memory[8 + t.len] == 0);
        for (size_t i = 0; i < sizeof(memory); i++)
            cr_expect((i >= 8 && i < 8 + cap) || memory[i] == '#', "capacity %zu: byte %zu", cap, i);
    }
}

Test(text, takes_no_buffer_for_an_answer)
{
    struct ljt_text t;

    ljt_text_init(&t, NULL, 0);
    ljt_text_string(&t, "lost");
    ljt_text_column(&t, 10);
    ljt_text_align_right(&t, 0, 20);
    cr_expect(t.len == 0 && t.lost == 14);
}

Test(text, counts_the_end_of_a_long_format_as_lost)
{
    static char buf[4096];
    static char words[2001];
    struct ljt_text t = LJT_TEXT(buf);

    memset(words, 'x', 2000);
    ljt_text_printf(&t, "%s", words);
    cr_expect(t.len == 1024 && t.lost == 976);
}

Test(text, aligns_columns_on_the_last_line)
{
    char buf[128];
    struct ljt_text t = LJT_TEXT(buf);

    ljt_text_string(&t, "a longer line before\nab");
    ljt_text_column(&t, 6);
    size_t from = t.len;
    ljt_text_bytes(&t, 2048);
    ljt_text_align_right(&t, from, 16);
    ljt_text_column(&t, 10); /* long past: one space */
    ljt_text_string(&t, "x");
    cr_expect_str_eq(buf, "a longer line before\nab       2.0 KiB x");
}

Test(text, leaves_text_unaligned_rather_than_cut_it)
{
    char buf[12];
    struct ljt_text t = LJT_TEXT(buf);

    ljt_text_string(&t, "12345678");
    ljt_text_align_right(&t, 0, 30);
    cr_expect_str_eq(buf, "12345678");
    ljt_text_align_right(&t, 9, 10); /* a start behind the end */
    cr_expect_str_eq(buf, "12345678");
}

Test(text, wraps_at_spaces_and_keeps_long_words_whole)
{
    char buf[128];
    struct ljt_text t = LJT_TEXT(buf);

    ljt_text_string(&t, "> ");
    ljt_text_wrap(&t, "one two  three incomprehensibilities four", 4, 13);
    cr_expect_str_eq(buf, "> one two\n    three\n    incomprehensibilities\n    four");
}

Test(text, makes_foreign_strings_harmless)
{
    expect_text("plain", ljt_text_foreign, "plain", 10);
    expect_text("a?b??c", ljt_text_foreign,
                "a\nb\033\x7f"
                "c",
                10);
    expect_text("caf??", ljt_text_foreign, "caf\xc3\xa9", 10);
    expect_text("0123456789", ljt_text_foreign, "0123456789", 10);
    expect_text("0123456...", ljt_text_foreign, "0123456789a", 10);
}
