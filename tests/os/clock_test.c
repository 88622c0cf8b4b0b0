/* T14: timers see the monotonic clock and no other. */
#include "os/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

static uint64_t system_monotonic_ns(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void T14_clock_is_the_monotonic_one(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t before = system_monotonic_ns();
        uint64_t ours = os_clock_ns();
        uint64_t after = system_monotonic_ns();
        assert_true(before <= ours && ours <= after);
    }
}

static void clock_never_goes_back_and_goes_on(void **state)
{
    (void)state;
    uint64_t first = os_clock_ns(), last = first;
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t now = os_clock_ns();
        assert_true(now >= last);
        last = now;
    }
    assert_true(last > first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(T14_clock_is_the_monotonic_one),
        cmocka_unit_test(clock_never_goes_back_and_goes_on),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
