/*
 * ljtrim run [--OPTION VALUE ...] -- COMMAND: the command with libljtrim preloaded.
 *
 * Nothing is run unless every value is allowed. The command takes this process's place: its id, its files and
 * its exit status are what they would be without us.
 */
#include "commands.h"
#include "config.h"
#include "text.h"

#include <errno.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 1024 };

/* ---- The library ---- */

int ljt_find_library(char *path, size_t size)
{
    static const char *const installed[] = {"/usr/local/lib/libljtrim.so", "/usr/lib/libljtrim.so",
                                            "/usr/lib64/libljtrim.so"};
    static const char *const beside[] = {"libljtrim.so", "../lib/libljtrim.so", "../lib64/libljtrim.so"};
    char self[PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0) {
        self[n] = '\0';
        const char *directory = dirname(self);
        for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
            char candidate[PATH_SIZE + 32], *real;
            snprintf(candidate, sizeof(candidate), "%s/%s", directory, beside[i]);
            if ((real = realpath(candidate, NULL)) != NULL) {
                snprintf(path, size, "%s", real);
                free(real);
                return 0;
            }
        }
    }
    for (size_t i = 0; i < sizeof(installed) / sizeof(installed[0]); i++) {
        if (access(installed[i], R_OK) == 0) {
            snprintf(path, size, "%s", installed[i]);
            return 0;
        }
    }
    return -ENOENT;
}

/* Puts the library in front of what LD_PRELOAD says, unless a libljtrim.so is there already. */
static int preload(const char *library)
{
    const char *before = getenv("LD_PRELOAD");
    if (strpbrk(library, " :") != NULL) {
        fprintf(stderr,
                "ljtrim: run: '%s' has a space or a colon in it, which LD_PRELOAD cannot express; copy the "
                "library elsewhere\n",
                library);
        return -EINVAL;
    }
    if (before == NULL || before[0] == '\0')
        return setenv("LD_PRELOAD", library, 1);
    if (strstr(before, "libljtrim.so") != NULL)
        return 0;
    size_t size = strlen(library) + strlen(before) + 2;
    char *both = malloc(size);
    if (both == NULL)
        return -ENOMEM;
    snprintf(both, size, "%s:%s", library, before);
    int error = setenv("LD_PRELOAD", both, 1);
    free(both);
    return error;
}

/* ---- Options ---- */

struct run {
    const char *library; /* NULL: to be found */
    bool print;
    char **command;
};

static int set_option(const struct ljt_config_option *option, const char *value)
{
    struct ljt_config scratch;
    ljt_config_load(NULL, &scratch, NULL, NULL);
    if (value == NULL || ljt_config_parse(option, value, &scratch) != 0) {
        if (value == NULL)
            fprintf(stderr, "ljtrim: run: %s wants a value: %s\n", option->name, option->allowed);
        else
            fprintf(stderr, "ljtrim: run: %s=%s is not allowed; allowed is %s\n", option->name, value,
                    option->allowed);
        return -EINVAL;
    }
    return setenv(option->name, value, 1);
}

/* argv[i], and its value where it takes one. How many words that were, or -errno. */
static int parse_option(struct run *run, int argc, char **argv, int i)
{
    const char *word = argv[i] + 2, *equals = strchr(word, '=');
    const char *next = i + 1 < argc && strcmp(argv[i + 1], "--") != 0 ? argv[i + 1] : NULL;
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const char *value = equals != NULL ? equals + 1 : next;
    int words = equals != NULL ? 1 : 2, error;
    if (strcmp(word, "print") == 0) {
        run->print = true;
        return 1;
    }
    if (length == strlen("library") && strncmp(word, "library", length) == 0) {
        run->library = value;
        if (value == NULL || access(value, R_OK) != 0) {
            fprintf(stderr, "ljtrim: run: there is no library '%s' to be read\n", value == NULL ? "" : value);
            return -EINVAL;
        }
        return words;
    }
    const struct ljt_config_option *option = ljt_find_option(word, length);
    if (option == NULL) {
        fprintf(stderr, "ljtrim: run: there is no option '%s'; see 'ljtrim help'\n", argv[i]);
        return -EINVAL;
    }
    if (option->kind == LJT_CONFIG_BOOL && equals == NULL &&
        (next == NULL || (strcmp(next, "0") != 0 && strcmp(next, "1") != 0))) {
        value = "1";
        words = 1;
    }
    error = set_option(option, value);
    return error != 0 ? -EINVAL : words;
}

static int parse(struct run *run, int argc, char **argv)
{
    int i = 1;
    while (i < argc && strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
        int words = parse_option(run, argc, argv, i);
        if (words < 0)
            return words;
        i += words;
    }
    if (i < argc && strcmp(argv[i], "--") == 0)
        i++;
    run->command = argv + i;
    if (run->print || i < argc)
        return 0;
    fprintf(stderr, "ljtrim: run: which command? ljtrim run [--OPTION VALUE ...] -- COMMAND [ARG ...]\n");
    return -EINVAL;
}

static void print_variables(void)
{
    printf("LD_PRELOAD=%s\n", getenv("LD_PRELOAD"));
    for (size_t i = 0; i < ljt_config_option_count; i++) {
        const char *value = getenv(ljt_config_options[i].name);
        if (value != NULL)
            printf("%s=%s\n", ljt_config_options[i].name, value);
    }
}

int ljt_run_main(int argc, char **argv)
{
    struct run run = {0};
    char found[PATH_SIZE];
    if (parse(&run, argc, argv) != 0)
        return LJT_EXIT_USAGE;
    char *given = run.library == NULL ? NULL : realpath(run.library, NULL);
    if (given == NULL && ljt_find_library(found, sizeof(found)) != 0) {
        fprintf(stderr, "ljtrim: run: libljtrim.so is neither beside ljtrim nor in ../lib, /usr/local/lib or "
                        "/usr/lib; say where with --library\n");
        return LJT_EXIT_FAILED;
    }
    int error = preload(given != NULL ? given : found);
    free(given);
    if (error != 0)
        return LJT_EXIT_FAILED;
    if (run.print) {
        print_variables();
        return LJT_EXIT_OK;
    }
    execvp(run.command[0], run.command);
    int status = errno == ENOENT ? LJT_EXIT_NOT_FOUND : LJT_EXIT_NOT_EXECUTABLE;
    fprintf(stderr, "ljtrim: run: cannot run '%s' (%s)\n", run.command[0], strerror(errno));
    return status;
}
