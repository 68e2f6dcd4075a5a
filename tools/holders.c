#include "holders.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const ljt_holder_names[LJT_HOLDERS] = {
    [LJT_HOLDER_ARENAS] = "LuaJIT's arenas",
    [LJT_HOLDER_BLOCKS] = "LuaJIT's large blocks",
    [LJT_HOLDER_MACHINE] = "JIT machine code",
    [LJT_HOLDER_GLIBC] = "glibc's heap",
    [LJT_HOLDER_STACKS] = "stacks",
    [LJT_HOLDER_SHARED] = "shared memory",
    [LJT_HOLDER_FILES] = "files (code, data)",
    [LJT_HOLDER_OTHER] = "other anonymous",
};

const char *const ljt_holder_keys[LJT_HOLDERS] = {
    [LJT_HOLDER_ARENAS] = "luajit_arenas",
    [LJT_HOLDER_BLOCKS] = "luajit_large_blocks",
    [LJT_HOLDER_MACHINE] = "jit_machine_code",
    [LJT_HOLDER_GLIBC] = "glibc_heap",
    [LJT_HOLDER_STACKS] = "stacks",
    [LJT_HOLDER_SHARED] = "shared_memory",
    [LJT_HOLDER_FILES] = "files",
    [LJT_HOLDER_OTHER] = "other",
};

/* ---- Where the allocators' pages are ---- */

struct claim {
    uintptr_t start, end;
    enum ljt_holder holder;
};

struct claims {
    struct claim *at;
    size_t count;
};

/* By address; where two begin together LuaJIT's comes first: what lies in an arena may look like anything. */
static int by_start(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return (int)x->holder - (int)y->holder;
}

static int collect(struct claims *c, const struct ljt_arenas *a, const struct ljt_measured *m, size_t count,
                   size_t page)
{
    size_t n = a->direct.count + a->glibc.count;
    for (size_t i = 0; i < count; i++)
        n += m[i].nmaps;
    c->at = calloc(n + 1, sizeof(*c->at));
    if (c->at == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < m[i].nmaps; k++)
            c->at[c->count++] = (struct claim){
                m[i].maps[k].base, m[i].maps[k].base + m[i].maps[k].pages * page, LJT_HOLDER_ARENAS};
    for (size_t i = 0; i < a->direct.count; i++)
        c->at[c->count++] = (struct claim){a->direct.at[i].start, a->direct.at[i].end, LJT_HOLDER_BLOCKS};
    for (size_t i = 0; i < a->glibc.count; i++)
        c->at[c->count++] = (struct claim){a->glibc.at[i].start, a->glibc.at[i].end, LJT_HOLDER_GLIBC};
    qsort(c->at, c->count, sizeof(*c->at), by_start);
    /* Free of overlaps: whoever begins first keeps what is his. */
    size_t kept = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (kept != 0 && c->at[i].start < c->at[kept - 1].end)
            c->at[i].start = c->at[kept - 1].end;
        if (c->at[i].start < c->at[i].end)
            c->at[kept++] = c->at[i];
    }
    c->count = kept;
    return 0;
}

/* ---- Stacks ---- */

/* Where the stack pointers of sleeping threads are; a running one does not tell. */
static void read_stack_pointers(struct ljt_vmas *v, pid_t pid)
{
    char path[300], line[256];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", (int)pid, e->d_name);
        FILE *f = fopen(path, "re");
        if (f == NULL)
            continue;
        /* number, six arguments, stack pointer, program counter */
        if (fgets(line, sizeof(line), f) != NULL) {
            char *end = strrchr(line, ' ');
            if (end != NULL && end != line) {
                *end = '\0';
                char *sp = strrchr(line, ' ');
                unsigned long at = sp == NULL ? 0 : strtoul(sp, NULL, 16);
                if (at != 0)
                    (void)ljt_vmas_append(v, at, at + 1);
            }
        }
        fclose(f);
    }
    closedir(d);
}

/* ---- Mappings ---- */

struct mapping {
    uintptr_t start, end;
    char mode[8];
    unsigned long inode;
    char name[512];
    struct ljt_held held;
};

struct reader {
    struct ljt_holders *h;
    const struct ljt_remote *r;
    struct claims claims;
    struct ljt_vmas stack_pointers;
    struct ljt_pages pages;
    uintptr_t guard_end; /* where the last small inaccessible mapping ended: a thread's guard page */
};

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

static bool is_shared_memory(const struct mapping *m)
{
    return m->mode[3] == 's' &&
           (m->inode == 0 || begins(m->name, "/dev/zero") || begins(m->name, "/dev/shm/") ||
            begins(m->name, "/SYSV") || begins(m->name, "/memfd:") || begins(m->name, "[anon_shmem"));
}

static bool is_stack(const struct reader *d, const struct mapping *m)
{
    if (begins(m->name, "[stack") || begins(m->name, "[anon:stack"))
        return true;
    if (begins(m->mode, "rw-p") && m->start == d->guard_end)
        return true;
    for (size_t i = 0; i < d->stack_pointers.count; i++)
        if (d->stack_pointers.at[i].start >= m->start && d->stack_pointers.at[i].start < m->end)
            return true;
    return false;
}

