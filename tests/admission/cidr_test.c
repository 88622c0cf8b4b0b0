/* Networks as text and as bits. */
#include "admission/cidr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "os/address.h"
#include "sallyport/error.h"

static struct cidr cidr_from(const char *text)
{
    struct cidr cidr;
    const char *why;
    if (cidr_parse(&cidr, text, &why) != 0) fail_msg("%s: %s", text, why);
    return cidr;
}

static struct addr addr_from(const char *text)
{
    struct addr addr;
    if (address_parse_ip(&addr, text) != 0) fail_msg("%s is no address", text);
    return addr;
}

static bool covers(const char *network, const char *address)
{
    struct cidr cidr = cidr_from(network);
    struct addr addr = addr_from(address);
    return cidr_covers(&cidr, &addr);
}

static void every_spelling_is_written_one_way(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"192.0.2.7", "192.0.2.7"},
        {"192.0.2.7/32", "192.0.2.7"},
        {"192.0.2.0/24", "192.0.2.0/24"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"128.0.0.0/1", "128.0.0.0/1"},
        {"2001:db8::1", "2001:db8::1"},
        {"2001:0DB8:0:0:0:0:0:1/128", "2001:db8::1"},
        {"2001:db8::/32", "2001:db8::/32"},
        {"::/0", "::/0"},
        {"::ffff:192.0.2.7", "192.0.2.7"},
        {"::ffff:c000:0207", "192.0.2.7"},
        {"0:0:0:0:0:ffff:192.0.2.7/128", "192.0.2.7"},
        {"::ffff:192.0.2.0/120", "192.0.2.0/24"},
        {"::ffff:0:0/96", "0.0.0.0/0"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[CIDR_TEXT_MAX];
        struct cidr cidr = cidr_from(pairs[i][0]);
        assert_string_equal(cidr_format(&cidr, text, sizeof text), pairs[i][1]);
        struct cidr again = cidr_from(text);
        assert_true(cidr_equal(&cidr, &again));
    }
}

static void what_is_not_plainly_a_network_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "/",
        "/24",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "0x7f.0.0.1",
        "1.2.3.4/",
        "1.2.3.4/33",
        "1.2.3.4/-1",
        "1.2.3.4/+1",
        "1.2.3.4/08",
        "1.2.3.4/0x8",
        "1.2.3.0/24 ",
        " 1.2.3.0/24",
        "1.2.3.0 /24",
        "1.2.3.0/24/24",
        "1.2.3.4:80",
        "[::1]",
        "[::1]:80",
        "::1/129",
        "::1/1280",
        "fe80::1%lo",
        "2001:db8::/64x",
        "host",
        "*",
        "unix:/path",
        ":::",
        "1::2::3",
        "::1.2.3",
        "12345::",
        "::ffff:1.2.3.4/95",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct cidr cidr;
        const char *why = NULL;
        if (cidr_parse(&cidr, texts[i], &why) == 0) fail_msg("taken: '%s'", texts[i]);
        assert_non_null(why);
    }
    char text[200];
    memset(text, '1', sizeof text - 1);
    text[sizeof text - 1] = 0;
    struct cidr cidr;
    assert_int_equal(cidr_parse(&cidr, text, NULL), SALLY_ENETWORK);
    assert_int_equal(cidr_parse(&cidr, NULL, NULL), SALLY_ENETWORK);
}

static void bits_behind_the_prefix_are_a_slip(void **state)
{
    (void)state;
    static const char *const texts[] = {"10.1.2.3/8",         "10.0.0.1/31",       "128.0.0.0/0",
                                        "2001:db8::1/64",     "2001:db8:0:1::/63", "::1/127",
                                        "::ffff:10.0.0.1/104"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct cidr cidr;
        const char *why = "";
        assert_int_equal(cidr_parse(&cidr, texts[i], &why), SALLY_ENETWORK);
        assert_non_null(strstr(why, "behind"));
    }
}

static void a_network_covers_its_own_and_no_more(void **state)
{
    (void)state;
    assert_true(covers("192.0.2.0/24", "192.0.2.0"));
    assert_true(covers("192.0.2.0/24", "192.0.2.255"));
    assert_false(covers("192.0.2.0/24", "192.0.3.0"));
    assert_true(covers("192.0.2.128/25", "192.0.2.128"));
    assert_false(covers("192.0.2.128/25", "192.0.2.127"));
    assert_true(covers("0.0.0.0/0", "255.255.255.255"));
    assert_true(covers("2001:db8:0:2::/63", "2001:db8:0:3:ffff::"));
    assert_false(covers("2001:db8:0:2::/63", "2001:db8:0:4::"));
    assert_true(covers("192.0.2.0/24", "::ffff:192.0.2.9"));
}

static void the_families_are_apart(void **state)
{
    (void)state;
    assert_false(covers("::/0", "192.0.2.1"));
    assert_false(covers("::/0", "::ffff:192.0.2.1"));
    assert_false(covers("0.0.0.0/0", "2001:db8::1"));
    assert_false(covers("0.0.0.0/0", "::"));
}

/* Bit by bit, against a slow definition. */
static void each_length_keeps_exactly_its_bits(void **state)
{
    (void)state;
    static const char *const texts[] = {"255.255.255.255",
                                        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"};
    for (int t = 0; t < 2; t++) {
        struct addr addr = addr_from(texts[t]);
        unsigned most = cidr_bits_of(addr.family);
        for (unsigned bits = 0; bits <= most; bits++) {
            struct cidr cidr = cidr_around(&addr, bits);
            assert_int_equal(cidr.bits, bits);
            for (unsigned bit = 0; bit < most; bit++) {
                unsigned was = addr.ip[bit / 8] >> (7 - bit % 8) & 1;
                unsigned is = cidr.ip[bit / 8] >> (7 - bit % 8) & 1;
                assert_int_equal(is, bit < bits ? was : 0);
            }
        }
        assert_int_equal(cidr_around(&addr, 200).bits, most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_is_written_one_way),
        cmocka_unit_test(what_is_not_plainly_a_network_is_refused),
        cmocka_unit_test(bits_behind_the_prefix_are_a_slip),
        cmocka_unit_test(a_network_covers_its_own_and_no_more),
        cmocka_unit_test(the_families_are_apart),
        cmocka_unit_test(each_length_keeps_exactly_its_bits),
    };
    return cmocka_run_group_tests_name("cidr", tests, NULL, NULL);
}
