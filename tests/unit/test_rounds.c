/*
 * An arena's turns, with the test in the mutator's place.
 */
#include "lab.h"

#include "rounds.h"

TestSuite(rounds, .init = lab_init, .timeout = LAB_TIMEOUT);

/* Seen by ThreadSanitizer: the count of the segments was read while the VM's thread was at their list. */
Test(rounds, while_a_request_stands_the_work_is_the_mutator_s)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    a->pace.wrapped = true; /* no holds: units are the mutator's, which does not come */
    ljt_rounds_turn(a, ljt_kernel.now());
    cr_assert(a->pace.posted && (atomic_load(&ljt_wiped.word[a->slot].want) & LJT_WANT_REQUEST) != 0);
    cr_assert(a->work.segments == 0);

    int stage = a->pace.stage;
    uint64_t mapped = a->stats.mapped;
    a->work.segments = 1; /* it has come, and has listed the first of them */
    a->pace.map_events = atomic_load(&a->module->map_events);
    ljt_rounds_turn(a, ljt_kernel.now());
    cr_expect(a->pace.posted && a->pace.stage == stage, "stage %d, then %d", stage, a->pace.stage);
    cr_expect(a->stats.mapped == mapped, "nothing was summed up");
}
