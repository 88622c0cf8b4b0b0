/* Addresses as text: what is read, and above all what is refused. */
#include "os/address.h"

#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "os/clock.h"
#include "sallyport/error.h"

/* In a block of its exact size, so that the sanitizer sees reads behind its end; a refused text
 * must leave `address` alone. */
static int parse(struct address *address, const char *text)
{
    size_t size = strlen(text) + 1;
    char *exact = malloc(size);
    memcpy(exact, text, size);
    struct address before;
    memset(address, 0x5A, sizeof *address);
    before = *address;
    int err = address_parse(address, exact);
    if (err) {
        assert_int_equal(err, SALLY_EADDRESS);
        assert_memory_equal(address, &before, sizeof before);
    }
    free(exact);
    return err;
}

static struct address parsed(const char *text)
{
    struct address address;
    if (parse(&address, text) != 0) fail_msg("\"%s\" was refused", text);
    return address;
}

static void assert_refused(const char *text)
{
    struct address address;
    if (parse(&address, text) == 0) fail_msg("\"%s\" was taken", text);
}

static void assert_formats(const struct addr *addr, const char *text)
{
    char buf[ADDRESS_TEXT_MAX];
    assert_ptr_equal(addr_format(addr, buf, sizeof buf), buf);
    assert_string_equal(buf, text);
}

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

static void bad_hosts_are_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {
        /* what the system's own reader takes for an IPv4 address */
        "1",
        "0",
        "1.2",
        "1.2.3",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0.0.1",
        "017700000001",
        "010.0.0.1",
        "1.2.3.04",
        "00.0.0.0",
        "0x0",
        "0x",
        "1.2.3.0x4",
        "1.2.3.4.",
        /* broken ones */
        "256.1.1.1",
        "1.2.3.256",
        "1.2.3.4.5",
        "1..2.3",
        ".1.2.3.4",
        "1.2.3.-4",
        "1.2.3.+4",
        " 1.2.3.4",
        "1.2.3.4 ",
        "1.2.3.4/24",
        "1.2.3.4%lo",
        "999999999999",
        "example.1",
        "a.0x1f",
        /* IPv6 in no brackets, or not well in them */
        "::1",
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
        "[0x1::]",
        /* zones */
        "[fe80::1%]",
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
        "[fe80::1%lo ]",
        /* names */
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "-a",
        "a-",
        "a.-b.c",
        "a.b-.c",
        "a b",
        " a",
        "a ",
        "a\tb",
        "a/b",
        "a\\b",
        "a@b",
        "user@host",
        "http://host",
        "a,b",
        "a;b",
        "a'b",
        "a\"b",
        "a%b",
        "a*",
        "**",
        "*.example",
        "h\xc3\xb6st",
        "a\177b",
        "a\x01",
        "host\n",
    };
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char text[100];
        snprintf(text, sizeof text, "%s:80", hosts[i]);
        assert_refused(text);
    }
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

