/* A WebSocket server in the words of RFC 6455, on each port: what a client says, frame by frame,
 * and exactly which bytes it hears. The cases follow the sections of the Autobahn test suite:
 * framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing. */
#include "net/support/ws_hall.h"
#include "support/long.h"
#include "support/lot.h"

enum { SAID_MAX = 8 };

struct said {
    unsigned first;   /* byte of the frame */
    const char *data; /* NULL: the last was before */
    size_t len;
};

struct talk {
    const char *name;
    struct said says[SAID_MAX];
    struct said hears[SAID_MAX];
    unsigned code; /* as on_close tells the program */
};

#define F(first, text)                                                                             \
    {                                                                                              \
        first, text, sizeof(text) - 1                                                              \
    }
#define TEXT        0x81
#define BIN         0x82
#define PING        0x89
#define PONG        0x8a
#define BYE         F(0x88, "\x03\xe8") /* 1000 */
#define FAILED_1002 F(0x88, "\x03\xea")
#define FAILED_1007 F(0x88, "\x03\xef")
#define S20         "12345678901234567890"
#define S125        S20 S20 S20 S20 S20 S20 "12345"

static const struct talk talks[] = {
    /* 2: pings and pongs */
    {"2.1", {F(PING, ""), BYE}, {F(PONG, ""), BYE}, 1000},
    {"2.2", {F(PING, "hello"), BYE}, {F(PONG, "hello"), BYE}, 1000},
    {"2.3", {F(PING, "\0\xff\xfe\xfd\x80"), BYE}, {F(PONG, "\0\xff\xfe\xfd\x80"), BYE}, 1000},
    {"2.4", {F(PING, S125), BYE}, {F(PONG, S125), BYE}, 1000},
    {"2.5", {F(PING, S125 "6"), BYE}, {FAILED_1002}, 1006},
    {"2.7", {F(PONG, ""), F(PONG, "unasked"), BYE}, {BYE}, 1000},
    {"2.9", {F(PONG, "a"), F(PING, "b"), BYE}, {F(PONG, "b"), BYE}, 1000},
    {"2.10",
     {F(PING, "1"), F(PING, "2"), F(PING, "3"), BYE},
     {F(PONG, "1"), F(PONG, "2"), F(PONG, "3"), BYE},
     1000},
    /* 3: reserved bits */
    {"3.1", {F(0xc1, "x"), BYE}, {FAILED_1002}, 1006},
    {"3.2", {F(TEXT, "ok"), F(0xa1, "x"), F(PING, "")}, {F(TEXT, "ok"), FAILED_1002}, 1006},
    {"3.3", {F(TEXT, "ok"), F(0x91, "x"), F(PING, "")}, {F(TEXT, "ok"), FAILED_1002}, 1006},
    {"3.4", {F(0xb2, "x"), BYE}, {FAILED_1002}, 1006},
    {"3.5", {F(0xd9, "x"), BYE}, {FAILED_1002}, 1006},
    {"3.6", {F(0xf8, "\x03\xe8")}, {FAILED_1002}, 1006},
    {"3.7 RSV1 that looks like a letter", {F(0x47, "x"), BYE}, {FAILED_1002}, 1006},
    /* 4: opcodes */
    {"4.1.1", {F(0x83, ""), BYE}, {FAILED_1002}, 1006},
    {"4.1.2", {F(0x84, "x"), BYE}, {FAILED_1002}, 1006},
    {"4.1.3", {F(TEXT, "ok"), F(0x85, ""), BYE}, {F(TEXT, "ok"), FAILED_1002}, 1006},
    {"4.1.4", {F(0x06, "x"), BYE}, {FAILED_1002}, 1006},
    {"4.1.5", {F(0x87, "x"), BYE}, {FAILED_1002}, 1006},
    {"4.2.1", {F(0x8b, ""), BYE}, {FAILED_1002}, 1006},
    {"4.2.2", {F(0x8c, "x"), BYE}, {FAILED_1002}, 1006},
    {"4.2.3", {F(0x8d, "x"), BYE}, {FAILED_1002}, 1006},
    {"4.2.4", {F(0x8e, "x"), BYE}, {FAILED_1002}, 1006},
    {"4.2.5", {F(TEXT, "ok"), F(0x8f, "x"), BYE}, {F(TEXT, "ok"), FAILED_1002}, 1006},
    /* 5: fragmentation */
    {"5.1", {F(0x09, "a"), F(0x80, "b"), BYE}, {FAILED_1002}, 1006},
    {"5.2", {F(0x0a, "a"), F(0x80, "b"), BYE}, {FAILED_1002}, 1006},
    {"5.3", {F(0x01, "frag"), F(0x80, "ment"), BYE}, {F(TEXT, "fragment"), BYE}, 1000},
    {"5.6",
     {F(0x01, "frag"), F(PING, "between"), F(0x80, "ment"), BYE},
     {F(PONG, "between"), F(TEXT, "fragment"), BYE},
     1000},
    {"5.9", {F(0x80, "x"), F(TEXT, "y"), BYE}, {FAILED_1002}, 1006},
    {"5.12", {F(0x00, "x"), F(TEXT, "y"), BYE}, {FAILED_1002}, 1006},
    {"5.15",
     {F(0x01, "a"), F(0x80, "b"), F(0x00, "c"), F(TEXT, "d"), BYE},
     {F(TEXT, "ab"), FAILED_1002},
     1006},
    {"5.18", {F(0x01, "a"), F(TEXT, "b"), BYE}, {FAILED_1002}, 1006},
    {"5.18 binary", {F(0x02, "a"), F(BIN, "b"), BYE}, {FAILED_1002}, 1006},
    {"5.18 begun twice", {F(0x01, "a"), F(0x01, "b"), BYE}, {FAILED_1002}, 1006},
    {"5.19",
     {F(0x01, "1"), F(0x00, "2"), F(PING, "p"), F(0x00, "3"), F(PING, "q"), F(0x80, "4"), BYE},
     {F(PONG, "p"), F(PONG, "q"), F(TEXT, "1234"), BYE},
     1000},
    {"5.21 empty parts",
     {F(0x02, ""), F(0x00, ""), F(0x80, ""), F(BIN, ""), BYE},
     {F(BIN, ""), F(BIN, ""), BYE},
     1000},
    {"5.22 a close between", {F(0x01, "a"), BYE}, {BYE}, 1000},
    /* 6: UTF-8 */
    {"6.1.2", {F(0x01, ""), F(0x00, "middle"), F(0x80, ""), BYE}, {F(TEXT, "middle"), BYE}, 1000},
    {"6.2.1",
     {F(TEXT, "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xe2\x82\xac-\xf0\x90\x8d\x88"), BYE},
     {F(TEXT, "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xe2\x82\xac-\xf0\x90\x8d\x88"), BYE},
     1000},
    {"6.2.3 in a character",
     {F(0x01, "\xce"), F(0x00, "\xba\xe1"), F(0x00, "\xbd"), F(0x80, "\xb9"), BYE},
     {F(TEXT, "\xce\xba\xe1\xbd\xb9"), BYE},
     1000},
    {"6.3.1",
     {F(TEXT, "\xce\xba\xed\xa0\x80"
              "edited"),
      BYE},
     {FAILED_1007},
     1006},
    {"6.3.2",
     {F(0x01, "\xce"), F(0x00, "\xba\xed"), F(0x80, "\xa0\x80"), BYE},
     {FAILED_1007},
     1006},
    {"6.4.1 at once", {F(0x01, "\xf4\x90"), F(PING, "not answered")}, {FAILED_1007}, 1006},
    {"6.4.2 in the next part",
     {F(0x01, "\xf4"), F(PING, "a"), F(0x00, "\x90"), F(PING, "b")},
     {F(PONG, "a"), FAILED_1007},
     1006},
    {"6.6 not whole", {F(TEXT, "\xe1\xbd"), BYE}, {FAILED_1007}, 1006},
    {"6.6 not whole in parts", {F(0x01, "a\xe1"), F(0x80, "\xbd"), BYE}, {FAILED_1007}, 1006},
    {"6.6 the next begins anew",
     {F(TEXT, "a"), F(BIN, "\xe1\xbd"), F(TEXT, "b"), BYE},
     {F(TEXT, "a"), F(BIN, "\xe1\xbd"), F(TEXT, "b"), BYE},
     1000},
    {"6.12 overlong", {F(TEXT, "\xc0\xaf"), BYE}, {FAILED_1007}, 1006},
    {"6.20 past U+10FFFF", {F(TEXT, "\xf4\x90\x80\x80"), BYE}, {FAILED_1007}, 1006},
    {"6.22 a non-character", {F(TEXT, "\xef\xbf\xbf"), BYE}, {F(TEXT, "\xef\xbf\xbf"), BYE}, 1000},
    /* 7: closing */
    {"7.1.1", {F(TEXT, "Hello"), BYE}, {F(TEXT, "Hello"), BYE}, 1000},
    {"7.1.2", {BYE, BYE}, {BYE}, 1000},
    {"7.1.3", {BYE, F(PING, "")}, {BYE}, 1000},
    {"7.1.4", {BYE, F(TEXT, "late")}, {BYE}, 1000},
    {"7.1.5", {F(0x01, "a"), BYE, F(0x80, "b")}, {BYE}, 1000},
    {"7.3.1", {F(0x88, "")}, {F(0x88, "")}, 1005},
    {"7.3.2", {F(0x88, "\x03")}, {FAILED_1002}, 1006},
    {"7.3.4", {F(0x88, "\x03\xe8why")}, {BYE}, 1000},
    {"7.3.6", {F(0x88, "\x03\xe8" S125)}, {FAILED_1002}, 1006},
    {"7.5.1", {F(0x88, "\x03\xe8\xce\xba\xed\xa0\x80")}, {FAILED_1007}, 1006},
    {"7.7.1", {F(0x88, "\x03\xf3")}, {F(0x88, "\x03\xf3")}, 1011},
    {"7.7.2", {F(0x88, "\x0b\xb8")}, {F(0x88, "\x0b\xb8")}, 3000},
    {"7.7.3", {F(0x88, "\x13\x87")}, {F(0x88, "\x13\x87")}, 4999},
    {"7.9.1", {F(0x88, "\0\0")}, {FAILED_1002}, 1006},
    {"7.9.2", {F(0x88, "\x03\xe7")}, {FAILED_1002}, 1006},
    {"7.9.3", {F(0x88, "\x03\xec")}, {FAILED_1002}, 1006},  /* 1004 */
    {"7.9.4", {F(0x88, "\x03\xed")}, {FAILED_1002}, 1006},  /* 1005 */
    {"7.9.5", {F(0x88, "\x03\xee")}, {FAILED_1002}, 1006},  /* 1006 */
    {"7.9.6", {F(0x88, "\x03\xf7")}, {FAILED_1002}, 1006},  /* 1015 */
    {"7.9.9", {F(0x88, "\x0b\xb7")}, {FAILED_1002}, 1006},  /* 2999 */
    {"7.13.1", {F(0x88, "\x13\x88")}, {FAILED_1002}, 1006}, /* 5000 */
};

