#include "symtab.h"

#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "debug_file.h"
#include "elf_file.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT extern const unsigned ljt_symtab_version;
const unsigned ljt_symtab_version = LJT_SYMTAB_VERSION;

static const struct {
    const char *name;
    enum ljt_symtab_role role;
} roles[] = {
    {"lj_alloc_f", LJT_SYMTAB_F},
    {"lj_alloc_create", LJT_SYMTAB_CREATE},
    {"lj_alloc_destroy", LJT_SYMTAB_DESTROY},
    {"lj_alloc_malloc", LJT_SYMTAB_MALLOC},
    {"lj_alloc_free", LJT_SYMTAB_FREE},
    {"lj_alloc_realloc", LJT_SYMTAB_REALLOC},
    {"alloc_sys", LJT_SYMTAB_SYS},
    {"alloc_trim", LJT_SYMTAB_TRIM},
    {"release_unused_segments", LJT_SYMTAB_RELEASE},
    {"mmap_probe", LJT_SYMTAB_PROBE},
    {"direct_alloc", LJT_SYMTAB_DIRECT},
    {"direct_resize", LJT_SYMTAB_DIRECT},
};

const char *ljt_symtab_source_text(enum ljt_symtab_source source)
{
    static const char *const text[LJT_SYMTAB_SOURCES] = {"none", ".symtab", "debug file", ".gnu_debugdata",
                                                         ".dynsym"};
    return (unsigned)source < LJT_SYMTAB_SOURCES ? text[source] : "?";
}

/* ---- Collecting ---- */

/* name, or name.suffix: then `part` says whether it is no entry point (.cold, .part.0). */
static bool has_role(const char *symbol, const char *name, bool *part)
{
    size_t n = strlen(name);
    if (strncmp(symbol, name, n) != 0 || (symbol[n] != '\0' && symbol[n] != '.'))
        return false;
    *part = strstr(symbol + n, ".cold") != NULL || strstr(symbol + n, ".part") != NULL;
    return true;
}

static bool is_same(const struct ljt_symtab_function *a, const struct ljt_symtab_function *b)
{
    return a->lo == b->lo && a->hi == b->hi && a->role == b->role && a->whole == b->whole;
}

static void add(struct ljt_symtab *s, const struct ljt_symtab_function *f)
{
    for (unsigned i = 0; i < s->count; i++)
        if (is_same(&s->function[i], f))
            return;
    if (s->count == LJT_SYMTAB_FUNCTIONS)
        s->more = true;
    else
        s->function[s->count++] = *f;
}

static void collect(const char *name, const GElf_Sym *symbol, void *arg)
{
    struct ljt_symtab *s = arg;
    if ((name[0] != 'l' && name[0] != 'a' && name[0] != 'r' && name[0] != 'm' && name[0] != 'd') ||
        symbol->st_shndx == SHN_UNDEF || GELF_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_size == 0)
        return;
    uint64_t lo = symbol->st_value;
    if (lo < s->text_lo || lo >= s->text_hi || symbol->st_size > s->text_hi - lo)
        return;
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        bool part;
        if (!has_role(name, roles[i].name, &part))
            continue;
        struct ljt_symtab_function f;
        memset(&f, 0, sizeof(f)); /* compared as bytes */
        f.lo = lo;
        f.hi = lo + symbol->st_size;
        f.role = roles[i].role;
        f.whole = !part;
        add(s, &f);
    }
}

/* lj_alloc_f tells LuaJIT's functions from those of the same name in other programs: without it there is nothing. */
static bool is_enough(struct ljt_symtab *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->function[i].role == LJT_SYMTAB_F && s->function[i].whole)
            return true;
    s->count = 0;
    s->more = false;
    return false;
}

static int take(struct ljt_symtab *s, struct ljt_elf *e, unsigned type, enum ljt_symtab_source source,
                const char *path)
{
    int error = ljt_elf_symbols(e, type, collect, s);
    if (error != 0) {
        s->count = 0;
        s->more = false;
        return error;
    }
    if (is_enough(s)) {
        s->source = source;
        snprintf(s->source_path, sizeof(s->source_path), "%s", path);
    }
    return 0;
}

static bool take_debug_file(struct ljt_elf *e, const char *path, void *arg)
{
    struct ljt_symtab *s = arg;
    (void)take(s, e, SHT_SYMTAB, LJT_SYMTAB_DEBUG_FILE, path);
    return s->source != LJT_SYMTAB_NONE;
}

static bool take_debug_data(struct ljt_elf *e, const char *path, void *arg)
{
    struct ljt_symtab *s = arg;
    (void)take(s, e, SHT_SYMTAB, LJT_SYMTAB_DEBUGDATA, path);
    return s->source != LJT_SYMTAB_NONE;
}

/* In the order of what says most. */
static int collect_all(struct ljt_symtab *s, struct ljt_elf *e, const char *root, const char *path)
{
    int error = take(s, e, SHT_SYMTAB, LJT_SYMTAB_SYMTAB, path);
    if (error == 0 && s->source == LJT_SYMTAB_NONE && !ljt_debug_file(e, root, path, take_debug_file, s))
        error = ljt_debug_data(e, path, take_debug_data, s);
    if (error == 0 && s->source == LJT_SYMTAB_NONE)
        error = take(s, e, SHT_DYNSYM, LJT_SYMTAB_DYNSYM, path);
    return error;
}

/* ---- A file ---- */

