/*
 * plugin_in_dlsym: preloaded behind the library, another preload whose mmap, munmap and mremap are chosen when they are
 * looked for: a resolver (STT_GNU_IFUNC), which dlsym calls before it returns. Each resolver checks the contract of all of
 * them, while the library has found some of what stands behind it and not yet the rest.
 */
#include "mmap_contract.h"

#define CALLS 300

static char checked[40];

const char *checked_in_dlsym(void);

const char *checked_in_dlsym(void)
{
    return checked;
}

static void check(const char *name)
{
    contract_check(1, CALLS, name);
    strcat(strcat(checked, " "), name);
}

static void *next_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

static int next_munmap(void *address, size_t length)
{
    return (int)syscall(SYS_munmap, address, length);
}

static void *next_mremap(void *address, size_t length, size_t new_length, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    void *target = va_arg(args, void *); /* the library gives it always */
    va_end(args);
    return (void *)syscall(SYS_mremap, address, length, new_length, flags, target);
}

static typeof(&mmap) choose_mmap(void)
{
    check("mmap");
    return next_mmap;
}

static typeof(&munmap) choose_munmap(void)
{
    check("munmap");
    return next_munmap;
}

static typeof(&mremap) choose_mremap(void)
{
    check("mremap");
    return next_mremap;
}

void *mmap(void *, size_t, int, int, int, off_t) __attribute__((ifunc("choose_mmap")));
int munmap(void *, size_t) __attribute__((ifunc("choose_munmap")));
void *mremap(void *, size_t, size_t, int, ...) __attribute__((ifunc("choose_mremap")));
