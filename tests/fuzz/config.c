/*
 * fuzz/config: any lines at all as the environment, and those that begin with '!' as calls of ljt_config_set.
 *
 * What must hold: every value is allowed (what it is written as reads back as itself), a complaint is one printable line
 * of bounded length, a call that fails changes nothing, and one that succeeds nothing but its option.
 */
#include <errno.h>
#include <string.h>

#include "config.h"
#include "fuzz.h"
#include "text.h"

enum { LINES = 100 };

static unsigned complaints;

static void complain(const char *line, void *arg)
{
    (void)arg;
    demand(strlen(line) > 0 && strlen(line) <= LJT_CONFIG_LINE_MAX, "a complaint has a length");
    for (; *line != '\0'; line++)
        demand(*line >= ' ' && *line <= '~', "a complaint can be printed");
    demand(++complaints <= 17, "complaints have an end");
}

static void written(const struct ljt_config_option *option, const struct ljt_config *config, char *to,
                    size_t size)
{
    struct ljt_text t;
    ljt_text_init(&t, to, size);
    ljt_config_value(option, config, &t);
    demand(t.lost == 0, "a value fits");
}

static void demand_allowed(const struct ljt_config *config)
{
    static struct ljt_config again;
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        const struct ljt_config_option *option = &ljt_config_options[i];
        char first[LJT_CONFIG_PATH_SIZE + 64], second[sizeof(first)];
        written(option, config, first, sizeof(first));
        demand(ljt_config_parse(option, first, &again) == 0, "a value that is in force is allowed");
        written(option, &again, second, sizeof(second));
        demand(strcmp(first, second) == 0, "a value reads back as itself");
    }
}

static void set(char *line)
{
    static struct ljt_config before;
    char buf[512], *value = strchr(line, '=');
    struct ljt_text error = LJT_TEXT(buf);
    if (value == NULL)
        return;
    *value++ = '\0';
    memcpy(&before, &ljt_config, sizeof(before));
    int result = ljt_config_set(line, value, &error);
    const struct ljt_config_option *option = ljt_config_find(line);
    demand(result == 0 || result == -ENOENT || result == -EINVAL || result == -EPERM,
           "a result that is known");
    demand((result == -ENOENT) == (option == NULL), "a name is known or not");
    ljt_fuzz_accepted += result == 0;
    demand((result == 0) == (error.len == 0), "a failure is told");
    for (size_t i = 0; i < error.len; i++)
        demand(buf[i] >= ' ' && buf[i] <= '~', "an error can be printed");
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        char was[LJT_CONFIG_PATH_SIZE + 64], is[sizeof(was)];
        written(&ljt_config_options[i], &before, was, sizeof(was));
        written(&ljt_config_options[i], &ljt_config, is, sizeof(is));
        demand(strcmp(was, is) == 0 || (result == 0 && &ljt_config_options[i] == option),
               "nothing else changes");
    }
}

int ljt_fuzz_config(const uint8_t *bytes, size_t n)
{
    char text[4096], *environment[LINES + 1], *calls[LINES];
    size_t lines = 0, ncalls = 0;
    n = n < sizeof(text) - 1 ? n : sizeof(text) - 1;
    memcpy(text, bytes, n);
    text[n] = '\0';
    for (char *line = text; line < text + n && lines < LINES && ncalls < LINES;) {
        char *end = line + strcspn(line, "\n");
        *end = '\0';
        if (*line == '!')
            calls[ncalls++] = line + 1;
        else
            environment[lines++] = line;
        line = end + 1;
    }
    environment[lines] = NULL;
    complaints = 0;
    static struct ljt_config loaded;
    ljt_config_load(environment, &loaded, complain, NULL);
    demand_allowed(&loaded);
    memcpy(&ljt_config, &loaded, sizeof(loaded));
    for (size_t i = 0; i < ncalls; i++)
        set(calls[i]);
    demand_allowed(&ljt_config);
    return 0;
}
