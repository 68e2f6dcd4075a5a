#include "nudge.h"

#include "arena.h"
#include "config.h"
#include "control.h"
#include "gate.h"
#include "gc.h"
#include "kernel.h"
#include "pressure.h"

/*
 * Why the store to gc.threshold is safe
 *
 * It is made on the mutator's thread, inside an allocator call: no other thread is in this VM, and whatever of
 * LuaJIT runs below us on the stack has called allocf through a pointer, so that it keeps no field of global_State in
 * a register. Machine code of the compiler and the interpreter compare gc.total with gc.threshold in memory at each
 * check (asm_gc_check, lj_gc_check); there is no copy of it but one: gc_call_finalizer saves the threshold, and sets
 * 1 << 47 while the finalizer runs. That is neither what ljt_gc_rests demands nor what ljt_gc_runs does.
 *   The values are those that collectgarbage("step", n) stores, in any state. A collector function that is on the
 * stack meanwhile (string tables are resized in one) sets the threshold anew when it is done.
 *   The call is one that grows: allocf's caller adds to gc.total afterwards, so that total > threshold and the next
 * check, wherever the VM makes it, takes one step. A check is where LuaJIT expects to collect; here nothing is run.
 *   The lower threshold is a debt that lj_gc_step pays off by one step a check; what is left at the cycle's end is
 * forgotten (gc.debt = 0).
 */

#define MS UINT64_C(1000000)

/* Fewer allocator calls a second are quiet: 1% of a processor goes into them. Busy VMs make millions. */
#define QUIET_CALLS 100000
/* While a cycle of ours sweeps, which is a call an object: 200 a step, 8 steps every 5 ms. */
#define QUIET_CALLS_SWEEPING (QUIET_CALLS + 400000)
/* Over so long at least. */
#define WINDOW_MIN (100 * MS)
/* With LJTRIM_MIN_RECLAIM below this, this: a cycle marks everything in use. */
#define GROWTH_MIN (UINT64_C(64) << 10)

/*
 * A nudge demands so many steps, one at each of the next checks, and is repeated every DRIP until the cycle ends: 2% of a
 * processor, as one takes 14 us (200 objects swept), 25 at most. While what is live is marked one takes 0.7 us (2 KB), and
 * more are demanded; not in proportion, as those that are left when the sweep begins are sweeping steps. The work is
 * LuaJIT's own and the same at any pace; in drops it makes a request take 0.1 ms longer, not a millisecond or two.
 *   A VM that calls less often takes the drops that it has missed at once, up to a millisecond's; as much as that adds up
 * where it makes fewer checks than there are steps due, and no more: else a later request would pay for all of it.
 *   A drop that nobody takes is offered for twice as long each time: who makes no calls is not worth waking for.
 */
#define STEPS 8
#define STEPS_MAX 40
#define STEPS_MARKING 64
#define DRIP (5 * MS)
#define DRIP_MAX (640 * MS)

/*
 * auto: what makes a cycle worth it. The growth since the last one is known, what of the rest was dropped is not;
 * so it is tried, and the outcome is believed. The growth can't be more than half (then LuaJIT collects by itself):
 * more than half means that a peak is over.
 *   More cycles follow, without growth: one that was under way before has marked what was dropped during it. And one that
 * has left less than a quarter, which is a peak's end, has left what finalizers and weak tables held, what was allocated
 * while it swept, and the string table, of which each cycle returns a half. What those free says nothing of the next.
 *   The first time 1/64 suffices (else one peak in five would happen to have had a cycle of its own shortly before
 * its end, and be kept). A cycle that has freed less than half makes it 1/8, then 1/2, which is never; until the
 * heap is twice what that cycle has left: another peak.
 */
#define SHARE_FIRST 6
/* What an allocator call brings, as a rule. */
#define CALL_BYTES 64

static uint64_t least_worth(void)
{
    return ljt_config.min_reclaim > GROWTH_MIN ? ljt_config.min_reclaim : GROWTH_MIN;
}

bool ljt_worth_pays(struct ljt_worth *w, const struct ljt_gc *gc, bool always)
{
    uint64_t least = least_worth();
    uint64_t growth = ljt_gc_growth(gc);
    if (w->share == 0 || (w->left != 0 && gc->total >= 2 * w->left))
        *w = (struct ljt_worth){.share = SHARE_FIRST, .again = w->again};
    if (w->again != 0 && gc->total >= least)
        return true;
    return growth >= least && (always || growth >= gc->total >> w->share);
}

