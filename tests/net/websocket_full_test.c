/* WebSockets where a send is not at once what goes: full queues and what at_full says of them,
 * corks, groups, filters that fail, servers behind proxies. On each port. */
#include "net/support/ws_hall.h"
#include "sallyport/admission.h"
#include "sallyport/filter.h"
#include "sallyport/flow.h"
#include "sallyport/group.h"
#include "sallyport/proxy.h"

enum { KB = 1024, TEXT = 0x81, BYE = 0x88 };
enum { QUEUE = 4 * KB, FRAME = 100, FRAMES = QUEUE / FRAME, CONTENT = FRAME - 2 };

static enum hall_port port;

static void check(sally_conn *conn, bool holds)
{
    if (!holds) atomic_fetch_add(&hall_of(conn)->wrongs, 1);
}

static int send_frame(sally_conn *conn, unsigned number)
{
    char content[CONTENT];
    memset(content, 'a' + (int)(number % 26), sizeof content);
    return sally_ws_send(conn, SALLY_WS_BINARY, content, sizeof content);
}

/* Nothing has gone since the queue was empty, and no byte more fits. */
static void fill(sally_conn *conn)
{
    static const char rest[QUEUE % FRAME - 2];
    _Static_assert(sizeof rest <= 125, "a head of two bytes");
    for (unsigned i = 0; i < FRAMES; i++) check(conn, send_frame(conn, i) == 0);
    check(conn, sally_ws_send(conn, SALLY_WS_BINARY, rest, sizeof rest) == 0);
    check(conn, sally_conn_queued(conn) == QUEUE);
}

static struct hall *begin(sally_at_full at_full,
                          void (*on_message)(sally_conn *, sally_ws_type, const void *, size_t))
{
    return hall_begin(port, &(struct hall_options){.handler.on_message = on_message,
                                                   .server.conn = {.send_bytes_max = QUEUE,
                                                                   .at_full = at_full,
                                                                   .no_auto_pause = true}});
}

/* ---- Full queues ---- */

static void fill_and_close(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)type;
    (void)data;
    (void)len;
    fill(conn);
    check(conn, sally_conn_close(conn) == 0);
}

/* A gentle close goes its way without a close frame where there is no room for one. */
static void a_full_queue_does_not_keep_a_close_from_being_gentle(void **state)
{
    static const sally_at_full policies[] = {SALLY_FULL_FAIL, SALLY_FULL_DROP_NEWEST,
                                             SALLY_FULL_CLOSE};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        static char heard[QUEUE + 1];
        struct hall *hall = begin(policies[i], fill_and_close);
        if (!hall) skip();
        struct peer peer = hall_visit(hall);
        say_frame(&peer, TEXT, "x", 1);
        assert_int_equal(peer_hear_end(&peer, heard, sizeof heard), QUEUE);
        peer_leave(&peer);
        hall_wait(hall, &hall->closed, 1);
        assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_LOCAL);
        assert_int_equal(hall_last(hall)->code_sent, 0);
        assert_int_equal(hall_last(hall)->info.bytes_unsent, 0);
        hall_end(hall);
    }
}

static void fill_and_say_goodbye(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)type;
    if (len && *(const char *)data == '1') {
        fill(conn);
        check(conn, sally_ws_close(conn, 3000, NULL) == SALLY_EFULL);
    } else {
        check(conn, sally_ws_close(conn, 3001, NULL) == 0);
    }
}

/* It is not dropped in silence, and doesn't abort. */
static void a_goodbye_without_room_can_be_said_again(void **state)
{
    static const sally_at_full policies[] = {SALLY_FULL_FAIL, SALLY_FULL_DROP_NEWEST,
                                             SALLY_FULL_CLOSE};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        static char heard[QUEUE];
        struct hall *hall = begin(policies[i], fill_and_say_goodbye);
        if (!hall) skip();
        struct peer peer = hall_visit(hall);
        say_frame(&peer, TEXT, "1", 1);
        assert_true(peer_hear(&peer, heard, sizeof heard));
        say_frame(&peer, TEXT, "2", 1);
        assert_hears(&peer, "\x88\x02\x0b\xb9", 4);
        say_frame(&peer, BYE, "\x0b\xb9", 2);
        assert_end(&peer, "", 0);
        peer_leave(&peer);
        hall_wait(hall, &hall->closed, 1);
        assert_int_equal(hall_last(hall)->code, 3001);
        assert_int_equal(hall_last(hall)->code_sent, 3001);
        hall_end(hall);
    }
}

static void fill_and_leave(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)type;
    (void)data;
    (void)len;
    fill(conn);
    check(conn, sally_ws_close(conn, 3000, NULL) == 0);
}

