#include "thp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arena.h"
#include "config.h"
#include "kernel.h"
#include "log.h"

/* Each advised segment may cost two mappings of the 65,530 that a process has by default. */
#define BUDGET 4096

static _Atomic bool asked, matters;
static unsigned spent; /* by the reclaimer; a child goes on from its parent's count */

void ljt_thp_init(void)
{
    if (ljt_config.thp == LJT_THP_KEEP || atomic_exchange_explicit(&asked, true, memory_order_relaxed))
        return;
    char text[64] = "";
    /* syscall(): open and read are cancellation points, and this is the mutator's thread, inside the gate. */
    long fd = syscall(SYS_openat, AT_FDCWD, "/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    long n = syscall(SYS_read, fd, text, sizeof(text) - 1);
    syscall(SYS_close, fd);
    bool always = n > 0 && strstr(text, "[always]") != NULL && prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) != 1;
    atomic_store_explicit(&matters, always, memory_order_release);
}

void ljt_thp_advise(struct ljt_arena *a)
{
    if (!atomic_load_explicit(&matters, memory_order_acquire))
        return;
    for (unsigned i = 0; i < a->work.segments; i++) {
        uintptr_t base = a->work.segment[i].base;
        size_t size = a->work.segment[i].size;
        /* The state of a page's advice is kept with the page: a segment's first and last tell of the rest. */
        uintptr_t last = base + size - ljt_page_size;
        if (ljt_shadow_count(&a->shadow, LJT_SHADOW_BIT(LJT_SHADOW_ADVISED), 0, base, base + ljt_page_size) != 0 &&
            ljt_shadow_count(&a->shadow, LJT_SHADOW_BIT(LJT_SHADOW_ADVISED), 0, last, base + size) != 0)
            continue;
        if (spent++ >= BUDGET || ljt_kernel.madvise((void *)base, size, MADV_NOHUGEPAGE) != 0) {
            /* A segment that was unmapped since it was listed is no refusal. */
            if (spent <= BUDGET && errno == ENOMEM)
                continue;
            static struct ljt_once once;
            ljt_log_once(&once, LJT_LOG_INFO, "huge pages are no longer kept out of Lua heaps (%s)",
                         spent > BUDGET ? "too many segments" : strerror(errno));
            atomic_store_explicit(&matters, false, memory_order_release);
            return;
        }
        ljt_shadow_set(&a->shadow, LJT_SHADOW_ADVISED, base, base + size);
    }
}
