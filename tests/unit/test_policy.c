/*
 * The policy and the CPU budget: a VM's days, told in numbers.
 */
#include "lab.h"

#include "budget.h"
#include "policy.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define DECAY (1 * SECOND)

TestSuite(policy, .timeout = LAB_TIMEOUT);
TestSuite(budget, .timeout = LAB_TIMEOUT);

/* ---- Busy and quiet ---- */

/* A VM that makes `rate` entries a second for `seconds`. */
static uint64_t live(struct ljt_policy *p, uint64_t *now, uint64_t seq, uint64_t rate, uint64_t seconds)
{
    uint64_t pulse = ljt_policy_pulse(DECAY);
    for (uint64_t end = *now + seconds * SECOND; *now < end; *now += pulse) {
        ljt_policy_observe(p, *now, seq, DECAY);
        seq += rate * pulse / SECOND;
    }
    ljt_policy_observe(p, *now, seq, DECAY);
    return seq;
}

Test(policy, a_vm_is_quiet_two_seconds_after_its_peak)
{
    struct ljt_policy p = {0};
    uint64_t now = 5 * SECOND, seq = live(&p, &now, 10, 1000000, 10);
    cr_expect(!p.quiet);
    uint64_t fell = now;
    while (!p.quiet && now < fell + 60 * SECOND)
        seq = live(&p, &now, seq, 20, 1);
    cr_expect(now - fell >= 2 * SECOND && now - fell <= 3 * SECOND, "%llu ms",
              (unsigned long long)((now - fell) / MS));
    live(&p, &now, seq, 1000000, 2);
    cr_expect(!p.quiet, "busy again at once");
}

Test(policy, a_steady_vm_is_busy_at_any_rate)
{
    for (uint64_t rate = 10; rate <= 100000000; rate *= 10) {
        struct ljt_policy p = {0};
        uint64_t now = 0;
        live(&p, &now, 0, rate, 60);
        cr_expect(!p.quiet, "at %llu a second", (unsigned long long)rate);
    }
}

Test(policy, a_vm_that_does_nothing_is_quiet)
{
    struct ljt_policy p = {0};
    uint64_t now = 1;
    live(&p, &now, 77, 0, 3);
    cr_expect(p.quiet);
}

Test(policy, a_lower_plateau_counts_as_busy_in_the_end)
{
    struct ljt_policy p = {0};
    uint64_t now = 1, seq = live(&p, &now, 0, 1000000, 10);
    seq = live(&p, &now, seq, 20000, 10);
    cr_expect(p.quiet, "a fiftieth of the peak");
    live(&p, &now, seq, 20000, 600);
    cr_expect(!p.quiet, "the peak is forgotten");
}

Test(policy, counts_in_quick_succession_are_one)
{
    struct ljt_policy p = {0};
    ljt_policy_observe(&p, 1 * SECOND, 0, DECAY);
    ljt_policy_observe(&p, 1 * SECOND + 10, 1000, DECAY);
    cr_expect(p.seq == 0 && p.seen == 1 * SECOND);
    ljt_policy_observe(&p, 1 * SECOND, 5, DECAY);
    cr_expect(p.seq == 0, "nor is time divided by that did not pass");
}

/* ---- Score and decay ---- */

/* A window in which so much is purged, and this share of it touched again. Returns the decay in force after it. */
static uint64_t window(struct ljt_policy *p, uint64_t *now, uint64_t purged, unsigned touched_pct)
{
    struct ljt_policy_verdict v;
    ljt_policy_purged(p, *now, purged, DECAY);
    cr_expect(purged == 0 || !ljt_policy_judge(p, *now + 1, DECAY, &v), "not before its time");
    *now += ljt_policy_decay(p, DECAY);
    ljt_policy_touched(p, purged * touched_pct / 100, DECAY);
    cr_expect(ljt_policy_judge(p, *now, DECAY, &v) == (purged > 0));
    cr_expect(v.purged == purged && v.early == purged * touched_pct / 100);
    return ljt_policy_decay(p, DECAY);
}

Test(policy, a_bad_score_doubles_the_decay)
{
    struct ljt_policy p = {0};
    uint64_t now = 1 * SECOND;
    cr_expect(window(&p, &now, 64 * MIB, 11) == 2 * DECAY);
    cr_expect(window(&p, &now, 64 * MIB, 100) == 4 * DECAY);
    cr_expect(window(&p, &now, 64 * MIB, 9) == 4 * DECAY, "91 % is good enough");
}

Test(policy, the_decay_stays_within_a_minute)
{
    struct ljt_policy p = {0};
    uint64_t now = 1 * SECOND, decay = 0;
    for (int i = 0; i < 20; i++)
        decay = window(&p, &now, 64 * MIB, 100);
    cr_expect(decay == 32 * SECOND, "%llu s", (unsigned long long)(decay / SECOND));
    struct ljt_policy slow = {0};
    struct ljt_policy_verdict v;
    for (int i = 0; i < 20; i++) {
        ljt_policy_purged(&slow, now, MIB, 3600 * SECOND);
        ljt_policy_touched(&slow, MIB, 3600 * SECOND);
        now += 3600 * SECOND;
        ljt_policy_judge(&slow, now, 3600 * SECOND, &v);
    }
    cr_expect(ljt_policy_decay(&slow, 3600 * SECOND) == 3600 * SECOND, "nor beyond what is configured");
}

