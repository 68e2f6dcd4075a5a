/*
 * What symbols say of lj_alloc: found wherever they are, believed only where they belong, and never a crash.
 */
#include "lab.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "elf_image.h"
#include "fuzz.h"
#include "root.h"
#include "symtab.h"

TestSuite(elf, .init = lab_init, .timeout = LAB_TIMEOUT);

static const struct elf_image_symbol lj_alloc[] = {
    {"lua_newstate", 0x1000, 0x40},
    {"lj_alloc_f", 0x1100, 0x80},
    {"lj_alloc_malloc", 0x1200, 0x100},
    {"lj_alloc_malloc.cold", 0x1f00, 0x10},
    {"lj_alloc_free", 0x1300, 0x100},
    {"lj_alloc_realloc.isra.0", 0x1400, 0x80},
    {"alloc_sys.constprop.0.isra.0", 0x1500, 0x80},
    {"alloc_trim.part.0", 0x1580, 0x40},
    {"release_unused_segments", 0x1600, 0x40},
    {"mmap_probe", 0x1700, 0x40},
    {"lj_alloc_create", 0x1800, 0x40},
    {"mmap_prober", 0x1900, 0x40}, /* somebody else's */
    {NULL, 0, 0},
};

static const struct elf_image_symbol others[] = {
    {"main", 0x1000, 0x40}, {"alloc_sys", 0x1100, 0x40}, {NULL, 0, 0}};

static struct ljt_symtab s;

static int read_parts(const struct elf_image_parts *parts)
{
    struct elf_image e = elf_image(parts);
    int fd = elf_image_open(&e);
    int error = ljt_symtab_read(&s, "", fd, "/nowhere/object.so");
    close(fd);
    free(e.bytes);
    return error;
}

static int read_image(struct elf_image *e)
{
    int fd = elf_image_open(e);
    int error = ljt_symtab_read(&s, "", fd, "/nowhere/object.so");
    close(fd);
    return error;
}

static bool has(unsigned role, uint64_t lo, uint64_t hi)
{
    for (unsigned i = 0; i < s.count; i++)
        if (s.function[i].role == role && s.function[i].lo == lo && s.function[i].hi == hi)
            return true;
    return false;
}

static void expect_nothing(enum ljt_symtab_source source)
{
    cr_expect(s.source == source && s.count == 0 && s.why[0] == '\0', "%d, %u, %s", s.source, s.count, s.why);
}

static void expect_error(int error, const char *part)
{
    cr_expect(error < 0, "%s", part);
    cr_expect(strstr(s.why, part) != NULL, "'%s', not '%s'", s.why, part);
    cr_expect(s.count == 0 && s.source == LJT_SYMTAB_NONE && s.text_hi == 0);
}

/* ---- Answers ---- */

Test(elf, finds_lj_alloc_and_its_variants_in_symtab)
{
    struct elf_image_parts parts = {.symtab = lj_alloc, .build_id = "0123456789"};
    cr_assert_eq(read_parts(&parts), 0, "%s", s.why);
    cr_expect(s.source == LJT_SYMTAB_SYMTAB && !s.more);
    cr_expect_str_eq(s.source_path, "/nowhere/object.so");
    cr_expect(s.text_lo == 0x1000 && s.text_hi == 0x2000 && s.bias == 0);
    cr_expect(s.build_id_size == 10 && memcmp(s.build_id, "0123456789", 10) == 0);
    cr_expect_eq(s.count, 10);
    cr_expect(has(LJT_SYMTAB_F, 0x1100, 0x1180) && has(LJT_SYMTAB_MALLOC, 0x1200, 0x1300));
    cr_expect(has(LJT_SYMTAB_MALLOC, 0x1f00, 0x1f10) && has(LJT_SYMTAB_REALLOC, 0x1400, 0x1480));
    cr_expect(has(LJT_SYMTAB_SYS, 0x1500, 0x1580) && has(LJT_SYMTAB_TRIM, 0x1580, 0x15c0));
    cr_expect(has(LJT_SYMTAB_RELEASE, 0x1600, 0x1640) && has(LJT_SYMTAB_PROBE, 0x1700, 0x1740));
    cr_expect(has(LJT_SYMTAB_CREATE, 0x1800, 0x1840));
    cr_expect(ljt_symtab_function_at(&s, 0x117f)->role == LJT_SYMTAB_F);
    cr_expect(ljt_symtab_function_at(&s, 0x1180) == NULL &&
              ljt_symtab_function_at(&s, 0x1f05)->whole == false);
}

