/* WebSocket's bytes: SHA-1 and the handshake against the vectors of FIPS 180 and RFC 6455, UTF-8
 * against a plain reader, heads of frames as by hand and every one of them judged, masks, close
 * frames, and streams of a head and frames through the framer at every cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter/base64.h"
#include "filter/framer.h"
#include "filter/sha1.h"
#include "filter/utf8.h"
#include "filter/ws_frame.h"
#include "filter/ws_handshake.h"
#include "support/long.h"
#include "support/lot.h"

/* ---- SHA-1 and base64 ---- */

static void assert_sha1(const char *data, size_t len, const char *wanted)
{
    unsigned char digest[SHA1_BYTES];
    char text[2 * SHA1_BYTES + 1];
    sha1(data, len, digest);
    for (int i = 0; i < SHA1_BYTES; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, wanted);
}

/* The messages of FIPS 180-2 appendix A, the empty one, and lengths around a block's end (made with
 * sha1sum). */
static void sha1_gives_the_published_digests(void **state)
{
    (void)state;
    static char million[1000000];
    memset(million, 'a', sizeof million);
    assert_sha1("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    assert_sha1(million, sizeof million, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    assert_sha1("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_sha1(million, 55, "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    assert_sha1(million, 63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
    assert_sha1(million, 64, "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    assert_sha1(million, 119, "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
}

/* RFC 4648 section 10. */
static void base64_gives_the_published_texts(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[16] = "";
        size_t len = base64_encode(text, cases[i][0], strlen(cases[i][0]));
        assert_int_equal(len, strlen(cases[i][1]));
        assert_string_equal(text, cases[i][1]);
    }
}

/* ---- UTF-8 ---- */

/* Of at most four bytes: what RFC 3629's syntax says, by the number that they spell. */
static bool plain_utf8(const uint8_t *at, size_t len)
{
    while (len) {
        unsigned need = *at < 0x80 ? 1 : *at >> 5 == 6 ? 2 : *at >> 4 == 14 ? 3 : 4;
        uint32_t value = need == 1 ? *at : *at & (0xffu >> (need + 1));
        if ((need == 4 && *at >> 3 != 30) || need > len) return false;
        for (unsigned i = 1; i < need; i++) {
            if (at[i] >> 6 != 2) return false;
            value = value << 6 | (at[i] & 63);
        }
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        if (value < least[need] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
            return false;
        at += need;
        len -= need;
    }
    return true;
}

static bool in_two(const uint8_t *data, size_t len, size_t cut)
{
    struct utf8 utf8 = {0};
    return utf8_feed(&utf8, data, cut) && utf8_feed(&utf8, data + cut, len - cut) &&
           utf8_is_whole(&utf8);
}

/* Every text of two bytes, and of three and four those whose bytes are at an edge. */
static void utf8_is_judged_as_by_a_plain_reader(void **state)
{
    (void)state;
    static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0,
                                    0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef,
                                    0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xfe, 0xff};
    enum { EDGES = sizeof edges };
    uint8_t text[4];
    unsigned good = 0;
    for (unsigned i = 0; i < 0x10000; i++) {
        text[0] = (uint8_t)(i >> 8);
        text[1] = (uint8_t)i;
        assert_true(utf8_is_valid(text, 2) == plain_utf8(text, 2));
        good += plain_utf8(text, 2);
    }
    assert_int_equal(good, 128 * 128 + 1920);
    for (unsigned i = 0; i < EDGES * EDGES * EDGES * EDGES; i++) {
        for (unsigned n = i, at = 0; at < 4; at++, n /= EDGES) text[at] = edges[n % EDGES];
        for (size_t len = 3; len <= 4; len++) {
            bool valid = plain_utf8(text, len);
            assert_true(utf8_is_valid(text, len) == valid);
            for (size_t cut = 1; cut < len; cut++) assert_true(in_two(text, len, cut) == valid);
        }
    }
}

/* Told at the first byte that can't be, not at the end; the fast way over ASCII misses none. */
static void utf8_is_told_at_the_first_bad_byte(void **state)
{
    (void)state;
    for (size_t at = 0; at < 40; at++) {
        uint8_t text[40];
        memset(text, 'a', sizeof text);
        assert_true(utf8_is_valid(text, sizeof text));
        text[at] = 0xff;
        struct utf8 utf8 = {0};
        assert_true(utf8_feed(&utf8, text, at));
        assert_false(utf8_feed(&utf8, text + at, 1));
        assert_false(utf8_is_valid(text, sizeof text));
    }
    struct utf8 utf8 = {0};
    assert_true(utf8_feed(&utf8, "\xf4", 1)); /* U+10FFFF could follow */
    assert_false(utf8_feed(&utf8, "\x90", 1));
}

/* ---- The handshake ---- */

/* RFC 6455 section 1.3. */
static void the_answer_to_a_key_is_the_published_one(void **state)
{
    (void)state;
    char accept[WS_ACCEPT_CHARS + 1];
    ws_accept("dGhlIHNhbXBsZSBub25jZQ==", accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#define GOOD_LINES                                                                                 \
    "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                                     \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"

static void upgrade_requests_are_judged(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned status; /* 0: asks for none */
    } cases[] = {
        {"GET / HTTP/1.1\r\n" GOOD_LINES VERSION "\r\n", 101},
        {"GET / HTTP/1.1\r\nHost: h\r\nUPGRADE: h2c, WebSocket\r\nConnection: close, UPGRADE\r\n"
         "sec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n" VERSION "\r\n",
         101},
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n", 0},
        {"POST / HTTP/1.1\r\n" GOOD_LINES VERSION "\r\n", 400},
        {"GET / HTTP/1.0\r\n" GOOD_LINES VERSION "\r\n", 400},
        {"GET / HTTP/1.1\r\n" GOOD_LINES "\r\n", 400},
        {"GET / HTTP/1.1\r\n" GOOD_LINES "Sec-WebSocket-Version: 8\r\n\r\n", 426},
        {"GET / HTTP/1.1\r\n" GOOD_LINES "Sec-WebSocket-Version: 130\r\n\r\n", 426},
        {"GET / HTTP/1.1\r\n" GOOD_LINES VERSION VERSION "\r\n", 400},
        {"GET / HTTP/1.1\r\n" GOOD_LINES VERSION
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
         400},
        {"GET / HTTP/1.1\r\n" GOOD_LINES VERSION "Content-Length: 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" GOOD_LINES VERSION "Content-Length: 0\r\n\r\n", 101},
        {"GET / HTTP/1.1\r\n" GOOD_LINES VERSION "Transfer-Encoding: chunked\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" VERSION "\r\n",
         400},
        {"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" VERSION
         "\r\n",
         400},
        {"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" VERSION "\r\n",
         400},
        {"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q==\r\n" VERSION "\r\n",
         400},
        {"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n" VERSION "\r\n",
         400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sally_http_head head;
        assert_int_equal(sally_http_read_request(&head, cases[i].text, strlen(cases[i].text)), 0);
        unsigned status = ws_is_asked_for(&head) ? ws_judge_request(&head) : 0;
        if (status != cases[i].status) fail_msg("case %zu: %u", i, status);
    }
}

static void a_subprotocol_has_to_be_one_that_was_offered(void **state)
{
    (void)state;
    static const char text[] =
        "GET / HTTP/1.1\r\n" GOOD_LINES VERSION "Sec-WebSocket-Protocol: chat,, Log.2\r\n"
        "SEC-WEBSOCKET-PROTOCOL: third\r\n\r\n";
    sally_http_head head;
    assert_int_equal(sally_http_read_request(&head, text, sizeof text - 1), 0);
    assert_true(ws_offers(&head, "chat") && ws_offers(&head, "Log.2") && ws_offers(&head, "third"));
    assert_false(ws_offers(&head, "Chat"));
    assert_false(ws_offers(&head, "chat, Log.2"));
    assert_false(ws_offers(&head, ""));
}

#define S20  "abcdefghijklmnopqrst"
#define LONG S20 S20 S20 S20 S20 S20 S20 /* a name may have any length that fits in a head */

static const struct ws_request asked = {.host = "h:1",
                                        .target = "/x",
                                        .origin = "http://h",
                                        .protocols = "a, b,, " LONG,
                                        .key = "the sample nonce"};

/* What one side writes the other takes; the client's key is that of RFC 6455 section 1.3. */
static void each_side_takes_what_the_other_writes(void **state)
{
    (void)state;
    char memory[1024];
    sally_http_head head;
    sally_writer writer = sally_writer_over(memory, sizeof memory);
    assert_int_equal(ws_write_request(&writer, &asked), 0);
    static const char wanted[] = "GET /x HTTP/1.1\r\nHost: h:1\r\nUpgrade: websocket\r\n"
                                 "Connection: Upgrade\r\n"
                                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                 "Sec-WebSocket-Version: 13\r\nOrigin: http://h\r\n"
                                 "Sec-WebSocket-Protocol: a, b,, " LONG "\r\n\r\n";
    assert_int_equal(writer.len, sizeof wanted - 1);
    assert_memory_equal(memory, wanted, writer.len);
    assert_int_equal(sally_http_read_request(&head, memory, writer.len), 0);
    assert_int_equal(ws_judge_request(&head), 101);
    char answer[512];
    sally_http_head response;
    writer = sally_writer_over(answer, sizeof answer);
    assert_int_equal(ws_write_switch(&writer, &head, "b"), 0);
    assert_int_equal(sally_http_read_response(&response, answer, writer.len), 0);
    assert_true(ws_judge_response(&response, asked.key, asked.protocols));
    assert_false(ws_judge_response(&response, asked.key, "a, B"));
    assert_false(ws_judge_response(&response, asked.key, NULL));
}

#define SWITCH "HTTP/1.1 101 Switching Protocols\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static void responses_are_judged(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {SWITCH "Upgrade: WebSocket\r\nConnection: upgrade\r\n" ACCEPT "\r\n", true},
        {"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT "\r\n", false},
        {SWITCH "Connection: Upgrade\r\n" ACCEPT "\r\n", false},
        {SWITCH "Upgrade: websockets\r\nConnection: Upgrade\r\n" ACCEPT "\r\n", false},
        {SWITCH "Upgrade: websocket\r\n" ACCEPT "\r\n", false},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", false},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT ACCEPT "\r\n", false},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xO0=\r\n\r\n",
         false},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT
                "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
         false},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT
                "Sec-WebSocket-Protocol: a\r\n\r\n",
         true},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT
                "Sec-WebSocket-Protocol: c\r\n\r\n",
         false},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT
                "Sec-WebSocket-Protocol:\r\n\r\n",
         false},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT
                "Sec-WebSocket-Protocol: " LONG "\r\n\r\n",
         true},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT
                "Sec-WebSocket-Protocol: " LONG "u\r\n\r\n",
         false},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT
                "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n\r\n",
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sally_http_head head;
        assert_int_equal(sally_http_read_response(&head, cases[i].text, strlen(cases[i].text)), 0);
        if (ws_judge_response(&head, asked.key, asked.protocols) != cases[i].good)
            fail_msg("case %zu", i);
    }
}

