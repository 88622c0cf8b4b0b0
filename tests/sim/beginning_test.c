/* The beginning of a connection and what it receives, where features meet that were made apart:
 * filters and their handshakes, proxies before and behind us, WebSocket, reading on demand, limits
 * for bytes, pauses. Each test is a defect that only both together had. What all of them do
 * together, by the seed, is in mixture_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filter/ws_frame.h"
#include "net/conn.h"
#include "net/flow.h"
#include "net/server.h"
#include "sallyport/admission.h"
#include "sallyport/client.h"
#include "sallyport/filter.h"
#include "sallyport/proxy.h"
#include "sallyport/rate.h"
#include "sallyport/sim.h"
#include "sallyport/websocket.h"
#include "support/filter_shake.h"

#define SERVER "127.0.0.1:5002"
#define AWAY   "203.0.113.5:80"
#define HEADER "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"
#define UPGRADE                                                                                    \
    "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                   \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

static struct {
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    sally_conn *conn;
    sally_client *client;
    unsigned opened, closed, eofs, drains, messages;
    bool paused;
    uint64_t bytes, closed_ms;
    sally_close_info info;
    sally_ws_end end;
} seen;

/* ---- The world ---- */

static void begin(void)
{
    static uint64_t seed = 31;
    memset(&seen, 0, sizeof seen);
    assert_int_equal(sally_sim_create(&seen.sim, seed++, NULL), 0);
    assert_int_equal(sally_sim_engine(seen.sim, NULL, &seen.engine), 0);
}

static void end(void)
{
    assert_int_equal(sally_engine_destroy(seen.engine), 0);
    assert_int_equal(sally_sim_sockets(seen.sim), 0);
    assert_int_equal(sally_sim_memory_bytes(seen.sim), 0);
    sally_sim_destroy(seen.sim);
}

static void run(uint32_t ms) { assert_true(sally_sim_run(seen.sim, ms) >= 0); }

/* A peer's send buffer may be small. */
static void say(sally_sim_peer *peer, const void *data, size_t len)
{
    const char *bytes = data;
    for (unsigned rounds = 0; len; rounds++) {
        assert_true(rounds < 20000);
        size_t took = sally_sim_peer_write(peer, bytes, len);
        bytes += took;
        len -= took;
        if (len) run(1);
    }
}

static sally_sim_peer *serve(const sally_handler *handler, const sally_server_options *options)
{
    assert_int_equal(sally_listen(seen.engine, SERVER, handler, options, &seen.server), 0);
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
    assert_non_null(peer);
    run(50);
    return peer;
}

static size_t received(sally_sim_peer *peer)
{
    size_t len = 0;
    (void)sally_sim_peer_received(peer, &len);
    return len;
}

/* ---- What handlers note ---- */

static void on_open(sally_conn *conn)
{
    seen.opened++;
    seen.conn = conn;
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    (void)data;
    assert_false(seen.paused);
    seen.bytes += len;
}

static void on_drain(sally_conn *conn)
{
    (void)conn;
    seen.drains++;
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    seen.closed++;
    seen.info = *info;
    seen.closed_ms = sally_sim_now_ms(seen.sim);
}

/* ---- WebSockets ---- */

static void ws_on_close(sally_conn *conn, const sally_ws_end *how)
{
    seen.end = *how;
    on_close(conn, how->info);
}

static void ws_counts(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)conn;
    (void)type;
    (void)data;
    seen.messages++;
    seen.bytes += len;
}

static sally_sim_peer *serve_ws(const sally_ws_handler *handler, sally_server_options *options)
{
    sally_ws *ws;
    assert_int_equal(sally_ws_create(seen.engine, handler, NULL, &ws), 0);
    const sally_handler base = sally_ws_base(ws);
    const sally_framing framing = sally_ws_framing(ws);
    options->conn.framing = &framing;
    return serve(&base, options);
}

static void upgrade(sally_sim_peer *peer)
{
    say(peer, UPGRADE, sizeof UPGRADE - 1);
    run(100);
    assert_int_equal(seen.opened, 1);
    sally_sim_peer_consume(peer, received(peer));
}

