/*
 * nolua_mmap SEED: the contract of mmap and its kin (mmap_contract.h) at all times of a process's life: before any object's
 * constructor has run, from main, in children of fork, _Fork and vfork. Prints a line for each, the same on every run;
 * the last says which functions were checked while dlsym looked for them, if plugin_in_dlsym.so is preloaded.
 */
#include <dlfcn.h>

#include "mmap_contract.h"

#define CALLS 10000
#define CALLS_ELSEWHERE 1000

extern pid_t _Fork(void) __attribute__((weak)); /* glibc 2.34 */

static struct contract first; /* the same memory for main and for a child of vfork */

static uint64_t seed(int argc, char **argv)
{
    return argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
}

/* The dynamic linker calls these first, when it has bound every object, and before its constructors. */
static void before_all_constructors(int argc, char **argv, char **environment)
{
    (void)environment;
    first = contract_check(seed(argc, argv), CALLS_ELSEWHERE, "before all constructors");
}

static void (*preinit)(int, char **, char **)
    __attribute__((section(".preinit_array"), used)) = before_all_constructors;

static void report(const char *when, const struct contract *c)
{
    printf("%s: %u calls, %u failed (EINVAL %u, EBADF %u, ENOMEM %u, EEXIST %u, EFAULT %u), digest %016llx\n",
           when, c->calls, c->failed, c->errors[EINVAL], c->errors[EBADF], c->errors[ENOMEM],
           c->errors[EEXIST], c->errors[EFAULT], (unsigned long long)c->digest);
    fflush(stdout); /* a child must not have it, too */
}

static void check_in_child(pid_t (*copy)(void), const char *when, uint64_t from)
{
    pid_t child = copy();

    if (child < 0)
        die("%s: %s", when, strerror(errno));
    if (child == 0) {
        struct contract c = contract_check(from, CALLS_ELSEWHERE, when);
        report(when, &c);
        _exit(0);
    }
    expect_success_of(child, when);
}

/* It has its parent's memory, mappings included, and writes to nothing else that is the parent's but what it found. */
static void check_in_vfork_child(uint64_t from)
{
    pid_t child = vfork();

    if (child < 0)
        die("vfork: %s", strerror(errno));
    if (child == 0) {
        first = contract_check(from, CALLS_ELSEWHERE, "a child of vfork");
        _exit(0);
    }
    expect_success_of(child, "a child of vfork");
}

int main(int argc, char **argv)
{
    uint64_t from = seed(argc, argv);
    const char *(*checked_in_dlsym)(void);

    report("before all constructors", &first);
    struct contract c = contract_check(from, CALLS, "main");
    report("main", &c);
    check_in_child(fork, "a child of fork", from + 1);
    check_in_child(_Fork ? _Fork : fork, "a child of _Fork", from + 2);
    check_in_vfork_child(from + 3);
    report("a child of vfork", &first);
    *(void **)&checked_in_dlsym = dlsym(RTLD_DEFAULT, "checked_in_dlsym");
    if (checked_in_dlsym)
        printf("in dlsym:%s\n", checked_in_dlsym());
    return 0;
}
