/* WebSockets with everything else that sends, in worlds drawn by seeds: full queues of each policy,
 * corks, filters, rates, messages for many, heartbeats, goodbyes from both sides, drains. Whatever
 * happens a peer hears an answer, then whole frames, and after a close frame nothing; what on_close
 * tells of goodbyes is what was heard. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter/ws_frame.h"
#include "sallyport/flow.h"
#include "sallyport/group.h"
#include "sallyport/rate.h"
#include "sallyport/sim.h"
#include "sallyport/websocket.h"
#include "support/filters.h"
#include "support/long.h"
#include "support/lot.h"

#define ADDRESS "127.0.0.1:8080"
#define ASKS                                                                                       \
    "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                 \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

enum { SEEDS = 600, MORE = 10, PEERS = 4, STEPS = 120, KEPT_MAX = 1 << 20, FRAME_MAX = 3000 };

struct peer {
    sally_sim_peer *sim;
    char address[64];
    struct xor_state in, out;
    unsigned char *kept; /* heard, and not understood yet */
    size_t len;
    bool answered, goodbye;
    unsigned code;   /* of the close frame heard */
    unsigned frames; /* heard */
    bool said_bye;   /* a close frame */
    bool cut;        /* it has gone its own way: what it hears is no proof */
    unsigned opens, closes, code_sent;
    uint64_t unsent, notes, noted;
    sally_close_reason why;
};

static struct {
    struct lot lot;
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    sally_ws *ws;
    bool filtered;
    struct peer peers[PEERS];
    unsigned char key;
    uint64_t goodbyes, heard;
} world;

static uint32_t draw(uint32_t below) { return lot_below(&world.lot, below); }

/* ---- The program ---- */

static void note_sent(sally_conn *conn, void *arg, bool sent)
{
    (void)conn;
    (void)sent;
    ((struct peer *)arg)->noted++;
}

static void send_one(sally_conn *conn)
{
    static const char text[FRAME_MAX] = {'x'};
    int err = sally_ws_send(conn, SALLY_WS_BINARY, text, draw(4) ? draw(200) : draw(FRAME_MAX));
    assert_true(err == 0 || err == SALLY_EFULL || err == SALLY_ECLOSED);
}

static void send_many(void)
{
    sally_buf *buf = sally_ws_buf_create(world.engine, SALLY_WS_TEXT, "to all", 6);
    sally_broadcast_options options = {.slow = draw(4) ? SALLY_SLOW_SKIP : SALLY_SLOW_CLOSE};
    assert_non_null(buf);
    (void)sally_broadcast(world.server, buf, &options);
    sally_buf_release(buf);
}

static void act(sally_conn *conn)
{
    struct peer *peer = sally_conn_user(conn);
    switch (draw(20)) {
    case 0:
        for (unsigned n = draw(20); n; n--) send_one(conn);
        return;
    case 1: (void)sally_conn_cork(conn); return;
    case 2:
    case 3: (void)sally_conn_uncork(conn); return;
    case 4: (void)sally_ws_ping(conn, "?", draw(2)); return;
    case 5:
        if (sally_conn_when_sent(conn, note_sent, peer) == 0) peer->notes++;
        return;
    case 6:
        (void)sally_conn_pause(conn);
        (void)sally_conn_timer(conn, 1 + draw(50));
        return;
    case 7: send_many(); return;
    case 8:
        (void)sally_ws_send_id(world.engine, sally_conn_id(conn), SALLY_WS_TEXT, "i", 1);
        return;
    case 9:
        if (!draw(4)) (void)sally_ws_close(conn, 3000 + draw(10), draw(2) ? "enough" : NULL);
        return;
    case 10:
        if (!draw(8)) (void)sally_conn_close(conn);
        return;
    case 11:
        if (!draw(20)) (void)sally_conn_abort(conn);
        return;
    default: send_one(conn);
    }
}

static void on_open(sally_conn *conn)
{
    char address[64];
    sally_conn_peer(conn, address, sizeof address);
    for (int i = 0; i < PEERS; i++)
        if (!strcmp(world.peers[i].address, address)) sally_conn_set_user(conn, &world.peers[i]);
    ((struct peer *)sally_conn_user(conn))->opens++;
    for (unsigned n = draw(2) ? draw(30) : 0; n; n--) act(conn);
}

static void on_message(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)type;
    (void)data;
    (void)len;
    for (unsigned n = draw(6); n; n--) act(conn);
}

static void on_timer(sally_conn *conn)
{
    (void)sally_conn_resume(conn);
    act(conn);
}