Test(elf, finds_them_among_the_exported_ones)
{
    struct elf_image_parts parts = {.dynsym = lj_alloc};
    cr_assert_eq(read_parts(&parts), 0, "%s", s.why);
    cr_expect(s.source == LJT_SYMTAB_DYNSYM && s.count == 10);
}

Test(elf, no_symbols_is_an_answer)
{
    struct elf_image_parts stripped = {.build_id = "xyz"};
    cr_expect_eq(read_parts(&stripped), 0);
    expect_nothing(LJT_SYMTAB_NONE);
    cr_expect(s.build_id_size == 3 && s.text_hi == 0x2000);
    struct elf_image_parts foreign = {.symtab = others, .dynsym = others};
    cr_expect_eq(read_parts(&foreign), 0);
    expect_nothing(LJT_SYMTAB_NONE);
}

Test(elf, what_lies_outside_of_the_code_is_no_function)
{
    static const struct elf_image_symbol stray[] = {
        {"lj_alloc_f", 0x1100, 0x80},
        {"lj_alloc_malloc", 0x2000, 0x80},
        {"lj_alloc_free", 0x1fff, 2},
        {"alloc_sys", 0x1000, 0},
        {"mmap_probe", 0, 0x3000},
        {"alloc_trim", UINT64_MAX, 8},
        {"direct_alloc", 0x1ff0, 0x10},
        {"direct_resize", 0x1000, UINT64_MAX},
        {NULL, 0, 0},
    };
    struct elf_image_parts parts = {.symtab = stray};
    cr_assert_eq(read_parts(&parts), 0);
    cr_expect(s.count == 2 && has(LJT_SYMTAB_F, 0x1100, 0x1180) && has(LJT_SYMTAB_DIRECT, 0x1ff0, 0x2000));
}

Test(elf, more_than_fit_are_said_to_be_more)
{
    static struct elf_image_symbol many[LJT_SYMTAB_FUNCTIONS + 10];
    for (unsigned i = 0; i < LJT_SYMTAB_FUNCTIONS + 9; i++)
        many[i] = (struct elf_image_symbol){"lj_alloc_f", 0x1000 + 16 * i, 16};
    struct elf_image_parts parts = {.symtab = many};
    cr_assert_eq(read_parts(&parts), 0);
    cr_expect(s.more && s.count == LJT_SYMTAB_FUNCTIONS);
}

Test(elf, unpacks_gnu_debugdata)
{
    struct elf_image_parts inner = {.symtab = lj_alloc};
    struct elf_image e = elf_image(&inner);
    struct elf_image_parts outer = {.dynsym = others};
    outer.debugdata = elf_image_pack(&e, &outer.debugdata_size);
    cr_assert_eq(read_parts(&outer), 0, "%s", s.why);
    cr_expect(s.source == LJT_SYMTAB_DEBUGDATA && s.count == 10);

    struct elf_image whole = elf_image(&outer); /* cut, and garbled */
    Elf64_Shdr *packed = elf_image_section(&whole, ".gnu_debugdata");
    uint64_t size = packed->sh_size;
    for (packed->sh_size = 0; packed->sh_size < size; packed->sh_size++) {
        int error = read_image(&whole);
        if (packed->sh_size == 0)
            cr_expect(error == 0 && s.source == LJT_SYMTAB_NONE);
        else
            expect_error(error, "its .gnu_debugdata is broken");
    }
    packed->sh_size = size;
    whole.bytes[packed->sh_offset + size / 2] ^= 0x10;
    expect_error(read_image(&whole), "its .gnu_debugdata is broken");
    free(whole.bytes);
    free(e.bytes);
    free((void *)(uintptr_t)outer.debugdata);
}

/* ---- Debug files: a root directory of our own, as another process's is read ---- */

static enum ljt_symtab_source read_in_root(const struct elf_image_parts *parts)
{
    struct elf_image e = elf_image(parts);
    elf_image_write(&e, root_path("/opt/object.so"));
    free(e.bytes);
    int fd = open(root_path("/opt/object.so"), O_RDONLY | O_CLOEXEC);
    cr_expect_eq(ljt_symtab_read(&s, root, fd, "/opt/object.so"), 0, "%s", s.why);
    close(fd);
    return s.source;
}

