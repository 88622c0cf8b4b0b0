/* The histogram of latencies. See histogram.h. */
#include "histogram.h"

enum { SHIFT = 6, LAST = HISTOGRAM_STEPS * HISTOGRAM_OCTAVES - 1 };

/* Values below 64 have a step each; above, the top seven bits choose it. */
static unsigned step_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS) return (unsigned)ns;
    unsigned octave = 63u - (unsigned)__builtin_clzll(ns) - SHIFT;
    unsigned step = (octave << SHIFT) + (unsigned)(ns >> octave);
    return step < LAST ? step : LAST;
}

/* The largest value of a step. */
static uint64_t value_of(unsigned step)
{
    if (step < 2 * HISTOGRAM_STEPS) return step;
    unsigned octave = (step >> SHIFT) - 1;
    return (((uint64_t)step - ((uint64_t)octave << SHIFT) + 1) << octave) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->count++;
    histogram->sum += ns;
    if (ns > histogram->max) histogram->max = ns;
    histogram->steps[step_of(ns)]++;
}

uint64_t histogram_at(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)((double)histogram->count * share + 0.5), seen = 0;
    if (wanted > histogram->count) wanted = histogram->count;
    for (unsigned step = 0; step <= LAST && wanted; step++) {
        seen += histogram->steps[step];
        if (seen < wanted) continue;
        uint64_t value = value_of(step);
        return value < histogram->max ? value : histogram->max;
    }
    return 0;
}
