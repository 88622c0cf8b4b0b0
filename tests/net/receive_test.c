/* Receiving: bytes in order and complete whatever the sizes, and pauses that stall the sender. */
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { MB = 1 << 20 };

static void take(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->bytes_in);
    size_t right = pattern_check(data, 5, at, len);
    if (right != len)
        stage_wrong(actor->stage, "wrong byte at %llu", (unsigned long long)(at + right));
}

static void pause_it(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_pause(conn) == 0);
}

static void resume_it(sally_conn *conn, void *arg)
{
    (void)arg;
    if (conn) sally_conn_resume(conn);
}

/* Sends the pattern until the window stays closed; how much. */
static uint64_t send_until_stuck(int fd, uint64_t at, uint64_t max)
{
    static unsigned char piece[32 * 1024];
    uint64_t from = at;
    while (at - from < max) {
        pattern_fill(piece, 5, at, sizeof piece);
        size_t sent = raw_send_some(fd, piece, sizeof piece, 300);
        if (!sent) break;
        at += sent;
    }
    return at - from;
}

static void a_pause_stalls_the_sender_and_resume_loses_nothing(const struct stage_way *way)
{
    enum { LIMIT_BYTES = 64 * MB };
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = pause_it,
                                                 .handler.on_data = take,
                                                 .server.conn.recv_buf_bytes = 64 * 1024});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    uint64_t sent = send_until_stuck(fd, 0, LIMIT_BYTES);
    assert_true(sent > 0 && sent < LIMIT_BYTES);
    assert_true(actor_is_quiet(actor));
    assert_int_equal(sally_post(stage->engine, actor->id, resume_it, NULL), 0);
    assert_true(raw_send_pattern(fd, 5, sent, MB, 10000));
    STAGE_WAIT(atomic_load(&actor->bytes_in) == sent + MB);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_in, sent + MB);
    stage_end(stage);
}

/* number[0]: paused; a callback in between is wrong */
static void take_and_pause(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    if (atomic_load(&actor->number[0])) stage_wrong(actor->stage, "on_data while paused");
    take(conn, data, len);
    if (atomic_load(&actor->datas) % 3 == 0) return;
    atomic_store(&actor->number[0], 1);
    sally_conn_pause(conn);
    if (atomic_load(&actor->datas) % 3 == 1) {
        sally_conn_resume(conn); /* at once: nothing may come inside the call */
        atomic_store(&actor->number[0], 0);
        return;
    }
    sally_conn_timer(conn, 1);
}

static void resume_on_timer(sally_conn *conn)
{
    atomic_store(&actor_of(conn)->number[0], 0);
    sally_conn_resume(conn);
}

struct sender {
    int fd;
    uint64_t bytes;
    size_t piece_max;
    bool done;
};

static void *send_all(void *arg)
{
    struct sender *sender = arg;
    sender->done = raw_send_pattern(sender->fd, 5, 0, sender->bytes, sender->piece_max);
    return NULL;
}

static void pauses_in_a_flood_lose_and_double_nothing(const struct stage_way *way)
{
    enum { CLIENTS = 4 };
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = take_and_pause,
                                                 .handler.on_timer = resume_on_timer,
                                                 .engine.recv_buf_bytes = 16 * 1024,
                                                 .server.conn.recv_buf_bytes = 64 * 1024});
    struct sender senders[CLIENTS];
    struct actor *actors[CLIENTS];
    pthread_t threads[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        senders[i] = (struct sender){.fd = stage_client(stage, 0, &actors[i]),
                                     .bytes = stage_scaled(5 * MB),
                                     .piece_max = 50000};
        threads[i] = stage_thread(send_all, &senders[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(senders[i].done);
        raw_close(senders[i].fd);
        actor_wait_closed(actors[i]);
        assert_int_equal(atomic_load(&actors[i]->bytes_in), senders[i].bytes);
    }
    stage_end(stage);
}

/* What comes after a pause: all buffers, and once more until the stop has reached the system. */
enum { HELD_MAX = 3 * 16 * 16 * 1024 };

static void take_one_and_pause(sally_conn *conn, const void *data, size_t len)
{
    take(conn, data, len);
    sally_conn_pause(conn);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, "", 1) == 0);
}

