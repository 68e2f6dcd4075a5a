#include "control.h"

#include <errno.h>
#include <stdatomic.h>

#include "arena.h"
#include "config.h"
#include "gate.h"
#include "kernel.h"
#include "reclaim.h"

#define MS ((uint64_t)1000000)

/* How long a pause that nobody waits for may go before the CPU budget. */
#define PAUSE_URGENT (1000 * MS)
/* Looks that a trim takes at one arena: what slices leave behind is found by the next one. */
#define TRIM_LOOKS 4

/* ---- State ---- */

static _Atomic uint32_t
    pauses; /* callers: how many want it. Inherited by forked children, as the callers are */
static _Atomic uint32_t pause_epoch; /* callers: raised by each pause */
static _Atomic uint32_t
    quiet_epoch;                    /* reclaimer: nothing was claimed when pause_epoch was this; waited for */
static _Atomic uint64_t pause_time; /* callers: when the last pause was asked for */

static _Atomic uint32_t changes; /* callers: changes of options */

/*
 * ljt_wiped.trim, a futex. Whoever moves it from NONE has the rest of `trim` to itself until it is ACTIVE or LEFT;
 * its store then is a release, which the reclaimer's load pairs with. DONE goes the other way.
 *
 *     NONE --caller--> SET_UP --caller--> ACTIVE --reclaimer--> DONE --caller--> NONE
 *                         |                  | the caller's time is over
 *                         +--no wait---------+--> LEFT --reclaimer--> NONE
 */
enum { TRIM_NONE, TRIM_SET_UP, TRIM_ACTIVE, TRIM_LEFT, TRIM_DONE };

static struct {
    uint32_t ticket; /* never 0 while one is under way */
    uint64_t deadline;
    uint64_t max_bytes;      /* UINT64_MAX: all there is */
    _Atomic uint64_t purged; /* by the reclaimer, since the trim began */
} trim;

static bool trim_is_active(void)
{
    uint32_t state = atomic_load_explicit(&ljt_wiped.trim, memory_order_acquire);
    return state == TRIM_ACTIVE || state == TRIM_LEFT;
}

/* ---- Callers ---- */

/* Sleeps while *word is `value`, until `deadline`. False when that has passed. */
static bool sleep_on(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    int saved = errno;
    uint64_t now = ljt_kernel.now();
    if (now < deadline)
        ljt_kernel.futex_wait((const volatile void *)word, value, deadline - now);
    errno = saved;
    return now < deadline;
}

static void wake_all(_Atomic uint32_t *word)
{
    int saved = errno;
    ljt_kernel.futex_wake((const volatile void *)word, INT32_MAX);
    errno = saved;
}

bool ljt_control_paused(void)
{
    return atomic_load_explicit(&pauses, memory_order_acquire) != 0;
}

int ljt_control_pause(uint32_t max_ms)
{
    uint64_t now = ljt_kernel.now(), deadline = now + max_ms * MS;
    atomic_store_explicit(&pause_time, now, memory_order_relaxed);
    atomic_fetch_add_explicit(&pauses, 1, memory_order_release);
    uint32_t epoch = atomic_fetch_add_explicit(&pause_epoch, 1, memory_order_release) + 1;
    if (!ljt_reclaim_running()) /* nobody claims anything here */
        return 0;
    ljt_reclaim_wake();
    for (;;) {
        uint32_t quiet = atomic_load_explicit(&quiet_epoch, memory_order_acquire); /* pairs with report */
        if ((int32_t)(quiet - epoch) >= 0)
            return 0;
        if (!sleep_on(&quiet_epoch, quiet, deadline))
            return -ETIMEDOUT;
    }
}

int ljt_control_resume(void)
{
    uint32_t n = atomic_load_explicit(&pauses, memory_order_relaxed);
    do {
        if (n == 0)
            return -EINVAL;
    } while (!atomic_compare_exchange_weak_explicit(&pauses, &n, n - 1, memory_order_acq_rel,
                                                    memory_order_relaxed));
    if (n == 1)
        ljt_reclaim_wake();
    return n - 1 > INT32_MAX ? INT32_MAX : (int)(n - 1);
}

void ljt_control_changed(void)
{
    atomic_fetch_add_explicit(&changes, 1, memory_order_release);
    ljt_reclaim_wake();
}