/* `before`, `len` times `c`, `after`. */
static char *text_of_length(const char *before, char c, size_t len, const char *after)
{
    size_t head = strlen(before), tail = strlen(after);
    char *text = malloc(head + len + tail + 1);
    memcpy(text, before, head);
    memset(text + head, c, len);
    memcpy(text + head + len, after, tail + 1);
    return text;
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

/* ---- Random bytes ---- */

static uint64_t roll(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static void mutate(uint64_t *seed, char *text, size_t size)
{
    static const char alphabet[] = "0123456789abcdefxXF.:[]%*@/-_ unixfdlo";
    static const char *const models[] = {"1.2.3.4:80", "[::1]:80",        "[::ffff:1.2.3.4]:8",
                                         "host.x:1",   "unix:/a/b",       "fd:12",
                                         "*:9",        "[fe80::1%lo]:80", "unix:@name"};
    snprintf(text, size, "%s", models[roll(seed) % 9]);
    for (uint64_t times = roll(seed) % 6; times > 0; times--) {
        size_t len = strlen(text), at = roll(seed) % (len + 1);
        char c = alphabet[roll(seed) % (sizeof alphabet - 1)];
        if (roll(seed) % 8 == 0) c = (char)(1 + roll(seed) % 255);
        switch (roll(seed) % 4) {
        case 0: /* in */
            if (len + 2 > size) break;
            memmove(text + at + 1, text + at, len - at + 1);
            text[at] = c;
            break;
        case 1: /* out */
            if (at < len) memmove(text + at, text + at + 1, len - at);
            break;
        case 2:
            if (at < len) text[at] = c;
            break;
        default: text[at] = '\0'; break; /* cut */
        }
    }
}

/* What was read must say what the text says. */
static void check_taken(const struct address *address, const char *text)
{
    char again[400];
    struct address reread;
    assert_true(memchr(address->host, '\0', sizeof address->host) != NULL);
    switch (address->kind) {
    case ADDRESS_IP:
        addr_format(&address->ip, again, sizeof again);
        assert_true(address->ip.family == ADDR_V4 || address->ip.family == ADDR_V6);
        if (text[0] != '[') assert_string_equal(again, text);
        break;
    case ADDRESS_NAME:
        snprintf(again, sizeof again, "%s:%u", address->host, address->ip.port);
        break;
    case ADDRESS_ANY: snprintf(again, sizeof again, "*:%u", address->ip.port); break;
    case ADDRESS_PATH: snprintf(again, sizeof again, "unix:%s", address->host); break;
    case ADDRESS_FD: snprintf(again, sizeof again, "fd:%lld", (long long)address->fd); break;
    default: fail_msg("\"%s\": of no kind", text);
    }
    if (address->kind != ADDRESS_IP) assert_string_equal(again, text);
    assert_int_equal(parse(&reread, again), 0);
    assert_int_equal(reread.kind, address->kind);
    assert_int_equal(reread.fd, address->fd);
    assert_memory_equal(&reread.ip, &address->ip, sizeof reread.ip);
    assert_memory_equal(reread.host, address->host, sizeof reread.host);
}

static void random_texts_are_refused_or_read_back_equal(void **state)
{
    (void)state;
    const char *given = getenv("SALLY_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : os_clock_ns();
    unsigned taken = 0;
    print_message("address: SALLY_SEED=%llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < 200000; i++) {
        char text[64];
        struct address address;
        if (i % 4) {
            mutate(&seed, text, sizeof text);
        } else {
            size_t len = roll(&seed) % sizeof text;
            for (size_t at = 0; at < len; at++) text[at] = (char)roll(&seed);
            text[len] = '\0';
        }
        if (parse(&address, text) != 0) continue;
        check_taken(&address, text);
        taken++;
    }
    assert_true(taken > 1000);
}

/* ---- Writing and comparing ---- */

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

/* ---- Resolving; nothing here leaves the machine ---- */

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
        cmocka_unit_test(ip_addresses_are_read_and_written_back),
        cmocka_unit_test(L1_mapped_addresses_are_ipv4),
        cmocka_unit_test(zones_are_read_on_link_local_addresses),
        cmocka_unit_test(names_and_every_address),
        cmocka_unit_test(paths_and_descriptors),
        cmocka_unit_test(bad_ports_are_refused),
        cmocka_unit_test(bad_hosts_are_refused),
        cmocka_unit_test(bad_paths_descriptors_and_other_texts_are_refused),
        cmocka_unit_test(long_texts_are_taken_up_to_the_limit_and_refused_past_it),
        cmocka_unit_test(random_texts_are_refused_or_read_back_equal),
        cmocka_unit_test(format_names_what_is_no_ip),
        cmocka_unit_test(format_always_terminates),
        cmocka_unit_test(equality_is_of_what_counts),
        cmocka_unit_test(numeric_hosts_resolve_to_themselves),
        cmocka_unit_test(L1_resolved_mapped_address_is_ipv4),
        cmocka_unit_test(localhost_resolves_to_loopback_without_doubles),
        cmocka_unit_test(name_that_can_not_be_is_not_found),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
