#include "histogram.h"

static uint64_t histogram_load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

uint64_t ljt_histogram_mean(const struct ljt_histogram *h)
{
    uint64_t count = histogram_load(&h->count);

    return count > 0 ? histogram_load(&h->sum) / count : 0;
}

void ljt_histogram_merge(struct ljt_histogram *into, const struct ljt_histogram *from)
{
    /* First the maximum, which is stored before its bucket: nothing that was counted by now is above it. */
    uint64_t max = histogram_load(&from->max), count = 0;
    unsigned end = ljt_histogram_bucket(max) + 1;

    for (unsigned i = 0; i < end; i++) {
        uint64_t n = histogram_load(&from->bucket[i]);
        count += n;
        ljt_histogram_bump(&into->bucket[i], n);
    }
    /* Counted here, not copied: `from` may grow between two loads, and count = sum of bucket[] must hold. */
    ljt_histogram_bump(&into->count, count);
    ljt_histogram_bump(&into->sum, histogram_load(&from->sum));
    if (max > histogram_load(&into->max))
        atomic_store_explicit(&into->max, max, memory_order_relaxed);
}

void ljt_histogram_quantiles(const struct ljt_histogram *h, const unsigned *per_mille, uint64_t *ns, size_t n)
{
    uint64_t bucket[LJT_HISTOGRAM_BUCKETS], count = 0, seen = 0, max = histogram_load(&h->max);
    unsigned end = ljt_histogram_bucket(max) + 1, i = 0;

    for (unsigned k = 0; k < end; k++) {
        bucket[k] = histogram_load(&h->bucket[k]);
        count += bucket[k];
    }
    for (size_t q = 0; q < n; q++) {
        /* rank = ceil(count * per_mille / 1000), at least 1, without overflow. */
        uint64_t rank = count / 1000 * per_mille[q] + (count % 1000 * per_mille[q] + 999) / 1000;
        rank = rank > 0 ? rank : 1;
        while (i < end && seen + bucket[i] < rank)
            seen += bucket[i++];
        /* The last bucket has no bound. */
        uint64_t bound = i < LJT_HISTOGRAM_BUCKETS - 1 ? ljt_histogram_upper_bound(i) : max;
        ns[q] = count == 0 ? 0 : bound < max ? bound : max;
    }
}

uint64_t ljt_histogram_quantile(const struct ljt_histogram *h, uint64_t num, uint64_t den)
{
    uint64_t count = 0, seen = 0, max = histogram_load(&h->max);

    for (unsigned i = 0; i < LJT_HISTOGRAM_BUCKETS; i++)
        count += histogram_load(&h->bucket[i]);
    if (count == 0 || den == 0)
        return 0;
    /* rank = ceil(count * num / den), at least 1, without overflow. */
    uint64_t rank = count / den * num + (count % den * num + den - 1) / den;
    rank = rank > 0 ? rank : 1;
    for (unsigned i = 0; i < LJT_HISTOGRAM_BUCKETS; i++) {
        seen += histogram_load(&h->bucket[i]); /* counters only grow, so the rank is reached */
        if (seen >= rank && i < LJT_HISTOGRAM_BUCKETS - 1) {
            uint64_t bound = ljt_histogram_upper_bound(i);
            return bound < max ? bound : max;
        }
    }
    return max; /* in the last bucket, which has no bound */
}
