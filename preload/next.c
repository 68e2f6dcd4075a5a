#include "next.h"

#include <dlfcn.h>
#include <stdint.h>

struct ljt_next ljt_next;

/* The bounds of our own object, which the linker defines. Not dladdr: that reads libc's whole symbol table. */
extern const char ljt_image_start[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));
extern const char ljt_image_end[] __asm__("_end") __attribute__((visibility("hidden")));

/* A tool that loads us twice may make us our own next: calling it would never end. */
void *ljt_next_find(const char *name)
{
    uintptr_t found = (uintptr_t)dlsym(RTLD_NEXT, name);
    if (found >= (uintptr_t)ljt_image_start && found < (uintptr_t)ljt_image_end)
        return NULL;
    return (void *)found;
}

void ljt_next_init(void)
{
    ljt_next.mmap = ljt_next_find("mmap");
    ljt_next.munmap = ljt_next_find("munmap");
    ljt_next.mremap = ljt_next_find("mremap");
    ljt_next.sigaction = ljt_next_find("sigaction");
    ljt_next.signal = ljt_next_find("signal");
    ljt_next.fork_raw = ljt_next_find("_Fork");
    ljt_next.epoll_wait = ljt_next_find("epoll_wait");
    ljt_next.epoll_pwait = ljt_next_find("epoll_pwait");
    ljt_next.epoll_pwait2 = ljt_next_find("epoll_pwait2");
    ljt_next.poll = ljt_next_find("poll");
    ljt_next.ppoll = ljt_next_find("ppoll");
    ljt_next.select = ljt_next_find("select");
    ljt_next.pselect = ljt_next_find("pselect");
}