/* One of a client's. */
static void say_frame(sally_sim_peer *peer, bool final, enum ws_opcode opcode, size_t len)
{
    static const unsigned char mask[WS_MASK_BYTES], payload[4000];
    unsigned char head[WS_HEAD_MAX];
    assert_true(len <= sizeof payload);
    say(peer, head, ws_head_write(head, final, opcode, len, mask));
    say(peer, payload, len);
}

static sally_verdict says_farewell(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    (void)info;
    return SALLY_FAREWELL;
}

/* A guest has another policy than the connection that it was, which had a WebSocket's part. */
static void who_is_sent_off_behind_a_proxy_was_no_websocket(void **state)
{
    (void)state;
    const sally_ws_handler handler = {.on_accept = says_farewell, .on_close = ws_on_close};
    sally_admission admission = {.farewell = "full\n", .farewell_bytes = 5};
    sally_proxy_options proxy = {.trusted = "0.0.0.0/0"};
    sally_server_options options = {.proxy = &proxy, .admission = &admission};
    begin();
    sally_sim_peer *peer = serve_ws(&handler, &options);
    say(peer, HEADER, sizeof HEADER - 1);
    run(100);
    assert_int_equal(received(peer), 5);
    sally_sim_peer_close(peer);
    run(100);
    assert_int_equal(seen.closed, 0);
    end();
}

/* A message in two frames of which the second takes longer to come by its limit than message_ms:
 * that we made it wait is not the peer's fault. */
static void a_limit_for_bytes_does_not_count_for_a_message_in_frames(void **state)
{
    (void)state;
    const sally_ws_handler handler = {
        .on_open = on_open, .on_message = ws_counts, .on_close = ws_on_close};
    const sally_rates rates = {.recv = {.bytes_s = 500, .burst_bytes = 500}};
    sally_server_options options = {.conn = {.rates = &rates, .message_ms = 1500}};
    begin();
    sally_sim_peer *peer = serve_ws(&handler, &options);
    upgrade(peer);
    for (unsigned i = 0; i < 8; i++) say_frame(peer, i == 7, i ? WS_CONTINUATION : WS_BINARY, 490);
    run(20000);
    assert_int_equal(seen.closed, 0);
    assert_int_equal(seen.messages, 1);
    assert_int_equal(seen.bytes, 8 * 490);
    end();
}

static void pauses_and_says_goodbye(sally_conn *conn, sally_ws_type type, const void *data,
                                    size_t len)
{
    ws_counts(conn, type, data, len);
    assert_int_equal(sally_conn_pause(conn), 0);
    assert_int_equal(sally_ws_close(conn, SALLY_WS_NORMAL, NULL), 0);
}

/* What it waits for can't come while nothing is read. */
static void a_paused_websocket_hears_the_goodbye_it_waits_for(void **state)
{
    (void)state;
    const sally_ws_handler handler = {
        .on_open = on_open, .on_message = pauses_and_says_goodbye, .on_close = ws_on_close};
    sally_server_options options = {.conn = {.linger_ms = 5000}};
    begin();
    sally_sim_peer *peer = serve_ws(&handler, &options);
    upgrade(peer);
    say_frame(peer, true, WS_BINARY, 10);
    run(100);
    say_frame(peer, true, WS_BINARY, 10); /* it is dropped */
    say_frame(peer, true, WS_CLOSE, 0);
    run(1000);
    assert_int_equal(seen.messages, 1);
    sally_sim_peer_finish(peer);
    run(1000);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.info.reason, SALLY_CLOSE_LOCAL);
    assert_int_equal(seen.end.code, SALLY_WS_NO_CODE);
    end();
}

static void says_much(sally_conn *conn, void *arg)
{
    static const unsigned char much[400000];
    (void)arg;
    assert_int_equal(sally_ws_send(conn, SALLY_WS_BINARY, much, sizeof much), 0);
}

static void says_goodbye(sally_conn *conn, void *arg)
{
    (void)arg;
    assert_int_equal(sally_ws_close(conn, SALLY_WS_NORMAL, NULL), 0);
}

