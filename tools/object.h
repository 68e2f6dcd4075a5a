/*
 * ELF files, as far as it matters to whom they are preloaded: what they need, whether LuaJIT is in them,
 * whether a preloaded library can get in.
 */
#ifndef LJT_OBJECT_H
#define LJT_OBJECT_H

#include <stdbool.h>
#include <stddef.h>

#include "elf_file.h"

enum { LJT_OBJECT_PATH = 1024, LJT_OBJECT_NEEDED = 32 };

struct ljt_object {
    char path[LJT_OBJECT_PATH]; /* as its process sees it */
    bool is_elf, is_script, is_64bit, is_setuid;
    bool has_symtab;   /* not stripped */
    bool exports_mmap; /* stands before libc's for everybody, if preloaded */
    bool imports_mmap;
    bool defines_luajit;   /* by a symbol of its own */
    bool imports_lua;      /* lua_newstate or luaL_newstate from elsewhere */
    char banner[64];       /* "LuaJIT 2.1.0-beta3", or empty */
    int year;              /* the last one of LuaJIT's copyright line, or 0 */
    char interpreter[256]; /* of dynamic executables: /lib64/ld-linux-x86-64.so.2; of scripts: what #! says */
    char runpath[512];
    char needed[LJT_OBJECT_NEEDED][128];
    size_t nneeded;
    char configured[4096]; /* nginx: the arguments of its ./configure, or empty */
};

/* 0, or -errno where the file cannot be read. What is no ELF file has is_elf false. */
int ljt_object_read(struct ljt_object *o, const char *root, const char *path);

/* The same for a descriptor, which is closed. */
int ljt_object_read_from(struct ljt_object *o, int fd, const char *path);

/* Whether LuaJIT's code is in it. */
bool ljt_object_has_luajit(const struct ljt_object *o);

/* The part of a path behind the last slash. */
const char *ljt_base_name(const char *path);

#endif
