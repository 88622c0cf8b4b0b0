/* Addresses as text: what is read, and above all what is refused. */
#include "os/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "os/network.h"
#include "os/support/address_tools.h"
#include "sallyport/error.h"

/* ---- Taken ---- */

static void ip_addresses_are_read_and_written_back(void **state)
{
    (void)state;
    static const struct {
        const char *text, *formatted;
        enum addr_family family;
    } rows[] = {
        {"1.2.3.4:80", "1.2.3.4:80", ADDR_V4},
        {"0.0.0.0:0", "0.0.0.0:0", ADDR_V4},
        {"255.255.255.255:65535", "255.255.255.255:65535", ADDR_V4},
        {"[::1]:80", "[::1]:80", ADDR_V6},
        {"[::]:0", "[::]:0", ADDR_V6},
        {"[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]:443", ADDR_V6},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", ADDR_V6},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address address = parsed(rows[i].text);
        assert_int_equal(address.kind, ADDRESS_IP);
        assert_int_equal(address.ip.family, rows[i].family);
        assert_string_equal(address.host, "");
        assert_formats(&address.ip, rows[i].formatted);
    }
    struct address address = parsed("1.2.3.4:258");
    assert_memory_equal(address.ip.ip, "\1\2\3\4\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    assert_int_equal(address.ip.port, 258);
}

/* L1: one and the same peer in another dress. */
static void L1_mapped_addresses_are_ipv4(void **state)
{
    (void)state;
    static const char *const spellings[] = {
        "[::ffff:10.1.2.3]:80",
        "[::FFFF:10.1.2.3]:80",
        "[0:0:0:0:0:ffff:a01:203]:80",
        "[::ffff:0a01:0203]:80",
        "[0000:0000:0000:0000:0000:ffff:10.1.2.3]:80",
    };
    struct address plain = parsed("10.1.2.3:80");
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct address mapped = parsed(spellings[i]);
        assert_int_equal(mapped.ip.family, ADDR_V4);
        assert_true(addr_equal(&mapped.ip, &plain.ip));
        assert_memory_equal(&mapped.ip, &plain.ip, sizeof plain.ip);
        assert_formats(&mapped.ip, "10.1.2.3:80");
    }
}

static void zones_are_read_on_link_local_addresses(void **state)
{
    (void)state;
    unsigned index = if_nametoindex("lo");
    if (!index) skip();
    struct address address = parsed("[fe80::1%lo]:80");
    assert_int_equal(address.ip.scope, index);
    assert_formats(&address.ip, "[fe80::1%lo]:80");
    char text[64];
    snprintf(text, sizeof text, "[fe80::1%%%u]:80", index);
    struct address by_number = parsed(text);
    assert_true(addr_equal(&by_number.ip, &address.ip));
    struct address other =
        parsed("[fe80::1%2147483647]:80"); /* an interface that isn't there yet */
    assert_formats(&other.ip, "[fe80::1%2147483647]:80");
    assert_false(addr_equal(&other.ip, &address.ip));
}

static void names_and_every_address(void **state)
{
    (void)state;
    static const char *const names[] = {
        "localhost",         "a",
        "A-b.c_d",           "x1.example.com",
        "example.com.",      "1a",
        "3com.example",      "0x7f.example",
        "1.2.3.4.example",   "xn--bcher-kva.example",
        "_srv._tcp.example", "0x7g",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[100];
        snprintf(text, sizeof text, "%s:8080", names[i]);
        struct address address = parsed(text);
        assert_int_equal(address.kind, ADDRESS_NAME);
        assert_string_equal(address.host, names[i]);
        assert_int_equal(address.ip.port, 8080);
        assert_int_equal(address.ip.family, ADDR_NONE);
    }
    struct address any = parsed("*:81");
    assert_int_equal(any.kind, ADDRESS_ANY);
    assert_int_equal(any.ip.port, 81);
    assert_int_equal(any.ip.family, ADDR_NONE);
}

static void paths_and_descriptors(void **state)
{
    (void)state;
    static const char *const paths[] = {"/run/x.sock", "/a", "@abstract", "/with space:and[]",
                                        "@:"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char text[100];
        snprintf(text, sizeof text, "unix:%s", paths[i]);
        struct address address = parsed(text);
        assert_int_equal(address.kind, ADDRESS_PATH);
        assert_string_equal(address.host, paths[i]);
    }
    assert_int_equal(parsed("fd:3").kind, ADDRESS_FD);
    assert_int_equal(parsed("fd:3").fd, 3);
    assert_int_equal(parsed("fd:0").fd, 0);
    assert_int_equal(parsed("fd:2147483647").fd, 2147483647);
}

