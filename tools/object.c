#include "object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/*
 * It is read, not mapped: a mapping of a file that is cut short meanwhile would end the command. A string begins in the
 * first STRINGS_MAX bytes (what comes behind is for debuggers), and is no longer than STRING, on either side of what
 * it is found by.
 */
enum { WINDOW = 1 << 20, STRING = 8 << 10, STRINGS_MAX = 256 << 20 };

/* A part of the file. What does not begin between `begin` and `end` is another window's. */
struct window {
    const char *bytes;
    size_t n, begin, end;
};

static const char *find(const struct window *w, const char *text, size_t length)
{
    const char *at = memmem(w->bytes + w->begin, w->n - w->begin, text, length);
    return at != NULL && at < w->bytes + w->end ? at : NULL;
}

static size_t length_of(const struct window *w, const char *string)
{
    return strnlen(string, (size_t)(w->bytes + w->n - string));
}

static void find_banner(struct ljt_object *o, const struct window *w)
{
    /* Written so that it is not found in this program itself. */
    static const char start[] = {'L', 'u', 'a', 'J', 'I', 'T', ' ', '2', '.'};
    const char *at = o->banner[0] != '\0' ? NULL : find(w, start, sizeof(start));
    if (at == NULL)
        return;
    snprintf(o->banner, sizeof(o->banner), "%.*s", (int)length_of(w, at), at);
    o->banner[strcspn(o->banner, "\n")] = '\0';
    char *dashes = strstr(o->banner, " -- ");
    if (dashes != NULL)
        *dashes = '\0';
}

static void find_year(struct ljt_object *o, const struct window *w)
{
    static const char start[] = "Copyright (C) 2005-20", author[] = "Mike Pall";
    const char *at = o->year != 0 ? NULL : find(w, start, sizeof(start) - 1);
    if (at != NULL && length_of(w, at) >= 24 + sizeof(author) - 1 &&
        memcmp(at + 24, author, sizeof(author) - 1) == 0)
        o->year = 2000 + (at[21] - '0') * 10 + (at[22] - '0');
}

static void find_configured(struct ljt_object *o, const struct window *w)
{
    const char *at = o->configured[0] != '\0' ? NULL : find(w, "--prefix=", 9);
    if (at == NULL)
        return;
    while (at > w->bytes && at[-1] != '\0')
        at--;
    snprintf(o->configured, sizeof(o->configured), "%.*s", (int)length_of(w, at), at);
}

static void read_strings(struct ljt_object *o, int fd)
{
    bool nginx = strstr(o->path, "nginx") != NULL || strstr(o->path, "openresty") != NULL;
    char *bytes = malloc(WINDOW);
    struct window w = {.bytes = bytes};
    ssize_t got = 1;
    for (off_t at = 0; bytes != NULL && got > 0; at += got) {
        got = at >= STRINGS_MAX ? 0 : pread(fd, bytes + w.n, WINDOW - w.n, at);
        w.n += got > 0 ? (size_t)got : 0;
        w.end = got <= 0 ? w.n : w.n < STRING ? 0 : w.n - STRING;
        find_banner(o, &w);
        find_year(o, &w);
        if (nginx)
            find_configured(o, &w);
        w.begin = w.end;
        if (w.n > 2 * STRING) {
            memmove(bytes, bytes + w.n - 2 * STRING, 2 * STRING);
            w.n = 2 * STRING;
            w.begin = STRING;
        }
    }
    free(bytes);
}

static void read_script(struct ljt_object *o, const char *line, size_t n)
{
    size_t from = 2;
    while (from < n && line[from] == ' ')
        from++;
    size_t length = 0;
    while (from + length < n && line[from + length] != '\n')
        length++;
    o->is_script = true;
    snprintf(o->interpreter, sizeof(o->interpreter), "%.*s", (int)length, line + from);
}

int ljt_object_read_from(struct ljt_object *o, int fd, const char *path)
{
    struct stat s;
    char start[2 * sizeof(o->interpreter)];
    memset(o, 0, sizeof(*o));
    snprintf(o->path, sizeof(o->path), "%s", path);
    ssize_t n = fstat(fd, &s) == 0 && S_ISREG(s.st_mode) ? pread(fd, start, sizeof(start), 0) : 0;
    int error = n < 0 ? -errno : n < 4 ? -EINVAL : 0;
    if (error == 0) {
        o->is_setuid =
            (s.st_mode & (S_ISUID | S_ISGID)) != 0 || fgetxattr(fd, "security.capability", NULL, 0) > 0;
        if (memcmp(start, "\177ELF", 4) == 0) {
            read_elf(o, fd);
            read_strings(o, fd);
        } else if (start[0] == '#' && start[1] == '!') {
            read_script(o, start, (size_t)n);
        }
    }
    close(fd);
    return error;
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
