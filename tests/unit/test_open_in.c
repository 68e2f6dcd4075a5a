/*
 * Paths of another process: what is below its root is found, what is not is not, wherever links lead.
 */
#include "lab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "elf_file.h"
#include "root.h"

static void begin(void)
{
    lab_init();
    root_make();
    root_write("/etc/inside", "inside");
}

TestSuite(open_in, .init = begin, .fini = root_drop, .timeout = LAB_TIMEOUT);

static void expect_inside(const char *path)
{
    char text[16] = "";
    int fd = ljt_open_in(root, path);
    cr_assert(fd >= 0, "%s: %s", path, strerror(-fd));
    cr_expect(read(fd, text, sizeof(text) - 1) == 6 && strcmp(text, "inside") == 0, "%s: '%s'", path, text);
    close(fd);
}

static void expect_error(const char *path, int error)
{
    int fd = ljt_open_in(root, path);
    cr_expect(fd == error, "%s: %d", path, fd);
    if (fd >= 0)
        close(fd);
}

Test(open_in, absolute_links_begin_at_the_root)
{
    root_link("/link", "/etc/inside");
    root_link("/etc/directory", "/etc");
    expect_inside("/link");
    expect_inside("/etc/directory/directory/inside");
}

Test(open_in, links_end_at_the_root)
{
    cr_assert(access("/bin/sh", R_OK) == 0, "what is outside");
    root_link("/shell", "/bin/sh");
    root_link("/etc/up", "../../../../../../../../..");
    expect_error("/shell", -ENOENT);
    expect_error("/etc/up/bin/sh", -ENOENT);
    expect_inside("/etc/up/etc/inside");
}

Test(open_in, dots_end_at_the_root)
{
    expect_error("/../../../../../../../../bin/sh", -ENOENT);
    expect_error("../../../../../../../../bin/sh", -ENOENT);
    expect_inside("/../../etc/../etc/inside");
    expect_inside("etc/inside");
}

Test(open_in, what_is_neither_file_nor_directory_is_not_opened)
{
    cr_assert(mkfifo(root_path("/pipe"), 0666) == 0);
    root_link("/etc/link", "/pipe");
    expect_error("/pipe", -EINVAL);
    expect_error("/etc/link", -EINVAL);
    if (mknod(root_path("/null"), S_IFCHR | 0666, makedev(1, 3)) == 0) /* for root alone */
        expect_error("/null", -EINVAL);
    int fd = ljt_open_in(root, "/etc");
    struct stat s;
    cr_expect(fd >= 0 && fstat(fd, &s) == 0 && S_ISDIR(s.st_mode));
    close(fd);
}