Test(policy, a_longer_decay_is_not_stretched_by_what_a_shorter_one_has_taught)
{
    struct ljt_policy p = {0};
    uint64_t now = 1 * SECOND;
    for (int i = 0; i < 20; i++)
        window(&p, &now, 64 * MIB, 100);
    cr_assert(ljt_policy_decay(&p, DECAY) > 8 * DECAY);
    cr_expect(ljt_policy_decay(&p, 50 * SECOND) == 60 * SECOND);
    cr_expect(ljt_policy_decay(&p, 3600 * SECOND) == 3600 * SECOND);
}

Test(policy, good_times_shorten_it_again)
{
    struct ljt_policy p = {0};
    uint64_t now = 1 * SECOND;
    window(&p, &now, 64 * MIB, 50);
    window(&p, &now, 64 * MIB, 50);
    for (int i = 0; i < LJT_POLICY_CALM; i++) {
        cr_expect(ljt_policy_decay(&p, DECAY) == 4 * DECAY);
        window(&p, &now, i % 2 != 0 ? 64 * MIB : 0, 0);
    }
    cr_expect(ljt_policy_decay(&p, DECAY) == 2 * DECAY);
}

Test(policy, a_handful_of_pages_proves_nothing)
{
    struct ljt_policy p = {0};
    uint64_t now = 1 * SECOND;
    cr_expect(window(&p, &now, LJT_POLICY_WINDOW_MIN - 1, 100) == DECAY);
}

Test(policy, quiet_vms_have_the_configured_decay_and_no_slack)
{
    struct ljt_policy p = {0};
    uint64_t now = 1 * SECOND;
    window(&p, &now, 64 * MIB, 50);
    cr_expect(ljt_policy_slack(&p, 100 * MIB, 5) == 5 * MIB);
    p.quiet = true;
    cr_expect(ljt_policy_decay(&p, DECAY) == DECAY && ljt_policy_slack(&p, 100 * MIB, 5) == 0);
}

Test(policy, a_bad_score_need_not_wait_for_the_windows_end)
{
    struct ljt_policy p = {0};
    struct ljt_policy_verdict v;
    ljt_policy_purged(&p, 1 * SECOND, 64 * MIB, DECAY);
    ljt_policy_touched(&p, 6 * MIB, DECAY);
    cr_expect(ljt_policy_decay(&p, DECAY) == DECAY);
    ljt_policy_touched(&p, 6 * MIB, DECAY);
    cr_expect(ljt_policy_decay(&p, DECAY) == 2 * DECAY);
    ljt_policy_touched(&p, 40 * MIB, DECAY);
    cr_expect(ljt_policy_decay(&p, DECAY) == 2 * DECAY, "once a window");
    cr_expect(!ljt_policy_judge(&p, 2 * SECOND - 1, DECAY, &v) && ljt_policy_judge(&p, 2 * SECOND, DECAY, &v),
              "which is as long as the decay that it began with");
    cr_expect(v.purged == 64 * MIB && v.early == 52 * MIB);
}

/* Live bytes as a VM's clock has them: `peak` for `length` ns of every `period`, 2 MiB else, until `end`. */
static void beat(struct ljt_policy *p, uint64_t *now, uint64_t end, uint64_t period, uint64_t length,
                 uint64_t peak)
{
    for (; *now < end; *now += ljt_policy_pulse(DECAY))
        ljt_policy_live(p, *now, *now % period < length ? peak : 2 * MIB, DECAY);
}

/* Two looks may miss the peak between them: what it needs is not to pass for old. */
Test(policy, a_busy_vm_keeps_what_it_has_used_within_a_decay)
{
    struct ljt_policy p = {0};
    uint64_t now = 10 * SECOND;
    beat(&p, &now, 11 * SECOND, 10 * SECOND, SECOND / 4, 50 * MIB);
    cr_expect(ljt_policy_slack(&p, 2 * MIB, 0) >= 48 * MIB, "the peak was %llu ms ago", 750ULL);
    beat(&p, &now, 12 * SECOND, 10 * SECOND, SECOND / 4, 50 * MIB);
    cr_expect(ljt_policy_slack(&p, 2 * MIB, 0) == 0, "older than that");
    cr_expect(ljt_policy_slack(&p, 100 * MIB, 5) == 5 * MIB, "and the other slack");
    beat(&p, &now, 20 * SECOND + SECOND / 2, 10 * SECOND, SECOND / 4, 50 * MIB);
    uint64_t slack = ljt_policy_slack(&p, 2 * MIB, 5);
    cr_expect(slack >= 48 * MIB + 50 * MIB / 20, "on top of what the peak has used: %llu",
              (unsigned long long)slack);
    p.quiet = true;
    cr_expect(ljt_policy_slack(&p, 2 * MIB, 5) == 0);
    p.quiet = false;
    ljt_policy_live(&p, now, 50 * MIB, 0);
    cr_expect(ljt_policy_slack(&p, 2 * MIB, 0) == 0, "nothing without a decay");
}

