/* `ljtrim inspect` for people: who holds the memory, what is inside LuaJIT's allocator, a verdict. */
#include "inspection.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 79, BAR = 24 };

/* ---- Cells of a line ---- */

static void bytes_at(struct ljt_text *t, size_t bytes, size_t column)
{
    size_t from = t->len;
    ljt_text_bytes(t, bytes);
    ljt_text_align_right(t, from, column);
}

static void percent_at(struct ljt_text *t, size_t part, size_t whole, size_t column)
{
    size_t from = t->len;
    ljt_text_percent(t, part, whole);
    ljt_text_align_right(t, from, column);
}

static void number_at(struct ljt_text *t, size_t number, size_t column)
{
    size_t from = t->len;
    ljt_text_unsigned(t, number);
    ljt_text_align_right(t, from, column);
}

static void string_at(struct ljt_text *t, const char *string, size_t column)
{
    size_t from = t->len;
    ljt_text_string(t, string);
    ljt_text_align_right(t, from, column);
}

static void bar_at(struct ljt_text *t, char c, size_t part, size_t whole, size_t column)
{
    size_t n = whole == 0 ? 0 : (size_t)((double)BAR * (double)part / (double)whole + 0.5);
    if (n == 0 && part == 0)
        return;
    ljt_text_column(t, column);
    ljt_text_repeat(t, n == 0 ? '.' : c, n == 0 ? 1 : n);
}

static void put(struct ljt_text *t)
{
    puts(t->buf);
    ljt_text_init(t, t->buf, t->cap);
}

/* ---- The verdict ---- */

static void verdict_without_luajit(const struct ljt_inspection *n, enum ljt_holder most, struct ljt_text *t)
{
    ljt_text_string(t, "Not LuaJIT: ");
    if (most == LJT_HOLDER_FILES)
        ljt_text_string(t, "mapped files hold most");
    else if (most == LJT_HOLDER_STACKS)
        ljt_text_string(t, "stacks hold most");
    else
        ljt_text_printf(t, "%s holds most",
                        most == LJT_HOLDER_OTHER ? "other anonymous memory" : ljt_holder_names[most]);
    ljt_text_string(t, " (");
    ljt_text_bytes(t, n->holders.by[most].rss);
    ljt_text_string(t, ", ");
    ljt_text_percent(t, n->holders.by[most].rss, n->holders.all.rss);
    ljt_text_string(t, " of RSS)");
    if (n->count == 0) {
        ljt_text_string(t, "; there is no LuaJIT arena in this process, so libljtrim would change nothing.");
        return;
    }
    ljt_text_string(t, ": libljtrim would return ");
    ljt_text_bytes(t, n->returnable);
    ljt_text_string(t, ".");
}

static void verdict_loaded(const struct ljt_inspection *n, struct ljt_text *t)
{
    const struct ljt_arena_figures *f = &n->total;
    ljt_text_string(t, "libljtrim is loaded and has returned ");
    ljt_text_bytes(t, f->purgeable - f->reclaimable);
    ljt_text_string(t, " of ");
    ljt_text_bytes(t, f->purgeable);
    ljt_text_string(t, " that LuaJIT's allocator holds free; the arenas stand at ");
    ljt_text_bytes(t, f->resident);
    ljt_text_string(t, ", their page floor is ");
    ljt_text_bytes(t, f->floor);
    ljt_text_string(t, ".");
}

static void verdict_free(const struct ljt_inspection *n, struct ljt_text *t)
{
    ljt_text_string(t, "LuaJIT's allocator holds ");
    ljt_text_bytes(t, n->total.reclaimable);
    ljt_text_string(t, " of free memory, ");
    ljt_text_percent(t, n->total.reclaimable, n->holders.all.rss);
    ljt_text_string(t, " of this process's RSS: libljtrim would return ");
    ljt_text_bytes(t, n->returnable);
    ljt_text_string(t, ".");
}