static size_t put_all(unsigned char *to, const struct said *said, bool bare)
{
    size_t len = 0;
    for (int i = 0; i < SAID_MAX && said[i].data; i++)
        len +=
            (bare ? frame_put_bare : frame_put)(to + len, said[i].first, said[i].data, said[i].len);
    return len;
}

/* Pieces of at most `piece` bytes, each on its way by itself; 0: all at once. */
static void say_in(struct peer *peer, const unsigned char *bytes, size_t len, size_t piece)
{
    for (size_t at = 0; at < len;) {
        size_t part = piece && piece < len - at ? piece : len - at;
        peer_say(peer, bytes + at, part);
        at += part;
        if (at < len && piece && peer->sim) hall_run(peer->hall, 1);
    }
}

static void run_talk(struct hall *hall, const struct talk *talk, size_t piece)
{
    unsigned char said[2048], wanted[2048], heard[2048];
    unsigned closed = atomic_load(&hall->closed);
    size_t len = put_all(said, talk->says, false);
    size_t hears = put_all(wanted, talk->hears, true);
    struct peer peer = hall_visit(hall);
    say_in(&peer, said, len, piece);
    size_t got = peer_hear_end(&peer, heard, sizeof heard);
    if (got != hears || memcmp(heard, wanted, got) != 0)
        fail_msg("%s in pieces of %zu: heard %zu bytes, not %zu", talk->name, piece, got, hears);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, closed + 1);
    unsigned sent = hears >= 4 ? (unsigned)wanted[hears - 2] << 8 | wanted[hears - 1] : 1005;
    if (hall_last(hall)->code != talk->code || hall_last(hall)->code_sent != sent)
        fail_msg("%s: ended with %u, %u sent", talk->name, hall_last(hall)->code,
                 hall_last(hall)->code_sent);
    bool failed = talk->code == 1006;
    assert_int_equal(hall_last(hall)->why,
                     failed ? SALLY_CLOSE_MALFORMED : SALLY_CLOSE_PEER_CLOSED);
}

