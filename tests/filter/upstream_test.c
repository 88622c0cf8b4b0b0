/* Asking proxies: what is said, in bytes written by hand from the protocols' texts, and what
 * becomes of each answer, in every split and in every truncation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter/upstream.h"

#define LIT(text) (text), sizeof(text) - 1

static const struct upstream_goal socks4 = {
    .kind = SALLY_UPSTREAM_SOCKS4, .addr = {ADDR_V4, 0, 0x1234, 0, {192, 0, 2, 7}}, .user = "fred"};
static const struct upstream_goal socks4a = {
    .kind = SALLY_UPSTREAM_SOCKS4A, .name = "a.example", .addr = {.port = 443}};
static const struct upstream_goal socks4a_v4 = {.kind = SALLY_UPSTREAM_SOCKS4A,
                                                .addr = {ADDR_V4, 0, 80, 0, {192, 0, 2, 7}}};
static const struct upstream_goal socks5 = {
    .kind = SALLY_UPSTREAM_SOCKS5, .name = "a.example", .addr = {.port = 443}};
static const struct upstream_goal socks5_user = {.kind = SALLY_UPSTREAM_SOCKS5,
                                                 .addr = {ADDR_V4, 0, 80, 0, {192, 0, 2, 7}},
                                                 .user = "fred",
                                                 .password = "s3cret"};
static const struct upstream_goal socks5_v6 = {
    .kind = SALLY_UPSTREAM_SOCKS5, .addr = {ADDR_V6, 0, 80, 0, {0x20, 0x01, 0x0d, 0xb8, [15] = 9}}};
static const struct upstream_goal http = {
    .kind = SALLY_UPSTREAM_HTTP, .name = "a.example", .addr = {.port = 443}};
static const struct upstream_goal http_user = {.kind = SALLY_UPSTREAM_HTTP,
                                               .addr = {ADDR_V4, 0, 80, 0, {192, 0, 2, 7}},
                                               .user = "Aladdin",
                                               .password = "open sesame"};
static const struct upstream_goal http_v6 = {
    .kind = SALLY_UPSTREAM_HTTP,
    .addr = {ADDR_V6, 0, 8080, 3, {0x20, 0x01, 0x0d, 0xb8, [15] = 9}},
    .user = "u"};

/* ---- Talking, in pieces ---- */

struct told {
    enum upstream_answer answer;
    unsigned code;
    size_t used;
    size_t says_len;
    uint8_t says[UPSTREAM_SAYS_MAX];
};

/* A piece has memory of its own of just that size, so that a sanitizer sees who looks behind. */
static enum upstream_answer feed(struct upstream_talk *talk, const uint8_t *data, size_t len,
                                 size_t *used)
{
    uint8_t *piece = malloc(len ? len : 1);
    assert_non_null(piece);
    memcpy(piece, data, len);
    enum upstream_answer answer = upstream_feed(talk, piece, len, used);
    assert_true(*used <= len && (answer != UPSTREAM_MORE || *used == len));
    free(piece);
    return answer;
}

/* The first piece has `cut` bytes, the following ones `step`. */
static struct told talk_in(const struct upstream_goal *goal, const void *data, size_t len,
                           size_t cut, size_t step)
{
    struct upstream_talk talk;
    struct told told = {.answer = UPSTREAM_MORE};
    memset(&talk, 0xaa, sizeof talk); /* it doesn't count on what was there */
    upstream_begin(&talk, goal);
    assert_true(talk.says_len > 0);
    for (size_t piece = cut; told.answer == UPSTREAM_MORE && told.used < len; piece = step) {
        size_t used, before = talk.says_len;
        if (piece > len - told.used) piece = len - told.used;
        memcpy(told.says, talk.says, before);
        told.answer = feed(&talk, (const uint8_t *)data + told.used, piece, &used);
        told.used += used;
        assert_memory_equal(told.says, talk.says, before); /* said is said */
    }
    if (told.answer == UPSTREAM_REFUSED || told.answer == UPSTREAM_WANTS_AUTH)
        told.code = talk.code;
    told.says_len = talk.says_len;
    memcpy(told.says, talk.says, talk.says_len);
    return told;
}

