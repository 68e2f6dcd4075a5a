/*
 * The contract of mmap, mmap64, munmap and mremap: random calls, good and bad ones, each made twice, as a function of libc,
 * which may be interposed, and as a raw system call, on two regions that look alike. Results, errno and what is mapped
 * afterwards have to agree. The digest of all results does not depend on addresses.
 *
 * The regions have holes, and the calls include some that leave the place to the kernel. It must choose none of the
 * holes, for which it could have reasons of its own: it looks for room downwards from the stack or, in the legacy
 * layout (setarch -L, ulimit -s unlimited), upwards from a third or a quarter of the address space. The regions lie
 * below both, at 64 GiB, where nothing else is: a place of the kernel's choice is never there. They are gone when the
 * check is over: another may follow, in a child or in another object of the process.
 */
#ifndef LJT_TEST_MMAP_CONTRACT_H
#define LJT_TEST_MMAP_CONTRACT_H

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "host.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define REGION_PAGES 64
#define FILE_PAGES 16
#define REGIONS ((uintptr_t)1 << 36)
#define REGIONS_APART ((uintptr_t)1 << 30)
#define OUTSIDE (-2) /* a mapping that the kernel placed where it liked */

static size_t page;
static int file;

/* One call, in terms that hold for both regions. */
struct call {
    enum { MAP, UNMAP, REMAP } kind;
    int use_mmap64;
    long address_page; /* relative to the region; -1: no address */
    long skew;         /* bytes beside the page boundary */
    size_t length, new_length;
    int protection, flags, fd;
    off_t offset;
    long target_page;
};

struct outcome {
    long place; /* relative to the region, OUTSIDE, or -1 */
    int error;
};

