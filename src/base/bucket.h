/* A bucket of tokens: how many bytes may move now. It fills at its rate up to its burst, and what
 * was not used can be put back. Exact: in any time t no more than rate * t + burst are taken, and
 * no fraction of a byte is lost between two looks. No clock and no timer: time is passed in, in
 * milliseconds, and may go back by a little (several threads look one after the other), which fills
 * nothing. One thread at a time. */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include <assert.h>
#include <stdint.h>

struct bucket {
    uint32_t bytes_s; /* 0: no limit */
    uint32_t burst;
    uint64_t milli; /* thousandths of a byte that were there at at_ms; at most the burst's */
    uint64_t at_ms;
};

enum { BUCKET_MILLI = 1000, BUCKET_PARTS = 100, BUCKET_SHARE_MIN = 64 };

static inline void bucket_init(struct bucket *bucket, uint32_t bytes_s, uint32_t burst,
                               uint64_t now_ms)
{
    assert(!bytes_s || burst);
    *bucket = (struct bucket){bytes_s, burst, (uint64_t)burst * BUCKET_MILLI, now_ms};
}

/* How many bytes may be taken; UINT32_MAX without a limit. */
static inline uint32_t bucket_level(struct bucket *bucket, uint64_t now_ms)
{
    if (!bucket->bytes_s) return UINT32_MAX;
    uint64_t missing = (uint64_t)bucket->burst * BUCKET_MILLI - bucket->milli;
    uint64_t passed = now_ms > bucket->at_ms ? now_ms - bucket->at_ms : 0;
    /* bytes a second are thousandths of a byte a millisecond; the division keeps the product small
     */
    bucket->milli += passed > missing / bucket->bytes_s ? missing : passed * bucket->bytes_s;
    bucket->at_ms += passed;
    return (uint32_t)(bucket->milli / BUCKET_MILLI);
}

/* After bucket_level said that there are so many. */
static inline void bucket_take(struct bucket *bucket, uint32_t bytes)
{
    if (!bucket->bytes_s) return;
    assert(bytes <= bucket->milli / BUCKET_MILLI);
    bucket->milli -= (uint64_t)bytes * BUCKET_MILLI;
}

/* They were taken and not used. */
static inline void bucket_give(struct bucket *bucket, uint32_t bytes)
{
    uint64_t full = (uint64_t)bucket->burst * BUCKET_MILLI;
    uint64_t more = (uint64_t)bytes * BUCKET_MILLI;
    if (bucket->bytes_s) bucket->milli = more < full - bucket->milli ? bucket->milli + more : full;
}

/* Other limits from now on; what is there stays, up to the new burst. A limit where there was none
 * begins full. */
static inline void bucket_change(struct bucket *bucket, uint32_t bytes_s, uint32_t burst,
                                 uint64_t now_ms)
{
    struct bucket before = *bucket;
    (void)bucket_level(&before, now_ms);
    bucket_init(bucket, bytes_s, burst, now_ms);
    if (before.bytes_s && before.milli < bucket->milli) bucket->milli = before.milli;
    if (before.bytes_s && before.at_ms > now_ms) bucket->at_ms = before.at_ms;
}

/* What is worth waiting for: a hundredth of a second's bytes and not just a few, but never so much
 * that the bucket would run over while somebody comes late for it. */
static inline uint32_t bucket_share(const struct bucket *bucket)
{
    if (!bucket->bytes_s) return 1;
    uint32_t share = bucket->bytes_s / BUCKET_PARTS;
    if (share < BUCKET_SHARE_MIN) share = BUCKET_SHARE_MIN;
    uint32_t most = bucket->burst > 1 ? bucket->burst / 2 : 1;
    return share < most ? share : most;
}

/* How long until there are so many; 0: now. bytes <= burst. */
static inline uint64_t bucket_wait_ms(struct bucket *bucket, uint32_t bytes, uint64_t now_ms)
{
    if (bucket_level(bucket, now_ms) >= bytes) return 0;
    uint64_t missing = (uint64_t)bytes * BUCKET_MILLI - bucket->milli;
    uint64_t behind = bucket->at_ms > now_ms ? bucket->at_ms - now_ms : 0;
    return behind + (missing + bucket->bytes_s - 1) / bucket->bytes_s;
}

#endif
