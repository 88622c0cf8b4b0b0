/* Buffer pools: caps, reuse, gauges (S2-57), running out of memory. */
#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/support/base_tools.h"

enum {
#if defined(SALLY_POOLS_OFF)
    POOLS_KEEP = 0
#else
    POOLS_KEEP = 1
#endif
};

static void cap_on_buffers_out_is_exact(void **state)
{
    (void)state;
    struct ledger ledger;
    struct pool pool;
    void *bufs[5];
    ledger_init(&ledger);
    pool_init(&pool, &ledger.mem, 128, 5, 2);
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < 5; i++) {
            bufs[i] = pool_take(&pool);
            assert_non_null(bufs[i]);
            memset(bufs[i], (int)i, 128);
        }
        assert_null(pool_take(&pool));
        assert_int_equal(pool.refused, round);
        for (unsigned i = 0; i < 5; i++) {
            for (unsigned byte = 0; byte < 128; byte++)
                assert_int_equal(((unsigned char *)bufs[i])[byte], i);
            pool_give(&pool, bufs[i]);
        }
    }
    assert_int_equal(pool.out, 0);
    assert_int_equal(pool.out_high, 5);
    pool_free(&pool);
    ledger_check_empty(&ledger);
}

static void keeps_no_more_than_told(void **state)
{
    (void)state;
    struct ledger ledger;
    struct pool pool;
    void *bufs[10];
    ledger_init(&ledger);
    pool_init(&pool, &ledger.mem, 64, 10, 3);
    for (unsigned i = 0; i < 10; i++) bufs[i] = pool_take(&pool);
    for (unsigned i = 0; i < 10; i++) pool_give(&pool, bufs[i]);
    assert_int_equal(pool.kept, 3 * POOLS_KEEP);
    assert_int_equal(ledger.blocks, 3 * POOLS_KEEP);
    pool_trim(&pool, 1);
    assert_int_equal(pool.kept, 1 * POOLS_KEEP);
    assert_int_equal(ledger.blocks, 1 * POOLS_KEEP);
    pool_trim(&pool, 5); /* never takes more in */
    assert_int_equal(ledger.blocks, 1 * POOLS_KEEP);
    pool_free(&pool);
    ledger_check_empty(&ledger);
}

static void last_given_is_first_taken(void **state)
{
    (void)state;
    if (!POOLS_KEEP) skip();
    struct ledger ledger;
    struct pool pool;
    void *bufs[4];
    ledger_init(&ledger);
    pool_init(&pool, &ledger.mem, 64, 4, 4);
    for (unsigned i = 0; i < 4; i++) bufs[i] = pool_take(&pool);
    for (unsigned i = 0; i < 4; i++) pool_give(&pool, bufs[i]);
    size_t allocs = ledger.allocs;
    for (unsigned i = 4; i-- > 0;) assert_ptr_equal(pool_take(&pool), bufs[i]);
    assert_int_equal(ledger.allocs, allocs);
    for (unsigned i = 0; i < 4; i++) pool_give(&pool, bufs[i]);
    pool_free(&pool);
    ledger_check_empty(&ledger);
}

static void without_memory_take_fails_and_later_works(void **state)
{
    (void)state;
    struct ledger ledger;
    struct pool pool;
    ledger_init(&ledger);
    ledger.fail_at = 1;
    pool_init(&pool, &ledger.mem, 64, 4, 4);
    assert_null(pool_take(&pool));
    assert_int_equal(pool.out, 0);
    assert_int_equal(pool.refused, 1);
    void *buf = pool_take(&pool);
    assert_non_null(buf);
    pool_give(&pool, buf);
    pool_free(&pool);
    ledger_check_empty(&ledger);
}

static void gauges_follow_a_model_through_random_use(void **state)
{
    (void)state;
    enum { OUT_MAX = 37, KEEP_MAX = 11 };
    struct dice dice;
    struct ledger ledger;
    struct pool pool;
    void *out[OUT_MAX];
    uint32_t count = 0, high = 0, kept = 0;
    dice_init(&dice, "pool");
    ledger_init(&ledger);
    pool_init(&pool, &ledger.mem, sizeof(void *), OUT_MAX, KEEP_MAX); /* the smallest there is */
    for (unsigned i = 0; i < 20000; i++) {
        if (dice_below(&dice, 1000) == 0) {
            uint32_t keep = (uint32_t)dice_below(&dice, KEEP_MAX + 1);
            pool_trim(&pool, keep);
            if (kept > keep) kept = keep;
        } else if (dice_below(&dice, 64) * OUT_MAX < 64 * (i / 64 % OUT_MAX)) { /* tides */
            void *buf = pool_take(&pool);
            assert_int_equal(buf != NULL, count < OUT_MAX);
            if (!buf) continue;
            if (kept) kept--;
            memset(buf, 0xFF, sizeof(void *));
            out[count++] = buf;
            if (count > high) high = count;
        } else if (count) {
            uint32_t which = (uint32_t)dice_below(&dice, count);
            pool_give(&pool, out[which]);
            out[which] = out[--count];
            if (POOLS_KEEP && kept < KEEP_MAX) kept++;
        }
        assert_int_equal(pool.out, count);
        assert_int_equal(pool.out_high, high);
        assert_int_equal(pool.kept, kept);
        assert_int_equal(ledger.blocks, count + kept);
    }
    while (count) pool_give(&pool, out[--count]);
    pool_free(&pool);
    ledger_check_empty(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cap_on_buffers_out_is_exact),
        cmocka_unit_test(keeps_no_more_than_told),
        cmocka_unit_test(last_given_is_first_taken),
        cmocka_unit_test(without_memory_take_fails_and_later_works),
        cmocka_unit_test(gauges_follow_a_model_through_random_use),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
