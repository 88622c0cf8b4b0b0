/* Delays between attempts (base/backoff.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/backoff.h"

static void each_kind_grows_in_its_way(void **state)
{
    (void)state;
    static const uint32_t wanted[3][6] = {{100, 200, 400, 800, 1000, 1000},
                                          {100, 200, 300, 400, 500, 600},
                                          {100, 100, 100, 100, 100, 100}};
    for (int kind = 0; kind < 3; kind++) {
        struct backoff backoff = {.kind = (enum backoff_kind)kind, .min_ms = 100, .max_ms = 1000};
        for (uint32_t n = 1; n <= 6; n++) {
            assert_int_equal(backoff_base_ms(&backoff, n), wanted[kind][n - 1]);
            assert_int_equal(backoff_spread_ms(&backoff, wanted[kind][n - 1]), 0);
        }
    }
}

/* Whatever is asked for: within the bounds, never falling, and with jitter unless there is no room.
 */
static void no_delay_leaves_its_bounds(void **state)
{
    (void)state;
    static const uint32_t numbers[] = {1, 2, 3, 100, 30000, UINT32_MAX / 2, UINT32_MAX};
    static const uint32_t counts[] = {1, 2, 3, 10, 31, 32, 33, 64, 1000000, UINT32_MAX};
    for (unsigned i = 0; i < 3 * 7 * 7 * 7; i++) {
        struct backoff backoff = {.kind = (enum backoff_kind)(i % 3),
                                  .min_ms = numbers[i / 3 % 7],
                                  .max_ms = numbers[i / 21 % 7],
                                  .jitter_percent = numbers[i / 147 % 7]};
        uint32_t before = 0;
        if (backoff.max_ms < backoff.min_ms) continue;
        for (unsigned n = 0; n < sizeof counts / sizeof counts[0]; n++) {
            uint32_t base = backoff_base_ms(&backoff, counts[n]);
            uint32_t spread = backoff_spread_ms(&backoff, base);
            assert_in_range(base, backoff.min_ms, backoff.max_ms);
            assert_true(spread <= backoff.max_ms - base);
            assert_true(base >= before);
            before = base;
        }
    }
}

/* At the longest delay everybody would meet, were there no room left above it. */
static void the_longest_delay_is_spread_too(void **state)
{
    (void)state;
    struct backoff backoff = {
        .kind = BACKOFF_EXPONENTIAL, .min_ms = 100, .max_ms = 30000, .jitter_percent = 100};
    uint32_t base = backoff_base_ms(&backoff, 50);
    assert_int_equal(base, 15000);
    assert_int_equal(backoff_spread_ms(&backoff, base), 15000);
    assert_int_equal(backoff_base_ms(&backoff, 1), 100);
    assert_int_equal(backoff_spread_ms(&backoff, 100), 100);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_grows_in_its_way),
        cmocka_unit_test(no_delay_leaves_its_bounds),
        cmocka_unit_test(the_longest_delay_is_spread_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
