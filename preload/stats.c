#include "stats.h"

#include <unistd.h>

#include "arena.h"
#include "config.h"
#include "kernel.h"
#include "log.h"
#include "reclaim.h"
#include "text.h"

static const char *mode_text(void)
{
    switch (ljt_config.mode) {
    case LJT_MODE_OBSERVE: return "observe (LJTRIM_MODE)";
    case LJT_MODE_NATIVE: return "native (LJTRIM_MODE)";
    default: return "native (auto: lj_alloc was recognised)";
    }
}

static void size(struct ljt_text *t, const char *name, uint64_t bytes)
{
    ljt_text_string(t, name);
    size_t from = t->len, line = t->len;
    while (line > 0 && t->buf[line - 1] != '\n')
        line--;
    ljt_text_bytes(t, bytes);
    ljt_text_align_right(t, from, from - line + 9);
}

static void quantiles(struct ljt_text *t, const char *name, const struct ljt_histogram *h)
{
    static const struct {
        const char *name;
        unsigned num;
    } q[] = {{" p50 ", 500}, {" p99 ", 990}, {" p99.9 ", 999}, {" max ", 1000}};
    ljt_text_string(t, name);
    ljt_text_unsigned(t, ljt_histogram_count(h));
    for (unsigned i = 0; i < sizeof(q) / sizeof(q[0]); i++) {
        ljt_text_string(t, q[i].name);
        ljt_text_duration(t, ljt_histogram_quantile(h, q[i].num, 1000));
    }
    ljt_text_string(t, "\n");
}

static void sizes(struct ljt_text *t, const struct ljt_arena_stats *s)
{
    uint64_t live = s->live < s->mapped ? s->live : s->mapped;
    uint64_t floor = s->mapped - s->purgeable;
    size(t, "  mapped   ", s->mapped);
    size(t, "  live     ", live);
    size(t, "  free  ", s->mapped - live);
    ljt_text_string(t, "  fragmentation ");
    ljt_text_percent(t, s->mapped - live, s->mapped);
    size(t, "\n  resident ", s->resident);
    size(t, "  page floor ", floor);
    size(t, "  purgeable ", s->purgeable);
    ljt_text_string(t, "\n");
    size(t, "  purged   ", s->purged);
    ljt_text_string(t, " in ");
    ljt_text_unsigned(t, s->purge_calls);
    size(t, " calls  refaults ", s->refaults);
    ljt_text_string(t, "\n");
}

static void counters(struct ljt_text *t, const struct ljt_arena_stats *s)
{
    ljt_text_string(t, "  looks ");
    ljt_text_unsigned(t, s->looks);
    ljt_text_string(t, "  units by the VM ");
    ljt_text_unsigned(t, s->units[LJT_UNIT_BY_MUTATOR]);
    ljt_text_string(t, ", by the reclaimer ");
    ljt_text_unsigned(t, s->units[LJT_UNIT_BY_RECLAIMER]);
    ljt_text_string(t, "\n  withdrawn ");
    ljt_text_unsigned(t, s->withdrawn);
    ljt_text_string(t, "  descheduled ");
    ljt_text_unsigned(t, s->descheduled);
    ljt_text_string(t, "  crowded ");
    ljt_text_unsigned(t, atomic_load_explicit(&s->crowded, memory_order_relaxed));
    ljt_text_string(t, "  adoption ");
    ljt_text_duration(t, s->adoption);
    ljt_text_string(t, "\n");
    quantiles(t, "  waits ", &s->waits);
    quantiles(t, "  holds ", &s->holds);
}

static void arena_dump(struct ljt_text *t, const struct ljt_arena *a)
{
    const struct ljt_arena_stats *s = &a->stats;
    ljt_text_string(t, "arena ");
    ljt_text_hex(t, (uintptr_t)a->m);
    ljt_text_string(t, " ");
    ljt_text_unsigned(t, s->segments);
    ljt_text_string(t, " segments, gc ");
    ljt_text_string(t, a->gc_width == 8 ? "64" : a->gc_width == 4 ? "32" : "unknown");
    ljt_text_string(t, a->pace.wrapped ? ", allocf wrapped by the program\n" : "\n");
    sizes(t, s);
    counters(t, s);
}

void ljt_stats_dump(void)
{
    static char buf[16 << 10];
    static struct ljt_arena_stats sum;
    struct ljt_text t = LJT_TEXT(buf);
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    unsigned arenas = 0, lost = 0;
    uint64_t module_mapped = 0;

    ljt_lock_acquire(&ljt_wiped.registry);
    sum = ljt_arena_past;
    ljt_lock_release(&ljt_wiped.registry);
    for (unsigned i = 0; i < slots; i++) {
        const struct ljt_arena *a = &ljt_arenas[i];
        lost += ljt_arena_is(a, LJT_ARENA_LOST);
        if (ljt_arena_is(a, LJT_ARENA_DEAD)) /* not counted among the past ones yet */
            ljt_arena_count(&sum, &a->stats);
        if (!ljt_arena_is(a, LJT_ARENA_ARMED))
            continue;
        arenas++;
        ljt_arena_count(&sum, &a->stats);
        sum.mapped += a->stats.mapped;
        sum.resident += a->stats.resident;
        sum.purgeable += a->stats.purgeable;
        sum.live += a->stats.live < a->stats.mapped ? a->stats.live : a->stats.mapped;
    }
    for (unsigned i = 0; i < LJT_MODULES; i++)
        module_mapped += atomic_load_explicit(&ljt_modules[i].mapped, memory_order_relaxed);

    ljt_text_string(&t, "ljtrim: statistics of pid ");
    ljt_text_unsigned(&t, (uint64_t)getpid());
    ljt_text_string(&t, "\nmode ");
    ljt_text_string(&t, mode_text());
    ljt_text_string(&t, ljt_kernel_facts.membarrier ? "; membarrier" : "; no membarrier, full fences");
    ljt_text_string(&t, "\ntotal: ");
    ljt_text_unsigned(&t, arenas);
    ljt_text_string(&t, arenas == 1 ? " arena" : " arenas");
    if (lost > 0) {
        ljt_text_string(&t, ", ");
        ljt_text_unsigned(&t, lost);
        ljt_text_string(&t, " left alone");
    }
    ljt_text_string(&t, "\n");
    sizes(&t, &sum);
    size(&t, "  direct   ", module_mapped > sum.mapped ? module_mapped - sum.mapped : 0);
    ljt_text_string(&t, "  reclaimer CPU ");
    ljt_text_duration(&t, ljt_reclaim_cpu());
    ljt_text_string(&t, "\n");
    counters(&t, &sum);
    for (unsigned i = 0; i < slots; i++) {
        if (!ljt_arena_is(&ljt_arenas[i], LJT_ARENA_ARMED))
            continue;
        if (t.len > sizeof(buf) / 2) { /* an arena is far less than the other half */
            ljt_log_raw(t.buf, t.len);
            ljt_text_init(&t, buf, sizeof(buf));
        }
        arena_dump(&t, &ljt_arenas[i]);
    }
    ljt_log_raw(t.buf, t.len);
}
