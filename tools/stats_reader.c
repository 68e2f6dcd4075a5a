#include "stats_reader.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "object.h"
#include "permission.h"
#include "remote.h"
#include "growth.h"
#include "stats_page.h"
#include "version.h"

enum {
    TRIES = 200,
    PAUSE_US = 50,
    MAX_SYMBOLS = 4096,
    MAX_STRINGS = 1 << 16,
    MAX_FIELDS = 1024,
    MAX_DYNAMIC = 512
};

static int peek(pid_t pid, uint64_t address, void *to, size_t n)
{
    struct iovec local = {to, n}, remote = {(void *)(uintptr_t)address, n};
    ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    return got == (ssize_t)n ? 0 : got < 0 ? -errno : -EFAULT;
}

/* ---- Finding the page ---- */

/* Where the object's memory begins, and what its dynamic section says of its symbols. */
struct symbols {
    uint64_t table, strings, strings_size;
};

static int read_dynamic(pid_t pid, uint64_t base, struct symbols *s)
{
    Elf64_Ehdr header;
    Elf64_Phdr segment[32];
    uint64_t dynamic = 0, lowest = UINT64_MAX;
    int error = peek(pid, base, &header, sizeof(header));
    if (error != 0)
        return error;
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_phentsize != sizeof(segment[0]) || header.e_phnum > sizeof(segment) / sizeof(segment[0]))
        return -EPROTO;
    error = peek(pid, base + header.e_phoff, segment, header.e_phnum * sizeof(segment[0]));
    if (error != 0)
        return error;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        if (segment[i].p_type == PT_LOAD && segment[i].p_vaddr < lowest)
            lowest = segment[i].p_vaddr;
        if (segment[i].p_type == PT_DYNAMIC)
            dynamic = segment[i].p_vaddr;
    }
    if (dynamic == 0 || lowest != 0)
        return -EPROTO;
    for (unsigned i = 0; i < MAX_DYNAMIC; i++) {
        Elf64_Dyn entry;
        error = peek(pid, base + dynamic + i * sizeof(entry), &entry, sizeof(entry));
        if (error != 0 || entry.d_tag == DT_NULL)
            break;
        /* glibc adds the base in place, musl does not. */
        uint64_t value = entry.d_un.d_val < base ? base + entry.d_un.d_val : entry.d_un.d_val;
        if (entry.d_tag == DT_SYMTAB)
            s->table = value;
        else if (entry.d_tag == DT_STRTAB)
            s->strings = value;
        else if (entry.d_tag == DT_STRSZ)
            s->strings_size = entry.d_un.d_val;
    }
    return error != 0 ? error : s->table == 0 || s->strings <= s->table ? -EPROTO : 0;
}

/* The address of a variable of the object that is mapped at `base`. 0: it has none of this name. */
static int find_symbol(pid_t pid, uint64_t base, const char *name, uint64_t *address)
{
    struct symbols s = {0};
    *address = 0;
    int error = read_dynamic(pid, base, &s);
    if (error != 0)
        return error;
    /* Every linker lays the strings behind the symbols; nothing else says how many symbols there are. */
    size_t count = (s.strings - s.table) / sizeof(Elf64_Sym);
    if (count > MAX_SYMBOLS || s.strings_size > MAX_STRINGS)
        return -EPROTO;
    Elf64_Sym *symbol = malloc(count * sizeof(*symbol));
    char *strings = malloc(s.strings_size + 1);
    error = symbol == NULL || strings == NULL ? -ENOMEM : peek(pid, s.table, symbol, count * sizeof(*symbol));
    if (error == 0)
        error = peek(pid, s.strings, strings, s.strings_size);
    if (error == 0)
        strings[s.strings_size] = '\0';
    for (size_t i = 0; error == 0 && *address == 0 && i < count; i++)
        if (symbol[i].st_name < s.strings_size && symbol[i].st_shndx != SHN_UNDEF &&
            strcmp(strings + symbol[i].st_name, name) == 0)
            *address = base + symbol[i].st_value;
    free(symbol);
    free(strings);
    return error;
}