/* ---- Refused ---- */

static void bad_ports_are_refused(void **state)
{
    (void)state;
    static const char *const ports[] = {
        "",
        "65536",
        "65537",
        "655350",
        "99999",
        "4294967296",
        "4294967376",
        "18446744073709551696",
        "-1",
        "+80",
        "-0",
        " 80",
        "80 ",
        "8 0",
        "0x50",
        "080",
        "00",
        "0080",
        "8o",
        "80:",
        ":80",
        "80a",
        "http",
        "80\n",
        "\t80",
        "1e3",
        "80.0",
        "*",
        "\xd9\xa8\xd9\xa0",
    };
    static const char *const hosts[] = {"1.2.3.4", "[::1]", "localhost", "*"};
    for (size_t h = 0; h < 4; h++) {
        for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
            char text[100];
            snprintf(text, sizeof text, "%s:%s", hosts[h], ports[i]);
            assert_refused(text);
        }
        assert_refused(hosts[h]); /* none at all */
    }
}

static void assert_hosts_refused(const char *const *hosts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[100];
        snprintf(text, sizeof text, "%s:80", hosts[i]);
        assert_refused(text);
    }
}

static void what_the_system_would_take_for_an_ipv4_address_is_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {
        "1",          "0",      "1.2",        "1.2.3",        "127.1",     "2130706433",
        "0x7f000001", "0x7f.1", "0X7F.0.0.1", "017700000001", "010.0.0.1", "1.2.3.04",
        "00.0.0.0",   "0x0",    "0x",         "1.2.3.0x4",    "1.2.3.4."};
    assert_hosts_refused(hosts, sizeof hosts / sizeof *hosts);
}

static void broken_ipv4_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {"256.1.1.1", "1.2.3.256",  "1.2.3.4.5",  "1..2.3",
                                        ".1.2.3.4",  "1.2.3.-4",   "1.2.3.+4",   " 1.2.3.4",
                                        "1.2.3.4 ",  "1.2.3.4/24", "1.2.3.4%lo", "999999999999",
                                        "example.1", "a.0x1f"};
    assert_hosts_refused(hosts, sizeof hosts / sizeof *hosts);
}

static void broken_ipv6_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {"::1",
                                        "::",
                                        "2001:db8::1",
                                        "[::1",
                                        "::1]",
                                        "[]",
                                        "[::1]]",
                                        "[[::1]]",
                                        "[::1]x",
                                        "[:::1]",
                                        "[1.2.3.4]",
                                        "[localhost]",
                                        "[*]",
                                        "[::1 ]",
                                        "[ ::1]",
                                        "[g::]",
                                        "[12345::]",
                                        "[1:2:3]",
                                        "[1:2:3:4:5:6:7:8:9]",
                                        "[::1::2]",
                                        "[::1.2.3]",
                                        "[::01.2.3.4]",
                                        "[::256.1.1.1]",
                                        "[::1/64]",
                                        "[::-1]",
                                        "[0x1::]"};
    assert_hosts_refused(hosts, sizeof hosts / sizeof *hosts);
}

static void bad_zones_are_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {"[fe80::1%]",
                                        "[fe80::1%no-such-interface-x]",
                                        "[fe80::1%nosuchif9]",
                                        "[fe80::1%0]",
                                        "[fe80::1%01]",
                                        "[fe80::1%-1]",
                                        "[fe80::1%4294967297]",
                                        "[fe80::1%1%1]",
                                        "[%1]",
                                        "[::1%lo]",
                                        "[::1%1]",
                                        "[::ffff:1.2.3.4%1]",
                                        "[2001:db8::1%1]",
                                        "[fe80::1%lo ]"};
    assert_hosts_refused(hosts, sizeof hosts / sizeof *hosts);
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {
        "",       ".",         "..",          "a..b",        ".a",     "a..",   "-a",    "a-",
        "a.-b.c", "a.b-.c",    "a b",         " a",          "a ",     "a\tb",  "a/b",   "a\\b",
        "a@b",    "user@host", "http://host", "a,b",         "a;b",    "a'b",   "a\"b",  "a%b",
        "a*",     "**",        "*.example",   "h\xc3\xb6st", "a\177b", "a\x01", "host\n"};
    assert_hosts_refused(hosts, sizeof hosts / sizeof *hosts);
}

