/* All 256 characters, against the same sets written out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/ascii.h"

static const char small[] = "abcdefghijklmnopqrstuvwxyz";
static const char large[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char digits[] = "0123456789";

/* Where it is in the set; -1: it isn't. */
static int place(const char *set, char c)
{
    const char *at = c ? strchr(set, c) : NULL;
    return at ? (int)(at - set) : -1;
}

static void every_character_is_in_its_classes(void **state)
{
    (void)state;
    for (int n = 0; n < 256; n++) {
        char c = (char)n;
        assert_int_equal(ascii_is_blank(c), n == 0x20 || n == 0x09);
        assert_int_equal(ascii_is_digit(c), place(digits, c) >= 0);
        assert_int_equal(ascii_is_letter(c), place(small, c) >= 0 || place(large, c) >= 0);
    }
}

static void capital_letters_alone_become_small(void **state)
{
    (void)state;
    for (int n = 0; n < 256; n++) {
        char c = (char)n;
        char wanted = place(large, c) >= 0 ? small[place(large, c)] : c;
        assert_int_equal(ascii_lower(c), wanted);
    }
}

static void hexadecimal_digits_have_their_value(void **state)
{
    (void)state;
    for (int n = 0; n < 256; n++) {
        int value = place("0123456789abcdef", (char)n);
        if (value < 0) value = place("0123456789ABCDEF", (char)n);
        assert_int_equal(ascii_hex((char)n), value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_is_in_its_classes),
        cmocka_unit_test(capital_letters_alone_become_small),
        cmocka_unit_test(hexadecimal_digits_have_their_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
