#include "stats.h"

#include <assert.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "config.h"
#include "growth.h"
#include "control.h"
#include "kernel.h"
#include "log.h"
#include "mask.h"
#include "pressure.h"
#include "reclaim.h"
#include "spending.h"
#include "stats_file.h"
#include "stats_page.h"
#include "text.h"
#include "version.h"

/* ---- Gathering ---- */

/*
 * A figure that its one writer may be changing with a plain store: whole, as aligned words of 8 bytes are on every
 * machine that LuaJIT's 64-bit allocator runs on, and no more than a glance, which ThreadSanitizer is not to judge.
 */
__attribute__((noinline, no_sanitize_thread)) static uint64_t glance(const void *stats, int offset)
{
    return *(const volatile uint64_t *)((const char *)stats + offset);
}

void ljt_stats_add_counters(struct ljt_arena_stats *into, const struct ljt_arena_stats *from)
{
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++) {
        const struct ljt_stats_field *f = &ljt_stats_fields[i];
        if (f->source != LJT_STATS_COMPUTED && ljt_stats_is_counter(f->kind))
            *(uint64_t *)((char *)into + f->source) += glance(from, f->source);
    }
    ljt_histogram_merge(&into->waits, &from->waits);
    ljt_histogram_merge(&into->holds, &from->holds);
}