/* Where libljtrim.so is mapped. */
static int find_library(pid_t pid, uint64_t *base)
{
    char path[64], line[4352];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return errno == ENOENT ? -ESRCH : -errno;
    int error = -ENOENT;
    errno = 0;
    while (error == -ENOENT && fgets(line, sizeof(line), f) != NULL) {
        unsigned long start, offset;
        const char *file = strchr(line, '/');
        if (file == NULL || sscanf(line, "%lx-%*x %*s %lx", &start, &offset) != 2 || offset != 0)
            continue;
        file = ljt_base_name(file);
        if (strncmp(file, "libljtrim", 9) != 0 || strstr(file, ".so") == NULL ||
            strstr(file, "symtab") != NULL)
            continue;
        *base = start;
        error = 0;
    }
    if (error != 0 && errno != 0) /* it ended meanwhile; or it may be listed, but not read */
        error = -errno;
    fclose(f);
    return error;
}

/* ---- Reading it ---- */

struct source {
    struct ljt_stats_page page;
    uint64_t address;
    unsigned index[LJT_STATS_FIELDS]; /* where our figures stand in its rows; MAX_FIELDS: nowhere */
    size_t row_size;
};

static int read_names(struct ljt_stats_reading *r, struct source *s)
{
    struct ljt_stats_page *p = &s->page;
    if (p->fields == 0 || p->fields > MAX_FIELDS || p->field_size < LJT_STATS_NAME_SIZE ||
        p->field_size > 4096 || p->buckets != LJT_HISTOGRAM_BUCKETS)
        return -EPROTO;
    size_t size = (size_t)p->fields * p->field_size;
    char *names = malloc(size);
    int error = names == NULL ? -ENOMEM : peek(r->pid, (uintptr_t)p->field, names, size);
    s->row_size = p->fields * sizeof(uint64_t);
    r->missing = 0;
    for (unsigned k = 0; error == 0 && k < LJT_STATS_FIELDS; k++) {
        unsigned i = 0;
        while (i < p->fields &&
               strncmp(names + (size_t)i * p->field_size, ljt_stats_fields[k].name, LJT_STATS_NAME_SIZE) != 0)
            i++;
        s->index[k] = i < p->fields ? i : MAX_FIELDS;
        r->missing += i == p->fields;
    }
    free(names);
    return error;
}

static int read_row(pid_t pid, const struct source *s, uint64_t address, struct ljt_stats_row *row)
{
    uint64_t value[MAX_FIELDS];
    int error = peek(pid, address, value, s->row_size);
    for (unsigned k = 0; error == 0 && k < LJT_STATS_FIELDS; k++)
        row->value[k] = s->index[k] < MAX_FIELDS ? value[s->index[k]] : 0;
    return error;
}

/* What comes from another process may be anything; this is printed, and within quotes. */
static void clean(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
            *text = '?';
}

static int read_snapshot(struct ljt_stats_reading *r, const struct source *s)
{
    struct ljt_stats_snapshot *to = &r->snapshot;
    uint64_t from = (uintptr_t)s->page.snapshot;
    const size_t head =
        offsetof(struct ljt_stats_snapshot, total); /* the same in every version of this layout */
    int error = peek(r->pid, from, to, head);
    if (error == 0)
        error = read_row(r->pid, s, from + head, &to->total);
    clean(to->version, sizeof(to->version));
    if (to->arenas > s->page.rows)
        to->arenas = s->page.rows; /* torn */
    if (to->arenas > LJT_GATES)
        to->arenas = LJT_GATES;
    for (uint64_t i = 0; error == 0 && i < to->arenas; i++)
        error = read_row(r->pid, s, from + head + (i + 1) * s->row_size, &to->arena[i]);
    /* Behind the rows: how many modules, and these. */
    uint64_t modules = from + head + (s->page.rows + 1) * s->row_size;
    to->modules = 0;
    if (error == 0 && s->page.module_size == sizeof(to->module[0]))
        error = peek(r->pid, modules, &to->modules, sizeof(to->modules));
    if (to->modules > LJT_MODULES)
        to->modules = LJT_MODULES;
    if (error == 0)
        error = peek(r->pid, modules + sizeof(to->modules), to->module, to->modules * sizeof(to->module[0]));
    for (uint64_t i = 0; i < to->modules; i++) {
        clean(to->module[i].name, sizeof(to->module[i].name));
        clean(to->module[i].symbols, sizeof(to->module[i].symbols));
    }
    return error;
}

static int read_sequence(const struct ljt_stats_reading *r, const struct source *s, uint64_t *sequence)
{
    return peek(r->pid, s->address + offsetof(struct ljt_stats_page, sequence), sequence, sizeof(*sequence));
}

