#include "elf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* More sections than any linker makes, and larger tables than any LuaJIT has. */
enum { SECTIONS_MAX = 1 << 16, SEGMENTS_MAX = 1 << 12 };
static const uint64_t TABLE_MAX = (uint64_t)256 << 20;

/* No FIFO that nobody writes to holds it up, and no terminal becomes ours. */
static int open_to_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

/* A path below a root that is not ours: what it leads to, not yet opened. */
static int find_in(const char *root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    int directory = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -errno;
    int found = (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
    int error = -errno;
    close(directory);
    return found < 0 ? error : found;
}

int ljt_open_in(const char *root, const char *path)
{
    char again[64];
    struct stat s;
    if (root[0] == '\0')
        return open_to_read(path);
    int found = find_in(root, path);
    if (found < 0)
        return found;
    /* A path that somebody else names: to open a device may do something. A watchdog's would start it. */
    snprintf(again, sizeof(again), "/proc/self/fd/%d", found);
    bool harmless = fstat(found, &s) == 0 && (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode));
    int fd = harmless ? open_to_read(again) : -EINVAL;
    close(found);
    return fd;
}

__attribute__((format(printf, 3, 4))) static int wrong(struct ljt_elf *e, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e->why, sizeof(e->why), format, args);
    va_end(args);
    return error;
}

/* Is [at, at + size) inside of n bytes? */
static bool inside(uint64_t at, uint64_t size, uint64_t n)
{
    return at <= n && size <= n - at;
}

/* ---- Opening ---- */