static void verdict_in_use(const struct ljt_inspection *n, size_t luajit, struct ljt_text *t)
{
    ljt_text_string(t, "LuaJIT's allocator holds most (");
    ljt_text_bytes(t, luajit);
    ljt_text_string(t, ", ");
    ljt_text_percent(t, luajit, n->holders.all.rss);
    ljt_text_string(t, " of RSS), but that is in use by Lua, or garbage not collected yet: libljtrim would "
                       "return ");
    ljt_text_bytes(t, n->returnable);
    ljt_text_string(t, ".");
}

void ljt_inspection_verdict(const struct ljt_inspection *n, struct ljt_text *t)
{
    const struct ljt_holders *h = &n->holders;
    size_t luajit = h->by[LJT_HOLDER_ARENAS].rss + h->by[LJT_HOLDER_BLOCKS].rss;
    enum ljt_holder most = LJT_HOLDER_MACHINE;
    for (unsigned i = LJT_HOLDER_MACHINE; i < LJT_HOLDERS; i++)
        if (h->by[i].rss > h->by[most].rss)
            most = (enum ljt_holder)i;
    if (h->has_libljtrim && n->count != 0)
        verdict_loaded(n, t);
    else if (n->returnable >= (size_t)1 << 20 && n->returnable >= h->all.rss / 10)
        verdict_free(n, t);
    else if (n->count != 0 && luajit >= h->by[most].rss)
        verdict_in_use(n, luajit, t);
    else
        verdict_without_luajit(n, most, t);
}

/* ---- Who holds the memory ---- */

static void print_holder(struct ljt_text *t, const char *name, const struct ljt_held *held, size_t rss)
{
    ljt_text_printf(t, "  %s", name);
    bytes_at(t, held->rss, 36);
    percent_at(t, held->rss, rss, 44);
    bytes_at(t, held->pss, 58);
    if (held->swap == 0)
        string_at(t, "-", 72);
    else
        bytes_at(t, held->swap, 72);
    put(t);
}

static void print_holders(const struct ljt_inspection *n, struct ljt_text *t)
{
    const struct ljt_holders *h = &n->holders;
    ljt_text_string(t, "Who holds the memory");
    string_at(t, "RSS", 36);
    string_at(t, "of it", 44);
    string_at(t, "Pss", 58);
    string_at(t, "swapped", 72);
    put(t);
    for (unsigned i = 0; i < LJT_HOLDERS; i++)
        if (h->by[i].rss != 0 || h->by[i].swap != 0 || i == LJT_HOLDER_ARENAS)
            print_holder(t, ljt_holder_names[i], &h->by[i], h->all.rss);
    print_holder(t, "the process", &h->all, h->all.rss);
    const struct ljt_cgroup_use *c = &n->cgroup_use;
    if (c->charged != 0) {
        ljt_text_string(t, "  its cgroup is charged");
        bytes_at(t, c->charged, 36);
        if (c->limit == SIZE_MAX) {
            ljt_text_string(t, "   without a limit");
        } else {
            ljt_text_string(t, "   of ");
            ljt_text_bytes(t, c->limit);
            ljt_text_string(t, " allowed");
        }
        ljt_text_string(t, ", all its processes");
        put(t);
    }
}

/* ---- Inside LuaJIT's allocator ---- */

static void print_figure(struct ljt_text *t, const char *name, size_t bytes, size_t whole, const char *note)
{
    ljt_text_printf(t, "  %s", name);
    bytes_at(t, bytes, 36);
    percent_at(t, bytes, whole, 44);
    if (note[0] != '\0')
        ljt_text_printf(t, "   %s", note);
    put(t);
}

