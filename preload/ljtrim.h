/*
 * ljtrim.h: what programs may call, in C or over an FFI.
 *
 * Present in a process only when libljtrim.so is preloaded: declare what you need and look it up (dlsym; ffi.C under
 * pcall). lualib/resty/ljtrim.lua does that for Lua. Names, arguments and the meaning of results stay as they are
 * within a major version; new functions may come.
 *
 * Every function keeps errno. Failure is a negative errno value (-EINVAL), but for ljtrim_dump. Text is terminated,
 * and cut where the buffer is too small. A function for "any thread" may be called on a thread that runs a VM, from
 * Lua, as well as on one that never did, but not from within a VM's allocator function. What is not
 * async-signal-safe may sleep.
 */
#ifndef LJTRIM_H
#define LJTRIM_H

#include <stddef.h>
#include <stdint.h>

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

/*
 * Writes the statistics into buf[size], terminated, and returns their length without the terminator. Formats: "text"
 * (as in the dump), "json", "prometheus"; docs/STATS.md describes them. Sizes are those of each heap's last look,
 * counters are current. What does not fit is left out in whole pieces, and the text says so (in JSON:
 * "arenas_left_out"); 16 KiB hold all but the arenas, each of which takes 1.5 KiB at most. A process without a Lua heap
 * has statistics, too: zeroes.
 *
 *     -EINVAL   there is no such format
 *     -ENOSPC   size is too small for anything
 *     -EFAULT   format or buf is NULL
 *
 * Any thread; not in signal handlers. Waits for another thread that does the same, a millisecond at most.
 */
int ljtrim_stats(const char *format, char *buf, size_t size);

/*
 * The value of an option, as one would write it in the environment: "1000", "1M", "warn". `name` is that of its
 * variable; "LJTRIM_" and case don't matter: "decay_ms". Returns the length of the value without its terminator, as
 * snprintf does: with `size` or more the text was cut. buf may be NULL if size is 0.
 *
 *     -ENOENT   there is no such option
 *     -EFAULT   name is NULL
 *
 * Any thread, async-signal-safe.
 */
int ljtrim_get(const char *name, char *buf, size_t size);

/*
 * Changes an option for this process, from now on; forked children inherit it. Names as above, values as in the
 * environment. Which options can be changed docs/OPTIONS.md says. Returns 0; or, with nothing changed and the reason
 * in `error` (up to 192 bytes with the terminator, empty on success; may be NULL if size is 0), in the words that a bad
 * variable costs:
 *
 *     -ENOENT   there is no such option
 *     -EINVAL   the value is not allowed
 *     -EPERM    the option is fixed when the process starts
 *     -EFAULT   name or value is NULL
 *
 * Any thread, async-signal-safe.
 */
int ljtrim_set(const char *name, const char *value, char *error, size_t size);

/*
 * Purges now what can be purged in all Lua heaps of this process, whatever the age of the pages, LJTRIM_MIN_RECLAIM
 * and the CPU budget say (what it costs is charged to the budget: afterwards the library may rest for longer). It does
 * not run Lua's collector: what that has not freed yet is not purged.
 *
 *     max_bytes   ends when so many bytes, rounded up to pages, are purged; 0: no such bound
 *     max_ms      ends after so many milliseconds, and returns no later; 1 to 60000
 *     flags       0, or LJTRIM_NO_WAIT: returns at once, and the purge goes on in the background
 *
 * Returns the bytes purged while it ran; 0 with LJTRIM_NO_WAIT. The library's own thread does the work: a VM whose thread
 * waits in here is silent, which lets it in after 3 ms; one that runs elsewhere goes on and is asked for its share.
 *
 *     -EINVAL   max_ms or flags out of range
 *     -ENODEV   no Lua heap of this process has grown to 2 MiB, or the library is off: there is nothing to purge
 *     -EPERM    LJTRIM_MODE=observe
 *     -EAGAIN   the library is paused
 *     -EBUSY    another trim was under way until max_ms had passed (with LJTRIM_NO_WAIT: is under way)
 *
 * Any thread; not in signal handlers.
 */
#define LJTRIM_NO_WAIT 1u
int64_t ljtrim_trim(uint64_t max_bytes, uint32_t max_ms, uint32_t flags);

/*
 * From now on the library purges nothing, looks at nothing and uses no CPU, until ljtrim_resume was called as often as
 * ljtrim_pause: pauses are counted, so that two users of one process don't end each other's. Heaps stay adopted,
 * statistics and the dump go on, a trim under way ends. Forked children inherit the count. What is claimed is handed
 * back to the VM first, for which it waits up to max_ms (0 to 60000) milliseconds; a few are enough for all VMs but one
 * that is in an allocator call of its own wrapping.
 *
 *     -ETIMEDOUT   paused all the same, but not all was handed back within max_ms; it is, as soon as may be
 *     -EINVAL      max_ms out of range: not paused
 *
 * Any thread; not in signal handlers.
 */
int ljtrim_pause(uint32_t max_ms);

/*
 * Takes one pause back. Returns how many are left, 0 if the library works again; -EINVAL if it was not paused.
 * Any thread, async-signal-safe.
 */
int ljtrim_resume(void);

#ifdef __cplusplus
}
#endif

#endif
