/* The header of the PROXY protocol: golden bytes written by hand from the specification, every
 * split, what is no header, and mutations against a second reader that sees all of it at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter/support/proxy_model.h"
#include "os/address.h"
#include "support/lot.h"

/* ---- Reading, in pieces ---- */

/* Pieces have memory of their own of just that size, so that a sanitizer sees who looks behind. */
static enum proxy_answer feed(struct proxy_header *header, const uint8_t *data, size_t len,
                              size_t *used)
{
    uint8_t *piece = malloc(len ? len : 1);
    assert_non_null(piece);
    memcpy(piece, data, len);
    enum proxy_answer answer = proxy_header_feed(header, piece, len, used);
    assert_true(*used <= len && (answer != PROXY_MORE || *used == len));
    free(piece);
    return answer;
}

static struct told told_of(const struct proxy_header *header, enum proxy_answer answer, size_t used)
{
    struct told told = {.answer = answer};
    if (answer != PROXY_DONE) return told; /* what is wrong can be found sooner or later */
    told.used = used;
    told.version = header->version;
    addr_format(&header->source, told.source, sizeof told.source);
    addr_format(&header->dest, told.dest, sizeof told.dest);
    return told;
}

/* The first piece has `cut` bytes, the following ones `step`. */
static struct told read_in(const void *data, size_t len, size_t cut, size_t step)
{
    struct proxy_header header;
    const uint8_t *bytes = data;
    enum proxy_answer answer = PROXY_MORE;
    size_t at = 0;
    proxy_header_init(&header, HEADER_MAX);
    assert_false(proxy_header_begun(&header));
    for (size_t piece = cut; answer == PROXY_MORE && at < len; piece = step) {
        size_t used;
        if (piece > len - at) piece = len - at;
        answer = feed(&header, bytes + at, piece, &used);
        at += used;
        assert_true(proxy_header_begun(&header) == (at > 0));
    }
    return told_of(&header, answer, at);
}

static void assert_same(const struct told *a, const struct told *b)
{
    assert_int_equal(a->answer, b->answer);
    assert_int_equal(a->used, b->used);
    assert_int_equal(a->version, b->version);
    assert_string_equal(a->source, b->source);
    assert_string_equal(a->dest, b->dest);
}

/* The same in every split in two, and byte by byte. */
static struct told read_all_ways(const void *data, size_t len)
{
    struct told whole = read_in(data, len, len, 1);
    for (size_t cut = 0; cut < len; cut++) {
        struct told split = read_in(data, len, cut, len);
        assert_same(&split, &whole);
    }
    struct told single = read_in(data, len, 1, 1);
    assert_same(&single, &whole);
    return whole;
}

/* It is a whole header, which no part of it is, and bytes behind it are nobody's. */
static void assert_header(const void *data, size_t len, unsigned version, const char *source,
                          const char *dest)
{
    uint8_t more[HEADER_MAX * 2];
    struct told told = read_all_ways(data, len);
    assert_int_equal(told.answer, PROXY_DONE);
    assert_int_equal(told.used, len);
    assert_int_equal(told.version, version);
    assert_string_equal(told.source, source);
    assert_string_equal(told.dest, dest);
    for (size_t part = 0; part < len; part++)
        assert_int_equal(read_in(data, part, part, 1).answer, PROXY_MORE);
    memcpy(more, data, len);
    memcpy(more + len, data, len); /* a second header is data */
    struct told twice = read_all_ways(more, 2 * len);
    assert_same(&twice, &told);
}

static void assert_line(const char *line, const char *source, const char *dest)
{
    assert_header(line, strlen(line), 1, source, dest);
}

static void assert_malformed(const void *data, size_t len)
{
    struct told told = read_all_ways(data, len);
    if (told.answer != PROXY_MALFORMED) {
        fprintf(stderr, "not refused: ");
        for (size_t i = 0; i < len; i++) fprintf(stderr, "%02x ", ((const uint8_t *)data)[i]);
        fprintf(stderr, "\n");
    }
    assert_int_equal(told.answer, PROXY_MALFORMED);
}

static void assert_bad_line(const char *line) { assert_malformed(line, strlen(line)); }

/* ---- Version 1 ---- */

static void lines_of_the_specification(void **state)
{
    (void)state;
    assert_line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324",
                "192.168.0.11:443");
    assert_line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                "255.255.255.255:65535", "255.255.255.255:65535");
    assert_line("PROXY TCP6 2001:db8::7 2001:DB8:0:0:0:0:0:8 1 0\r\n", "[2001:db8::7]:1",
                "[2001:db8::8]:0");
    assert_line("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535");
    assert_line("PROXY UNKNOWN\r\n", "-", "-");
    assert_line("PROXY UNKNOWN \r\n", "-", "-");
    assert_line("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                "-", "-"); /* 107 bytes, the longest there is */
    assert_line("PROXY UNKNOWN  \t\x01 whatever 99999\r\n", "-", "-");
}

