/* WebSockets between their handshake and their end, on each port: bounds of messages and memory,
 * peers that flood and don't read, goodbyes from each side, sends by id, messages for many,
 * pauses. */
#include "net/support/ws_hall.h"
#include "sallyport/flow.h"
#include "sallyport/group.h"

enum { KB = 1024, TEXT = 0x81, BIN = 0x82, PING = 0x89, BYE = 0x88 };

static enum hall_port port;

static uint64_t memory_of(const struct hall *hall)
{
    return hall->sim ? sally_sim_memory_bytes(hall->sim) : atomic_load(&hall->memory);
}

static uint64_t bytes_in(struct hall *hall)
{
    sally_engine_stats stats;
    assert_int_equal(sally_engine_get_stats(hall->engine, &stats), 0);
    return stats.bytes_in;
}

static void wait_for_bytes(struct hall *hall, uint64_t least)
{
    for (int ms = 0; bytes_in(hall) < least; ms++) {
        if (ms == HALL_LIMIT_MS) fail_msg("not received in time");
        hall_run(hall, 1);
    }
    hall_run(hall, 20); /* and what comes of it */
}

/* ---- Bounds ---- */

static void a_message_is_bounded_however_it_is_cut(void **state)
{
    (void)state;
    static char bytes[2000];
    struct hall *hall = hall_begin(port, &(struct hall_options){.ws.message_bytes_max = 1000});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    say_frame(&peer, 0x02, bytes, 999);
    say_frame(&peer, 0x80, bytes, 1);
    char heard[1004];
    assert_true(peer_hear(&peer, heard, sizeof heard));
    say_frame(&peer, 0x02, bytes, 999);
    say_frame(&peer, 0x00, bytes, 1);
    say_frame(&peer, 0x80, bytes, 1);
    assert_end(&peer, "\x88\x02\x03\xf1", 4);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_MESSAGE_TOO_LONG);
    assert_int_equal(hall_last(hall)->info.error, SALLY_ELIMIT);
    peer = hall_visit(hall);
    unsigned char head[1001 + 14];
    frame_put(head, BIN, bytes, 1001);
    peer_say(&peer, head, 8); /* all that is needed to know */
    assert_end(&peer, "\x88\x02\x03\xf1", 4);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 2);
    assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_MESSAGE_TOO_LONG);
    assert_int_equal(hall_last(hall)->code_sent, 1009);
    hall_end(hall);
}

static void what_is_announced_costs_nothing(void **state)
{
    (void)state;
    static const unsigned char head[] = {BIN, 0xff, 0, 0, 0, 0, 0x20, 0, 0, 0, 1, 2, 3, 4, 'x'};
    struct hall *hall = hall_begin(port, &(struct hall_options){.ws.message_bytes_max = 512 << 20});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    hall_wait(hall, &hall->opened, 1);
    hall_run(hall, 50);
    uint64_t before = memory_of(hall), came = bytes_in(hall);
    peer_say(&peer, head, sizeof head); /* 512 MiB will follow, it says */
    wait_for_bytes(hall, came += sizeof head);
    assert_true(memory_of(hall) < before + 1024);
    static char parts[100 * KB];
    struct peer other = hall_visit(hall);
    came = bytes_in(hall);
    for (int i = 0; i < 2; i++) {
        say_frame(&other, i ? 0x00 : 0x02, parts, sizeof parts);
        wait_for_bytes(hall, came += sizeof parts + 14);
    }
    assert_true(memory_of(hall) > before + sizeof parts);
    assert_true(memory_of(hall) < before + 6 * sizeof parts);
    peer_leave(&peer);
    peer_leave(&other);
    hall_wait(hall, &hall->closed, 2);
    hall_end(hall);
}

/* memory_max bounds the parts, too. */
static void the_parts_of_a_message_count_for_memory_max(void **state)
{
    (void)state;
    static char part[10 * KB];
    struct hall *hall = hall_begin(port, &(struct hall_options){.server.conn.memory_max = 64 * KB});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    for (int i = 0; i < 20; i++) say_frame(&peer, i ? 0x00 : 0x02, part, sizeof part);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_MEMORY);
    peer_leave(&peer);
    hall_end(hall);
}

/* ---- Peers that ask and don't read ---- */

