/*
 * fault: one call of the kernel's table fails, at the 1st, 2nd, 3rd and 10th time and from the first one on, with every
 * error that its manual has.
 *
 * A test puts calls of its own into ljt_kernel, which ask fault_strikes first. Each run is a process of its own, which lives
 * as the test says. How many runs and faults there were goes to build/results/faults.csv.
 */
#ifndef LJT_TEST_FAULT_H
#define LJT_TEST_FAULT_H

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "kernel.h"

/* No error: the call does a part of what it was asked for, and says so. */
#define PARTLY 0

/* What may come of a fault: the service goes on even if it lasts; it may end, and a line says why; or until the fault does. */
enum loss { NONE, TOLD, PASSING };

#define ALL_ERRORS 32

struct fault_call {
    const char *name;
    enum loss loss;
    int errors[ALL_ERRORS]; /* ends with -1 */
};

/* What fails in this process, with what, and when. */
extern struct fault_plan {
    const struct fault_call *call;
    int error;
    unsigned nth;
    bool onwards;
} fault_plan;

/* The table as it was before a test put its own calls into it. */
extern struct ljt_kernel fault_real;

/* Is this call to fail now? Counts it, and sets errno if so. */
bool fault_strikes(const struct fault_call *call);
unsigned fault_count(void); /* of the faults so far */

/*
 * A call's faults, each in a process that calls `live` and ends: with the first `most` of its errors. `note` (such as
 * " (patched)") is for the figures.
 */
void fault_each(const struct fault_call *call, unsigned most, const char *note, void (*live)(void));

/* Where that process says why it fails. */
extern char *fault_why;
#define FAULT_WHY 400

#define EXPECT(condition, ...)                           \
    do {                                                 \
        if (!(condition)) {                              \
            snprintf(fault_why, FAULT_WHY, __VA_ARGS__); \
            _exit(1);                                    \
        }                                                \
    } while (0)

#endif
