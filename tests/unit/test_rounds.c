/*
 * An arena's turns, with the test in the mutator's place.
 */
#include "lab.h"

#include "pressure.h"
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

/* With an interval of an hour a unit that nobody came for waited as long, whatever became of memory. */
Test(rounds, a_posted_unit_is_asked_for_again_when_memory_may_be_short)
{
    struct lab_vm vm = lab_vm_open();
    struct ljt_arena *a = lab_vm_arm(&vm);
    a->pace.wrapped = true;
    ljt_config.interval_ms = 3600 * 1000;
    ljt_config.pressure = LJT_PRESSURE_AUTO;
    lab_fake_time();
    lab_pass_time(1); /* time 0 is never */
    uint64_t wish = ljt_rounds_turn(a, ljt_kernel.now());
    cr_assert(a->pace.posted);
    cr_expect(wish <= ljt_kernel.now() + LJT_PRESSURE_INTERVAL);
    ljt_config.pressure = LJT_PRESSURE_OFF;
    wish = ljt_rounds_turn(a, ljt_kernel.now());
    cr_expect(wish > ljt_kernel.now() + 60 * LJT_PRESSURE_INTERVAL && wish != UINT64_MAX, "nobody asks");
}
