#include "spending.h"

#include "arena.h"
#include "budget.h"
#include "config.h"
#include "control.h"
#include "kernel.h"
#include "pressure.h"

static struct ljt_budget budget;
static struct {
    uint64_t cpu;      /* the thread's CPU time */
    uint64_t mutators; /* what mutators have spent in units */
    uint64_t faults;   /* what the faults that purges have caused are estimated at */
} spent, charged;      /* all in ns; charged: into the budget already */

static _Atomic uint64_t spent_until; /* a time; 0: there is something left */

static uint64_t mutators_cpu(void)
{
    uint64_t sum = 0;
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    for (unsigned i = 0; i < slots; i++)
        if (ljt_arena_is(&ljt_arenas[i], LJT_ARENA_ARMED)) /* else its slot may be under renewal */
            sum += atomic_load_explicit(&ljt_arenas[i].stats.unit_cpu, memory_order_relaxed);
    return sum;
}

static double cpu_percent(void)
{
    double percent = ljt_config.max_cpu_pct;
    return ljt_pressure_is_high() && percent < LJT_PRESSURE_CPU_PCT ? LJT_PRESSURE_CPU_PCT : percent;
}

void ljt_spending_open(uint64_t now)
{
    ljt_budget_open(&budget, now);
    spent.cpu = ljt_kernel.thread_cpu();
    spent.mutators = mutators_cpu();
    charged = spent;
}

void ljt_spending_add_faults(uint64_t bytes)
{
    spent.faults += ljt_budget_faults(bytes);
}

void ljt_spending_charge(uint64_t now)
{
    spent.cpu = ljt_kernel.thread_cpu();
    spent.mutators = mutators_cpu();
    uint64_t sum = spent.cpu - charged.cpu + (spent.faults - charged.faults);
    if (spent.mutators > charged.mutators) /* less: a slot was used again */
        sum += spent.mutators - charged.mutators;
    ljt_budget_update(&budget, now, cpu_percent(), sum);
    charged = spent;
    uint64_t wait = ljt_spending_wait();
    atomic_store_explicit(&spent_until, wait > 0 ? now + wait : 0, memory_order_relaxed);
}

uint64_t ljt_spending_pause(uint64_t now)
{
    uint64_t until = atomic_load_explicit(&spent_until, memory_order_relaxed);
    return until > now ? until - now : 0;
}

uint64_t ljt_spending_wait(void)
{
    return ljt_control_urgent() ? 0 : ljt_budget_wait(&budget, cpu_percent());
}