static void mapped_addresses_are_ipv4(void **state)
{
    (void)state;
    assert_line("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c000:208 4711 443\r\n", "192.0.2.7:4711",
                "192.0.2.8:443");
}

static const char *const bad_lines[] = {
    "GET / HTTP/1.0\r\n",
    "P\r\n",
    "PROXY\r\n",
    "PROXY \r\n",
    "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY TCP4\r\n",
    "PROXY TCP4 \r\n",
    "PROXY TCP4 1.2.3.4\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
    "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8  1 2\r\n",
    "PROXY TCP4 1.2.3.4\t5.6.7.8 1 2\r\n",
    "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY UNKNOWNX\r\n",
    "PROXY unknown\r\n",
    "PROXY TCP44 1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
    "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
    "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
    "PROXY TCP4 0x1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY TCP4 1.2.3.4. 5.6.7.8 1 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8:1 1 2\r\n",
    "PROXY TCP4 localhost 5.6.7.8 1 2\r\n",
    "PROXY TCP4 ::1 ::2 1 2\r\n",
    "PROXY TCP4 1.2.3.4 ::2 1 2\r\n",
    "PROXY TCP4 ::ffff:1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY TCP6 ::1 5.6.7.8 1 2\r\n",
    "PROXY TCP6 ::1::2 ::2 1 2\r\n",
    "PROXY TCP6 :1 ::2 1 2\r\n",
    "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::2 1 2\r\n",
    "PROXY TCP6 12345::1 ::2 1 2\r\n",
    "PROXY TCP6 fe80::1%lo ::2 1 2\r\n",
    "PROXY TCP6 [::1] ::2 1 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 99999 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 4294967297 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1x 2\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rX\n",
    "PROXY TCP4 1.2.3.4 5.6.7.8 1\n 2\r\n",
    "PROXY UNKNOWN\n",
    "PROXY UNKNOWN \r \r\n",
    /* 108 bytes: one more than there may be */
    "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535 \r\n",
    "PROXY TCP6 0000:0000:0000:0000:0000:ffff:192.168.100.200 "
    "0000:0000:0000:0000:0000:ffff:192.168.100.200 65535 65535\r\n",
};

static void a_line_that_is_not_exactly_one_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_lines / sizeof bad_lines[0]; i++)
        assert_bad_line(bad_lines[i]);
    static const char zero[] = "PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n";
    assert_malformed(zero, sizeof zero - 1);
    static const char zero_port[] = "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\0\r\n";
    assert_malformed(zero_port, sizeof zero_port - 1);
}

static void a_line_without_an_end_is_refused_at_its_limit(void **state)
{
    (void)state;
    char line[PROXY_LINE_MAX + 1];
    memset(line, ' ', sizeof line);
    memcpy(line, "PROXY UNKNOWN", 13);
    assert_int_equal(read_in(line, PROXY_LINE_MAX - 1, 1, 1).answer, PROXY_MORE);
    assert_malformed(line, PROXY_LINE_MAX);
    line[PROXY_LINE_MAX - 1] = '\r'; /* its line feed would be the 108th */
    assert_malformed(line, PROXY_LINE_MAX);
}

/* ---- Version 2 ---- */

/* 192.0.2.7:4711 to 198.51.100.9:443 */
#define V4 192, 0, 2, 7, 198, 51, 100, 9, 0x12, 0x67, 0x01, 0xbb
/* [2001:db8::7]:4711 to [2001:db8::9]:443 */
#define V6                                                                                         \
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0,   \
        0, 0, 0, 0, 0, 0, 0, 0, 9, 0x12, 0x67, 0x01, 0xbb
#define FROM_V4 "192.0.2.7:4711"
#define TO_V4   "198.51.100.9:443"
#define FROM_V6 "[2001:db8::7]:4711"
#define TO_V6   "[2001:db8::9]:443"

#define ASSERT_V2(source, dest, ...)                                                               \
    do {                                                                                           \
        static const uint8_t bytes_[] = {SIGNATURE, __VA_ARGS__};                                  \
        assert_header(bytes_, sizeof bytes_, 2, source, dest);                                     \
    } while (0)
