#include "rounds.h"

#include <sys/resource.h>

#include "arena.h"
#include "config.h"
#include "control.h"
#include "delay.h"
#include "fall.h"
#include "gate.h"
#include "kernel.h"
#include "nudge.h"
#include "policy.h"
#include "pressure.h"
#include "purge.h"
#include "reclaim.h"
#include "sandbox.h"
#include "spending.h"
#include "takeover.h"
#include "thp.h"

#define MS ((uint64_t)1000000)

/* A VM that has not moved for this long is silent: the reclaimer may hold its arena. */
#define SILENCE (3 * MS)
/* How often a posted unit is looked for. */
#define POLL (1 * MS)
/* How long one visit to an arena may wait for posted units before the other arenas get their turn. */
#define PATIENCE (50 * MS)
/* How long a hold waits for a call that is under way. */
#define HOLD_PATIENCE (50 * MS / 1000)
/* Between two looks at a VM under memory pressure, at most. */
#define PRESSED_INTERVAL (100 * MS)
/* A moving VM is looked at after so many chances that did not seem worth it. */
#define LOOK_ANYWAY 8

/* ---- Getting a unit done ---- */

enum outcome { DONE, PENDING, GONE };

/* Notes whether the VM has moved; returns for how long it has not. */
static uint64_t silence(struct ljt_arena *a, uint64_t now)
{
    uint64_t seq = atomic_load_explicit(&ljt_gates[a->slot].busy, memory_order_acquire);
    if (seq != a->pace.seq || a->pace.seq_time == 0) {
        a->pace.seq = seq;
        a->pace.seq_time = now;
    }
    return now - a->pace.seq_time;
}

static uint64_t involuntary_switches(void)
{
    struct rusage usage;
    return !ljt_sandbox_kills(LJT_CALL_GETRUSAGE) && getrusage(RUSAGE_THREAD, &usage) == 0
               ? (uint64_t)usage.ru_nivcsw
               : 0;
}

/*
 * One unit under a hold. True if it was done: by us, or by the mutator just before. Without the gate in place a
 * hold would exclude nobody: where the host has put its own function there, which calls ours, only the mutator
 * can do units; where it has set the original back, the arena is lost.
 */
static bool unit_by_hold(struct ljt_arena *a)
{
    struct ljt_gate_word *w = &ljt_wiped.word[a->slot];
    uint64_t switches = involuntary_switches();
    if (!ljt_gate_hold(a->slot, HOLD_PATIENCE)) {
        a->stats.withdrawn++;
        return false;
    }
    bool done = false;
    uint64_t took = 0;
    if (ljt_arena_is(a, LJT_ARENA_ARMED)) {
        ljt_alloc_fn *place = atomic_load_explicit(a->place, memory_order_relaxed);
        a->pace.wrapped = place != ljt_gate_trampoline(a->slot) && place != a->allocf;
        bool posted = (atomic_load_explicit(&w->want, memory_order_acquire) & LJT_WANT_REQUEST) != 0;
        if (a->pace.posted && !posted) {
            done = true;
        } else if (!a->pace.wrapped) {
            if (posted)
                atomic_fetch_and_explicit(&w->want, ~(uint32_t)LJT_WANT_REQUEST, memory_order_acq_rel);
            took = ljt_unit_run(a, LJT_UNIT_BY_RECLAIMER);
            done = true;
        }
    }
    ljt_gate_release(a->slot);
    if (done)
        a->pace.posted = false;
    if (involuntary_switches() != switches)
        a->stats.descheduled++;
    else if (took != 0)
        ljt_histogram_add(&a->stats.holds, took);
    return done;
}

