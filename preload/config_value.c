/*
 * The values of variables: from text to a field of struct ljt_config, and back (config.h says for whom).
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "text.h"

/* ---- Characters: the C library's functions ask the locale ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* Whether the n characters at `text` are `word`, whatever the case. */
static bool same_word(const char *text, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (word[i] == 0 || upper(text[i]) != upper(word[i]))
            return false;
    return word[n] == 0;
}

/* ---- Values ---- */

/* Read digits, at least one, and move *at behind them. False where they exceed UINT64_MAX. */
static bool read_digits(const char **at, uint64_t *value)
{
    const char *p = *at;
    uint64_t sum = 0;

    for (; is_digit(*p); p++)
        if (__builtin_mul_overflow(sum, 10u, &sum) || __builtin_add_overflow(sum, (uint64_t)(*p - '0'), &sum))
            return false;
    if (p == *at)
        return false;
    *at = p;
    *value = sum;
    return true;
}

static bool read_number(const char *text, uint64_t *value)
{
    return read_digits(&text, value) && *text == 0;
}

static bool read_size(const char *text, uint64_t *value)
{
    unsigned shift = 0;

    if (!read_digits(&text, value))
        return false;
    switch (upper(*text)) {
    case 'K': shift = 10; break;
    case 'M': shift = 20; break;
    case 'G': shift = 30; break;
    default: break;
    }
    if (shift > 0)
        text++;
    return *text == 0 && !__builtin_mul_overflow(*value, UINT64_C(1) << shift, value);
}

/* In millionths; further digits are read and dropped. */
static bool read_decimal(const char *text, uint64_t *value)
{
    uint64_t fraction = 0, weight = 100000;

    if (!read_digits(&text, value) || __builtin_mul_overflow(*value, 1000000u, value))
        return false;
    if (*text == '.') {
        if (!is_digit(*++text))
            return false;
        for (; is_digit(*text); text++, weight /= 10)
            fraction += (uint64_t)(*text - '0') * weight;
    }
    return *text == 0 && !__builtin_add_overflow(*value, fraction, value);
}

static bool read_word(const struct ljt_config_word *words, const char *text, size_t n, unsigned *value)
{
    for (; words->word != NULL; words++) {
        if (same_word(text, n, words->word)) {
            *value = words->value;
            return true;
        }
    }
    return false;
}

static bool read_flags(const struct ljt_config_word *words, const char *text, unsigned *value)
{
    *value = 0;
    if (*text == 0 || same_word(text, strlen(text), "none"))
        return true;
    for (;;) {
        size_t n = strcspn(text, ",");
        unsigned flag;
        if (!read_word(words, text, n, &flag))
            return false;
        *value |= flag;
        if (text[n] == 0)
            return true;
        text += n + 1;
    }
}

/*
 * The signals that may ask for a dump. Not KILL and STOP, which can't be caught; not the faults (SEGV, BUS,
 * FPE, ILL, TRAP, SYS, ABRT), where a handler that returns would run again for ever; not PIPE, which the log
 * itself may raise.
 */
static const struct ljt_config_word signal_words[] = {
    {"HUP", SIGHUP},       {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"USR1", SIGUSR1},
    {"USR2", SIGUSR2},     {"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"CHLD", SIGCHLD},
    {"CONT", SIGCONT},     {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},
    {"URG", SIGURG},       {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ}, {"PROF", SIGPROF},
    {"VTALRM", SIGVTALRM}, {"IO", SIGIO},     {"POLL", SIGPOLL}, {"WINCH", SIGWINCH},
    {"PWR", SIGPWR},       {NULL, 0},
};

static const char *signal_name(int signo)
{
    for (const struct ljt_config_word *w = signal_words; w->word != NULL; w++)
        if (w->value == (unsigned)signo)
            return w->word;
    return NULL;
}

/* Real-time signals below SIGRTMIN belong to the C library: one of them makes setuid work in all threads. */
static bool is_realtime(uint64_t signo)
{
    return signo >= (uint64_t)SIGRTMIN && signo <= (uint64_t)SIGRTMAX;
}

static bool read_signal(const char *text, int *value)
{
    uint64_t number;
    unsigned signo;

    if (same_word(text, strlen(text), "none")) {
        *value = 0;
        return true;
    }
    if (is_digit(*text)) {
        if (!read_number(text, &number))
            return false;
        if (number != 0 && !is_realtime(number) && (number > 31 || signal_name((int)number) == NULL))
            return false;
        *value = (int)number;
        return true;
    }
    if (strnlen(text, 3) == 3 && same_word(text, 3, "SIG"))
        text += 3;
    if (read_word(signal_words, text, strlen(text), &signo)) {
        *value = (int)signo;
        return true;
    }
    if (strnlen(text, 5) < 5)
        return false;
    bool from_min = same_word(text, 5, "RTMIN");
    if (!from_min && !same_word(text, 5, "RTMAX"))
        return false;
    text += 5;
    number = 0;
    if (*text != 0 && (*text != (from_min ? '+' : '-') || !read_number(text + 1, &number)))
        return false;
    if (number > (uint64_t)(SIGRTMAX - SIGRTMIN))
        return false;
    *value = from_min ? SIGRTMIN + (int)number : SIGRTMAX - (int)number;
    return true;
}

static bool read_path(const struct ljt_config_option *option, const char *text, char *path)
{
    if (strcmp(text, option->initial) == 0) {
        *path = 0;
        return true;
    }
    size_t n = strnlen(text, LJT_CONFIG_PATH_SIZE);
    if (n == 0 || n == LJT_CONFIG_PATH_SIZE)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < ' ' || c == 0x7f)
            return false;
        if (c == '%' && text[++i] != 'p')
            return false;
    }
    memcpy(path, text, n + 1);
    return true;
}

