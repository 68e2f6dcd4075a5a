#include "policy.h"

static uint64_t quiet_after(uint64_t decay)
{
    uint64_t after = 2 * decay;
    return after < LJT_POLICY_QUIET_MIN   ? LJT_POLICY_QUIET_MIN
           : after > LJT_POLICY_QUIET_MAX ? LJT_POLICY_QUIET_MAX
                                          : after;
}

uint64_t ljt_policy_pulse(uint64_t decay)
{
    return quiet_after(decay) / 2;
}

void ljt_policy_observe(struct ljt_policy *p, uint64_t now, uint64_t seq, uint64_t decay)
{
    if (p->seen == 0) {
        p->seen = p->busy = now;
        p->seq = seq;
        return;
    }
    if (now - p->seen < ljt_policy_pulse(decay) / 2)
        return;
    double rate = (double)(seq - p->seq) / (double)(now - p->seen);
    p->peak -= p->peak / 64; /* forgotten over a minute or so of observations */
    if (rate > p->peak)
        p->peak = rate;
    if (rate > p->peak / LJT_POLICY_QUIET_SHARE)
        p->busy = now;
    p->quiet = now - p->busy >= quiet_after(decay);
    p->seq = seq;
    p->seen = now;
}

void ljt_policy_purged(struct ljt_policy *p, uint64_t now, uint64_t bytes)
{
    if (bytes == 0)
        return;
    if (p->opened == 0)
        p->opened = now;
    p->purged += bytes;
}

void ljt_policy_touched(struct ljt_policy *p, uint64_t bytes)
{
    p->early += bytes;
}

void ljt_policy_live(struct ljt_policy *p, uint64_t now, uint64_t live, uint64_t decay)
{
    uint64_t force = decay << p->stretch;
    if (force == 0) {
        p->high = p->high_before = 0;
        return;
    }
    if (now - p->high_since >= force) {
        p->high_before = now - p->high_since < 2 * force ? p->high : 0;
        p->high = 0;
        p->high_since = now;
    }
    if (live > p->high)
        p->high = live;
}

static void change(struct ljt_policy *p, int by, uint64_t decay)
{
    p->calm = 0;
    if (by > 0 && p->stretch < LJT_POLICY_STRETCH_MAX && decay << (p->stretch + 1) <= LJT_POLICY_DECAY_MAX)
        p->stretch++;
    if (by < 0 && p->stretch > 0)
        p->stretch--;
}

bool ljt_policy_judge(struct ljt_policy *p, uint64_t now, uint64_t decay, struct ljt_policy_verdict *verdict)
{
    *verdict = (struct ljt_policy_verdict){0};
    if (p->opened != 0 && now - p->opened < ljt_policy_decay(p, decay))
        return false;
    bool ended = p->opened != 0;
    if (ended)
        *verdict = (struct ljt_policy_verdict){.purged = p->purged,
                                               .early = p->early < p->purged ? p->early : p->purged};
    uint64_t kept = verdict->purged - verdict->early;
    if (verdict->purged >= LJT_POLICY_WINDOW_MIN && kept * 100 < verdict->purged * LJT_POLICY_BAD_PCT)
        change(p, +1, decay);
    else if (++p->calm >= LJT_POLICY_CALM)
        change(p, -1, decay);
    p->opened = p->purged = p->early = 0;
    return ended;
}

uint64_t ljt_policy_decay(const struct ljt_policy *p, uint64_t decay)
{
    return p->quiet ? decay : decay << p->stretch;
}

uint64_t ljt_policy_slack(const struct ljt_policy *p, uint64_t live, double retain_pct)
{
    if (p->quiet)
        return 0;
    uint64_t slack = (uint64_t)((double)live * retain_pct / 100.0);
    uint64_t high = p->high > p->high_before ? p->high : p->high_before;
    return p->stretch > 0 && high > live + slack ? high - live : slack;
}