static void on_close(sally_conn *conn, const sally_ws_end *end)
{
    struct peer *peer = sally_conn_user(conn);
    assert_true(end->opened && peer);
    peer->closes++;
    peer->code_sent = end->code_sent;
    peer->unsent = end->info->bytes_unsent;
    peer->why = end->info->reason;
}

/* ---- The peers ---- */

/* Any bytes, through the filter's other side; all of them or none. */
static void peer_say(struct peer *peer, const void *data, size_t len)
{
    unsigned char bytes[512] = {0};
    struct xor_state before = peer->out;
    sally_filter_io io = {.input = data, .len = len, .room = bytes, .room_bytes = sizeof bytes};
    assert_true(len <= sizeof bytes);
    (void)(world.filtered ? xor_out(&peer->out, &io) : pass_on(NULL, &io));
    size_t said = sally_sim_peer_write(peer->sim, bytes, len);
    if (said == 0) peer->out = before;
    if (said && said < len) { /* half a frame: it is of no use any more */
        sally_sim_peer_reset(peer->sim);
        peer->cut = true;
    }
}

static void peer_say_frame(struct peer *peer, enum ws_opcode opcode, const void *data, size_t len)
{
    static const unsigned char mask[WS_MASK_BYTES] = {1, 2, 3, 4};
    unsigned char frame[256];
    size_t head = ws_head_write(frame, true, opcode, len, mask);
    assert_true(head + len <= sizeof frame);
    ws_mask(frame + head, data, len, mask);
    peer_say(peer, frame, head + len);
}

/* A whole frame is there: how many bytes; 0: not yet. */
static size_t peer_frame(struct peer *peer)
{
    struct ws_head head;
    struct ws_close bye;
    enum ws_answer answer = ws_head_read(&head, peer->kept, peer->len, false);
    assert_int_not_equal(answer, WS_BAD);
    if (answer == WS_MORE || peer->len - head.head_bytes < head.payload_bytes) return 0;
    assert_false(peer->goodbye); /* nothing may follow it */
    peer->frames++;
    world.heard++;
    if (head.opcode == WS_CLOSE) {
        assert_int_equal(
            ws_close_read(&bye, peer->kept + head.head_bytes, (size_t)head.payload_bytes), 0);
        peer->goodbye = true;
        peer->code = bye.code;
        world.goodbyes++;
    }
    return head.head_bytes + (size_t)head.payload_bytes;
}

static size_t peer_answer(struct peer *peer)
{
    size_t head = sally_http_head_bytes(peer->kept, peer->len);
    if (!head) return 0;
    assert_memory_equal(peer->kept, "HTTP/1.1 101 ", 13);
    peer->answered = true;
    return head;
}

static void peer_hear(struct peer *peer)
{
    size_t len;
    const void *data = sally_sim_peer_received(peer->sim, &len);
    sally_filter_io io = {.input = data,
                          .len = len,
                          .room = peer->kept + peer->len,
                          .room_bytes = KEPT_MAX - peer->len};
    if (!len) return;
    assert_true(len <= KEPT_MAX - peer->len);
    (void)(world.filtered ? xor_in(&peer->in, &io) : pass_on(NULL, &io));
    sally_sim_peer_consume(peer->sim, len);
    peer->len += len;
    for (size_t used; peer->len; peer->len -= used) {
        used = peer->answered ? peer_frame(peer) : peer_answer(peer);
        if (!used) return;
        memmove(peer->kept, peer->kept + used, peer->len - used);
    }
}

static void peer_act(struct peer *peer)
{
    if (sally_sim_peer_get_state(peer->sim) != SALLY_SIM_OPEN) return;
    switch (draw(12)) {
    case 0: sally_sim_peer_stop_reading(peer->sim); return;
    case 1:
    case 2: sally_sim_peer_read(peer->sim); return;
    case 3: peer_say_frame(peer, WS_PING, "ping", draw(5)); return;
    case 4:
        if (!draw(6)) {
            peer_say_frame(peer, WS_CLOSE, "\x03\xe8", 2);
            peer->said_bye = true;
        }
        return;
    case 5:
        if (draw(15)) return;
        sally_sim_peer_finish(peer->sim);
        peer->said_bye = true;
        return;
    case 6:
        if (draw(30)) return;
        sally_sim_peer_reset(peer->sim);
        peer->cut = true;
        return;
    default: break;
    }
    if (!peer->said_bye) peer_say_frame(peer, WS_TEXT, "some text", draw(10));
}

/* ---- A world ---- */