/* ---- Heads of frames ---- */

/* All first two bytes, against the words of section 5.2 and 5.5. */
static void the_first_two_bytes_are_judged_as_the_rfc_says(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 0x20000; i++) {
        bool from_client = i & 0x10000;
        const unsigned char bytes[2] = {(unsigned char)(i >> 8), (unsigned char)i};
        unsigned opcode = bytes[0] & 15, length = bytes[1] & 127;
        bool known = opcode < 3 || (opcode > 7 && opcode < 11);
        bool control = opcode > 7;
        bool first = !(bytes[0] & 0x70) && known && (!control || bytes[0] & 0x80);
        bool second = (bytes[1] >> 7) == from_client && (!control || length < 126);
        struct ws_head head;
        enum ws_answer one = ws_head_read(&head, bytes, 1, from_client);
        enum ws_answer two = ws_head_read(&head, bytes, 2, from_client);
        assert_int_equal(one, first ? WS_MORE : WS_BAD);
        bool whole = length < 126 && !from_client;
        assert_int_equal(two, !first || !second ? WS_BAD : whole ? WS_READ : WS_MORE);
    }
}

static void lengths_are_written_and_read_at_their_edges(void **state)
{
    (void)state;
    static const struct {
        uint64_t len;
        unsigned bytes;
    } cases[] = {{0, 2},     {1, 2},      {125, 2},         {126, 4},       {127, 4},
                 {65535, 4}, {65536, 10}, {UINT32_MAX, 10}, {INT64_MAX, 10}};
    static const unsigned char mask[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned masked = 0; masked < 2; masked++) {
            unsigned char bytes[WS_HEAD_MAX];
            struct ws_head head;
            size_t len = ws_head_write(bytes, true, WS_BINARY, cases[i].len, masked ? mask : NULL);
            assert_int_equal(len, cases[i].bytes + 4 * masked);
            for (size_t cut = 0; cut < len; cut++)
                assert_int_equal(ws_head_read(&head, bytes, cut, masked), WS_MORE);
            assert_int_equal(ws_head_read(&head, bytes, len, masked), WS_READ);
            assert_true(head.payload_bytes == cases[i].len && head.head_bytes == len);
            assert_true(head.final && head.opcode == WS_BINARY && head.masked == masked);
            if (masked) assert_memory_equal(head.mask, mask, 4);
        }
}

