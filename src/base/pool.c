/* The buffer pool. Free buffers are linked through their own first bytes. One thread. */
#include "base/pool.h"

#include <assert.h>
#include <string.h>

void pool_init(struct pool *pool, struct mem *mem, size_t buf_bytes, uint32_t out_max,
               uint32_t keep_max)
{
    assert(buf_bytes >= sizeof(void *));
#if defined(SALLY_POOLS_OFF)
    keep_max = 0;
#endif
    *pool =
        (struct pool){.mem = mem, .buf_bytes = buf_bytes, .out_max = out_max, .keep_max = keep_max};
}

void pool_free(struct pool *pool)
{
    assert(pool->out == 0);
    pool_trim(pool, 0);
}

/* memcpy: a buffer has no type of its own here. */
static void *pool__pop(struct pool *pool)
{
    void *buf = pool->free_head;
    memcpy(&pool->free_head, buf, sizeof buf);
    pool->kept--;
    return buf;
}

void *pool_take(struct pool *pool)
{
    void *buf = NULL;
    if (pool->out < pool->out_max)
        buf = pool->free_head ? pool__pop(pool) : mem_alloc(pool->mem, pool->buf_bytes);
    if (!buf) {
        pool->refused++;
        return NULL;
    }
    if (++pool->out > pool->out_high) pool->out_high = pool->out;
    return buf;
}

void pool_give(struct pool *pool, void *buf)
{
    assert(buf && pool->out > 0);
    pool->out--;
    if (pool->kept >= pool->keep_max) {
        mem_free(pool->mem, buf, pool->buf_bytes);
        return;
    }
    memcpy(buf, &pool->free_head, sizeof pool->free_head);
    pool->free_head = buf;
    pool->kept++;
}

void pool_trim(struct pool *pool, uint32_t keep)
{
    while (pool->kept > keep) mem_free(pool->mem, pool__pop(pool), pool->buf_bytes);
}