bool ljt_worth_a_try(const struct ljt_worth *w, const struct ljt_gc *gc, uint64_t calls)
{
    return gc->total >= least_worth() && calls >= (gc->total >> w->share) / CALL_BYTES;
}

void ljt_worth_learn(struct ljt_worth *w, uint64_t before, uint64_t after)
{
    uint64_t freed = before > after ? before - after : 0;
    bool expected = w->again != 0;
    w->left = after;
    if (expected)
        w->again--;
    if (freed > before / 4 * 3)
        w->again = LJT_WORTH_AGAIN;
    if (freed >= before / 2)
        w->share = SHARE_FIRST;
    else if (!expected)
        w->share = w->share > 1 ? w->share / 2 : 1;
}

static void judge(struct ljt_arena *a, const struct ljt_gc *gc)
{
    struct ljt_nudge *n = &a->nudge;
    a->stats.collected += n->total > gc->total ? n->total - gc->total : 0;
    if (n->begun)
        ljt_worth_learn(&n->worth, n->total, gc->total);
    else /* it was under way while the VM was busy: what it has freed says little */
        n->worth.again = LJT_WORTH_AGAIN;
    atomic_store_explicit(&n->given, false, memory_order_release); /* pairs with ljt_nudge_give */
}

/* Has the VM been quiet for a whole window? -1: the window is not over. */
static int quiet(struct ljt_arena *a, uint64_t now)
{
    struct ljt_nudge *n = &a->nudge;
    uint64_t seq = atomic_load_explicit(&ljt_gates[a->slot].busy, memory_order_acquire);
    uint64_t half = ljt_config.decay_ms * MS / 2; /* rounds come every decay or so: not just missed */
    uint64_t window = half > WINDOW_MIN ? half : WINDOW_MIN;
    uint64_t passed = now - n->since;
    if (n->since != 0 && passed < window)
        return -1;
    uint64_t calls = (seq - n->seq) / 2;
    bool known = n->since != 0, given = atomic_load_explicit(&n->given, memory_order_relaxed);
    unsigned most = given ? QUIET_CALLS_SWEEPING : QUIET_CALLS;
    n->seq = seq;
    n->since = now;
    return known && (double)calls * 1e9 < (double)passed * most;
}

static bool read_gc(struct ljt_arena *a, struct ljt_gc *gc)
{
    ljt_lock *life = &ljt_wiped.word[a->slot].life;
    ljt_lock_acquire(life);
    bool known = ljt_arena_is(a, LJT_ARENA_ARMED) && ljt_gc_read(a, gc);
    ljt_lock_release(life);
    return known;
}

static bool may_begin(const struct ljt_gc *gc)
{
    return ljt_gc_rests(gc) && gc->pause <= LJT_USUAL_PAUSE;
}

/*
 * A cycle that LuaJIT has begun itself, shortly before its peak was over, say, and that the VM, quiet by now, would take
 * hours to get on with. Not where quiet is all that the VM ever is: its cycles are as long as it likes them.
 */
static bool may_hasten(const struct ljt_arena *a, const struct ljt_gc *gc)
{
    return gc->state != 0 && ljt_gc_runs(gc) && gc->pause <= LJT_USUAL_PAUSE && a->pace.policy.quiet &&
           gc->total >= ljt_config.min_reclaim;
}

static bool pays(struct ljt_nudge *n, const struct ljt_gc *gc)
{
    if (ljt_pressure_level() == LJT_PRESSURE_HIGH) /* an eighth, whatever cycles have brought before */
        return ljt_gc_growth(gc) >= ljt_config.min_reclaim && ljt_gc_growth(gc) >= gc->total / 8;
    return ljt_worth_pays(&n->worth, gc, ljt_config.gc_nudge == LJT_GC_NUDGE_ON);
}

static bool is_wanted(struct ljt_arena *a, const struct ljt_gc *gc, bool given)
{
    if (given)
        return ljt_gc_runs(gc);
    bool hasten = may_hasten(a, gc); /* one that is posted already may be taken at this very moment */
    atomic_store_explicit(&a->nudge.hasten, hasten, memory_order_relaxed);
    return hasten || (may_begin(gc) && pays(&a->nudge, gc));
}

