#include "callers.h"

#include <dlfcn.h>
#include <libunwind.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

#if defined(__aarch64__)
#define FIRST_PC UNW_AARCH64_PC /* UNW_TDEP_IP is the link register there (libunwind 1.6) */
#else
#define FIRST_PC UNW_TDEP_IP
#endif
_Static_assert((int)LJT_CALLERS_PC == (int)FIRST_PC && (int)LJT_CALLERS_SP == (int)UNW_TDEP_SP,
               "libunwind's numbers are DWARF's");

/* Exported by libunwind for whoever unwinds from afar, declared nowhere. */
#define SEARCH UNW_OBJ(dwarf_search_unwind_table)
extern int SEARCH(unw_addr_space_t, unw_word_t ip, unw_dyn_info_t *, unw_proc_info_t *, int need_info,
                  void *arg);

/* A C stack goes this far up, at most: what lies there may have changed since the copy was made. */
static const uintptr_t STACK_REACH = (uintptr_t)64 << 20;

static bool peek(void *to, uintptr_t from, size_t n)
{
    struct iovec local = {to, n}, remote = {(void *)from, n};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)n;
}

/* ---- Unwind tables are read byte by byte: a few blocks of them are kept for the time of one path ---- */

enum { BLOCK = 1024, BLOCKS = 32 };

static struct {
    uintptr_t at; /* 0: none */
    unsigned char bytes[BLOCK];
} block[BLOCKS];

static bool peek_kept(void *to, uintptr_t from, size_t n)
{
    uintptr_t at = from & ~(uintptr_t)(BLOCK - 1);
    if (from + n > at + BLOCK)
        return peek(to, from, n);
    size_t i = (at / BLOCK) % BLOCKS;
    if (block[i].at != at) {
        block[i].at = 0;
        if (at == 0 ||
            !peek(block[i].bytes, at, BLOCK)) /* a mapping may not be a multiple of this: no matter */
            return peek(to, from, n);
        block[i].at = at;
    }
    memcpy(to, block[i].bytes + (from - at), n);
    return true;
}

static void forget_blocks(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        block[i].at = 0;
}

/* ---- What libunwind asks for ---- */

static int access_mem(unw_addr_space_t as, unw_word_t at, unw_word_t *value, int write, void *arg)
{
    const struct ljt_callers_stack *s = arg;
    (void)as;
    if (write)
        return -UNW_EREADONLYREG;
    if (at - s->sp < s->size && s->size - (at - s->sp) >= sizeof(*value)) {
        memcpy(value, s->copy + (at - s->sp), sizeof(*value));
        return 0;
    }
    if (at >= s->sp && at - s->sp < STACK_REACH)
        return -UNW_EINVAL;
    return peek_kept(value, at, sizeof(*value)) ? 0 : -UNW_EINVAL;
}

static int access_reg(unw_addr_space_t as, unw_regnum_t reg, unw_word_t *value, int write, void *arg)
{
    const struct ljt_callers_stack *s = arg;
    (void)as;
    if (write || reg < 0 || reg >= LJT_CALLERS_REGISTERS)
        return -UNW_EBADREG;
    *value = s->reg[reg];
    return 0;
}

static int access_fpreg(unw_addr_space_t as, unw_regnum_t reg, unw_fpreg_t *value, int write, void *arg)
{
    (void)as, (void)reg, (void)value, (void)write, (void)arg;
    return -UNW_EBADREG;
}

static int get_dyn_info_list_addr(unw_addr_space_t as, unw_word_t *list, void *arg)
{
    (void)as, (void)list, (void)arg;
    return -UNW_ENOINFO;
}

static int resume(unw_addr_space_t as, unw_cursor_t *cursor, void *arg)
{
    (void)as, (void)cursor, (void)arg;
    return -UNW_EINVAL;
}

static int get_proc_name(unw_addr_space_t as, unw_word_t at, char *name, size_t n, unw_word_t *offset,
                         void *arg)
{
    (void)as, (void)at, (void)name, (void)n, (void)offset, (void)arg;
    return -UNW_ENOINFO;
}

static void put_unwind_info(unw_addr_space_t as, unw_proc_info_t *info, void *arg)
{
    (void)as, (void)info, (void)arg;
}

