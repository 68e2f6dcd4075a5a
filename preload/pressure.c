#include "pressure.h"

#include <stdatomic.h>
#include <stdint.h>

#include "cgroup.h"
#include "config.h"
#include "module.h"

/* To ask costs about 0.1 ms, once a second, or four times: a smaller budget is not spent on it. */
#define ASKING_CPU_PCT 0.1

static struct {
    struct ljt_cgroup_place place;
    bool known;                   /* the place has been looked for */
    uint64_t asked;               /* when; 0: never */
    uint64_t high;                /* when HIGH was last found; 0: never */
    uint64_t used, bound, mapped; /* bytes, when it was asked; bound SIZE_MAX: no limit */
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

/* What VMs have mapped: more than they use, and at hand without a system call. */
static uint64_t mapped(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < LJT_MODULES; i++)
        sum += atomic_load_explicit(&ljt_modules[i].mapped, memory_order_relaxed);
    return sum;
}

/* May usage have come near a limit, with so many bytes more than when it was asked for? */
static bool is_to_be_watched(uint64_t more)
{
    return ljt_pressure_level() != LJT_PRESSURE_NONE ||
           (pressure.bound != SIZE_MAX &&
            exceeds(pressure.used + more, pressure.bound, LJT_PRESSURE_WATCH_PCT));
}

uint64_t ljt_pressure_pulse(bool busy)
{
    return is_to_be_watched(0) || (busy && pressure.bound != SIZE_MAX) ? LJT_PRESSURE_INTERVAL_NEAR
                                                                       : LJT_PRESSURE_INTERVAL;
}

static bool is_due(uint64_t now)
{
    uint64_t passed = now - pressure.asked, maps = mapped();
    uint64_t more = maps > pressure.mapped ? maps - pressure.mapped : 0;
    return pressure.asked == 0 || passed >= LJT_PRESSURE_INTERVAL ||
           (passed >= LJT_PRESSURE_INTERVAL_NEAR && is_to_be_watched(more));
}

enum ljt_pressure_level ljt_pressure_check(uint64_t now)
{
    enum ljt_pressure_level before = ljt_pressure_level();
    if (ljt_config.pressure == LJT_PRESSURE_OFF || !is_due(now))
        return before;
    pressure.asked = now;
    pressure.mapped = mapped();
    if (!pressure.known)
        ljt_cgroup_find(&pressure.place, 0);
    pressure.known = true;
    struct ljt_cgroup_use use;
    ljt_cgroup_read(&pressure.place, &use);
    unsigned stalled =
        use.bound == SIZE_MAX && use.stalled == 0 ? ljt_cgroup_stalled("/proc/pressure/memory") : use.stalled;
    pressure.used = use.used;
    pressure.bound = use.bound;
    enum ljt_pressure_level level = ljt_pressure_judge(before, use.used, use.bound, stalled);
    if (level == LJT_PRESSURE_HIGH)
        pressure.high = now;
    else if (pressure.high != 0 && now - pressure.high < LJT_PRESSURE_LINGER)
        level = LJT_PRESSURE_HIGH;
    atomic_store_explicit(&pressure.level, (int)level, memory_order_relaxed);
    return level;
}

void ljt_pressure_forget(void)
{
    pressure.known = false;
    pressure.asked = pressure.high = 0;
    pressure.bound = SIZE_MAX;
    atomic_store_explicit(&pressure.level, LJT_PRESSURE_NONE, memory_order_relaxed);
}