#define ASSERT_BAD_V2(...)                                                                         \
    do {                                                                                           \
        static const uint8_t bytes_[] = {SIGNATURE, __VA_ARGS__};                                  \
        assert_malformed(bytes_, sizeof bytes_);                                                   \
    } while (0)

static void headers_of_the_specification(void **state)
{
    (void)state;
    ASSERT_V2(FROM_V4, TO_V4, 0x21, 0x11, 0, 12, V4);
    ASSERT_V2(FROM_V4, TO_V4, 0x21, 0x12, 0, 12, V4); /* a client of UDP has an address too */
    ASSERT_V2(FROM_V6, TO_V6, 0x21, 0x21, 0, 36, V6);
    ASSERT_V2(FROM_V6, TO_V6, 0x21, 0x22, 0, 36, V6);
    ASSERT_V2("10.1.2.3:1", "10.1.2.4:2", 0x21, 0x21, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff,
              0xff, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 4, 0, 1, 0, 2);
}

static void who_is_not_named_has_no_address(void **state)
{
    (void)state;
    ASSERT_V2("-", "-", 0x20, 0x00, 0, 0);
    ASSERT_V2("-", "-", 0x20, 0x11, 0, 12, V4);               /* LOCAL: all of it is dropped */
    ASSERT_V2("-", "-", 0x20, 0xff, 0, 3, 9, 9, 9);           /* its family too */
    ASSERT_V2("-", "-", 0x21, 0x00, 0, 0);                    /* unspecified */
    ASSERT_V2("-", "-", 0x21, 0x00, 0, 5, 3, 255, 255, 1, 2); /* no value that is looked at */
    ASSERT_V2("-", "-", 0x21, 0x10, 0, 2, 1, 2);
    ASSERT_V2("-", "-", 0x21, 0x01, 0, 2, 1, 2);
    ASSERT_V2("-", "-", 0x21, 0x30, 0, 1, 1);
}

static void addresses_of_unix_sockets_are_skipped(void **state)
{
    (void)state;
    uint8_t bytes[16 + 216 + 4] = {SIGNATURE, 0x21, 0x31, 0, 216};
    memset(bytes + 16, '/', 216);
    assert_header(bytes, 16 + 216, 2, "-", "-");
    bytes[13] = 0x32;
    assert_header(bytes, 16 + 216, 2, "-", "-");
    bytes[15] = 215;
    assert_malformed(bytes, 16 + 215);
    bytes[15] = 220; /* and one value: type 5, one byte */
    memcpy(bytes + 16 + 216, "\x05\x00\x01x", 4);
    assert_header(bytes, sizeof bytes, 2, "-", "-");
    bytes[16 + 216 + 2] = 2;
    assert_malformed(bytes, sizeof bytes);
}

static void values_are_walked_and_dropped(void **state)
{
    (void)state;
    ASSERT_V2(FROM_V4, TO_V4, 0x21, 0x11, 0, 15, V4, 4, 0, 0);
    ASSERT_V2(FROM_V4, TO_V4, 0x21, 0x11, 0, 17, V4, 1, 0, 2, 'h', '2');
    ASSERT_V2(FROM_V4, TO_V4, 0x21, 0x11, 0, 22, V4, 0xee, 0, 1, 3, 4, 0, 0, 0xea, 0, 0);
    ASSERT_V2(FROM_V6, TO_V6, 0x21, 0x21, 0, 41, V6, 2, 0, 2, 'a', 'b');
    ASSERT_BAD_V2(0x21, 0x11, 0, 13, V4, 4);          /* a type alone */
    ASSERT_BAD_V2(0x21, 0x11, 0, 14, V4, 4, 0);       /* half a length */
    ASSERT_BAD_V2(0x21, 0x11, 0, 15, V4, 4, 0, 1);    /* a length without a value */
    ASSERT_BAD_V2(0x21, 0x11, 0, 16, V4, 4, 0, 2, 1); /* a byte too few */
    ASSERT_BAD_V2(0x21, 0x11, 0, 17, V4, 4, 0xff, 0xff, 1, 1);
    ASSERT_BAD_V2(0x21, 0x11, 0, 17, V4, 4, 0, 1, 1, 1); /* a byte too many */
}