static void lengths_that_could_be_shorter_or_are_too_long_are_refused(void **state)
{
    (void)state;
    static const struct {
        unsigned char bytes[10];
        unsigned len;
    } bad[] = {{{0x82, 126, 0, 0}, 4},
               {{0x82, 126, 0, 125}, 4},
               {{0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1}, 10},
               {{0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 10},
               {{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, 10},
               {{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 10}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ws_head head;
        assert_int_equal(ws_head_read(&head, bad[i].bytes, bad[i].len, false), WS_BAD);
    }
}

/* The examples of RFC 6455 section 5.7. */
static void masks_are_those_of_the_rfc(void **state)
{
    (void)state;
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    static const unsigned char masked[] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
    unsigned char bytes[5];
    ws_mask(bytes, masked, sizeof masked, mask);
    assert_memory_equal(bytes, "Hello", 5);
    for (size_t len = 0; len < 40; len++) {
        unsigned char from[40], to[40];
        for (size_t i = 0; i < sizeof from; i++) from[i] = (unsigned char)(i * 7);
        ws_mask(to, from, len, mask);
        for (size_t i = 0; i < len; i++) assert_int_equal(to[i], from[i] ^ mask[i % 4]);
        ws_mask(to, to, len, mask); /* in place */
        assert_memory_equal(to, from, len);
    }
}

/* ---- Closing ---- */

static void every_close_code_is_judged(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 0x10000; code++) {
        bool good = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                    (code >= 3000 && code <= 4999);
        const unsigned char payload[2] = {(unsigned char)(code >> 8), (unsigned char)code};
        struct ws_close close;
        assert_true(ws_close_code_is_valid(code) == good);
        assert_int_equal(ws_close_read(&close, payload, 2), good ? 0 : 1002);
    }
    struct ws_close close;
    assert_int_equal(ws_close_read(&close, "", 0), 0);
    assert_int_equal(close.code, 1005);
    assert_int_equal(ws_close_read(&close, "\x03", 1), 1002);
    assert_int_equal(ws_close_read(&close, "\x03\xe8why", 5), 0);
    assert_int_equal(close.reason_len, 3);
    assert_memory_equal(close.reason, "why", 3);
    assert_int_equal(ws_close_read(&close, "\x03\xe8\xc3", 3), 1007);
}

/* ---- Streams, through the framer ---- */

struct seen {
    unsigned count;
    size_t lens[16];
    unsigned char first[16];
};

static bool note(void *ctx, const void *payload, size_t len, bool copied)
{
    struct seen *seen = ctx;
    (void)copied;
    assert_true(seen->count < 16);
    seen->lens[seen->count] = len;
    seen->first[seen->count++] = *(const unsigned char *)payload;
    return true;
}

static sally_decoded decode_client(void *user, const void *data, size_t len,
                                   sally_decoded_frame *frame)
{
    return ws_decode(true, *(uint32_t *)user, data, len, frame);
}

static uint32_t payload_max = 70000;

static int feed_in(const unsigned char *data, size_t len, size_t cut, size_t step,
                   struct seen *seen)
{
    struct mem mem;
    struct framing framing;
    struct carry *carry = NULL;
    const sally_framing plain = {.kind = SALLY_FRAMING_CUSTOM,
                                 .message_bytes_max = 80000,
                                 .decode = decode_client,
                                 .user = &payload_max};
    const struct framer framer = {
        .framing = &framing, .mem = &mem, .carry = &carry, .take = note, .ctx = seen};
    mem_init(&mem);
    assert_int_equal(framing_init(&framing, &plain), 0);
    memset(seen, 0, sizeof *seen);
    int err = 0;
    for (size_t at = 0, piece = cut; !err && at < len; piece = step) {
        size_t used;
        if (piece > len - at) piece = len - at;
        unsigned char *copy = malloc(piece);
        assert_non_null(copy);
        memcpy(copy, data + at, piece);
        err = framer_feed(&framer, copy, piece, &used);
        free(copy);
        at += piece;
    }
    carry_free(carry, &mem);
    assert_int_equal(mem_in_use(&mem), 0);
    return err;
}

static size_t put_frame(unsigned char *to, bool final, enum ws_opcode opcode, size_t len)
{
    static const unsigned char mask[4] = {9, 8, 7, 6};
    size_t head = ws_head_write(to, final, opcode, len, mask);
    memset(to + head, 'x', len);
    return head + len;
}

/* A head, then one frame of each kind and size of length field; each cut once, and pieces of each
 * small size. */
static void every_cut_gives_the_same_frames(void **state)
{
    (void)state;
    static unsigned char stream[70000 + 1000];
    static const char head[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    struct seen whole, cut;
    size_t len = sizeof head - 1;
    memcpy(stream, head, len);
    len += put_frame(stream + len, false, WS_TEXT, 5);
    len += put_frame(stream + len, true, WS_PING, 0);
    len += put_frame(stream + len, true, WS_PONG, 125);
    len += put_frame(stream + len, true, WS_CONTINUATION, 126);
    len += put_frame(stream + len, true, WS_BINARY, 0);
    size_t small = len;
    len += put_frame(stream + len, true, WS_BINARY, 65536);
    len += put_frame(stream + len, true, WS_CLOSE, 2);
    assert_int_equal(feed_in(stream, len, len, len, &whole), 0);
    static const size_t lens[] = {sizeof head - 1, 11, 6, 131, 134, 6, 65550, 8};
    static const unsigned char firsts[] = {'G', 0x01, 0x89, 0x8a, 0x80, 0x82, 0x82, 0x88};
    assert_int_equal(whole.count, 8);
    assert_memory_equal(whole.lens, lens, sizeof lens);
    assert_memory_equal(whole.first, firsts, sizeof firsts);
    for (size_t at = 1; at < len; at += at < small + 20 || at + 20 > len ? 1 : 997) {
        assert_int_equal(feed_in(stream, len, at, len, &cut), 0);
        assert_memory_equal(&cut, &whole, sizeof cut);
    }
    for (size_t step = 1; step < 40; step++) {
        assert_int_equal(feed_in(stream, small, step, step, &cut), 0);
        assert_int_equal(cut.count, 6);
    }
}

/* As soon as it can be known: at the byte that tells, in one piece and byte by byte. */
static void what_is_bad_is_told_at_its_byte(void **state)
{
    (void)state;
    static const struct {
        unsigned char bytes[16];
        unsigned len;
        int err;
    } cases[] = {
        {{0x03}, 1, SALLY_EMALFORMED}, /* opcode 3 */
        {{0x83}, 1, SALLY_EMALFORMED},
        {{0x8b}, 1, SALLY_EMALFORMED}, /* opcode 11 */
        {{0x8f}, 1, SALLY_EMALFORMED},
        {{0x09}, 1, SALLY_EMALFORMED}, /* a ping in pieces */
        {{0x08}, 1, SALLY_EMALFORMED},
        {{0xc1}, 1, SALLY_EMALFORMED},             /* RSV1 */
        {{0xa1}, 1, SALLY_EMALFORMED},             /* RSV2 */
        {{0x91}, 1, SALLY_EMALFORMED},             /* RSV3 */
        {{0x41, 0x80}, 2, SALLY_EMALFORMED},       /* RSV1, may be a letter */
        {{0x41, 0x05}, 2, SALLY_EMALFORMED},       /* the same without a mask */
        {{0x81, 0x05}, 2, SALLY_EMALFORMED},       /* no mask */
        {{0x89, 0xfe}, 2, SALLY_EMALFORMED},       /* a long ping */
        {{0x82, 0xfe, 0, 1}, 4, SALLY_EMALFORMED}, /* not the shortest length */
        {{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, 10, SALLY_EMALFORMED}, /* 2^63 */
        {{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4},
         14,
         SALLY_ELIMIT},
        {{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x71, 1, 2, 3, 4}, 14, SALLY_ELIMIT}, /* 70001 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen seen;
        unsigned len = cases[i].len;
        int all = feed_in(cases[i].bytes, len, len, len, &seen);
        int each = feed_in(cases[i].bytes, len, 1, 1, &seen);
        if (all != cases[i].err || each != cases[i].err) fail_msg("case %zu: %d, %d", i, all, each);
        assert_int_equal(seen.count, 0);
        if (len > 1) assert_int_equal(feed_in(cases[i].bytes, len - 1, len, 1, &seen), 0);
    }
}

static void a_head_that_is_too_long_is_told_in_time(void **state)
{
    (void)state;
    static unsigned char text[SALLY_HTTP_HEAD_MAX + 100];
    struct seen seen;
    memset(text, 'x', sizeof text);
    assert_int_equal(feed_in(text, SALLY_HTTP_HEAD_MAX - 1, 5000, 100, &seen), 0);
    assert_int_equal(feed_in(text, SALLY_HTTP_HEAD_MAX, 5000, 100, &seen), SALLY_ELIMIT);
    assert_int_equal(feed_in(text, sizeof text, sizeof text, 1, &seen), SALLY_ELIMIT);
    memcpy(text + SALLY_HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
    assert_int_equal(feed_in(text, SALLY_HTTP_HEAD_MAX, 8191, 1, &seen), 0);
    assert_int_equal(seen.count, 1);
    memset(text, '\n', 200); /* more lines than fields may be: no need to look on */
    text[0] = 'G';
    text[1] = 'E';
    assert_int_equal(feed_in(text, 200, 50, 1, &seen), SALLY_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha1_gives_the_published_digests),
        cmocka_unit_test(base64_gives_the_published_texts),
        cmocka_unit_test(utf8_is_judged_as_by_a_plain_reader),
        cmocka_unit_test(utf8_is_told_at_the_first_bad_byte),
        cmocka_unit_test(the_answer_to_a_key_is_the_published_one),
        cmocka_unit_test(upgrade_requests_are_judged),
        cmocka_unit_test(a_subprotocol_has_to_be_one_that_was_offered),
        cmocka_unit_test(each_side_takes_what_the_other_writes),
        cmocka_unit_test(responses_are_judged),
        cmocka_unit_test(the_first_two_bytes_are_judged_as_the_rfc_says),
        cmocka_unit_test(lengths_are_written_and_read_at_their_edges),
        cmocka_unit_test(lengths_that_could_be_shorter_or_are_too_long_are_refused),
        cmocka_unit_test(masks_are_those_of_the_rfc),
        cmocka_unit_test(every_close_code_is_judged),
        cmocka_unit_test(every_cut_gives_the_same_frames),
        cmocka_unit_test(what_is_bad_is_told_at_its_byte),
        cmocka_unit_test(a_head_that_is_too_long_is_told_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