static enum outcome perform(struct ljt_arena *a, enum ljt_unit_kind kind)
{
    struct ljt_gate_word *w = &ljt_wiped.word[a->slot];
    if (!a->pace.posted)
        a->work.kind = kind;
    for (uint64_t start = ljt_kernel.now();;) {
        if (!ljt_arena_is(a, LJT_ARENA_ARMED))
            return GONE;
        if (a->pace.posted &&
            (atomic_load_explicit(&w->want, memory_order_acquire) & LJT_WANT_REQUEST) == 0) {
            a->pace.posted = false;
            return DONE;
        }
        uint64_t now = ljt_kernel.now(), silent = silence(a, now);
        /* One call for so long may never return (a handler has jumped out of it), nor one come: other arenas do not wait. */
        bool stranded = a->pace.posted && silent > PATIENCE && ((a->pace.seq & 1) != 0 || a->pace.wrapped);
        if (silent >= SILENCE && !stranded && !a->pace.wrapped && unit_by_hold(a))
            return ljt_arena_is(a, LJT_ARENA_ARMED) ? DONE : GONE;
        if (now - start > (stranded ? POLL / 2 : PATIENCE))
            return PENDING;
        if (!a->pace.posted) {
            a->work.served = 0;
            a->pace.posted = true;
            ljt_dawdle();
            atomic_fetch_or_explicit(&w->want, LJT_WANT_REQUEST, memory_order_release); /* pairs with serve */
        }
        ljt_reclaim_sleep(ljt_reclaim_rung(), POLL);
    }
}

/* ---- The rounds of an arena ---- */

#define NO_LOOK UINT64_MAX /* in place of a value of busy */

enum { STAGE_IDLE, STAGE_DISMISS, STAGE_SEGMENTS, STAGE_LOOK, STAGE_HAND_BACK };

/* What the VM counts as live in the arena; gc.total is read while the VM can't unmap it. */
static uint64_t live_bytes(struct ljt_arena *a)
{
    uint64_t live = 0;
    ljt_lock_acquire(&ljt_wiped.word[a->slot].life);
    if (ljt_arena_is(a, LJT_ARENA_ARMED))
        live = ljt_arena_gc_total(a);
    ljt_lock_release(&ljt_wiped.word[a->slot].life);

    uint64_t module = atomic_load_explicit(&a->module->mapped, memory_order_relaxed);
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    uint64_t arenas = 0;
    for (unsigned i = 0; i < slots; i++)
        if (ljt_arena_is(&ljt_arenas[i], LJT_ARENA_ARMED) && ljt_arenas[i].module == a->module)
            arenas += ljt_arena_footprint(&ljt_arenas[i]);
    uint64_t direct = module > arenas ? module - arenas : 0;
    return live > direct ? live - direct : live;
}

/* ---- The look ---- */

/* Covers the listed segments, asks which of their pages are resident, and sums up. */
static void survey(struct ljt_arena *a)
{
    struct ljt_shadow_residence found = {0};
    uint64_t mapped = 0;
    for (unsigned i = 0; i < a->work.segments; i++) {
        uintptr_t base = a->work.segment[i].base;
        size_t size = a->work.segment[i].size;
        mapped += size;
        if (ljt_shadow_cover(&a->shadow, base, size) == 0)
            ljt_shadow_refresh(&a->shadow, base, base + size, &found);
    }
    a->stats.segments = a->work.segments;
    a->stats.mapped = mapped;
    a->stats.resident = (uint64_t)found.resident << ljt_page_shift;
    a->stats.refaults += (uint64_t)found.refaults << ljt_page_shift;
    ljt_policy_touched(&a->pace.policy, (uint64_t)found.early << ljt_page_shift, ljt_config.decay_ms * MS);
    ljt_spending_add_faults((uint64_t)found.refaults << ljt_page_shift);

    a->stats.live = live_bytes(a);
    ljt_fall_count_returns(a);
}

/* The end of a window, if it has come. */
static void judge(struct ljt_arena *a, uint64_t now)
{
    struct ljt_policy_verdict verdict;
    if (!ljt_policy_judge(&a->pace.policy, now, ljt_config.decay_ms * MS, &verdict))
        return;
    a->stats.judged += verdict.purged;
    a->stats.early += verdict.early;
    ljt_shadow_end_window(&a->shadow);
    a->pace.fall.away_fresh = 0;
}

/*
 * What of resident - live is stuck (fragments, metadata), as known from an earlier look: exactly if the VM was silent during
 * it, and the heap was as it is now. Part of it is a share of the live chunks: 8 bytes each, and what rounding adds.
 */
static int64_t stuck(const struct ljt_arena *a)
{
    const struct ljt_pace *p = &a->pace;
    if (a->stats.live >= p->stuck_live)
        return p->stuck;
    return (int64_t)((double)p->stuck * (double)a->stats.live / (double)p->stuck_live);
}

/* What a look could gain, bytes. All these figures are taken at different times. */
static int64_t gain(const struct ljt_arena *a)
{
    return (int64_t)a->stats.resident - (int64_t)a->stats.live - stuck(a);
}

