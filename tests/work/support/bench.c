/* See bench.h. */
#include "work/support/bench.h"

#include <stdlib.h>
#include <string.h>

#include "os/clock.h"
#include "os/thread.h"
#include "support/long.h"

static void *bench_alloc(void *user, size_t bytes)
{
    struct bench *bench = user;
    unsigned n = atomic_fetch_add(&bench->allocations, 1) + 1;
    unsigned fail_at = atomic_load(&bench->fail_at);
    void *block = fail_at && n >= fail_at ? NULL : malloc(bytes);
    if (block) atomic_fetch_add(&bench->bytes, bytes);
    return block;
}

static void bench_free(void *user, void *block, size_t bytes)
{
    struct bench *bench = user;
    atomic_fetch_sub(&bench->bytes, bytes);
    free(block);
}

sally_allocator bench_allocator(struct bench *bench)
{
    return (sally_allocator){.alloc = bench_alloc, .free = bench_free, .user = bench};
}

void bench_begin(struct bench *bench, const sally_pool_options *options)
{
    memset(bench, 0, sizeof *bench);
    sally_engine_options engine = {
        .shards = 1, .conns_max = 16, .allocator = bench_allocator(bench)};
    assert_int_equal(sally_engine_create(&bench->engine, &engine), 0);
    if (options) assert_int_equal(sally_pool_create(&bench->pool, bench->engine, options), 0);
}

void bench_end(struct bench *bench)
{
    assert_int_equal(sally_pool_destroy(bench->pool), 0);
    assert_int_equal(sally_engine_destroy(bench->engine), 0);
    assert_int_equal(atomic_load(&bench->bytes), 0);
}

sally_pool_stats bench_stats(struct bench *bench)
{
    sally_pool_stats stats;
    assert_int_equal(sally_pool_get_stats(bench->pool, &stats), 0);
    return stats;
}

uint64_t bench_now_ms(void) { return os_clock_ns() / 1000000; }

void bench_nap(void)
{
    struct os_gate never;
    os_gate_init(&never);
    (void)os_gate_wait_for(&never, 1);
    os_gate_free(&never);
}

uint64_t bench_seed(void) { return run_seed(os_clock_ns() * 0x9e3779b97f4a7c15u >> 16); }

uint32_t bench_draw(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return below ? (uint32_t)(*state >> 33) % below : 0;
}
