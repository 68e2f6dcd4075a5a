/*
 * policy: which free pages of a VM are worth giving back now.
 *
 * A page goes back when it has been free for as long as the decay in force. That is LJTRIM_DECAY_MS, stretched
 * while the VM shows that it wants its pages back: of what was purged in a window (a time of one to two decays),
 * the share that was not touched again within it is the window's score. A bad score doubles the decay, a long
 * time without one halves it. A busy VM also keeps what it has used at any time within the decay in force: a page is
 * old when it was free throughout, and two looks may both fall into troughs, and take what the peak between them has
 * used for old. And LJTRIM_RETAIN_PCT of that besides, as a slack. A VM that has grown quiet gets none of these: what it
 * does not use now it will not want soon.
 *
 *     busy, score good   decay as configured      room for the last peak, and slack
 *     busy, score bad    decay x 2, 4, .. 64      the same
 *     quiet              decay as configured      none
 *     memory pressure    none                     none
 *
 * Plain arithmetic on times and counts that the caller brings: no clock, no lock. Used by the reclaimer alone.
 */
#ifndef LJT_POLICY_H
#define LJT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define LJT_POLICY_STRETCH_MAX 6                         /* decay x 64, but at most */
#define LJT_POLICY_DECAY_MAX ((uint64_t)60 * 1000000000) /* so long, unless configured longer */
#define LJT_POLICY_BAD_PCT 90                            /* a window's score below this stretches the decay */
#define LJT_POLICY_CALM 32                               /* windows without a bad score that halve it again */
#define LJT_POLICY_WINDOW_MIN ((uint64_t)256 << 10)    /* bytes purged that make a window worth a judgement */
#define LJT_POLICY_EIGHTHS 8                           /* the last peak is known to an eighth of a decay */
#define LJT_POLICY_PULSE_MIN ((uint64_t)25 * 1000000)  /* but asked for no more often than this */
#define LJT_POLICY_QUIET_MIN ((uint64_t)100 * 1000000) /* a VM is quiet after two decays, but no sooner */
#define LJT_POLICY_QUIET_MAX ((uint64_t)2 * 1000000000) /* and no later than this, at less than */
#define LJT_POLICY_QUIET_SHARE 16                       /* this part of its recent peak rate */

struct ljt_policy {
    /* The score. */
    uint64_t opened; /* when the window's first purge was; 0: none is open */
    uint64_t window; /* how long it is, ns: the decay in force then */
    uint64_t purged; /* bytes in the window */
    uint64_t early;  /* of these, touched again */
    bool bad;        /* the window's score is, and has stretched the decay */
    unsigned stretch;
    unsigned calm; /* windows since the last bad score, or the last change */

    /* The most live bytes in the present eighth of a decay, in the one before, .. for two decays: it may double. */
    uint64_t high[2 * LJT_POLICY_EIGHTHS + 1], high_since; /* when the present one began */
    uint64_t live;                                         /* as last noted */

    /* How busy the VM is, in gate entries. */
    uint64_t seq, seen; /* entries, and when they were counted; 0: never */
    double peak;        /* the highest rate lately, entries a ns */
    uint64_t busy;      /* when the VM was last seen busy */
    bool quiet;
};

/* A window that has ended. */
struct ljt_policy_verdict {
    uint64_t purged, early; /* bytes; 0 and 0: no window has ended */
};

/*
 * Notes how many entries the VM has made; what comes soon after another is passed over. `decay` is the configured one,
 * ns, here and below.
 */
void ljt_policy_observe(struct ljt_policy *p, uint64_t now, uint64_t seq, uint64_t decay);

/*
 * Notes that bytes were purged; that bytes purged in this window were found touched. A score that is bad already need not
 * wait for the window's end to stretch the decay.
 */
void ljt_policy_purged(struct ljt_policy *p, uint64_t now, uint64_t bytes, uint64_t decay);
void ljt_policy_touched(struct ljt_policy *p, uint64_t bytes, uint64_t decay);

/*
 * Notes how many bytes of the arena are live. A peak may have ended just before the next note: what has come since the last
 * note counts twice.
 */
void ljt_policy_live(struct ljt_policy *p, uint64_t now, uint64_t live, uint64_t decay);

/* How often a busy VM's entries and live bytes are to be noted, ns. */
uint64_t ljt_policy_pulse(uint64_t decay);

/* Ends the window if it is a decay old, and judges it. The caller then forgets which pages were purged in it. */
bool ljt_policy_judge(struct ljt_policy *p, uint64_t now, uint64_t decay, struct ljt_policy_verdict *verdict);

/* The decay in force, ns. */
uint64_t ljt_policy_decay(const struct ljt_policy *p, uint64_t decay);

/*
 * What a VM with so many live bytes may keep of its free pages, bytes; and of whole segments, which lj_alloc would have
 * returned in the call that freed them: only the configured share of what it uses.
 */
uint64_t ljt_policy_retained(const struct ljt_policy *p, uint64_t used, double retain_pct);
uint64_t ljt_policy_slack(const struct ljt_policy *p, uint64_t live, double retain_pct);

#endif
