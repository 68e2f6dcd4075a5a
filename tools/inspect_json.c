/* `ljtrim inspect` for programs: --json (docs/TOOLS.md) and --csv. */
#include "inspection.h"

#include <stdint.h>
#include <stdio.h>

static double ratio(size_t a, size_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

/* A process chooses its name: anything but plain ASCII is left out rather than escaped. */
static void print_string(const char *s)
{
    putchar('"');
    for (; *s != '\0'; s++)
        if (*s >= ' ' && *s <= '~' && *s != '"' && *s != '\\')
            putchar(*s);
    putchar('"');
}

static const char *boolean(bool b)
{
    return b ? "true" : "false";
}

static void print_limit(const char *key, size_t limit)
{
    if (limit == SIZE_MAX)
        printf(", \"%s\": null", key);
    else
        printf(", \"%s\": %zu", key, limit);
}

static void print_figures(const struct ljt_arena_figures *f)
{
    printf("\"segments\": %zu, \"mapped\": %zu, \"live\": %zu, \"free\": %zu, \"overhead\": %zu, ",
           f->segments, f->mapped, f->live, f->free, f->overhead);
    printf("\"unknown\": %zu, \"purgeable\": %zu, \"floor\": %zu, \"resident\": %zu, \"swapped\": %zu, ",
           f->unknown, f->purgeable, f->floor, f->resident, f->swapped);
    printf("\"reclaimable\": %zu, \"live_chunks\": %zu, \"free_chunks\": %zu, \"lua_heap\": %zu, ",
           f->reclaimable, f->live_chunks, f->free_chunks, f->lua_heap);
    printf("\"resident_to_floor\": %.4f, \"gc64\": %s, \"approximate\": %s", ratio(f->resident, f->floor),
           boolean(f->gc64), boolean(f->approximate));
}

static void print_held(const char *key, const struct ljt_held *h, const char *end)
{
    printf("  \"%s\": {\"rss\": %zu, \"pss\": %zu, \"swap\": %zu, \"mappings\": %zu}%s\n", key, h->rss,
           h->pss, h->swap, h->mappings, end);
}

static void print_histograms(const struct ljt_histograms *h)
{
    const char *between = "\n  ";
    printf(" \"chunk_sizes\": [");
    for (size_t i = 0; i < LJT_CLASSES; i++) {
        if (h->live[i].count == 0 && h->free[i].count == 0)
            continue;
        printf("%s{\"from\": %zu, \"live\": %zu, \"live_bytes\": %zu, \"free\": %zu, \"free_bytes\": %zu}",
               between, (size_t)1 << i, h->live[i].count, h->live[i].bytes, h->free[i].count,
               h->free[i].bytes);
        between = ",\n  ";
    }
    printf("],\n \"free_runs\": [");
    between = "\n  ";
    for (size_t i = 0; i < LJT_CLASSES; i++) {
        if (h->runs[i].count == 0)
            continue;
        printf("%s{\"from_pages\": %zu, \"runs\": %zu, \"bytes\": %zu, \"resident\": %zu}", between,
               (size_t)1 << i, h->runs[i].count, h->runs[i].bytes, h->runs[i].resident);
        between = ",\n  ";
    }
    printf("],\n");
}

static void print_cgroup(const struct ljt_cgroup_place *place, const struct ljt_cgroup_use *c)
{
    if (place->version == 0) {
        printf(" \"cgroup\": null,\n");
        return;
    }
    printf(" \"cgroup\": {\"version\": %d, \"name\": ", place->version);
    print_string(place->name);
    printf(", \"charged\": %zu, \"anonymous\": %zu", c->charged, c->anonymous);
    print_limit("limit", c->limit);
    print_limit("high", c->high);
    printf("},\n");
}

void ljt_inspection_print_json(const struct ljt_inspection *n)
{
    const struct ljt_remote *r = &n->remote;
    printf("{\"pid\": %d, \"inner_pid\": %d, \"name\": ", (int)r->pid, (int)n->inner_pid);
    print_string(r->comm);
    printf(", \"page_size\": %zu, \"rss\": %zu, \"pss\": %zu,\n", r->page, n->rss, n->pss);
    printf(" \"direct\": %zu, \"direct_blocks\": %zu, \"stopped_us\": %.0f, \"stops\": %u,\n", n->direct,
           n->found.direct.count, r->longest_stop_us, r->stops);
    printf(" \"complete\": %s, \"approximate\": %s, \"libljtrim\": %s, \"returnable\": %zu,\n",
           boolean(!n->restless), boolean(n->total.approximate), boolean(n->holders.has_libljtrim),
           n->returnable);
    printf(" \"holders\": {\n");
    for (unsigned i = 0; i < LJT_HOLDERS; i++)
        print_held(ljt_holder_keys[i], &n->holders.by[i], ",");
    print_held("all", &n->holders.all, "},");
    print_cgroup(&n->cgroup, &n->cgroup_use);
    printf(" \"arenas\": [");
    for (size_t i = 0; i < n->count; i++) {
        printf("%s{\"state\": \"%#zx\", ", i == 0 ? "\n  " : ",\n  ", (size_t)n->arenas[i].figures.state);
        print_figures(&n->arenas[i].figures);
        printf("}");
    }
    printf("],\n \"total\": {");
    print_figures(&n->total);
    printf("},\n");
    print_histograms(&n->histograms);
    char verdict[512];
    struct ljt_text v = LJT_TEXT(verdict);
    ljt_inspection_verdict(n, &v);
    printf(" \"verdict\": ");
    print_string(verdict);
    printf("}\n");
}

void ljt_inspection_print_csv(const struct ljt_inspection *n)
{
    const struct ljt_arena_figures *t = &n->total;
    printf("%d,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%.0f\n", (int)n->remote.pid, n->count,
           t->mapped, t->live, t->free, t->purgeable, t->floor, t->resident, t->reclaimable, n->direct,
           t->lua_heap, n->rss, n->pss, n->remote.longest_stop_us);
}