struct tables {
    uintptr_t ip, lo, hi, eh_frame_hdr; /* lo: 0 where no object has code at ip */
};

static int find_tables(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct tables *t = arg;
    t->lo = t->eh_frame_hdr = 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t at = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_LOAD && t->ip - at < p->p_memsz) {
            t->lo = at;
            t->hi = at + p->p_memsz;
        } else if (p->p_type == PT_GNU_EH_FRAME) {
            t->eh_frame_hdr = at;
        }
    }
    return t->lo != 0;
}

static bool is_in_an_object(uintptr_t ip)
{
    struct tables t = {.ip = ip};
    return dl_iterate_phdr(find_tables, &t) != 0;
}

/* The one form that linkers write: version 1, 4-byte offsets, a sorted table relative to its own start. */
struct eh_frame_hdr {
    unsigned char version, frame_encoding, count_encoding, table_encoding;
    int32_t frame;
    uint32_t count;
};

static int find_proc_info(unw_addr_space_t as, unw_word_t ip, unw_proc_info_t *info, int need_info, void *arg)
{
    struct tables t = {.ip = ip};
    struct eh_frame_hdr h;
    if (dl_iterate_phdr(find_tables, &t) == 0 || t.eh_frame_hdr == 0 ||
        !peek_kept(&h, t.eh_frame_hdr, sizeof(h)) || h.version != 1 || h.frame_encoding != 0x1b ||
        h.count_encoding != 0x03 || h.table_encoding != 0x3b)
        return -UNW_ENOINFO;
    unw_dyn_info_t table = {.start_ip = t.lo, .end_ip = t.hi, .format = UNW_INFO_FORMAT_REMOTE_TABLE};
    table.u.rti.segbase = t.eh_frame_hdr;
    table.u.rti.table_data = t.eh_frame_hdr + sizeof(h);
    table.u.rti.table_len = (unw_word_t)h.count * 8 / sizeof(unw_word_t);
    return SEARCH(as, ip, &table, info, need_info, arg);
}

/* ---- Asking ---- */

EXPORT unsigned ljt_callers_unwind(const struct ljt_callers_stack *stack, uintptr_t *pc, unsigned max)
{
    static unw_accessors_t accessors = {
        .find_proc_info = find_proc_info,
        .put_unwind_info = put_unwind_info,
        .get_dyn_info_list_addr = get_dyn_info_list_addr,
        .access_mem = access_mem,
        .access_reg = access_reg,
        .access_fpreg = access_fpreg,
        .resume = resume,
        .get_proc_name = get_proc_name,
    };
    unsigned count = 0;
    unw_cursor_t cursor;
    forget_blocks();
    unw_addr_space_t as = unw_create_addr_space(&accessors, 0);
    if (as == NULL)
        return 0;
    unw_set_caching_policy(as, UNW_CACHE_NONE); /* objects come and go */
    if (unw_init_remote(&cursor, as, (void *)(uintptr_t)stack) == 0) {
        unw_word_t ip, sp = 0, before;
        do {
            before = sp;
            if (unw_get_reg(&cursor, UNW_REG_IP, &ip) != 0 || ip == 0 ||
                unw_get_reg(&cursor, UNW_REG_SP, &sp) != 0 || sp < before)
                break;
            pc[count++] = is_in_an_object((uintptr_t)ip) ? (uintptr_t)ip : 0;
        } while (count < max && pc[count - 1] != 0 && unw_step(&cursor) > 0);
    }
    unw_destroy_addr_space(as);
    return count;
}

EXPORT void ljt_callers_name(uintptr_t pc, char name[LJT_CALLERS_NAME])
{
    Dl_info info;
    /* A return address may lie behind the last instruction of a function. */
    if (pc == 0 || dladdr((const void *)(pc - 1), &info) == 0 || info.dli_fname == NULL) {
        snprintf(name, LJT_CALLERS_NAME, "compiled code");
        return;
    }
    const char *slash = strrchr(info.dli_fname, '/');
    const char *object = slash == NULL ? info.dli_fname : slash + 1;
    if (info.dli_sname != NULL)
        snprintf(name, LJT_CALLERS_NAME, "%s", info.dli_sname);
    else
        snprintf(name, LJT_CALLERS_NAME, "%.40s+0x%zx", object, (size_t)(pc - (uintptr_t)info.dli_fbase));
}
