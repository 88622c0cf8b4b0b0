/* The public error codes as text. */
#include "sallyport/error.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void each_code_has_its_name_and_sentence(void **state)
{
    (void)state;
#define CHECK(name, number, sentence)                                                              \
    assert_int_equal(SALLY_##name, number);                                                        \
    assert_string_equal(sally_strerror(number), sentence);                                         \
    assert_string_equal(sally_err_name(number), "SALLY_" #name);
    SALLY_ERRORS(CHECK)
#undef CHECK
}

static void codes_are_negative_and_differ(void **state)
{
    (void)state;
#define NUMBER(name, number, sentence) number,
    static const int numbers[] = {SALLY_ERRORS(NUMBER)};
#undef NUMBER
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_true(numbers[i] < 0);
        for (size_t j = 0; j < i; j++) assert_int_not_equal(numbers[i], numbers[j]);
    }
}

static void zero_and_unknown_numbers_have_texts_too(void **state)
{
    (void)state;
    static const int unknown[] = {1, -1, -1000, -1999, 1001, INT_MAX, INT_MIN};
    assert_string_equal(sally_strerror(0), "no error");
    assert_string_equal(sally_err_name(0), "0");
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_string_equal(sally_strerror(unknown[i]), "unknown error");
        assert_string_equal(sally_err_name(unknown[i]), "?");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_code_has_its_name_and_sentence),
        cmocka_unit_test(codes_are_negative_and_differ),
        cmocka_unit_test(zero_and_unknown_numbers_have_texts_too),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
