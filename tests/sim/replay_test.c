/* One seed is one run: the same storm twice has the same hash, another seed's has another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sim/support/storm.h"

enum { SEEDS = 50, FIRST = 7000001 };

static struct storm_result run(uint64_t seed)
{
    struct storm_result result;
    storm_run(&(struct storm_config){.seed = seed}, &result);
    return result;
}

static void a_seed_gives_the_same_run_again(void **state)
{
    (void)state;
    for (uint64_t seed = FIRST; seed < FIRST + SEEDS; seed++) {
        struct storm_result first = run(seed);
        struct storm_result again = run(seed);
        assert_true(first.hash == again.hash);
        assert_int_equal(first.closed, again.closed);
        assert_int_equal(first.served, again.served);
    }
}

/* What lies elsewhere in memory, and where, must not matter. */
static void a_seed_gives_the_same_run_after_others(void **state)
{
    (void)state;
    struct storm_result first = run(FIRST);
    for (uint64_t seed = FIRST + 1; seed < FIRST + 10; seed++) (void)run(seed);
    assert_true(run(FIRST).hash == first.hash);
}

static void other_seeds_give_other_runs(void **state)
{
    (void)state;
    uint64_t hashes[SEEDS];
    for (unsigned i = 0; i < SEEDS; i++) {
        hashes[i] = run(FIRST + i).hash;
        for (unsigned k = 0; k < i; k++) assert_true(hashes[k] != hashes[i]);
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    storm_guard(argv[0]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_gives_the_same_run_again),
        cmocka_unit_test(a_seed_gives_the_same_run_after_others),
        cmocka_unit_test(other_seeds_give_other_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
