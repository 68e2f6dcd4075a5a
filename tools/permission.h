/* Why a process can't be read: it is gone, or which capability or setting stands in the way. */
#ifndef LJT_PERMISSION_H
#define LJT_PERMISSION_H

#include <sys/types.h>

#include "commands.h"
#include "text.h"

/* A line of /proc/PID/status, for example "CapEff:", as a number in `base`; `otherwise` if there is none. */
unsigned long long ljt_status_number(pid_t pid, const char *field, int base, unsigned long long otherwise);

/* Appends reason and remedy, without a full stop. */
void ljt_permission_explain(struct ljt_text *t, pid_t pid);

/*
 * Appends what -ESRCH, -EPERM or -EACCES means, and returns what to exit with. A process that /proc hides (its option
 * hidepid) looks like one that is not there.
 */
enum ljt_exit ljt_process_explain(struct ljt_text *t, pid_t pid, int error);

#endif