/* Writes the debug file and returns its checksum. */
static uint32_t write_debug(const struct elf_image_parts *parts, const char *name)
{
    struct elf_image e = elf_image(parts);
    elf_image_write(&e, root_path(name));
    uint32_t sum = (uint32_t)crc32(0, e.bytes, (uInt)e.size);
    free(e.bytes);
    return sum;
}

Test(elf, finds_a_debug_file_by_build_id)
{
    root_make();
    struct elf_image_parts debug = {.symtab = lj_alloc, .build_id = "012"}, object = {.build_id = "012"};
    write_debug(&debug, "/usr/lib/debug/.build-id/30/3132.debug");
    cr_expect_eq(read_in_root(&object), LJT_SYMTAB_DEBUG_FILE);
    cr_expect_str_eq(s.source_path, "/usr/lib/debug/.build-id/30/3132.debug");
    cr_expect_eq(s.count, 10);
    /* Its name says one thing, its contents another. */
    debug.build_id = "013";
    write_debug(&debug, "/usr/lib/debug/.build-id/30/3132.debug");
    cr_expect_eq(read_in_root(&object), LJT_SYMTAB_NONE);
    debug.build_id = NULL;
    write_debug(&debug, "/usr/lib/debug/.build-id/30/3132.debug");
    cr_expect_eq(read_in_root(&object), LJT_SYMTAB_NONE);
    root_drop();
}

Test(elf, finds_a_debug_file_by_link_and_checks_its_sum)
{
    static const char *const places[] = {"/opt/object.debug", "/opt/.debug/object.debug",
                                         "/usr/lib/debug/opt/object.debug"};
    root_make();
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct elf_image_parts debug = {.symtab = lj_alloc}, object = {.debuglink = "object.debug"};
        object.debuglink_sum = write_debug(&debug, places[i]);
        cr_expect_eq(read_in_root(&object), LJT_SYMTAB_DEBUG_FILE, "%s", places[i]);
        cr_expect_str_eq(s.source_path, places[i]);
        object.debuglink_sum ^= 1;
        cr_expect_eq(read_in_root(&object), LJT_SYMTAB_NONE, "the sum is wrong");
        cr_expect(unlink(root_path(places[i])) == 0);
    }
    root_drop();
}

Test(elf, believes_no_debug_file_of_another_build)
{
    root_make();
    struct elf_image_parts debug = {.symtab = lj_alloc, .build_id = "aaaa"};
    struct elf_image_parts object = {.debuglink = "object.debug", .build_id = "bbbb"};
    object.debuglink_sum = write_debug(&debug, "/opt/object.debug");
    cr_expect_eq(read_in_root(&object), LJT_SYMTAB_NONE, "right sum, wrong build-id");
    object.debuglink = "../opt/object.debug";
    object.build_id = "aaaa";
    cr_expect_eq(read_in_root(&object), LJT_SYMTAB_NONE, "a link is a name, not a path");
    object.debuglink = "object.debug";
    cr_expect_eq(read_in_root(&object), LJT_SYMTAB_DEBUG_FILE);
    root_drop();
}

/* ---- Broken files ---- */

static struct elf_image whole(void)
{
    static const struct elf_image_parts parts = {
        .symtab = lj_alloc, .dynsym = others, .build_id = "0123456789"};
    return elf_image(&parts);
}

Test(elf, says_what_is_wrong_with_a_file)
{
    struct elf_image text = {(unsigned char *)(uintptr_t) "#!/bin/sh\n", 10}, empty = {NULL, 0};
    expect_error(read_image(&text), "not an ELF file");
    expect_error(read_image(&empty), "not an ELF file");
    int fd = open("/", O_RDONLY | O_CLOEXEC);
    expect_error(ljt_symtab_read(&s, "", fd, "/"), "not a regular file");
    close(fd);
    expect_error(ljt_symtab_read(&s, "", -1, "/x"), "can't be read");

    struct elf_image e = whole();
    elf_image_header(&e)->e_ident[EI_CLASS] = ELFCLASS32;
    cr_expect(read_image(&e) < 0 && s.why[0] != '\0', "a 64-bit file that says it is not");
    elf_image_header(&e)->e_ident[EI_CLASS] = 7;
    expect_error(read_image(&e), "ELF class 7 is unknown");
    elf_image_header(&e)->e_ident[EI_CLASS] = ELFCLASS64;
    elf_image_header(&e)->e_ident[EI_DATA] ^= 3;
    expect_error(read_image(&e), "byte order");
    elf_image_header(&e)->e_ident[EI_DATA] ^= 3;
    elf_image_header(&e)->e_shoff = e.size - 8;
    expect_error(read_image(&e), "");
    elf_image_header(&e)->e_shoff = UINT64_MAX - 7;
    expect_error(read_image(&e), "");
    free(e.bytes);
}

