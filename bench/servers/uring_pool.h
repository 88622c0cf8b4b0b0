/* A provided buffer ring of io_uring (io_uring_register_buf_ring(3)) that knows the order in which
 * the kernel takes its buffers: a bundle's completion names only its first buffer, and the others
 * are those that were put into the ring after it. Buffers come back in any order, so neighbours in
 * the ring are no neighbours in memory. One thread. */
#ifndef BENCH_SERVERS_URING_POOL_H
#define BENCH_SERVERS_URING_POOL_H

#include <liburing.h>
#include <stdint.h>

/* 1 MiB in all, so that it stays in the second-level cache. The count is a power of two. */
enum { POOL_BUFFERS = 256, POOL_BUFFER_BYTES = 4096, POOL_GROUP = 1, POOL_NONE = 0xffff };

struct uring_pool {
    struct io_uring_buf_ring *ring;
    char *bytes;
    uint16_t order[POOL_BUFFERS]; /* as they lie in the ring */
    uint32_t head, tail;          /* into `order`, counting on */
    uint32_t added;               /* of those, not yet shown to the kernel */
};

void uring_pool_create(struct uring_pool *pool, struct io_uring *uring);

/* The next buffer that the kernel has taken. */
static inline uint16_t uring_pool_take(struct uring_pool *pool)
{
    return pool->order[pool->head++ % POOL_BUFFERS];
}

/* Gives a buffer back; the kernel sees it after uring_pool_publish. */
void uring_pool_give(struct uring_pool *pool, uint16_t buffer);

void uring_pool_publish(struct uring_pool *pool);

/* How many the kernel can take now. */
static inline uint32_t uring_pool_free(const struct uring_pool *pool)
{
    return pool->tail - pool->head;
}

static inline char *uring_pool_at(struct uring_pool *pool, uint16_t buffer)
{
    return pool->bytes + (uint64_t)buffer * POOL_BUFFER_BYTES;
}

#endif
