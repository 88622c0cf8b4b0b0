/* Whether what should move moves fast enough: bytes counted over one window after the other, from
 * the moment that something is to move until it has. No clock and no timer: time is passed in, and
 * the end of the window is told. One thread.
 *
 * A window is judged by its own length, however late somebody looks: what came while we were late
 * counts, and the peer is not blamed for our stall. What ends within its window is never judged. */
#ifndef BASE_PACE_H
#define BASE_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t began_ms : 63; /* of the window */
    uint64_t runs : 1;
    uint64_t bytes; /* in it */
};

static inline void pace_begin(struct pace *rate, uint64_t now_ms)
{
    *rate = (struct pace){.runs = true, .began_ms = now_ms & (UINT64_MAX >> 1)};
}

static inline void pace_end(struct pace *rate) { rate->runs = false; }

static inline void pace_add(struct pace *rate, uint64_t bytes) { rate->bytes += bytes; }

/* When it is to be judged; UINT64_MAX when nothing is to move. */
static inline uint64_t pace_due_ms(const struct pace *rate, uint32_t window_ms)
{
    return rate->runs ? rate->began_ms + window_ms : UINT64_MAX;
}

/* Judges a window that is over; if it was good the next begins. False before its end. */
static inline bool pace_is_low(struct pace *rate, uint64_t now_ms, uint32_t bytes_s,
                               uint32_t window_ms)
{
    if (pace_due_ms(rate, window_ms) > now_ms) return false;
    /* no division, so that a small rate in a short window is not rounded down to nothing */
    if (rate->bytes * 1000 < (uint64_t)bytes_s * window_ms) return true;
    pace_begin(rate, now_ms);
    return false;
}

#endif