static void bad_paths_descriptors_and_other_texts_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        ":",
        "::",
        "[",
        "]",
        "[]",
        "[]:",
        "unix:",
        "unix:/",
        "unix:@",
        "unix:relative",
        "unix:.",
        "unix: /x",
        "UNIX:/x",
        "unix",
        "unix/x",
        "fd:",
        "fd:-1",
        "fd:+3",
        "fd: 3",
        "fd:3 ",
        "fd:03",
        "fd:0x3",
        "fd:2147483648",
        "fd:4294967299",
        "fd:18446744073709551619",
        "fd:three",
        "fd:3:80",
        "tcp://1.2.3.4:80",
        "1.2.3.4",
        "1.2.3.4;80",
        "80",
        ":80",
        " :80",
        "localhost:80:80",
        "1.2.3.4:80:1",
        "[::1]80",
        "[::1]: 80",
        "[::1]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) assert_refused(texts[i]);
    struct address address;
    assert_int_equal(address_parse(&address, NULL), SALLY_EADDRESS);
}

static void long_texts_are_taken_up_to_the_limit_and_refused_past_it(void **state)
{
    (void)state;
    char labels[129]; /* 128 characters of two labels, with their dots */
    snprintf(labels, sizeof labels, "%063d.%063d.", 0, 0);
    char name[400];
    snprintf(name, sizeof name, "%s", labels);
    static const struct {
        const char *before;
        char c;
        size_t len;
        const char *after;
        bool taken;
    } rows[] = {
        {"", 'a', 63, ":80", true},
        {"", 'a', 64, ":80", false},
        {"", 'a', 255, ":80", false},
        {"", 'a', 256, ":80", false},
        {"", 'a', 100000, ":80", false},
        {"unix:/", 'a', 106, "", true},
        {"unix:/", 'a', 107, "", false},
        {"unix:@", 'a', 106, "", true},
        {"unix:@", 'a', 107, "", false},
        {"unix:/", 'a', 100000, "", false},
        {"fd:", '1', 9, "", true},
        {"fd:", '9', 100000, "", false},
        {"1.2.3.4:", '1', 100000, "", false},
        {"[", ':', 100000, "]:80", false},
        {"[", '0', 255, "]:80", false},
        {"[", '0', 256, "]:80", false},
        {"[fe80::1%", 'e', 15, "]:80", false},
        {"[fe80::1%", 'e', 100000, "]:80", false},
        {"", ':', 100000, "", false},
        {"", '[', 100000, "", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = text_of_length(rows[i].before, rows[i].c, rows[i].len, rows[i].after);
        struct address address;
        assert_int_equal(parse(&address, text) == 0, rows[i].taken);
        free(text);
    }
    /* a whole name: 253, with the dot at its end 254 */
    char *longest = text_of_length(labels, 'b', 63, ".");
    char *text = text_of_length(longest, 'c', 61, ":80");
    assert_int_equal(parsed(text).kind, ADDRESS_NAME);
    free(text);
    text = text_of_length(longest, 'c', 61, ".:80");
    assert_int_equal(strlen(parsed(text).host), 254);
    free(text);
    text = text_of_length(longest, 'c', 62, ":80");
    assert_refused(text);
    free(text);
    free(longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ip_addresses_are_read_and_written_back),
        cmocka_unit_test(L1_mapped_addresses_are_ipv4),
        cmocka_unit_test(zones_are_read_on_link_local_addresses),
        cmocka_unit_test(names_and_every_address),
        cmocka_unit_test(paths_and_descriptors),
        cmocka_unit_test(bad_ports_are_refused),
        cmocka_unit_test(what_the_system_would_take_for_an_ipv4_address_is_refused),
        cmocka_unit_test(broken_ipv4_addresses_are_refused),
        cmocka_unit_test(broken_ipv6_addresses_are_refused),
        cmocka_unit_test(bad_zones_are_refused),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(bad_paths_descriptors_and_other_texts_are_refused),
        cmocka_unit_test(long_texts_are_taken_up_to_the_limit_and_refused_past_it),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
