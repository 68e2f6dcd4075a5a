/*
 * policy: which free pages of a VM are worth giving back now.
 *
 * A page goes back when it has been free for as long as the decay in force. That is LJTRIM_DECAY_MS, stretched
 * while the VM shows that it wants its pages back: of what was purged in a window (a time of one to two decays),
 * the share that was not touched again within it is the window's score. A bad score doubles the decay, a long
 * time without one halves it. A busy VM also keeps LJTRIM_RETAIN_PCT of its live bytes as a slack; and while the
 * decay is stretched, what its peaks within that time have used besides: two looks that far apart may both fall into
 * troughs, and take what the peak between them has used for old. A VM that has grown quiet gets none of these: what
 * it does not use now it will not want soon.
 *
 *     busy, score good   decay as configured      slack kept
 *     busy, score bad    decay x 2, 4, .. 64      slack kept, room for the last peak, too
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
#define LJT_POLICY_QUIET_MIN ((uint64_t)100 * 1000000) /* a VM is quiet after two decays, but no sooner */
#define LJT_POLICY_QUIET_MAX ((uint64_t)2 * 1000000000) /* and no later than this, at less than */
#define LJT_POLICY_QUIET_SHARE 16                       /* this part of its recent peak rate */

struct ljt_policy {
    /* The score. */
    uint64_t opened; /* when the window's first purge was; 0: none is open */
    uint64_t purged; /* bytes in the window */
    uint64_t early;  /* of these, touched again */
    unsigned stretch;
    unsigned calm; /* windows since the last bad score, or the last change */

    /* The most live bytes seen since a time, and in the decay before that. */
    uint64_t high, high_before, high_since;

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
 * Notes how many entries the VM has made. To be told about every ljt_policy_pulse ns; what comes much sooner is passed
 * over. `decay` is the configured one, ns, here and below.
 */
void ljt_policy_observe(struct ljt_policy *p, uint64_t now, uint64_t seq, uint64_t decay);
uint64_t ljt_policy_pulse(uint64_t decay);

/* Notes that bytes were purged; that bytes purged in this window were found touched. */
void ljt_policy_purged(struct ljt_policy *p, uint64_t now, uint64_t bytes);
void ljt_policy_touched(struct ljt_policy *p, uint64_t bytes);

/* Notes how many bytes of the arena are live. As often as ljt_policy_observe. */
void ljt_policy_live(struct ljt_policy *p, uint64_t now, uint64_t live, uint64_t decay);

/* Ends the window if it is a decay old, and judges it. The caller then forgets which pages were purged in it. */
bool ljt_policy_judge(struct ljt_policy *p, uint64_t now, uint64_t decay, struct ljt_policy_verdict *verdict);

/* The decay in force, ns. */
uint64_t ljt_policy_decay(const struct ljt_policy *p, uint64_t decay);

/* What a VM with so many live bytes may keep of its free pages, bytes. */
uint64_t ljt_policy_slack(const struct ljt_policy *p, uint64_t live, double retain_pct);

#endif
