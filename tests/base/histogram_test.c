/* The histogram against the sorted values themselves, and its buckets' exact borders. */
#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/support/base_tools.h"

static struct histogram histogram;

/* The highest value of x's bucket. */
static uint64_t top_of(uint64_t x)
{
    histogram_init(&histogram);
    histogram_record(&histogram, x);
    histogram_record(&histogram, UINT64_MAX);
    return histogram_quantile(&histogram, 500000);
}

static void empty_one_is_all_zero(void **state)
{
    (void)state;
    memset(&histogram, 0xFF, sizeof histogram);
    histogram_init(&histogram);
    assert_int_equal(histogram.count, 0);
    assert_int_equal(histogram.min, 0);
    assert_int_equal(histogram.max, 0);
    assert_int_equal(histogram_quantile(&histogram, 0), 0);
    assert_int_equal(histogram_quantile(&histogram, 1000000), 0);
    histogram_record_many(&histogram, 7, 0);
    assert_int_equal(histogram.count, 0);
}

/* Walks from bucket to bucket: no gap, no overlap, none left over, none too wide. */
static void buckets_cover_every_value_and_are_narrow(void **state)
{
    (void)state;
    unsigned buckets = 0;
    uint64_t first = 0;
    for (;;) {
        uint64_t top = top_of(first);
        assert_true(top >= first);
        assert_true(top - first <= first / 32);
        assert_int_equal(top_of(top), top);
        assert_int_equal(top_of(first + (top - first) / 2), top);
        buckets++;
        if (top == UINT64_MAX) break;
        first = top + 1;
    }
    assert_int_equal(buckets, HISTOGRAM_BUCKETS);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 64; value++) assert_int_equal(top_of(value), value);
    assert_int_equal(top_of(64), 65);
}

static void quantile_is_never_above_max(void **state)
{
    (void)state;
    histogram_init(&histogram);
    histogram_record(&histogram, 1000001);
    assert_int_equal(histogram_quantile(&histogram, 0), 1000001);
    assert_int_equal(histogram_quantile(&histogram, 999999), 1000001);
    assert_int_equal(histogram_quantile(&histogram, 1000000), 1000001);
    assert_int_equal(histogram_quantile(&histogram, UINT32_MAX), 1000001);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void check_quantiles(const uint64_t *sorted, size_t count)
{
    static const uint32_t asked[] = {0,      1,      10000,  250000, 333333, 500000,
                                     900000, 990000, 999000, 999900, 999999, 1000000};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        size_t rank = (count * asked[i] + 999999) / 1000000;
        uint64_t exact = sorted[rank ? rank - 1 : 0];
        uint64_t got = histogram_quantile(&histogram, asked[i]);
        assert_true(got >= exact);
        assert_true(got - exact <= exact / 32);
        assert_true(got <= sorted[count - 1]);
    }
}

static void quantiles_agree_with_sorted_values(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    static uint64_t values[MANY];
    struct dice dice;
    dice_init(&dice, "histogram");
    for (unsigned round = 0; round < 60; round++) {
        unsigned bits = 1 + (unsigned)dice_below(&dice, 64);
        size_t count = 1 + dice_below(&dice, MANY);
        uint64_t sum = 0;
        bool sum_fits = true;
        histogram_init(&histogram);
        for (size_t i = 0; i < count; i++) {
            values[i] = dice_any_size(&dice, bits);
            histogram_record(&histogram, values[i]);
            sum_fits = sum_fits && values[i] <= UINT64_MAX - sum;
            sum += values[i];
        }
        qsort(values, count, sizeof *values, compare_u64);
        assert_int_equal(histogram.count, count);
        assert_int_equal(histogram.min, values[0]);
        assert_int_equal(histogram.max, values[count - 1]);
        assert_int_equal(histogram.sum, sum_fits ? sum : UINT64_MAX);
        check_quantiles(values, count);
    }
}

static void merged_parts_are_equal_to_the_whole(void **state)
{
    (void)state;
    static struct histogram parts[3], whole, merged;
    struct dice dice;
    dice_init(&dice, "merge");
    histogram_init(&whole);
    histogram_init(&merged);
    for (unsigned i = 0; i < 3; i++) histogram_init(&parts[i]);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t value = dice_any_size(&dice, 64), times = dice_below(&dice, 3);
        histogram_record_many(&whole, value, times);
        histogram_record_many(&parts[i % 2], value, times); /* the third stays empty */
    }
    for (unsigned i = 0; i < 3; i++) histogram_merge(&merged, &parts[2 - i]);
    assert_memory_equal(&merged, &whole, sizeof whole);
}

static void counts_saturate_instead_of_wrapping(void **state)
{
    (void)state;
    histogram_init(&histogram);
    histogram_record_many(&histogram, 3, UINT64_MAX);
    assert_int_equal(histogram.sum, UINT64_MAX);
    assert_int_equal(histogram_quantile(&histogram, 500000), 3);
    assert_int_equal(histogram_quantile(&histogram, 999999), 3);
    histogram_record_many(&histogram, 9, 10);
    assert_int_equal(histogram.count, UINT64_MAX);
    assert_int_equal(histogram.min, 3);
    assert_int_equal(histogram.max, 9);
    static struct histogram twice;
    twice = histogram;
    histogram_merge(&twice, &histogram);
    assert_int_equal(twice.count, UINT64_MAX);
    assert_int_equal(histogram_quantile(&twice, 500000), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_one_is_all_zero),
        cmocka_unit_test(buckets_cover_every_value_and_are_narrow),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(quantile_is_never_above_max),
        cmocka_unit_test(quantiles_agree_with_sorted_values),
        cmocka_unit_test(merged_parts_are_equal_to_the_whole),
        cmocka_unit_test(counts_saturate_instead_of_wrapping),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