/* The same in every split in two, and byte by byte. */
static struct told talk_all_ways(const struct upstream_goal *goal, const void *data, size_t len)
{
    struct told whole = talk_in(goal, data, len, len, 1);
    for (size_t cut = 0; cut <= len; cut++) {
        struct told split =
            cut < len ? talk_in(goal, data, len, cut, len - cut) : talk_in(goal, data, len, 1, 1);
        assert_int_equal(split.answer, whole.answer);
        assert_int_equal(split.code, whole.code);
        assert_int_equal(split.used, whole.used);
        assert_int_equal(split.says_len, whole.says_len);
        assert_memory_equal(split.says, whole.says, whole.says_len);
    }
    return whole;
}

/* ---- What agrees ---- */

#define GRANTED  "\0\x5a\x12\x34\1\2\3\4"
#define REPLY_V4 "\5\0\0\1\1\2\3\4\0\x50"
#define LONG_FIELD                                                                                 \
    "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct agreement {
    const struct upstream_goal *goal;
    const char *answer;
    size_t answer_len;
    const char *says;
    size_t says_len;
} agreements[] = {
    {&socks4, LIT(GRANTED), LIT("\4\1\x12\x34\xc0\0\2\7fred\0")},
    {&socks4a, LIT(GRANTED), LIT("\4\1\1\xbb\0\0\0\1\0a.example\0")},
    {&socks4a_v4, LIT(GRANTED), LIT("\4\1\0\x50\xc0\0\2\7\0")},
    {&socks5, LIT("\5\0" REPLY_V4),
     LIT("\5\1\0\5\1\0\3\x9"
         "a.example\1\xbb")},
    {&socks5, LIT("\5\0\5\0\0\3\4name\0\x50"),
     LIT("\5\1\0\5\1\0\3\x9"
         "a.example\1\xbb")},
    {&socks5, LIT("\5\0\5\0\0\3\0\0\x50"),
     LIT("\5\1\0\5\1\0\3\x9"
         "a.example\1\xbb")},
    {&socks5,
     LIT("\5\0\5\0\0\4"
         "0123456789abcdef\0\x50"),
     LIT("\5\1\0\5\1\0\3\x9"
         "a.example\1\xbb")},
    {&socks5_v6, LIT("\5\0" REPLY_V4),
     LIT("\5\1\0\5\1\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\x9\0\x50")},
    {&socks5_user, LIT("\5\0" REPLY_V4), LIT("\5\2\0\2\5\1\0\1\xc0\0\2\7\0\x50")},
    {&socks5_user, LIT("\5\2\1\0" REPLY_V4),
     LIT("\5\2\0\2\1\4fred\6s3cret\5\1\0\1\xc0\0\2\7\0\x50")},
    {&http, LIT("HTTP/1.1 200 Connection established\r\n\r\n"),
     LIT("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")},
    {&http, LIT("HTTP/1.0 200\nVia: x\n\n"),
     LIT("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")},
    {&http,
     LIT("HTTP/1.1 299 \r\nContent-Length: 5\r\nA:\r\n folded\r\n\tand: again\r\n" LONG_FIELD
         "\r\n\r\n"),
     LIT("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")},
    {&http,
     LIT("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
     LIT("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")},
    /* the example of RFC 7617 section 2 */
    {&http_user, LIT("HTTP/1.1 200 OK\r\n\r\n"),
     LIT("CONNECT 192.0.2.7:80 HTTP/1.1\r\nHost: 192.0.2.7:80\r\n"
         "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n")},
    {&http_v6, LIT("HTTP/1.1 200 OK\r\n\r\n"),
     LIT("CONNECT [2001:db8::9]:8080 HTTP/1.1\r\nHost: [2001:db8::9]:8080\r\n"
         "Proxy-Authorization: Basic dTo=\r\n\r\n")},
};

enum { AGREEMENTS = sizeof agreements / sizeof *agreements };

static void each_protocol_says_what_it_must_and_is_answered(void **state)
{
    (void)state;
    for (size_t i = 0; i < AGREEMENTS; i++) {
        const struct agreement *a = &agreements[i];
        char bytes[1024];
        memcpy(bytes, a->answer, a->answer_len);
        memcpy(bytes + a->answer_len, "behind", 6); /* is not of the answer */
        struct told told = talk_all_ways(a->goal, bytes, a->answer_len + 6);
        assert_int_equal(told.answer, UPSTREAM_DONE);
        assert_int_equal(told.used, a->answer_len);
        assert_int_equal(told.says_len, a->says_len);
        assert_memory_equal(told.says, a->says, a->says_len);
    }
}

static void half_an_answer_is_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < AGREEMENTS; i++)
        for (size_t len = 0; len < agreements[i].answer_len; len++) {
            struct told told = talk_all_ways(agreements[i].goal, agreements[i].answer, len);
            assert_int_equal(told.answer, UPSTREAM_MORE);
        }
}