static enum hall_port port;

static void each_talk_is_heard_as_the_rfc_says(void **state)
{
    (void)state;
    struct hall *hall = hall_begin(port, &(struct hall_options){0});
    if (!hall) skip();
    for (size_t i = 0; i < sizeof talks / sizeof *talks; i++) {
        run_talk(hall, &talks[i], 0);
        run_talk(hall, &talks[i], port == HALL_SIM ? 1 : 3);
        if (port == HALL_SIM) run_talk(hall, &talks[i], 2);
    }
    hall_end(hall);
}

static void the_reason_of_a_close_is_told(void **state)
{
    (void)state;
    unsigned char frame[64], heard[8];
    struct hall *hall = hall_begin(port, &(struct hall_options){0});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    peer_say(&peer, frame,
             frame_put(frame, 0x88,
                       "\x0f\xa1"
                       "bye, \xe2\x82\xac",
                       10));
    assert_int_equal(peer_hear_end(&peer, heard, sizeof heard), 4);
    assert_memory_equal(heard, "\x88\x02\x0f\xa1", 4);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->code, 4001);
    assert_string_equal(hall_last(hall)->reason, "bye, \xe2\x82\xac");
    assert_true(hall_last(hall)->opened);
    hall_end(hall);
}

/* Autobahn's section 1, and 9 in small: sizes around each form of the length, echoed, also when the
 * head of the handshake comes in the same bytes as the first frame. */
