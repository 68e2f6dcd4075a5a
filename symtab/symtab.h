/*
 * symtab: where lj_alloc's functions are, as the symbols of an object say.
 *
 * A second object, libljtrim-symtab.so, since libelf, liblzma and libunwind must never be needed by the preloaded
 * one: the preload opens it with RTLD_LOCAL when it has found a LuaJIT, asks, and closes it. The command ljtrim has
 * the same code linked in.
 *
 * "No symbols" is an answer, not an error: most packages are stripped. A file that is broken, or is not the one that
 * was loaded, gives -errno and a text, and nothing of what had been read from it. Nothing is mapped, so that a file
 * that gets shorter meanwhile is an error and not a SIGBUS; nothing is trusted without a bound.
 *
 * Allocates from malloc, takes the loader's lock, keeps no state and no file open. Not async-signal-safe.
 */
#ifndef LJT_SYMTAB_H
#define LJT_SYMTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Both sides check it: a libljtrim.so beside an older libljtrim-symtab.so does without. */
#define LJT_SYMTAB_VERSION 2

enum { LJT_SYMTAB_FUNCTIONS = 48, LJT_SYMTAB_BUILD_ID = 32, LJT_SYMTAB_PATH = 512, LJT_SYMTAB_WHY = 128 };

enum ljt_symtab_source {
    LJT_SYMTAB_NONE,       /* stripped, or nothing of lj_alloc in them */
    LJT_SYMTAB_SYMTAB,     /* the object's own .symtab */
    LJT_SYMTAB_DEBUG_FILE, /* a separate file, by build-id or .gnu_debuglink */
    LJT_SYMTAB_DEBUGDATA,  /* .gnu_debugdata, compressed inside the object */
    LJT_SYMTAB_DYNSYM,     /* exported; a build of its own */
    LJT_SYMTAB_SOURCES
};

const char *ljt_symtab_source_text(enum ljt_symtab_source source);

/* Compilers leave parts of a function under names of their own (.constprop.0, .isra.1, .part.2, .cold): its role. */
enum ljt_symtab_role {
    LJT_SYMTAB_F, /* lj_alloc_f */
    LJT_SYMTAB_CREATE,
    LJT_SYMTAB_DESTROY,
    LJT_SYMTAB_MALLOC,
    LJT_SYMTAB_FREE,
    LJT_SYMTAB_REALLOC,
    LJT_SYMTAB_SYS,     /* alloc_sys */
    LJT_SYMTAB_TRIM,    /* alloc_trim */
    LJT_SYMTAB_RELEASE, /* release_unused_segments */
    LJT_SYMTAB_PROBE,   /* mmap_probe */
    LJT_SYMTAB_DIRECT,  /* direct_alloc, direct_resize */
    LJT_SYMTAB_ROLES
};

struct ljt_symtab_function {
    uint64_t lo, hi; /* its code: [lo, hi) */
    unsigned role;
    bool whole; /* under its plain name or a clone's: lo is an entry point. False: a part of it */
};

struct ljt_symtab {
    char path[LJT_SYMTAB_PATH]; /* of the object */
    uint64_t bias;              /* what the loader added to the file's addresses; 0 when a file is read */
    uint64_t text_lo, text_hi;  /* executable segments, bias included */
    unsigned char build_id[LJT_SYMTAB_BUILD_ID];
    unsigned build_id_size; /* 0: it has none */

    enum ljt_symtab_source source;
    char source_path[LJT_SYMTAB_PATH]; /* of the debug file; else as path */
    unsigned count;
    bool more; /* than fitted in; then those that are here are not all */
    struct ljt_symtab_function function[LJT_SYMTAB_FUNCTIONS];

    char why[LJT_SYMTAB_WHY]; /* of a failure: what is wrong */
};

/*
 * An object file: addresses as in the file. `root` is "" or the root directory of another process, in which debug
 * files are looked for; `path` is where the file is, seen from there. The descriptor stays the caller's; it must allow
 * pread. 0 or -errno.
 */
int ljt_symtab_read(struct ljt_symtab *s, const char *root, int fd, const char *path);

/* The object of this process whose code holds `pc`: addresses as in memory. 0, or -errno: -ENOENT none, -ESTALE its
   file is another one by now. */
int ljt_symtab_find(struct ljt_symtab *s, uintptr_t pc);

/* The function whose code holds an address; NULL if it is none of lj_alloc's. */
const struct ljt_symtab_function *ljt_symtab_function_at(const struct ljt_symtab *s, uint64_t address);

/* For dlsym, under these names. */
typedef int ljt_symtab_find_fn(struct ljt_symtab *s, uintptr_t pc);
#define LJT_SYMTAB_FIND_NAME "ljt_symtab_find"
#define LJT_SYMTAB_VERSION_NAME "ljt_symtab_version" /* const unsigned */

#endif