static void resume_when_sent(sally_conn *conn, size_t bytes)
{
    (void)bytes;
    sally_conn_resume(conn);
}

/* The resume comes before the stop of reading has ended; then it must not begin again while there
 * are held bytes, or each round holds more. */
static void a_quick_resume_holds_no_more_and_more(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = take_one_and_pause,
                                                 .handler.on_sent = resume_when_sent,
                                                 .engine.recv_buf_bytes = 16 * 1024,
                                                 .engine.recv_bufs = 16});
    struct actor *actor;
    struct sender sender = {.bytes = stage_scaled(24 * MB), .piece_max = 256 * 1024};
    sender.fd = stage_client(stage, 0, &actor);
    uint64_t before = atomic_load(&stage->memory_high_bytes);
    (void)send_all(&sender);
    assert_true(sender.done);
    raw_finish(sender.fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_in, sender.bytes);
    uint64_t grown = atomic_load(&stage->memory_high_bytes) - before;
    if (grown > HELD_MAX) fail_msg("grew by %llu", (unsigned long long)grown);
    raw_close(sender.fd);
    stage_end(stage);
}

/* ---- Another connection says when ---- */

static struct actor *_Atomic sleeper;

static void sleeper_open(sally_conn *conn)
{
    struct actor *none = NULL;
    if (atomic_compare_exchange_strong(&sleeper, &none, actor_of(conn))) sally_conn_pause(conn);
}

static void wake_the_sleeper(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn), *other = atomic_load(&sleeper);
    take(conn, data, len);
    if (actor == other) return;
    if (atomic_load(&actor->datas)) return;
    if (actor->stage->way.shards == 1)
        STAGE_CHECK(actor->stage, sally_conn_resume(other->conn) == 0);
    else
        STAGE_CHECK(actor->stage,
                    sally_post(actor->stage->engine, other->id, resume_it, NULL) == 0);
}

static void a_connection_is_resumed_by_another_ones_callback(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = sleeper_open,
                                                 .handler.on_data = wake_the_sleeper});
    for (int round = 0; round < 20; round++) {
        struct actor *actor, *waker;
        atomic_store(&sleeper, NULL);
        int fd = stage_client(stage, 0, &actor);
        assert_true(raw_send_pattern(fd, 5, 0, 50000, 5000));
        raw_finish(fd);
        int other = stage_client(stage, 0, &waker);
        assert_true(actor_is_quiet(actor));
        assert_true(raw_send_pattern(other, 5, 0, 10, 10));
        assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_PEER_CLOSED);
        assert_int_equal(atomic_load(&actor->bytes_in), 50000);
        raw_close(fd);
        raw_close(other);
        actor_wait_closed(waker);
    }
    stage_end(stage);
}

/* ---- Sizes ---- */

static void echo(sally_conn *conn, const void *data, size_t len)
{
    take(conn, data, len);
    int err = sally_conn_send(conn, data, len);
    if (err) stage_wrong(actor_of(conn)->stage, "send: %s", sally_err_name(err));
}

static void echo_of_100_mb_in_random_pieces_is_byte_exact(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo});
    struct actor *actor;
    struct sender sender = {.bytes = STAGE_SLOW ? 8 * MB : 100 * MB, .piece_max = 64 * 1024};
    sender.fd = stage_client(stage, 0, &actor);
    pthread_t thread = stage_thread(send_all, &sender);
    assert_true(raw_check(sender.fd, 5, 0, sender.bytes, 0));
    pthread_join(thread, NULL);
    assert_true(sender.done);
    raw_finish(sender.fd);
    assert_string_equal(raw_end_name(raw_read_to_end(sender.fd, NULL)), "FIN");
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->bytes_in, sender.bytes);
    assert_int_equal(info->bytes_out, sender.bytes);
    raw_close(sender.fd);
    stage_end(stage);
}