static void copy_figures(struct ljt_stats_row *row, const struct ljt_arena_stats *s, bool counters_alone)
{
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++) {
        const struct ljt_stats_field *f = &ljt_stats_fields[i];
        if (f->source != LJT_STATS_COMPUTED && (!counters_alone || ljt_stats_is_counter(f->kind)))
            row->value[i] = glance(s, f->source);
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What follows from the sizes. A look and a survey are not of one instant: the parts must not exceed the whole. */
static void derive(struct ljt_stats_row *row)
{
    uint64_t *v = row->value, mapped = v[LJT_STATS_mapped];
    v[LJT_STATS_live] = least(v[LJT_STATS_live], mapped);
    v[LJT_STATS_purgeable] = least(v[LJT_STATS_purgeable], mapped);
    v[LJT_STATS_free] = mapped - v[LJT_STATS_live];
    v[LJT_STATS_floor] = mapped - v[LJT_STATS_purgeable];
    uint64_t judged = v[LJT_STATS_judged], early = least(v[LJT_STATS_early_refaults], judged);
    v[LJT_STATS_score] = judged > 0 ? (uint64_t)((double)(judged - early) * 1000 / (double)judged) : 1000;
    v[LJT_STATS_fragmentation] = mapped > 0 ? (v[LJT_STATS_free] * 1000 + mapped / 2) / mapped : 0;
}

/* Six figures of a histogram, from `first` on. */
static void summarize(struct ljt_stats_row *row, unsigned first, const struct ljt_histogram *h)
{
    static_assert(LJT_STATS_waits_max_ns - LJT_STATS_waits == 5 &&
                      LJT_STATS_holds_max_ns - LJT_STATS_holds == 5,
                  "count, sum, p50, p99, p99.9, max");
    static const unsigned per_mille[3] = {500, 990, 999};
    uint64_t *v = row->value + first;
    v[0] = ljt_histogram_count(h);
    v[1] = atomic_load_explicit(&h->sum, memory_order_relaxed);
    ljt_histogram_quantiles(h, per_mille, v + 2, 3);
    v[5] = ljt_histogram_max(h);
}

static void gather_arena(struct ljt_stats_row *row, const struct ljt_arena *a)
{
    memset(row, 0, sizeof(*row));
    copy_figures(row, &a->stats, false);
    row->value[LJT_STATS_address] = (uintptr_t)a->m;
    row->value[LJT_STATS_gc_bits] = 8 * (uint64_t)a->gc_width;
    row->value[LJT_STATS_wrapped] = atomic_load_explicit(&a->pace.wrapped, memory_order_relaxed);
    row->value[LJT_STATS_patched] = atomic_load_explicit(&a->is_patched, memory_order_relaxed);
    row->value[LJT_STATS_parked] =
        (uint64_t)atomic_load_explicit(&a->patched.parked_pages, memory_order_relaxed) << ljt_page_shift;
    row->value[LJT_STATS_live] = glance(&a->stats, offsetof(struct ljt_arena_stats, live));
    row->value[LJT_STATS_purgeable] = glance(&a->stats, offsetof(struct ljt_arena_stats, purgeable));
    derive(row);
}

static void add_sizes(struct ljt_stats_row *total, const struct ljt_stats_row *row)
{
    for (unsigned i = 0; i < LJT_STATS_FIELDS; i++)
        if ((ljt_stats_fields[i].scope & LJT_STATS_TOTAL) && !ljt_stats_is_counter(ljt_stats_fields[i].kind))
            total->value[i] += row->value[i];
}

static void gather_process(struct ljt_stats_snapshot *s)
{
    uint64_t *v = s->total.value, module_mapped = 0;
    struct timespec t;
    strncpy(s->version, LJT_VERSION, sizeof(s->version) - 1);
    for (unsigned i = 0; i < LJT_MODULES; i++)
        module_mapped += atomic_load_explicit(&ljt_modules[i].mapped, memory_order_relaxed);
    v[LJT_STATS_direct] = module_mapped - least(v[LJT_STATS_mapped], module_mapped);
    clock_gettime(CLOCK_REALTIME, &t);
    v[LJT_STATS_time_unix_ms] = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    v[LJT_STATS_pid] = (uint64_t)getpid();
    v[LJT_STATS_mode] = ljt_config.mode;
    v[LJT_STATS_membarrier] = ljt_kernel_facts.membarrier;
    v[LJT_STATS_reclaimer] = ljt_reclaim_running();
    v[LJT_STATS_pressure] = ljt_pressure_level();
    v[LJT_STATS_paused] = ljt_control_paused();
    v[LJT_STATS_budget_wait_ns] = ljt_spending_pause(ljt_kernel.now());
    v[LJT_STATS_reclaimer_cpu_ns] = ljt_reclaim_cpu();
}

/* The LuaJITs of which a VM was proven. */
static void gather_modules(struct ljt_stats_snapshot *s)
{
    s->modules = 0;
    for (unsigned i = 0; i < LJT_MODULES; i++) {
        const struct ljt_module *mod = &ljt_modules[i];
        if (!atomic_load_explicit(&mod->symbols.read, memory_order_acquire))
            continue;
        struct ljt_stats_module *row = &s->module[s->modules++];
        const char *slash = strrchr(mod->path, '/');
        struct ljt_text name = LJT_TEXT(row->name), symbols = LJT_TEXT(row->symbols);
        row->name[0] = '\0';
        ljt_text_foreign(&name, slash == NULL ? mod->path : slash + 1, sizeof(row->name) - 1);
        if (atomic_load_explicit(&mod->symbols.contradicted, memory_order_relaxed) > 0)
            ljt_text_string(&symbols, "allocf is not lj_alloc_f; ");
        ljt_text_foreign(&symbols, mod->symbols.text, sizeof(row->symbols) - symbols.len - 1);
    }
}

static void gather(struct ljt_stats_snapshot *s)
{
    static struct ljt_arena_stats sum; /* of the counters alone */
    static unsigned char slot_of[LJT_GATES];
    static_assert(LJT_GATES <= 256, "a slot is a byte");
    uint64_t lost = 0;

    s->arenas = 0;
    memset(&s->total, 0, sizeof(s->total));
    ljt_lock_acquire(&ljt_wiped.registry); /* else a slot may pass to the past between two looks */
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    memcpy(&sum, &ljt_arena_past, sizeof(sum));
    for (unsigned i = 0; i < slots; i++) {
        const struct ljt_arena *a = &ljt_arenas[i];
        ljt_stats_add_counters(&sum, &a->stats); /* whatever its state: counters never fall */
        lost += ljt_arena_is(a, LJT_ARENA_LOST);
        if (!ljt_arena_is(a, LJT_ARENA_ARMED))
            continue;
        slot_of[s->arenas] = (unsigned char)i;
        gather_arena(&s->arena[s->arenas], a);
        add_sizes(&s->total, &s->arena[s->arenas++]);
    }
    ljt_lock_release(&ljt_wiped.registry);

    copy_figures(&s->total, &sum, true);
    derive(&s->total);
    s->total.value[LJT_STATS_arenas] = s->arenas;
    s->total.value[LJT_STATS_arenas_left_alone] = lost;
    gather_process(s);
    gather_modules(s);
    memcpy(&s->waits, &sum.waits, sizeof(s->waits));
    memcpy(&s->holds, &sum.holds, sizeof(s->holds));
    summarize(&s->total, LJT_STATS_waits, &s->waits);
    summarize(&s->total, LJT_STATS_holds, &s->holds);
    for (uint64_t i = 0; i < s->arenas; i++) { /* some 100 loads each: not under the registry lock */
        summarize(&s->arena[i], LJT_STATS_waits, &ljt_arenas[slot_of[i]].stats.waits);
        summarize(&s->arena[i], LJT_STATS_holds, &ljt_arenas[slot_of[i]].stats.holds);
    }
}

/* ---- The page ---- */

/* Guarded by ljt_wiped.stats, but for readers from outside. */
static struct ljt_stats_snapshot snapshot;

__attribute__((visibility("default"))) struct ljt_stats_page ljtrim_stats_page = {
    .magic = LJT_STATS_MAGIC,
    .layout = LJT_STATS_LAYOUT,
    .fields = LJT_STATS_FIELDS,
    .buckets = LJT_HISTOGRAM_BUCKETS,
    .rows = LJT_GATES,
    .field_size = sizeof(struct ljt_stats_field),
    .module_size = sizeof(struct ljt_stats_module),
    .field = ljt_stats_fields,
    .snapshot = &snapshot,
};

void ljt_stats_gather(void (*use)(const struct ljt_stats_snapshot *snapshot, void *arg), void *arg)
{
    struct ljt_stats_page *page = &ljtrim_stats_page;
    sigset_t before;
    ljt_mask_signals(&before);
    ljt_lock_acquire(&ljt_wiped.stats);
    uint64_t odd =
        atomic_load_explicit(&page->sequence, memory_order_relaxed) | 1; /* a fork may have left it so */
    atomic_store_explicit(&page->sequence, odd, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* the snapshot changes after the sequence... */
    gather(&snapshot);
    atomic_store_explicit(&page->sequence, odd + 1,
                          memory_order_release); /* ...and before it changes again */
    if (use != NULL)
        use(&snapshot, arg);
    ljt_lock_release(&ljt_wiped.stats);
    ljt_mask_restore(&before);
}

/* ---- Formatting what was gathered ---- */

struct request {
    enum ljt_stats_format format;
    char *buf;
    size_t size, length;
};

static void format(const struct ljt_stats_snapshot *s, void *arg)
{
    struct request *r = arg;
    r->length = ljt_stats_format_snapshot(s, r->format, r->buf, r->size);
}

size_t ljt_stats_format(enum ljt_stats_format how, char *buf, size_t size)
{
    struct request r = {how, buf, size, 0};
    ljt_stats_gather(format, &r);
    return r.length;
}

enum {
    ROOM = 1 << 20
}; /* for LJT_GATES arenas in any format; pages that are not written to are never there */

void ljt_stats_dump(void)
{
    char *buf = ljt_kernel_alloc(ROOM);
    if (buf == NULL) {
        ljt_log(LJT_LOG_WARN, "no memory for the statistics (mmap failed); they are not written");
        return;
    }
    enum ljt_stats_format how = ljt_config.stats_format;
    size_t length = ljt_stats_format(how == LJT_STATS_AUTO ? LJT_STATS_TEXT : how, buf, ROOM);
    if (how == LJT_STATS_AUTO || how == LJT_STATS_TEXT) {
        struct ljt_text t;
        ljt_text_init(&t, buf + length, ROOM - length);
        ljt_growth_text(&t);
        length += t.len;
    }
    ljt_log_raw(buf, length);
    ljt_kernel_free(buf, ROOM);
}

/* ---- Keeping page and file current ---- */

/* A busy reclaimer does not gather more often than this; one that goes to sleep does. */
#define RARELY ((uint64_t)100 * 1000000)
#define SHARE 500 /* nor for more than one part in so many of its time */

static struct {
    uint64_t next_gathering; /* the reclaimer's own */
    uint64_t next_write;
    uint64_t fingerprint;
    _Atomic bool over; /* the process exits: set there, read by the reclaimer */
} keeping;

/* FNV-1a over all figures that do not change by themselves; 0 is none. */
static void take_fingerprint(const struct ljt_stats_snapshot *s, void *arg)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (uint64_t row = 0; row <= s->arenas; row++) {
        const uint64_t *v = row == 0 ? s->total.value : s->arena[row - 1].value;
        for (unsigned i = 0; i < LJT_STATS_FIELDS; i++)
            if (i != LJT_STATS_time_unix_ms && i != LJT_STATS_reclaimer_cpu_ns)
                h = (h ^ v[i]) * 0x100000001b3u;
    }
    *(uint64_t *)arg = h | 1;
}

#define FILE_PATIENCE ((uint64_t)1000 * 1000000)

/* Whoever holds it writes, on a disk that may hang: neither an exit nor the reclaimer waits for that without end. */
static bool lock_file_in_time(void)
{
    for (uint64_t start = ljt_kernel.now(); !ljt_lock_try(&ljt_wiped.stats_file);) {
        if (ljt_kernel.now() - start > FILE_PATIENCE)
            return false;
        ljt_kernel.futex_wait((const volatile void *)&ljt_wiped.stats_file, 1, 1000000);
    }
    return true;
}

/* Was it written? */
static bool write_file(bool last)
{
    const char *path = ljt_config.stats_file;
    char *buf = ljt_kernel_alloc(ROOM);
    if (buf == NULL)
        return false; /* no memory: the next time, then */
    size_t length = ljt_stats_format(ljt_stats_file_format(path, ljt_config.stats_format), buf, ROOM);
    int error = 0;
    if (!lock_file_in_time()) {
        ljt_kernel_free(buf, ROOM);
        return false;
    }
    if (last || !atomic_load_explicit(&keeping.over, memory_order_relaxed))
        error = ljt_stats_file_write(path, buf, length);
    ljt_lock_release(&ljt_wiped.stats_file);
    ljt_kernel_free(buf, ROOM);
    return error == 0;
}

uint64_t ljt_stats_keep(uint64_t now, uint64_t pause)
{
    uint64_t fingerprint;
    if (now < keeping.next_gathering && pause < RARELY)
        return pause;
    uint64_t start = ljt_kernel.now();
    ljt_stats_gather(take_fingerprint, &fingerprint);
    uint64_t rest = SHARE * (ljt_kernel.now() - start); /* with hundreds of VMs it takes a millisecond */
    keeping.next_gathering = now + (rest > RARELY ? rest : RARELY);
    if (ljt_config.stats_file[0] == '\0' || fingerprint == keeping.fingerprint)
        return pause;
    if (now < keeping.next_write) {
        uint64_t until = keeping.next_write - now;
        return pause != 0 && until < pause ? until : pause;
    }
    keeping.next_write = now + ljt_config.interval_ms * 1000000;
    keeping.fingerprint = write_file(false) ? fingerprint : 0; /* 0: again after the next round */
    return pause;
}

void ljt_stats_at_exit(void)
{
    const char *path = ljt_config.stats_file;
    if (ljt_config.stats_at_exit)
        ljt_stats_dump();
    if (path[0] == '\0')
        return;
    atomic_store_explicit(&keeping.over, true, memory_order_relaxed);
    if (ljt_config.stats_at_exit) {
        write_file(true);
        return;
    }
    if (!lock_file_in_time()) /* its disk hangs */
        return;
    if (ljt_stats_file_format(path, ljt_config.stats_format) == LJT_STATS_PROMETHEUS)
        ljt_stats_file_remove(path);
    ljt_lock_release(&ljt_wiped.stats_file);
}
