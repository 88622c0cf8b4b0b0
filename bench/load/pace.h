/* How fast this core is at this moment: the processor time of a fixed piece of work, mostly the
 * kernel's. Virtual cores change their pace twofold for seconds at a time, by what their neighbours
 * do; figures are compared only between runs of one pace. One thread. */
#ifndef BENCH_LOAD_PACE_H
#define BENCH_LOAD_PACE_H

#include <stdint.h>

/* Nanoseconds for one step of the work; takes about 15 ms. */
uint64_t pace_measure(void);

#endif