/* The sum was made by another program (a table of RFC 3720 appendix B.4's polynomial). */
static void the_checksum_has_to_be_right(void **state)
{
    (void)state;
    uint8_t bytes[] = {SIGNATURE, 0x21, 0x11, 0,    29,   V4,   4, 0, 2, 0,   0,  3,
                       0,         4,    0x33, 0x94, 0x48, 0x40, 1, 0, 2, 'h', '2'};
    assert_header(bytes, sizeof bytes, 2, FROM_V4, TO_V4);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct told told = read_all_ways(bytes, sizeof bytes);
        bool named = told.answer == PROXY_DONE && strcmp(told.source, "-") != 0;
        /* without its type it is no checksum; but no other client comes out of one bit */
        bool no_sum = bit / 8 == 16 + 12 + 5 && bytes[bit / 8] != 3;
        if (named) assert_true(no_sum && strcmp(told.source, FROM_V4) == 0);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    ASSERT_BAD_V2(0x21, 0x11, 0, 18, V4, 3, 0, 3, 0, 0, 0);
    ASSERT_BAD_V2(0x21, 0x11, 0, 20, V4, 3, 0, 5, 0, 0, 0, 0, 0);
    ASSERT_BAD_V2(0x21, 0x11, 0, 15, V4, 3, 0, 0);
}

static void a_head_that_is_not_exactly_one_is_refused(void **state)
{
    (void)state;
    static const uint8_t good[] = {SIGNATURE, 0x21, 0x11, 0, 12, V4};
    uint8_t bad[sizeof good];
    for (size_t at = 0; at < 12; at++) { /* as soon as the byte is there, and no sooner */
        memcpy(bad, good, sizeof good);
        bad[at] ^= 0x20;
        assert_malformed(bad, sizeof bad);
        assert_malformed(bad, at + 1);
        assert_int_equal(read_in(bad, at, 1, 1).answer, PROXY_MORE);
    }
    for (unsigned command = 0; command < 256; command++) {
        memcpy(bad, good, sizeof good);
        bad[12] = (uint8_t)command;
        struct told told = read_in(bad, sizeof bad, 1, 1);
        assert_int_equal(told.answer,
                         command == 0x20 || command == 0x21 ? PROXY_DONE : PROXY_MALFORMED);
    }
    for (unsigned family = 0; family < 256; family++) {
        memcpy(bad, good, sizeof good);
        bad[13] = (uint8_t)family;
        bool known = family >> 4 <= 3 && (family & 15) <= 2;
        bool fits = family >> 4 <= 1 || !(family & 15); /* 12 bytes are IPv4's */
        struct told told = read_in(bad, sizeof bad, 1, 1);
        assert_int_equal(told.answer, known && fits ? PROXY_DONE : PROXY_MALFORMED);
        bool v4 = family == 0x11 || family == 0x12;
        if (told.answer == PROXY_DONE) assert_string_equal(told.source, v4 ? FROM_V4 : "-");
    }
    ASSERT_BAD_V2(0x21, 0x11, 0, 11, 192, 0, 2, 7, 198, 51, 100, 9, 0x12, 0x67, 0x01);
    ASSERT_BAD_V2(0x21, 0x11, 0, 0);
    ASSERT_BAD_V2(0x21, 0x21, 0, 35);
}

static void the_cap_is_of_the_whole_header(void **state)
{
    (void)state;
    static const uint8_t tops[] = {0x20, 0x21};
    for (size_t i = 0; i < 2; i++) {
        uint8_t bytes[HEADER_MAX + 1] = {SIGNATURE, tops[i], 0x00, (HEADER_MAX - 16) >> 8,
                                         (HEADER_MAX - 16) & 0xff};
        struct told told = read_in(bytes, sizeof bytes, 1, 7);
        assert_int_equal(told.answer, PROXY_DONE);
        assert_int_equal(told.used, HEADER_MAX);
        bytes[15]++;
        assert_malformed(bytes, 16); /* before any of it is waited for */
    }
}

/* ---- Against a second reader ---- */

static void there_is_one_checksum(void **state)
{
    (void)state;
    uint8_t bytes[] = {SIGNATURE, 0x21, 0x11, 0, 26, V4, 3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0};
    uint32_t sum = model_crc(bytes, sizeof bytes, sizeof bytes);
    for (size_t i = 0; i < 4; i++) bytes[sizeof bytes - 1 - i] = (uint8_t)(sum >> 8 * i);
    assert_malformed(bytes, sizeof bytes);
    for (size_t i = 0; i < 4; i++) bytes[16 + 15 + i] = bytes[sizeof bytes - 4 + i];
    assert_malformed(bytes, sizeof bytes);
}