Test(policy, a_stretched_decay_remembers_the_peaks_before_it)
{
    struct ljt_policy p = {0};
    uint64_t now = 10 * SECOND;
    beat(&p, &now, 11 * SECOND + SECOND / 2, 10 * SECOND, SECOND / 4, 50 * MIB);
    cr_expect(ljt_policy_slack(&p, 2 * MIB, 0) == 0);
    window(&p, &now, 64 * MIB, 100);
    cr_expect(ljt_policy_slack(&p, 2 * MIB, 0) >= 48 * MIB, "1.25 s ago, of 2");
    for (uint64_t end = now + 60 * SECOND; now < end;) {
        beat(&p, &now, now + SECOND / 4, 2 * SECOND, SECOND / 4, 50 * MIB);
        cr_assert(now + 58 * SECOND < end || ljt_policy_slack(&p, 2 * MIB, 0) >= 48 * MIB, "one every 2 s");
    }
    beat(&p, &now, now + 3 * SECOND, 100 * SECOND, 0, 0);
    cr_expect(ljt_policy_slack(&p, 2 * MIB, 0) == 0);
}

/* What lies between two notes is not seen: a peak that grows by 10 MiB from one to the next may have grown as much after. */
Test(policy, a_peak_may_have_gone_on_after_it_was_seen)
{
    struct ljt_policy p = {0};
    uint64_t now = 1 * SECOND;
    ljt_policy_live(&p, now, 2 * MIB, DECAY);
    ljt_policy_live(&p, now += 125 * MS, 12 * MIB, DECAY);
    ljt_policy_live(&p, now += 125 * MS, 2 * MIB, DECAY);
    cr_expect(ljt_policy_slack(&p, 2 * MIB, 0) == 20 * MIB);
}

Test(policy, no_decay_stays_no_decay)
{
    struct ljt_policy p = {0};
    struct ljt_policy_verdict v;
    for (int i = 1; i < 10; i++) {
        ljt_policy_purged(&p, (uint64_t)i * SECOND, 64 * MIB, 0);
        ljt_policy_touched(&p, 64 * MIB, 0);
        ljt_policy_judge(&p, (uint64_t)i * SECOND + 1, 0, &v);
    }
    cr_expect(ljt_policy_decay(&p, 0) == 0);
}

/* ---- The budget ---- */

/* Work in pieces of 50 us to 2 ms, without end, for an hour. Returns the per cent of the time that it took. */
static double used(double percent, bool faults)
{
    struct ljt_budget b;
    uint64_t now = 1 * SECOND, total = 0, start = now;
    ljt_budget_open(&b, now);
    while (now < start + 3600 * SECOND) {
        uint64_t wait = ljt_budget_wait(&b, percent);
        now += wait;
        ljt_budget_update(&b, now, percent, 0);
        if (wait != 0 && ljt_budget_wait(&b, percent) != 0)
            cr_assert_fail("woken in vain");
        uint64_t piece = 50000 + lab_below(1950000);
        uint64_t price = piece + (faults ? ljt_budget_faults(lab_below(8 * MIB)) : 0);
        now += piece;
        ljt_budget_update(&b, now, percent, price);
        total += price;
    }
    return (double)total * 100 / (double)(now - start);
}

Test(budget, is_kept_within_half_a_point)
{
    lab_seed("budget");
    static const double percent[] = {0.05, 0.1, 1, 5, 20};
    for (size_t i = 0; i < sizeof(percent) / sizeof(percent[0]); i++)
        for (int faults = 0; faults < 2; faults++) {
            double got = used(percent[i], faults);
            cr_expect(got > percent[i] - 0.5 && got < percent[i] + 0.5 && got > percent[i] * 0.9,
                      "%.2f %% of %.2f %%", got, percent[i]);
        }
}

Test(budget, a_long_rest_fills_it_no_fuller_than_full)
{
    struct ljt_budget b;
    ljt_budget_open(&b, 0);
    ljt_budget_update(&b, UINT64_C(1) << 62, 100, 0);
    cr_expect(b.left == LJT_BUDGET_DEPTH);
}

Test(budget, a_debt_is_no_ruin)
{
    struct ljt_budget b;
    ljt_budget_open(&b, 0);
    ljt_budget_update(&b, 1, 1, UINT64_MAX / 2);
    cr_expect(b.left == -LJT_BUDGET_DEPTH);
    ljt_budget_update(&b, 1 + ljt_budget_wait(&b, 1), 1, 0);
    cr_expect(b.left > 0);
}

Test(budget, faults_have_their_price)
{
    cr_expect(ljt_budget_faults(4096) == LJT_BUDGET_FAULT);
    cr_expect(ljt_budget_faults(64 * MIB) == 16384 * LJT_BUDGET_FAULT);
}
