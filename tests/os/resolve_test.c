/* Names to addresses; nothing here leaves the machine. */
#include "os/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "os/support/address_tools.h"
#include "sallyport/error.h"

static void numeric_hosts_resolve_to_themselves(void **state)
{
    (void)state;
    struct addr addrs[4];
    unsigned count = 77;
    assert_int_equal(os_resolve("127.0.0.1", 5002, addrs, 4, &count), 0);
    assert_int_equal(count, 1);
    assert_formats(&addrs[0], "127.0.0.1:5002");
    assert_int_equal(os_resolve("::1", 1, addrs, 4, &count), 0);
    assert_int_equal(count, 1);
    assert_formats(&addrs[0], "[::1]:1");
}

static void L1_resolved_mapped_address_is_ipv4(void **state)
{
    (void)state;
    struct addr addr;
    unsigned count;
    assert_int_equal(os_resolve("::ffff:127.0.0.9", 7, &addr, 1, &count), 0);
    assert_formats(&addr, "127.0.0.9:7");
}

static void localhost_resolves_to_loopback_without_doubles(void **state)
{
    (void)state;
    struct addr addrs[8];
    unsigned count;
    assert_int_equal(os_resolve("localhost", 80, addrs, 8, &count), 0);
    assert_in_range(count, 1, 8);
    for (unsigned i = 0; i < count; i++) {
        bool v6 = addrs[i].family == ADDR_V6;
        assert_true(v6 ? addrs[i].ip[15] == 1 : addrs[i].ip[0] == 127);
        assert_int_equal(addrs[i].port, 80);
        for (unsigned j = 0; j < i; j++) assert_false(addr_equal(&addrs[i], &addrs[j]));
    }
    assert_int_equal(os_resolve("localhost", 80, addrs, 1, &count), 0);
    assert_int_equal(count, 1);
}

static void name_that_can_not_be_is_not_found(void **state)
{
    (void)state;
    struct addr addr;
    unsigned count = 77;
    char *name = text_of_length("", 'a', 300, ""); /* too long for a question */
    assert_int_equal(os_resolve(name, 80, &addr, 1, &count), SALLY_ENONAME);
    assert_int_equal(count, 0);
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numeric_hosts_resolve_to_themselves),
        cmocka_unit_test(L1_resolved_mapped_address_is_ipv4),
        cmocka_unit_test(localhost_resolves_to_loopback_without_doubles),
        cmocka_unit_test(name_that_can_not_be_is_not_found),
    };
    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
