/*
 * plugin_stall: preloaded behind the library, its mmap is the one that the library calls. Once `stall_mmap` is set, a
 * mapping of 128 KiB or more never returns: whoever asked, LuaJIT's allocator for example, stays inside.
 */
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset);

volatile int stall_mmap;

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (stall_mmap && length >= 128 << 10 && fd == -1) {
        for (;;)
            pause();
    }
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    return mmap(at, length, protection, flags, fd, offset);
}
