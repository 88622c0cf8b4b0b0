/* The buffer pool: what is rare. One thread. */
#include "base/pool.h"

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

void *pool_take_slow(struct pool *pool)
{
    void *buf = pool->out < pool->out_max ? mem_alloc(pool->mem, pool->buf_bytes) : NULL;
    if (!buf) {
        pool->refused++;
        return NULL;
    }
    if (++pool->out > pool->out_high) pool->out_high = pool->out;
    return buf;
}

void pool_give_slow(struct pool *pool, void *buf) { mem_free(pool->mem, buf, pool->buf_bytes); }

void pool_trim(struct pool *pool, uint32_t keep)
{
    while (pool->kept > keep) {
        void *buf = pool->free_head;
        memcpy(&pool->free_head, buf, sizeof buf);
        pool->kept--;
        mem_free(pool->mem, buf, pool->buf_bytes);
    }
}
