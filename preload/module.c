#include "module.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include "gate.h"

struct ljt_module ljt_modules[LJT_MODULES];

struct ljt_module *ljt_module_find(uintptr_t pc)
{
    for (unsigned i = 0; i < LJT_MODULES; i++) {
        struct ljt_module *mod = &ljt_modules[i];
        uintptr_t hi = atomic_load_explicit(&mod->text_hi, memory_order_acquire);
        if (hi == 0)
            return NULL;
        if (pc < hi && pc >= atomic_load_explicit(&mod->text_lo, memory_order_relaxed))
            return mod;
    }
    return NULL;
}

/* ---- Dynamic symbols: just enough to ask whether one name is exported, by DT_GNU_HASH or DT_HASH ---- */

struct dynamic {
    const ElfW(Sym) *symtab;
    const char *strtab;
    const uint32_t *gnu_hash;
    const uint32_t *hash;
};

/* Whether the loader has relocated these pointers in place depends on the architecture: both forms occur. */
static const void *dynamic_pointer(const struct dl_phdr_info *info, ElfW(Addr) value)
{
    return (const void *)(value < info->dlpi_addr ? info->dlpi_addr + value : value);
}

static struct dynamic find_dynamic(const struct dl_phdr_info *info)
{
    struct dynamic d = {0};
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *dyn = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        for (; dyn->d_tag != DT_NULL; dyn++) {
            const void *p = dynamic_pointer(info, dyn->d_un.d_ptr);
            switch (dyn->d_tag) {
            case DT_SYMTAB: d.symtab = p; break;
            case DT_STRTAB: d.strtab = p; break;
            case DT_GNU_HASH: d.gnu_hash = p; break;
            case DT_HASH: d.hash = p; break;
            default: break;
            }
        }
    }
    return d;
}

static const ElfW(Sym) *if_defined(const struct dynamic *d, uint32_t index, const char *name)
{
    const ElfW(Sym) *sym = &d->symtab[index];
    return sym->st_shndx != SHN_UNDEF && strcmp(d->strtab + sym->st_name, name) == 0 ? sym : NULL;
}

static const ElfW(Sym) *find_by_gnu_hash(const struct dynamic *d, const char *name)
{
    uint32_t buckets = d->gnu_hash[0], first = d->gnu_hash[1], bloom_words = d->gnu_hash[2];
    const uint32_t *bucket = d->gnu_hash + 4 + bloom_words * (sizeof(ElfW(Addr)) / 4);
    const uint32_t *chain = bucket + buckets;
    uint32_t hash = 5381;
    for (const unsigned char *c = (const unsigned char *)name; *c != 0; c++)
        hash = hash * 33 + *c;
    uint32_t index = buckets == 0 ? 0 : bucket[hash % buckets];
    if (index < first)
        return NULL;
    for (;; index++) {
        uint32_t h = chain[index - first];
        const ElfW(Sym) *sym = (h | 1) == (hash | 1) ? if_defined(d, index, name) : NULL;
        if (sym != NULL || (h & 1) != 0)
            return sym;
    }
}

static const ElfW(Sym) *find_by_hash(const struct dynamic *d, const char *name)
{
    uint32_t symbols = d->hash[1];
    const ElfW(Sym) *sym = NULL;
    for (uint32_t i = 1; i < symbols && sym == NULL; i++)
        sym = if_defined(d, i, name);
    return sym;
}

static const ElfW(Sym) *find_export(const struct dl_phdr_info *info, const char *name)
{
    struct dynamic d = find_dynamic(info);
    if (d.symtab == NULL || d.strtab == NULL)
        return NULL;
    if (d.gnu_hash != NULL)
        return find_by_gnu_hash(&d, name);
    return d.hash != NULL ? find_by_hash(&d, name) : NULL;
}

static bool exports(const struct dl_phdr_info *info, const char *name)
{
    return find_export(info, name) != NULL;
}

/* luaJIT_setmode is LuaJIT's own: other Lua libraries export lua_newstate, too. */
static int exports_luajit(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    return exports(info, "luaJIT_setmode");
}

bool ljt_module_luajit_loaded(void)
{
    return dl_iterate_phdr(exports_luajit, NULL) != 0;
}

/* ---- Finding and remembering ---- */

/* An object as the loader describes it. */
struct finding {
    uintptr_t pc;
    uintptr_t text_lo, text_hi;
    bool exports_lua, exports_luajit;
    char path[sizeof(((struct ljt_module *)0)->path)];
};

