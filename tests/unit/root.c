#include "root.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char root[64];

void root_make(void)
{
    snprintf(root, sizeof(root), "/tmp/ljtrim-root.XXXXXX");
    cr_assert(mkdtemp(root) != NULL);
}

void root_drop(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    cr_expect(system(command) == 0);
}

const char *root_path(const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    return path;
}

void root_write(const char *name, const char *text)
{
    FILE *f = fopen(root_path(name), "we");
    cr_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0, "%s", name);
}

void root_link(const char *name, const char *target)
{
    cr_assert(symlink(target, root_path(name)) == 0, "%s", name);
}
