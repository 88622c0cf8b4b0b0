/* How long to wait before the next attempt: grows with each failure, is spread at random, and never
 * leaves its bounds. Pure arithmetic; the random number is the caller's. */
#ifndef BASE_BACKOFF_H
#define BASE_BACKOFF_H

#include <stdint.h>

enum backoff_kind { BACKOFF_EXPONENTIAL, BACKOFF_LINEAR, BACKOFF_FIXED };

struct backoff {
    enum backoff_kind kind;
    uint32_t min_ms; /* 1 or more */
    uint32_t max_ms; /* min_ms or more */
    uint32_t jitter_percent;
};

/* The shortest delay after so many failures (1 or more). It stops growing where its jitter still
 * fits below the maximum: else all who wait longest would wait equally long. */
static inline uint32_t backoff_base_ms(const struct backoff *backoff, uint32_t failures)
{
    uint64_t top = (uint64_t)backoff->max_ms * 100 / (100 + (uint64_t)backoff->jitter_percent);
    uint64_t base = backoff->min_ms;
    if (backoff->kind == BACKOFF_LINEAR) base *= failures;
    if (backoff->kind == BACKOFF_EXPONENTIAL) base <<= failures <= 32 ? failures - 1 : 31;
    if (base > top) base = top;
    return base > backoff->min_ms ? (uint32_t)base : backoff->min_ms;
}

/* How much more it may be. */
static inline uint32_t backoff_spread_ms(const struct backoff *backoff, uint32_t base_ms)
{
    uint64_t spread = (uint64_t)base_ms * backoff->jitter_percent / 100;
    uint64_t room = backoff->max_ms - base_ms;
    return (uint32_t)(spread < room ? spread : room);
}

#endif
