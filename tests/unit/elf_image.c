#include "elf_image.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SECTIONS = 12, ROOM = 1 << 20 };

struct builder {
    unsigned char *bytes;
    size_t size;
    Elf64_Shdr section[SECTIONS];
    unsigned sections;
    char names[256];
    size_t names_size;
};

static size_t put(struct builder *b, const void *bytes, size_t n, size_t align)
{
    b->size = (b->size + align - 1) & ~(align - 1);
    cr_assert(b->size + n <= ROOM);
    size_t at = b->size;
    memcpy(b->bytes + at, bytes, n);
    b->size += n;
    return at;
}

static unsigned add(struct builder *b, const char *name, unsigned type, const void *bytes, size_t n)
{
    Elf64_Shdr *s = &b->section[b->sections];
    cr_assert(b->sections < SECTIONS);
    *s = (Elf64_Shdr){.sh_name = (Elf64_Word)b->names_size, .sh_type = type, .sh_size = n, .sh_addralign = 8};
    memcpy(b->names + b->names_size, name, strlen(name) + 1);
    b->names_size += strlen(name) + 1;
    if (type != SHT_NOBITS)
        s->sh_offset = put(b, bytes, n, 8);
    return b->sections++;
}

static void add_symbols(struct builder *b, const char *name, const char *strings_name, unsigned type,
                        const struct elf_image_symbol *symbols)
{
    static Elf64_Sym table[256];
    static char strings[8192];
    size_t count = 1, length = 1;
    memset(table, 0, sizeof(table));
    for (; symbols->name != NULL; symbols++, count++) {
        cr_assert(count < 256 && length + strlen(symbols->name) + 1 <= sizeof(strings));
        table[count] = (Elf64_Sym){.st_name = (Elf64_Word)length,
                                   .st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC),
                                   .st_shndx = 1,
                                   .st_value = symbols->value,
                                   .st_size = symbols->size};
        memcpy(strings + length, symbols->name, strlen(symbols->name) + 1);
        length += strlen(symbols->name) + 1;
    }
    unsigned at = add(b, name, type, table, count * sizeof(table[0]));
    b->section[at].sh_entsize = sizeof(table[0]);
    b->section[at].sh_link = add(b, strings_name, SHT_STRTAB, strings, length);
}

static void add_link(struct builder *b, const char *name, uint32_t sum)
{
    char link[300] = {0};
    size_t n = (strlen(name) + 4) & ~(size_t)3;
    memcpy(link, name, strlen(name));
    memcpy(link + n, &sum, 4);
    add(b, ".gnu_debuglink", SHT_PROGBITS, link, n + 4);
}

static void add_note(struct builder *b, const char *id)
{
    unsigned char note[64] = {0};
    Elf64_Nhdr header = {4, (Elf64_Word)strlen(id), NT_GNU_BUILD_ID};
    memcpy(note, &header, sizeof(header));
    memcpy(note + sizeof(header), "GNU", 4);
    memcpy(note + sizeof(header) + 4, id, strlen(id));
    add(b, ".note.gnu.build-id", SHT_NOTE, note, sizeof(header) + 4 + strlen(id));
}

struct elf_image elf_image(const struct elf_image_parts *parts)
{
    static struct builder b;
    memset(&b, 0, sizeof(b));
    b.bytes = calloc(1, ROOM);
    b.size = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
    add(&b, "", SHT_NULL, "", 0);
    b.section[0] = (Elf64_Shdr){0};
    unsigned text = add(&b, ".text", SHT_NOBITS, NULL, ELF_IMAGE_TEXT_SIZE);
    b.section[text].sh_addr = ELF_IMAGE_TEXT;
    if (parts->symtab != NULL)
        add_symbols(&b, ".symtab", ".strtab", SHT_SYMTAB, parts->symtab);
    if (parts->dynsym != NULL)
        add_symbols(&b, ".dynsym", ".dynstr", SHT_DYNSYM, parts->dynsym);
    if (parts->build_id != NULL)
        add_note(&b, parts->build_id);
    if (parts->debuglink != NULL)
        add_link(&b, parts->debuglink, parts->debuglink_sum);
    if (parts->debugdata != NULL)
        add(&b, ".gnu_debugdata", SHT_PROGBITS, parts->debugdata, parts->debugdata_size);
    unsigned names = add(&b, ".shstrtab", SHT_STRTAB, b.names, 0);
    b.section[names].sh_offset = put(&b, b.names, b.names_size, 1);
    b.section[names].sh_size = b.names_size;

    Elf64_Ehdr header = {.e_type = ET_DYN,
                         .e_machine = EM_X86_64,
                         .e_version = EV_CURRENT,
                         .e_phoff = sizeof(Elf64_Ehdr),
                         .e_ehsize = sizeof(Elf64_Ehdr),
                         .e_phentsize = sizeof(Elf64_Phdr),
                         .e_phnum = 1,
                         .e_shentsize = sizeof(Elf64_Shdr),
                         .e_shnum = (Elf64_Half)b.sections,
                         .e_shstrndx = (Elf64_Half)names};
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_shoff = put(&b, b.section, b.sections * sizeof(Elf64_Shdr), 8);
    Elf64_Phdr segment = {.p_type = PT_LOAD,
                          .p_flags = PF_R | PF_X,
                          .p_vaddr = ELF_IMAGE_TEXT,
                          .p_memsz = ELF_IMAGE_TEXT_SIZE,
                          .p_align = 4096};
    memcpy(b.bytes, &header, sizeof(header));
    memcpy(b.bytes + sizeof(header), &segment, sizeof(segment));
    return (struct elf_image){realloc(b.bytes, b.size), b.size};
}

Elf64_Ehdr *elf_image_header(struct elf_image *e)
{
    return (Elf64_Ehdr *)(void *)e->bytes;
}

Elf64_Shdr *elf_image_section(struct elf_image *e, const char *name)
{
    Elf64_Ehdr *h = elf_image_header(e);
    Elf64_Shdr *s = (Elf64_Shdr *)(void *)(e->bytes + h->e_shoff);
    for (unsigned i = 0; i < h->e_shnum; i++)
        if (strcmp((const char *)e->bytes + s[h->e_shstrndx].sh_offset + s[i].sh_name, name) == 0)
            return &s[i];
    cr_assert(false, "no section %s", name);
    return NULL;
}

int elf_image_open(const struct elf_image *e)
{
    int fd = memfd_create("elf", MFD_CLOEXEC);
    cr_assert(fd >= 0 && write(fd, e->bytes, e->size) == (ssize_t)e->size);
    return fd;
}

void elf_image_write(const struct elf_image *e, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert(fd >= 0 && write(fd, e->bytes, e->size) == (ssize_t)e->size, "%s", path);
    close(fd);
}

void *elf_image_pack(const struct elf_image *e, size_t *size)
{
    size_t room = lzma_stream_buffer_bound(e->size);
    uint8_t *packed = malloc(room);
    *size = 0;
    cr_assert_eq(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, e->bytes, e->size, packed, size, room),
                 LZMA_OK);
    return packed;
}
