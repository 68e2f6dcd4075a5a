#include "fall.h"

#include "arena.h"
#include "config.h"
#include "policy.h"
#include "purge.h"
#include "spending.h"

#define MS ((uint64_t)1000000)

/* It is asked whether the heap has fallen four times a decay, at most so often; by how much, at least. */
#define PULSE_MIN (50 * MS)
#define SHARE 16
#define MIN_RECLAIMS 4

/*
 * What was unmapped and is mapped again has its price, too: as faults, and for the decay. The bytes that an arena has
 * mapped in all are what it has now and what it gave back.
 */
void ljt_fall_count_returns(struct ljt_arena *a)
{
    struct ljt_fall *f = &a->pace.fall;
    if (!ljt_arena_is_patched(a))
        return;
    uint64_t grown = ljt_arena_footprint(a) + f->unmapped;
    uint64_t back = grown > f->grown ? grown - f->grown : 0;
    back = back < f->away ? back : f->away;
    uint64_t early = back < f->away_fresh ? back : f->away_fresh;
    f->grown = grown;
    f->away -= back;
    f->away_fresh -= early;
    a->stats.refaults += back;
    ljt_spending_add_faults(back);
    ljt_policy_touched(&a->pace.policy, early, ljt_config.decay_ms * MS);
}

unsigned ljt_fall_unmap(struct ljt_arena *a, uint64_t now)
{
    struct ljt_fall *f = &a->pace.fall;
    uint64_t before = a->stats.purged;
    unsigned n = ljt_purge_gone(a, LJT_ARENA_ARMED);
    uint64_t resident = a->stats.purged - before;
    f->away += resident;
    f->away_fresh += resident;
    ljt_policy_purged(&a->pace.policy, now, resident, ljt_config.decay_ms * MS);
    return n;
}

static bool watched(const struct ljt_arena *a)
{
    return ljt_arena_is_patched(a) && !a->pace.policy.quiet && a->pace.policy.stretch == 0 &&
           ljt_config.mode != LJT_MODE_OBSERVE;
}

static uint64_t fall_pulse(void)
{
    uint64_t pulse = ljt_config.decay_ms * MS / 4;
    return pulse < PULSE_MIN ? PULSE_MIN : pulse;
}

/* What frees it goes on while the VM allocates: a fall is followed until there is nothing more to unmap. */
bool ljt_fall_has_come(struct ljt_arena *a, uint64_t now, uint64_t live)
{
    struct ljt_fall *f = &a->pace.fall;
    uint64_t least = MIN_RECLAIMS * ljt_config.min_reclaim;
    uint64_t enough = ljt_arena_footprint(a) / SHARE < least ? least : ljt_arena_footprint(a) / SHARE;
    if (live > f->from || live == 0 || !watched(a)) /* 0: it could not be read */
        f->from = live;
    bool falling = f->on || f->from - live >= enough;
    if (!falling || !watched(a) || now - f->asked < fall_pulse())
        return false;
    f->on = f->from - live >= enough;
    f->from = live;
    f->asked = now;
    ljt_fall_count_returns(a);
    return true;
}
