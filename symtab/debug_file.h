/*
 * debug_file: symbols that were separated from their object.
 *
 * In a file of their own, found by build-id (/usr/lib/debug/.build-id/ab/cdef.debug) or by the name in .gnu_debuglink
 * (beside the object, in .debug there, under /usr/lib/debug), or compressed inside the object (.gnu_debugdata). What
 * is found must prove that it belongs to the object: by the same build-id, or the checksum that .gnu_debuglink says.
 */
#ifndef LJT_DEBUG_FILE_H
#define LJT_DEBUG_FILE_H

#include "elf_file.h"

/*
 * Calls `use` with each debug file that belongs to the object until one returns true. Others are passed over.
 * `path` is the object's, seen from `root`.
 */
typedef bool ljt_debug_file_fn(struct ljt_elf *debug, const char *path, void *arg);
bool ljt_debug_file(struct ljt_elf *object, const char *root, const char *path, ljt_debug_file_fn *use,
                    void *arg);

/* Calls `use` with what .gnu_debugdata holds, if it does. 0, -errno where it is broken. */
int ljt_debug_data(struct ljt_elf *object, const char *path, ljt_debug_file_fn *use, void *arg);

#endif
