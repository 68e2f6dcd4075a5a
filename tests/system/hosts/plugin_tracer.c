/*
 * plugin_tracer: preloaded beside the library, a malloc tracer of the rude sort. Its malloc maps memory and its mmap
 * allocates (once each, not without end), both note every call in a ring, and errno is what it was not. What it counted
 * goes to the file named by TRACER_FILE at exit.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING 4096

static void *(*next_malloc)(size_t);
static void (*next_free)(void *);
static void *(*next_mmap)(void *, size_t, int, int, int, off_t);
static int (*next_munmap)(void *, size_t);
static atomic_ulong mallocs, maps;
static void *ring[RING];
static __thread int inside __attribute__((tls_model("initial-exec")));

__attribute__((constructor)) static void find(void)
{
    *(void **)&next_malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&next_free = dlsym(RTLD_NEXT, "free");
    *(void **)&next_mmap = dlsym(RTLD_NEXT, "mmap");
    *(void **)&next_munmap = dlsym(RTLD_NEXT, "munmap");
}

__attribute__((destructor)) static void tell(void)
{
    char line[80];
    const char *name = getenv("TRACER_FILE");
    int fd = name ? open(name, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;

    if (fd < 0)
        return;
    snprintf(line, sizeof line, "%lu mallocs, %lu maps\n", atomic_load(&mallocs), atomic_load(&maps));
    (void)!write(fd, line, strlen(line));
    close(fd);
}

void *malloc(size_t size)
{
    unsigned long n = atomic_fetch_add(&mallocs, 1);

    if (!next_malloc)
        find();
    void *block = next_malloc(size);
    ring[n % RING] = block;
    if (!inside && n % 16 == 0) {
        inside = 1;
        void *page = mmap(NULL, 256 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page != MAP_FAILED)
            munmap(page, 256 << 10);
        inside = 0;
    }
    if (block)
        errno = EAGAIN;
    return block;
}

void free(void *block)
{
    if (!next_free)
        find();
    next_free(block);
}

static void *map(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    unsigned long n = atomic_fetch_add(&maps, 1);

    if (!next_mmap)
        find();
    if (!inside && next_malloc) {
        inside = 1;
        free(malloc(100 + n % 400));
        inside = 0;
    }
    return next_mmap(at, size, protection, flags, fd, offset);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return map(at, size, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return map(at, size, protection, flags, fd, offset);
}

int munmap(void *at, size_t size)
{
    if (!next_munmap)
        find();
    return next_munmap(at, size);
}
