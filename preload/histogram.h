/*
 * histogram: how long things took, in nanoseconds.
 *
 * Log-linear: 8 buckets to an octave, so a quantile is at most an eighth too high (never too low) and exact
 * below 16 ns. From 0 to 2^34 ns (17 s); what is longer falls into the last bucket. Adding costs a few plain
 * instructions: the mutator does it in its slow path.
 *
 * Never allocates, never locks. All zero is an empty histogram.
 * Threads: one writer at a time (writers that take turns under the gate are one writer); readers at any time
 * see each counter whole, but not all of them at the same instant.
 * Signals: everything here is async-signal-safe; adding from a handler makes it a second writer.
 */
#ifndef LJT_HISTOGRAM_H
#define LJT_HISTOGRAM_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LJT_HISTOGRAM_SUB_BITS = 3,  /* 8 buckets to an octave */
    LJT_HISTOGRAM_MAX_BITS = 34, /* values below 2^34 have a bucket of their own size */
    LJT_HISTOGRAM_BUCKETS = (LJT_HISTOGRAM_MAX_BITS - LJT_HISTOGRAM_SUB_BITS + 1) << LJT_HISTOGRAM_SUB_BITS
};

static_assert(LJT_HISTOGRAM_BUCKETS == 256, "octaves 3 to 33 and the linear part, 8 buckets each");

struct ljt_histogram {
    _Atomic uint64_t count;                         /* values added */
    _Atomic uint64_t sum;                           /* ns, of all values: sum / count is the mean */
    _Atomic uint64_t max;                           /* ns, the longest value */
    _Atomic uint64_t bucket[LJT_HISTOGRAM_BUCKETS]; /* count = sum of bucket[] */
};

/* The bucket that a value falls into: 0 to 15 exactly, then 8 to each power of two. */
static inline unsigned ljt_histogram_bucket(uint64_t ns)
{
    if (ns < 1u << LJT_HISTOGRAM_SUB_BITS)
        return (unsigned)ns;
    if (ns >> LJT_HISTOGRAM_MAX_BITS)
        return LJT_HISTOGRAM_BUCKETS - 1;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - LJT_HISTOGRAM_SUB_BITS;
    /* ns >> shift is 8 to 15: its leading one adds the octave that the linear part stands for. */
    return (shift << LJT_HISTOGRAM_SUB_BITS) + (unsigned)(ns >> shift);
}

/* The largest value that falls into a bucket (the last one has no largest: 2^34 - 1 for it too). */
static inline uint64_t ljt_histogram_upper_bound(unsigned bucket)
{
    if (bucket < 2u << LJT_HISTOGRAM_SUB_BITS)
        return bucket;
    unsigned shift = (bucket >> LJT_HISTOGRAM_SUB_BITS) - 1;
    uint64_t mantissa = (bucket & ((1u << LJT_HISTOGRAM_SUB_BITS) - 1)) | 1u << LJT_HISTOGRAM_SUB_BITS;
    return ((mantissa + 1) << shift) - 1;
}

/* Not a read-modify-write: there is one writer, so a plain load and store lose nothing and cost less. */
static inline void ljt_histogram_bump(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

/* Count one value, in ns. The one writer only. */
static inline void ljt_histogram_add(struct ljt_histogram *h, uint64_t ns)
{
    if (ns > atomic_load_explicit(&h->max, memory_order_relaxed))
        atomic_store_explicit(&h->max, ns, memory_order_relaxed);
    ljt_histogram_bump(&h->count, 1);
    ljt_histogram_bump(&h->sum, ns);
    ljt_histogram_bump(&h->bucket[ljt_histogram_bucket(ns)], 1);
}

static inline uint64_t ljt_histogram_count(const struct ljt_histogram *h)
{
    return atomic_load_explicit(&h->count, memory_order_relaxed);
}

static inline uint64_t ljt_histogram_max(const struct ljt_histogram *h)
{
    return atomic_load_explicit(&h->max, memory_order_relaxed);
}

/* Mean in ns, rounded down; 0 of an empty histogram. */
uint64_t ljt_histogram_mean(const struct ljt_histogram *h);

/* Add all of `from` (which may be written meanwhile) to `into` (whose writer the caller is). */
void ljt_histogram_merge(struct ljt_histogram *into, const struct ljt_histogram *from);

/*
 * The value, in ns, that num/den of all values do not exceed: the upper bound of its bucket, clipped to the
 * maximum. num <= den, 0 < den <= 2^32: p99.9 is (h, 999, 1000). 0 of an empty histogram. 512 loads.
 */
uint64_t ljt_histogram_quantile(const struct ljt_histogram *h, uint64_t num, uint64_t den);

/* Several in one pass of 256 loads at most: per_mille[0] <= per_mille[1] <= ... <= 1000, each into ns[]. */
void ljt_histogram_quantiles(const struct ljt_histogram *h, const unsigned *per_mille, uint64_t *ns,
                             size_t n);

#endif
