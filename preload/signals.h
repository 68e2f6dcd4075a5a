/*
 * signals: LJTRIM_SIGNAL asks for a dump, and the host's own handler still runs.
 *
 * Our handler is installed when the first arena is armed, or at the start where LuaJIT is linked: a process without
 * LuaJIT keeps its dispositions. From then on what the host sets for this signal is remembered and called after ours; it is told of its own actions,
 * never of ours. A host that leaves the signal at its default gets the dump instead of being terminated.
 */
#ifndef LJT_SIGNALS_H
#define LJT_SIGNALS_H

#include <signal.h>

/* Installs the handler once a process tree. In the gate's slow path. */
void ljt_signals_install(void);

/* What the interposed sigaction does; 1 if the call was dealt with (*result is its return value), else 0. */
int ljt_signals_action(int signo, const struct sigaction *act, struct sigaction *old, int *result);

#endif
