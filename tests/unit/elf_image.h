/*
 * elf_image: small ELF files to order, whole ones and broken ones.
 */
#ifndef LJT_TEST_ELF_IMAGE_H
#define LJT_TEST_ELF_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ELF_IMAGE_TEXT = 0x1000, ELF_IMAGE_TEXT_SIZE = 0x1000 };

struct elf_image_symbol {
    const char *name;
    uint64_t value, size;
};

/* What is NULL or 0 is left out. */
struct elf_image_parts {
    const struct elf_image_symbol *symtab, *dynsym; /* the last one's name is NULL */
    const char *build_id;                           /* as text; its bytes are the id */
    const char *debuglink;
    uint32_t debuglink_sum;
    const void *debugdata;
    size_t debugdata_size;
};

struct elf_image {
    unsigned char *bytes;
    size_t size;
};

/* free(image.bytes) at the end. */
struct elf_image elf_image(const struct elf_image_parts *parts);

Elf64_Ehdr *elf_image_header(struct elf_image *e);
Elf64_Shdr *elf_image_section(struct elf_image *e, const char *name);

/* A descriptor of a file with these bytes, and the same in a directory. */
int elf_image_open(const struct elf_image *e);
void elf_image_write(const struct elf_image *e, const char *path);

/* The bytes, compressed as .gnu_debugdata is. free() at the end. */
void *elf_image_pack(const struct elf_image *e, size_t *size);

#endif