Test(elf, says_what_is_wrong_with_a_table)
{
    struct elf_image e = whole();
    Elf64_Shdr *symbols = elf_image_section(&e, ".symtab"), *strings = elf_image_section(&e, ".strtab");
    Elf64_Shdr good = *symbols, good_strings = *strings;
    symbols->sh_offset = e.size;
    expect_error(read_image(&e), "outside of the file");
    *symbols = good;
    symbols->sh_size = UINT64_MAX - 100;
    expect_error(read_image(&e), "outside of the file");
    *symbols = good;
    symbols->sh_entsize = 0;
    expect_error(read_image(&e), "0 bytes each");
    *symbols = good;
    symbols->sh_link = 4000;
    expect_error(read_image(&e), "section 4000 can't be read");
    symbols->sh_link = 2; /* itself */
    expect_error(read_image(&e), "no table of strings");
    *symbols = good;
    symbols->sh_flags |= SHF_COMPRESSED;
    expect_error(read_image(&e), "compressed");
    *symbols = good;
    e.bytes[strings->sh_offset + strings->sh_size - 1] = 'x';
    expect_error(read_image(&e), "have no end");
    e.bytes[strings->sh_offset + strings->sh_size - 1] = '\0';
    strings->sh_size = 3;
    expect_error(read_image(&e), "");
    *strings = good_strings;
    symbols->sh_size = 0;
    cr_expect_eq(read_image(&e), 0, "an empty table is none: %s", s.why);
    free(e.bytes);
}

Test(elf, a_file_without_sections_has_no_symbols)
{
    struct elf_image e = whole();
    elf_image_header(&e)->e_shoff = 0;
    elf_image_header(&e)->e_shnum = 0;
    elf_image_header(&e)->e_shstrndx = 0;
    cr_expect_eq(read_image(&e), 0, "%s", s.why);
    expect_nothing(LJT_SYMTAB_NONE);
    free(e.bytes);
}

Test(elf, answers_a_file_that_is_cut_off_anywhere)
{
    struct elf_image e = whole();
    for (size_t n = 0; n < e.size; n++)
        ljt_fuzz_symtab(e.bytes, n);
    cr_expect(e.size > 1000);
    free(e.bytes);
}

/* ---- The corpus ---- */

static void each_of_the_corpus(void (*use)(unsigned char *bytes, size_t n))
{
    char name[512];
    unsigned files = 0;
    DIR *d = opendir(LJT_CORPUS "/symtab");
    cr_assert(d != NULL, LJT_CORPUS);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        static unsigned char bytes[1 << 16];
        snprintf(name, sizeof(name), "%s/symtab/%s", LJT_CORPUS, entry->d_name);
        FILE *f = entry->d_name[0] == '.' ? NULL : fopen(name, "re");
        if (f == NULL)
            continue;
        size_t n = fread(bytes, 1, sizeof(bytes), f);
        fclose(f);
        use(bytes, n);
        files++;
    }
    closedir(d);
    cr_expect(files >= 10, "%u files", files);
}

static void replay(unsigned char *bytes, size_t n)
{
    ljt_fuzz_symtab(bytes, n);
}

Test(elf, answers_every_file_of_the_corpus)
{
    each_of_the_corpus(replay);
}

/* Numbers that break arithmetic, at random places, and cuts. */
static void mutate(unsigned char *bytes, size_t n)
{
    static const uint64_t odd[] = {
        0, 1, 7, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, UINT64_MAX, 0x8000000000000000};
    static unsigned char copy[1 << 16];
    for (size_t i = 0, rounds = lab_count("TEST_MUTATIONS", 200); i < rounds && n > 0; i++) {
        memcpy(copy, bytes, n);
        for (uint64_t hits = 1 + lab_below(4); hits > 0; hits--) {
            size_t at = lab_below(n), width = (size_t)1 << lab_below(4);
            uint64_t value = lab_below(2) ? lab_random() : odd[lab_below(8)];
            memcpy(copy + at, &value, width < n - at ? width : n - at);
        }
        ljt_fuzz_symtab(copy, lab_below(8) == 0 ? lab_below(n) : n);
    }
}

