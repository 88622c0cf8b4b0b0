/* Buckets of tokens (base/bucket.h): the bound in numbers, and over random lives against a model
 * that is told everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/bucket.h"
#include "support/long.h"
#include "support/lot.h"

static uint64_t below(uint64_t *state, uint64_t n) { return n ? lot_draw(state) % n : 0; }

static void it_begins_full_and_fills_at_its_rate(void **state)
{
    (void)state;
    struct bucket bucket;
    bucket_init(&bucket, 1000, 500, 70);
    assert_int_equal(bucket_level(&bucket, 70), 500);
    bucket_take(&bucket, 500);
    assert_int_equal(bucket_level(&bucket, 70), 0);
    assert_int_equal(bucket_level(&bucket, 71), 1);
    assert_int_equal(bucket_wait_ms(&bucket, 100, 71), 99);
    assert_int_equal(bucket_level(&bucket, 170), 100);
    assert_int_equal(bucket_wait_ms(&bucket, 100, 170), 0);
    assert_int_equal(bucket_level(&bucket, 1000000), 500);
}

/* 3 bytes a second, looked at each millisecond: whole bytes come at 334, 667 and 1000. */
static void looking_often_loses_nothing(void **state)
{
    (void)state;
    struct bucket bucket;
    bucket_init(&bucket, 3, 3, 0);
    bucket_take(&bucket, 3);
    unsigned came = 0;
    for (uint64_t ms = 1; ms <= 1000; ms++) {
        uint32_t level = bucket_level(&bucket, ms);
        if (level) assert_true(ms == 334 || ms == 667 || ms == 1000);
        bucket_take(&bucket, level);
        came += level;
    }
    assert_int_equal(came, 3);
}

static void without_a_rate_there_is_no_limit(void **state)
{
    (void)state;
    struct bucket bucket = {0};
    assert_int_equal(bucket_level(&bucket, 5), UINT32_MAX);
    bucket_take(&bucket, UINT32_MAX);
    bucket_give(&bucket, 7);
    assert_int_equal(bucket_level(&bucket, 6), UINT32_MAX);
    assert_int_equal(bucket_wait_ms(&bucket, UINT32_MAX, 6), 0);
    assert_int_equal(bucket_share(&bucket), 1);
}

static void the_largest_numbers_do_not_wrap(void **state)
{
    (void)state;
    struct bucket bucket;
    bucket_init(&bucket, UINT32_MAX, UINT32_MAX, 0);
    assert_int_equal(bucket_level(&bucket, UINT64_MAX), UINT32_MAX);
    bucket_take(&bucket, UINT32_MAX);
    bucket_init(&bucket, 1, UINT32_MAX, 0);
    bucket_take(&bucket, UINT32_MAX);
    assert_int_equal(bucket_level(&bucket, 1000), 1);
    assert_int_equal(bucket_level(&bucket, UINT64_MAX), UINT32_MAX);
}

static void time_that_goes_back_fills_nothing(void **state)
{
    (void)state;
    struct bucket bucket;
    bucket_init(&bucket, 1000, 100, 1000);
    bucket_take(&bucket, 100);
    assert_int_equal(bucket_level(&bucket, 1010), 10);
    assert_int_equal(bucket_level(&bucket, 1000), 10);
    assert_int_equal(bucket_wait_ms(&bucket, 20, 1000), 20);
    assert_int_equal(bucket_level(&bucket, 1010), 10);
    assert_int_equal(bucket_level(&bucket, 1020), 20);
}

static void what_was_not_used_comes_back_but_no_more_than_the_burst(void **state)
{
    (void)state;
    struct bucket bucket;
    bucket_init(&bucket, 1000, 100, 0);
    bucket_take(&bucket, 60);
    bucket_give(&bucket, 20);
    assert_int_equal(bucket_level(&bucket, 0), 60);
    bucket_give(&bucket, UINT32_MAX);
    assert_int_equal(bucket_level(&bucket, 0), 100);
}

static void a_change_keeps_what_is_there_up_to_the_new_burst(void **state)
{
    (void)state;
    struct bucket bucket;
    bucket_init(&bucket, 1000, 100, 0);
    bucket_take(&bucket, 100);
    bucket_change(&bucket, 5000, 1000, 40); /* 40 have come by then */
    assert_int_equal(bucket_level(&bucket, 40), 40);
    assert_int_equal(bucket_level(&bucket, 50), 90);
    bucket_change(&bucket, 5000, 10, 50);
    assert_int_equal(bucket_level(&bucket, 50), 10);
    bucket_change(&bucket, 0, 0, 60);
    assert_int_equal(bucket_level(&bucket, 60), UINT32_MAX);
    bucket_change(&bucket, 100, 30, 60);
    assert_int_equal(bucket_level(&bucket, 60), 30);
    /* a moment before its last one: what has come since is not counted twice */
    bucket_take(&bucket, 30);
    (void)bucket_level(&bucket, 100);
    bucket_change(&bucket, 100, 30, 90);
    assert_int_equal(bucket_level(&bucket, 100), 4);
}