/* What was collected of a message that nobody wants any more is no one's debt. */
static void a_goodbye_within_a_message_leaves_its_servers_account_right(void **state)
{
    (void)state;
    const sally_ws_handler handler = {
        .on_open = on_open, .on_message = ws_counts, .on_close = ws_on_close};
    sally_server_options options = {.memory_max = 4 << 20};
    begin();
    sally_sim_peer *peer = serve_ws(&handler, &options);
    upgrade(peer);
    sally_sim_peer_stop_reading(peer);
    say_frame(peer, false, WS_BINARY, 3000);
    run(100);
    assert_true(atomic_load(&seen.server->held) >= 3000);
    sally_id id = sally_conn_id(seen.conn);
    assert_int_equal(sally_post(seen.engine, id, says_much, NULL), 0);
    run(1000); /* the system takes no more of it: the goodbye waits behind */
    assert_int_equal(sally_post(seen.engine, id, says_goodbye, NULL), 0);
    for (unsigned ms = 0; ms < 20; ms++) {
        run(1);
        assert_int_equal(atomic_load(&seen.server->held), conn_holds(seen.conn));
    }
    sally_sim_peer_reset(peer);
    run(100);
    end();
}

/* ---- Limits for bytes that are shared ---- */

/* The first piece takes all that there is, and more of it came: that waits in line like others. */
static void what_a_shared_limit_leaves_of_a_piece_comes_by_itself(void **state)
{
    (void)state;
    static const unsigned char bytes[4000];
    const sally_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    for (unsigned world = 0; world < 20; world++) { /* segments are small in many */
        begin();
        sally_rate slow = {.bytes_s = 1000, .burst_bytes = 1000};
        sally_rates rates = {.shared = NULL};
        assert_int_equal(sally_bandwidth_create(&rates.shared, seen.engine, slow, (sally_rate){0}),
                         0);
        sally_sim_peer *peer = serve(&handler, &(sally_server_options){.conn = {.rates = &rates}});
        say(peer, bytes, sizeof bytes);
        run(10000);
        assert_int_equal(seen.bytes, sizeof bytes);
        end();
    }
}

/* ---- Filters: the end ---- */

/* Keeps everything back until the end. */
struct late {
    unsigned char bytes[64];
    size_t count, given;
};

static int late_in(void *state, sally_filter_io *io)
{
    struct late *late = state;
    while (IO_LEFT(io) && late->count < sizeof late->bytes)
        late->bytes[late->count++] = io_next(io);
    if (!io->finish) return SALLY_FILTERED_ALL;
    while (late->given < late->count && IO_ROOM(io)) io_make(io, late->bytes[late->given++]);
    return late->given < late->count ? SALLY_FILTERED_MORE : SALLY_FILTERED_ALL;
}

static const sally_filter late_filter = {
    .name = "late", .state_bytes = sizeof(struct late), .in = late_in, .out = pass_on};

static void pauses_on_data(sally_conn *conn, const void *data, size_t len)
{
    on_data(conn, data, len);
    assert_int_equal(sally_conn_pause(conn), 0);
    assert_int_equal(sally_conn_timer(conn, 300), 0);
    seen.paused = true;
}

static void resumes(sally_conn *conn)
{
    seen.paused = false;
    assert_int_equal(sally_conn_resume(conn), 0);
}

static void eof_not_paused(sally_conn *conn)
{
    assert_false(seen.paused);
    seen.eofs++;
    assert_int_equal(sally_conn_close(conn), 0);
}

/* The last bytes are made of the end, and who gets them pauses. */
static void the_end_is_not_told_to_who_pauses_at_the_last_bytes(void **state)
{
    (void)state;
    const sally_handler handler = {.on_open = on_open,
                                   .on_data = pauses_on_data,
                                   .on_timer = resumes,
                                   .on_eof = eof_not_paused,
                                   .on_close = on_close};
    begin();
    sally_sim_peer *peer = serve(
        &handler, &(sally_server_options){.conn = {.filters = &late_filter, .filter_count = 1}});
    say(peer, "hello", 5);
    sally_sim_peer_finish(peer);
    run(200);
    assert_int_equal(seen.bytes, 5);
    assert_int_equal(seen.eofs, 0);
    run(1000);
    assert_int_equal(seen.eofs, 1);
    assert_int_equal(seen.closed, 1);
    end();
}

