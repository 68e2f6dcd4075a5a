#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>

#include "text.h"

struct ljt_config ljt_config;

/* ---- The environment ---- */

#define PREFIX "LJTRIM_"
enum { PREFIX_LENGTH = sizeof(PREFIX) - 1 };

/* What a value or a name may take of a complaint's line. */
enum { COMPLAINT_VALUE = 40, COMPLAINTS_MAX = 16 };

struct complaints {
    void (*complain)(const char *line, void *arg);
    void *arg;
    unsigned count;
};

/* Count a complaint; whether its line is to be written. */
static bool complain_more(struct complaints *c)
{
    if (c == NULL || c->complain == NULL || c->count > COMPLAINTS_MAX)
        return false;
    if (c->count++ < COMPLAINTS_MAX)
        return true;
    c->complain("more " PREFIX " variables are not allowed or unknown; ignoring them", c->arg);
    return false;
}

/* `kept`: the configuration whose value stays; NULL for the default. */
static void complain_value(struct complaints *c, const struct ljt_config_option *option, const char *value,
                           const struct ljt_config *kept)
{
    char buf[LJT_CONFIG_LINE_MAX + 1];
    struct ljt_text line = LJT_TEXT(buf);

    if (!complain_more(c))
        return;
    ljt_text_string(&line, option->name);
    ljt_text_string(&line, "=");
    ljt_text_foreign(&line, value, COMPLAINT_VALUE);
    ljt_text_string(&line, " is not allowed (");
    ljt_text_string(&line, option->allowed);
    ljt_text_string(&line, kept != NULL ? "); keeping " : "); using ");
    if (kept != NULL)
        ljt_config_value(option, kept, &line);
    else
        ljt_text_string(&line, option->initial);
    c->complain(buf, c->arg);
}

/*
 * In how many steps one name becomes the other: a character added, dropped, changed, or exchanged with its
 * neighbour. 99 where one is too long for the rows.
 */
enum { DISTANCE_LENGTH = 32 };

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static unsigned distance(const char *a, size_t a_len, const char *b)
{
    unsigned char rows[3][DISTANCE_LENGTH + 1];
    unsigned char *before = rows[0], *last = rows[1], *row = rows[2];
    size_t b_len = strlen(b);

    if (a_len > DISTANCE_LENGTH || b_len > DISTANCE_LENGTH)
        return 99;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned char)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned char *spare = before;
        before = last;
        last = row;
        row = spare;
        row[0] = (unsigned char)i;
        for (size_t j = 1; j <= b_len; j++) {
            char ca = upper(a[i - 1]), cb = b[j - 1];
            unsigned best = last[j - 1] + (ca != cb ? 1u : 0u);
            if (last[j] + 1u < best)
                best = last[j] + 1u;
            if (row[j - 1] + 1u < best)
                best = row[j - 1] + 1u;
            if (i > 1 && j > 1 && ca == b[j - 2] && upper(a[i - 2]) == cb && before[j - 2] + 1u < best)
                best = before[j - 2] + 1u;
            row[j] = (unsigned char)best;
        }
    }
    return row[b_len];
}

/* Whether a name was left at an underscore: DECAY for DECAY_MS, MAX_CPU for MAX_CPU_PCT. */
static bool is_beginning(const char *name, size_t length, const char *whole)
{
    size_t i = 0;

    while (i < length && whole[i] != 0 && upper(name[i]) == whole[i])
        i++;
    return length > 0 && i == length && whole[i] == '_';
}

static void complain_unknown(struct complaints *c, const char *name, size_t length)
{
    char buf[LJT_CONFIG_LINE_MAX + 1], shown[COMPLAINT_VALUE + 2];
    struct ljt_text line = LJT_TEXT(buf), cut = LJT_TEXT(shown);
    const char *closest = NULL;
    unsigned least = 1 + (unsigned)(length - PREFIX_LENGTH) / 4; /* a longer name may lack more */

    if (!complain_more(c))
        return;
    least = (least < 3 ? least : 3) + 1;
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        const char *candidate = ljt_config_options[i].name;
        unsigned d = distance(name + PREFIX_LENGTH, length - PREFIX_LENGTH, candidate + PREFIX_LENGTH);
        if (is_beginning(name + PREFIX_LENGTH, length - PREFIX_LENGTH, candidate + PREFIX_LENGTH))
            d = 1;
        if (d < least) {
            least = d;
            closest = candidate;
        }
    }
    ljt_text_append(&cut, name, length);
    ljt_text_foreign(&line, shown, COMPLAINT_VALUE);
    ljt_text_string(&line, " is not a variable of this version");
    if (closest != NULL) {
        ljt_text_string(&line, " (did you mean ");
        ljt_text_string(&line, closest);
        ljt_text_string(&line, "?)");
    }
    ljt_text_string(&line, "; ignoring it");
    c->complain(buf, c->arg);
}

