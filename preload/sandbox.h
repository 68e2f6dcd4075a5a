/*
 * sandbox: which system calls a seccomp filter would kill the process for.
 *
 * Most sandboxes answer what they forbid with an error, and every caller here can do without. Some kill
 * (systemd's SystemCallFilter= does unless it is given an error number), and nothing tells the two apart but trying. So where a
 * filter is active, a forked child tries: it makes the calls that the host itself might never make, one after the
 * other, and notes each in shared memory before and after. If it dies, the call that it died of is one that we
 * do without from then on. The child does nothing else: raw system calls, no memory of the host's is written, no
 * signal tells of its end, no core is left.
 *
 * A process asks when it first looks at a heap, and once more when its reclaimer starts: a daemon may have shut itself,
 * or a child of its, in since. What was known before holds where the filters are as many.
 *
 * What this can't see: a filter that is installed later yet, and a host that may not fork either. Where there is no
 * filter nothing is tried.
 */
#ifndef LJT_SANDBOX_H
#define LJT_SANDBOX_H

#include <stdbool.h>

/* Calls that LuaJIT and the C library do not need. */
enum ljt_sandbox_call {
    LJT_CALL_PROCESS_VM_READV,
    LJT_CALL_MINCORE,
    LJT_CALL_MADVISE,
    LJT_CALL_PROCESS_MADVISE,
    LJT_CALL_MEMBARRIER,
    LJT_CALL_STATX,
    LJT_CALL_GETRUSAGE,
    LJT_CALL_PRCTL,
    LJT_CALLS
};

/*
 * Would this call kill? Before ljt_sandbox_ask has run: false. One load, any thread.
 */
bool ljt_sandbox_kills(enum ljt_sandbox_call call);

/* Was there a filter and no child to try it with? Then every call is taken for deadly. */
bool ljt_sandbox_is_unknown(void);

/*
 * Finds out, once a process; a forked child knows what its parent knew, if its filters are as many. Reads
 * /proc/thread-self/status; forks where there are others, or where that can't be told. Called under the registry lock, on
 * the host's thread, by the first look at a candidate.
 */
void ljt_sandbox_ask(void);

/* The same, whenever it was asked last; takes the registry lock. On the reclaimer's thread, before it does anything. */
void ljt_sandbox_ask_anew(void);

#endif