/* ---- Filters: the handshake ---- */

enum { SLOW_SHAKE = 3000 };

struct slow_shake {
    unsigned heard;
};

/* A byte a call: many calls of one handshake. */
static int slow_in(void *state, sally_filter_io *io)
{
    struct slow_shake *shake = state;
    if (shake->heard == SLOW_SHAKE) return pass_on(NULL, io);
    if (!IO_LEFT(io)) return io->finish ? SALLY_EMALFORMED : SALLY_FILTERED_ALL;
    (void)io_next(io);
    shake->heard++;
    return SALLY_FILTERED_ALL;
}

static bool slow_ready(const void *state)
{
    return ((const struct slow_shake *)state)->heard == SLOW_SHAKE;
}

static const sally_filter slow_filter = {.name = "slow",
                                         .state_bytes = sizeof(struct slow_shake),
                                         .ready = slow_ready,
                                         .in = slow_in,
                                         .out = pass_on};

static void wants_four(sally_conn *conn)
{
    on_open(conn);
    assert_int_equal(sally_conn_want(conn, 4), 0);
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    assert_int_equal(len, 4);
    assert_memory_equal(data, "four", 4);
    seen.messages++;
}

/* More calls than a turn has: it goes on in the next, though nobody has asked for a message yet. */
static void a_long_handshake_needs_nobody_to_ask_for_a_message(void **state)
{
    (void)state;
    static const unsigned char shake[SLOW_SHAKE];
    const sally_handler handler = {
        .on_open = wants_four, .on_message = on_message, .on_close = on_close};
    const sally_framing demand = {.kind = SALLY_FRAMING_ON_DEMAND, .message_bytes_max = 100};
    const sally_server_options options = {
        .conn = {.filters = &slow_filter, .filter_count = 1, .framing = &demand}};
    for (unsigned world = 0; world < 20; world++) { /* segments are small in many */
        begin();
        sally_sim_peer *peer = serve(&handler, &options);
        say(peer, shake, sizeof shake);
        say(peer, "four", 4);
        run(5000);
        assert_int_equal(seen.opened, 1);
        assert_int_equal(seen.messages, 1);
        end();
    }
}

static sally_sim_listener *far_door(void)
{
    sally_sim_listener *door = sally_sim_listen(seen.sim, AWAY, 0);
    assert_non_null(door);
    return door;
}

static sally_sim_peer *far_end(sally_sim_listener *door)
{
    run(100);
    sally_sim_peer *peer = sally_sim_listener_accept(door);
    assert_non_null(peer);
    run(100);
    return peer;
}

/* What the filters say goes out while its account is full, and brings it below its low mark. */
static void a_sender_by_id_refused_in_a_handshake_is_told_when_it_is_open(void **state)
{
    (void)state;
    static const unsigned char bytes[600];
    const sally_handler handler = {
        .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_close = on_close};
    const sally_filter shake = filter_shake();
    sally_connect_options options = {
        .conn = {
            .filters = &shake, .filter_count = 1, .send_bytes_max = 1000, .send_high_bytes = 1000}};
    sally_id id;
    begin();
    sally_sim_listener *door = far_door();
    assert_int_equal(sally_connect(seen.engine, AWAY, &handler, &options, &id), 0);
    assert_int_equal(sally_send(seen.engine, id, bytes, sizeof bytes), 0);
    assert_int_equal(sally_send(seen.engine, id, bytes, sizeof bytes), SALLY_EFULL);
    sally_sim_peer *peer = far_end(door);
    assert_int_equal(received(peer), sizeof SHAKE_HELLO - 1);
    assert_int_equal(seen.opened, 0);
    say(peer, SHAKE_WELCOME, sizeof SHAKE_WELCOME - 1);
    run(1000);
    assert_int_equal(seen.opened, 1);
    assert_int_equal(seen.drains, 1);
    end();
}

static int stops_in(void *state, sally_filter_io *io)
{
    int result = shake_in(state, io);
    if (shake_ready(state)) assert_int_equal(sally_client_stop(seen.client), 0);
    return result;
}