/* Bytes that were free in the last look and are resident: too young then, or the ends of slices and the VM's room. */
static uint64_t left(const struct ljt_arena *a)
{
    const unsigned both = LJT_SHADOW_BIT(LJT_SHADOW_FREE) | LJT_SHADOW_BIT(LJT_SHADOW_RESIDENT);
    size_t pages = 0;
    for (unsigned i = 0; i < a->work.segments; i++)
        pages += ljt_shadow_count(&a->shadow, both, 0, a->work.segment[i].base,
                                  a->work.segment[i].base + a->work.segment[i].size);
    return (uint64_t)pages << ljt_page_shift;
}

/* Has the VM made more calls since the last look than there are pages in what is worth a pass? Each may have freed one. */
static bool has_moved(const struct ljt_pace *p)
{
    return (p->look_started - p->look_seq) / 2 >= ljt_config.min_reclaim >> ljt_page_shift;
}

/*
 * Is there enough to gain for a look? Of a heap that is as the last look has left it, that look knows. Else it is an
 * estimate, so now and then a VM that moves is looked at regardless; and one that has grown quiet, before it is left to itself.
 * A silent one, which is not disturbed, is on less.
 */
static bool worth_a_look(struct ljt_arena *a, bool silent, uint64_t slack)
{
    struct ljt_pace *p = &a->pace;
    uint64_t enough = slack + (silent ? ljt_config.min_reclaim / 4 : ljt_config.min_reclaim);
    if (a->gc_width == 0 || a->stats.looks == 0)
        return true;
    if (p->look_started == p->look_seq)
        return left(a) >= enough;
    if (silent && (!p->stuck_exact || (p->policy.quiet && has_moved(p))))
        return true;
    return ++p->skipped >= LOOK_ANYWAY || gain(a) >= (int64_t)enough;
}

/* What the look that begins may purge: all that a page's age allows, or what is beyond the slack. */
static uint64_t purge_limit(const struct ljt_arena *a, uint64_t slack)
{
    if (slack == 0)
        return UINT64_MAX;
    int64_t beyond = gain(a) - (int64_t)slack;
    return beyond > 0 ? (uint64_t)beyond : 0;
}

/* And what it still may. */
static uint64_t left_to_purge(const struct ljt_arena *a)
{
    uint64_t done = a->stats.purged - a->pace.purged_before, allowed = ljt_control_allowance(a);
    uint64_t left = a->pace.limit > done ? a->pace.limit - done : 0;
    return left < allowed ? left : allowed;
}

static void end_look(struct ljt_arena *a)
{
    struct ljt_pace *p = &a->pace;
    a->stats.looks++;
    a->stats.purgeable = (uint64_t)a->work.purgeable << ljt_page_shift;
    uint64_t seq = atomic_load_explicit(&ljt_gates[a->slot].busy, memory_order_acquire);
    /* The heap was the same in the look before and nothing was left to claim: what is left now stays. */
    bool same = p->look_started == seq && (p->look_seq == seq || a->work.at_sight);
    p->settled = same && p->claimed_in_look == 0 && !a->work.joined && p->policy.quiet;
    int64_t now = (int64_t)a->stats.resident - (int64_t)a->stats.live - (p->settled ? 0 : (int64_t)left(a));
    bool silent = p->look_started == seq;
    bool outdated = a->stats.live < p->stuck_live / 2 || now + (int64_t)ljt_config.min_reclaim < stuck(a);
    if (silent || !p->stuck_exact || outdated) {
        p->stuck = now;
        p->stuck_live = a->stats.live;
        p->stuck_exact = silent;
    }
    p->skipped = 0;
    p->look_seq = p->chance_seq = p->look_started;
    p->stage = STAGE_IDLE;
    ljt_control_look_ended(a);
}

/* Brings the arena's round to where the program wants it. False where that is nowhere. */
static bool follow_advice(struct ljt_arena *a, uint64_t now)
{
    enum ljt_control_advice advice = ljt_control_advise(a, now);
    if (advice == LJT_CONTROL_GO_ON)
        return true;
    if ((a->pace.stage == STAGE_LOOK || a->pace.stage == STAGE_HAND_BACK) && !a->work.look_done)
        a->pace.look_seq = NO_LOOK; /* its marks are not complete, and the complete ones before it are gone */
    a->pace.stage = a->work.claims > 0 ? STAGE_HAND_BACK : STAGE_IDLE;
    return advice == LJT_CONTROL_AFRESH || a->work.claims > 0;
}

