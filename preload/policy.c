#include "policy.h"

#include <string.h>

static uint64_t quiet_after(uint64_t decay)
{
    uint64_t after = 2 * decay;
    return after < LJT_POLICY_QUIET_MIN   ? LJT_POLICY_QUIET_MIN
           : after > LJT_POLICY_QUIET_MAX ? LJT_POLICY_QUIET_MAX
                                          : after;
}

/* The stretch may be older than a change of the configured decay. */
static uint64_t stretched(const struct ljt_policy *p, uint64_t decay)
{
    uint64_t most = decay > LJT_POLICY_DECAY_MAX ? decay : LJT_POLICY_DECAY_MAX;
    return decay << p->stretch < most ? decay << p->stretch : most;
}

void ljt_policy_observe(struct ljt_policy *p, uint64_t now, uint64_t seq, uint64_t decay)
{
    if (p->seen == 0) {
        p->seen = p->busy = now;
        p->seq = seq;
        return;
    }
    if (now - p->seen < quiet_after(decay) / 4)
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

static uint64_t more(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Stretches the decay, or shortens it again. */
static void change(struct ljt_policy *p, int by, uint64_t decay)
{
    p->calm = 0;
    if (by > 0 && p->stretch < LJT_POLICY_STRETCH_MAX && decay << (p->stretch + 1) <= LJT_POLICY_DECAY_MAX) {
        p->stretch++;
        for (unsigned i = 0; i <= LJT_POLICY_EIGHTHS; i++)
            p->high[i] = more(p->high[2 * i], i < LJT_POLICY_EIGHTHS ? p->high[2 * i + 1] : 0);
    }
    if (by < 0 && p->stretch > 0)
        p->stretch--;
}

void ljt_policy_purged(struct ljt_policy *p, uint64_t now, uint64_t bytes, uint64_t decay)
{
    if (bytes == 0)
        return;
    if (p->opened == 0) {
        p->opened = now;
        p->window = ljt_policy_decay(p, decay);
    }
    p->purged += bytes;
}

void ljt_policy_touched(struct ljt_policy *p, uint64_t bytes, uint64_t decay)
{
    p->early += bytes;
    uint64_t kept = p->purged > p->early ? p->purged - p->early : 0;
    if (p->bad || p->purged < LJT_POLICY_WINDOW_MIN || kept * 100 >= p->purged * LJT_POLICY_BAD_PCT)
        return;
    p->bad = true;
    change(p, +1, decay);
}

bool ljt_policy_judge(struct ljt_policy *p, uint64_t now, uint64_t decay, struct ljt_policy_verdict *verdict)
{
    *verdict = (struct ljt_policy_verdict){0};
    bool ended = p->opened != 0;
    if (ended && now - p->opened < p->window)
        return false;
    if (ended)
        *verdict = (struct ljt_policy_verdict){.purged = p->purged,
                                               .early = p->early < p->purged ? p->early : p->purged};
    if (!p->bad && ++p->calm >= LJT_POLICY_CALM)
        change(p, -1, decay);
    p->opened = p->purged = p->early = 0;
    p->bad = false;
    return ended;
}

void ljt_policy_live(struct ljt_policy *p, uint64_t now, uint64_t live, uint64_t decay)
{
    const size_t kept = sizeof(p->high) / sizeof(p->high[0]);
    uint64_t eighth = stretched(p, decay) / LJT_POLICY_EIGHTHS;
    uint64_t passed = eighth == 0 ? kept : (now - p->high_since) / eighth;
    size_t shift = passed < kept ? (size_t)passed : kept;
    if (shift > 0) {
        memmove(p->high + shift, p->high, (kept - shift) * sizeof(p->high[0]));
        memset(p->high, 0, shift * sizeof(p->high[0]));
        p->high_since = now;
    }
    uint64_t grown = live > p->live ? live - p->live : 0;
    p->live = live;
    if (eighth != 0)
        p->high[0] = more(p->high[0], live + grown);
}

uint64_t ljt_policy_pulse(uint64_t decay)
{
    uint64_t eighth = decay / LJT_POLICY_EIGHTHS, least = LJT_POLICY_PULSE_MIN;
    return eighth < least ? least : eighth < quiet_after(decay) / 2 ? eighth : quiet_after(decay) / 2;
}

uint64_t ljt_policy_decay(const struct ljt_policy *p, uint64_t decay)
{
    return p->quiet ? decay : stretched(p, decay);
}

uint64_t ljt_policy_retained(const struct ljt_policy *p, uint64_t used, double retain_pct)
{
    return p->quiet ? 0 : (uint64_t)((double)used * retain_pct / 100.0);
}

uint64_t ljt_policy_slack(const struct ljt_policy *p, uint64_t live, double retain_pct)
{
    uint64_t high = live;
    for (unsigned i = 0; !p->quiet && i <= LJT_POLICY_EIGHTHS; i++)
        high = more(high, p->high[i]);
    return high - live + ljt_policy_retained(p, high, retain_pct);
}
