/* Every allocation fails once, and every allocation fails with all after it: the program survives,
 * keeps every promise of the storm's, and serves again when there is memory (S2-81). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "sim/support/storm.h"

enum { SEEDS = 40, SWEEP_MAX = 20000 };

/* Ends when a run is over without having come to the n-th allocation; how many there were. */
static uint64_t sweep(uint64_t seed, bool on)
{
    uint64_t n = 1;
    struct storm_result result = {.alloc_failed = true};
    for (; result.alloc_failed; n++) {
        assert_true(n < SWEEP_MAX);
        storm_run(
            &(struct storm_config){.seed = seed, .no_faults = true, .fail_alloc = n, .fail_on = on},
            &result);
    }
    assert_true(result.made);
    return n - 2;
}

static void sweep_all(bool on)
{
    enum { STANDS = 20 }; /* more than a server needs to stand: so some fail later */
    uint64_t allocations = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) allocations += sweep(seed, on);
    printf("%llu allocations failed in %d seeds\n", (unsigned long long)allocations, (int)SEEDS);
    assert_true(allocations > SEEDS * STANDS);
}

static void any_allocation_may_fail_once(void **state)
{
    (void)state;
    sweep_all(false);
}

static void any_allocation_may_fail_with_all_after_it(void **state)
{
    (void)state;
    sweep_all(true);
}

int main(int argc, char **argv)
{
    (void)argc;
    storm_guard(argv[0]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail_once),
        cmocka_unit_test(any_allocation_may_fail_with_all_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