/* The index of the option called name[0..length), or the number of options. */
static size_t find_option(const char *name, size_t length)
{
    size_t i = 0;

    for (; i < ljt_config_option_count; i++) {
        const char *candidate = ljt_config_options[i].name;
        if (strncmp(candidate, name, length) == 0 && candidate[length] == 0)
            break;
    }
    return i;
}

/* Whether any variable was ours. Every process pays for this loop, and hardly any variable is. */
static bool apply(char *const *environment, struct ljt_config *out, struct complaints *c)
{
    uint64_t seen = 0; /* a bit for each row: LJT_CONFIG_OPTIONS_MAX */
    bool any = false;

    for (; *environment != NULL; environment++) {
        const char *name = *environment, *equals;
        if (*name != PREFIX[0] || strncmp(name, PREFIX, PREFIX_LENGTH) != 0 ||
            (equals = strchr(name, '=')) == NULL)
            continue;
        any = true;
        size_t i = find_option(name, (size_t)(equals - name));
        if (i == ljt_config_option_count) {
            complain_unknown(c, name, (size_t)(equals - name));
        } else if ((seen >> i & 1) == 0) {
            seen |= UINT64_C(1) << i;
            if (ljt_config_parse(&ljt_config_options[i], equals + 1, out) != 0)
                complain_value(c, &ljt_config_options[i], equals + 1, NULL);
        }
    }
    return any;
}

void ljt_config_load(char *const *environment, struct ljt_config *out,
                     void (*complain)(const char *line, void *arg), void *arg)
{
    struct complaints complaints = {.complain = complain, .arg = arg};

    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < ljt_config_option_count; i++)
        ljt_config_parse(&ljt_config_options[i], ljt_config_options[i].initial, out);
    if (environment != NULL && apply(environment, out, NULL) && complain != NULL) {
        /* A second time, for the complaints alone: they may need the log that *out names. */
        struct ljt_config again = *out;
        apply(environment, &again, &complaints);
    }
}

/* ---- At run time ---- */

/* The name as it stands in the table, if it stands there: in upper case, with the prefix. 0 where it is too long. */
static size_t full_name(const char *name, char *full, size_t size)
{
    size_t n = 0;

    if (strncasecmp(name, PREFIX, PREFIX_LENGTH) != 0)
        for (; n < PREFIX_LENGTH; n++)
            full[n] = PREFIX[n];
    for (; *name != 0; n++) {
        if (n + 1 >= size)
            return 0;
        full[n] = upper(*name++);
    }
    full[n] = 0;
    return n;
}

const struct ljt_config_option *ljt_config_find(const char *name)
{
    char full[64];
    size_t n = full_name(name, full, sizeof(full));
    size_t i = n > 0 ? find_option(full, n) : ljt_config_option_count;
    return i < ljt_config_option_count ? &ljt_config_options[i] : NULL;
}

/* Relaxed: a value means nothing for other memory. */
static void publish(const struct ljt_config_option *option, const struct ljt_config *from)
{
    const void *value = (const char *)from + option->offset;
    void *field = (char *)&ljt_config + option->offset;
    switch (option->kind) {
    case LJT_CONFIG_BOOL:
    case LJT_CONFIG_WORD:
    case LJT_CONFIG_FLAGS: {
        uint32_t word;
        memcpy(&word, value, sizeof(word));
        __atomic_store_n((uint32_t *)field, word, __ATOMIC_RELAXED);
        break;
    }
    case LJT_CONFIG_NUMBER:
    case LJT_CONFIG_SIZE:
    case LJT_CONFIG_DECIMAL: {
        uint64_t number;
        memcpy(&number, value, sizeof(number));
        __atomic_store_n((uint64_t *)field, number, __ATOMIC_RELAXED);
        break;
    }
    case LJT_CONFIG_SIGNAL:
    case LJT_CONFIG_PATH: break; /* never at run time */
    }
}

