/* What the tests of jobs share: an engine that never runs (its allocator and machine are what a
 * pool takes), an allocator that counts and can fail, waiting with a limit. Any thread, but for
 * bench_begin and bench_end. */
#ifndef WORK_SUPPORT_BENCH_H
#define WORK_SUPPORT_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sallyport/work.h"

enum { BENCH_LIMIT_MS = 60 * 1000 };

struct bench {
    sally_engine *engine;
    sally_pool *pool;
    atomic_size_t bytes;     /* given out */
    atomic_uint allocations; /* asked for */
    atomic_uint fail_at;     /* this one fails, and all after it; 0: none */
};

/* An engine and, unless options is NULL, a pool. */
void bench_begin(struct bench *bench, const sally_pool_options *options);

/* Destroys what is left of both, pool first; no memory is left. */
void bench_end(struct bench *bench);

sally_allocator bench_allocator(struct bench *bench);
sally_pool_stats bench_stats(struct bench *bench);

uint64_t bench_now_ms(void);
void bench_nap(void); /* a millisecond between two looks */

/* The seed of this run: SALLY_TEST_SEED, or the clock; printed. */
uint64_t bench_seed(void);
uint32_t bench_draw(uint64_t *state, uint32_t below);

#define BENCH_WAIT(condition)                                                                      \
    do {                                                                                           \
        uint64_t until_ms_ = bench_now_ms() + BENCH_LIMIT_MS;                                      \
        while (!(condition) && bench_now_ms() < until_ms_) bench_nap();                            \
        if (!(condition)) fail_msg("not in time: %s", #condition);                                 \
    } while (0)

#endif
