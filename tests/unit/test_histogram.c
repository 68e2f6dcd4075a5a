#include <criterion/criterion.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"

static uint64_t total(const struct ljt_histogram *h)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < LJT_HISTOGRAM_BUCKETS; i++)
        sum += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
    return sum;
}

static uint64_t random_state;

static uint64_t random_next(void) /* xorshift64 */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

/* TEST_SEED=n repeats a run. */
static void random_seed(const char *test)
{
    const char *given = getenv("TEST_SEED");

    random_state = given ? strtoull(given, NULL, 10) : ((uint64_t)time(NULL) << 20 ^ (uint64_t)getpid());
    random_state += random_state == 0;
    fprintf(stderr, "histogram: %s: TEST_SEED=%llu\n", test, (unsigned long long)random_state);
}

Test(histogram, buckets_meet_without_gap_or_overlap)
{
    uint64_t next = 0; /* the smallest value of the bucket */

    for (unsigned i = 0; i < LJT_HISTOGRAM_BUCKETS; i++) {
        uint64_t upper = ljt_histogram_upper_bound(i);
        cr_assert(upper >= next, "bucket %u", i);
        cr_assert(ljt_histogram_bucket(next) == i, "bucket %u begins at %llu", i, (unsigned long long)next);
        cr_assert(ljt_histogram_bucket(upper) == i, "bucket %u ends at %llu", i, (unsigned long long)upper);
        cr_assert((upper - next) * 8 <= next || upper == next, "bucket %u is wider than an eighth", i);
        next = upper + 1;
    }
    cr_expect(next == UINT64_C(1) << LJT_HISTOGRAM_MAX_BITS);
    cr_expect(next > UINT64_C(10000000000), "10 s has a bucket of its own size");
    cr_expect(ljt_histogram_bucket(next) == LJT_HISTOGRAM_BUCKETS - 1);
    cr_expect(ljt_histogram_bucket(UINT64_MAX) == LJT_HISTOGRAM_BUCKETS - 1);
}

Test(histogram, empty_one_answers_zero)
{
    static struct ljt_histogram h;

    cr_expect(ljt_histogram_count(&h) == 0 && ljt_histogram_max(&h) == 0 && ljt_histogram_mean(&h) == 0);
    cr_expect(ljt_histogram_quantile(&h, 1, 2) == 0);
    cr_expect(ljt_histogram_quantile(&h, 1, 1) == 0);
}

Test(histogram, one_value_is_every_quantile)
{
    static struct ljt_histogram h;

    ljt_histogram_add(&h, 1000);
    cr_expect(ljt_histogram_quantile(&h, 0, 1) == 1000);
    cr_expect(ljt_histogram_quantile(&h, 1, 2) == 1000);
    cr_expect(ljt_histogram_quantile(&h, 999, 1000) == 1000);
    cr_expect(ljt_histogram_quantile(&h, 1, 1) == 1000);
    cr_expect(ljt_histogram_mean(&h) == 1000);
}

Test(histogram, keeps_the_true_maximum_of_values_beyond_its_range)
{
    static struct ljt_histogram h;

    ljt_histogram_add(&h, 5);
    ljt_histogram_add(&h, UINT64_C(100000000000));
    cr_expect(ljt_histogram_max(&h) == UINT64_C(100000000000));
    cr_expect(ljt_histogram_quantile(&h, 1, 1) == UINT64_C(100000000000));
    cr_expect(ljt_histogram_quantile(&h, 1, 2) == 5);
}