int64_t ljt_control_trim(uint64_t max_bytes, uint32_t max_ms, bool wait)
{
    _Atomic uint32_t *state = &ljt_wiped.trim;
    uint64_t deadline = ljt_kernel.now() + max_ms * MS;
    if (!ljt_reclaim_running())
        return -ENODEV;
    if (ljt_config.mode == LJT_MODE_OBSERVE)
        return -EPERM;
    if (ljt_control_paused())
        return -EAGAIN;
    for (uint32_t found = TRIM_NONE; !atomic_compare_exchange_strong_explicit(
             state, &found, TRIM_SET_UP, memory_order_acq_rel, memory_order_relaxed);
         found = TRIM_NONE)
        if (!wait || !sleep_on(state, found, deadline))
            return -EBUSY;

    if (++trim.ticket == 0)
        trim.ticket = 1;
    trim.deadline = deadline;
    trim.max_bytes = max_bytes != 0 ? max_bytes : UINT64_MAX;
    atomic_store_explicit(&trim.purged, 0, memory_order_relaxed);
    atomic_store_explicit(state, wait ? TRIM_ACTIVE : TRIM_LEFT, memory_order_release);
    ljt_reclaim_wake();
    if (!wait)
        return 0;

    while (atomic_load_explicit(state, memory_order_acquire) == TRIM_ACTIVE)
        if (!sleep_on(state, TRIM_ACTIVE, deadline))
            break;
    /* Read while it is ours: once it is LEFT or NONE the next one may begin. */
    uint64_t purged = atomic_load_explicit(&trim.purged, memory_order_acquire);
    uint32_t active = TRIM_ACTIVE;
    if (!atomic_compare_exchange_strong_explicit(state, &active, TRIM_LEFT, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        purged = atomic_load_explicit(&trim.purged, memory_order_relaxed);
        atomic_store_explicit(state, TRIM_NONE, memory_order_release);
        wake_all(state);
    }
    return (int64_t)purged;
}

/* ---- The reclaimer ---- */

bool ljt_control_urgent(void)
{
    if (trim_is_active())
        return true;
    if (!ljt_control_paused() || atomic_load_explicit(&quiet_epoch, memory_order_relaxed) ==
                                     atomic_load_explicit(&pause_epoch, memory_order_acquire))
        return false;
    return ljt_kernel.now() - atomic_load_explicit(&pause_time, memory_order_relaxed) < PAUSE_URGENT;
}

/* Has the trim under way come to one of its bounds? */
static bool trim_is_spent(uint64_t now)
{
    return now >= trim.deadline || atomic_load_explicit(&trim.purged, memory_order_relaxed) >= trim.max_bytes;
}

bool ljt_control_trims(const struct ljt_arena *a)
{
    return a->pace.trim != 0;
}

/* An option may have made more of this arena worth a look. */
static void follow_changes(struct ljt_pace *p)
{
    uint32_t seen = atomic_load_explicit(&changes, memory_order_acquire);
    if (p->changes == seen)
        return;
    p->changes = seen;
    p->settled = false;
}

enum ljt_control_advice ljt_control_advise(struct ljt_arena *a, uint64_t now)
{
    struct ljt_pace *p = &a->pace;
    follow_changes(p);
    bool active = trim_is_active();
    if (p->trim != 0 && (!active || p->trim != trim.ticket || trim_is_spent(now))) {
        if (a->work.claims == 0)
            p->trim = 0;
        return LJT_CONTROL_STOP;
    }
    if (ljt_control_paused())
        return LJT_CONTROL_STOP;
    if (active && p->trimmed != trim.ticket && p->trim == 0 && !trim_is_spent(now)) {
        if (a->work.claims == 0) { /* else once more after the hand-back */
            p->trim = trim.ticket;
            p->trim_looks = 0;
            p->settled = false;
            p->looked = 0; /* due */
        }
        return LJT_CONTROL_AFRESH;
    }
    return LJT_CONTROL_GO_ON;
}

void ljt_control_look_ended(struct ljt_arena *a)
{
    struct ljt_pace *p = &a->pace;
    if (p->trim == 0)
        return;
    if (p->claimed_in_look > 0 && ++p->trim_looks < TRIM_LOOKS) {
        p->looked = 0;
        return;
    }
    p->trimmed = p->trim;
    p->trim = 0;
}

size_t ljt_control_allowance(const struct ljt_arena *a)
{
    if (a->pace.trim == 0)
        return SIZE_MAX;
    uint64_t purged = atomic_load_explicit(&trim.purged, memory_order_relaxed);
    if (!trim_is_active() || purged >= trim.max_bytes || ljt_kernel.now() >= trim.deadline)
        return 0;
    uint64_t left = trim.max_bytes - purged;
    return left > SIZE_MAX / 2 ? SIZE_MAX : ljt_page_up(left);
}

void ljt_control_purged(size_t bytes)
{
    atomic_fetch_add_explicit(&trim.purged, bytes, memory_order_release);
}

/* Arenas that the reclaimer may touch: armed, and not a parent's of which this process knows nothing yet. */
static bool is_at_work_on(const struct ljt_arena *a)
{
    return ljt_arena_is(a, LJT_ARENA_ARMED) &&
           (atomic_load_explicit(&ljt_wiped.word[a->slot].want, memory_order_acquire) & LJT_WANT_LIVE) != 0;
}

void ljt_control_report(uint64_t now)
{
    uint32_t epoch = atomic_load_explicit(&pause_epoch, memory_order_acquire);
    bool paused = ljt_control_paused(), active = trim_is_active();
    if (!active && (!paused || epoch == atomic_load_explicit(&quiet_epoch, memory_order_relaxed)))
        return;
    bool quiet = true, trimmed = true;
    unsigned slots = atomic_load_explicit(&ljt_arena_slots, memory_order_acquire);
    for (unsigned i = 0; i < slots; i++) {
        const struct ljt_arena *a = &ljt_arenas[i];
        if (!is_at_work_on(a))
            continue;
        quiet = quiet && !a->pace.posted && a->work.claims == 0;
        trimmed = trimmed && active && a->pace.trimmed == trim.ticket;
    }
    if (paused && quiet) {
        atomic_store_explicit(&quiet_epoch, epoch, memory_order_release);
        wake_all(&quiet_epoch);
    }
    if (!active || (!trimmed && !paused && !trim_is_spent(now)))
        return;
    uint32_t state = TRIM_ACTIVE; /* else LEFT, in which the reclaimer alone changes it */
    if (!atomic_compare_exchange_strong_explicit(&ljt_wiped.trim, &state, TRIM_DONE, memory_order_acq_rel,
                                                 memory_order_relaxed))
        atomic_store_explicit(&ljt_wiped.trim, TRIM_NONE, memory_order_release);
    wake_all(&ljt_wiped.trim);
}