static char *region_reserve(uintptr_t address)
{
    void *region = (void *)syscall(SYS_mmap, address, REGION_PAGES * page, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

    if (region != (void *)address) /* before Linux 4.17 the address is a hint */
        die("no region at %#lx: %s", (unsigned long)address, strerror(region == MAP_FAILED ? errno : EEXIST));
    return region;
}

/* Makes a region whole again; MAP_FIXED replaces whatever is there. */
static void region_reset(char *region)
{
    if ((void *)syscall(SYS_mmap, region, REGION_PAGES * page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        die("region can't be reset: %s", strerror(errno));
}

static void region_release(char *region)
{
    if (syscall(SYS_munmap, region, REGION_PAGES * page))
        die("region can't be unmapped: %s", strerror(errno));
}

static void *address_of(const struct call *c, char *region)
{
    return c->address_page < 0 ? NULL : region + (size_t)c->address_page * page + c->skew;
}

static void *do_map(const struct call *c, void *address, int raw)
{
    if (raw)
        return (void *)syscall(SYS_mmap, address, c->length, c->protection, c->flags, c->fd, c->offset);
    if (c->use_mmap64)
        return mmap64(address, c->length, c->protection, c->flags, c->fd, c->offset);
    return mmap(address, c->length, c->protection, c->flags, c->fd, c->offset);
}

static void *do_remap(const struct call *c, void *address, char *region, int raw)
{
    void *target = region + (size_t)c->target_page * page;

    if (raw)
        return (void *)syscall(SYS_mremap, address, c->length, c->new_length, c->flags,
                               c->flags & MREMAP_FIXED ? target : NULL);
    if (c->flags & MREMAP_FIXED)
        return mremap(address, c->length, c->new_length, c->flags, target);
    return mremap(address, c->length, c->new_length, c->flags);
}

/* Makes the call, describes the outcome and takes away what was mapped outside of the region. */
static struct outcome perform(const struct call *c, char *region, int raw)
{
    struct outcome o = {0, 0};
    void *address = address_of(c, region), *result;
    size_t length = c->kind == REMAP ? c->new_length : c->length;

    errno = 0;
    if (c->kind == UNMAP) {
        o.place = raw ? (long)syscall(SYS_munmap, address, c->length) : munmap(address, c->length);
        o.error = errno;
        return o;
    }
    result = c->kind == MAP ? do_map(c, address, raw) : do_remap(c, address, region, raw);
    o.error = errno;
    if (result == MAP_FAILED) {
        o.place = -1;
    } else if ((char *)result >= region && (char *)result < region + REGION_PAGES * page) {
        o.place = (char *)result - region;
    } else {
        o.place = OUTSIDE;
        if ((uintptr_t)result % page)
            die("a mapping at %p is not aligned", result);
        if (syscall(SYS_munmap, result, (length + page - 1) & ~(page - 1)))
            die("a mapping at %p can't be unmapped: %s", result, strerror(errno));
    }
    return o;
}

static struct call choose(uint64_t *random)
{
    static const int map_flags[] = {
        MAP_PRIVATE | MAP_ANONYMOUS,
        MAP_PRIVATE | MAP_ANONYMOUS,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
        MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
        MAP_PRIVATE | MAP_FIXED,
        MAP_SHARED | MAP_FIXED,
        MAP_PRIVATE,
        MAP_ANONYMOUS, /* neither private nor shared: EINVAL */
        0,
    };
    static const int remap_flags[] = {
        0, 0, MREMAP_MAYMOVE, MREMAP_MAYMOVE, MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_FIXED, 64};
    static const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
    static const size_t odd_lengths[] = {0, 1, SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 47, 100};
    struct call c = {0};

    c.kind = (int[]){MAP, MAP, UNMAP, REMAP}[random_below(random, 4)];
    c.use_mmap64 = (int)random_below(random, 2);
    c.address_page = (long)random_below(random, REGION_PAGES - 17);
    c.length = (1 + random_below(random, 8)) * page;
    c.new_length = (1 + random_below(random, 8)) * page;
    c.target_page = (long)random_below(random, REGION_PAGES - 17);
    c.protection = protections[random_below(random, 4)];
    c.fd = -1;
    if (c.kind == MAP) {
        c.flags = map_flags[random_below(random, sizeof map_flags / sizeof *map_flags)];
        if (!(c.flags & MAP_ANONYMOUS)) {
            c.fd = random_below(random, 10) ? file : 9999;
            c.offset = (off_t)(random_below(random, FILE_PAGES) * page);
            if (random_below(random, 8) == 0)
                c.offset += 512; /* not a page boundary: EINVAL */
        }
        /* a bare hint would be taken by one region and not by the other one */
        if (!(c.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)))
            c.address_page = -1;
    } else if (c.kind == REMAP) {
        c.flags = remap_flags[random_below(random, sizeof remap_flags / sizeof *remap_flags)];
    }
    /* 128 KiB and more: what lj_alloc asks for, and the library has a closer look at */
    if (random_below(random, 10) == 0) {
        c.length = (random_below(random, 3) ? 32 : 33 + random_below(random, 8)) * page;
        c.address_page = c.address_page < 0 ? -1 : c.address_page % (REGION_PAGES - 40);
    }
    if (random_below(random, 12) == 0)
        c.skew = 1 + (long)random_below(random, page - 1);
    /* odd lengths only where they fail or touch one page: MAP_FIXED with 1 << 46 would eat the process */
    if (random_below(random, 10) == 0) {
        c.length = odd_lengths[random_below(random, 6)];
        if (c.address_page < 0 && c.length > (size_t)1 << 40)
            c.length = SIZE_MAX;
    }
    if (c.kind == REMAP && random_below(random, 20) == 0)
        c.new_length = 0;
    return c;
}

/* What is mapped: one bit a page, from mincore, which fails with ENOMEM where nothing is. */
static uint64_t mapped_pages(char *region)
{
    uint64_t bits = 0;
    unsigned char ignored;

    for (int i = 0; i < REGION_PAGES; i++)
        if (!mincore(region + (size_t)i * page, page, &ignored))
            bits |= 1ull << i;
    return bits;
}

struct contract {
    unsigned calls, failed, errors[256]; /* of the calls, so many ended with this errno */
    uint64_t digest;
};

/* Dies at the first call that libc and the kernel do not agree about; `when` is for the message. */
static struct contract contract_check(uint64_t seed, unsigned calls, const char *when)
{
    struct contract sum = {.calls = calls, .digest = 0xcbf29ce484222325u};
    uint64_t random = seed;
    char name[] = "/tmp/mmap-contract-XXXXXX";

    page = (size_t)sysconf(_SC_PAGESIZE);
    file = mkstemp(name);
    if (file < 0 || unlink(name) || ftruncate(file, (off_t)(FILE_PAGES * page)))
        die("no file to map: %s", strerror(errno));
    char *mine = region_reserve(REGIONS), *raw = region_reserve(REGIONS + REGIONS_APART);
    for (unsigned i = 0; i < calls; i++) {
        struct call c = choose(&random);
        struct outcome a, b;

        if (i % 50 == 0) {
            region_reset(mine);
            region_reset(raw);
        }
        a = perform(&c, mine, 0);
        b = perform(&c, raw, 1);
        /* What is mapped stays so until the next reset: to ask for it takes more calls than all the others. */
        if (a.place != b.place || a.error != b.error ||
            (i % 5 == 4 && mapped_pages(mine) != mapped_pages(raw)))
            die("%s, call %u (kind %d, flags %#x, length %#zx, skew %ld): libc gave %ld errno %d, the kernel "
                "%ld "
                "errno %d, maps %#llx %#llx",
                when, i, c.kind, (unsigned)c.flags, c.length, c.skew, a.place, a.error, b.place, b.error,
                (unsigned long long)mapped_pages(mine), (unsigned long long)mapped_pages(raw));
        sum.failed += a.place == -1;
        sum.errors[a.error & 255]++;
        sum.digest = (sum.digest ^ (uint64_t)(a.place * 256 + a.error)) * 0x100000001b3u;
    }
    region_release(mine);
    region_release(raw);
    close(file);
    return sum;
}

#endif
