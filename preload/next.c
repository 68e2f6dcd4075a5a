#include "next.h"

#include <dlfcn.h>

struct ljt_next ljt_next;

/* A tool that loads us twice may make us our own next: calling it would never end. */
static void *find_next(const char *name)
{
    Dl_info ours, theirs;
    void *found = dlsym(RTLD_NEXT, name);
    if (found != NULL && dladdr(&ljt_next, &ours) != 0 && dladdr(found, &theirs) != 0 &&
        ours.dli_fbase == theirs.dli_fbase)
        return NULL;
    return found;
}

void ljt_next_init(void)
{
    ljt_next.mmap = find_next("mmap");
    ljt_next.munmap = find_next("munmap");
    ljt_next.mremap = find_next("mremap");
    ljt_next.sigaction = find_next("sigaction");
    ljt_next.fork_raw = find_next("_Fork");
}