/* An attempt under way is given up, also when its handshake ends before its shard hears of that. */
static void a_client_that_was_stopped_in_a_handshake_never_opens(void **state)
{
    (void)state;
    const sally_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    sally_filter shake = filter_shake();
    shake.in = stops_in;
    const sally_client_options options = {.connect.conn = {.filters = &shake, .filter_count = 1}};
    begin();
    sally_sim_listener *door = far_door();
    assert_int_equal(sally_client_create(seen.engine, AWAY, &handler, &options, &seen.client), 0);
    say(far_end(door), SHAKE_WELCOME, sizeof SHAKE_WELCOME - 1);
    run(1000);
    assert_int_equal(seen.opened, 0);
    assert_int_equal(sally_client_get_state(seen.client), SALLY_CLIENT_ENDED);
    assert_int_equal(sally_client_destroy(seen.client), 0);
    end();
}

/* ---- Filters: who never opened is counted ---- */

static void check_refused(sally_refusal why)
{
    sally_server_stats server;
    sally_admission_stats admission;
    sally_engine_stats engine;
    assert_int_equal(sally_server_get_stats(seen.server, &server), 0);
    assert_int_equal(sally_server_admission_stats(seen.server, &admission), 0);
    assert_int_equal(sally_engine_get_stats(seen.engine, &engine), 0);
    assert_int_equal(server.accepted, 1);
    assert_int_equal(server.refused, 1);
    assert_int_equal(admission.refused_for[why], 1);
    assert_int_equal(engine.refused, 1);
    assert_int_equal(engine.closed, 0);
    assert_int_equal(seen.opened + seen.closed, 0);
}

static sally_sim_peer *serve_shaking(uint64_t first_byte_ms)
{
    const sally_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    const sally_filter shake = filter_shake();
    const sally_server_options options = {
        .conn = {.filters = &shake, .filter_count = 1, .first_byte_ms = (uint32_t)first_byte_ms}};
    return serve(&handler, &options);
}

static void a_handshake_that_a_drain_cuts_is_counted(void **state)
{
    (void)state;
    begin();
    sally_sim_peer *peer = serve_shaking(5000);
    say(peer, "hel", 3);
    run(100);
    assert_int_equal(sally_engine_drain(seen.engine, 1000), 0);
    run(3000);
    check_refused(SALLY_REFUSED_CLOSING);
    end();
}

static void a_handshake_that_its_peer_resets_is_counted_once(void **state)
{
    (void)state;
    begin();
    sally_sim_peer *peer = serve_shaking(5000);
    say(peer, "hel", 3);
    run(100);
    sally_sim_peer_reset(peer);
    run(100);
    check_refused(SALLY_REFUSED_HANDSHAKE);
    end();
}

static void a_handshake_that_is_late_is_counted_once(void **state)
{
    (void)state;
    begin();
    (void)serve_shaking(500);
    run(2000);
    check_refused(SALLY_REFUSED_HANDSHAKE);
    end();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_sent_off_behind_a_proxy_was_no_websocket),
        cmocka_unit_test(a_limit_for_bytes_does_not_count_for_a_message_in_frames),
        cmocka_unit_test(a_paused_websocket_hears_the_goodbye_it_waits_for),
        cmocka_unit_test(a_goodbye_within_a_message_leaves_its_servers_account_right),
        cmocka_unit_test(what_a_shared_limit_leaves_of_a_piece_comes_by_itself),
        cmocka_unit_test(the_end_is_not_told_to_who_pauses_at_the_last_bytes),
        cmocka_unit_test(a_long_handshake_needs_nobody_to_ask_for_a_message),
        cmocka_unit_test(a_sender_by_id_refused_in_a_handshake_is_told_when_it_is_open),
        cmocka_unit_test(a_client_that_was_stopped_in_a_handshake_never_opens),
        cmocka_unit_test(a_handshake_that_a_drain_cuts_is_counted),
        cmocka_unit_test(a_handshake_that_its_peer_resets_is_counted_once),
        cmocka_unit_test(a_handshake_that_is_late_is_counted_once),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("sim/beginning", tests, NULL, NULL);
}
