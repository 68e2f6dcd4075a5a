#include "object.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

const char *ljt_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* ---- ELF ---- */

static void count_symbol(struct ljt_object *o, const char *name, const GElf_Sym *symbol, bool dynamic)
{
    if (name[0] != 'l' && name[0] != 'm')
        return;
    bool defined = symbol->st_shndx != SHN_UNDEF;
    bool is_mmap = strcmp(name, "mmap") == 0 || strcmp(name, "mmap64") == 0;
    bool is_new = strcmp(name, "lua_newstate") == 0 || strcmp(name, "luaL_newstate") == 0;
    /* luaJIT_setmode is LuaJIT's own: other Lua libraries define lua_newstate, too. */
    o->defines_luajit |= defined && strcmp(name, "luaJIT_setmode") == 0;
    o->exports_mmap |= dynamic && defined && is_mmap;
    o->imports_mmap |= dynamic && !defined && is_mmap;
    o->imports_lua |= dynamic && !defined && is_new;
}

static void static_symbol(const char *name, const GElf_Sym *symbol, void *object)
{
    count_symbol(object, name, symbol, false);
}

static void dynamic_symbol(const char *name, const GElf_Sym *symbol, void *object)
{
    count_symbol(object, name, symbol, true);
}

static void read_dynamic(struct ljt_object *o, Elf *elf, Elf_Scn *section, const GElf_Shdr *header)
{
    Elf_Data *data = elf_getdata(section, NULL);
    GElf_Dyn entry;
    for (int i = 0; data != NULL && gelf_getdyn(data, i, &entry) != NULL && entry.d_tag != DT_NULL; i++) {
        const char *string = elf_strptr(elf, header->sh_link, entry.d_un.d_val);
        if (string == NULL)
            continue;
        if (entry.d_tag == DT_NEEDED && o->nneeded < LJT_OBJECT_NEEDED)
            snprintf(o->needed[o->nneeded++], sizeof(o->needed[0]), "%s", string);
        else if (entry.d_tag == DT_RUNPATH || entry.d_tag == DT_RPATH)
            snprintf(o->runpath, sizeof(o->runpath), "%s", string);
    }
}

/* What is broken in it is left out. */
static void read_elf(struct ljt_object *o, int fd)
{
    struct ljt_elf e;
    if (ljt_elf_open(&e, fd) == 0) {
        o->is_elf = true;
        o->is_64bit = e.header.e_ident[EI_CLASS] == ELFCLASS64;
        for (size_t i = 0; i < e.segments; i++) {
            GElf_Phdr p;
            if (gelf_getphdr(e.elf, (int)i, &p) == NULL || p.p_type != PT_INTERP ||
                p.p_filesz >= sizeof(o->interpreter))
                continue;
            ssize_t n = pread(fd, o->interpreter, p.p_filesz, (off_t)p.p_offset);
            o->interpreter[n < 0 ? 0 : n] = '\0';
        }
        for (size_t i = 1; i < e.sections; i++) {
            Elf_Scn *section;
            GElf_Shdr header;
            if (ljt_elf_section(&e, i, &section, &header) != 0)
                continue;
            o->has_symtab |= header.sh_type == SHT_SYMTAB;
            if (header.sh_type == SHT_DYNAMIC)
                read_dynamic(o, e.elf, section, &header);
        }
        (void)ljt_elf_symbols(&e, SHT_SYMTAB, static_symbol, o);
        (void)ljt_elf_symbols(&e, SHT_DYNSYM, dynamic_symbol, o);
    }
    ljt_elf_close(&e);
}

/* ---- Strings in the file ---- */

static void read_strings(struct ljt_object *o, const char *bytes, size_t n)
{
    /* Written so that it is not found in this program itself. */
    static const char start[] = {'L', 'u', 'a', 'J', 'I', 'T', ' ', '2', '.'};
    const char *at = memmem(bytes, n, start, sizeof(start));
    if (at != NULL)
        snprintf(o->banner, sizeof(o->banner), "%.*s", (int)strnlen(at, (size_t)(bytes + n - at)), at);
    o->banner[strcspn(o->banner, "\n")] = '\0';
    char *dashes = strstr(o->banner, " -- ");
    if (dashes != NULL)
        *dashes = '\0';
    at = memmem(bytes, n, "Copyright (C) 2005-20", 21);
    if (at != NULL && at + 24 < bytes + n && memmem(at, (size_t)(bytes + n - at), "Mike Pall", 9) == at + 24)
        o->year = 2000 + (at[21] - '0') * 10 + (at[22] - '0');
    if (strstr(o->path, "nginx") == NULL && strstr(o->path, "openresty") == NULL)
        return;
    at = memmem(bytes, n, "--prefix=", 9);
    if (at == NULL)
        return;
    const char *from = at;
    while (from > bytes && from[-1] != '\0')
        from--;
    snprintf(o->configured, sizeof(o->configured), "%.*s", (int)strnlen(from, (size_t)(bytes + n - from)),
             from);
}

static void read_script(struct ljt_object *o, const char *bytes, size_t n)
{
    size_t length = 2, start;
    while (length < n && bytes[length] == ' ')
        length++;
    start = length;
    while (length < n && bytes[length] != '\n' && length - start < sizeof(o->interpreter) - 1)
        length++;
    o->is_script = true;
    snprintf(o->interpreter, sizeof(o->interpreter), "%.*s", (int)(length - start), bytes + start);
}

int ljt_object_read_from(struct ljt_object *o, int fd, const char *path)
{
    struct stat s;
    memset(o, 0, sizeof(*o));
    snprintf(o->path, sizeof(o->path), "%s", path);
    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || s.st_size < 4) {
        close(fd);
        return -EINVAL;
    }
    o->is_setuid =
        (s.st_mode & (S_ISUID | S_ISGID)) != 0 || fgetxattr(fd, "security.capability", NULL, 0) > 0;
    size_t n = (size_t)s.st_size;
    char *bytes = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
    int error = errno;
    if (bytes != MAP_FAILED && memcmp(bytes, "\177ELF", 4) == 0)
        read_elf(o, fd);
    close(fd);
    if (bytes == MAP_FAILED)
        return -error;
    if (memcmp(bytes, "\177ELF", 4) == 0) {
        read_strings(o, bytes, n);
    } else if (bytes[0] == '#' && bytes[1] == '!') {
        read_script(o, bytes, n);
    }
    munmap(bytes, n);
    return 0;
}

int ljt_object_read(struct ljt_object *o, const char *root, const char *path)
{
    int fd = ljt_open_in(root, path);
    return fd < 0 ? fd : ljt_object_read_from(o, fd, path);
}

bool ljt_object_has_luajit(const struct ljt_object *o)
{
    return o->defines_luajit || (o->banner[0] != '\0' && !o->imports_lua);
}
