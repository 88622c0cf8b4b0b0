/* Rates over windows (base/pace.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/pace.h"

enum { WINDOW = 1000, RATE = 100 };

static bool low_at(struct pace *rate, uint64_t now_ms)
{
    return pace_is_low(rate, now_ms, RATE, WINDOW);
}

static void nothing_is_judged_before_it_begins_or_after_it_ended(void **state)
{
    (void)state;
    struct pace rate = {0};
    pace_add(&rate, 5);
    assert_int_equal(pace_due_ms(&rate, WINDOW), UINT64_MAX);
    assert_false(low_at(&rate, UINT64_MAX - 1));
    pace_begin(&rate, 50);
    assert_int_equal(rate.bytes, 0);
    assert_int_equal(pace_due_ms(&rate, WINDOW), 1050);
    pace_end(&rate);
    assert_int_equal(pace_due_ms(&rate, WINDOW), UINT64_MAX);
    assert_false(low_at(&rate, 99999));
}

static void the_bound_is_the_rate_times_the_window(void **state)
{
    (void)state;
    for (unsigned bytes = RATE - 1; bytes <= RATE; bytes++) {
        struct pace rate;
        pace_begin(&rate, 0);
        pace_add(&rate, bytes);
        assert_false(low_at(&rate, WINDOW - 1));
        assert_true(low_at(&rate, WINDOW) == (bytes < RATE));
    }
}

static void each_window_is_judged_for_itself(void **state)
{
    (void)state;
    struct pace rate;
    pace_begin(&rate, 0);
    pace_add(&rate, 100 * RATE);
    assert_false(low_at(&rate, WINDOW));
    pace_add(&rate, RATE - 1);
    assert_false(low_at(&rate, 2 * WINDOW - 1));
    assert_true(low_at(&rate, 2 * WINDOW));
}

/* Less than one byte a window: one will do, none will not. */
static void a_rate_below_a_byte_a_window_wants_one(void **state)
{
    (void)state;
    for (unsigned bytes = 0; bytes <= 1; bytes++) {
        struct pace rate;
        pace_begin(&rate, 0);
        pace_add(&rate, bytes);
        assert_true(pace_is_low(&rate, 500, 1, 500) == (bytes == 0));
    }
}

/* Ten windows late: what came in that time is one window's, and the next begins now. */
static void a_late_look_blames_nobody(void **state)
{
    (void)state;
    struct pace rate;
    pace_begin(&rate, 0);
    pace_add(&rate, RATE);
    assert_false(low_at(&rate, 10 * WINDOW));
    assert_int_equal(pace_due_ms(&rate, WINDOW), 11 * WINDOW);
}

static void the_largest_numbers_fit(void **state)
{
    (void)state;
    struct pace rate;
    pace_begin(&rate, 0);
    pace_add(&rate, UINT64_C(18446744065119617));
    assert_true(pace_is_low(&rate, UINT32_MAX, UINT32_MAX, UINT32_MAX));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_judged_before_it_begins_or_after_it_ended),
        cmocka_unit_test(the_bound_is_the_rate_times_the_window),
        cmocka_unit_test(each_window_is_judged_for_itself),
        cmocka_unit_test(a_rate_below_a_byte_a_window_wants_one),
        cmocka_unit_test(a_late_look_blames_nobody),
        cmocka_unit_test(the_largest_numbers_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