static void append_line(const char *line, void *arg)
{
    ljt_text_string(arg, line);
}

int ljt_config_set(const char *name, const char *value, struct ljt_text *error)
{
    struct complaints complaints = {.complain = error != NULL ? append_line : NULL, .arg = error};
    const struct ljt_config_option *option = ljt_config_find(name);
    struct ljt_config parsed; /* of which one field is used: what the parser writes in place is not atomic */

    if (option == NULL) {
        char full[64];
        size_t n = full_name(name, full, sizeof(full));
        if (n > 0)
            complain_unknown(&complaints, full, n);
        else if (error != NULL)
            ljt_text_string(error, "no variable has so long a name; ignoring it");
        return -ENOENT;
    }
    if (!option->runtime) {
        if (error != NULL) {
            ljt_text_string(error, option->name);
            ljt_text_string(error, " is fixed when the process starts; keeping ");
            char buf[LJT_CONFIG_PATH_SIZE];
            struct ljt_text kept = LJT_TEXT(buf); /* a path may have characters that no log line has */
            ljt_config_value(option, &ljt_config, &kept);
            ljt_text_foreign(error, buf, COMPLAINT_VALUE);
        }
        return -EPERM;
    }
    if (ljt_config_parse(option, value, &parsed) != 0) {
        complain_value(&complaints, option, value, &ljt_config);
        return -EINVAL;
    }
    publish(option, &parsed);
    return 0;
}

int ljt_config_is_secure(void)
{
    return getauxval(AT_SECURE) != 0;
}

/* ---- The documentation ---- */

enum { HELP_WIDTH = 79, HELP_INDENT = 6 };

void ljt_config_help(struct ljt_text *out)
{
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        const struct ljt_config_option *option = &ljt_config_options[i];

        ljt_text_string(out, "  ");
        ljt_text_string(out, option->name);
        ljt_text_column(out, 26);
        ljt_text_string(out, "default ");
        ljt_text_string(out, option->initial);
        ljt_text_string(out, "\n");
        ljt_text_repeat(out, ' ', HELP_INDENT);
        ljt_text_wrap(out, option->help, HELP_INDENT, HELP_WIDTH);
        ljt_text_string(out, "\n");
        ljt_text_repeat(out, ' ', HELP_INDENT);
        ljt_text_string(out, "Allowed: ");
        ljt_text_wrap(out, option->allowed, HELP_INDENT, HELP_WIDTH);
        ljt_text_string(out, ".\n");
    }
}

void ljt_config_markdown(struct ljt_text *out)
{
    ljt_text_string(out, "# Environment variables\n\n"
                         "<!-- Written from the table in preload/config_options.c: "
                         "UPDATE_DOCS=1 make test-unit writes it anew. -->\n\n");
    ljt_text_wrap(out,
                  "The library reads them once, when it is loaded, and ignores them in processes with raised "
                  "privileges (setuid, file capabilities). A value that is not allowed costs one line in the "
                  "log, and the default is used; a name that is not in this table costs one line, too. "
                  "Neither is written in a process that runs no LuaJIT. Words may be in upper or lower case.",
                  0, 100);
    ljt_text_string(out, "\n\n"
                         "| Variable | Default | Allowed | What it does |\n"
                         "|---|---|---|---|\n");
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        const struct ljt_config_option *option = &ljt_config_options[i];

        ljt_text_string(out, "| `");
        ljt_text_string(out, option->name);
        ljt_text_string(out, "` | `");
        ljt_text_string(out, option->initial);
        ljt_text_string(out, "` | ");
        ljt_text_string(out, option->allowed);
        ljt_text_string(out, " | ");
        ljt_text_string(out, option->help);
        ljt_text_string(out, " |\n");
    }
    ljt_text_string(out, "\n");
    size_t from = out->len;
    ljt_text_string(out, "A running process can change these (`ljtrim_set`, [LUA.md](LUA.md)):");
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        const struct ljt_config_option *option = &ljt_config_options[i];
        if (!option->runtime)
            continue;
        bool full = out->len - from > 80;
        ljt_text_string(out, full ? "\n`" : " `");
        from = full ? out->len : from;
        ljt_text_string(out, option->name);
        ljt_text_string(out, "`");
    }
    ljt_text_string(out, ".\n");
}
