/*
 * What a process loses to us, by the hour: the reclaimer's loop and rounds, under a clock that goes on by what is done.
 *
 * Everything has a price here. The kernel's calls cost the thread so much a page, a look at the clock within a unit costs
 * the VM so much, and each page that is given back is found touched again. The VM lives in the reclaimer's sleeps: it makes
 * its calls, and with them the units that are posted, on that one thread.
 */
#include "lab.h"

#include <string.h>
#include <sys/uio.h>

#include "budget.h"

#define HOUR (UINT64_C(3600) * 1000000000)
#define KERNEL_PRICE 1000 /* ns a page */
#define UNIT_PRICE 200000 /* ns a look at the clock */
#define MS UINT64_C(1000000)

static void set_up(void)
{
    lab_init();
    atomic_store(&ljt_wiped.reclaimer, LJT_RECLAIMER_NONE);
    ljt_config.interval_ms = 10;
    ljt_config.decay_ms = 0;
}

TestSuite(spending, .init = set_up, .timeout = LAB_TIMEOUT);

static const double percent[] = {1, 3};     /* an hour each */
enum { HOURS = LAB_SLOWNESS == 1 ? 2 : 1 }; /* of these */

struct spent {
    uint64_t thread, units, faults; /* ns */
};

static struct ljt_arena *arena;
static uint64_t began;
static bool in_vm;
static struct spent so_far, at_hour[HOURS + 1];
static _Atomic unsigned hour;

static struct ljt_kernel kernel; /* the lab's */

static uint64_t dear_clock(void)
{
    if (in_vm)
        lab_pass_time(UNIT_PRICE);
    return kernel.now();
}

static void charge(size_t bytes)
{
    uint64_t price = bytes / ljt_page_size * KERNEL_PRICE;
    so_far.thread += price;
    lab_pass_time(price);
}

static uint64_t cpu_of_the_thread(void)
{
    return so_far.thread;
}

static bool is_in_the_heap(const void *addr)
{
    return (uintptr_t)addr - arena->m->seg.base < arena->m->seg.size;
}

/* All that is mapped has been touched. */
static int all_resident(void *addr, size_t len, unsigned char *vec)
{
    (void)addr;
    charge(len);
    memset(vec, 1, len >> ljt_page_shift);
    return 0;
}

/* It will be touched: at 4 KiB a fault. */
static int giving_back(void *addr, size_t len, int advice)
{
    if (!is_in_the_heap(addr)) /* what is tried out at the start */
        return kernel.madvise(addr, len, advice);
    charge(len);
    so_far.faults += len / 4096 * LJT_BUDGET_FAULT;
    return 0;
}

static ssize_t giving_back_batch(const struct iovec *ranges, size_t count, int advice)
{
    ssize_t done = 0;
    for (size_t i = 0; i < count; i++) {
        giving_back(ranges[i].iov_base, ranges[i].iov_len, advice);
        done += (ssize_t)ranges[i].iov_len;
    }
    return done;
}

static void vm_lives(void)
{
    ljt_alloc_fn *gate = ljt_gate_trampoline(arena->slot);
    in_vm = true;
    gate(arena->m, gate(arena->m, NULL, 0, 100), 100, 0);
    in_vm = false;
}

/* On the reclaimer's thread. */
static void sleep_and_live(const volatile void *word, uint32_t value, uint64_t ns)
{
    unsigned h = atomic_load(&hour);
    if (h == HOURS) {
        lab_pause_ms(10);
        return;
    }
    kernel.futex_wait(word, value, ns);
    vm_lives();
    if (kernel.now() - began < HOUR)
        return;
    began = kernel.now();
    so_far.units = atomic_load(&arena->stats.unit_cpu);
    at_hour[h + 1] = so_far;
    if (h + 1 < HOURS)
        ljt_config.max_cpu_pct = percent[h + 1];
    atomic_store(&hour, h + 1);
}

static double percent_of_an_hour(uint64_t ns)
{
    return (double)ns * 100 / (double)HOUR;
}

Test(spending, is_within_half_a_point_of_the_budget_refaults_included)
{
    struct ljt_lj_state *m = lab_heap(16 * MIB);
    for (int i = 0; i < 12; i++)
        lab_free_chunk(m, 1 * MIB - 4096);
    arena = lab_arm(m);
    lab_fake_time();
    kernel = ljt_kernel;
    ljt_kernel.now = dear_clock;
    ljt_kernel.thread_cpu = cpu_of_the_thread;
    ljt_kernel.mincore = all_resident;
    ljt_kernel.madvise = giving_back;
    ljt_kernel.process_madvise = giving_back_batch;
    ljt_kernel.futex_wait = sleep_and_live;
    ljt_config.max_cpu_pct = percent[0];
    began = kernel.now();
    ljt_reclaim_start();
    cr_assert(lab_await(atomic_load(&hour) == HOURS));
    for (unsigned h = 0; h < HOURS; h++) {
        double thread = percent_of_an_hour(at_hour[h + 1].thread - at_hour[h].thread);
        double units = percent_of_an_hour(at_hour[h + 1].units - at_hour[h].units);
        double faults = percent_of_an_hour(at_hour[h + 1].faults - at_hour[h].faults);
        double sum = thread + units + faults;
        cr_expect(sum < percent[h] + 0.5 && sum > percent[h] * 0.9,
                  "%.2f %% of %.0f %%: %.2f, units %.2f, faults %.2f", sum, percent[h], thread, units,
                  faults);
        /* One that is not charged takes the sum beyond that. */
        double least = sum / 8;
        cr_expect(thread > least && units > least && faults > least, "%.2f, units %.2f, faults %.2f", thread,
                  units, faults);
    }
}