static void an_unread_flood_of_pings_is_not_read(void **state)
{
    (void)state;
    enum { QUEUE = 64 * KB, PINGS = 200, MOST = 20 << 20 };
    static unsigned char flood[PINGS * 131];
    struct hall *hall =
        hall_begin(port, &(struct hall_options){.server.conn = {.send_bytes_max = QUEUE,
                                                                .send_buf_bytes = 4 * KB,
                                                                .write_stall_ms = SALLY_FOREVER}});
    if (!hall) skip();
    size_t len = 0, said = 0;
    for (unsigned i = 0; i < PINGS; i++) len += frame_put(flood + len, PING, flood, 125);
    struct peer peer = hall_visit(hall);
    peer_stop_reading(&peer);
    for (size_t part = 1; part && said < MOST; said += part)
        part = peer_say_some(&peer, flood + said % len, len - said % len);
    assert_true(said < MOST); /* its sending stalled, and nothing else happened */
    assert_int_equal(atomic_load(&hall->closed), 0);
    if (peer.sim) sally_sim_peer_read(peer.sim);
    uint64_t wanted = said / 131 * 127;
    unsigned char *heard = malloc(wanted);
    assert_non_null(heard);
    assert_true(peer_hear(&peer, heard, wanted)); /* none was lost */
    for (uint64_t at = 0; at < wanted; at += 127)
        assert_true(heard[at] == 0x8a && heard[at + 1] == 125);
    free(heard);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    hall_end(hall);
}

static void with_no_auto_pause_such_a_flood_ends_it(void **state)
{
    (void)state;
    enum { QUEUE = 64 * KB, PINGS = 200, MOST = 200 << 20 };
    static unsigned char flood[PINGS * 131];
    struct hall *hall =
        hall_begin(port, &(struct hall_options){.server.conn = {.send_bytes_max = QUEUE,
                                                                .send_buf_bytes = 4 * KB,
                                                                .no_auto_pause = true,
                                                                .write_stall_ms = SALLY_FOREVER}});
    if (!hall) skip();
    size_t len = 0;
    for (unsigned i = 0; i < PINGS; i++) len += frame_put(flood + len, PING, flood, 125);
    struct peer peer = hall_visit(hall);
    peer_stop_reading(&peer);
    for (size_t said = 0; said < MOST && !atomic_load(&hall->closed); said += len)
        for (size_t at = 0, part = 1; at < len && part; at += part)
            part = peer_say_some(&peer, flood + at, len - at);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_SEND_LIMIT);
    assert_true(hall_last(hall)->info.bytes_unsent <= QUEUE);
    peer_leave(&peer);
    hall_end(hall);
}

/* ---- Goodbyes ---- */

static atomic_int told[8];

static void close_at_message(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    char longer[SALLY_WS_REASON_MAX + 2];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    (void)len;
    static const unsigned bad[] = {1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 70000};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (sally_ws_close(conn, bad[i], NULL) != SALLY_EINVAL) atomic_fetch_add(&told[0], 1);
    if (sally_ws_close(conn, 1000, longer) != SALLY_EINVAL) atomic_fetch_add(&told[0], 1);
    if (sally_ws_close(conn, 1000, "\xff") != SALLY_EINVAL) atomic_fetch_add(&told[0], 1);
    if (sally_ws_close(conn, 0, "why") != SALLY_EINVAL) atomic_fetch_add(&told[0], 1);
    if (sally_ws_send(conn, SALLY_WS_TEXT, "\xff", 1) != SALLY_EINVAL)
        atomic_fetch_add(&told[0], 1);
    if (*(const char *)data == 'c')
        sally_conn_close(conn);
    else if (sally_ws_close(conn, 4000, "bye") != 0)
        atomic_fetch_add(&told[0], 1);
    if (sally_ws_send(conn, type, "late", 4) != SALLY_ECLOSED) atomic_fetch_add(&told[0], 1);
    if (sally_ws_ping(conn, NULL, 0) != SALLY_ECLOSED) atomic_fetch_add(&told[0], 1);
    if (sally_ws_close(conn, 1000, NULL) != SALLY_ECLOSED) atomic_fetch_add(&told[0], 1);
}

