#include "arena_state.h"
#include "patched.h"

#include <errno.h>
#include <stdlib.h>

static int add_record(struct ljt_arena_state *a, uintptr_t record, struct ljt_lj_segment segment)
{
    if ((a->count & (a->count - 1)) == 0) {
        size_t n = a->count == 0 ? 1 : 2 * a->count;
        uintptr_t *records = realloc(a->records, n * sizeof(*records));
        if (records != NULL)
            a->records = records;
        struct ljt_lj_segment *segments = realloc(a->segments, n * sizeof(*segments));
        if (segments != NULL)
            a->segments = segments;
        if (records == NULL || segments == NULL)
            return -ENOMEM;
    }
    a->records[a->count] = record;
    a->segments[a->count++] = segment;
    return 0;
}

static bool in_vmas(const struct ljt_vmas *v, uintptr_t start, size_t size)
{
    size_t low = 0, high = v->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (v->at[mid].end <= start)
            low = mid + 1;
        else
            high = mid;
    }
    /* A segment may span mappings that touch: the kernel keeps them apart where their flags differ. */
    for (; low < v->count && v->at[low].start <= start; low++) {
        if (size <= v->at[low].end - start)
            return true;
        size -= v->at[low].end - start;
        start = v->at[low].end;
    }
    return false;
}

static int compare(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return x < y ? -1 : x > y;
}

/* What cannot be read, or is of another version of the library, is not there: its chunks count as in use. */
static void read_parked(struct ljt_arena_state *a, const struct ljt_remote *r)
{
    enum { MOST = 1 << 20 };
    struct ljt_patched p;
    uintptr_t at = (uintptr_t)a->state.smallbins[0];
    if (at == 0 || ljt_remote_read(r, at, &p, sizeof(p)) != 0 || p.magic != LJT_PATCHED_MAGIC ||
        p.runs == 0 || p.runs > MOST || (a->parked = malloc(p.runs * sizeof(*a->parked))) == NULL)
        return;
    if (ljt_remote_read(r, (uintptr_t)p.run, a->parked, p.runs * sizeof(*a->parked)) != 0)
        return;
    a->parked_count = p.runs;
    qsort(a->parked, p.runs, sizeof(*a->parked), compare);
}

bool ljt_arena_state_is_parked(const struct ljt_arena_state *a, uintptr_t chunk)
{
    return a->parked_count != 0 &&
           bsearch(&chunk, a->parked, a->parked_count, sizeof(*a->parked), compare) != NULL;
}

int ljt_arena_state_read(struct ljt_arena_state *a, const struct ljt_remote *r, uintptr_t address)
{
    size_t head;
    *a = (struct ljt_arena_state){.address = address};
    if (ljt_remote_read(r, address - 8, &head, sizeof(head)) != 0 || !ljt_lj_head_is_state(head) ||
        ljt_remote_read(r, address, &a->state, ljt_lj_state_size(head)) != 0)
        return -ENOENT;
    uintptr_t top = (uintptr_t)a->state.top, record = address + offsetof(struct ljt_lj_state, seg);
    struct ljt_lj_segment s = a->state.seg;
    bool has_state = false, has_top = false;
    /* Segments don't overlap: a list of more than all mappings together loops, or lies. */
    size_t room = 0, count = 0, turn = 1;
    uintptr_t mark = 0; /* a record that was met: when it is met again the list loops (Brent) */
    for (size_t i = 0; i < r->vmas.count; i++)
        room += r->vmas.at[i].end - r->vmas.at[i].start;
    for (;;) {
        if (s.size > room || s.size < LJT_LJ_GRANULARITY || (s.base & (r->page - 1)) != 0 ||
            (s.size & (r->page - 1)) != 0 || !in_vmas(&r->vmas, s.base, s.size))
            return -ENOENT;
        has_state |= address - s.base < s.size;
        has_top |= top - s.base < s.size && top + a->state.topsize + LJT_LJ_TOP_FOOT == s.base + s.size;
        int error = add_record(a, record, s);
        if (error != 0)
            return error;
        if (s.next == NULL) {
            read_parked(a, r);
            return has_state && has_top && (top & 7) == 0 ? 0 : -EAGAIN;
        }
        room -= s.size;
        record = (uintptr_t)s.next;
        if (record == mark)
            return -ENOENT;
        if (++count == turn) {
            turn *= 2;
            mark = record;
        }
        if ((record & 7) != 0 || ljt_remote_read(r, record, &s, sizeof(s)) != 0)
            return -ENOENT;
    }
}

void ljt_arena_state_free(struct ljt_arena_state *a)
{
    free(a->records);
    free(a->segments);
    free(a->parked);
}

/*
 * GG_State is the arena's first allocation, so its chunk follows the state's: the main lua_State, then
 * global_State, whose words allocf, allocd are followed by gc.total. allocd is the state's address; where the
 * pair lies differs between releases. A reference from lua_State to global_State is 8 bytes at 16 with GC64,
 * 4 bytes at 8 without; gc.total is as wide.
 */
void ljt_arena_state_lua_heap(const struct ljt_arena_state *a, const struct ljt_remote *r,
                              struct ljt_arena_figures *f)
{
    enum { WORDS = 64 };
    uint64_t words[WORDS];
    size_t head;
    uintptr_t chunk = a->address - LJT_LJ_MEM_OFFSET;
    if (ljt_remote_read(r, chunk + 8, &head, sizeof(head)) != 0)
        return;
    uintptr_t gg = chunk + ljt_lj_head_size(head) + LJT_LJ_MEM_OFFSET;
    if (ljt_remote_read(r, gg, words, sizeof(words)) != 0)
        return;
    bool gc64 = words[2] > gg && words[2] < gg + sizeof(words);
    if (!gc64 && !((uint32_t)words[1] > gg && (uint32_t)words[1] < gg + sizeof(words)))
        return;
    for (size_t i = 1; i + 1 < WORDS; i++) {
        if (words[i] == a->address && words[i - 1] != 0) {
            f->gc64 = gc64;
            f->lua_heap = gc64 ? words[i + 1] : (uint32_t)words[i + 1];
            return;
        }
    }
}
