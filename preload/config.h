/*
 * config: the environment variables, LJTRIM_*.
 *
 * One table (ljt_config_options, in config_options.c) says everything about a variable: name, default, what is
 * allowed, unit and help. Parsing, validation, the complaint about a bad value, `ljtrim help` and docs/OPTIONS.md
 * all come from it. The values are copied: hosts such as nginx overwrite the environment block later (setproctitle).
 *
 * Never allocates, never exits or aborts, never depends on the locale, never reads the environment except
 * through the argument of ljt_config_load: it runs in a library constructor, before the host is set up. A bad
 * value costs one line and gets the default.
 *
 * Threads: ljt_config is written in the constructor, before any other thread of ours exists, and read without locks
 * ever after. What ljt_config_set may change later (the rows marked `runtime`) is _Atomic: each value by itself, no
 * order between two. It is all zero before the constructor, and enable == 0 means "do nothing".
 * Signals: reading ljt_config is async-signal-safe.
 */
#ifndef LJT_CONFIG_H
#define LJT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ljt_text;

enum ljt_mode {
    LJT_MODE_AUTO,    /* choose by the host; native is all there is to choose yet */
    LJT_MODE_NATIVE,  /* gate LuaJIT's own allocator and purge its free pages */
    LJT_MODE_PATCHED, /* the same, with an allocator of ours in place of LuaJIT's */
    LJT_MODE_OBSERVE, /* find the arenas and count, never touch one */
    LJT_MODE_OFF      /* pass everything through */
};

enum ljt_log_level { LJT_LOG_ERROR, LJT_LOG_WARN, LJT_LOG_INFO, LJT_LOG_DEBUG };

enum ljt_thp {
    LJT_THP_AUTO, /* keep huge pages out of Lua heaps where they would fill what was purged */
    LJT_THP_KEEP  /* leave them alone */
};

enum ljt_stats_format {
    LJT_STATS_TEXT,
    LJT_STATS_JSON,
    LJT_STATS_PROMETHEUS,
    LJT_STATS_AUTO /* in the configuration alone: text, but for a file whose name ends in .json or .prom */
};

enum ljt_gc_nudge {
    LJT_GC_NUDGE_AUTO, /* begin a collection in a quiet VM when it is likely to pay */
    LJT_GC_NUDGE_ON,   /* whenever the VM is quiet and has grown by LJTRIM_MIN_RECLAIM since the last one */
    LJT_GC_NUDGE_OFF
};

enum ljt_pressure_mode {
    LJT_PRESSURE_AUTO, /* ask the memory cgroup and the machine */
    LJT_PRESSURE_OFF   /* never ask */
};

/* Bits of ljt_config.debug. */
enum {
    LJT_DEBUG_POISON = 1u << 0, /* fill what is claimed, so that a use after free shows */
    LJT_DEBUG_VERIFY = 1u << 1  /* check the heap before and after every unit */
};

enum { LJT_CONFIG_PATH_SIZE = 1024 }; /* bytes of a path, the terminator included */

struct ljt_config {
    int enable;                      /* LJTRIM_ENABLE: 0 or 1 */
    enum ljt_mode mode;              /* LJTRIM_MODE */
    _Atomic uint64_t interval_ms;    /* LJTRIM_INTERVAL_MS: least time between two looks, 1 to 3600000 */
    _Atomic uint64_t decay_ms;       /* LJTRIM_DECAY_MS: how long a page must be free, 0 to 3600000 */
    _Atomic uint64_t min_reclaim;    /* LJTRIM_MIN_RECLAIM: bytes, 0 to 1 TiB */
    _Atomic double retain_pct;       /* LJTRIM_RETAIN_PCT: per cent of a busy VM's live bytes, 0 to 1000 */
    _Atomic double max_cpu_pct;      /* LJTRIM_MAX_CPU_PCT: per cent of one processor, 0.01 to 100 */
    _Atomic uint64_t max_hold_us;    /* LJTRIM_MAX_HOLD_US: longest hold of one unit, 1 to 10000 */
    enum ljt_pressure_mode pressure; /* LJTRIM_PRESSURE */
    enum ljt_thp thp;                /* LJTRIM_THP */
    _Atomic(enum ljt_gc_nudge) gc_nudge;   /* LJTRIM_GC_NUDGE */
    int idle_gc;                           /* LJTRIM_IDLE_GC: 0 or 1 */
    int signo;                             /* LJTRIM_SIGNAL: a signal that can be caught, or 0 for none */
    char log_path[LJT_CONFIG_PATH_SIZE];   /* LJTRIM_LOG: as given, %p not yet expanded; empty means stderr */
    _Atomic(enum ljt_log_level) log_level; /* LJTRIM_LOG_LEVEL */
    enum ljt_stats_format stats_format;    /* LJTRIM_STATS_FORMAT */
    char stats_file[LJT_CONFIG_PATH_SIZE]; /* LJTRIM_STATS_FILE: likewise with %p; empty means none */
    int growth;                            /* LJTRIM_GROWTH: 0 or 1 */
    _Atomic int stats_at_exit;             /* LJTRIM_STATS_AT_EXIT: 0 or 1 */
    unsigned debug;                        /* LJTRIM_DEBUG: LJT_DEBUG_ bits */
};