/* What libelf is not to see: a header that is cut off, of another machine's byte order, or with tables outside. */
static int check_ident(struct ljt_elf *e, const unsigned char *ident, size_t n)
{
    enum { NATIVE = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB };
    if (n < SELFMAG || memcmp(ident, ELFMAG, SELFMAG) != 0)
        return wrong(e, -ENOEXEC, "not an ELF file");
    if (n < EI_NIDENT)
        return wrong(e, -ENOEXEC, "the ELF header is cut off");
    if (ident[EI_CLASS] != ELFCLASS64 && ident[EI_CLASS] != ELFCLASS32)
        return wrong(e, -ENOEXEC, "ELF class %u is unknown", ident[EI_CLASS]);
    if (ident[EI_DATA] != NATIVE)
        return wrong(e, -ENOEXEC, "its byte order is another machine's");
    if (ident[EI_VERSION] != EV_CURRENT)
        return wrong(e, -ENOEXEC, "ELF version %u is unknown", ident[EI_VERSION]);
    if (n < (ident[EI_CLASS] == ELFCLASS64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
        return wrong(e, -ENOEXEC, "the ELF header is cut off");
    return 0;
}

static int check_tables(struct ljt_elf *e)
{
    const GElf_Ehdr *h = &e->header;
    bool wide = h->e_ident[EI_CLASS] == ELFCLASS64;
    size_t segment = wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    size_t section = wide ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
    if (h->e_phoff != 0 && h->e_phnum != 0 && h->e_phentsize != segment)
        return wrong(e, -ENOEXEC, "its program headers are %u bytes each", h->e_phentsize);
    if (h->e_shoff != 0 && h->e_shentsize != section)
        return wrong(e, -ENOEXEC, "its section headers are %u bytes each", h->e_shentsize);
    /* libelf takes tables outside of the file for absent ones. */
    if (h->e_shoff != 0 && !inside(h->e_shoff, (h->e_shnum == 0 ? 1 : h->e_shnum) * section, e->size))
        return wrong(e, -ENOEXEC, "its section headers lie outside of the file");
    if (elf_getphdrnum(e->elf, &e->segments) != 0 || e->segments > SEGMENTS_MAX ||
        !inside(h->e_phoff, e->segments * segment, e->size))
        return wrong(e, -ENOEXEC, "its program headers lie outside of the file");
    if (elf_getshdrnum(e->elf, &e->sections) != 0 || e->sections > SECTIONS_MAX ||
        !inside(h->e_shoff, e->sections * section, e->size))
        return wrong(e, -ENOEXEC, "its section headers lie outside of the file");
    if (e->sections != 0 && (elf_getshdrstrndx(e->elf, &e->names) != 0 || e->names >= e->sections))
        return wrong(e, -ENOEXEC, "the table of its section names does not exist");
    return 0;
}

static int check(struct ljt_elf *e)
{
    if (e->elf == NULL || elf_kind(e->elf) != ELF_K_ELF || gelf_getehdr(e->elf, &e->header) == NULL)
        return wrong(e, -ENOEXEC, "not a valid ELF file (%s)", elf_errmsg(-1));
    return check_tables(e);
}

int ljt_elf_open(struct ljt_elf *e, int fd)
{
    struct stat s;
    union {
        unsigned char ident[EI_NIDENT];
        Elf64_Ehdr header;
    } start;
    memset(e, 0, sizeof(*e));
    if (fstat(fd, &s) != 0)
        return wrong(e, -errno, "it can't be read");
    if (!S_ISREG(s.st_mode))
        return wrong(e, -ENOEXEC, "not a regular file");
    ssize_t n = pread(fd, &start, sizeof(start), 0);
    if (n < 0)
        return wrong(e, -errno, "it can't be read");
    int error = check_ident(e, start.ident, (size_t)n);
    if (error != 0)
        return error;
    e->size = (uint64_t)s.st_size;
    if (elf_version(EV_CURRENT) == EV_NONE)
        return wrong(e, -ENOTSUP, "libelf is too old");
    e->elf = elf_begin(fd, ELF_C_READ, NULL);
    return check(e);
}

int ljt_elf_open_memory(struct ljt_elf *e, char *bytes, size_t n)
{
    memset(e, 0, sizeof(*e));
    int error = check_ident(e, (const unsigned char *)bytes, n);
    if (error != 0)
        return error;
    e->size = n;
    if (elf_version(EV_CURRENT) == EV_NONE)
        return wrong(e, -ENOTSUP, "libelf is too old");
    e->elf = elf_memory(bytes, n);
    return check(e);
}

void ljt_elf_close(struct ljt_elf *e)
{
    elf_end(e->elf);
    e->elf = NULL;
}

/* ---- Sections ---- */

int ljt_elf_section(struct ljt_elf *e, size_t index, Elf_Scn **section, GElf_Shdr *header)
{
    if (index >= e->sections || (*section = elf_getscn(e->elf, index)) == NULL ||
        gelf_getshdr(*section, header) == NULL)
        return wrong(e, -EINVAL, "section %zu can't be read", index);
    if (header->sh_type != SHT_NOBITS && !inside(header->sh_offset, header->sh_size, e->size))
        return wrong(e, -EINVAL, "section %zu lies outside of the file", index);
    return 0;
}

/* Of a section that is neither empty nor compressed nor absurdly large; NULL and 0 where it is empty. */
static int section_data(struct ljt_elf *e, size_t index, Elf_Scn *section, const GElf_Shdr *header,
                        size_t limit, Elf_Data **data)
{
    *data = NULL;
    if (header->sh_type == SHT_NOBITS || header->sh_size == 0)
        return 0;
    if ((header->sh_flags & SHF_COMPRESSED) != 0 || header->sh_size > limit)
        return wrong(e, -EINVAL, "section %zu is too large or compressed", index);
    *data = elf_getdata(section, NULL);
    if (*data == NULL || (*data)->d_buf == NULL || (*data)->d_size < header->sh_size) {
        *data = NULL;
        return wrong(e, -EINVAL, "section %zu can't be read (%s)", index, elf_errmsg(-1));
    }
    return 0;
}

/* A table of strings that ends with one. */
static int section_strings(struct ljt_elf *e, size_t index, Elf_Data **data)
{
    Elf_Scn *section = NULL;
    GElf_Shdr header = {0};
    int error = ljt_elf_section(e, index, &section, &header);
    if (error != 0)
        return error;
    if (header.sh_type != SHT_STRTAB)
        return wrong(e, -EINVAL, "section %zu is no table of strings", index);
    error = section_data(e, index, section, &header, TABLE_MAX, data);
    if (error == 0 && (*data == NULL || ((const char *)(*data)->d_buf)[(*data)->d_size - 1] != '\0'))
        return wrong(e, -EINVAL, "the strings of section %zu have no end", index);
    return error;
}

int ljt_elf_data(struct ljt_elf *e, const char *name, size_t limit, Elf_Data **data)
{
    Elf_Data *names = NULL;
    *data = NULL;
    if (e->sections == 0)
        return 0;
    int error = section_strings(e, e->names, &names);
    for (size_t i = 1; error == 0 && i < e->sections; i++) {
        Elf_Scn *section = NULL;
        GElf_Shdr header = {0};
        error = ljt_elf_section(e, i, &section, &header);
        if (error == 0 && names != NULL && header.sh_name < names->d_size &&
            strcmp((const char *)names->d_buf + header.sh_name, name) == 0)
            return section_data(e, i, section, &header, limit, data);
    }
    return error;
}

/* ---- Symbols ---- */

static int table_symbols(struct ljt_elf *e, size_t index, Elf_Scn *section, const GElf_Shdr *header,
                         ljt_elf_symbol_fn *each, void *arg)
{
    Elf_Data *data = NULL, *strings = NULL;
    size_t entry = e->header.e_ident[EI_CLASS] == ELFCLASS64 ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
    if (header->sh_entsize != entry)
        return wrong(e, -EINVAL, "the symbols of section %zu are %llu bytes each", index,
                     (unsigned long long)header->sh_entsize);
    int error = section_data(e, index, section, header, TABLE_MAX, &data);
    if (error != 0 || data == NULL)
        return error;
    error = section_strings(e, header->sh_link, &strings);
    if (error != 0 || strings == NULL)
        return error;
    size_t count = data->d_size / entry;
    for (size_t i = 1; i < count && i < INT32_MAX; i++) {
        GElf_Sym symbol;
        if (gelf_getsym(data, (int)i, &symbol) == NULL || symbol.st_name >= strings->d_size)
            return wrong(e, -EINVAL, "symbol %zu of section %zu is broken", i, index);
        if (symbol.st_name != 0)
            each((const char *)strings->d_buf + symbol.st_name, &symbol, arg);
    }
    return 0;
}

int ljt_elf_symbols(struct ljt_elf *e, unsigned type, ljt_elf_symbol_fn *each, void *arg)
{
    int error = 0;
    for (size_t i = 1; error == 0 && i < e->sections; i++) {
        Elf_Scn *section = NULL;
        GElf_Shdr header = {0};
        error = ljt_elf_section(e, i, &section, &header);
        if (error == 0 && header.sh_type == type)
            error = table_symbols(e, i, section, &header, each, arg);
    }
    return error;
}

/* ---- Segments and notes ---- */

int ljt_elf_text(struct ljt_elf *e, uint64_t *lo, uint64_t *hi)
{
    *lo = UINT64_MAX;
    *hi = 0;
    for (size_t i = 0; i < e->segments; i++) {
        GElf_Phdr p;
        if (gelf_getphdr(e->elf, (int)i, &p) == NULL || p.p_vaddr + p.p_memsz < p.p_vaddr)
            return wrong(e, -EINVAL, "program header %zu is broken", i);
        if (p.p_type != PT_LOAD || (p.p_flags & PF_X) == 0)
            continue;
        *lo = p.p_vaddr < *lo ? p.p_vaddr : *lo;
        *hi = p.p_vaddr + p.p_memsz > *hi ? p.p_vaddr + p.p_memsz : *hi;
    }
    return 0;
}

/* A note's name and its contents each start at a multiple of `align`: 4, or 8 in a segment of its own. */
size_t ljt_elf_note_build_id(const void *notes, size_t n, size_t align, unsigned char *id, size_t room)
{
    const unsigned char *bytes = notes;
    align = align == 8 ? 8 : 4;
    for (size_t at = 0; inside(at, sizeof(Elf64_Nhdr), n);) {
        Elf64_Nhdr note; /* Elf32_Nhdr is the same */
        memcpy(&note, bytes + at, sizeof(note));
        at += sizeof(note);
        if (!inside(at, note.n_namesz, n))
            return 0;
        size_t contents = (at + note.n_namesz + align - 1) & ~(align - 1);
        if (!inside(contents, note.n_descsz, n))
            return 0;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(bytes + at, "GNU", 4) == 0) {
            if (note.n_descsz == 0 || note.n_descsz > room)
                return 0;
            memcpy(id, bytes + contents, note.n_descsz);
            return note.n_descsz;
        }
        at = (contents + note.n_descsz + align - 1) & ~(align - 1);
    }
    return 0;
}

size_t ljt_elf_build_id(struct ljt_elf *e, unsigned char *id, size_t room)
{
    Elf_Data *data;
    if (ljt_elf_data(e, ".note.gnu.build-id", 4096, &data) != 0 || data == NULL)
        return 0;
    return ljt_elf_note_build_id(data->d_buf, data->d_size, 4, id, room);
}
