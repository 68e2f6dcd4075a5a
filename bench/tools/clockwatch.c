/*
 * clockwatch SECONDS WINDOW_NS: what the machine does to a thread that does nothing but look at the clock.
 *
 * It looks until WINDOW_NS have passed, notes how long that really took, and starts over. Whatever is longer than
 * the window was taken away by the kernel, the hypervisor or other processes; a wait of that length in a process
 * under test says nothing about the process. Prints: windows p50 p99 p99.9 max, in nanoseconds.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "histogram.h"

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    static struct ljt_histogram took;
    double seconds = argc == 3 ? strtod(argv[1], NULL) : 0;
    uint64_t window = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (seconds <= 0) {
        fprintf(stderr, "usage: clockwatch SECONDS WINDOW_NS\n");
        return 2;
    }
    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), t = start;
    while (start < end) {
        do
            t = now();
        while (t - start < window);
        ljt_histogram_add(&took, t - start);
        start = t;
    }
    printf("%llu", (unsigned long long)ljt_histogram_count(&took));
    for (unsigned i = 0; i < 4; i++)
        printf(" %llu",
               (unsigned long long)ljt_histogram_quantile(&took, (unsigned[]){500, 990, 999, 1000}[i], 1000));
    printf("\n");
    return 0;
}