static sally_server_options draw_options(const sally_filter *filter, const sally_rates *rates)
{
    sally_server_options options = {.conn = {.at_full = draw(SALLY_FULL_CLOSE + 1),
                                             .send_bytes_max = 4096 + draw(8000),
                                             .no_auto_pause = draw(2),
                                             .linger_ms = 100 + draw(2000),
                                             .send_buf_bytes = 2048,
                                             .limits.heartbeat_ms = draw(2) ? 20 + draw(100) : 0,
                                             .limits.max_age_ms = draw(4) ? 0 : 500 + draw(1000)}};
    world.filtered = draw(2) && options.conn.at_full != SALLY_FULL_DROP_OLDEST;
    if (world.filtered) {
        options.conn.filters = filter;
        options.conn.filter_count = 1;
    }
    if (!draw(3)) options.conn.rates = rates;
    return options;
}

static void begin(uint64_t seed)
{
    const sally_ws_handler handler = {
        .on_open = on_open, .on_message = on_message, .on_timer = on_timer, .on_close = on_close};
    memset(&world.peers, 0, sizeof world.peers);
    world.lot.state = seed;
    world.key = 0x33;
    const sally_filter filter = filter_xor(&world.key);
    const sally_rates rates = {.send = {.bytes_s = 20000 + draw(100000)}};
    sally_server_options options = draw_options(&filter, &rates);
    assert_int_equal(sally_sim_create(&world.sim, seed, NULL), 0);
    assert_int_equal(sally_sim_engine(world.sim, NULL, &world.engine), 0);
    assert_int_equal(sally_ws_create(world.engine, &handler, NULL, &world.ws), 0);
    sally_handler base = sally_ws_base(world.ws);
    sally_framing framing = sally_ws_framing(world.ws);
    options.conn.framing = &framing;
    assert_int_equal(sally_listen(world.engine, ADDRESS, &base, &options, &world.server), 0);
    for (int i = 0; i < PEERS; i++) {
        struct peer *peer = &world.peers[i];
        peer->in.key = peer->out.key = world.key;
        assert_non_null(peer->kept = malloc(KEPT_MAX));
        assert_non_null(peer->sim = sally_sim_dial(world.sim, ADDRESS));
    }
    (void)sally_sim_run(world.sim, 100);
    for (int i = 0; i < PEERS; i++) {
        struct peer *peer = &world.peers[i];
        sally_sim_peer_address(peer->sim, peer->address, sizeof peer->address);
        peer_say(peer, ASKS, sizeof ASKS - 1);
    }
}

static void check_peer(const struct peer *peer)
{
    assert_int_equal(peer->closes, peer->opens);
    assert_int_equal(peer->notes, peer->noted);
    if (!peer->opens) return;
    if (peer->goodbye) assert_int_equal(peer->code, peer->code_sent);
    bool all = !peer->unsent && !peer->cut && sally_sim_peer_finished(peer->sim);
    if (!all) return;
    assert_true(peer->answered);
    assert_int_equal(peer->len, 0); /* no part of a frame is left */
    assert_int_equal(peer->goodbye, peer->code_sent != 0);
}

static void end(void)
{
    for (int i = 0; i < PEERS; i++) sally_sim_peer_read(world.peers[i].sim);
    assert_int_equal(sally_engine_drain(world.engine, draw(4) ? 60000 : 20), 0);
    for (int step = 0; step < 100; step++) {
        (void)sally_sim_run(world.sim, 1000);
        for (int i = 0; i < PEERS; i++) peer_hear(&world.peers[i]);
        for (int i = 0; i < PEERS; i++)
            if (sally_sim_peer_get_state(world.peers[i].sim) == SALLY_SIM_FINISHED)
                sally_sim_peer_finish(world.peers[i].sim);
    }
    for (int i = 0; i < PEERS; i++) check_peer(&world.peers[i]);
    assert_int_equal(sally_engine_destroy(world.engine), 0);
    for (int i = 0; i < PEERS; i++) free(world.peers[i].kept);
    sally_sim_destroy(world.sim);
}

static void run(uint64_t seed)
{
    begin(seed);
    for (int step = 0; step < STEPS; step++) {
        (void)sally_sim_run(world.sim, 1 + draw(20));
        if (draw(10) == 0) send_many();
        for (int i = 0; i < PEERS; i++) {
            peer_hear(&world.peers[i]);
            if (world.peers[i].answered) peer_act(&world.peers[i]);
        }
    }
    end();
}

static void peers_hear_whole_frames_and_true_goodbyes(void **state)
{
    (void)state;
    seeds_run(SEEDS, MORE, run);
    printf("%llu frames heard, %llu goodbyes\n", (unsigned long long)world.heard,
           (unsigned long long)world.goodbyes);
    assert_true(getenv("SALLY_SEED") || (world.heard > SEEDS * 10 && world.goodbyes > SEEDS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(peers_hear_whole_frames_and_true_goodbyes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
