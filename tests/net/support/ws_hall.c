/* See ws_hall.h. */
#include "net/support/ws_hall.h"

#include <unistd.h>

#include "filter/ws_frame.h"
#include "net/support/raw.h"

#define SIM_SERVER "127.0.0.1:8080"

const char hall_upgrade[] = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
                            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

static struct hall *now;

/* ---- Callbacks ---- */

struct hall *hall_of(const sally_conn *conn) { return sally_conn_user(conn); }

static sally_ws_handler given;

static void on_open(sally_conn *conn)
{
    struct hall *hall = hall_of(conn);
    atomic_store(&hall->id, sally_conn_id(conn));
    if (given.on_open) given.on_open(conn);
    atomic_fetch_add(&hall->opened, 1);
}

static void on_message(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    struct hall *hall = hall_of(conn);
    if (given.on_message)
        given.on_message(conn, type, data, len);
    else if (sally_ws_send(conn, type, data, len))
        atomic_fetch_add(&hall->wrongs, 1);
    atomic_fetch_add(&hall->messages, 1);
}

static void on_close(sally_conn *conn, const sally_ws_end *end)
{
    struct hall *hall = hall_of(conn);
    struct hall_end *to = &hall->ends[atomic_load(&hall->closed) % HALL_ENDS_MAX];
    size_t len = end->reason_len < HALL_REASON_MAX ? end->reason_len : HALL_REASON_MAX - 1;
    to->opened = end->opened;
    to->code = end->code;
    to->code_sent = end->code_sent;
    to->why = end->info->reason;
    to->info = *end->info;
    if (hall->sim) to->closed_ms = sally_sim_now_ms(hall->sim);
    if (len) memcpy(to->reason, end->reason, len);
    to->reason[len] = '\0';
    if (given.on_close) given.on_close(conn, end);
    atomic_fetch_add(&hall->closed, 1);
}

sally_ws_handler hall_handler(const sally_ws_handler *handler)
{
    given = *handler;
    sally_ws_handler whole = *handler;
    whole.user = now;
    whole.on_open = on_open;
    whole.on_message = on_message;
    whole.on_close = on_close;
    return whole;
}

/* ---- Memory, counted where the simulator doesn't ---- */

static void *hall_alloc(void *user, size_t bytes)
{
    struct hall *hall = user;
    void *block = malloc(bytes);
    if (!block) return NULL;
    uint64_t sum = atomic_fetch_add(&hall->memory, bytes) + bytes;
    uint64_t high = atomic_load(&hall->memory_high);
    while (sum > high && !atomic_compare_exchange_weak(&hall->memory_high, &high, sum)) continue;
    return block;
}

static void hall_free(void *user, void *block, size_t bytes)
{
    struct hall *hall = user;
    atomic_fetch_sub(&hall->memory, bytes);
    free(block);
}

/* ---- Begin and end ---- */

static int make_engine(struct hall *hall)
{
    sally_engine_options options = {.shards = 1, .log_level = SALLY_LOG_ERROR};
    if (hall->port == HALL_SIM) {
        assert_int_equal(sally_sim_create(&hall->sim, 7, NULL), 0);
        return sally_sim_engine(hall->sim, NULL, &hall->engine);
    }
    options.port = hall->port == HALL_URING ? SALLY_PORT_URING : SALLY_PORT_EPOLL;
    options.allocator = (sally_allocator){hall_alloc, hall_free, hall};
    int err = sally_engine_create(&hall->engine, &options);
    if (err != SALLY_ENOPORT || hall->port != HALL_URING) return err;
    options.port = SALLY_PORT_IOCP; /* the system's own, on Windows */
    return sally_engine_create(&hall->engine, &options);
}

