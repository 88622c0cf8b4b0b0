/* Adaptive spinning: grows while events follow each other, ends when they don't. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/spin.h"

enum { LIMIT = 1600, BEGIN = 1000000 };

/* `count` events, `gap` apart; the moment of the last. */
static uint64_t events(struct spin *spin, uint64_t now, unsigned count, uint64_t gap)
{
    for (unsigned n = 0; n < count; n++) spin_event(spin, now += gap);
    return now;
}

static void it_never_spins_without_a_limit(void **state)
{
    (void)state;
    struct spin spin = {0};
    uint64_t now = events(&spin, BEGIN, 1000, 1);
    assert_false(spin_on(&spin, now));
}

static void one_event_alone_is_no_traffic(void **state)
{
    (void)state;
    struct spin spin = {.limit_ns = LIMIT};
    assert_false(spin_on(&spin, 0));
    uint64_t now = events(&spin, BEGIN, 1, 1);
    assert_false(spin_on(&spin, now));
}

static void it_grows_to_the_limit_and_no_further(void **state)
{
    (void)state;
    struct spin spin = {.limit_ns = LIMIT};
    uint64_t now = events(&spin, BEGIN, 2, LIMIT);
    assert_int_equal(spin.time_ns, LIMIT / SPIN_FIRST);
    now = events(&spin, now, 2, LIMIT);
    assert_int_equal(spin.time_ns, 4 * LIMIT / SPIN_FIRST);
    now = events(&spin, now, 100, LIMIT);
    assert_true(spin_on(&spin, now + LIMIT - 1));
    assert_false(spin_on(&spin, now + LIMIT));
    assert_false(spin_on(&spin, now + 1000 * LIMIT));
}

static void it_ends_where_events_come_too_late(void **state)
{
    (void)state;
    struct spin spin = {.limit_ns = LIMIT};
    uint64_t now = events(&spin, BEGIN, 100, 1);
    now = events(&spin, now, 1, LIMIT + 1);
    assert_int_equal(spin.time_ns, LIMIT / 2);
    now = events(&spin, now, 20, LIMIT + 1);
    assert_false(spin_on(&spin, now));
    now = events(&spin, now, 3, LIMIT); /* and begins anew */
    assert_true(spin_on(&spin, now + LIMIT / SPIN_FIRST));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_never_spins_without_a_limit),
        cmocka_unit_test(one_event_alone_is_no_traffic),
        cmocka_unit_test(it_grows_to_the_limit_and_no_further),
        cmocka_unit_test(it_ends_where_events_come_too_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
