/* Sending: order, completeness, bounds, and what a peer that doesn't take it leads to. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { MB = 1 << 20, MAX_BYTES = 64 * 1024, CHUNKS_MAX = 1 << 16 };

static uint64_t seed;

/* ---- Sizes ---- */

/* number[0]: sent so far; number[1]: the lot's state */
static void send_mixed(sally_conn *conn)
{
    static _Thread_local unsigned char piece[200 * 1000];
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->number[0]), total = stage_scaled(20 * MB);
    struct lot lot = {.state = atomic_load(&actor->number[1])};
    while (at < total) {
        struct lot before = lot;
        uint32_t max = lot_below(&lot, 2) ? 100 : sizeof piece;
        size_t n = 1 + lot_below(&lot, max);
        if (n > total - at) n = (size_t)(total - at);
        pattern_fill(piece, 5, at, n);
        uint32_t queued = sally_conn_queued(conn);
        int err = sally_conn_send(conn, piece, n);
        memset(piece, 0xee, n); /* it was copied */
        STAGE_CHECK(actor->stage, err == 0 || err == SALLY_EFULL);
        STAGE_CHECK(actor->stage, sally_conn_queued(conn) == queued + (err ? 0 : n));
        if (err) lot = before;
        if (err) break;
        at += n;
    }
    atomic_store(&actor->number[0], at);
    atomic_store(&actor->number[1], lot.state);
    if (at == total) sally_conn_close(conn);
}

static void send_mixed_by_seed(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    atomic_store(&actor->number[1], seed + actor->index);
    send_mixed(conn);
}

static void mixed_sizes_arrive_complete_and_in_order(const struct stage_way *way)
{
    seed = stage_seed();
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_mixed_by_seed,
                                                 .handler.on_drain = send_mixed,
                                                 .server.conn.send_bytes_max = MB,
                                                 .server.conn.send_buf_bytes = 64 * 1024});
    enum { CLIENTS = 3 };
    int fds[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++) fds[i] = stage_client(stage, 32 * 1024, NULL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        uint64_t bytes = 0;
        assert_string_equal(raw_end_name(raw_check_to_end(fds[i], 5, 0, &bytes)), "FIN");
        assert_int_equal(bytes, stage_scaled(20 * MB));
        raw_close(fds[i]);
    }
    stage_end(stage);
}

/* ---- The received bytes themselves, sent on without a copy ---- */

enum echo_kind { WHOLE, IN_TWO, TWICE, LAST_HALF, ACROSS, ECHO_KINDS };

/* Each on_data's length, for what the client can't know. One writer, read after it is quiet. */
struct chunks {
    uint32_t lens[CHUNKS_MAX];
    _Atomic uint32_t count;
};

static struct chunks *chunks;
static struct actor *_Atomic across;

/* number[0]: 1 + the kind, told by the first byte, which is not echoed */
static void echo_data(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    struct stage *stage = actor->stage;
    const char *from = data;
    if (!atomic_load(&actor->number[0])) {
        atomic_store(&actor->number[0], 1 + (uint64_t)*from);
        from++;
        len--;
    }
    if (!len) return;
    uint32_t n = atomic_load(&chunks->count);
    int err = 0;
    switch ((enum echo_kind)(atomic_load(&actor->number[0]) - 1)) {
    case WHOLE: err = sally_conn_send(conn, from, len); break;
    case IN_TWO:
        err = sally_conn_send(conn, from, (len + 1) / 2);
        if (!err) err = sally_conn_send(conn, from + (len + 1) / 2, len / 2);
        break;
    case TWICE:
        err = sally_conn_send(conn, from, len);
        if (!err) err = sally_conn_send(conn, from, len);
        break;
    case LAST_HALF: err = sally_conn_send(conn, from + len / 2, len - len / 2); break;
    default: err = sally_send(stage->engine, atomic_load(&across)->id, from, len); break;
    }
    STAGE_CHECK(stage, err == 0);
    STAGE_CHECK(stage, n < CHUNKS_MAX);
    if (n < CHUNKS_MAX) chunks->lens[n] = (uint32_t)len;
    atomic_store(&chunks->count, n + 1);
}

/* What the client must see of one received chunk: which parts of it. */
static bool echoed_right(int fd, enum echo_kind kind, uint64_t at, uint32_t len)
{
    switch (kind) {
    case TWICE: return raw_check(fd, 5, at, len, 0) && raw_check(fd, 5, at, len, 0);
    case LAST_HALF: return raw_check(fd, 5, at + len / 2, len - len / 2, 0);
    default: return raw_check(fd, 5, at, len, 0);
    }
}

struct echo_sender {
    int fd;
    uint64_t bytes;
};