static enum ljt_holder holder_of(const struct reader *d, const struct mapping *m)
{
    if (is_shared_memory(m))
        return LJT_HOLDER_SHARED;
    if (m->inode != 0)
        return LJT_HOLDER_FILES;
    if (begins(m->name, "[heap]"))
        return LJT_HOLDER_GLIBC;
    if (is_stack(d, m))
        return LJT_HOLDER_STACKS;
    if (m->mode[2] == 'x' && (m->name[0] == '\0' || begins(m->name, "[anon")))
        return LJT_HOLDER_MACHINE;
    return LJT_HOLDER_OTHER;
}

static void give(struct ljt_holders *h, enum ljt_holder holder, struct ljt_held *from, size_t rss, size_t pss,
                 size_t swap)
{
    struct ljt_held *to = &h->by[holder];
    rss = rss < from->rss ? rss : from->rss;
    pss = pss < from->pss ? pss : from->pss;
    swap = swap < from->swap ? swap : from->swap;
    to->mappings++;
    to->rss += rss;
    to->pss += pss;
    to->swap += swap;
    from->rss -= rss;
    from->pss -= pss;
    from->swap -= swap;
}

/* Gives the mapping's pages to those who claim them. Its Pss is divided as its RSS is. */
static void divide(struct reader *d, struct mapping *m)
{
    size_t low = 0, high = d->claims.count, rss = m->held.rss, pss = m->held.pss;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (d->claims.at[mid].end <= m->start)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < d->claims.count && d->claims.at[low].start < m->end; low++) {
        const struct claim *c = &d->claims.at[low];
        uintptr_t start = c->start > m->start ? c->start : m->start, end = c->end < m->end ? c->end : m->end;
        size_t present = 0, swapped = 0;
        if (start == m->start && end == m->end) {
            give(d->h, c->holder, &m->held, m->held.rss, m->held.pss, m->held.swap);
            return;
        }
        if (ljt_pages_load(&d->pages, d->r, start, end) != 0)
            return;
        for (size_t i = 0; i < d->pages.count; i++) {
            present += d->pages.state[i] == LJT_PAGE_PRESENT ? d->r->page : 0;
            swapped += d->pages.state[i] == LJT_PAGE_SWAPPED ? d->r->page : 0;
        }
        give(d->h, c->holder, &m->held, present,
             rss == 0 ? 0 : (size_t)((double)pss * (double)present / (double)rss), swapped);
    }
}

static void account(struct reader *d, struct mapping *m)
{
    struct ljt_holders *h = d->h;
    const char *file = strrchr(m->name, '/');
    h->all.mappings++;
    h->all.rss += m->held.rss;
    h->all.pss += m->held.pss;
    h->all.swap += m->held.swap;
    h->has_libljtrim |= file != NULL && begins(file, "/libljtrim.so");
    if (begins(m->mode, "rw-p") && m->inode == 0)
        divide(d, m);
    if (m->held.rss != 0 || m->held.swap != 0 || m->inode != 0)
        give(h, holder_of(d, m), &m->held, m->held.rss, m->held.pss, m->held.swap);
    if (begins(m->mode, "---p"))
        d->guard_end = m->end - m->start <= (size_t)1 << 20 ? m->end : 0;
}

static void read_smaps(struct reader *d, FILE *f)
{
    char line[4352];
    struct mapping m = {0};
    bool any = false;
    while (fgets(line, sizeof(line), f) != NULL) {
        unsigned long start, end, inode;
        size_t kib;
        char mode[8];
        int name = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %lu %n", &start, &end, mode, &inode, &name) >= 4 && name != 0) {
            if (any)
                account(d, &m);
            any = true;
            m = (struct mapping){.start = start, .end = end, .inode = inode};
            memcpy(m.mode, mode, sizeof(mode));
            line[strcspn(line, "\n")] = '\0';
            snprintf(m.name, sizeof(m.name), "%s", line + name);
        } else if (sscanf(line, "Rss: %zu", &kib) == 1) {
            m.held.rss = kib << 10;
        } else if (sscanf(line, "Pss: %zu", &kib) == 1) {
            m.held.pss = kib << 10;
        } else if (sscanf(line, "Swap: %zu", &kib) == 1) {
            m.held.swap = kib << 10;
        }
    }
    if (any)
        account(d, &m);
}

int ljt_holders_read(struct ljt_holders *h, const struct ljt_remote *r, const struct ljt_arenas *a,
                     const struct ljt_measured *measured, size_t count)
{
    char path[64];
    struct reader d = {.h = h, .r = r};
    *h = (struct ljt_holders){0};
    snprintf(path, sizeof(path), "/proc/%d/smaps", (int)r->pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return errno == ENOENT ? -ESRCH : -errno;
    int error = collect(&d.claims, a, measured, count, r->page);
    if (error == 0) {
        read_stack_pointers(&d.stack_pointers, r->pid);
        read_smaps(&d, f);
    }
    fclose(f);
    free(d.claims.at);
    free(d.stack_pointers.at);
    free(d.pages.state);
    return error;
}
