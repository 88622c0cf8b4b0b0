/* The histogram: plain arithmetic on memory the caller owns. One thread writes. */
#include "base/histogram.h"

#include <assert.h>
#include <string.h>

enum { HISTOGRAM_STEPS = 1 << HISTOGRAM_STEP_BITS };

static uint64_t sum_capped(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t product_capped(uint64_t a, uint64_t b)
{
    return b && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

/* Values below 32 have a bucket each; above, the power of two names a row and the five bits behind
 * the leading one the bucket in it. */
static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS) return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return (shift << HISTOGRAM_STEP_BITS) + (unsigned)(value >> shift);
}

/* The highest value that goes into the bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS) return bucket;
    unsigned shift = (bucket >> HISTOGRAM_STEP_BITS) - 1;
    uint64_t step = HISTOGRAM_STEPS + (bucket & (HISTOGRAM_STEPS - 1));
    return (step << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_init(struct histogram *histogram) { memset(histogram, 0, sizeof *histogram); }

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram_record_many(histogram, value, 1);
}

static void histogram__widen(struct histogram *histogram, uint64_t min, uint64_t max)
{
    if (!histogram->count || min < histogram->min) histogram->min = min;
    if (max > histogram->max) histogram->max = max;
}

void histogram_record_many(struct histogram *histogram, uint64_t value, uint64_t times)
{
    if (!times) return;
    uint64_t *bucket = &histogram->buckets[bucket_of(value)];
    histogram__widen(histogram, value, value);
    *bucket = sum_capped(*bucket, times);
    histogram->count = sum_capped(histogram->count, times);
    histogram->sum = sum_capped(histogram->sum, product_capped(value, times));
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    if (!from->count) return;
    histogram__widen(into, from->min, from->max);
    into->count = sum_capped(into->count, from->count);
    into->sum = sum_capped(into->sum, from->sum);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] = sum_capped(into->buckets[i], from->buckets[i]);
}

/* How many of the recorded values, from the lowest, the quantile covers: rounded up, at least one.
 * In two parts, since count * per_million would wrap. */
static uint64_t histogram__rank(uint64_t count, uint32_t per_million)
{
    const uint64_t million = 1000000;
    if (per_million >= million) return count;
    uint64_t rank = count / million * per_million;
    rank += (count % million * per_million + million - 1) / million;
    return rank ? rank : 1;
}

uint64_t histogram_quantile(const struct histogram *histogram, uint32_t per_million)
{
    if (!histogram->count) return 0;
    uint64_t left = histogram__rank(histogram->count, per_million);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram->buckets[i] < left) {
            left -= histogram->buckets[i];
            continue;
        }
        uint64_t top = bucket_top(i);
        return top < histogram->max ? top : histogram->max;
    }
    return histogram->max;
}
