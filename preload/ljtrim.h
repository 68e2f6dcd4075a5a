/*
 * ljtrim.h: what programs may call, in C or over an FFI.
 *
 * Present in a process only when libljtrim.so is preloaded; look it up (dlsym, ffi.C under pcall).
 */
#ifndef LJTRIM_H
#define LJTRIM_H

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "MAJOR.MINOR.PATCH". Any thread, async-signal-safe. */
const char *ljtrim_version(void);

/*
 * Asks for a statistics dump to the log, as LJTRIM_SIGNAL does. It is written a moment later by the library's
 * own thread. Returns 0, or -1 where no Lua heap of this process has grown (then there is nothing to report).
 * Any thread, async-signal-safe.
 */
int ljtrim_dump(void);

#ifdef __cplusplus
}
#endif

#endif
