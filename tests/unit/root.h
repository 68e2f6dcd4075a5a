/*
 * root: a directory of the test's own that stands for the root directory of a process which is looked at.
 */
#ifndef LJT_TEST_ROOT_H
#define LJT_TEST_ROOT_H

extern char root[64]; /* its path, between root_make and root_drop */

void root_make(void);
void root_drop(void);

/* Where we find a name of it; the directories that lead there are made. Valid until the next call. */
const char *root_path(const char *name);

/* A file with this text; a symbolic link. */
void root_write(const char *name, const char *text);
void root_link(const char *name, const char *target);

#endif
