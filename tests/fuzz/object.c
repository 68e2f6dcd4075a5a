/*
 * fuzz/object: any bytes at all, read as the ELF file or script that `ljtrim doctor` and `ljtrim run` look into.
 *
 * What must hold: no crash, texts end, and what is no ELF file says nothing of one.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "object.h"

static void demand_end(const char *text, size_t size)
{
    demand(memchr(text, '\0', size) != NULL, "a text ends");
}

int ljt_fuzz_object(const uint8_t *bytes, size_t n)
{
    static struct ljt_object o;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    demand(fd >= 0 && write(fd, bytes, n) == (ssize_t)n && lseek(fd, 0, SEEK_SET) == 0,
           "the file was written");
    memset(&o, 0xff, sizeof(o));
    int error = ljt_object_read_from(&o, fd, "/nowhere/file");
    demand(error <= 0, "0 or -errno");
    if (error != 0)
        return 0;
    demand_end(o.path, sizeof(o.path));
    demand_end(o.banner, sizeof(o.banner));
    demand_end(o.interpreter, sizeof(o.interpreter));
    demand_end(o.runpath, sizeof(o.runpath));
    demand_end(o.configured, sizeof(o.configured));
    demand(o.nneeded <= LJT_OBJECT_NEEDED, "bounds");
    for (size_t i = 0; i < o.nneeded; i++)
        demand_end(o.needed[i], sizeof(o.needed[i]));
    demand(!(o.is_elf && o.is_script), "one of them");
    demand(o.is_elf || (!o.defines_luajit && o.nneeded == 0), "no ELF file has no symbols");
    ljt_fuzz_accepted += o.is_elf || o.is_script || ljt_object_has_luajit(&o);
    return 0;
}