static void *send_pattern_5(void *arg)
{
    struct echo_sender *sender = arg;
    (void)raw_send_pattern(sender->fd, 5, 0, sender->bytes, 60000);
    return NULL;
}

static void echo_in_kind(struct stage *stage, enum echo_kind kind)
{
    struct actor *actor, *reader = NULL;
    char byte = (char)kind;
    struct echo_sender sender = {.bytes = stage_scaled(4 * MB)};
    sender.fd = stage_client(stage, 0, &actor);
    int from = kind == ACROSS ? stage_client(stage, 0, &reader) : sender.fd;
    atomic_store(&across, reader);
    atomic_store(&chunks->count, 0);
    assert_true(raw_send(sender.fd, &byte, 1));
    pthread_t thread = stage_thread(send_pattern_5, &sender);
    uint64_t at = 0;
    for (uint32_t n = 0; at < sender.bytes; n++) {
        STAGE_WAIT(atomic_load(&chunks->count) > n);
        assert_true(echoed_right(from, kind, at, chunks->lens[n]));
        at += chunks->lens[n];
    }
    pthread_join(thread, NULL);
    raw_close(sender.fd);
    actor_wait_closed(actor);
    if (!reader) return;
    raw_close(from);
    actor_wait_closed(reader);
}

static void received_bytes_may_be_sent_on_as_they_are(const struct stage_way *way)
{
    chunks = calloc(1, sizeof *chunks);
    assert_non_null(chunks);
    /* few buffers: one that is not given back is missed soon */
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = echo_data,
                                                 .engine.recv_bufs = 8,
                                                 .engine.recv_buf_bytes = 16 * 1024,
                                                 .server.conn.send_bytes_max = 32 * MB});
    for (int kind = 0; kind < ECHO_KINDS; kind++) echo_in_kind(stage, (enum echo_kind)kind);
    stage_end(stage);
    free(chunks);
}

/* The receiver of lent bytes goes before they are sent: the buffers come back all the same. */
static void lent_bytes_come_back_when_their_connection_ends(const struct stage_way *way)
{
    chunks = calloc(1, sizeof *chunks);
    assert_non_null(chunks);
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = echo_data,
                                                 .engine.recv_bufs = 4,
                                                 .engine.recv_buf_bytes = 16 * 1024,
                                                 .server.conn.send_buf_bytes = 4096});
    static char zeros[60000]; /* the first byte is WHOLE */
    for (int i = 0; i < 30; i++) {
        struct actor *actor;
        int fd = stage_client(stage, 2048, &actor);
        assert_true(raw_send(fd, zeros, sizeof zeros));
        STAGE_WAIT(atomic_load(&actor->bytes_in) > 0);
        if (i % 2)
            raw_reset(fd);
        else
            assert_int_equal(sally_abort(stage->engine, actor->id), 0);
        actor_wait_closed(actor);
        if (i % 2 == 0) raw_close(fd);
        atomic_store(&chunks->count, 0);
    }
    echo_in_kind(stage, WHOLE);
    stage_end(stage);
    free(chunks);
}

/* ---- The bound ---- */

static char max_bytes[MAX_BYTES + 1];

static void fill_to_the_brim(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, sally_conn_send(conn, max_bytes, 0) == 0);
    STAGE_CHECK(stage, sally_conn_send(conn, max_bytes, MAX_BYTES + 1) == SALLY_ELIMIT);
    STAGE_CHECK(stage, sally_conn_queued(conn) == 0);
    STAGE_CHECK(stage, sally_conn_send(conn, max_bytes, MAX_BYTES) == 0);
    STAGE_CHECK(stage, sally_conn_queued(conn) == MAX_BYTES);
    STAGE_CHECK(stage, sally_conn_send(conn, "x", 1) == SALLY_EFULL);
    STAGE_CHECK(stage, sally_conn_send(conn, max_bytes, SIZE_MAX) == SALLY_ELIMIT);
    STAGE_CHECK(stage, sally_conn_send(conn, max_bytes, (size_t)1 << 32) == SALLY_ELIMIT);
    STAGE_CHECK(stage, sally_conn_queued(conn) == MAX_BYTES);
}

static void more_on_drain(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    STAGE_CHECK(actor->stage, sally_conn_queued(conn) <= 1000);
    STAGE_CHECK(actor->stage, sally_conn_send(conn, "more", 4) == 0);
    sally_conn_close(conn);
}

static void a_full_queue_takes_nothing_and_on_drain_tells_when_it_does(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = fill_to_the_brim,
                                                 .handler.on_drain = more_on_drain,
                                                 .server.conn = {.send_bytes_max = MAX_BYTES,
                                                                 .send_high_bytes = MAX_BYTES,
                                                                 .send_low_bytes = 1000}});
    struct actor *actor;
    int fd = stage_client(stage, 4096, &actor);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_int_equal(bytes, MAX_BYTES + 4);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_out, MAX_BYTES + 4);
    assert_int_equal(atomic_load(&actor->drains), 1);
    stage_end(stage);
}