/* Worth waiting for, and never the whole bucket, or coming late would cost rate. */
static void a_share_is_worth_a_wake_up_and_fits(void **state)
{
    (void)state;
    struct bucket bucket;
    bucket_init(&bucket, 1000000, 500000, 0);
    assert_int_equal(bucket_share(&bucket), 10000);
    bucket_init(&bucket, 1000, 500, 0);
    assert_int_equal(bucket_share(&bucket), BUCKET_SHARE_MIN);
    bucket_init(&bucket, 1000, 20, 0);
    assert_int_equal(bucket_share(&bucket), 10);
    bucket_init(&bucket, 10, 1, 0);
    assert_int_equal(bucket_share(&bucket), 1);
}

/* Over every stretch of its life no more is taken than rate * t + burst, where what was given back
 * doesn't count; and who waits as long as it is told finds what it was promised, not a millisecond
 * later than needed. */
static void life(uint64_t *seed)
{
    struct bucket bucket;
    uint32_t rate = 1 + (uint32_t)below(seed, 1u << below(seed, 31));
    uint32_t burst = 1 + (uint32_t)below(seed, 1u << below(seed, 31));
    uint64_t now = below(seed, 1000), from = now;
    unsigned __int128 taken = 0;
    bucket_init(&bucket, rate, burst, now);
    for (int step = 0; step < 60; step++) {
        now += below(seed, 3) ? below(seed, 40) : below(seed, 100000);
        uint32_t level = bucket_level(&bucket, now);
        uint32_t bytes = (uint32_t)below(seed, (uint64_t)level + 1);
        assert_true(level <= burst);
        bucket_take(&bucket, bytes);
        uint32_t back = below(seed, 4) ? 0 : (uint32_t)below(seed, (uint64_t)bytes + 1);
        bucket_give(&bucket, back);
        taken += bytes - back;
        unsigned __int128 most =
            (unsigned __int128)rate * (now - from) + (unsigned __int128)burst * 1000;
        assert_true(taken * 1000 <= most);
        uint32_t wanted = 1 + (uint32_t)below(seed, burst);
        uint64_t wait = bucket_wait_ms(&bucket, wanted, now);
        if (wait) {
            struct bucket early = bucket;
            assert_true(bucket_level(&early, now + wait - 1) < wanted);
            assert_true(bucket_level(&early, now + wait) >= wanted);
        }
    }
}

/* Who always takes all there is gets all of the rate, however late and irregularly it comes, as
 * long as the bucket never runs over. */
static void greedy_life(uint64_t *seed)
{
    struct bucket bucket;
    uint32_t rate = 1000 + (uint32_t)below(seed, 1000000);
    bucket_init(&bucket, rate, rate, 0); /* a second's worth */
    uint64_t now = 0, taken = 0;
    while (now < 20000) {
        uint32_t level = bucket_level(&bucket, now);
        bucket_take(&bucket, level);
        taken += level;
        uint64_t most = (uint64_t)rate * now / 1000 + rate;
        assert_true(taken <= most && taken + 1 >= most);
        now += 1 + below(seed, 999);
    }
}

static void the_bound_holds_over_any_life(void **state)
{
    (void)state;
    uint64_t lives = long_form() ? 2000000 : 20000;
    for (uint64_t number = 1; number <= lives; number++) {
        uint64_t seed = number;
        life(&seed);
        if (number % 64 == 0) greedy_life(&seed);
    }
    printf("seeds 1 to %llu\n", (unsigned long long)lives);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_full_and_fills_at_its_rate),
        cmocka_unit_test(looking_often_loses_nothing),
        cmocka_unit_test(without_a_rate_there_is_no_limit),
        cmocka_unit_test(the_largest_numbers_do_not_wrap),
        cmocka_unit_test(time_that_goes_back_fills_nothing),
        cmocka_unit_test(what_was_not_used_comes_back_but_no_more_than_the_burst),
        cmocka_unit_test(a_change_keeps_what_is_there_up_to_the_new_burst),
        cmocka_unit_test(a_share_is_worth_a_wake_up_and_fits),
        cmocka_unit_test(the_bound_holds_over_any_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