static bool within(const struct ljt_config_option *option, uint64_t value)
{
    return value >= option->min && value <= option->max;
}

int ljt_config_parse(const struct ljt_config_option *option, const char *value, struct ljt_config *out)
{
    void *field = (char *)out + option->offset;
    uint64_t number;
    unsigned word;

    switch (option->kind) {
    case LJT_CONFIG_BOOL:
        if ((*value != '0' && *value != '1') || value[1] != 0)
            return -EINVAL;
        *(int *)field = *value - '0';
        return 0;
    case LJT_CONFIG_WORD:
        if (!read_word(option->words, value, strlen(value), &word))
            return -EINVAL;
        memcpy(field, &word, sizeof(word));
        return 0;
    case LJT_CONFIG_FLAGS:
        if (!read_flags(option->words, value, &word))
            return -EINVAL;
        memcpy(field, &word, sizeof(word));
        return 0;
    case LJT_CONFIG_NUMBER:
    case LJT_CONFIG_SIZE:
        if (!(option->kind == LJT_CONFIG_SIZE ? read_size : read_number)(value, &number))
            return -EINVAL;
        if (!within(option, number))
            return -EINVAL;
        *(uint64_t *)field = number;
        return 0;
    case LJT_CONFIG_DECIMAL:
        if (!read_decimal(value, &number) || !within(option, number))
            return -EINVAL;
        *(double *)field = (double)number / 1e6;
        return 0;
    case LJT_CONFIG_SIGNAL: return read_signal(value, field) ? 0 : -EINVAL;
    case LJT_CONFIG_PATH: return read_path(option, value, field) ? 0 : -EINVAL;
    }
    return -EINVAL;
}

static void write_words(const struct ljt_config_option *option, unsigned value, struct ljt_text *out)
{
    bool flags = option->kind == LJT_CONFIG_FLAGS, first = true;

    if (flags && value == 0)
        ljt_text_string(out, "none");
    for (const struct ljt_config_word *w = option->words; w->word != NULL; w++) {
        if (flags ? (value & w->value) == 0 : value != w->value)
            continue;
        if (!first)
            ljt_text_string(out, ",");
        ljt_text_string(out, w->word);
        first = false;
    }
}

static void write_size(uint64_t bytes, struct ljt_text *out)
{
    static const char *const suffixes[] = {"", "K", "M", "G"};
    unsigned i = 0;

    for (; bytes > 0 && bytes % 1024 == 0 && i < 3; i++)
        bytes /= 1024;
    ljt_text_unsigned(out, bytes);
    ljt_text_string(out, suffixes[i]);
}

static void write_decimal(double value, struct ljt_text *out)
{
    uint64_t millionths = (uint64_t)(value * 1e6 + 0.5);
    uint64_t rest = millionths % 1000000;

    ljt_text_unsigned(out, millionths / 1000000);
    if (rest > 0)
        ljt_text_string(out, ".");
    for (uint64_t weight = 100000; rest > 0; rest %= weight, weight /= 10)
        ljt_text_unsigned(out, rest / weight);
}

static void write_signal(int signo, struct ljt_text *out)
{
    const char *name = signal_name(signo);

    if (signo == 0) {
        ljt_text_string(out, "none");
    } else if (name != NULL) {
        ljt_text_string(out, name);
    } else {
        ljt_text_string(out, "RTMIN+");
        ljt_text_signed(out, signo - SIGRTMIN);
    }
}

void ljt_config_value(const struct ljt_config_option *option, const struct ljt_config *config,
                      struct ljt_text *out)
{
    const void *field = (const char *)config + option->offset;
    double decimal;

    switch (option->kind) { /* atomic loads: another thread may be in ljt_config_set */
    case LJT_CONFIG_BOOL: ljt_text_signed(out, __atomic_load_n((const int *)field, __ATOMIC_RELAXED)); break;
    case LJT_CONFIG_WORD:
    case LJT_CONFIG_FLAGS:
        write_words(option, __atomic_load_n((const unsigned *)field, __ATOMIC_RELAXED), out);
        break;
    case LJT_CONFIG_NUMBER:
        ljt_text_unsigned(out, __atomic_load_n((const uint64_t *)field, __ATOMIC_RELAXED));
        break;
    case LJT_CONFIG_SIZE: write_size(__atomic_load_n((const uint64_t *)field, __ATOMIC_RELAXED), out); break;
    case LJT_CONFIG_DECIMAL:
        __atomic_load((const double *)field, &decimal, __ATOMIC_RELAXED);
        write_decimal(decimal, out);
        break;
    case LJT_CONFIG_SIGNAL: write_signal(*(const int *)field, out); break;
    case LJT_CONFIG_PATH: ljt_text_string(out, *(const char *)field ? field : option->initial); break;
    }
}