/* Nothing is asked for before the proxy has said how it wants to know us, nor a password told to
 * one that doesn't want it. */
static void each_thing_is_said_in_its_turn(void **state)
{
    (void)state;
    assert_int_equal(talk_in(&socks5_user, "", 0, 0, 1).says_len, 4);
    assert_int_equal(talk_in(&socks5_user, "\5", 1, 1, 1).says_len, 4);
    assert_int_equal(talk_in(&socks5_user, "\5\2", 2, 2, 1).says_len, 4 + 13);
    assert_int_equal(talk_in(&socks5_user, "\5\2\1", 3, 3, 1).says_len, 4 + 13);
    assert_int_equal(talk_in(&socks5_user, "\5\2\1\0", 4, 4, 1).says_len, 4 + 13 + 10);
}

static void the_longest_names_have_room(void **state)
{
    (void)state;
    static char name[UPSTREAM_NAME_MAX + 1], user[SALLY_UPSTREAM_USER_MAX + 1];
    memset(name, 'n', sizeof name - 1);
    memset(user, 'u', sizeof user - 1);
    struct upstream_goal goal = {
        .name = name, .addr = {.port = 65535}, .user = user, .password = user};
    goal.kind = SALLY_UPSTREAM_HTTP;
    assert_int_equal(talk_in(&goal, "H", 1, 1, 1).says_len, 1260);
    goal.kind = SALLY_UPSTREAM_SOCKS5;
    struct told told = talk_in(&goal, LIT("\5\2\1\0" REPLY_V4), 1, 1);
    assert_int_equal(told.answer, UPSTREAM_DONE);
    assert_int_equal(told.says_len, 4 + 3 + 255 + 255 + 5 + 253 + 2);
    goal.kind = SALLY_UPSTREAM_SOCKS4A;
    goal.password = NULL;
    assert_int_equal(talk_in(&goal, LIT(GRANTED), 8, 1).says_len, 8 + 256 + 254);
}

/* ---- What doesn't ---- */

