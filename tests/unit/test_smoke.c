/*
 * The built object, looked at from outside: whom it needs, what it shows, and that a process without LuaJIT does
 * not notice it. Read from the file by its section headers, not by dlopen: loading it would interpose.
 */
#include <criterion/criterion.h>

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct object {
    const char *bytes;
    const ElfW(Ehdr) *header;
    const ElfW(Phdr) *segments;
    const ElfW(Shdr) *sections;
};

static struct object object_open(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0, "%s is not there", path);
    cr_assert(fstat(fd, &st) == 0);
    const char *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    cr_assert(bytes != MAP_FAILED);
    close(fd);
    const ElfW(Ehdr) *header = (const void *)bytes;
    cr_assert(memcmp(header->e_ident, ELFMAG, SELFMAG) == 0);
    return (struct object){bytes, header, (const void *)(bytes + header->e_phoff),
                           (const void *)(bytes + header->e_shoff)};
}

static const ElfW(Shdr) *object_section(const struct object *o, unsigned type)
{
    for (unsigned i = 0; i < o->header->e_shnum; i++)
        if (o->sections[i].sh_type == type)
            return &o->sections[i];
    cr_assert(false, "no section of type %u", type);
    return NULL;
}

/* The strings that a symbol table or the dynamic section refers to. */
static const char *object_strings(const struct object *o, const ElfW(Shdr) *section)
{
    return o->bytes + o->sections[section->sh_link].sh_offset;
}

/* The value of a dynamic entry, or 0 where there is none. */
static size_t object_dynamic(const struct object *o, ElfW(Sxword) tag)
{
    const ElfW(Dyn) *d = (const void *)(o->bytes + object_section(o, SHT_DYNAMIC)->sh_offset);
    for (; d->d_tag != DT_NULL; d++)
        if (d->d_tag == tag)
            return d->d_un.d_val;
    return 0;
}

static bool is_in(const char *name, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

/* More would be searched before the host's own libraries: libunwind, for one, takes over its exceptions. */
Test(library, needs_libc_alone)
{
    static const char *const allowed[] = {"libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", NULL};
    struct object o = object_open(LJT_LIBRARY);
    const ElfW(Shdr) *dynamic = object_section(&o, SHT_DYNAMIC);
    const char *strings = object_strings(&o, dynamic);
    const ElfW(Dyn) *d = (const void *)(o.bytes + dynamic->sh_offset);
    for (; d->d_tag != DT_NULL; d++)
        if (d->d_tag == DT_NEEDED)
            cr_expect(is_in(strings + d->d_un.d_val, allowed), "needs %s", strings + d->d_un.d_val);
}

/* The list of preload/libljtrim.map, no more and no less. */
Test(library, exports_what_it_interposes_and_its_api)
{
    static const char *const wanted[] = {"mmap",
                                         "mmap64",
                                         "munmap",
                                         "mremap",
                                         "sigaction",
                                         "signal",
                                         "_Fork",
                                         "syscall",
                                         "epoll_wait",
                                         "epoll_pwait",
                                         "epoll_pwait2",
                                         "poll",
                                         "ppoll",
                                         "select",
                                         "pselect",
                                         "lua_newstate",
                                         "ljtrim_version",
                                         "ljtrim_dump",
                                         "ljtrim_stats",
                                         "ljtrim_get",
                                         "ljtrim_set",
                                         "ljtrim_trim",
                                         "ljtrim_pause",
                                         "ljtrim_resume",
                                         "ljtrim_stats_page",
                                         "ljtrim_growth_page",
                                         NULL};
    struct object o = object_open(LJT_LIBRARY);
    const ElfW(Shdr) *table = object_section(&o, SHT_DYNSYM);
    const ElfW(Sym) *symbols = (const void *)(o.bytes + table->sh_offset);
    const char *strings = object_strings(&o, table);
    size_t found = 0;
    for (size_t i = 1; i < table->sh_size / sizeof(*symbols); i++) {
        const char *name = strings + symbols[i].st_name;
        if (symbols[i].st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbols[i].st_info) == STB_LOCAL)
            continue; /* local: arm64's linker lists sections */
        cr_expect(is_in(name, wanted), "exports %s", name);
        found += is_in(name, wanted);
    }
    cr_expect_eq(found, sizeof(wanted) / sizeof(wanted[0]) - 1, "exports %zu of them", found);
}

/* A call bound on its first use would enter the dynamic linker with the arena busy. */
Test(library, is_bound_when_loaded_and_stays)
{
    struct object o = object_open(LJT_LIBRARY);
    cr_expect(object_dynamic(&o, DT_FLAGS_1) & DF_1_NOW);
    cr_expect(object_dynamic(&o, DT_FLAGS_1) & DF_1_NODELETE);
    cr_expect(!(object_dynamic(&o, DT_FLAGS) & DF_TEXTREL));
    bool relro = false;
    for (unsigned i = 0; i < o.header->e_phnum; i++) {
        relro |= o.segments[i].p_type == PT_GNU_RELRO;
        cr_expect(o.segments[i].p_type != PT_GNU_STACK || !(o.segments[i].p_flags & PF_X));
    }
    cr_expect(relro);
}

/* What `command` prints, on either stream, with the library preloaded. */
static void run_preloaded(const char *command, char *out, size_t size)
{
    char line[4096];
    snprintf(line, sizeof(line), "LD_PRELOAD='%s' %s 2>&1", LJT_LIBRARY, command);
    FILE *f = popen(line, "r");
    cr_assert(f != NULL);
    out[fread(out, 1, size - 1, f)] = '\0';
    int status = pclose(f);
    cr_expect(status == 0, "%s: status %#x", command, (unsigned)status);
}

Test(library, says_nothing_and_starts_no_thread_without_luajit)
{
    char out[4096];
    run_preloaded("true", out, sizeof(out));
    cr_expect_str_empty(out, "said: %s", out);
    run_preloaded("grep '^Threads:' /proc/self/status", out, sizeof(out));
    cr_expect_str_eq(out, "Threads:\t1\n", "said: %s", out);
}
