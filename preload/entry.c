/*
 * entry: where the library comes to life, and how it follows its process through forks to its end.
 *
 *     constructor      configuration, log, next definitions, fork handlers; the signal handler, if LuaJIT is
 *                      linked. No thread, no output.
 *     first mapping    arena.c notices a LuaJIT's arena (interpose.c)
 *     growth           the gate goes in, the heap is proven (gate.c, heap.c), the signal handler at the latest
 *     2 MiB            the reclaimer's thread starts (reclaim.c)
 *     fork             holds are excluded; what only the parent's thread knew is wiped; the child goes on lazily
 *     exit             LJTRIM_STATS_AT_EXIT
 *
 * A guest never calls abort, exit or assert, and never returns an error to its host.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "arena.h"
#include "config.h"
#include "gate.h"
#include "kernel.h"
#include "log.h"
#include "module.h"
#include "next.h"
#include "reclaim.h"
#include "refuse.h"
#include "signals.h"
#include "stats.h"
#include "symbols.h"

static void before_fork(void)
{
    ljt_symbols_fork_prepare();
    ljt_arena_fork_prepare();
    ljt_gate_fork_prepare();
}

static void after_fork_in_parent(void)
{
    ljt_gate_fork_parent();
    ljt_arena_fork_parent();
    ljt_symbols_fork_parent();
}

static void after_fork_in_child(void)
{
    ljt_gate_fork_child();
}

__attribute__((constructor)) static void start(void)
{
    int saved = errno;
    struct ljt_config config;
    ljt_next_init();
    ljt_kernel_init();
    ljt_gate_init();
    ljt_config_load(ljt_config_is_secure() ? NULL : environ, &config, ljt_log_defer, NULL);
    ljt_log_open(&config);
    if (config.mode == LJT_MODE_OFF)
        config.enable = 0;
    if (config.enable && pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0)
        config.enable = 0; /* out of memory at the start of a process: it has other worries */
    ljt_config = config;
    if (config.enable) {
        ljt_refuse_init();
        ljt_symbols_init();
    }
    if (config.enable && ljt_module_luajit_loaded())
        ljt_signals_install();
    errno = saved;
}

__attribute__((destructor)) static void stop(void)
{
    if (ljt_config.enable && ljt_reclaim_started())
        ljt_stats_at_exit();
}