/* number[0]: refused */
static void echo_or_count(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    if (sally_conn_send(conn, data, len) != 0) atomic_fetch_add(&actor->number[0], len);
}

static uint64_t flood_until_stuck(int fd, uint64_t max)
{
    static unsigned char piece[32 * 1024];
    uint64_t at = 0;
    while (at < max) {
        pattern_fill(piece, 5, at, sizeof piece);
        size_t sent = raw_send_some(fd, piece, sizeof piece, 400);
        if (!sent) break;
        at += sent;
    }
    return at;
}

static void a_reader_that_is_stuck_costs_bounded_memory(const struct stage_way *way)
{
    enum { FLOOD_MAX = 64 * MB, QUEUE_MAX = 1 * MB, SLACK = 4 * MB };
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = echo_or_count,
                                                 .server.conn = {.send_bytes_max = QUEUE_MAX,
                                                                 .send_buf_bytes = 32 * 1024,
                                                                 .recv_buf_bytes = 32 * 1024}});
    struct actor *actor;
    int fd = stage_client(stage, 16 * 1024, &actor);
    uint64_t before = atomic_load(&stage->memory_bytes);
    uint64_t sent = flood_until_stuck(fd, FLOOD_MAX);
    assert_true(sent < FLOOD_MAX);
    assert_true(atomic_load(&stage->memory_high_bytes) < before + QUEUE_MAX + SLACK);
    raw_finish(fd);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_check_to_end(fd, 5, 0, &bytes)), "FIN");
    assert_int_equal(bytes, sent); /* nothing was refused: reading paused first */
    assert_int_equal(atomic_load(&actor->number[0]), 0);
    raw_close(fd);
    stage_end(stage);
}

static void without_auto_pause_the_sender_is_refused_instead(const struct stage_way *way)
{
    enum { FLOOD_BYTES = 16 * MB, QUEUE_MAX = 1 * MB, SLACK = 4 * MB };
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = echo_or_count,
                                                 .server.conn = {.send_bytes_max = QUEUE_MAX,
                                                                 .no_auto_pause = true,
                                                                 .send_buf_bytes = 32 * 1024}});
    struct actor *actor;
    int fd = stage_client(stage, 16 * 1024, &actor);
    uint64_t before = atomic_load(&stage->memory_bytes);
    assert_int_equal(flood_until_stuck(fd, FLOOD_BYTES), FLOOD_BYTES);
    raw_finish(fd);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_true(atomic_load(&stage->memory_high_bytes) < before + QUEUE_MAX + SLACK);
    raw_close(fd);
    actor_wait_closed(actor);
    assert_true(atomic_load(&actor->number[0]) > 0);
    assert_int_equal(bytes + atomic_load(&actor->number[0]), FLOOD_BYTES);
    stage_end(stage);
}

/* ---- Shared bytes ---- */

static sally_buf *_Atomic shared;

static void send_shared(sally_conn *conn, const void *data, size_t len)
{
    (void)len;
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, sally_conn_send(conn, "<", 1) == 0);
    STAGE_CHECK(stage, sally_conn_send_buf(conn, atomic_load(&shared)) == 0);
    STAGE_CHECK(stage, sally_conn_send(conn, ">", 1) == 0);
    if (*(const char *)data == 'a')
        sally_conn_abort(conn);
    else
        sally_conn_close(conn);
}

static void one_copy_serves_many_receivers_and_goes_with_the_last(const struct stage_way *way)
{
    enum { CLIENTS = 20 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = send_shared});
    uint64_t before = atomic_load(&stage->big_blocks);
    sally_buf *buf = sally_buf_create(stage->engine, MB);
    assert_non_null(buf);
    assert_int_equal(sally_buf_len(buf), MB);
    pattern_fill(sally_buf_data(buf), 5, 0, MB);
    atomic_store(&shared, buf);
    int fds[CLIENTS];
    struct actor *actors[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = stage_client(stage, 8192, &actors[i]);
        assert_true(raw_send(fds[i], i % 5 ? "s" : "a", 1));
    }
    for (int i = 0; i < CLIENTS; i++) STAGE_WAIT(atomic_load(&actors[i]->datas) == 1);
    sally_buf_release(buf);
    for (int i = 0; i < CLIENTS; i++) {
        char mark = 0;
        if (i % 5) {
            assert_true(raw_read(fds[i], &mark, 1) && mark == '<');
            assert_true(raw_check(fds[i], 5, 0, MB, 0));
            assert_true(raw_read(fds[i], &mark, 1) && mark == '>');
        }
        raw_close(fds[i]);
        actor_wait_closed(actors[i]);
    }
    STAGE_WAIT(atomic_load(&stage->big_blocks) == before);
    stage_end(stage);
}

