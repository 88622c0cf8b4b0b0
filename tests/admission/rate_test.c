/* A rate in one number, against a bucket of tokens that is counted the plain way. */
#include "admission/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/lot.h"

enum { SEEDS = 200, STEPS = 2000 };

static void a_burst_and_then_the_rate(void **state)
{
    (void)state;
    struct rate rate = rate_of(10, 4);
    uint64_t used = 0, now = 5 * RATE_NS_PER_S;
    for (int i = 0; i < 4; i++) assert_true(rate_take(&rate, &used, now));
    assert_false(rate_take(&rate, &used, now));
    assert_int_equal(rate_wait_ns(&rate, used, now), RATE_NS_PER_S / 10);
    now += RATE_NS_PER_S / 10;
    assert_true(rate_take(&rate, &used, now));
    assert_false(rate_take(&rate, &used, now));
    assert_false(rate_is_fresh(used, now));
    now += RATE_NS_PER_S;
    assert_true(rate_is_fresh(used, now));
    for (int i = 0; i < 4; i++) assert_true(rate_take(&rate, &used, now));
    assert_false(rate_take(&rate, &used, now));
}

static void no_rate_is_no_limit(void **state)
{
    (void)state;
    struct rate rate = rate_of(0, 7);
    uint64_t used = 0;
    for (int i = 0; i < 1000; i++) assert_true(rate_take(&rate, &used, 0));
    assert_int_equal(used, 0);
}

static void a_burst_left_out_is_that_of_a_second(void **state)
{
    (void)state;
    struct rate rate = rate_of(5, 0);
    uint64_t used = 0, taken = 0;
    while (rate_take(&rate, &used, RATE_NS_PER_S)) taken++;
    assert_int_equal(taken, 5);
}

static void the_largest_numbers_hold(void **state)
{
    (void)state;
    static const uint32_t numbers[] = {1, 2, 999999999, 1000000000, 1000000001, UINT32_MAX};
    for (int i = 0; i < 6; i++) {
        for (int j = 0; j < 6; j++) {
            struct rate rate = rate_of(numbers[i], numbers[j]);
            uint64_t used = 0, now = RATE_NS_PER_S * 86400 * 365 * 20;
            assert_true(rate.period_ns > 0);
            assert_true(rate_take(&rate, &used, now));
            assert_true(used > now && used - now == rate.period_ns);
        }
    }
}

/* The clocks of two shards are read at different moments. */
static void a_clock_that_goes_back_a_little_gives_nothing_away(void **state)
{
    (void)state;
    struct rate rate = rate_of(100, 1);
    uint64_t used = 0, now = RATE_NS_PER_S;
    assert_true(rate_take(&rate, &used, now));
    assert_false(rate_take(&rate, &used, now - RATE_NS_PER_S / 1000));
    assert_int_equal(rate_wait_ns(&rate, used, now - 5), RATE_NS_PER_S / 100 + 5);
}

/* Tokens in billionths, so that the model has no rounding either. */
static void it_decides_as_a_bucket_of_tokens_does(void **state)
{
    (void)state;
    static const uint32_t rates[] = {1, 2, 5, 10, 100, 1000};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t lot = seed, used = 0, now = RATE_NS_PER_S * 100, last = now;
        uint32_t per_s = rates[lot_draw(&lot) % 6], burst = 1 + (uint32_t)(lot_draw(&lot) % 20);
        struct rate rate = rate_of(per_s, burst);
        uint64_t full = burst * RATE_NS_PER_S, tokens = full;
        for (int step = 0; step < STEPS; step++) {
            now += lot_draw(&lot) % 4 ? lot_draw(&lot) % (RATE_NS_PER_S / per_s)
                                      : lot_draw(&lot) % full;
            tokens += (now - last) * per_s;
            if (tokens > full) tokens = full;
            last = now;
            bool may = tokens >= RATE_NS_PER_S;
            if (rate_take(&rate, &used, now) != may)
                fail_msg("seed %llu, step %d", (unsigned long long)seed, step);
            if (may) tokens -= RATE_NS_PER_S;
        }
    }
    print_message("seeds 1 to %d\n", SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_and_then_the_rate),
        cmocka_unit_test(no_rate_is_no_limit),
        cmocka_unit_test(a_burst_left_out_is_that_of_a_second),
        cmocka_unit_test(the_largest_numbers_hold),
        cmocka_unit_test(a_clock_that_goes_back_a_little_gives_nothing_away),
        cmocka_unit_test(it_decides_as_a_bucket_of_tokens_does),
    };
    return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
