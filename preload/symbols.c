#include "symbols.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "config.h"
#include "gate.h"
#include "kernel.h"
#include "log.h"
#include "reclaim.h"
#include "sandbox.h"
#include "symtab.h"
#include "text.h"
#include "thread.h"

#define COMPANION "libljtrim-symtab.so"

_Static_assert(LJT_MODULE_RANGES == LJT_SYMTAB_FUNCTIONS, "a range for each function");

/* How long a VM waits for another one that is reading symbols, and a fork for either. */
#define PATIENCE ((uint64_t)10000000)

static char companion[1024]; /* "": there is none */

/* ---- Where it is ---- */

static int find_ourselves(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    uintptr_t self = (uintptr_t)&find_ourselves;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || self - (info->dlpi_addr + p->p_vaddr) >= p->p_memsz)
            continue;
        const char *path = info->dlpi_name, *slash = strrchr(path, '/');
        if (slash == NULL)
            return 1;
        size_t directory = (size_t)(slash + 1 - path), at = 0;
        /* A daemon changes its directory; afterwards a relative path means something else. */
        if (path[0] != '/') {
            if (directory + sizeof(COMPANION) + 1 >= sizeof(companion) ||
                getcwd(companion, sizeof(companion) - directory - sizeof(COMPANION) - 1) == NULL)
                return 1;
            at = strlen(companion);
            companion[at++] = '/';
        }
        if (at + directory + sizeof(COMPANION) > sizeof(companion))
            at = 0;
        else
            memcpy(companion + at, path, directory), at += directory;
        memcpy(companion + at, COMPANION, at == 0 ? 0 : sizeof(COMPANION));
        return 1;
    }
    return 0;
}

void ljt_symbols_init(void)
{
    if (ljt_config_is_secure()) /* it was not asked for: nothing more is loaded into a privileged process */
        return;
    int saved = errno;
    dl_iterate_phdr(find_ourselves, NULL);
    errno = saved;
}

void ljt_symbols_use(const char *path)
{
    struct ljt_text t = LJT_TEXT(companion);
    ljt_text_string(&t, path);
}

/* ---- Reading ---- */

static struct ljt_symtab found; /* guarded by ljt_wiped.symbols: too large for a stack that we don't know */

/* Cut where it is too long. */
static void say(struct ljt_module *mod, const char *what, const char *more)
{
    struct ljt_text t = LJT_TEXT(mod->symbols.text);
    ljt_text_string(&t, what);
    if (more[0] == '\0')
        return;
    ljt_text_string(&t, " (");
    ljt_text_foreign(&t, more, sizeof(mod->symbols.text) - t.len - 2);
    ljt_text_string(&t, ")");
}

static void keep(struct ljt_module *mod)
{
    struct ljt_module_symbols *s = &mod->symbols;
    s->count = found.count;
    s->all = !found.more;
    s->functions = 0;
    for (unsigned i = 0; i < found.count; i++) {
        s->range[i].lo = (uintptr_t)found.function[i].lo;
        s->range[i].hi = (uintptr_t)found.function[i].hi;
        if (found.function[i].role == LJT_SYMTAB_F && found.function[i].whole &&
            s->functions < sizeof(s->lj_alloc_f) / sizeof(s->lj_alloc_f[0]))
            s->lj_alloc_f[s->functions++] = (uintptr_t)found.function[i].lo;
    }
    if (found.source == LJT_SYMTAB_NONE)
        say(mod, "none (stripped)", "");
    else
        say(mod,
            found.source == LJT_SYMTAB_SYMTAB      ? ".symtab"
            : found.source == LJT_SYMTAB_DEBUGDATA ? ".gnu_debugdata"
            : found.source == LJT_SYMTAB_DYNSYM    ? ".dynsym"
                                                   : "debug file",
            found.source == LJT_SYMTAB_DEBUG_FILE ? found.source_path : "");
}

/* Opening files is not among what sandbox.c tries out; where it found that this filter kills, nothing is risked. */
static bool is_sandboxed(void)
{
    for (int call = 0; call < LJT_CALLS; call++)
        if (ljt_sandbox_kills((enum ljt_sandbox_call)call))
            return true;
    return false;
}

struct ljt_symbols_callers ljt_symbols_callers;

/* For good: other VMs may be sampled at any time from now on. */
static void keep_open(void *handle)
{
    ljt_callers_name_fn *name = (ljt_callers_name_fn *)dlsym(handle, LJT_CALLERS_NAME_NAME);
    ljt_callers_unwind_fn *unwind = (ljt_callers_unwind_fn *)dlsym(handle, LJT_CALLERS_UNWIND_NAME);
    if (name == NULL || unwind == NULL)
        return;
    ljt_symbols_callers.name = name;
    ljt_symbols_callers.unwind = unwind;
}

static void read_symbols(struct ljt_module *mod, uintptr_t pc)
{
    if (companion[0] == '\0') {
        say(mod, "none", "not looked for");
        return;
    }
    if (is_sandboxed()) {
        say(mod, "none", "not looked for: a sandbox kills for system calls");
        return;
    }
    void *handle = dlopen(companion, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        (void)dlerror(); /* not the host's to find */
        say(mod, "none", COMPANION " can't be loaded");
        return;
    }
    const unsigned *version = dlsym(handle, LJT_SYMTAB_VERSION_NAME);
    ljt_symtab_find_fn *find = (ljt_symtab_find_fn *)dlsym(handle, LJT_SYMTAB_FIND_NAME);
    if (version == NULL || find == NULL || *version != LJT_SYMTAB_VERSION) {
        (void)dlerror();
        say(mod, "none", COMPANION " is of another version");
    } else if (find(&found, pc) != 0) {
        say(mod, "none", found.why);
    } else {
        keep(mod);
    }
    if (ljt_config.growth && version != NULL && *version == LJT_SYMTAB_VERSION)
        keep_open(handle);
    else
        dlclose(handle);
    if (mod->symbols.count == 0)
        ljt_log(LJT_LOG_DEBUG, "symbols of %s: %s", mod->path, mod->symbols.text);
}

