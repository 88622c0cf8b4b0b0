/* Random texts, most of them nearly good, with a seed: refused, or read as what they say. */
#include "os/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "os/clock.h"
#include "os/support/address_tools.h"
#include "support/lot.h"

static void mutate(uint64_t *seed, char *text, size_t size)
{
    static const char alphabet[] = "0123456789abcdefxXF.:[]%*@/-_ unixfdlo";
    static const char *const models[] = {"1.2.3.4:80", "[::1]:80",        "[::ffff:1.2.3.4]:8",
                                         "host.x:1",   "unix:/a/b",       "fd:12",
                                         "*:9",        "[fe80::1%lo]:80", "unix:@name"};
    snprintf(text, size, "%s", models[lot_draw(seed) % 9]);
    for (uint64_t times = lot_draw(seed) % 6; times > 0; times--) {
        size_t len = strlen(text), at = lot_draw(seed) % (len + 1);
        char c = alphabet[lot_draw(seed) % (sizeof alphabet - 1)];
        if (lot_draw(seed) % 8 == 0) c = (char)(1 + lot_draw(seed) % 255);
        switch (lot_draw(seed) % 4) {
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
            size_t len = lot_draw(&seed) % sizeof text;
            for (size_t at = 0; at < len; at++) text[at] = (char)lot_draw(&seed);
            text[len] = '\0';
        }
        if (parse(&address, text) != 0) continue;
        check_taken(&address, text);
        taken++;
    }
    assert_true(taken > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_texts_are_refused_or_read_back_equal),
    };
    return cmocka_run_group_tests_name("address_random", tests, NULL, NULL);
}
