/* T14: timers see the monotonic clock and no other. The clock of the date, and local time. */
#include "os/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

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

static void the_date_is_the_systems(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        struct timespec before, after;
        assert_int_equal(clock_gettime(CLOCK_REALTIME, &before), 0);
        int64_t ours_ms = os_world_ms();
        assert_int_equal(clock_gettime(CLOCK_REALTIME, &after), 0);
        assert_true(ours_ms >= (int64_t)before.tv_sec * 1000 + before.tv_nsec / 1000000);
        assert_true(ours_ms <= (int64_t)after.tv_sec * 1000 + after.tv_nsec / 1000000);
    }
}

/* The last Sunday of a month of 31 days, at 01:00 UTC. */
static int64_t last_sunday_s(int year, int month)
{
    struct tm date = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = 31, .tm_hour = 1};
    int64_t at_s = timegm(&date); /* says the day of the week, too */
    return at_s - date.tm_wday * 86400;
}

/* The rule of the European Union since 1996, at each hour and around each change. */
static void check_berlin(const char *zone)
{
    assert_int_equal(setenv("TZ", zone, 1), 0);
    tzset();
    for (int year = 1996; year < 2037; year++) {
        int64_t forward_s = last_sunday_s(year, 3), back_s = last_sunday_s(year, 10);
        for (int64_t at_s = forward_s - 86400; at_s < back_s + 86400; at_s += 3600) {
            bool summer = at_s >= forward_s && at_s < back_s;
            if (os_local_offset_s(at_s) != (summer ? 7200 : 3600))
                fail_msg("%s at %lld: %d", zone, (long long)at_s, os_local_offset_s(at_s));
        }
        assert_int_equal(os_local_offset_s(forward_s - 1), 3600);
        assert_int_equal(os_local_offset_s(back_s - 1), 7200);
    }
}

static void local_time_is_that_of_the_zone(void **state)
{
    (void)state;
    check_berlin("CET-1CEST,M3.5.0,M10.5.0/3");
    if (access("/usr/share/zoneinfo/Europe/Berlin", R_OK) == 0)
        check_berlin("Europe/Berlin");
    else
        printf("no rules of Europe/Berlin on this machine\n");
    assert_int_equal(setenv("TZ", "<-0930>9:30", 1), 0);
    tzset();
    assert_int_equal(os_local_offset_s(0), -9 * 3600 - 1800);
    assert_int_equal(os_local_offset_s(INT64_MAX), 0); /* no year has room for that */
    assert_int_equal(setenv("TZ", "UTC", 1), 0);
    tzset();
    assert_int_equal(os_local_offset_s(1700000000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(T14_clock_is_the_monotonic_one),
        cmocka_unit_test(clock_never_goes_back_and_goes_on),
        cmocka_unit_test(the_date_is_the_systems),
        cmocka_unit_test(local_time_is_that_of_the_zone),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
