/*
 * elf_file: ELF files, open for reading, whatever is in them.
 *
 * A file is checked here before libelf sees it: class, byte order, tables inside the file. What is read of it is
 * read with pread into memory of its own, never mapped. Functions return 0 or -errno and say in `why` what is wrong.
 */
#ifndef LJT_ELF_FILE_H
#define LJT_ELF_FILE_H

#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ljt_elf {
    Elf *elf;
    GElf_Ehdr header;
    uint64_t size; /* of the file, bytes */
    size_t sections, segments, names;
    char why[96];
};

/*
 * Opens a path as a process sees it whose root directory is `root` ("" is our own): symbolic links stay inside, and
 * what is neither a regular file nor a directory is not opened (-EINVAL). A file descriptor or -errno.
 */
int ljt_open_in(const char *root, const char *path);

/* The descriptor must stay open until ljt_elf_close. -ENOEXEC: no ELF file, or a broken one. */
int ljt_elf_open(struct ljt_elf *e, int fd);

/* The same for bytes in memory, which libelf may write to. */
int ljt_elf_open_memory(struct ljt_elf *e, char *bytes, size_t n);

void ljt_elf_close(struct ljt_elf *e); /* also after a failed open */

/* A section that lies inside the file. -EINVAL where the file says otherwise. */
int ljt_elf_section(struct ljt_elf *e, size_t index, Elf_Scn **section, GElf_Shdr *header);

/* The section of this name: its data, NULL where there is none. At most `limit` bytes. 0 or -errno. */
int ljt_elf_data(struct ljt_elf *e, const char *name, size_t limit, Elf_Data **data);

/* Calls `each` for every named symbol of the tables of this type: SHT_SYMTAB or SHT_DYNSYM. No table: 0. */
typedef void ljt_elf_symbol_fn(const char *name, const GElf_Sym *symbol, void *arg);
int ljt_elf_symbols(struct ljt_elf *e, unsigned type, ljt_elf_symbol_fn *each, void *arg);

/* The bounds of the executable segments, as the file has them; lo > hi when there are none. */
int ljt_elf_text(struct ljt_elf *e, uint64_t *lo, uint64_t *hi);

/* The build-id of a note segment or section in memory: its length, 0 when there is none. */
size_t ljt_elf_note_build_id(const void *notes, size_t n, size_t align, unsigned char *id, size_t room);

/* The file's build-id: its length, 0 when there is none (or a broken one). */
size_t ljt_elf_build_id(struct ljt_elf *e, unsigned char *id, size_t room);

#endif
