/* Latencies in nanoseconds, counted by log-linear steps: 64 to an octave, so that a value is kept
 * to 1.6 percent, from 1 ns to more than an hour. One thread. */
#ifndef BENCH_LOAD_HISTOGRAM_H
#define BENCH_LOAD_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 64, HISTOGRAM_OCTAVES = 37 };

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t steps[HISTOGRAM_STEPS * HISTOGRAM_OCTAVES];
};

void histogram_add(struct histogram *histogram, uint64_t ns);

/* The value that a share of all values does not exceed; 0 when there are none. */
uint64_t histogram_at(const struct histogram *histogram, double share);

#endif