/* The oldest message makes room for it, as for any other send. */
static void a_goodbye_may_drop_what_is_oldest(void **state)
{
    (void)state;
    static char heard[QUEUE - FRAME + 4];
    struct hall *hall = begin(SALLY_FULL_DROP_OLDEST, fill_and_leave);
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    say_frame(&peer, TEXT, "x", 1);
    assert_true(peer_hear(&peer, heard, sizeof heard));
    assert_int_equal(heard[2], 'b');
    assert_memory_equal(heard + sizeof heard - 4, "\x88\x02\x0b\xb8", 4);
    say_frame(&peer, BYE, "\x0b\xb8", 2);
    assert_end(&peer, "", 0);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->code_sent, 3000);
    hall_end(hall);
}

static void fill_and_try_goodbye(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)type;
    (void)data;
    (void)len;
    fill(conn);
    check(conn, sally_ws_close(conn, 3000, NULL) == SALLY_EFULL);
}

static void say_goodbye(sally_conn *conn) { check(conn, sally_ws_close(conn, 3001, NULL) == 0); }

/* Also where nothing else would bring on_drain: the queue is never above its high mark. */
static void on_drain_tells_when_a_goodbye_has_room(void **state)
{
    (void)state;
    static char heard[QUEUE + 4];
    struct hall *hall =
        hall_begin(port, &(struct hall_options){.handler = {.on_message = fill_and_try_goodbye,
                                                            .on_drain = say_goodbye},
                                                .server.conn = {.send_bytes_max = QUEUE,
                                                                .send_high_bytes = QUEUE,
                                                                .send_low_bytes = QUEUE - 1}});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    say_frame(&peer, TEXT, "x", 1);
    assert_true(peer_hear(&peer, heard, sizeof heard));
    assert_memory_equal(heard + QUEUE, "\x88\x02\x0b\xb9", 4);
    say_frame(&peer, BYE, "\x0b\xb9", 2);
    assert_end(&peer, "", 0);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    hall_end(hall);
}

static void answer_goodbye_from_full(sally_conn *conn, sally_ws_type type, const void *data,
                                     size_t len)
{
    (void)type;
    (void)data;
    (void)len;
    fill(conn);
}

/* Its answer is said to have been sent only if it was. */
static void a_goodbye_that_was_not_answered_is_not_said_to_be(void **state)
{
    static const sally_at_full policies[] = {SALLY_FULL_FAIL, SALLY_FULL_DROP_NEWEST,
                                             SALLY_FULL_CLOSE};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        static char heard[QUEUE + 1];
        unsigned char said[64];
        struct hall *hall = begin(policies[i], answer_goodbye_from_full);
        if (!hall) skip();
        struct peer peer = hall_visit(hall);
        size_t len = frame_put(said, TEXT, "x", 1);
        len += frame_put(said + len, BYE, "\x03\xe8", 2);
        peer_say(&peer, said, len); /* both are read at once, so nothing has gone in between */
        assert_int_equal(peer_hear_end(&peer, heard, sizeof heard), QUEUE);
        peer_leave(&peer);
        hall_wait(hall, &hall->closed, 1);
        assert_int_equal(hall_last(hall)->code, 1000);
        assert_int_equal(hall_last(hall)->code_sent, 0);
        assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_PEER_CLOSED);
        hall_end(hall);
    }
}

static void send_much(sally_conn *conn)
{
    for (unsigned i = 0; i < 5 * FRAMES; i++) check(conn, send_frame(conn, i) == 0);
}

/* The answer to the request is no message that may be dropped for newer ones. */
static void a_handshake_is_never_dropped(void **state)
{
    (void)state;
    char heard[HALL_SWITCH_BYTES], frame[FRAME];
    struct hall *hall = hall_begin(
        port, &(struct hall_options){
                  .handler.on_open = send_much,
                  .server.conn = {.send_bytes_max = QUEUE, .at_full = SALLY_FULL_DROP_OLDEST}});
    if (!hall) skip();
    struct peer peer = hall_dial(hall);
    peer_say(&peer, hall_upgrade, strlen(hall_upgrade));
    assert_true(peer_hear(&peer, heard, sizeof heard));
    assert_memory_equal(heard, "HTTP/1.1 101 ", 13);
    assert_memory_equal(heard + sizeof heard - 4, "\r\n\r\n", 4);
    unsigned last = 5 * FRAMES - 1, from = last - (QUEUE - HALL_SWITCH_BYTES) / FRAME + 1;
    for (unsigned i = from; i <= last; i++) {
        assert_true(peer_hear(&peer, frame, sizeof frame));
        assert_int_equal((unsigned char)frame[0], 0x82);
        assert_int_equal(frame[2], 'a' + (int)(i % 26));
    }
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    hall_end(hall);
}

