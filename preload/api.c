/*
 * api: what ljtrim.h declares. Checks its arguments, and leaves the work to the modules that do it.
 */
#include "ljtrim.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "config.h"
#include "control.h"
#include "log.h"
#include "reclaim.h"
#include "stats.h"
#include "text.h"
#include "version.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT const char *ljtrim_version(void)
{
    return LJT_VERSION;
}

EXPORT int ljtrim_dump(void)
{
    if (!ljt_reclaim_running())
        return -1;
    ljt_reclaim_request_dump();
    return 0;
}

EXPORT int ljtrim_stats(const char *format, char *buf, size_t size)
{
    static const char *const word[] = {
        [LJT_STATS_TEXT] = "text", [LJT_STATS_JSON] = "json", [LJT_STATS_PROMETHEUS] = "prometheus"};
    if (format == NULL || buf == NULL)
        return -EFAULT;
    for (unsigned i = 0; i < sizeof(word) / sizeof(word[0]); i++) {
        if (strcmp(format, word[i]) != 0)
            continue;
        int saved = errno;
        size_t n = ljt_stats_format((enum ljt_stats_format)i, buf, size < INT_MAX ? size : INT_MAX);
        errno = saved;
        return n > 0 ? (int)n : -ENOSPC;
    }
    return -EINVAL;
}

EXPORT int ljtrim_set(const char *name, const char *value, char *error, size_t size)
{
    struct ljt_text line;
    ljt_text_init(&line, error, error != NULL ? size : 0);
    if (name == NULL || value == NULL)
        return -EFAULT;
    int result = ljt_config_set(name, value, &line);
    if (result == 0) {
        ljt_log_set_level(ljt_config.log_level);
        ljt_control_changed();
    }
    return result;
}

EXPORT int ljtrim_get(const char *name, char *buf, size_t size)
{
    struct ljt_text value;
    ljt_text_init(&value, buf, buf != NULL ? size : 0);
    const struct ljt_config_option *option = name != NULL ? ljt_config_find(name) : NULL;
    if (option == NULL)
        return name == NULL ? -EFAULT : -ENOENT;
    ljt_config_value(option, &ljt_config, &value);
    return (int)(value.len + value.lost);
}

EXPORT int64_t ljtrim_trim(uint64_t max_bytes, uint32_t max_ms, uint32_t flags)
{
    if (max_ms == 0 || max_ms > LJT_CONTROL_MS_MAX || (flags & ~(uint32_t)LJTRIM_NO_WAIT) != 0)
        return -EINVAL;
    return ljt_control_trim(max_bytes, max_ms, (flags & LJTRIM_NO_WAIT) == 0);
}

EXPORT int ljtrim_pause(uint32_t max_ms)
{
    return max_ms > LJT_CONTROL_MS_MAX ? -EINVAL : ljt_control_pause(max_ms);
}

EXPORT int ljtrim_resume(void)
{
    return ljt_control_resume();
}
