#include "pressure.h"

#include <stdatomic.h>
#include <stdint.h>

#include "cgroup.h"
#include "config.h"

/* To ask costs about 0.1 ms, once a second: a smaller budget is not spent on it. */
#define ASKING_CPU_PCT 0.1

static struct {
    struct ljt_cgroup_place place;
    bool known;     /* the place has been looked for */
    uint64_t asked; /* when; 0: never */
    _Atomic int level;
} pressure;

static bool exceeds(uint64_t used, uint64_t bound, unsigned percent)
{
    return (double)used * 100 >= (double)bound * percent;
}

enum ljt_pressure_level ljt_pressure_judge(enum ljt_pressure_level before, uint64_t used, uint64_t bound,
                                           unsigned stalled)
{
    bool limited = bound != SIZE_MAX;
    unsigned high = LJT_PRESSURE_HIGH_PCT - (before == LJT_PRESSURE_HIGH ? LJT_PRESSURE_SLIP_PCT : 0);
    unsigned near = LJT_PRESSURE_NEAR_PCT - (before != LJT_PRESSURE_NONE ? LJT_PRESSURE_SLIP_PCT : 0);
    if (stalled >= LJT_PRESSURE_STALLED || (limited && exceeds(used, bound, high)))
        return LJT_PRESSURE_HIGH;
    return stalled >= LJT_PRESSURE_STALLED / 2 || (limited && exceeds(used, bound, near)) ? LJT_PRESSURE_NEAR
                                                                                          : LJT_PRESSURE_NONE;
}

enum ljt_pressure_level ljt_pressure_level(void)
{
    return (enum ljt_pressure_level)atomic_load_explicit(&pressure.level, memory_order_relaxed);
}

bool ljt_pressure_is_worth_a_wake(void)
{
    return ljt_config.pressure != LJT_PRESSURE_OFF && ljt_config.max_cpu_pct >= ASKING_CPU_PCT;
}

enum ljt_pressure_level ljt_pressure_check(uint64_t now)
{
    enum ljt_pressure_level before = ljt_pressure_level();
    uint64_t interval = before == LJT_PRESSURE_NONE ? LJT_PRESSURE_INTERVAL : LJT_PRESSURE_INTERVAL_NEAR;
    if (ljt_config.pressure == LJT_PRESSURE_OFF || (pressure.asked != 0 && now - pressure.asked < interval))
        return before;
    pressure.asked = now;
    if (!pressure.known)
        ljt_cgroup_find(&pressure.place, 0);
    pressure.known = true;
    struct ljt_cgroup_use use;
    ljt_cgroup_read(&pressure.place, &use);
    unsigned stalled =
        use.bound == SIZE_MAX && use.stalled == 0 ? ljt_cgroup_stalled("/proc/pressure/memory") : use.stalled;
    enum ljt_pressure_level level = ljt_pressure_judge(before, use.used, use.bound, stalled);
    atomic_store_explicit(&pressure.level, (int)level, memory_order_relaxed);
    return level;
}

void ljt_pressure_forget(void)
{
    pressure.known = false;
    pressure.asked = 0;
    atomic_store_explicit(&pressure.level, LJT_PRESSURE_NONE, memory_order_relaxed);
}
