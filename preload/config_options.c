/*
 * The table of variables: all that is said about one stands in its row (config.h says who reads it).
 */
#include "config.h"

#include <assert.h>

static const struct ljt_config_word mode_words[] = {
    {"auto", LJT_MODE_AUTO},       {"native", LJT_MODE_NATIVE}, {"patched", LJT_MODE_PATCHED},
    {"observe", LJT_MODE_OBSERVE}, {"off", LJT_MODE_OFF},       {NULL, 0},
};

static const struct ljt_config_word thp_words[] = {
    {"auto", LJT_THP_AUTO},
    {"keep", LJT_THP_KEEP},
    {NULL, 0},
};
static const struct ljt_config_word pressure_words[] = {
    {"auto", LJT_PRESSURE_AUTO}, {"off", LJT_PRESSURE_OFF}, {NULL, 0}};

static const struct ljt_config_word gc_nudge_words[] = {
    {"auto", LJT_GC_NUDGE_AUTO},
    {"on", LJT_GC_NUDGE_ON},
    {"off", LJT_GC_NUDGE_OFF},
    {NULL, 0},
};

static const struct ljt_config_word log_level_words[] = {
    {"error", LJT_LOG_ERROR},
    {"warn", LJT_LOG_WARN},
    {"info", LJT_LOG_INFO},
    {"debug", LJT_LOG_DEBUG},
    {NULL, 0},
};

static const struct ljt_config_word stats_format_words[] = {
    {"auto", LJT_STATS_AUTO},
    {"text", LJT_STATS_TEXT},
    {"json", LJT_STATS_JSON},
    {"prometheus", LJT_STATS_PROMETHEUS},
    {NULL, 0},
};

static const struct ljt_config_word growth_words[] = {
    {"off", 0},
    {"on", 1},
    {NULL, 0},
};

static const struct ljt_config_word debug_words[] = {
    {"poison", LJT_DEBUG_POISON},
    {"verify", LJT_DEBUG_VERIFY},
    {NULL, 0},
};

/* Words and flags are read and written as unsigned: enumerations without negative values are just that. */
static_assert(sizeof(enum ljt_mode) == sizeof(unsigned), "an enumeration is stored as unsigned");
static_assert(sizeof(enum ljt_log_level) == sizeof(unsigned), "an enumeration is stored as unsigned");

#define FIELD(field) .offset = offsetof(struct ljt_config, field)
/* The bounds stand in the text and in the numbers: written once, they can't drift apart. */
#define NUMBER(what, lowest, highest)                                                           \
    .kind = LJT_CONFIG_NUMBER, .allowed = "a number of " what " from " #lowest " to " #highest, \
    .min = (lowest), .max = (highest)