struct hall *hall_begin(enum hall_port port, const struct hall_options *options)
{
    struct hall *hall = calloc(1, sizeof *hall);
    assert_non_null(hall);
    hall->port = port;
    int err = make_engine(hall);
    if (err == SALLY_ENOPORT) {
        printf("this port can't be used here\n");
        free(hall);
        return NULL;
    }
    assert_int_equal(err, 0);
    now = hall;
    sally_ws_handler handler = hall_handler(&options->handler);
    assert_int_equal(sally_ws_create(hall->engine, &handler, &options->ws, &hall->ws), 0);
    sally_handler base = sally_ws_base(hall->ws);
    sally_framing framing = sally_ws_framing(hall->ws);
    sally_server_options server = options->server;
    server.conn.framing = &framing;
    const char *address = port == HALL_SIM ? SIM_SERVER : "127.0.0.1:0";
    if (!options->no_server)
        assert_int_equal(sally_listen(hall->engine, address, &base, &server, &hall->server), 0);
    if (port != HALL_SIM) assert_int_equal(sally_engine_start(hall->engine), 0);
    if (hall->server) sally_server_address(hall->server, 0, hall->address, sizeof hall->address);
    return hall;
}

void hall_end(struct hall *hall)
{
    assert_int_equal(sally_engine_destroy(hall->engine), 0);
    assert_int_equal(atomic_load(&hall->wrongs), 0);
    assert_int_equal(atomic_load(&hall->memory), 0);
    sally_sim_destroy(hall->sim); /* which finds what is left */
    if (hall->listener > 0) raw_close(hall->listener);
    free(hall);
}

const struct hall_end *hall_last(struct hall *hall)
{
    unsigned closed = atomic_load(&hall->closed);
    assert_true(closed > 0);
    return &hall->ends[(closed - 1) % HALL_ENDS_MAX];
}

void hall_run(struct hall *hall, uint32_t ms)
{
    if (hall->sim)
        (void)sally_sim_run(hall->sim, ms);
    else
        usleep(ms * 1000);
}

void hall_wait(struct hall *hall, atomic_uint *number, unsigned least)
{
    for (uint32_t ms = 0; atomic_load(number) < least; ms++) {
        if (ms == HALL_LIMIT_MS) fail_msg("not in time");
        hall_run(hall, 1);
    }
}

/* ---- Peers ---- */

struct peer hall_dial(struct hall *hall)
{
    struct peer peer = {.hall = hall, .fd = -1};
    if (hall->sim)
        peer.sim = sally_sim_dial(hall->sim, SIM_SERVER);
    else
        peer.fd = raw_connect(hall->address, 0);
    assert_true(peer.sim || peer.fd >= 0);
    return peer;
}

size_t peer_say_some(struct peer *peer, const void *data, size_t len)
{
    if (!peer->sim) return raw_send_some(peer->fd, data, len, 50);
    size_t said = sally_sim_peer_write(peer->sim, data, len);
    hall_run(peer->hall, 5);
    return said;
}

void peer_say(struct peer *peer, const void *data, size_t len)
{
    const unsigned char *bytes = data;
    if (!peer->sim) {
        (void)raw_send(peer->fd, data, len); /* a peer that is refused may not take all of it */
        return;
    }
    for (uint32_t ms = 0; ms < HALL_LIMIT_MS; ms++) {
        size_t said = sally_sim_peer_write(peer->sim, bytes, len);
        bytes += said;
        len -= said;
        sally_sim_peer_state state = sally_sim_peer_get_state(peer->sim);
        if (!len || (state != SALLY_SIM_OPEN && state != SALLY_SIM_CONNECTING)) return;
        hall_run(peer->hall, 1);
    }
    fail_msg("the peer's bytes were not taken in time");
}

void hall_listen(struct hall *hall)
{
    if (hall->sim) {
        hall->sim_listener = sally_sim_listen(hall->sim, "127.0.0.1:9090", 0);
        snprintf(hall->address, sizeof hall->address, "127.0.0.1:9090");
    } else {
        hall->listener = raw_listen(hall->address, sizeof hall->address, 16);
    }
    assert_true(hall->sim_listener || hall->listener > 0);
}

struct peer hall_accept(struct hall *hall)
{
    struct peer peer = {.hall = hall, .fd = -1};
    if (!hall->sim) peer.fd = raw_accept(hall->listener);
    for (uint32_t ms = 0; hall->sim && !peer.sim && ms < HALL_LIMIT_MS; ms++) {
        hall_run(hall, 1);
        peer.sim = sally_sim_listener_accept(hall->sim_listener);
    }
    assert_true(peer.sim || peer.fd >= 0);
    return peer;
}

