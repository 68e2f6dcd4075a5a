#include "thp.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "arena.h"
#include "config.h"
#include "kernel.h"
#include "log.h"
#include "sandbox.h"

/* Each advised segment may cost two mappings of the 65,530 that a process has by default. */
#define SEGMENTS_MAX 512

static _Atomic bool asked, matters;

void ljt_thp_init(void)
{
    if (ljt_config.thp == LJT_THP_KEEP || atomic_exchange_explicit(&asked, true, memory_order_relaxed))
        return;
    char text[64] = "";
    ssize_t n = ljt_kernel.read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text) - 1);
    bool always = n > 0 && strstr(text, "[always]") != NULL &&
                  (ljt_sandbox_kills(LJT_CALL_PRCTL) || prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) != 1);
    atomic_store_explicit(&matters, always, memory_order_release);
}

/* What is advised already is not touched by being advised again. */
void ljt_thp_advise(struct ljt_arena *a)
{
    if (!atomic_load_explicit(&matters, memory_order_acquire) || a->pace.advised_events == a->pace.map_events)
        return;
    a->pace.advised_events = a->pace.map_events;
    bool too_many = a->work.segments > SEGMENTS_MAX;
    for (unsigned i = 0; i < a->work.segments && !too_many; i++) {
        void *base = (void *)a->work.segment[i].base;
        if (ljt_kernel.madvise(base, a->work.segment[i].size, MADV_NOHUGEPAGE) == 0 || errno == ENOMEM)
            continue; /* ENOMEM: trimmed since it was listed */
        static struct ljt_once once;
        ljt_log_once(&once, LJT_LOG_INFO, "huge pages can't be kept out of Lua heaps (%s)", strerror(errno));
        atomic_store_explicit(&matters, false, memory_order_release);
        return;
    }
}