/* ---- The lock, and those who have found it taken ---- */

static _Atomic bool missed; /* a VM was not served: who gives the lock back has it proven again */

static bool lock_in_time(void)
{
    for (uint64_t start = ljt_kernel.now(); !ljt_lock_try(&ljt_wiped.symbols);)
        if (ljt_kernel.now() - start > PATIENCE)
            return false;
    return true;
}

/* Pairs with miss: one of the two sees the other. */
static void unlock(void)
{
    ljt_lock_release(&ljt_wiped.symbols);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_exchange_explicit(&missed, false, memory_order_seq_cst))
        ljt_arena_prove_waiting();
}

static void miss(void)
{
    atomic_store_explicit(&missed, true, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
}

/* ---- Getting ready ---- */

static bool is_ready(struct ljt_module *mod)
{
    return atomic_load_explicit(&mod->symbols.read, memory_order_acquire) && mod->pinned;
}

/* Under the lock. */
static void make_ready(struct ljt_module *mod, uintptr_t pc)
{
    if (!atomic_load_explicit(&mod->symbols.read, memory_order_relaxed)) {
        read_symbols(mod, pc);
        atomic_store_explicit(&mod->symbols.read, true, memory_order_release);
    }
    ljt_module_pin(mod);
}

/* For a thread of its own; written and read by who has the lock. */
static struct {
    struct ljt_module *mod;
    uintptr_t pc;
} errand;
static _Atomic uint32_t errands; /* done; a futex */

static void *run_errand(void *unused)
{
    (void)unused;
    make_ready(errand.mod, errand.pc);
    atomic_fetch_add_explicit(&errands, 1, memory_order_release); /* before another errand can begin */
    unlock();                                                     /* what the VM's thread has taken */
    ljt_kernel.futex_wake((const volatile void *)&errands, INT32_MAX);
    return NULL;
}

/* Under the lock, which it gives back. False if the answer is still to come: then who gives the lock back has it. */
static bool send_errand(struct ljt_module *mod, uintptr_t pc)
{
    static struct ljt_once once;
    uint32_t before = atomic_load_explicit(&errands, memory_order_relaxed);
    errand.mod = mod;
    errand.pc = pc;
    int err = ljt_thread_start(run_errand, NULL);
    if (err != 0) {
        ljt_log_once(&once, LJT_LOG_WARN,
                     "a thread can't be started (%s); Lua VMs that are new keep their memory", strerror(err));
        unlock();
        return true;
    }
    uint64_t start = ljt_kernel.now(), passed = 0;
    while (atomic_load_explicit(&errands, memory_order_acquire) == before && passed < PATIENCE) {
        ljt_kernel.futex_wait((const volatile void *)&errands, before, PATIENCE - passed);
        passed = ljt_kernel.now() - start;
    }
    return atomic_load_explicit(&errands, memory_order_acquire) != before;
}

bool ljt_symbols_ready(struct ljt_module *mod, uintptr_t pc)
{
    if (is_ready(mod))
        return true;
    if (ljt_reclaim_is_forbidden()) /* the loader allocates, too, and such a child is of no use to us anyway */
        return false;
    int saved = errno;
    bool locked = lock_in_time();
    if (!locked) {
        miss();
        locked = ljt_lock_try(&ljt_wiped.symbols);
    }
    if (locked && !is_ready(mod) && ljt_reclaim_has_company()) {
        /* No miss where there is no answer to wait for: two VMs would have each other proven again without end. */
        if (!send_errand(mod, pc))
            miss();
    } else if (locked) {
        if (!is_ready(mod))
            make_ready(mod, pc);
        unlock();
    }
    errno = saved;
    return is_ready(mod);
}

const char *ljt_symbols_contradict(struct ljt_module *mod, uintptr_t allocf, uintptr_t born)
{
    struct ljt_module_symbols *s = &mod->symbols;
    if (!atomic_load_explicit(&s->read, memory_order_acquire) || s->functions == 0)
        return NULL;
    bool agrees = false;
    for (unsigned i = 0; i < s->functions; i++)
        agrees |= s->lj_alloc_f[i] == allocf;
    if (!agrees) {
        atomic_fetch_add_explicit(&s->contradicted, 1, memory_order_relaxed);
        return "its allocator is not lj_alloc_f, by the symbols of its object";
    }
    bool known = false;
    for (unsigned i = 0; i < s->count; i++)
        known |= born >= s->range[i].lo && born < s->range[i].hi;
    if (known && s->all)
        atomic_store_explicit(&s->narrow, true, memory_order_release);
    return NULL;
}

bool ljt_symbols_enter(void)
{
    return ljt_symbols_callers.unwind != NULL && ljt_lock_try(&ljt_wiped.symbols);
}

void ljt_symbols_leave(void)
{
    unlock();
}

/* ---- Fork ---- */

/* Of the thread: two may fork at once, and each gives back what it took itself. */
static __thread bool taken;

/* With a bound: who forks may hold the loader's lock, for which the reader waits. */
void ljt_symbols_fork_prepare(void)
{
    taken = lock_in_time();
}

void ljt_symbols_fork_parent(void)
{
    if (taken)
        unlock();
    taken = false;
}
