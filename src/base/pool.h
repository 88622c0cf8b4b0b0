/* Pool of buffers of one size, with a cap on how many may be out and on how many are kept free.
 * Last in, first out: the buffer given back last is the one in the cache. One thread. Built with
 * SALLY_POOLS_OFF (sanitizer builds) it keeps none, so that each use after release is seen. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

struct pool {
    struct mem *mem;
    size_t buf_bytes;
    uint32_t out_max;  /* more than that are refused */
    uint32_t keep_max; /* free ones past that go back to the allocator */
    uint32_t out;
    uint32_t out_high; /* the most that were ever out: rises only when none is kept */
    uint32_t kept;
    uint64_t refused;
    void *free_head;
};

/* buf_bytes >= sizeof(void *). */
void pool_init(struct pool *pool, struct mem *mem, size_t buf_bytes, uint32_t out_max,
               uint32_t keep_max);

/* Every buffer must have been given back. */
void pool_free(struct pool *pool);

/* What is rare of the two below: no buffer is kept, too many are. */
void *pool_take_slow(struct pool *pool);
void pool_give_slow(struct pool *pool, void *buf);

static inline bool pool_keeps(const struct pool *pool) { return pool->free_head != NULL; }

/* Of a pool that keeps one. Free buffers are linked through their own first bytes; memcpy because a
 * buffer has no type of its own here. Those out and those kept are never more than out_max
 * together, for only a pool that keeps none allocates: one that is kept may go out. */
static inline void *pool_take_kept(struct pool *pool)
{
    void *buf = pool->free_head;
    memcpy(&pool->free_head, buf, sizeof buf);
    pool->kept--;
    pool->out++;
    return buf;
}

/* NULL at the cap or without memory. */
static inline void *pool_take(struct pool *pool)
{
    return pool_keeps(pool) ? pool_take_kept(pool) : pool_take_slow(pool);
}

static inline void pool_give(struct pool *pool, void *buf)
{
    assert(buf && pool->out > 0);
    pool->out--;
    if (pool->kept >= pool->keep_max) {
        pool_give_slow(pool, buf);
        return;
    }
    memcpy(buf, &pool->free_head, sizeof buf);
    pool->free_head = buf;
    pool->kept++;
}

/* Gives free buffers back to the allocator until `keep` are left. */
void pool_trim(struct pool *pool, uint32_t keep);

#endif
