/* Log-linear histogram of 64-bit values: each power of two is cut in 32 equal steps, so a value
 * read back is at most 1/32 (3.2 %) above the one recorded. Fixed size, no allocation. One thread
 * writes; merge to read several. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_STEP_BITS = 5,
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS
};

struct histogram {
    uint64_t count;
    uint64_t sum; /* saturates */
    uint64_t min;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_record_many(struct histogram *histogram, uint64_t value, uint64_t times);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The value that `per_million` of the recorded ones do not pass (500000: the median; 999900:
 * p99.99); the highest value of its bucket, but never above max. 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, uint32_t per_million);

#endif