/* The least time between two looks. */
static uint64_t interval(void)
{
    uint64_t configured = ljt_config.interval_ms * MS;
    return ljt_pressure_is_high() && configured > PRESSED_INTERVAL ? PRESSED_INTERVAL : configured;
}

/* When the arena's next round is due; settled arenas have none. */
static uint64_t next_round(const struct ljt_arena *a)
{
    uint64_t decay = ljt_pressure_is_high() ? 0 : ljt_policy_decay(&a->pace.policy, ljt_config.decay_ms * MS);
    return a->pace.looked == 0 ? 0 : a->pace.looked + (decay > interval() ? decay : interval());
}

/* For how long a posted unit that nobody came for is left alone: memory may become short meanwhile. */
static uint64_t rest(void)
{
    uint64_t pulse = ljt_pressure_is_worth_a_wake() ? LJT_PRESSURE_INTERVAL : UINT64_MAX;
    return interval() < pulse ? interval() : pulse;
}

/*
 * When the arena next wants its turn: for a round, to see whether the VM has grown quiet, or whether memory has become
 * short while pages wait for their age.
 */
static uint64_t next_turn(const struct ljt_arena *a, uint64_t now)
{
    uint64_t turn = next_round(a), pulse = UINT64_MAX;
    bool busy = !a->pace.policy.quiet;
    if (busy)
        pulse = ljt_policy_pulse(ljt_config.decay_ms * MS);
    if (ljt_pressure_is_worth_a_wake() && ljt_pressure_pulse(busy) < pulse)
        pulse = ljt_pressure_pulse(busy);
    return pulse == UINT64_MAX || turn < now + pulse ? turn : now + pulse;
}

/* The segments are listed anew if something was mapped or unmapped since: noted before, as that goes on meanwhile. */
static void begin_round(struct ljt_arena *a)
{
    unsigned long events = atomic_load_explicit(&a->module->map_events, memory_order_acquire);
    if (events == a->pace.map_events && a->work.segments != 0)
        return;
    a->pace.map_events = events;
    ljt_work_begin_list(&a->work);
}