const struct ljt_config_option ljt_config_options[] = {
    {
        .name = "LJTRIM_ENABLE",
        FIELD(enable),
        .kind = LJT_CONFIG_BOOL,
        .initial = "1",
        .allowed = "0 or 1",
        .unit = "",
        .help = "0 makes the library pass every call through and do nothing else.",
    },
    {
        .name = "LJTRIM_MODE",
        FIELD(mode),
        .kind = LJT_CONFIG_WORD,
        .words = mode_words,
        .initial = "auto",
        .allowed = "auto, native, patched, observe or off",
        .unit = "",
        .help = "native returns the free pages of LuaJIT's own allocator. patched serves the VM by an "
                "allocator of the library's in its place, on the same heap (GC64 only, else as native). "
                "A LuaJIT whose heap is not known gets it when the VM is made, where lua_newstate allows. "
                "observe finds arenas and counts, but touches nothing. off is LJTRIM_ENABLE=0. auto is "
                "native: it takes no VM's allocator away.",
    },
    {
        .name = "LJTRIM_INTERVAL_MS",
        .runtime = true,
        FIELD(interval_ms),
        NUMBER("milliseconds", 1, 3600000),
        .initial = "1000",
        .unit = "ms",
        .help = "The least time between two looks at a busy VM.",
    },
    {
        .name = "LJTRIM_DECAY_MS",
        .runtime = true,
        FIELD(decay_ms),
        NUMBER("milliseconds", 0, 3600000),
        .initial = "1000",
        .unit = "ms",
        .help =
            "How long a page must have been free before it goes back to the kernel. Shorter saves "
            "memory, longer saves the page faults of memory that is soon used again. Of a patched heap that "
            "falls, segments without a block in use go within a quarter of it.",
    },
    {
        .name = "LJTRIM_MIN_RECLAIM",
        .runtime = true,
        FIELD(min_reclaim),
        .kind = LJT_CONFIG_SIZE,
        .min = 0,
        .max = UINT64_C(1) << 40,
        .initial = "1M",
        .allowed = "a size from 0 to 1024G: bytes, or a number with K, M or G",
        .unit = "bytes",
        .help = "With less than this to return, a VM is not worth a look.",
    },
    {
        .name = "LJTRIM_RETAIN_PCT",
        .runtime = true,
        FIELD(retain_pct),
        .kind = LJT_CONFIG_DECIMAL,
        .min = 0,
        .max = UINT64_C(1000) * 1000000,
        .initial = "5",
        .allowed = "a percentage from 0 to 1000",
        .unit = "%",
        .help = "A busy VM keeps free pages worth this share of its live bytes. One that has grown quiet "
                "keeps none.",
    },
    {
        .name = "LJTRIM_MAX_CPU_PCT",
        .runtime = true,
        FIELD(max_cpu_pct),
        .kind = LJT_CONFIG_DECIMAL,
        .min = 10000,
        .max = 100000000,
        .initial = "1",
        .allowed = "a percentage from 0.01 to 100",
        .unit = "%",
        .help = "The share of one processor that the library may cost at most: its own work, and the page "
                "faults that it causes.",
    },
    {
        .name = "LJTRIM_MAX_HOLD_US",
        .runtime = true,
        FIELD(max_hold_us),
        NUMBER("microseconds", 1, 10000),
        .initial = "20",
        .unit = "us",
        .help = "The longest time that the VM's heap may be held. What the VM does itself it does in eighths "
                "of that, one an allocation.",
    },
    {
        .name = "LJTRIM_PRESSURE",
        FIELD(pressure),
        .kind = LJT_CONFIG_WORD,
        .initial = "auto",
        .allowed = "auto or off",
        .unit = "",
        .help =
            "auto: while the memory cgroup is close to its limit, or tasks stall for memory, do not wait for "
            "LJTRIM_DECAY_MS, keep no slack, and use up to 20% of a processor. off: never ask.",
        .words = pressure_words,
    },
    {
        .name = "LJTRIM_THP",
        FIELD(thp),
        .kind = LJT_CONFIG_WORD,
        .words = thp_words,
        .initial = "auto",
        .allowed = "auto or keep",
        .unit = "",
        .help =
            "auto: where transparent huge pages are always on, keep them out of Lua heaps, since they fill "
            "what was returned, and split those of which a part is returned. keep: leave them alone.",
    },
    {
        .name = "LJTRIM_GC_NUDGE",
        .runtime = true,
        FIELD(gc_nudge),
        .kind = LJT_CONFIG_WORD,
        .words = gc_nudge_words,
        .initial = "auto",
        .allowed = "auto, on or off",
        .unit = "",
        .help =
            "auto: a VM that has become quiet begins a garbage collection by itself when that is likely to "
            "free much. on: whenever it is quiet and has grown by LJTRIM_MIN_RECLAIM since the last one. "
            "off: never. A collector that the program has stopped, or given a pause above 200, is left "
            "alone.",
    },
    {
        .name = "LJTRIM_IDLE_GC",
        FIELD(idle_gc),
        .kind = LJT_CONFIG_BOOL,
        .initial = "0",
        .allowed = "0 or 1",
        .unit = "",
        .help =
            "1: a program that waits in epoll_wait, poll, select or their kin (epoll_pwait, "
            "epoll_pwait2, ppoll, "
            "pselect), and has no other threads, collects the garbage of its VMs meanwhile, in short "
            "steps, until "
            "the first event. If finalizers or a signal's handler may have run, the wait ends with EINTR.",
    },
    {
        .name = "LJTRIM_SIGNAL",
        FIELD(signo),
        .kind = LJT_CONFIG_SIGNAL,
        .initial = "USR2",
        .allowed = "none, or the name or number of a signal that reports no fault: USR2, RTMIN+1, 10",
        .unit = "",
        .help = "The signal that writes the statistics to the log. The host's own handler still runs.",
    },
    {
        .name = "LJTRIM_LOG",
        FIELD(log_path),
        .kind = LJT_CONFIG_PATH,
        .initial = "stderr",
        .allowed = "stderr, or a path shorter than 1024 bytes in which %p is the process id",
        .unit = "",
        .help =
            "Where lines and statistics go. A file is opened at the first line, appended to, and never "
            "reached through a symbolic link. A new one has mode 0600; one that was there must belong to the "
            "process's user or root, and have no other name. Several processes may share one.",
    },
    {
        .name = "LJTRIM_LOG_LEVEL",
        .runtime = true,
        FIELD(log_level),
        .kind = LJT_CONFIG_WORD,
        .words = log_level_words,
        .initial = "warn",
        .allowed = "error, warn, info or debug",
        .unit = "",
        .help = "The least important lines that are still written. At warn the library is silent while all "
                "is well.",
    },
    {
        .name = "LJTRIM_STATS_FORMAT",
        FIELD(stats_format),
        .kind = LJT_CONFIG_WORD,
        .words = stats_format_words,
        .initial = "auto",
        .allowed = "auto, text, json or prometheus",
        .unit = "",
        .help = "How statistics are written, to the log and to LJTRIM_STATS_FILE. auto: as text, but into a "
                "file whose name ends in .json or .prom as that says.",
    },
    {
        .name = "LJTRIM_STATS_FILE",
        FIELD(stats_file),
        .kind = LJT_CONFIG_PATH,
        .initial = "none",
        .allowed = "none, or a path shorter than 1024 bytes in which %p is the process id",
        .unit = "",
        .help = "A file that holds the statistics, replaced as a whole when they have changed, at most once "
                "in LJTRIM_INTERVAL_MS, readable by its owner alone. Each process needs a name of its own. "
                "A Prometheus file goes when its process exits.",
    },
    {
        .name = "LJTRIM_STATS_AT_EXIT",
        .runtime = true,
        FIELD(stats_at_exit),
        .kind = LJT_CONFIG_BOOL,
        .initial = "0",
        .allowed = "0 or 1",
        .unit = "",
        .help = "1 writes the statistics to the log, and to LJTRIM_STATS_FILE for good, when a process exits "
                "whose heap has grown beyond 2 MiB.",
    },
    {
        .name = "LJTRIM_GROWTH",
        FIELD(growth),
        .kind = LJT_CONFIG_WORD,
        .words = growth_words,
        .initial = "off",
        .allowed = "off or on",
        .unit = "",
        .help =
            "on keeps a list of the Lua functions and C callers that make heaps grow, for the dump and for "
            "ljtrim stats --growth. Costs a growing VM 20 us, fifty times a second at most.",
    },
    {
        .name = "LJTRIM_DEBUG",
        FIELD(debug),
        .kind = LJT_CONFIG_FLAGS,
        .words = debug_words,
        .initial = "none",
        .allowed = "none, poison, verify, or poison,verify",
        .unit = "",
        .help = "For tests, slow. poison fills free memory with a pattern; verify checks the heap before and "
                "after every unit of work.",
    },
};

static_assert(sizeof(ljt_config_options) / sizeof(ljt_config_options[0]) <= LJT_CONFIG_OPTIONS_MAX,
              "a bit for each");

const size_t ljt_config_option_count = sizeof(ljt_config_options) / sizeof(ljt_config_options[0]);