Test(elf, answers_mutations_of_the_corpus)
{
    lab_seed("elf");
    each_of_the_corpus(mutate);
}

static void save(const char *name, struct elf_image e)
{
    char to[512];
    snprintf(to, sizeof(to), "%s/symtab/%s", LJT_CORPUS, name);
    elf_image_write(&e, to);
    free(e.bytes);
}

/* UPDATE_CORPUS=1 writes the corpus's own beginnings anew; what libFuzzer has found besides stays. */
Test(elf, corpus_can_be_begun_anew)
{
    if (getenv("UPDATE_CORPUS") == NULL)
        return;
    struct elf_image inner = whole(), e;
    size_t n;
    void *packed = elf_image_pack(&inner, &n);
    save("symtab",
         elf_image(&(struct elf_image_parts){.symtab = lj_alloc, .build_id = "01234567890123456789"}));
    save("dynsym", elf_image(&(struct elf_image_parts){.dynsym = lj_alloc}));
    save("both", inner);
    save("stripped", elf_image(&(struct elf_image_parts){.dynsym = others, .build_id = "0123"}));
    save("debuglink",
         elf_image(&(struct elf_image_parts){.debuglink = "object.debug", .debuglink_sum = 1234}));
    save("debugdata", elf_image(&(struct elf_image_parts){.debugdata = packed, .debugdata_size = n}));
    free(packed);
    e = whole(), elf_image_header(&e)->e_shnum = 0, elf_image_header(&e)->e_shoff = 0,
    save("zero-sections", e);
    e = whole(), elf_image_header(&e)->e_shnum = 0, save("sections-counted-elsewhere", e);
    e = whole(), elf_image_header(&e)->e_shstrndx = SHN_XINDEX, save("names-elsewhere", e);
    e = whole(), elf_image_header(&e)->e_ident[EI_CLASS] = ELFCLASS32, save("wrong-class", e);
    e = whole(), elf_image_header(&e)->e_phnum = PN_XNUM, save("segments-counted-elsewhere", e);
    e = whole(), elf_image_section(&e, ".symtab")->sh_offset = UINT64_MAX - 8, save("hostile-offset", e);
    e = whole(), elf_image_section(&e, ".symtab")->sh_size = UINT64_MAX, save("hostile-size", e);
    e = whole(), elf_image_section(&e, ".symtab")->sh_flags = SHF_COMPRESSED, save("compressed", e);
    e = whole(), elf_image_section(&e, ".symtab")->sh_link = 2, save("strings-of-itself", e);
    e = whole(), e.size /= 2, save("truncated", e);
}

/* ---- This process ---- */

Test(elf, finds_the_object_of_an_address_in_memory)
{
    cr_assert_eq(ljt_symtab_find(&s, lab_pc()), 0, "%s", s.why);
    cr_expect(strstr(s.path, "libluajit") != NULL, "%s", s.path);
    cr_expect(lab_pc() >= s.text_lo && lab_pc() < s.text_hi && s.bias != 0 && s.build_id_size > 0);
    cr_expect_eq(ljt_symtab_find(&s, (uintptr_t)&whole), 0, "%s", s.why);
    cr_expect(strstr(s.path, "test-unit") != NULL, "%s", s.path);
    cr_expect((uintptr_t)&whole >= s.text_lo && (uintptr_t)&whole < s.text_hi);
    expect_error(ljt_symtab_find(&s, (uintptr_t)&s), "no object has code there");
}

/* As the preload does it. */
Test(elf, can_be_opened_asked_and_closed)
{
    for (int i = 0; i < 3; i++) {
        void *handle = dlopen(LJT_SYMTAB_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        cr_assert(handle != NULL, "%s", dlerror());
        const unsigned *version = dlsym(handle, LJT_SYMTAB_VERSION_NAME);
        ljt_symtab_find_fn *find = (ljt_symtab_find_fn *)dlsym(handle, LJT_SYMTAB_FIND_NAME);
        cr_assert(version != NULL && *version == LJT_SYMTAB_VERSION && find != NULL);
        cr_expect_eq(find(&s, lab_pc()), 0);
        dlclose(handle);
        cr_expect(dlopen(LJT_SYMTAB_LIBRARY, RTLD_NOLOAD | RTLD_LAZY) == NULL, "it is gone");
    }
}
