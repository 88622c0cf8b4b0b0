/* Many seeds of the storm. SALLY_SEEDS says how many, SALLY_SEED runs one alone, SALLY_TRACE=1
 * prints what happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "sim/support/storm.h"

static void every_seed_keeps_every_promise(void **state)
{
    (void)state;
    uint64_t only = storm_only_seed();
    uint64_t seeds = only ? 1 : storm_seeds(10000);
    uint64_t served = 0, closed = 0, hash = 0;
    for (uint64_t i = 0; i < seeds; i++) {
        struct storm_result result;
        storm_run(&(struct storm_config){.seed = only ? only : i + 1}, &result);
        assert_true(result.made);
        served += result.served;
        closed += result.closed;
        hash = hash * 31 + result.hash;
    }
    printf("%llu seeds, %llu connections, %llu peers served whole, hash %016llx\n",
           (unsigned long long)seeds, (unsigned long long)closed, (unsigned long long)served,
           (unsigned long long)hash);
    assert_true(served >= seeds); /* the calm's at least */
}

int main(int argc, char **argv)
{
    (void)argc;
    storm_guard(argv[0]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_seed_keeps_every_promise)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