static void print_figures(const struct ljt_inspection *n, struct ljt_text *t)
{
    const struct ljt_arena_figures *f = &n->total;
    char count[64];
    ljt_text_string(t, "Inside LuaJIT's arenas");
    string_at(t, "bytes", 36);
    string_at(t, "of it", 44);
    put(t);
    print_figure(t, "mapped", f->mapped, f->mapped, "address space");
    struct ljt_text lua = LJT_TEXT(count);
    if (f->lua_heap == 0) {
        ljt_text_string(&lua, "in use");
    } else {
        ljt_text_string(&lua, "Lua itself counts ");
        ljt_text_bytes(&lua, f->lua_heap);
    }
    print_figure(t, "live", f->live, f->mapped, count);
    print_figure(t, "free", f->free, f->mapped, "ready for the VM to use");
    print_figure(t, "purgeable", f->purgeable, f->mapped, "whole pages of that");
    print_figure(t, "page floor", f->floor, f->mapped, "what no purge goes below");
    print_figure(t, "resident", f->resident, f->mapped, "pages in memory now");
    if (f->swapped != 0)
        print_figure(t, "swapped out", f->swapped, f->mapped, "");
    print_figure(t, "reclaimable", f->reclaimable, f->mapped, "resident and purgeable");
    print_figure(t, "libljtrim would return", n->returnable, f->mapped,
                 n->holders.has_libljtrim ? "beyond what it has" : "");
    if (f->unknown != 0)
        print_figure(t, "changed while read", f->unknown, f->mapped, "neither live nor free");
    if (n->found.direct.count != 0) {
        ljt_text_string(t, "  large blocks");
        bytes_at(t, n->direct, 36);
        ljt_text_column(t, 47);
        ljt_text_printf(t, "%zu, in mappings of their own", n->found.direct.count);
        put(t);
    }
}

static void print_arena(struct ljt_text *t, const char *name, const struct ljt_arena_figures *f)
{
    ljt_text_printf(t, "  %s", name);
    number_at(t, f->segments, 22);
    bytes_at(t, f->mapped, 33);
    bytes_at(t, f->live, 44);
    bytes_at(t, f->floor, 55);
    bytes_at(t, f->resident, 66);
    bytes_at(t, f->reclaimable, 78);
    put(t);
}

static void print_arenas(const struct ljt_inspection *n, struct ljt_text *t)
{
    enum { SHOWN = 12 };
    static const char *const heads[] = {"segments", "mapped", "live", "floor", "resident", "reclaimable"};
    static const size_t columns[] = {22, 33, 44, 55, 66, 78};
    ljt_text_string(t, "Arena");
    for (size_t i = 0; i < 6; i++)
        string_at(t, heads[i], columns[i]);
    put(t);
    for (size_t i = 0; i < n->count && i < SHOWN; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%zx", (size_t)n->arenas[i].figures.state);
        print_arena(t, name, &n->arenas[i].figures);
    }
    if (n->count > SHOWN) {
        struct ljt_arena_figures rest = {0};
        char name[32];
        for (size_t i = SHOWN; i < n->count; i++)
            ljt_arena_add(&rest, &n->arenas[i].figures);
        snprintf(name, sizeof(name), "%zu more", n->count - SHOWN);
        print_arena(t, name, &rest);
    }
    if (n->count > 1)
        print_arena(t, "all", &n->total);
}

/* ---- Histograms: two classes to a line ---- */

static struct ljt_class two(const struct ljt_class *c, size_t i)
{
    return (struct ljt_class){c[i].count + c[i + 1].count, c[i].bytes + c[i + 1].bytes,
                              c[i].resident + c[i + 1].resident};
}