static const struct failure {
    const struct upstream_goal *goal;
    const char *answer;
    size_t answer_len;
    enum upstream_answer wanted;
    unsigned code;
} failures[] = {
    {&socks4, LIT("\0\x5b"), UPSTREAM_REFUSED, 91},
    {&socks4, LIT("\0\x5c"), UPSTREAM_REFUSED, 92},
    {&socks4a, LIT("\0\x5d"), UPSTREAM_REFUSED, 93},
    {&socks4, LIT("\0\x5e"), UPSTREAM_MALFORMED, 0},
    {&socks4, LIT("\0\x59"), UPSTREAM_MALFORMED, 0},
    {&socks4, LIT("\0\0"), UPSTREAM_MALFORMED, 0},
    {&socks4, LIT("\4"), UPSTREAM_MALFORMED, 0},
    {&socks4, LIT("HTTP/1.1 400 Bad Request\r\n"), UPSTREAM_MALFORMED, 0},
    {&socks5, LIT("\5\xff"), UPSTREAM_WANTS_AUTH, 255},
    {&socks5_user, LIT("\5\xff"), UPSTREAM_WANTS_AUTH, 255},
    {&socks5_user, LIT("\5\2\1\1"), UPSTREAM_WANTS_AUTH, 1},
    {&socks5_user, LIT("\5\2\1\xff"), UPSTREAM_WANTS_AUTH, 255},
    {&socks5_user, LIT("\5\2\5"), UPSTREAM_MALFORMED, 0}, /* the version is that of RFC 1929 */
    {&socks5_user, LIT("\5\1"), UPSTREAM_MALFORMED, 0},   /* GSSAPI was not offered */
    {&socks5, LIT("\5\2"), UPSTREAM_MALFORMED, 0},        /* nor this */
    {&socks5, LIT("\5\x80"), UPSTREAM_MALFORMED, 0},
    {&socks5, LIT("\4"), UPSTREAM_MALFORMED, 0},
    {&socks5, LIT("HTTP/1.1 400 Bad Request\r\n"), UPSTREAM_MALFORMED, 0},
    {&socks5, LIT("\5\0\5\1"), UPSTREAM_REFUSED, 1},
    {&socks5, LIT("\5\0\5\5"), UPSTREAM_REFUSED, 5},
    {&socks5, LIT("\5\0\5\x8\0\1\0\0\0\0\0\0"), UPSTREAM_REFUSED, 8},
    {&socks5, LIT("\5\0\5\xff"), UPSTREAM_REFUSED, 255},
    {&socks5, LIT("\5\0\4"), UPSTREAM_MALFORMED, 0},
    {&socks5, LIT("\5\0\5\0\1"), UPSTREAM_MALFORMED, 0},
    {&socks5, LIT("\5\0\5\0\0\0"), UPSTREAM_MALFORMED, 0},
    {&socks5, LIT("\5\0\5\0\0\2"), UPSTREAM_MALFORMED, 0},
    {&socks5, LIT("\5\0\5\0\0\5"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 407 Proxy Authentication Required\r\n"), UPSTREAM_WANTS_AUTH, 407},
    {&http, LIT("HTTP/1.1 403 Forbidden\r\n"), UPSTREAM_REFUSED, 403},
    {&http, LIT("HTTP/1.1 502\n"), UPSTREAM_REFUSED, 502},
    {&http, LIT("HTTP/1.1 301 Moved\r\n"), UPSTREAM_REFUSED, 301},
    {&http, LIT("HTTP/1.1 300 x\r\n"), UPSTREAM_REFUSED, 300},
    {&http, LIT("HTTP/1.1 999 x\r\n"), UPSTREAM_REFUSED, 999},
    {&http, LIT("HTTP/1.1 100 x\r\n\r\nHTTP/1.1 503 x\r\n"), UPSTREAM_REFUSED, 503},
    {&http, LIT("HTTP/1.1 101 Switching Protocols\r\n"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 099 x\r\n"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 20\r\n"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 2000"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 20x"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1  "), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.x"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/2"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("http"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("\r\n"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("\5\0"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("SSH-2.0-x\r\n"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 200 O\0K"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 200 O\x7fK"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 200 OK\rX"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 200 OK\r\r\n"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 200 OK\r\nno field\r\n"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 200 OK\r\nA: b\r\nno field\r\n"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 200 OK\r\n: b\r\n"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 200 OK\r\nA: b\1"), UPSTREAM_MALFORMED, 0},
    {&http, LIT("HTTP/1.1 200 OK\r\nA: b\r\n\rx"), UPSTREAM_MALFORMED, 0},
};

/* At the byte that says so, and not before. */
static void each_refusal_has_its_code_and_nonsense_is_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        const struct failure *f = &failures[i];
        struct told told = talk_all_ways(f->goal, f->answer, f->answer_len);
        if (told.answer != f->wanted || told.code != f->code)
            fail_msg("failure %zu: %d, code %u", i, (int)told.answer, told.code);
        for (size_t len = 0; len < told.used; len++)
            assert_int_equal(talk_in(f->goal, f->answer, len, len, 1).answer, UPSTREAM_MORE);
    }
}

/* Each byte of an answer replaced by each other value. Those that carry nothing for us (an address,
 * words, fields) may be what they like. */
static void a_wrong_byte_where_it_counts_is_never_taken_for_yes(void **state)
{
    (void)state;
    static const struct {
        const struct upstream_goal *goal;
        const char *answer;
        size_t len;
        const char *counts; /* "x": only this value will do */
    } cases[] = {
        {&socks4, LIT(GRANTED), "xx......"},
        {&socks5, LIT("\5\0" REPLY_V4), "xxxxx......."}, /* the kind of the address is free, too */
        {&socks5_user, LIT("\5\2\1\0" REPLY_V4), "xxxxxxx......."},
        {&http, LIT("HTTP/1.1 200 OK\r\n\r\n"), "xxxxxxx.x...x..xxxx"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t at = 0; at < cases[i].len; at++)
            for (int byte = 0; byte < 256; byte++) {
                char bytes[64];
                if (cases[i].counts[at] != 'x' || byte == (uint8_t)cases[i].answer[at]) continue;
                if (cases[i].goal == &http && (byte == '\n' || byte == '\r')) continue;
                if (cases[i].goal == &http && cases[i].answer[at] == '\r') continue;
                memcpy(bytes, cases[i].answer, cases[i].len);
                bytes[at] = (char)byte;
                struct told told = talk_in(cases[i].goal, bytes, cases[i].len, cases[i].len, 1);
                if (told.answer == UPSTREAM_DONE) fail_msg("%zu: %d at %zu", i, byte, at);
            }
}

/* ---- How much ---- */

/* So many bytes up to and with the empty line, and some behind. */
static struct told head_of(size_t len, const char *begin, const char *fill)
{
    static char head[2 * SALLY_UPSTREAM_HEAD_MAX];
    size_t at = strlen(begin), words = strlen(fill);
    memset(head, 'x', sizeof head);
    memcpy(head, begin, at);
    for (; at < len - 3; at++) head[at] = fill[at % words];
    memcpy(head + len - 3, "\n\r\n", 3);
    return talk_in(&http, head, sizeof head, 1000, 1000);
}

static void a_head_has_its_limit_and_not_one_byte_more(void **state)
{
    (void)state;
    struct told told = head_of(SALLY_UPSTREAM_HEAD_MAX, "HTTP/1.1 200 OK\r\nA: ", "a");
    assert_int_equal(told.answer, UPSTREAM_DONE);
    assert_int_equal(told.used, SALLY_UPSTREAM_HEAD_MAX);
    told = head_of(SALLY_UPSTREAM_HEAD_MAX + 1, "HTTP/1.1 200 OK\r\nA: ", "a");
    assert_int_equal(told.answer, UPSTREAM_MALFORMED);
    assert_int_equal(told.used, SALLY_UPSTREAM_HEAD_MAX + 1);
    told = head_of(2 * SALLY_UPSTREAM_HEAD_MAX, "HTTP/1.1 200 ", "words"); /* of one line */
    assert_int_equal(told.answer, UPSTREAM_MALFORMED);
    told = head_of(2 * SALLY_UPSTREAM_HEAD_MAX, "HTTP/1.1 200 OK\nAB:\n", " \n"); /* of many */
    assert_int_equal(told.answer, UPSTREAM_MALFORMED);
    assert_int_equal(told.used, SALLY_UPSTREAM_HEAD_MAX + 1);
}

static void answers_of_status_1xx_have_it_together(void **state)
{
    (void)state;
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    static char head[2 * SALLY_UPSTREAM_HEAD_MAX];
    for (size_t at = 0; at < sizeof head; at++) head[at] = interim[at % (sizeof interim - 1)];
    struct told told = talk_in(&http, head, sizeof head, sizeof head, 1);
    assert_int_equal(told.answer, UPSTREAM_MALFORMED);
    assert_int_equal(told.used, SALLY_UPSTREAM_HEAD_MAX + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_protocol_says_what_it_must_and_is_answered),
        cmocka_unit_test(half_an_answer_is_none),
        cmocka_unit_test(each_thing_is_said_in_its_turn),
        cmocka_unit_test(the_longest_names_have_room),
        cmocka_unit_test(each_refusal_has_its_code_and_nonsense_is_malformed),
        cmocka_unit_test(a_wrong_byte_where_it_counts_is_never_taken_for_yes),
        cmocka_unit_test(a_head_has_its_limit_and_not_one_byte_more),
        cmocka_unit_test(answers_of_status_1xx_have_it_together),
    };
    return cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
}