extern struct ljt_config ljt_config;

enum ljt_config_kind {
    LJT_CONFIG_BOOL,    /* int: 0 or 1 */
    LJT_CONFIG_WORD,    /* an enum, one of words[] */
    LJT_CONFIG_FLAGS,   /* unsigned: comma-separated words[], or none */
    LJT_CONFIG_NUMBER,  /* uint64_t: decimal, min to max */
    LJT_CONFIG_SIZE,    /* uint64_t: decimal bytes; K, M, G for 1024, 1024^2, 1024^3; min to max */
    LJT_CONFIG_DECIMAL, /* double: decimal fraction; min and max are in millionths */
    LJT_CONFIG_SIGNAL,  /* int: name, RTMIN+n, RTMAX-n, number, none */
    LJT_CONFIG_PATH     /* char[LJT_CONFIG_PATH_SIZE]; the default is a word, stored as empty */
};

struct ljt_config_word {
    const char *word;
    unsigned value;
};

struct ljt_config_option {
    const char *name;    /* "LJTRIM_DECAY_MS" */
    const char *initial; /* the default, as one would write it in the environment */
    const char *allowed; /* "a number of milliseconds from 0 to 3600000" */
    const char *unit;    /* "ms", "bytes", "us", "%", or "" */
    const char *help;    /* one or two sentences */
    enum ljt_config_kind kind;
    size_t offset;                       /* of the field in struct ljt_config */
    uint64_t min, max;                   /* NUMBER, SIZE, DECIMAL; inclusive */
    const struct ljt_config_word *words; /* WORD, FLAGS; the last one's word is NULL */
    bool runtime; /* ljt_config_set may change it: its field is _Atomic, and nobody keeps a copy */
};

extern const struct ljt_config_option ljt_config_options[];
extern const size_t ljt_config_option_count; /* LJT_CONFIG_OPTIONS_MAX at most */

enum { LJT_CONFIG_OPTIONS_MAX = 64 };

/*
 * Fill *out: defaults, then what `environment` (as environ; NULL for defaults alone) says. Of a name that
 * occurs twice the first counts, as with getenv.
 *
 * `complain` (may be NULL) is called for each bad value and each unknown LJTRIM_ name, at most 16 times and
 * once more to say that there were others. Its line has neither a "ljtrim: " in front nor a newline behind,
 * is at most LJT_CONFIG_LINE_MAX characters of printable ASCII, and lives only during the call. All calls
 * come after *out is complete, so that `complain` may open the log that *out names. Fits ljt_log_defer and
 * ljt_log_complaint of log.h.
 */
void ljt_config_load(char *const *environment, struct ljt_config *out,
                     void (*complain)(const char *line, void *arg), void *arg);

enum { LJT_CONFIG_LINE_MAX = 191 }; /* 200 with "ljtrim: " and the newline */

/*
 * Parse one value for one option into *out (only that option's field is written, and only on success).
 * Returns 0, or -EINVAL where the value is not allowed.
 */
int ljt_config_parse(const struct ljt_config_option *option, const char *value, struct ljt_config *out);

/* Append the value that `config` holds, as one would write it in the environment. */
void ljt_config_value(const struct ljt_config_option *option, const struct ljt_config *config,
                      struct ljt_text *out);

/*
 * Change a value of ljt_config while the process runs. `name` is a variable's, "LJTRIM_" and case apart: "decay_ms"
 * will do. On failure nothing changes, and `error` (may be NULL) gets the line that a bad variable would cost:
 * -ENOENT for a name that is none, -EINVAL for a value that is not allowed, -EPERM for what is fixed at the start.
 * Any thread. Async-signal-safe. What a change must set in motion is the caller's business.
 */
int ljt_config_set(const char *name, const char *value, struct ljt_text *error);

/* The option of that name, spelled as above, or NULL. */
const struct ljt_config_option *ljt_config_find(const char *name);

/* 1 where this process runs with raised privileges (AT_SECURE): the caller then ignores the environment. */
int ljt_config_is_secure(void);

/* All options as aligned text, lines below 80 columns, and as docs/OPTIONS.md. 8 KiB is room enough. */
void ljt_config_help(struct ljt_text *out);
void ljt_config_markdown(struct ljt_text *out);

#endif
