/* The process or command: can a preloaded library get in, where is LuaJIT, who else is preloaded. */
#include "arena_state.h"
#include "commands.h"
#include "doctor.h"
#include "permission.h"
#include "symtab.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct ljt_object *find_object(const struct ljt_doctor *d, const char *beginning)
{
    for (size_t i = 0; i < d->nobjects; i++)
        if (strncmp(ljt_base_name(d->objects[i].path), beginning, strlen(beginning)) == 0)
            return &d->objects[i];
    return NULL;
}

/* ---- The executable ---- */

/* AT_SECURE: what /proc/PID/auxv says about a process whose LD_PRELOAD was ignored. */
static bool is_secure(pid_t pid)
{
    char path[64];
    unsigned long entry[2];
    bool secure = false;
    snprintf(path, sizeof(path), "/proc/%d/auxv", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fread(entry, sizeof(entry), 1, f) == 1)
        secure |= entry[0] == AT_SECURE && entry[1] != 0;
    if (f != NULL)
        fclose(f);
    return secure;
}

void ljt_doctor_check_executable(struct ljt_doctor *d)
{
    const struct ljt_object *o = &d->objects[0];
    if (!o->is_elf)
        ljt_found(d, LJT_LEVEL_NOTE, "executable", NULL, "%s is no ELF file", o->path);
    else if (!o->is_64bit)
        ljt_found(d, LJT_LEVEL_TODO, "executable", "use a 64-bit build; libljtrim is 64-bit", "%s is 32-bit",
                  o->path);
    else if (o->interpreter[0] == '\0')
        ljt_found(d, LJT_LEVEL_TODO, "executable", "link it dynamically with libc: LD_PRELOAD has no effect",
                  "%s is statically linked with libc", o->path);
    else if (strstr(o->interpreter, "ld-musl") != NULL)
        ljt_found(d, LJT_LEVEL_TODO, "executable",
                  "use a libljtrim.so that was built with musl, or a "
                  "glibc-based image",
                  "%s runs on musl", o->path);
    else if (d->pid != 0 ? is_secure(d->pid) : o->is_setuid)
        ljt_found(d, LJT_LEVEL_TODO, "executable",
                  "drop setuid, setgid and file capabilities, start it from a service manager with the "
                  "privileges it needs (systemd: AmbientCapabilities=)",
                  "%s runs with raised privileges: LD_PRELOAD is ignored", o->path);
    else
        ljt_found(d, LJT_LEVEL_OK, "executable", NULL, "%s, dynamic: LD_PRELOAD works", o->path);
}

/* ---- LuaJIT ---- */

const struct ljt_object *ljt_doctor_luajit(const struct ljt_doctor *d)
{
    for (size_t i = 0; i < d->nobjects; i++)
        if (ljt_object_has_luajit(&d->objects[i]))
            return &d->objects[i];
    return NULL;
}

/* Whether an object is loaded because the executable needs it, through however many others. */
static bool is_needed(const struct ljt_doctor *d, const struct ljt_object *o)
{
    bool reached[256] = {true}, more = true;
    while (more) {
        more = false;
        for (size_t i = 0; i < d->nobjects; i++) {
            for (size_t k = 0; reached[i] && k < d->objects[i].nneeded; k++) {
                const struct ljt_object *found = find_object(d, d->objects[i].needed[k]);
                if (found == NULL || reached[found - d->objects])
                    continue;
                reached[found - d->objects] = more = true;
            }
        }
    }
    return reached[o - d->objects];
}

static const char *guess_gc64(const struct ljt_object *o)
{
#ifdef __aarch64__
    (void)o;
    return "GC64 (as always on arm64)";
#else
    /* The default on x64 since December 2019. */
    if (strstr(o->banner, "ROLLING") != NULL || o->year >= 2020)
        return "GC64 most likely";
    return strstr(o->banner, "2.0.") != NULL || o->year != 0 ? "GC64 unlikely" : "GC64 not known";
#endif
}

/* What the heap of the process says: "GC64", "no GC64: ..." or NULL if there is none, or it may not be read. */
static const char *read_gc64(const struct ljt_doctor *d, size_t *arenas)
{
    struct ljt_remote r;
    struct ljt_arenas found = {0};
    const char *answer = NULL;
    *arenas = 0;
    if (d->pid != 0 && ljt_remote_open(&r, d->pid) == 0) {
        if (ljt_arenas_find(&found, &r) == 0) {
            for (size_t i = 0; i < found.count; i++) {
                struct ljt_arena_state a;
                struct ljt_arena_figures f = {0};
                if (ljt_arena_state_read(&a, &r, found.states[i]) == 0) {
                    ljt_arena_state_lua_heap(&a, &r, &f);
                    (*arenas)++;
                    if (f.lua_heap != 0)
                        answer = f.gc64 ? "GC64" : "no GC64 (heap below 2 GB)";
                }
                ljt_arena_state_free(&a);
            }
        }
        ljt_arenas_free(&found);
        ljt_remote_close(&r);
    }
    return answer;
}