/* One step of an arena's round. False when there is nothing to do before next_turn, or ever (settled). */
static bool step(struct ljt_arena *a, uint64_t now)
{
    struct ljt_pace *p = &a->pace;
    enum outcome outcome = DONE;
    if (!p->posted && !follow_advice(a, now))
        return false;
    switch (p->stage) {
    case STAGE_IDLE: {
        silence(a, now);
        if (p->settled && p->seq == p->chance_seq)
            return false;
        if (p->settled) /* it has not touched a page until now */
            judge(a, now);
        p->settled = false;
        ljt_policy_observe(&p->policy, now, p->seq, ljt_config.decay_ms * MS);
        uint64_t live = live_bytes(a);
        ljt_policy_live(&p->policy, now, live, ljt_config.decay_ms * MS);
        a->stats.decay = ljt_pressure_is_high() ? 0 : ljt_policy_decay(&p->policy, ljt_config.decay_ms * MS);
        a->stats.quiet = p->policy.quiet;
        if (ljt_fall_has_come(a, now, live)) {
            ljt_work_begin_dismissal(&a->work,
                                     live + ljt_policy_retained(&p->policy, live, ljt_config.retain_pct));
            p->stage = STAGE_DISMISS;
            return true;
        }
        if (now < next_round(a))
            return false;
        p->looked = now;
        begin_round(a);
        p->stage = STAGE_SEGMENTS;
        return true;
    }

    case STAGE_DISMISS:
        outcome = perform(a, LJT_UNIT_DISMISS);
        if (outcome != DONE)
            break;
        p->fall.on |= ljt_fall_unmap(a, now) > 0;
        if (a->work.look_done)
            p->stage = STAGE_IDLE;
        return true;

    case STAGE_SEGMENTS: {
        /* While a request stands the work is the mutator's: not even what of it is done may be read. */
        if (p->posted || !a->work.listed) {
            outcome = perform(a, LJT_UNIT_SEGMENTS);
            if (outcome != DONE)
                break;
            if (!a->work.listed)
                return true;
        }
        survey(a);
        ljt_nudge_consider(a, now);
        judge(a, now);
        uint64_t slack =
            ljt_pressure_is_high() ? 0 : ljt_policy_slack(&p->policy, a->stats.live, ljt_config.retain_pct);
        p->look_started = atomic_load_explicit(&ljt_gates[a->slot].busy, memory_order_acquire);
        bool trimming = ljt_control_trims(a);
        bool at_sight = trimming || ljt_pressure_is_high() || ljt_config.decay_ms == 0;
        if (!trimming && !worth_a_look(a, p->look_started == p->chance_seq, slack)) {
            p->settled = p->look_started == p->chance_seq && p->policy.quiet;
            p->chance_seq = p->look_started;
            p->stage = STAGE_IDLE;
            return true;
        }
        ljt_shadow_begin_look(&a->shadow);
        p->limit = trimming ? UINT64_MAX : purge_limit(a, slack);
        p->purged_before = a->stats.purged;
        bool may_purge = ljt_config.mode != LJT_MODE_OBSERVE && ljt_kernel_facts.dontneed_zeroes;
        if (may_purge)
            ljt_thp_advise(a);
        ljt_work_begin_look(&a->work, a->stats.mapped, may_purge ? left_to_purge(a) : 0, at_sight);
        ljt_takeover_before_look(a);
        p->claimed_in_look = 0;
        p->stage = STAGE_LOOK;
        return true;
    }

    case STAGE_LOOK:
        outcome = perform(a, LJT_UNIT_LOOK);
        if (outcome != DONE)
            break;
        p->claimed_in_look += ljt_fall_unmap(a, now);
        if (a->work.claims > 0) {
            p->claimed_in_look += a->work.claims;
            uint64_t before = a->stats.purged;
            ljt_purge_claims(a);
            ljt_policy_purged(&p->policy, now, a->stats.purged - before, ljt_config.decay_ms * MS);
            p->stage = STAGE_HAND_BACK;
        } else if (a->work.look_done) {
            end_look(a);
        }
        ljt_work_limit_look(&a->work, left_to_purge(a)); /* the rest is the VM's slack, or of no trim */
        return true;

    case STAGE_HAND_BACK:
        outcome = perform(a, LJT_UNIT_HAND_BACK);
        if (outcome != DONE)
            break;
        if (a->work.claims > 0)
            return true;
        if (a->work.look_done)
            end_look(a);
        else
            p->stage = STAGE_LOOK;
        return true;
    }
    return outcome == PENDING;
}

bool ljt_rounds_owes(const struct ljt_arena *a)
{
    return ljt_arena_is(a, LJT_ARENA_ARMED) && (a->pace.posted || a->work.claims != 0);
}

uint64_t ljt_rounds_turn(struct ljt_arena *a, uint64_t now)
{
    uint64_t wish = UINT64_MAX, until = now + PATIENCE;
    bool more;
    do {
        more = step(a, now);
        now = ljt_kernel.now();
        ljt_spending_charge(now);
        /* What is claimed goes back before a pause, which may be long: the VM would map more meanwhile. */
    } while (more && !a->pace.posted && now < until &&
             (ljt_spending_wait() == 0 || a->pace.stage == STAGE_HAND_BACK) &&
             ljt_arena_is(a, LJT_ARENA_ARMED));
    /* Who comes to do what is posted rings: what is claimed then is not to stay out for as long as we sleep, if that is long. */
    if (a->pace.posted && rest() > PATIENCE)
        atomic_fetch_or_explicit(&ljt_wiped.word[a->slot].want, LJT_WANT_WAKE, memory_order_release);
    /* Nobody came to do it and a hold was not to be had: no hurry then, or, where the VM alone can do it, until it rings. */
    if (more && a->pace.posted && !ljt_control_urgent())
        wish = a->pace.wrapped && ljt_gate_may_sleep(a->slot, a->pace.seq) ? UINT64_MAX : now + rest();
    else if (more)
        wish = now;
    else if (ljt_control_paused())
        wish = UINT64_MAX;
    else if (!a->pace.settled)
        wish = next_turn(a, now);
    else if (!ljt_gate_may_sleep(a->slot, a->pace.seq)) /* not sooner: busy may stay odd for ever */
        wish = now + ljt_config.interval_ms * MS;
    uint64_t drip = ljt_control_paused() ? UINT64_MAX : ljt_nudge_drip(a, now);
    return drip < wish ? drip : wish;
}
