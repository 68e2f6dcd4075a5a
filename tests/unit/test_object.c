/*
 * Executables and libraries as `ljtrim doctor` reads them: the strings in them. (Any bytes at all: tests/fuzz/object.c.)
 */
#include "lab.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../tools/object.h"

TestSuite(object, .init = lab_init, .timeout = LAB_TIMEOUT);

/* An ELF file as long as that whose strings begin at `at`, read under the name of an nginx. */
static struct ljt_object *with_strings(off_t length, off_t at)
{
    static struct ljt_object o;
    static const char strings[] = "\0--with-x --prefix=/p --conf-path=/c\0LuaJIT 2.1.7 -- "
                                  "Copyright (C) 2005-2023 Mike Pall.";
    int fd = memfd_create("object", MFD_CLOEXEC);
    cr_assert(fd >= 0 && pwrite(fd, "\177ELF", 4, 0) == 4 && ftruncate(fd, length) == 0);
    cr_assert(pwrite(fd, strings, sizeof(strings), at) == sizeof(strings));
    cr_assert(ljt_object_read_from(&o, fd, "/usr/sbin/nginx") == 0);
    return &o;
}

/* A file is read in windows of 1 MiB that have 16 KiB in common: all of a string is seen, whatever is between. */
Test(object, strings_are_found_wherever_they_lie)
{
    enum { WINDOW = 1 << 20, STRING = 8 << 10 };
    static const off_t edge[] = {WINDOW - 2 * STRING, WINDOW - STRING, WINDOW};
    for (unsigned i = 0; i < 3; i++)
        for (off_t at = edge[i] - 128; at < edge[i] + 16; at++) {
            const struct ljt_object *o = with_strings(WINDOW + 2 * STRING, at);
            cr_assert_str_eq(o->banner, "LuaJIT 2.1.7", "at %ld", (long)at);
            cr_assert_str_eq(o->configured, "--with-x --prefix=/p --conf-path=/c", "at %ld", (long)at);
            cr_assert(o->year == 2023, "%d at %ld", o->year, (long)at);
        }
}

Test(object, a_file_of_any_length_is_looked_through_for_a_while_alone)
{
    const off_t length = (off_t)1 << 40;
    cr_expect_str_eq(with_strings(length, length - 128)->banner, "");
    cr_expect_str_eq(with_strings(length, 64 << 20)->banner, "LuaJIT 2.1.7");
}