static void print_chunks(const struct ljt_histograms *h, struct ljt_text *t)
{
    size_t most = 0;
    for (size_t i = 0; i < LJT_CLASSES; i += 2) {
        size_t live = two(h->live, i).bytes, free = two(h->free, i).bytes;
        most = live > most ? live : most;
        most = free > most ? free : most;
    }
    ljt_text_string(t, "Chunks of");
    string_at(t, "live", 20);
    string_at(t, "bytes", 31);
    string_at(t, "free", 41);
    string_at(t, "bytes", 52);
    ljt_text_string(t, "   = live  # free");
    put(t);
    for (size_t i = 4; i < LJT_CLASSES; i += 2) {
        struct ljt_class live = two(h->live, i), free = two(h->free, i);
        if (live.count == 0 && free.count == 0)
            continue;
        ljt_text_string(t, "  ");
        bytes_at(t, i == 4 ? 32 : (size_t)1 << i, 10);
        ljt_text_string(t, "+");
        number_at(t, live.count, 20);
        bytes_at(t, live.bytes, 31);
        number_at(t, free.count, 41);
        bytes_at(t, free.bytes, 52);
        size_t bar = live.bytes > free.bytes ? live.bytes : free.bytes;
        bar_at(t, live.bytes > free.bytes ? '=' : '#', bar, most, 55);
        put(t);
    }
}

static void print_runs(const struct ljt_inspection *n, struct ljt_text *t)
{
    const struct ljt_class *runs = n->histograms.runs;
    size_t most = 0;
    for (size_t i = 0; i < LJT_CLASSES; i += 2)
        most = two(runs, i).bytes > most ? two(runs, i).bytes : most;
    if (most == 0)
        return;
    putchar('\n');
    ljt_text_string(t, "Free runs of");
    string_at(t, "runs", 20);
    string_at(t, "bytes", 31);
    string_at(t, "resident", 52);
    put(t);
    for (size_t i = 0; i < LJT_CLASSES; i += 2) {
        struct ljt_class c = two(runs, i);
        if (c.count == 0)
            continue;
        ljt_text_string(t, "  ");
        bytes_at(t, n->remote.page << i, 10);
        ljt_text_string(t, "+");
        number_at(t, c.count, 20);
        bytes_at(t, c.bytes, 31);
        bytes_at(t, c.resident, 52);
        bar_at(t, '#', c.bytes, most, 55);
        put(t);
    }
}

/* ---- All of it ---- */

static void print_heading(const struct ljt_inspection *n, struct ljt_text *t)
{
    const struct ljt_remote *r = &n->remote;
    ljt_text_foreign(t, r->comm, 32);
    ljt_text_printf(t, ", process %d", (int)r->pid);
    if (n->inner_pid != r->pid)
        ljt_text_printf(t, " (%d in its container)", (int)n->inner_pid);
    ljt_text_printf(t, ": %zu LuaJIT arena%s, ", n->count, n->count == 1 ? "" : "s");
    if (r->stops == 0) {
        ljt_text_string(t, n->count == 0 ? "not stopped" : "read while it ran");
    } else {
        ljt_text_string(t, "stopped for ");
        ljt_text_duration(t, (uint64_t)(r->longest_stop_us * 1000));
        if (r->stops > 1)
            ljt_text_printf(t, ", %u times", r->stops);
    }
    put(t);
    if (n->total.approximate)
        puts(r->stops == 0
                 ? "Approximate: the heap changed while it was read, or may have."
                 : "Approximate: it ran on while the rest was read; --max-stop 0 reads all at once.");
    if (n->restless)
        puts("Incomplete: an arena was never at rest and is left out.");
}

void ljt_inspection_print_text(const struct ljt_inspection *n)
{
    char buf[1024];
    struct ljt_text t = LJT_TEXT(buf);
    print_heading(n, &t);
    putchar('\n');
    print_holders(n, &t);
    if (n->count != 0) {
        putchar('\n');
        print_figures(n, &t);
        putchar('\n');
        print_arenas(n, &t);
        putchar('\n');
        print_chunks(&n->histograms, &t);
        print_runs(n, &t);
    }
    putchar('\n');
    char verdict[512];
    struct ljt_text v = LJT_TEXT(verdict);
    ljt_inspection_verdict(n, &v);
    ljt_text_wrap(&t, verdict, 0, WIDTH);
    put(&t);
}