static size_t draw_header(struct lot *lot, uint8_t *bytes)
{
    static const uint8_t v4[] = {SIGNATURE, 0x21, 0x11, 0, 12, V4};
    static const uint8_t v6[] = {SIGNATURE, 0x21, 0x21, 0, 41, V6, 2, 0, 2, 'a', 'b'};
    static const uint8_t sum[] = {SIGNATURE, 0x21, 0x11, 0,    29,   V4,   4, 0, 2, 0,   0,  3,
                                  0,         4,    0x33, 0x94, 0x48, 0x40, 1, 0, 2, 'h', '2'};
    static const uint8_t local[] = {SIGNATURE, 0x20, 0x00, 0, 0};
    static const char *const lines[] = {"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
                                        "PROXY TCP6 2001:db8::7 ::ffff:10.0.0.1 1 0\r\n",
                                        "PROXY UNKNOWN\r\n", "PROXY UNKNOWN a b\r\n"};
    static const struct {
        const void *bytes;
        size_t len;
    } binaries[] = {{v4, sizeof v4}, {v6, sizeof v6}, {sum, sizeof sum}, {local, sizeof local}};
    unsigned which = lot_below(lot, 8);
    const void *from = which < 4 ? binaries[which].bytes : lines[which - 4];
    size_t len = which < 4 ? binaries[which].len : strlen(lines[which - 4]);
    memcpy(bytes, from, len);
    return len;
}

/* One byte changed, taken out or put in; most often by one of those that mean something. */
static size_t mutate(struct lot *lot, uint8_t *bytes, size_t len)
{
    static const char telling[] = " \r\n.:0123456789PROXYTCUNKWabcdef/\x20\x21\x11\x31";
    size_t at = lot_below(lot, (uint32_t)len);
    uint8_t byte = lot_below(lot, 3) ? (uint8_t)telling[lot_below(lot, sizeof telling)]
                                     : (uint8_t)lot_below(lot, 256);
    switch (lot_below(lot, 4)) {
    case 0: memmove(bytes + at, bytes + at + 1, --len - at); break;
    case 1:
        memmove(bytes + at + 1, bytes + at, len++ - at);
        bytes[at] = byte;
        break;
    case 2: bytes[at] ^= (uint8_t)(1 << lot_below(lot, 8)); break;
    default: bytes[at] = byte;
    }
    return len;
}

static void mutations_are_read_as_by_another_reader(void **state)
{
    (void)state;
    const char *asked = getenv("SALLY_SEED"), *many = getenv("SALLY_LONG");
    uint64_t first = asked ? strtoull(asked, NULL, 10) : 1;
    uint64_t rounds = asked ? 1 : many && *many != '0' ? 2000000 : 60000;
    unsigned whole = 0, refused = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct lot lot = {seed * 0x9e3779b97f4a7c15u};
        uint8_t bytes[512];
        struct told expected;
        size_t len = draw_header(&lot, bytes);
        for (unsigned n = lot_below(&lot, 4); n && len > 1; n--) len = mutate(&lot, bytes, len);
        size_t header_len = len;
        for (size_t more = lot_below(&lot, 300); more; more--)
            bytes[len++] = (uint8_t)lot_below(&lot, 256);
        bool good = model(bytes, len, &expected);
        struct told all = read_in(bytes, len, len, 1);
        struct told split =
            read_in(bytes, len, lot_below(&lot, (uint32_t)header_len + 1), 1 + lot_below(&lot, 40));
        assert_same(&split, &all);
        if ((all.answer == PROXY_DONE) != good)
            fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        assert_int_equal(all.answer == PROXY_DONE, good);
        if (good) assert_same(&all, &expected);
        whole += good;
        refused += all.answer == PROXY_MALFORMED;
    }
    print_message("%u whole, %u refused, seeds from %llu\n", whole, refused,
                  (unsigned long long)first);
    if (!asked) assert_true(whole > rounds / 10 && refused > rounds / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_the_specification),
        cmocka_unit_test(mapped_addresses_are_ipv4),
        cmocka_unit_test(a_line_that_is_not_exactly_one_is_refused),
        cmocka_unit_test(a_line_without_an_end_is_refused_at_its_limit),
        cmocka_unit_test(headers_of_the_specification),
        cmocka_unit_test(who_is_not_named_has_no_address),
        cmocka_unit_test(addresses_of_unix_sockets_are_skipped),
        cmocka_unit_test(values_are_walked_and_dropped),
        cmocka_unit_test(the_checksum_has_to_be_right),
        cmocka_unit_test(there_is_one_checksum),
        cmocka_unit_test(a_head_that_is_not_exactly_one_is_refused),
        cmocka_unit_test(the_cap_is_of_the_whole_header),
        cmocka_unit_test(mutations_are_read_as_by_another_reader),
    };
    return cmocka_run_group_tests_name("filter/proxy_header", tests, NULL, NULL);
}