static void our_goodbye_waits_for_the_answer(void **state)
{
    (void)state;
    atomic_store(&told[0], 0);
    struct hall *hall =
        hall_begin(port, &(struct hall_options){.handler.on_message = close_at_message});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    say_frame(&peer, TEXT, "x", 1);
    assert_hears(&peer,
                 "\x88\x05\x0f\xa0"
                 "bye",
                 7);
    say_frame(&peer, TEXT, "not delivered", 13);
    say_frame(&peer, PING, "not answered", 12);
    hall_run(hall, 20);
    assert_int_equal(atomic_load(&hall->closed), 0);
    say_frame(&peer, BYE,
              "\x0f\xa0"
              "and you",
              9);
    assert_end(&peer, "", 0);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->code, 4000);
    assert_int_equal(hall_last(hall)->code_sent, 4000);
    assert_string_equal(hall_last(hall)->reason, "and you");
    assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_LOCAL);
    assert_int_equal(atomic_load(&hall->messages), 1);
    peer = hall_visit(hall);
    say_frame(&peer, TEXT, "c", 1); /* sally_conn_close says goodbye, too */
    assert_end(&peer, "\x88\x02\x03\xe8", 4);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 2);
    assert_int_equal(hall_last(hall)->code, 1006);
    assert_int_equal(hall_last(hall)->code_sent, 1000);
    assert_int_equal(atomic_load(&told[0]), 0);
    hall_end(hall);
}

static void a_stream_that_just_ends_is_abnormal(void **state)
{
    (void)state;
    struct hall *hall = hall_begin(port, &(struct hall_options){0});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    say_frame(&peer, 0x01, "begun", 5);
    peer_finish(&peer);
    assert_end(&peer, "", 0);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->code, 1006);
    assert_int_equal(hall_last(hall)->code_sent, 0);
    assert_string_equal(hall_last(hall)->reason, "");
    assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_PEER_CLOSED);
    hall_end(hall);
}

static void a_drain_says_that_we_are_going_away(void **state)
{
    (void)state;
    struct hall *hall = hall_begin(port, &(struct hall_options){0});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    hall_wait(hall, &hall->opened, 1);
    assert_int_equal(sally_engine_drain(hall->engine, 10000), 0);
    assert_end(&peer, "\x88\x02\x03\xe9", 4);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_SHUTDOWN);
    assert_int_equal(hall_last(hall)->code_sent, 1001);
    hall_end(hall);
}

/* ---- By id, and for many ---- */

static void ignore_message(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)type;
    if (len && *(const char *)data == 'c' && sally_ws_close(conn, 1000, NULL))
        atomic_fetch_add(&hall_of(conn)->wrongs, 1);
}

static sally_verdict note_accept(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    (void)info;
    atomic_fetch_add(&told[1], 1);
    return SALLY_ALLOW;
}

static void sends_by_id_are_frames(void **state)
{
    (void)state;
    static char big[70000];
    struct hall *hall =
        hall_begin(port, &(struct hall_options){.handler.on_message = ignore_message});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    hall_wait(hall, &hall->opened, 1);
    sally_id id = atomic_load(&hall->id);
    assert_int_equal(sally_ws_send_id(hall->engine, id, SALLY_WS_TEXT, "one", 3), 0);
    assert_int_equal(sally_ws_send_id(hall->engine, id, SALLY_WS_BINARY, NULL, 0), 0);
    assert_int_equal(sally_ws_send_id(hall->engine, id, SALLY_WS_BINARY, big, sizeof big), 0);
    assert_int_equal(sally_ws_send_id(hall->engine, id, SALLY_WS_TEXT, "\xff", 1), SALLY_EINVAL);
    assert_int_equal(sally_ws_send_id(hall->engine, id, (sally_ws_type)8, "", 0), SALLY_EINVAL);
    assert_hears(&peer, "\x81\x03one\x82\x00", 7);
    unsigned char *heard = malloc(sizeof big + 10);
    assert_non_null(heard);
    assert_true(peer_hear(&peer, heard, sizeof big + 10));
    assert_memory_equal(heard, "\x82\x7f\0\0\0\0\0\x01\x11\x70", 10);
    free(heard);
    say_frame(&peer, TEXT, "c", 1);
    assert_hears(&peer, "\x88\x02\x03\xe8", 4);
    (void)sally_ws_send_id(hall->engine, id, SALLY_WS_TEXT, "late", 4); /* dropped */
    hall_run(hall, 20);
    say_frame(&peer, BYE, "\x03\xe8", 2);
    assert_end(&peer, "", 0);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    hall_run(hall, 20);
    assert_int_equal(sally_ws_send_id(hall->engine, id, SALLY_WS_TEXT, "x", 1), SALLY_ENOCONN);
    hall_end(hall);
}

static atomic_uint broadcasts;

static void note_broadcast(const sally_broadcast_report *report, void *arg)
{
    (void)arg;
    atomic_store(&told[2], (int)report->sent);
    atomic_fetch_add(&broadcasts, 1);
}