/* Where lj_alloc's own symbols are, or what is wrong with the file. */
static const char *symbols_text(const struct ljt_doctor *d, const struct ljt_object *o)
{
    static struct ljt_symtab s;
    static char text[sizeof(s.source_path) + 64];
    int fd = ljt_open_in(d->root, o->path);
    int error = fd < 0 ? fd : ljt_symtab_read(&s, d->root, fd, o->path);
    if (fd >= 0)
        close(fd);
    if (error != 0)
        snprintf(text, sizeof(text), "symbols unknown (%s)", fd < 0 ? strerror(-error) : s.why);
    else if (s.source == LJT_SYMTAB_NONE)
        return o->has_symtab ? "no symbols of its allocator, which does not matter"
                             : "stripped, which does not matter";
    else
        snprintf(text, sizeof(text), "symbols in %s",
                 s.source == LJT_SYMTAB_DEBUG_FILE ? s.source_path : ljt_symtab_source_text(s.source));
    return text;
}

void ljt_doctor_check_luajit(struct ljt_doctor *d)
{
    const struct ljt_object *o = ljt_doctor_luajit(d);
    size_t arenas;
    const char *gc64 = read_gc64(d, &arenas);
    if (o == NULL && arenas == 0) {
        ljt_found(d, LJT_LEVEL_NOTE, "LuaJIT", NULL, "%s",
                  d->pid != 0 ? "none in this process: libljtrim would do nothing, at no cost"
                              : "none in it or in what it links; if it loads plugins later, ask again with "
                                "its process id");
        return;
    }
    if (o == NULL) {
        ljt_found(d, LJT_LEVEL_OK, "LuaJIT", NULL, "%zu arena%s, in code that is not named LuaJIT; %s",
                  arenas, arenas == 1 ? "" : "s", gc64 == NULL ? "GC64 not known" : gc64);
        return;
    }
    ljt_found(d, LJT_LEVEL_OK, "LuaJIT", NULL, "%s in %s", o->banner[0] != '\0' ? o->banner : "LuaJIT",
              o->path);
    ljt_found(d, LJT_LEVEL_OK, "", NULL, "%s, %s, %s",
              o == d->objects   ? "statically linked"
              : is_needed(d, o) ? "linked dynamically"
                                : "loaded later (dlopen)",
              symbols_text(d, o), gc64 != NULL ? gc64 : guess_gc64(o));
    if (o != d->objects && !o->imports_mmap)
        ljt_found(d, LJT_LEVEL_NOTE, "allocator",
                  "rebuild LuaJIT without LUAJIT_USE_SYSMALLOC, or leave it: "
                  "malloc's free memory is then another library's matter",
                  "this LuaJIT seems to use malloc instead of its own allocator");
    if (d->pid == 0)
        return;
    if (find_object(d, "libljtrim.so") != NULL)
        ljt_found(d, LJT_LEVEL_OK, "libljtrim", NULL, "loaded from %s", find_object(d, "libljtrim.so")->path);
    else
        ljt_found(d, LJT_LEVEL_TODO, "libljtrim",
                  "start it with 'ljtrim run -- COMMAND' or LD_PRELOAD=/PATH/libljtrim.so",
                  "not loaded in process %d", (int)d->pid);
}

/* ---- Who else is preloaded ---- */

static const char *const allocators[] = {"libjemalloc", "libtcmalloc", "libmimalloc", "libsnmalloc",
                                         "libhardened_malloc"};

void ljt_doctor_check_preloads(struct ljt_doctor *d)
{
    char list[4096], *rest = list;
    if (!ljt_doctor_variable(d, "LD_PRELOAD", list, sizeof(list)))
        list[0] = '\0';
    bool before = true; /* libljtrim has not come yet */
    for (char *word; (word = strsep(&rest, ": ")) != NULL;) {
        struct ljt_object o;
        if (word[0] == '\0')
            continue;
        bool ours = strncmp(ljt_base_name(word), "libljtrim.so", 12) == 0;
        before &= !ours;
        if (ours || strchr(word, '/') == NULL)
            continue;
        int error = ljt_object_read(&o, d->root, word);
        if (error != 0)
            ljt_found(d, LJT_LEVEL_TODO, "LD_PRELOAD", "correct the path", "%s cannot be read (%s)", word,
                      strerror(-error));
        else if (o.exports_mmap && before)
            ljt_found(d, LJT_LEVEL_TODO, "LD_PRELOAD", "put libljtrim.so in front of it in LD_PRELOAD",
                      "%s has an mmap of its own, which hides LuaJIT's mappings from libljtrim", word);
    }
    for (size_t i = 0; i < sizeof(allocators) / sizeof(allocators[0]); i++) {
        const struct ljt_object *o = find_object(d, allocators[i]);
        if (o != NULL || strstr(list, allocators[i]) != NULL)
            ljt_found(d, LJT_LEVEL_NOTE, "allocator", NULL,
                      "%s replaces malloc, which LuaJIT's own allocator does not use: no conflict",
                      o != NULL ? ljt_base_name(o->path) : allocators[i]);
    }
    if (d->pid != 0 && ljt_status_number(d->pid, "VmLck:", 10, 0) != 0)
        ljt_found(d, LJT_LEVEL_TODO, "locked memory",
                  "do without mlock and mlockall, or with RLIMIT_MEMLOCK=0",
                  "%llu KiB are locked: the kernel does not take back locked pages",
                  ljt_status_number(d->pid, "VmLck:", 10, 0));
}
