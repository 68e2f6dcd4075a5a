/* Finding LuaJIT's arenas in another process, and what else its scan passes over. See arenas.h. */
#include "arenas.h"
#include "lj_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* ---- Finding ---- */

/*
 * Pages looked at with one system call, right after pagemap was asked about them. The target runs meanwhile:
 * a page purged between the two calls would be read into being, as a mapping of the zero page. So the batch
 * is small.
 */
enum { SCAN_BATCH = 128 };

static const size_t GLIBC_HEAP = (size_t)64 << 20; /* HEAP_MAX_SIZE on 64-bit targets */

/* The first two words of a page: prev_foot and head of a chunk that starts there. */
struct page_start {
    size_t prev_foot, head;
};

static int append_state(struct ljt_arenas *a, uintptr_t state)
{
    uintptr_t *bigger = realloc(a->states, (a->count + 1) * sizeof(*bigger));
    if (bigger == NULL)
        return -ENOMEM;
    a->states = bigger;
    a->states[a->count++] = state;
    return 0;
}

/*
 * Is this a block that lj_alloc mapped directly? Such a chunk starts its mapping, is marked in prev_foot, and
 * is followed by a fencepost and a zero head in the last 32 bytes of the mapping's last page.
 */
static bool is_direct_block(const struct ljt_remote *r, uintptr_t start, const struct page_start *p,
                            uintptr_t vma_end)
{
    size_t size = ljt_lj_head_size(p->head), foot[3];
    if (p->prev_foot != LJT_LJ_IS_DIRECT || (p->head & 7) != LJT_LJ_CINUSE || size < LJT_LJ_MMAP_THRESHOLD ||
        size + LJT_LJ_DIRECT_FOOT_PAD > vma_end - start ||
        ((size + LJT_LJ_DIRECT_FOOT_PAD) & (r->page - 1)) != 0)
        return false;
    return ljt_remote_read(r, start + size, foot, sizeof(foot)) == 0 && foot[1] == LJT_LJ_FENCEPOST &&
           foot[2] == 0;
}

/*
 * glibc's malloc: a chunk with a mapping of its own has nothing before it, bit 1 of its size set, and fills
 * whole pages. Each arena but the first lives in heaps of 64 MiB at a multiple of that, which begin with
 * { its arena, the heap before, bytes in use, bytes made accessible }. The bytes, or 0.
 */
static size_t glibc_block(const struct ljt_remote *r, uintptr_t start, const struct page_start *p,
                          uintptr_t vma_end)
{
    size_t size = p->head & ~(size_t)7, heap[4];
    if (p->prev_foot == 0 && (p->head & 7) == 2 && size >= r->page && (size & (r->page - 1)) == 0 &&
        size <= vma_end - start)
        return size;
    if ((start & (GLIBC_HEAP - 1)) == 0 && (p->prev_foot & (GLIBC_HEAP - 1)) < 256 && p->prev_foot != 0 &&
        ljt_remote_read(r, start, heap, sizeof(heap)) == 0 && (heap[2] & (r->page - 1)) == 0 &&
        heap[2] != 0 && heap[2] <= heap[3] && heap[3] <= GLIBC_HEAP && heap[2] <= vma_end - start)
        return vma_end - start < heap[3] ? vma_end - start : heap[3];
    return 0;
}

static int look_at(struct ljt_arenas *a, const struct ljt_remote *r, uintptr_t start,
                   const struct page_start *p, uintptr_t vma_end)
{
    size_t size;
    if (ljt_lj_head_is_state(p->head))
        return append_state(a, start + LJT_LJ_MEM_OFFSET);
    if (is_direct_block(r, start, p, vma_end))
        return ljt_vmas_append(&a->direct, start, start + ljt_lj_head_size(p->head) + LJT_LJ_DIRECT_FOOT_PAD);
    if ((size = glibc_block(r, start, p, vma_end)) != 0)
        return ljt_vmas_append(&a->glibc, start, start + size);
    return 0;
}

static int scan_pages(struct ljt_arenas *a, const struct ljt_remote *r, const uintptr_t *starts, size_t n,
                      uintptr_t vma_end)
{
    struct page_start found[SCAN_BATCH];
    struct iovec local[SCAN_BATCH], remote[SCAN_BATCH];
    for (size_t i = 0; i < n; i++) {
        local[i] = (struct iovec){&found[i], sizeof(found[i])};
        remote[i] = (struct iovec){(void *)starts[i], sizeof(found[i])};
    }
    for (size_t i = 0; i < n;) {
        ssize_t got = process_vm_readv(r->pid, local + i, n - i, remote + i, n - i, 0);
        if (got < 0 && errno != EFAULT)
            return -errno;
        size_t done = got < 0 ? 0 : (size_t)got / sizeof(found[0]);
        for (size_t k = i; k < i + done; k++) {
            int error = look_at(a, r, starts[k], &found[k], vma_end);
            if (error != 0)
                return error;
        }
        i += done;
        if (i < n)
            i++; /* unmapped since we looked: pass over it */
    }
    return 0;
}

static int scan_vma(struct ljt_arenas *a, const struct ljt_remote *r, const struct ljt_vma *v,
                    struct ljt_pages *p)
{
    uintptr_t starts[SCAN_BATCH] = {0};
    int error = 0;
    for (uintptr_t at = v->start; error == 0 && at < v->end;) {
        size_t left = v->end - at, n = 0;
        uintptr_t end = at + (left < SCAN_BATCH * r->page ? left : SCAN_BATCH * r->page);
        error = ljt_pages_load(p, r, at, end);
        for (size_t i = 0; error == 0 && i < p->count; i++)
            if (p->state[i] != LJT_PAGE_ABSENT)
                starts[n++] = at + i * r->page;
        if (error == 0 && n != 0)
            error = scan_pages(a, r, starts, n, v->end);
        at = end;
    }
    return error;
}

int ljt_arenas_find(struct ljt_arenas *a, const struct ljt_remote *r)
{
    struct ljt_pages p = {0};
    int error = 0;
    *a = (struct ljt_arenas){0};
    for (size_t i = 0; error == 0 && i < r->vmas.count; i++)
        error = scan_vma(a, r, &r->vmas.at[i], &p);
    free(p.state);
    return error;
}

void ljt_arenas_free(struct ljt_arenas *a)
{
    free(a->states);
    free(a->direct.at);
    free(a->glibc.at);
    *a = (struct ljt_arenas){0};
}