/* ---- on_sent ---- */

static void send_a_megabyte(sally_conn *conn)
{
    static const char zeros[1000];
    for (int i = 0; i < 1000; i++)
        STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, zeros, sizeof zeros) == 0);
}

static void close_when_all_is_sent(sally_conn *conn, size_t bytes)
{
    struct actor *actor = actor_of(conn);
    (void)bytes;
    STAGE_CHECK(actor->stage, atomic_load(&actor->sent) + sally_conn_queued(conn) == 1000 * 1000);
    if (atomic_load(&actor->sent) == 1000 * 1000) sally_conn_close(conn);
}

static void on_sent_tells_each_byte_once(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_a_megabyte,
                                                 .handler.on_sent = close_when_all_is_sent,
                                                 .server.conn.send_buf_bytes = 8192});
    struct actor *actor;
    int fd = stage_client(stage, 4096, &actor);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_int_equal(bytes, 1000 * 1000);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_out, 1000 * 1000);
    assert_int_equal(atomic_load(&actor->sent), 1000 * 1000);
    stage_end(stage);
}

/* ---- Peers that take nothing ---- */

static void a_closed_window_pins_no_memory_for_ever(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_open = send_a_megabyte,
                                     .server.conn = {.write_stall_ms = 300, .send_buf_bytes = 1}});
    int first = stage_client(stage, 0, NULL); /* so that pools are filled */
    assert_int_equal(sally_abort(stage->engine, stage_actor(stage, 0)->id), 0);
    actor_wait_closed(stage_actor(stage, 0));
    raw_close(first);
    struct actor *actors[10];
    int fds[10];
    for (int i = 0; i < 10; i++) fds[i] = stage_client(stage, 1, &actors[i]);
    for (int i = 0; i < 10; i++) {
        const sally_close_info *info = actor_wait_closed(actors[i]);
        assert_int_equal(info->reason, SALLY_CLOSE_WRITE_TIMEOUT);
        assert_int_equal(info->bytes_out + info->bytes_unsent, 1000 * 1000);
    }
    /* what pools keep is bounded by a megabyte each and a shard */
    STAGE_WAIT(atomic_load(&stage->memory_bytes) < atomic_load(&stage->memory_high_bytes));
    for (int i = 0; i < 10; i++) raw_close(fds[i]);
    stage_end(stage);
}

/* number[0]: sends; the peer is gone, and reading is paused so that only sends can find out */
static void send_into_the_void(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    for (int i = 0; i < 10; i++) {
        int err = sally_conn_send(conn, "anybody?", 8);
        STAGE_CHECK(actor->stage, err == 0);
    }
    if (atomic_fetch_add(&actor->number[0], 1) < 10) sally_conn_timer(conn, 1);
}

static void pause_it(sally_conn *conn) { sally_conn_pause(conn); }

static void start_sending(sally_conn *conn, void *arg)
{
    (void)arg;
    if (conn) send_into_the_void(conn);
}

static void sends_to_a_peer_that_has_reset_raise_no_signal(const struct stage_way *way)
{
    struct sigaction action;
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = pause_it,
                                                 .handler.on_timer = send_into_the_void,
                                                 .handler.on_data = stage_ignore});
    for (int i = 0; i < 20; i++) {
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        raw_reset(fd);
        assert_int_equal(sally_post(stage->engine, actor->id, start_sending, NULL), 0);
        const sally_close_info *info = actor_wait_closed(actor);
        assert_int_equal(info->reason, SALLY_CLOSE_PEER_RESET);
        assert_int_equal(info->error, SALLY_ERESET);
        assert_true(info->sys_error != 0);
    }
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(mixed_sizes_arrive_complete_and_in_order),
    STAGE_TEST(received_bytes_may_be_sent_on_as_they_are),
    STAGE_TEST(lent_bytes_come_back_when_their_connection_ends),
    STAGE_TEST(a_full_queue_takes_nothing_and_on_drain_tells_when_it_does),
    STAGE_TEST(a_reader_that_is_stuck_costs_bounded_memory),
    STAGE_TEST_ON(without_auto_pause_the_sender_is_refused_instead, 1),
    STAGE_TEST(one_copy_serves_many_receivers_and_goes_with_the_last),
    STAGE_TEST(on_sent_tells_each_byte_once),
    STAGE_TEST(a_closed_window_pins_no_memory_for_ever),
    STAGE_TEST(sends_to_a_peer_that_has_reset_raise_no_signal),
};

int main(int argc, char **argv)
{
    return stage_run("send", tests, sizeof tests / sizeof *tests, argc, argv);
}