Test(histogram, a_rare_outlier_shows_only_in_the_quantile_that_holds_it)
{
    static struct ljt_histogram h;

    for (int i = 0; i < 999; i++)
        ljt_histogram_add(&h, 8);
    ljt_histogram_add(&h, 1000000);
    cr_expect(ljt_histogram_quantile(&h, 999, 1000) == 8);
    cr_expect(ljt_histogram_quantile(&h, 9991, 10000) == 1000000);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

Test(histogram, quantiles_are_never_too_low_and_at_most_an_eighth_too_high)
{
    enum { VALUES = 5000 };
    static uint64_t values[VALUES];
    static const uint64_t thousandths[] = {1, 100, 500, 900, 990, 999, 1000};
    static struct ljt_histogram h;
    uint64_t sum = 0;

    random_seed("quantiles");
    for (int i = 0; i < VALUES; i++) {
        values[i] = random_next() >> (30 + random_next() % 34); /* all magnitudes below 2^34 */
        sum += values[i];
        ljt_histogram_add(&h, values[i]);
    }
    qsort(values, VALUES, sizeof(values[0]), compare);
    for (size_t i = 0; i < sizeof(thousandths) / sizeof(thousandths[0]); i++) {
        uint64_t exact = values[VALUES * thousandths[i] / 1000 - 1];
        uint64_t q = ljt_histogram_quantile(&h, thousandths[i], 1000);
        cr_expect(q >= exact && q - exact <= exact / 8, "%llu thousandths: %llu for %llu",
                  (unsigned long long)thousandths[i], (unsigned long long)q, (unsigned long long)exact);
    }
    cr_expect(ljt_histogram_quantile(&h, 1, 1) == values[VALUES - 1]);
    cr_expect(ljt_histogram_mean(&h) == sum / VALUES);
    cr_expect(total(&h) == VALUES);
}

Test(histogram, ranks_of_huge_counts_do_not_overflow)
{
    static struct ljt_histogram h;

    atomic_store(&h.bucket[3], UINT64_C(1) << 60);
    atomic_store(&h.bucket[9], UINT64_C(1) << 40);
    atomic_store(&h.max, 9);
    cr_expect(ljt_histogram_quantile(&h, 999999, 1000000) == 3);
    cr_expect(ljt_histogram_quantile(&h, 1, 1) == 9);
}

Test(histogram, merging_equals_adding_everything_to_one)
{
    static struct ljt_histogram a, b, both;

    random_seed("merging");
    for (int i = 0; i < 1000; i++) {
        uint64_t value = random_next() >> (20 + random_next() % 44);
        ljt_histogram_add(i % 3 ? &a : &b, value);
        ljt_histogram_add(&both, value);
    }
    ljt_histogram_merge(&a, &b);
    cr_expect(memcmp((const void *)&a, (const void *)&both, sizeof(a)) == 0);
}

static struct ljt_histogram shared;
static _Atomic int writing;

static void *write_shared(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < 200000; i++)
        ljt_histogram_add(&shared, i % 4096);
    atomic_store(&writing, 0);
    return NULL;
}

/* Under TSan: no data race. Anywhere: what a reader merges meanwhile adds up. */
Test(histogram, can_be_read_while_it_is_written)
{
    static struct ljt_histogram copy;
    pthread_t writer;
    uint64_t last = 0;

    atomic_store(&writing, 1);
    cr_assert(pthread_create(&writer, NULL, write_shared, NULL) == 0);
    do {
        memset((void *)&copy, 0, sizeof(copy));
        ljt_histogram_merge(&copy, &shared);
        cr_assert(ljt_histogram_count(&copy) == total(&copy));
        cr_assert(ljt_histogram_count(&copy) >= last);
        cr_assert(ljt_histogram_quantile(&shared, 1, 1) <= 4095);
        last = ljt_histogram_count(&copy);
    } while (atomic_load(&writing));
    pthread_join(writer, NULL);
    cr_expect(ljt_histogram_count(&shared) == 200000 && total(&shared) == 200000);
}

Test(histogram, several_quantiles_in_one_pass_are_those_of_one_at_a_time)
{
    static const unsigned per_mille[] = {1, 500, 990, 999, 1000};
    struct ljt_histogram h = {0};
    uint64_t ns[5];
    ljt_histogram_quantiles(&h, per_mille, ns, 5);
    cr_expect(ns[0] == 0 && ns[4] == 0, "of an empty one");
    for (uint64_t i = 1, n = 7; i < 3000; i++, n = n * 6364136223846793005u + 1442695040888963407u) {
        ljt_histogram_add(&h, n >> (20 + n % 44)); /* beyond 2^34, too */
        ljt_histogram_quantiles(&h, per_mille, ns, 5);
        for (int q = 0; q < 5; q++)
            cr_assert(ns[q] == ljt_histogram_quantile(&h, per_mille[q], 1000), "%u of %llu values",
                      per_mille[q], (unsigned long long)i);
    }
}
