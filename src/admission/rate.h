/* A rate limit with a burst, in one number: the moment up to which what was taken has used the rate
 * up (the generic cell rate algorithm of ITU-T I.371: the same decisions as a bucket of tokens,
 * without counting any). Pure: time is passed in, and may go back by a little. */
#ifndef ADMISSION_RATE_H
#define ADMISSION_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define RATE_NS_PER_S UINT64_C(1000000000)

struct rate {
    uint64_t period_ns; /* between two at the full rate; 0: no limit */
    uint64_t slack_ns;  /* how far ahead of its time the last of a burst may be */
};

/* per_s 0: no limit. burst: how many may come at once after a pause; 0: as many as in one second.
 */
static inline struct rate rate_of(uint32_t per_s, uint32_t burst)
{
    if (!per_s) return (struct rate){0};
    uint64_t period_ns = per_s < RATE_NS_PER_S ? RATE_NS_PER_S / per_s : 1;
    if (!burst) burst = per_s;
    return (struct rate){.period_ns = period_ns, .slack_ns = period_ns * (burst - 1)};
}

/* How long until the next may be taken; 0: now. `used_ns` is 0 at first. */
static inline uint64_t rate_wait_ns(const struct rate *rate, uint64_t used_ns, uint64_t now_ns)
{
    if (!rate->period_ns || used_ns <= now_ns + rate->slack_ns) return 0;
    return used_ns - now_ns - rate->slack_ns;
}

/* Takes one if there is one. */
static inline bool rate_take(const struct rate *rate, uint64_t *used_ns, uint64_t now_ns)
{
    if (rate_wait_ns(rate, *used_ns, now_ns)) return false;
    if (rate->period_ns) *used_ns = (*used_ns > now_ns ? *used_ns : now_ns) + rate->period_ns;
    return true;
}

/* Whether nothing that was taken matters any more. */
static inline bool rate_is_fresh(uint64_t used_ns, uint64_t now_ns) { return used_ns <= now_ns; }

#endif
