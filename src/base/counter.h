/* A count with one writer and any readers: no read-modify-write, so it costs what a plain one does.
 */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t counter;

static inline uint64_t counter_get(const counter *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

static inline void counter_add(counter *count, uint64_t n)
{
    atomic_store_explicit(count, counter_get(count) + n, memory_order_relaxed);
}

#endif