/* Who has not upgraded yet, or has said goodbye, hears nothing of it. */
static void a_message_for_many_reaches_who_is_open(void **state)
{
    (void)state;
    atomic_store(&told[1], 0);
    atomic_store(&broadcasts, 0);
    struct hall *hall =
        hall_begin(port, &(struct hall_options){
                             .handler = {.on_message = ignore_message, .on_accept = note_accept}});
    if (!hall) skip();
    struct peer early = hall_dial(hall), open = hall_visit(hall), over = hall_visit(hall);
    hall_wait(hall, &hall->opened, 2);
    for (int ms = 0; atomic_load(&told[1]) < 3 && ms < HALL_LIMIT_MS; ms++) hall_run(hall, 1);
    say_frame(&over, TEXT, "c", 1);
    assert_hears(&over, "\x88\x02\x03\xe8", 4);
    assert_null(sally_ws_buf_create(hall->engine, SALLY_WS_TEXT, "\xc0", 1));
    sally_buf *buf = sally_ws_buf_create(hall->engine, SALLY_WS_TEXT, "to all", 6);
    assert_non_null(buf);
    sally_broadcast_options options = {.done = note_broadcast};
    assert_int_equal(sally_broadcast(hall->server, buf, &options), 0);
    sally_buf_release(buf);
    hall_wait(hall, &broadcasts, 1);
    assert_int_equal(atomic_load(&told[2]), 1);
    assert_hears(&open, "\x81\x06to all", 8);
    peer_say(&early, hall_upgrade, strlen(hall_upgrade));
    char answer[13];
    assert_true(peer_hear(&early, answer, sizeof answer));
    assert_memory_equal(answer, "HTTP/1.1 101 ", sizeof answer);
    peer_leave(&early);
    peer_leave(&open);
    peer_leave(&over);
    hall_wait(hall, &hall->closed, 3);
    hall_end(hall);
}

/* ---- Pauses ---- */

static void echo_and_pause(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    bool bad =
        sally_ws_send(conn, type, data, len) || sally_conn_pause(conn) || sally_conn_timer(conn, 2);
    if (bad) atomic_fetch_add(&hall_of(conn)->wrongs, 1);
}

static void resume(sally_conn *conn)
{
    if (sally_conn_resume(conn)) atomic_fetch_add(&hall_of(conn)->wrongs, 1);
}

/* What lies behind a message in the same bytes is kept, and unmasked once. */
static void frames_behind_a_pause_come_unharmed(void **state)
{
    (void)state;
    enum { FRAMES = 20, LEN = 300 };
    unsigned char said[FRAMES * (LEN + 8)], wanted[FRAMES * (LEN + 4)], heard[FRAMES * (LEN + 4)];
    size_t len = 0, hears = 0;
    struct hall *hall = hall_begin(
        port,
        &(struct hall_options){.handler = {.on_message = echo_and_pause, .on_timer = resume}});
    if (!hall) skip();
    for (unsigned i = 0; i < FRAMES; i++) {
        char text[LEN];
        memset(text, 'a' + (int)i, sizeof text);
        len += frame_put(said + len, TEXT, text, sizeof text);
        hears += frame_put_bare(wanted + hears, TEXT, text, sizeof text);
    }
    struct peer peer = hall_visit(hall);
    peer_say(&peer, said, len);
    assert_true(peer_hear(&peer, heard, hears));
    assert_memory_equal(heard, wanted, hears);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    hall_end(hall);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_bounded_however_it_is_cut),
        cmocka_unit_test(what_is_announced_costs_nothing),
        cmocka_unit_test(the_parts_of_a_message_count_for_memory_max),
        cmocka_unit_test(an_unread_flood_of_pings_is_not_read),
        cmocka_unit_test(with_no_auto_pause_such_a_flood_ends_it),
        cmocka_unit_test(our_goodbye_waits_for_the_answer),
        cmocka_unit_test(a_stream_that_just_ends_is_abnormal),
        cmocka_unit_test(a_drain_says_that_we_are_going_away),
        cmocka_unit_test(sends_by_id_are_frames),
        cmocka_unit_test(a_message_for_many_reaches_who_is_open),
        cmocka_unit_test(frames_behind_a_pause_come_unharmed),
    };
    static const char *const names[] = {"uring or iocp", "epoll", "sim"};
    int failed = 0;
    for (port = 0; port < HALL_PORTS; port++)
        failed += cmocka_run_group_tests_name(names[port], tests, NULL, NULL);
    return failed != 0;
}
