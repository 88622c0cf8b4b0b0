/* The provided buffer ring. See uring_pool.h. */
#include "uring_pool.h"

#include <errno.h>
#include <sys/mman.h>

#include "server.h"

static void *pages(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) server_die("mmap");
    return memory;
}

void uring_pool_create(struct uring_pool *pool, struct io_uring *uring)
{
    pool->ring = pages(POOL_BUFFERS * sizeof(struct io_uring_buf));
    pool->bytes = pages((uint64_t)POOL_BUFFERS * POOL_BUFFER_BYTES);
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)pool->ring,
                                   .ring_entries = POOL_BUFFERS,
                                   .bgid = POOL_GROUP};
    int err = io_uring_register_buf_ring(uring, &reg, 0);
    if (err) {
        errno = -err;
        server_die("io_uring_register_buf_ring");
    }
    io_uring_buf_ring_init(pool->ring);
    for (uint16_t n = 0; n < POOL_BUFFERS; n++) uring_pool_give(pool, n);
    uring_pool_publish(pool);
}

void uring_pool_give(struct uring_pool *pool, uint16_t buffer)
{
    io_uring_buf_ring_add(pool->ring, uring_pool_at(pool, buffer), POOL_BUFFER_BYTES, buffer,
                          POOL_BUFFERS - 1, (int)pool->added++);
    pool->order[pool->tail++ % POOL_BUFFERS] = buffer;
}

void uring_pool_publish(struct uring_pool *pool)
{
    if (pool->added) io_uring_buf_ring_advance(pool->ring, (int)pool->added);
    pool->added = 0;
}
