/*
 * fuzz/symtab: any bytes at all, read as an ELF file. See fuzz.h.
 *
 * What must hold: no crash, and either an error with a text and nothing else, or functions inside the code.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "symtab.h"

int ljt_fuzz_symtab(const uint8_t *bytes, size_t n)
{
    static struct ljt_symtab s;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    demand(fd >= 0 && write(fd, bytes, n) == (ssize_t)n, "the file was written");
    int error = ljt_symtab_read(&s, "/nowhere", fd, "/nowhere/file");
    close(fd);
    if (error != 0) {
        demand(error < 0 && s.why[0] != '\0', "an error has a text");
        demand(s.source == LJT_SYMTAB_NONE && s.count == 0 && s.build_id_size == 0,
               "an error is all there is");
        return 0;
    }
    demand(s.why[0] == '\0', "an answer has no error");
    demand((s.source == LJT_SYMTAB_NONE) == (s.count == 0), "a source has functions");
    demand(s.count <= LJT_SYMTAB_FUNCTIONS && s.build_id_size <= LJT_SYMTAB_BUILD_ID, "bounds");
    for (unsigned i = 0; i < s.count; i++)
        demand(s.function[i].lo >= s.text_lo && s.function[i].lo < s.function[i].hi &&
                   s.function[i].hi <= s.text_hi && s.function[i].role < LJT_SYMTAB_ROLES,
               "functions lie inside the code");
    return 0;
}
