/*
 * withhold: the signals that a write of ours raises never reach the host: SIGPIPE where nobody reads, SIGXFSZ beyond a limit
 * on file sizes.
 *
 * They are blocked while we write, and the one that the write raised (it is sent to this thread) is taken back before they
 * are unblocked. One that was pending before is the host's. Where they can't be blocked nothing is to be written; where
 * one can't be taken back, in a sandbox that forbids to, they stay blocked: it would end the process.
 *
 * Any thread, async-signal-safe. errno is the caller's to save.
 */
#ifndef LJT_WITHHOLD_H
#define LJT_WITHHOLD_H

#include <signal.h>
#include <stdbool.h>

struct ljt_withheld {
    sigset_t before, pending;
};

/* False: they can't be blocked. */
bool ljt_withhold(struct ljt_withheld *w);

/* After the writes, of which one has failed with `error` (0: none). */
void ljt_withhold_end(const struct ljt_withheld *w, int error);

#endif