/* ---- Corks ---- */

static void cork_and_say_goodbye(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    check(conn, sally_conn_cork(conn) == 0);
    check(conn, sally_ws_send(conn, type, data, len) == 0);
    check(conn, sally_ws_close(conn, 3000, NULL) == 0);
}

/* After it nothing can be sent, so there is nothing to wait for. */
static void a_cork_does_not_hold_a_goodbye(void **state)
{
    (void)state;
    struct hall *hall =
        hall_begin(port, &(struct hall_options){.handler.on_message = cork_and_say_goodbye,
                                                .server.conn.linger_ms = SALLY_FOREVER});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    say_frame(&peer, TEXT, "x", 1);
    assert_hears(&peer, "\x81\x01x\x88\x02\x0b\xb8", 7);
    say_frame(&peer, BYE, "\x0b\xb8", 2);
    assert_end(&peer, "", 0);
    peer_leave(&peer);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_LOCAL);
    hall_end(hall);
}

/* ---- Groups ---- */

static atomic_uint reports, reached, client_opens;

static void note_report(const sally_broadcast_report *report, void *arg)
{
    (void)arg;
    atomic_store(&reached, (unsigned)report->sent);
    atomic_fetch_add(&reports, 1);
}

static void count_open(sally_conn *conn)
{
    (void)conn;
    atomic_fetch_add(&client_opens, 1);
}

static sally_id connect_client(struct hall *hall)
{
    static const sally_ws_options client = {.client = true};
    const sally_ws_handler handler = {.user = hall, .on_open = count_open};
    sally_ws *ws;
    sally_id id;
    atomic_store(&client_opens, 0);
    assert_int_equal(sally_ws_create(hall->engine, &handler, &client, &ws), 0);
    sally_handler base = sally_ws_base(ws);
    sally_framing framing = sally_ws_framing(ws);
    sally_connect_options connect = {.conn.framing = &framing};
    assert_int_equal(sally_connect(hall->engine, hall->address, &base, &connect, &id), 0);
    hall_wait(hall, &client_opens, 1);
    hall_wait(hall, &hall->opened, 1);
    return id;
}

/* What a client says is masked, and the buffer's frame is not: a server would have to fail it (RFC
 * 6455 section 5.1). */
static void a_message_for_many_passes_over_our_own_clients(void **state)
{
    (void)state;
    struct hall *hall = hall_begin(port, &(struct hall_options){0});
    if (!hall) skip();
    atomic_store(&reports, 0);
    sally_id id = connect_client(hall);
    sally_group *group;
    assert_int_equal(sally_group_create(&group, hall->engine), 0);
    assert_int_equal(sally_group_join(group, id), 0);
    assert_int_equal(sally_group_join(group, atomic_load(&hall->id)), 0);
    sally_buf *buf = sally_ws_buf_create(hall->engine, SALLY_WS_TEXT, "to all", 6);
    assert_non_null(buf);
    sally_broadcast_options options = {.done = note_report};
    assert_int_equal(sally_group_send(group, buf, &options), 0);
    sally_buf_release(buf);
    hall_wait(hall, &reports, 1);
    assert_int_equal(atomic_load(&reached), 1);
    assert_int_equal(sally_ws_send_id(hall->engine, id, SALLY_WS_TEXT, "hello", 5), 0);
    hall_wait(hall, &hall->messages, 1); /* it is alive */
    assert_int_equal(atomic_load(&hall->closed), 0);
    sally_group_destroy(group);
    hall_end(hall);
}

/* ---- Filters ---- */

static int tear_in(void *state, sally_filter_io *io)
{
    (void)state;
    size_t len = io->len < io->room_bytes ? io->len : io->room_bytes;
    memcpy(io->room, io->input, len);
    io->used = io->made = len;
    return SALLY_FILTERED_ALL;
}

/* Fails when it is to pass a close frame on. */
static int tear_out(void *state, sally_filter_io *io)
{
    if (io->len && *(const unsigned char *)io->input == BYE) return SALLY_EINVAL;
    return tear_in(state, io);
}

static void close_at_once(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)type;
    (void)data;
    (void)len;
    check(conn, sally_conn_close(conn) == 0);
}