/* The bounds of an object's executable segments. */
static void find_text(const struct dl_phdr_info *info, uintptr_t *text_lo, uintptr_t *text_hi)
{
    uintptr_t lo = UINTPTR_MAX, hi = 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_LOAD || (ph->p_flags & PF_X) == 0)
            continue;
        uintptr_t at = info->dlpi_addr + ph->p_vaddr;
        lo = at < lo ? at : lo;
        hi = at + ph->p_memsz > hi ? at + ph->p_memsz : hi;
    }
    *text_lo = lo;
    *text_hi = hi;
}

static int find_by_pc(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct finding *f = arg;
    uintptr_t lo, hi;
    find_text(info, &lo, &hi);
    if (f->pc < lo || f->pc >= hi)
        return 0;
    f->text_lo = lo;
    f->text_hi = hi;
    f->exports_lua = exports(info, "lua_newstate");
    f->exports_luajit = exports(info, "luaJIT_setmode");
    strncpy(f->path, info->dlpi_name, sizeof(f->path) - 1);
    return 1;
}

static struct ljt_module *remember(const struct finding *f)
{
    for (unsigned i = 0; i < LJT_MODULES; i++) {
        struct ljt_module *mod = &ljt_modules[i];
        uintptr_t lo = atomic_load_explicit(&mod->text_lo, memory_order_relaxed);
        uintptr_t hi = atomic_load_explicit(&mod->text_hi, memory_order_relaxed);
        if (lo == f->text_lo && hi == f->text_hi && strcmp(mod->path, f->path) == 0)
            return mod;
        bool overlaps = f->text_lo < hi && f->text_hi > lo; /* another object was here and is gone */
        if (hi != 0 && (!overlaps || mod->pinned))
            continue;
        mod->exports_lua = f->exports_lua;
        mod->exports_luajit = f->exports_luajit;
        mod->has_mapped = false;
        memcpy(mod->path, f->path, sizeof(mod->path));
        atomic_store_explicit(&mod->mapped, 0, memory_order_relaxed);
        memset(&mod->symbols, 0, sizeof(mod->symbols));
        atomic_store_explicit(&mod->newstate, NULL, memory_order_relaxed);
        atomic_store_explicit(&mod->refuses, false, memory_order_relaxed);
        atomic_store_explicit(&mod->text_lo, f->text_lo, memory_order_relaxed);
        atomic_store_explicit(&mod->text_hi, f->text_hi, memory_order_release);
        return mod;
    }
    return NULL;
}

struct ljt_module *ljt_module_resolve(uintptr_t pc)
{
    struct finding f = {.pc = pc};
    uintptr_t self = (uintptr_t)&ljt_module_resolve;
    if (dl_iterate_phdr(find_by_pc, &f) == 0 || (self >= f.text_lo && self < f.text_hi))
        return NULL;
    ljt_lock_acquire(&ljt_wiped.modules);
    struct ljt_module *mod = remember(&f);
    ljt_lock_release(&ljt_wiped.modules);
    return mod;
}

struct search {
    uintptr_t pc; /* 0: the first object, but for ours, that defines it */
    const char *name;
    struct ljt_module_definition *found;
    unsigned go_on; /* past so many objects that define it */
};

static int search_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct search *s = arg;
    uintptr_t lo, hi, self = (uintptr_t)&ljt_module_resolve;
    find_text(info, &lo, &hi);
    if (s->pc != 0 ? s->pc < lo || s->pc >= hi : self >= lo && self < hi)
        return 0;
    const ElfW(Sym) *sym = find_export(info, s->name);
    if (sym == NULL && s->pc == 0)
        return 0;
    strncpy(s->found->path, info->dlpi_name, sizeof(s->found->path) - 1);
    if (sym != NULL) {
        s->found->address = info->dlpi_addr + sym->st_value;
        s->found->size = sym->st_size;
    }
    return s->go_on-- == 0;
}

bool ljt_module_define(uintptr_t pc, const char *name, struct ljt_module_definition *found)
{
    struct search s = {pc, name, found, 0};
    memset(found, 0, sizeof(*found));
    (void)dl_iterate_phdr(search_object, &s);
    return found->address != 0;
}

bool ljt_module_define_alone(const char *name, struct ljt_module_definition *found)
{
    struct search s = {0, name, found, 1};
    memset(found, 0, sizeof(*found));
    return dl_iterate_phdr(search_object, &s) == 0 && found->address != 0;
}

void ljt_module_pin(struct ljt_module *mod)
{
    if (mod->pinned)
        return;
    int saved = errno;
    if (mod->path[0] != '\0') /* the executable stays anyway */
        (void)dlopen(mod->path, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    errno = saved;
    mod->pinned = true;
}