static bool sim_is_over(const struct peer *peer)
{
    sally_sim_peer_state state = sally_sim_peer_get_state(peer->sim);
    return state != SALLY_SIM_OPEN && state != SALLY_SIM_CONNECTING;
}

static size_t sim_hear(struct peer *peer, unsigned char *data, size_t len)
{
    size_t heard = 0;
    for (uint32_t ms = 0; heard < len; ms++) {
        size_t there;
        const void *received = sally_sim_peer_received(peer->sim, &there);
        if (there > len - heard) there = len - heard;
        memcpy(data + heard, received, there);
        sally_sim_peer_consume(peer->sim, there);
        heard += there;
        if (!there && sim_is_over(peer)) break;
        if (ms == HALL_LIMIT_MS) fail_msg("not heard in time");
        if (heard < len) hall_run(peer->hall, 1);
    }
    return heard;
}

bool peer_hear(struct peer *peer, void *data, size_t len)
{
    return peer->sim ? sim_hear(peer, data, len) == len : raw_read(peer->fd, data, len);
}

size_t peer_hear_end(struct peer *peer, void *data, size_t room)
{
    unsigned char *bytes = data;
    if (peer->sim) return sim_hear(peer, data, room);
    size_t heard = 0;
    for (long got = 1; got > 0 && heard<room; heard += got> 0 ? (size_t)got : 0)
        got = raw_read_some(peer->fd, bytes + heard, room - heard);
    return heard;
}

void peer_stop_reading(struct peer *peer)
{
    if (peer->sim) sally_sim_peer_stop_reading(peer->sim);
}

void peer_finish(struct peer *peer)
{
    if (peer->sim)
        sally_sim_peer_finish(peer->sim);
    else
        raw_finish(peer->fd);
}

void peer_leave(struct peer *peer)
{
    if (peer->sim)
        sally_sim_peer_close(peer->sim);
    else
        raw_close(peer->fd);
}

struct peer hall_visit(struct hall *hall)
{
    char answer[HALL_SWITCH_BYTES];
    struct peer peer = hall_dial(hall);
    peer_say(&peer, hall_upgrade, strlen(hall_upgrade));
    assert_true(peer_hear(&peer, answer, sizeof answer));
    assert_memory_equal(answer, "HTTP/1.1 101 ", 13);
    assert_memory_equal(answer + sizeof answer - 4, "\r\n\r\n", 4);
    return peer;
}

/* ---- Frames ---- */

size_t frame_put(unsigned char *to, unsigned first, const void *data, size_t len)
{
    static const unsigned char mask[WS_MASK_BYTES] = {0xa1, 0x02, 0xf3, 0x44};
    size_t head = ws_head_write(to, false, WS_CONTINUATION, len, mask);
    to[0] = (unsigned char)first;
    ws_mask(to + head, data, len, mask);
    return head + len;
}

size_t frame_put_bare(unsigned char *to, unsigned first, const void *data, size_t len)
{
    size_t head = ws_head_write(to, false, WS_CONTINUATION, len, NULL);
    to[0] = (unsigned char)first;
    if (len) memcpy(to + head, data, len);
    return head + len;
}

void assert_end(struct peer *peer, const char *wanted, size_t len)
{
    char heard[256];
    assert_int_equal(peer_hear_end(peer, heard, sizeof heard), len);
    assert_memory_equal(heard, wanted, len);
}

void assert_hears(struct peer *peer, const char *wanted, size_t len)
{
    char heard[256];
    assert_true(len <= sizeof heard && peer_hear(peer, heard, len));
    assert_memory_equal(heard, wanted, len);
}

void say_frame(struct peer *peer, unsigned first, const void *data, size_t len)
{
    unsigned char *frame = malloc(len + 14);
    assert_non_null(frame);
    peer_say(peer, frame, frame_put(frame, first, data, len));
    free(frame);
}