/* The close frame's own way out ends the connection while it begins to close. */
static void a_filter_may_fail_with_a_goodbye(void **state)
{
    static const sally_filter tear = {.name = "tear", .in = tear_in, .out = tear_out};
    (void)state;
    struct hall *hall = hall_begin(
        port, &(struct hall_options){.handler.on_message = close_at_once,
                                     .server.conn = {.filters = &tear, .filter_count = 1}});
    if (!hall) skip();
    struct peer peer = hall_visit(hall);
    say_frame(&peer, TEXT, "x", 1);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(hall_last(hall)->why, SALLY_CLOSE_FILTER);
    assert_int_equal(hall_last(hall)->code_sent, 0);
    peer_leave(&peer);
    hall_run(hall, 20);
    assert_int_equal(atomic_load(&hall->closed), 1);
    hall_end(hall);
}

/* ---- Answers that close ---- */

static char last_line[512];

static void keep_line(void *user, sally_log_level level, const char *line)
{
    (void)user;
    (void)level;
    snprintf(last_line, sizeof last_line, "%s", line);
}

/* A head that can't be read is answered, and it is that which ended the connection: not the answer,
 * which closes it, too. The program is told of neither; the log is. */
static void a_bad_head_stays_the_cause_of_the_end(void **state)
{
    static const sally_engine_options logging = {.log = keep_line, .log_level = SALLY_LOG_DEBUG};
    static const sally_ws_handler none;
    (void)state;
    sally_sim *sim;
    sally_engine *engine;
    sally_ws *ws;
    if (port != HALL_SIM) return; /* it has no more to do with one than with another */
    assert_int_equal(sally_sim_create(&sim, 7, NULL), 0);
    assert_int_equal(sally_sim_engine(sim, &logging, &engine), 0);
    assert_int_equal(sally_ws_create(engine, &none, NULL, &ws), 0);
    sally_handler base = sally_ws_base(ws);
    sally_framing framing = sally_ws_framing(ws);
    sally_server_options options = {.conn.framing = &framing};
    assert_int_equal(sally_listen(engine, "127.0.0.1:8080", &base, &options, NULL), 0);
    sally_sim_peer *peer = sally_sim_dial(sim, "127.0.0.1:8080");
    (void)sally_sim_run(sim, 10);
    (void)sally_sim_peer_write(peer, "GET /\r\n\r\n", 9);
    (void)sally_sim_run(sim, 100);
    assert_true(sally_sim_peer_bytes(peer) > 0);
    sally_sim_peer_close(peer);
    (void)sally_sim_run(sim, 1000);
    assert_non_null(strstr(last_line, "what is no message"));
    assert_int_equal(sally_engine_destroy(engine), 0);
    sally_sim_destroy(sim);
}

/* ---- Behind proxies ---- */

static sally_verdict send_off(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    (void)info;
    return SALLY_FAREWELL;
}

/* Who is sent off behind a proxy's header becomes a guest, which is no WebSocket: its memory is
 * given back as it was taken, which hall_end finds out. */
static void a_farewell_behind_a_proxy_leaves_no_memory(void **state)
{
    static const char header[] = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n";
    static const sally_proxy_options proxy = {.trusted = "0.0.0.0/0"};
    static const sally_admission admission = {.farewell = "full", .farewell_bytes = 4};
    (void)state;
    struct hall *hall = hall_begin(
        port, &(struct hall_options){.handler.on_accept = send_off,
                                     .server = {.proxy = &proxy, .admission = &admission}});
    if (!hall) skip();
    struct peer peer = hall_dial(hall);
    peer_say(&peer, header, sizeof header - 1);
    assert_end(&peer, "full", 4);
    peer_leave(&peer);
    for (int ms = 0; sally_server_conns(hall->server) && ms < HALL_LIMIT_MS; ms++)
        hall_run(hall, 1);
    hall_end(hall);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_queue_does_not_keep_a_close_from_being_gentle),
        cmocka_unit_test(a_goodbye_without_room_can_be_said_again),
        cmocka_unit_test(a_goodbye_may_drop_what_is_oldest),
        cmocka_unit_test(on_drain_tells_when_a_goodbye_has_room),
        cmocka_unit_test(a_goodbye_that_was_not_answered_is_not_said_to_be),
        cmocka_unit_test(a_handshake_is_never_dropped),
        cmocka_unit_test(a_cork_does_not_hold_a_goodbye),
        cmocka_unit_test(a_message_for_many_passes_over_our_own_clients),
        cmocka_unit_test(a_filter_may_fail_with_a_goodbye),
        cmocka_unit_test(a_bad_head_stays_the_cause_of_the_end),
        cmocka_unit_test(a_farewell_behind_a_proxy_leaves_no_memory),
    };
    static const char *const names[] = {"uring or iocp", "epoll", "sim"};
    int failed = 0;
    for (port = 0; port < HALL_PORTS; port++)
        failed += cmocka_run_group_tests_name(names[port], tests, NULL, NULL);
    return failed != 0;
}