static void echo_of_single_bytes(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo});
    struct sender sender = {.bytes = 20000, .piece_max = 1};
    sender.fd = stage_client(stage, 0, NULL);
    pthread_t thread = stage_thread(send_all, &sender);
    assert_true(raw_check(sender.fd, 5, 0, sender.bytes, 0));
    pthread_join(thread, NULL);
    raw_close(sender.fd);
    stage_end(stage);
}

/* All at once, each on a thread of its own. */
static void echo_to_many(struct stage *stage, unsigned clients, uint64_t bytes, size_t piece_max)
{
    enum { CLIENTS_MAX = 16 };
    struct sender senders[CLIENTS_MAX];
    pthread_t threads[CLIENTS_MAX];
    assert_true(clients <= CLIENTS_MAX);
    for (unsigned i = 0; i < clients; i++) {
        senders[i] = (struct sender){
            .fd = stage_client(stage, 0, NULL), .bytes = bytes, .piece_max = piece_max};
        threads[i] = stage_thread(send_all, &senders[i]);
    }
    for (unsigned i = 0; i < clients; i++) {
        assert_true(raw_check(senders[i].fd, 5, 0, bytes, 0));
        pthread_join(threads[i], NULL);
        raw_close(senders[i].fd);
    }
}

static void receive_buffers_of_one_byte_serve_too(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo,
                                                                   .engine.recv_buf_bytes = 1,
                                                                   .engine.recv_bufs = 2});
    echo_to_many(stage, 5, 3000, 500);
    stage_end(stage);
}

static void without_on_data_bytes_are_read_and_dropped(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){0});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 10 * MB, 60000));
    raw_finish(fd);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(info->bytes_in, 10 * MB);
    raw_close(fd);
    stage_end(stage);
}

/* More connections are busy than there are buffers: they wait their turn, and nobody starves. */
static void few_buffers_serve_many_connections(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo,
                                                                   .engine.recv_buf_bytes = 4096,
                                                                   .engine.recv_bufs = 4});
    echo_to_many(stage, 16, stage_scaled(MB), 20000);
    stage_end(stage);
}

/* Fewer chunks than readers that are stuck would fill up to their high marks: they stop being read
 * before chunks run out, and nobody is refused an echo. (What io_uring has received before a stop
 * ends, up to half of the receive buffers, takes chunks, too.) */
static void stuck_readers_leave_chunks_for_others(const struct stage_way *way)
{
    enum { READERS = 12, CHUNKS = 2048 }; /* 8 MiB */
    const int readers = way->port == SALLY_PORT_URING ? 8 : READERS;
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_echo,
                                                 .engine.send_chunks_max = CHUNKS,
                                                 .server.conn = {.send_buf_bytes = 8192,
                                                                 .recv_buf_bytes = 16 * 1024,
                                                                 .send_high_bytes = MB,
                                                                 .send_low_bytes = MB / 32}});
    int fds[READERS];
    uint64_t sent[READERS];
    for (int i = 0; i < readers; i++) {
        fds[i] = stage_client(stage, 4096, NULL);
        sent[i] = send_until_stuck(fds[i], 0, 8 * MB);
        assert_true(sent[i] > MB / 32);
    }
    for (int i = 0; i < readers; i++) {
        assert_true(raw_check(fds[i], 5, 0, sent[i], 64 * 1024));
        raw_close(fds[i]);
    }
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(a_pause_stalls_the_sender_and_resume_loses_nothing),
    STAGE_TEST(pauses_in_a_flood_lose_and_double_nothing),
    STAGE_TEST(a_quick_resume_holds_no_more_and_more),
    STAGE_TEST(a_connection_is_resumed_by_another_ones_callback),
    STAGE_TEST(echo_of_100_mb_in_random_pieces_is_byte_exact),
    STAGE_TEST_ON(echo_of_single_bytes, 1),
    STAGE_TEST(receive_buffers_of_one_byte_serve_too),
    STAGE_TEST(without_on_data_bytes_are_read_and_dropped),
    STAGE_TEST(few_buffers_serve_many_connections),
    STAGE_TEST_ON(stuck_readers_leave_chunks_for_others, 1),
};

int main(int argc, char **argv)
{
    return stage_run("receive", tests, sizeof tests / sizeof *tests, argc, argv);
}
