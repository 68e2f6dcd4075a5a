/*
 * fuzz/heap: any words at all as the heap of a LuaJIT: of another process, which need not be what it says, and of this
 * one, where the proof has to keep out whatever isn't lj_alloc's.
 *
 * The heap lies at LJT_FUZZ_HEAP; the other process is this one, read as any other is.
 *
 * What must hold: nothing crashes, loops, or is read beyond the segments; figures add up; what the proof calls sound is
 * what the inspector has measured, to the byte.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arenas.h"
#include "fuzz.h"
#include "heap.h"
#include "kernel.h"
#include "remote.h"

enum { WORDS = 4096, MEASURED = 4 };

static bool lies_in_heap(const void *from, size_t n)
{
    uintptr_t at = (uintptr_t)from;
    return at >= LJT_FUZZ_HEAP && at - LJT_FUZZ_HEAP <= LJT_FUZZ_HEAP_SIZE &&
           n <= LJT_FUZZ_HEAP_SIZE - (at - LJT_FUZZ_HEAP);
}

/* Nothing else is there: what the fuzzer and its sanitizers have mapped isn't, and must not be stumbled upon. */
static ssize_t peek_heap(void *to, const void *from, size_t n)
{
    errno = EFAULT;
    if (!lies_in_heap(from, n))
        return -1;
    memcpy(to, from, n);
    return (ssize_t)n;
}

static int mincore_heap(void *addr, size_t n, unsigned char *vec)
{
    (void)vec;
    errno = ENOMEM;
    return lies_in_heap(addr, n) ? 0 : -1;
}

static uint8_t *heap(void)
{
    static uint8_t *mapped;
    if (mapped != NULL)
        return mapped;
    mapped = mmap((void *)LJT_FUZZ_HEAP, LJT_FUZZ_HEAP_SIZE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    demand(mapped == (void *)LJT_FUZZ_HEAP, "the heap is mapped");
    return mapped;
}

static void demand_sums(const struct ljt_measured *m)
{
    const struct ljt_arena_figures *f = &m->figures;
    demand(f->mapped == f->live + f->free + f->overhead + f->unknown || f->approximate, "mapped adds up");
    demand(f->floor == f->mapped - f->purgeable && f->purgeable <= f->mapped, "the floor");
    demand(f->reclaimable <= f->purgeable && f->reclaimable <= f->resident, "what is reclaimable");
    for (size_t i = 0; i < m->nmaps; i++)
        for (size_t k = 0; k < m->maps[i].pages; k++)
            demand(m->maps[i].cells[k] < LJT_CELLS, "cells");
}

static bool is_heap(uintptr_t a)
{
    return a >= LJT_FUZZ_HEAP && a < LJT_FUZZ_HEAP + LJT_FUZZ_HEAP_SIZE - sizeof(struct ljt_lj_state);
}

/* The proof, of a state that lies in the heap. The census is all zero where it fails. */
static void prove(uintptr_t state, struct ljt_heap_census *census)
{
    struct ljt_lj_state *m = (struct ljt_lj_state *)state; /* NOLINT(performance-no-int-to-ptr) */
    enum ljt_heap_fault fault = ljt_heap_prove(m, census);
    demand(fault < LJT_HEAP_FAULTS && ljt_heap_fault_text(fault) != NULL, "a fault that is known");
    if (fault != LJT_HEAP_OK) {
        *census = (struct ljt_heap_census){0};
        return;
    }
    ljt_fuzz_accepted++;
    demand(census->mapped == census->live + census->free + census->overhead, "the census adds up");
    for (size_t limit = SIZE_MAX, tries = 0; tries < 64; tries++) {
        const struct ljt_lj_tree_chunk *c = ljt_heap_largest(m, limit);
        if (c == NULL)
            break;
        demand(ljt_lj_head_size(c->head) <= limit && !ljt_lj_head_cinuse(c->head),
               "a search finds what was asked for");
        limit = ljt_lj_head_size(c->head) - 8;
    }
}

static void measure(struct ljt_remote *r, uintptr_t state, const struct ljt_heap_census *census)
{
    static struct ljt_thread nobody; /* ptrace says no to it */
    struct ljt_measured m;
    for (int live = 0; live < 2; live++) {
        r->threads = &nobody;
        r->nthreads = live ? 0 : 1;
        int error = ljt_arena_measure(&m, r, state, 0);
        demand(error <= 0, "0 or -errno");
        if (error == 0)
            demand_sums(&m);
        if (census->mapped != 0 && !live) {
            demand(error == 0, "what is proven can be measured");
            demand(m.figures.mapped == census->mapped && m.figures.free == census->free, "the two agree");
        }
        ljt_measured_free(&m);
        r->nthreads = 0;
    }
}

int ljt_fuzz_heap(const uint8_t *bytes, size_t n)
{
    uint8_t *to = heap();
    struct ljt_kernel kernel = ljt_kernel;
    struct ljt_vma vma = {LJT_FUZZ_HEAP, LJT_FUZZ_HEAP + LJT_FUZZ_HEAP_SIZE};
    static struct ljt_remote r;
    if (r.pid == 0)
        demand(ljt_remote_open(&r, getpid()) == 0, "this process can be read");
    free(r.vmas.at);
    r.vmas = (struct ljt_vmas){&vma, 1}; /* all of this process would be too much */
    demand(madvise(to, LJT_FUZZ_HEAP_SIZE, MADV_DONTNEED) == 0, "the heap is empty");
    for (size_t i = 0; i < WORDS && n >= sizeof(struct ljt_fuzz_word);
         i++, n -= sizeof(struct ljt_fuzz_word)) {
        struct ljt_fuzz_word w;
        memcpy(&w, bytes + i * sizeof(w), sizeof(w));
        memcpy(to + (w.offset % LJT_FUZZ_HEAP_SIZE & ~(uint64_t)7), &w.value, sizeof(w.value));
    }
    struct ljt_arenas found;
    ljt_kernel.peek = peek_heap;
    ljt_kernel.mincore = mincore_heap;
    demand(ljt_arenas_find(&found, &r) == 0, "a search ends well");
    for (size_t i = 0; i < found.count && i < MEASURED; i++) {
        struct ljt_heap_census census = {0};
        if (is_heap(found.states[i]))
            prove(found.states[i], &census);
        measure(&r, found.states[i], &census);
    }
    ljt_arenas_free(&found);
    r.vmas = (struct ljt_vmas){0};
    r.threads = NULL;
    ljt_kernel = kernel;
    return 0;
}