static int fail(struct ljt_symtab *s, int error, const char *why)
{
    char kept[sizeof(s->why)], path[sizeof(s->path)];
    snprintf(kept, sizeof(kept), "%s", why[0] != '\0' ? why : strerror(-error));
    memcpy(path, s->path, sizeof(path));
    memset(s, 0, sizeof(*s));
    memcpy(s->path, path, sizeof(path));
    memcpy(s->why, kept, sizeof(kept));
    return error;
}

/* Is the object in memory this file's? */
typedef bool same_fn(struct ljt_symtab *s, struct ljt_elf *e, const void *arg);

static int read_file(struct ljt_symtab *s, const char *root, int fd, const char *path, same_fn *same,
                     const void *arg)
{
    struct ljt_elf e;
    memset(s, 0, sizeof(*s));
    snprintf(s->path, sizeof(s->path), "%s", path);
    int error = ljt_elf_open(&e, fd);
    if (error == 0)
        error = ljt_elf_text(&e, &s->text_lo, &s->text_hi);
    if (error == 0 && e.header.e_ident[EI_CLASS] != ELFCLASS64) {
        snprintf(e.why, sizeof(e.why), "a 32-bit file");
        error = -ENOEXEC;
    }
    if (error == 0) {
        s->build_id_size = (unsigned)ljt_elf_build_id(&e, s->build_id, sizeof(s->build_id));
        if (same != NULL && !same(s, &e, arg)) {
            snprintf(e.why, sizeof(e.why), "the file is not the one that was loaded");
            error = -ESTALE;
        }
    }
    if (error == 0 && s->text_lo < s->text_hi) /* else a debug file: it has no code of its own */
        error = collect_all(s, &e, root, path);
    ljt_elf_close(&e);
    return error == 0 ? 0 : fail(s, error, e.why);
}

int ljt_symtab_read(struct ljt_symtab *s, const char *root, int fd, const char *path)
{
    return read_file(s, root, fd, path, NULL, NULL);
}

const struct ljt_symtab_function *ljt_symtab_function_at(const struct ljt_symtab *s, uint64_t address)
{
    for (unsigned i = 0; i < s->count; i++)
        if (address >= s->function[i].lo && address < s->function[i].hi)
            return &s->function[i];
    return NULL;
}

/* ---- An object in memory ---- */

struct object {
    uintptr_t pc;
    uint64_t bias;
    const ElfW(Phdr) *segment; /* the loader's: as long as the object is loaded */
    size_t segments;
    char path[LJT_SYMTAB_PATH];
    bool is_executable;
};

static int find_by_pc(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct object *o = arg;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || (p->p_flags & PF_X) == 0 ||
            o->pc - (info->dlpi_addr + p->p_vaddr) >= p->p_memsz)
            continue;
        o->bias = info->dlpi_addr;
        o->segment = info->dlpi_phdr;
        o->segments = info->dlpi_phnum;
        o->is_executable = info->dlpi_name[0] == '\0';
        snprintf(o->path, sizeof(o->path), "%s", info->dlpi_name);
        return 1;
    }
    return 0;
}

static size_t loaded_build_id(const struct object *o, unsigned char *id, size_t room)
{
    size_t size = 0;
    for (size_t i = 0; size == 0 && i < o->segments; i++)
        if (o->segment[i].p_type == PT_NOTE)
            size = ljt_elf_note_build_id((const void *)(o->bias + o->segment[i].p_vaddr),
                                         o->segment[i].p_memsz, o->segment[i].p_align, id, room);
    return size;
}

/* By the build-id, and by the segments: a package may have been upgraded under a running process. */
static bool is_loaded(struct ljt_symtab *s, struct ljt_elf *e, const void *arg)
{
    const struct object *o = arg;
    unsigned char id[LJT_SYMTAB_BUILD_ID];
    size_t size = loaded_build_id(o, id, sizeof(id));
    if (size != s->build_id_size || memcmp(id, s->build_id, size) != 0 || e->segments != o->segments)
        return false;
    for (size_t i = 0; i < e->segments; i++) {
        GElf_Phdr p;
        const ElfW(Phdr) *q = &o->segment[i];
        if (gelf_getphdr(e->elf, (int)i, &p) == NULL || p.p_type != q->p_type || p.p_vaddr != q->p_vaddr ||
            p.p_memsz != q->p_memsz || p.p_flags != q->p_flags || p.p_offset != q->p_offset)
            return false;
    }
    return true;
}

EXPORT int ljt_symtab_find(struct ljt_symtab *s, uintptr_t pc)
{
    struct object o = {.pc = pc};
    memset(s, 0, sizeof(*s));
    if (dl_iterate_phdr(find_by_pc, &o) == 0)
        return fail(s, -ENOENT, "no object has code there");
    int fd = ljt_open_in("", o.is_executable ? "/proc/self/exe" : o.path);
    if (fd < 0) {
        snprintf(s->path, sizeof(s->path), "%s", o.path);
        return fail(s, fd, "");
    }
    if (o.is_executable) { /* debug files are looked for beside the real one */
        ssize_t n = readlink("/proc/self/exe", o.path, sizeof(o.path) - 1);
        o.path[n < 0 ? 0 : n] = '\0';
    }
    int error = read_file(s, "", fd, o.path, is_loaded, &o);
    close(fd);
    if (error != 0)
        return error;
    s->bias = o.bias;
    s->text_lo += o.bias;
    s->text_hi += o.bias;
    for (unsigned i = 0; i < s->count; i++) {
        s->function[i].lo += o.bias;
        s->function[i].hi += o.bias;
    }
    return 0;
}