int ljt_stats_read(struct ljt_stats_reading *r, pid_t pid)
{
    struct source s;
    uint64_t base = 0, before = 0, after = 0;
    char path[64];
    r->pid = pid;
    r->layout = 0;
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    if (access(path, F_OK) != 0)
        return -ESRCH;
    int error = find_library(pid, &base);
    if (error == 0)
        error = find_symbol(pid, base, LJT_STATS_PAGE_SYMBOL, &s.address);
    if (error == 0 && s.address == 0)
        error = -EPROTO;
    if (error == 0)
        error = peek(pid, s.address, &s.page, sizeof(s.page));
    if (error != 0)
        return error;
    r->layout = s.page.magic == LJT_STATS_MAGIC ? s.page.layout : 0;
    if (r->layout != LJT_STATS_LAYOUT)
        return -EPROTO;
    error = read_names(r, &s);
    for (unsigned i = 0; error == 0; i++) {
        if ((error = read_sequence(r, &s, &before)) != 0)
            break;
        if (before == 0)
            return -ENODATA;
        r->torn = before % 2 != 0;
        if (r->torn && i < TRIES) {
            nanosleep(&(struct timespec){.tv_nsec = PAUSE_US * 1000L}, NULL);
            continue;
        }
        error = read_snapshot(r, &s);
        if (error == 0)
            error = read_sequence(r, &s, &after);
        r->torn |= before != after;
        if (!r->torn || i >= TRIES)
            break;
    }
    /* A forked child that has gathered nothing yet shows what its parent had. */
    if (error == 0 && r->snapshot.total.value[LJT_STATS_pid] != (uint64_t)ljt_inner_pid(pid))
        error = -ENODATA;
    return error;
}

int ljt_growth_read(pid_t pid, char *text, size_t room)
{
    static struct ljt_growth_page page;
    uint64_t base = 0, address = 0, after = 1;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    if (access(path, F_OK) != 0)
        return -ESRCH;
    int error = find_library(pid, &base);
    if (error == 0)
        error = find_symbol(pid, base, LJT_GROWTH_PAGE_SYMBOL, &address);
    if (error == 0 && address == 0)
        return -EOPNOTSUPP;
    for (unsigned i = 0; error == 0 && i < TRIES; i++) {
        error = peek(pid, address, &page, sizeof(page));
        if (error == 0 && page.magic != LJT_GROWTH_MAGIC)
            return -EPROTO;
        if (error == 0 && page.sequence == 0)
            return -ENODATA;
        if (error == 0)
            error = peek(pid, address + offsetof(struct ljt_growth_page, sequence), &after, sizeof(after));
        if (page.sequence % 2 == 0 && page.sequence == after)
            break;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_US * 1000L}, NULL);
    }
    if (error == 0 && page.pid != (uint64_t)ljt_inner_pid(pid)) /* its parent's */
        error = -ENODATA;
    size_t length = page.length < sizeof(page.text) ? page.length : sizeof(page.text) - 1;
    if (error != 0)
        return error;
    snprintf(text, room, "%.*s", (int)length, page.text);
    for (char *c = text; *c != '\0'; c++)
        if (*c != '\n' &&
            (*c < ' ' || *c > '~')) /* nothing that a process says reaches the terminal as it is */
            *c = '?';
    return 0;
}

int ljt_stats_explain(struct ljt_text *t, const struct ljt_stats_reading *r, int error)
{
    switch (-error) {
    case ESRCH:
    case EPERM:
    case EACCES: return ljt_process_explain(t, r->pid, error);
    case ENOENT:
        ljt_text_printf(t, "libljtrim.so is not preloaded in process %d; try 'ljtrim doctor %d'", (int)r->pid,
                        (int)r->pid);
        return LJT_EXIT_NOT_PRELOADED;
    case ENODATA:
        ljt_text_printf(
            t,
            "no figures of process %d: no heap of LuaJIT's own allocator has grown to 2 MiB, or the "
            "library's log says why",
            (int)r->pid);
        return LJT_EXIT_NO_ARENA;
    case EPROTO:
        ljt_text_printf(t,
                        "the libljtrim.so in process %d is of a version that this ljtrim (" LJT_VERSION
                        ") cannot read",
                        (int)r->pid);
        if (r->layout != 0)
            ljt_text_printf(t, ": its statistics have layout %u, %d is known here", (unsigned)r->layout,
                            LJT_STATS_LAYOUT);
        return LJT_EXIT_FAILED;
    default:
        ljt_text_printf(t, "could not read process %d (%s)", (int)r->pid, strerror(-error));
        return LJT_EXIT_FAILED;
    }
}
