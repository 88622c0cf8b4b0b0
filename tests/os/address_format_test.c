/* Addresses written and compared. */
#include "os/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "os/support/address_tools.h"

static void format_names_what_is_no_ip(void **state)
{
    (void)state;
    struct addr none = {0}, path = {.family = ADDR_UNIX}, strange = {.family = 200};
    assert_formats(&none, "-");
    assert_formats(&strange, "-");
    assert_formats(&path, "unix:");
}

static void format_always_terminates(void **state)
{
    (void)state;
    struct address addresses[] = {parsed("255.255.255.255:65535"), parsed("[2001:db8::1]:65535")};
    for (size_t a = 0; a < 2; a++) {
        char whole[ADDRESS_TEXT_MAX];
        addr_format(&addresses[a].ip, whole, sizeof whole);
        for (size_t size = 1; size <= strlen(whole) + 1; size++) {
            char *buf = malloc(size);
            addr_format(&addresses[a].ip, buf, size);
            assert_int_equal(strlen(buf), size - 1);
            assert_memory_equal(buf, whole, size - 1);
            free(buf);
        }
        assert_null(addr_format(&addresses[a].ip, NULL, 0));
    }
}

static void equality_is_of_what_counts(void **state)
{
    (void)state;
    struct addr base = parsed("1.2.3.4:80").ip, same = base;
    same.reserved = 9;
    same.ip[7] = 9; /* behind an IPv4 address */
    assert_true(addr_equal(&base, &same));
    struct addr other = base;
    other.port = 81;
    assert_false(addr_equal(&base, &other));
    other = base;
    other.ip[3] = 5;
    assert_false(addr_equal(&base, &other));
    struct addr v6 = parsed("[2001:db8::1]:80").ip, near = v6;
    near.ip[15] = 2;
    assert_false(addr_equal(&v6, &near));
    assert_false(addr_equal(&v6, &base));
    near = v6;
    near.scope = 3;
    assert_false(addr_equal(&v6, &near));
    struct addr none = {0}, path = {.family = ADDR_UNIX};
    assert_true(addr_equal(&none, &none));
    assert_true(addr_equal(&path, &path));
    assert_false(addr_equal(&none, &path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_names_what_is_no_ip),
        cmocka_unit_test(format_always_terminates),
        cmocka_unit_test(equality_is_of_what_counts),
    };
    return cmocka_run_group_tests_name("address_format", tests, NULL, NULL);
}
