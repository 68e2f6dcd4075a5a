#include "refuse.h"

#include <link.h>
#include <stdatomic.h>
#include <string.h>

#include "config.h"
#include "kernel.h"
#include "log.h"
#include "module.h"
#include "sandbox.h"
#include "text.h"

static bool under_valgrind;

/* Every tool of valgrind's preloads an object of this name. */
static int is_valgrinds(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    return strstr(info->dlpi_name, "/vgpreload_core") != NULL;
}

void ljt_refuse_init(void)
{
    under_valgrind = dl_iterate_phdr(is_valgrinds, NULL) != 0;
}

static void say(const char *why)
{
    static struct ljt_once once;
    ljt_log_once(&once, LJT_LOG_WARN, "%s; Lua VMs are left alone", why);
}

bool ljt_refuse_look(const struct ljt_module *module)
{
    ljt_sandbox_ask();
    if (!ljt_sandbox_kills(LJT_CALL_PROCESS_VM_READV) || !ljt_sandbox_kills(LJT_CALL_MINCORE))
        return true;
    if (module->exports_luajit) /* of others it is not known whether they are a LuaJIT */
        say(ljt_sandbox_is_unknown() ? "what the seccomp filter kills for can't be tried (no child process)"
                                     : "a seccomp filter kills for process_vm_readv and mincore");
    return false;
}

static const char *reason(void)
{
    if (under_valgrind && ljt_config.mode == LJT_MODE_AUTO) /* who insists may count instructions */
        return "valgrind watches the memory of this process";
    if (ljt_config.mode == LJT_MODE_OBSERVE) /* it changes nothing, so it needs nothing */
        return NULL;
    if (ljt_sandbox_kills(LJT_CALL_MADVISE) || ljt_sandbox_kills(LJT_CALL_MINCORE))
        return "a seccomp filter kills for madvise or mincore";
    if (!ljt_kernel_probe_dontneed())
        return "MADV_DONTNEED does not give back zeroed pages here (locked memory? an emulator?)";
    return NULL;
}

bool ljt_refuse_vm(void)
{
    static bool known, refused;
    /* A child may have shut itself in since. */
    bool killed = ljt_sandbox_kills(LJT_CALL_MADVISE) || ljt_sandbox_kills(LJT_CALL_MINCORE);
    if (!known || (killed && !refused)) {
        const char *why = reason();
        refused = why != NULL;
        known = true;
        if (refused)
            say(why);
    }
    return refused;
}

void ljt_refuse_layout(const struct ljt_module *module, unsigned long size)
{
    static struct ljt_once once;
    if (module->exports_luajit)
        ljt_log_once(
            &once, LJT_LOG_WARN,
            "the layout of LuaJIT's allocator in %s is not known (a state of %lu bytes; LJTRIM_MODE=patched "
            "brings another); its VMs are left alone",
            module->path[0] != '\0' ? module->path : "the program", size);
}

void ljt_refuse_unreadable(const struct ljt_module *module, int error)
{
    static struct ljt_once once;
    char buf[64];
    struct ljt_text why = LJT_TEXT(buf);
    if (!module->exports_luajit)
        return;
    ljt_log_reason(&why, error);
    ljt_log_once(&once, LJT_LOG_WARN,
                 "a Lua VM's memory can't be read (process_vm_readv: %s); it is left alone until it can be",
                 buf);
}