static void messages_of_every_size_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 125, 126, 127, 128, 65535, 65536, 300000};
    enum { BIGGEST = 300000, ROOM = BIGGEST + 64 };
    unsigned char *said = malloc(ROOM), *heard = malloc(ROOM), *plain = malloc(ROOM);
    assert_true(said && heard && plain);
    struct lot lot = {run_seed(3)};
    struct hall *hall = hall_begin(port, &(struct hall_options){0});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned first = TEXT; first <= BIN; first++) {
            for (size_t n = 0; n < sizes[i]; n++)
                plain[n] = (unsigned char)(first == TEXT ? 'a' + n % 26 : lot_next(&lot));
            size_t len = frame_put(said, first, plain, sizes[i]);
            say_in(&peer, said, len, 1 + lot_below(&lot, 30000));
            len = frame_put_bare(said, first, plain, sizes[i]);
            assert_true(peer_hear(&peer, heard, len));
            assert_memory_equal(heard, said, len);
        }
    peer_leave(&peer);
    peer = hall_dial(hall);
    size_t len = strlen(hall_upgrade);
    memcpy(said, hall_upgrade, len);
    len += frame_put(said + len, TEXT, "early", 5);
    peer_say(&peer, said, len);
    assert_true(peer_hear(&peer, heard, HALL_SWITCH_BYTES + 7));
    assert_memory_equal(heard + HALL_SWITCH_BYTES,
                        "\x81\x05"
                        "early",
                        7);
    peer_leave(&peer);
    hall_end(hall);
    free(said);
    free(heard);
    free(plain);
}

static void ten_thousand_parts_of_one_byte_are_one_message(void **state)
{
    (void)state;
    enum { PARTS = 10000, PART = 7 };
    unsigned char *said = malloc(PARTS * PART), *heard = malloc(PARTS + 4);
    assert_true(said && heard);
    struct hall *hall = hall_begin(port, &(struct hall_options){0});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    size_t len = 0;
    for (unsigned i = 0; i < PARTS; i++) {
        unsigned first = (i ? 0u : 2u) | (i == PARTS - 1 ? 0x80u : 0u);
        len += frame_put(said + len, first, &(unsigned char){(unsigned char)i}, 1);
    }
    peer_say(&peer, said, len);
    assert_true(peer_hear(&peer, heard, PARTS + 4));
    assert_memory_equal(heard, "\x82\x7e\x27\x10", 4);
    for (unsigned i = 0; i < PARTS; i++) assert_int_equal(heard[4 + i], i & 255);
    assert_int_equal(atomic_load(&hall->messages), 1);
    peer_leave(&peer);
    hall_end(hall);
    free(said);
    free(heard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_talk_is_heard_as_the_rfc_says),
        cmocka_unit_test(the_reason_of_a_close_is_told),
        cmocka_unit_test(messages_of_every_size_come_back),
        cmocka_unit_test(ten_thousand_parts_of_one_byte_are_one_message),
    };
    static const char *const names[] = {"uring or iocp", "epoll", "sim"};
    int failed = 0;
    for (port = 0; port < HALL_PORTS; port++)
        failed += cmocka_run_group_tests_name(names[port], tests, NULL, NULL);
    return failed != 0;
}