static void post(struct ljt_arena *a, bool wanted)
{
    _Atomic uint32_t *want = &ljt_wiped.word[a->slot].want;
    struct ljt_nudge *n = &a->nudge;
    if (wanted && !n->posted)
        atomic_fetch_or_explicit(want, LJT_WANT_NUDGE, memory_order_release);
    else if (!wanted && n->posted)
        atomic_fetch_and_explicit(want, ~(uint32_t)LJT_WANT_NUDGE, memory_order_relaxed);
    n->posted = wanted;
}

/* Reads what has come of the last drop. False where there is nothing to say about this VM. */
static bool look(struct ljt_arena *a, struct ljt_gc *gc, bool *given)
{
    struct ljt_nudge *n = &a->nudge;
    if (ljt_config.gc_nudge == LJT_GC_NUDGE_OFF || ljt_config.mode == LJT_MODE_OBSERVE || !read_gc(a, gc))
        return false;
    if (n->posted &&
        (atomic_load_explicit(&ljt_wiped.word[a->slot].want, memory_order_acquire) & LJT_WANT_NUDGE) == 0)
        n->posted = false;                                          /* given, or refused */
    *given = atomic_load_explicit(&n->given, memory_order_acquire); /* pairs with ljt_nudge_give */
    if (*given && ljt_gc_rests(gc)) {
        judge(a, gc);
        *given = false;
        n->drip = 0;
    }
    return true;
}

void ljt_nudge_consider(struct ljt_arena *a, uint64_t now)
{
    struct ljt_gc gc;
    bool given;
    if (!look(a, &gc, &given))
        return;
    int is_quiet = quiet(a, now);
    if (is_quiet < 0)
        return;
    bool wanted = is_quiet && is_wanted(a, &gc, given);
    a->nudge.drip = wanted ? DRIP : 0;
    a->nudge.next = now + DRIP;
    post(a, wanted);
}

uint64_t ljt_nudge_drip(struct ljt_arena *a, uint64_t now)
{
    struct ljt_nudge *n = &a->nudge;
    struct ljt_gc gc;
    bool given;
    if (n->drip == 0)
        return UINT64_MAX;
    if (now < n->next)
        return n->next;
    if (!look(a, &gc, &given))
        n->drip = 0;
    if (n->drip != 0) { /* else that was the cycle's end */
        n->drip = n->posted ? 2 * n->drip : DRIP;
        n->next = now + n->drip;
        if (!n->posted && given)
            post(a, ljt_gc_runs(&gc));
        if (n->drip > DRIP_MAX)
            n->drip = 0; /* until the next round */
    }
    return n->drip != 0 ? n->next : UINT64_MAX;
}

/* Demands the steps that are due so long after the last drop. */
static void drop(const struct ljt_arena *a, const struct ljt_gc *gc, uint64_t passed)
{
    uint64_t due = passed / DRIP * STEPS;
    due = due < STEPS ? STEPS : due > STEPS_MAX ? STEPS_MAX : due;
    if (gc->state == LJT_GC_PROPAGATE)
        ljt_gc_demand(a, STEPS_MARKING, STEPS_MARKING);
    else
        ljt_gc_demand(a, (unsigned)due, STEPS_MAX);
}

void ljt_nudge_give(struct ljt_arena *a)
{
    struct ljt_gc gc;
    struct ljt_nudge *n = &a->nudge;
    if (!ljt_arena_is(a, LJT_ARENA_ARMED) || ljt_control_paused() || !ljt_gc_read(a, &gc) ||
        ljt_config.gc_nudge == LJT_GC_NUDGE_OFF) /* since it was posted */
        return;
    bool given = atomic_load_explicit(&n->given, memory_order_acquire); /* pairs with judge */
    bool begin = !given && !atomic_load_explicit(&n->hasten, memory_order_relaxed);
    if (begin ? !may_begin(&gc) : !ljt_gc_runs(&gc)) /* not as it was when it was posted */
        return;
    uint64_t now = ljt_kernel.now();
    drop(a, &gc, given ? now - n->gave : 0);
    n->gave = now;
    if (given)
        return;
    n->total = gc.total;
    n->begun = begin;
    if (begin)
        ljt_histogram_bump(&a->stats.nudges, 1);
    atomic_store_explicit(&n->given, true, memory_order_release); /* pairs with ljt_nudge_consider */
}
