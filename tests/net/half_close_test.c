/* Half-closed connections, both ways: what one side has still to say arrives after the other has
 * finished, and nothing is told before its time. */
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { MB = 1 << 20, ANSWER_BYTES = 50 * MB, PIECE = 100 * 1000 };

static uint64_t answer_bytes(void) { return stage_scaled(ANSWER_BYTES); }

/* ---- Sends the pattern as fast as the queue takes it, then does what `then` says ---- */

/* number[0]: sent so far */
static void pump(sally_conn *conn, int (*then)(sally_conn *conn))
{
    static _Thread_local unsigned char piece[PIECE];
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->number[0]);
    while (at < answer_bytes()) {
        size_t n = answer_bytes() - at < PIECE ? (size_t)(answer_bytes() - at) : PIECE;
        pattern_fill(piece, 3, at, n);
        int err = sally_conn_send(conn, piece, n);
        if (err == SALLY_EFULL) break;
        if (err) stage_wrong(actor->stage, "send: %s", sally_err_name(err));
        if (err) return;
        at += n;
    }
    atomic_store(&actor->number[0], at);
    if (at == answer_bytes()) STAGE_CHECK(actor->stage, then(conn) == 0);
}

static void take_request(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->bytes_in);
    STAGE_CHECK(actor->stage, pattern_check(data, 5, at, len) == len);
}

static void pump_and_close(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, atomic_load(&actor_of(conn)->bytes_in) == 1000);
    pump(conn, sally_conn_close);
}

static void pump_on_and_close(sally_conn *conn)
{
    if (atomic_load(&actor_of(conn)->number[0])) pump(conn, sally_conn_close);
}

static void a_peer_that_has_finished_gets_50_mb_and_then_fin(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = take_request,
                                                 .handler.on_eof = pump_and_close,
                                                 .handler.on_drain = pump_on_and_close});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 1000, 100));
    raw_finish(fd);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_check_to_end(fd, 3, 0, &bytes)), "FIN");
    assert_int_equal(bytes, answer_bytes());
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(info->error, 0);
    assert_int_equal(info->bytes_out, answer_bytes());
    raw_close(fd);
    stage_end(stage);
}

static int shutdown_twice(sally_conn *conn)
{
    int err = sally_conn_shutdown(conn);
    if (!err) err = sally_conn_shutdown(conn);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, "x", 1) == SALLY_ECLOSED);
    return err;
}

static void hello_and_shutdown(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, "hello", 5) == 0);
    shutdown_twice(conn);
}

static void close_it(sally_conn *conn) { sally_conn_close(conn); }

static void a_server_that_has_finished_receives_50_mb(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = hello_and_shutdown,
                                                 .handler.on_data = take_request,
                                                 .handler.on_eof = close_it});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    char hello[5];
    assert_true(raw_read(fd, hello, 5));
    assert_int_equal(raw_read_some(fd, hello, 5), 0);
    assert_true(raw_send_pattern(fd, 5, 0, answer_bytes(), 60000));
    raw_finish(fd);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(info->bytes_in, answer_bytes());
    assert_int_equal(atomic_load(&actor->bytes_in), answer_bytes());
    raw_close(fd);
    stage_end(stage);
}

/* ---- FIN comes behind what is queued ---- */

static void queue_and_shutdown(sally_conn *conn, const void *data, size_t len)
{
    take_request(conn, data, len);
    if (atomic_load(&actor_of(conn)->datas) == 0) pump(conn, shutdown_twice);
}

static void shutdown_waits_for_what_is_queued_and_receiving_goes_on(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = queue_and_shutdown,
                                                 .handler.on_eof = close_it,
                                                 .server.conn.send_bytes_max = ANSWER_BYTES + MB});
    struct actor *actor;
    int fd = stage_client(stage, 8 * 1024, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 10, 10));
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_check_to_end(fd, 3, 0, &bytes)), "FIN");
    assert_int_equal(bytes, answer_bytes());
    assert_true(raw_send_pattern(fd, 5, 10, MB, 5000));
    STAGE_WAIT(atomic_load(&actor->bytes_in) == MB + 10);
    assert_false(atomic_load(&actor->closed));
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_PEER_CLOSED);
    stage_end(stage);
}

/* ---- Without on_eof ---- */

static void pump_once(sally_conn *conn, const void *data, size_t len)
{
    take_request(conn, data, len);
    struct actor *actor = actor_of(conn);
    if (atomic_load(&actor->number[0])) return;
    pump(conn, sally_conn_resume); /* which does nothing */
}

static void without_on_eof_what_is_queued_still_goes_out(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = pump_once,
                                                 .server.conn.send_bytes_max = ANSWER_BYTES + MB});
    struct actor *actor;
    int fd = stage_client(stage, 8 * 1024, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 1, 1));
    raw_finish(fd);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_check_to_end(fd, 3, 0, &bytes)), "FIN");
    assert_int_equal(bytes, answer_bytes());
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(info->bytes_unsent, 0);
    raw_close(fd);
    stage_end(stage);
}

/* ---- Paused ---- */

static void pause_it(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_pause(conn) == 0);
}

static void resume_it(sally_conn *conn, void *arg)
{
    (void)arg;
    if (conn) sally_conn_resume(conn);
}

static void eof_after_all_bytes(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    STAGE_CHECK(actor->stage, atomic_load(&actor->bytes_in) == 100 * 1000);
    sally_conn_close(conn);
}

static void the_end_is_told_after_resume_and_after_all_bytes(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = pause_it,
                                                 .handler.on_data = take_request,
                                                 .handler.on_eof = eof_after_all_bytes});
    struct actor *actor, *other;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 100 * 1000, 5000));
    raw_finish(fd);
    /* what comes later has been seen, so what came before would have been */
    for (unsigned i = 0; i < 2 * way->shards; i++) {
        int later = stage_client(stage, 0, &other);
        assert_int_equal(sally_post(stage->engine, other->id, resume_it, NULL), 0);
        assert_true(raw_send_pattern(later, 5, 0, 100, 100));
        STAGE_WAIT(atomic_load(&other->bytes_in) == 100);
        raw_reset(later);
    }
    assert_true(actor_is_quiet(actor));
    assert_int_equal(sally_post(stage->engine, actor->id, resume_it, NULL), 0);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(atomic_load(&actor->eofs), 1);
    raw_close(fd);
    stage_end(stage);
}

static void pause_after_each(sally_conn *conn, const void *data, size_t len)
{
    take_request(conn, data, len);
    sally_conn_pause(conn);
    sally_conn_timer(conn, 1);
}

static void resume_on_timer(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_resume(conn) == 0);
}

static void the_end_is_told_though_each_callback_pauses(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = pause_after_each,
                                                 .handler.on_timer = resume_on_timer,
                                                 .handler.on_eof = eof_after_all_bytes,
                                                 .engine.recv_buf_bytes = 4096});
    enum { CLIENTS = 20 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = stage_client(stage, 0, NULL);
        assert_true(raw_send_pattern(fds[i], 5, 0, 100 * 1000, 30000));
        raw_finish(fds[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct actor *actor = stage_actor(stage, i);
        assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_PEER_CLOSED);
        assert_int_equal(atomic_load(&actor->eofs), 1);
    }
    for (int i = 0; i < CLIENTS; i++) raw_close(fds[i]);
    stage_end(stage);
}

/* Closing is a command to stop listening: what is held or still comes is dropped, and the peer is
 * not reset for it. */
static void close_a_paused(sally_conn *conn, void *arg)
{
    (void)arg;
    if (!conn) return;
    sally_conn_send(conn, "bye", 3);
    sally_conn_close(conn);
}

static void closing_while_paused_reads_and_drops_the_rest(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_open = pause_it, .handler.on_data = take_request});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 30000, 5000));
    assert_int_equal(sally_post(stage->engine, actor->id, close_a_paused, NULL), 0);
    assert_true(raw_send_pattern(fd, 5, 30000, 8 * MB, 30000));
    raw_finish(fd);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_int_equal(bytes, 3);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_LOCAL);
    assert_int_equal(info->bytes_in, 8 * MB + 30000);
    assert_int_equal(atomic_load(&actor->bytes_in), 0);
    raw_close(fd);
    stage_end(stage);
}

/* ---- What was on its way when another one's callback paused ---- */

static struct actor *_Atomic pauser, *_Atomic paused_one;
static atomic_bool gate;

/* Holds the shard up, so that what comes meanwhile is met in one batch. */
static void wait_for_gate(sally_conn *conn, void *arg)
{
    (void)arg;
    if (conn) (void)STAGE_POLL(atomic_load(&gate), STAGE_LIMIT_MS);
}

/* The pauser's bytes pause the other; the other's, when they come at last, close it. */
static void pause_the_other(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn), *other = atomic_load(&paused_one);
    take_request(conn, data, len);
    if (actor == atomic_load(&pauser) && other) {
        sally_conn_pause(other->conn);
        sally_conn_timer(other->conn, 2);
    } else if (actor == other) {
        sally_conn_close(conn);
        take_request(conn, data, len); /* still readable */
    }
}

static void what_was_on_its_way(const struct stage_way *way, uint64_t bytes)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = pause_the_other,
                                                 .handler.on_timer = resume_on_timer,
                                                 .handler.on_eof = close_it,
                                                 .server.conn.idle_ms = 5000});
    for (int round = 0; round < 20; round++) {
        struct actor *actors[2];
        int fds[2];
        for (int i = 0; i < 2; i++) fds[i] = stage_client(stage, 0, &actors[i]);
        atomic_store(&pauser, actors[0]);
        atomic_store(&paused_one, actors[1]);
        atomic_store(&gate, false);
        assert_int_equal(sally_post(stage->engine, actors[0]->id, wait_for_gate, NULL), 0);
        assert_true(raw_send_pattern(fds[0], 5, 0, 10, 10));
        if (bytes) assert_true(raw_send_pattern(fds[1], 5, 0, bytes, 30000));
        raw_finish(fds[1]);
        atomic_store(&gate, true);
        const sally_close_info *info = actor_wait_closed(actors[1]);
        assert_int_equal(info->reason, bytes ? SALLY_CLOSE_LOCAL : SALLY_CLOSE_PEER_CLOSED);
        assert_int_equal(atomic_load(&actors[1]->eofs), bytes ? 0 : 1);
        atomic_store(&paused_one, NULL);
        for (int i = 0; i < 2; i++) raw_close(fds[i]);
        actor_wait_closed(actors[0]);
    }
    stage_end(stage);
}

static void an_end_that_meets_a_pause_is_told_on_resume(const struct stage_way *way)
{
    what_was_on_its_way(way, 0);
}

static void bytes_that_meet_a_pause_stay_readable_while_they_close(const struct stage_way *way)
{
    what_was_on_its_way(way, 5000);
}

/* ---- Half-open is bounded ---- */

static void do_nothing(sally_conn *conn) { (void)conn; }

static void half_open_connections_end_by_the_idle_limit(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_eof = do_nothing, .server.conn.idle_ms = 300});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "x", 1));
    raw_finish(fd);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_IDLE_TIMEOUT);
    assert_string_equal(actor->story, "oec");
    raw_close(fd);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(a_peer_that_has_finished_gets_50_mb_and_then_fin),
    STAGE_TEST(a_server_that_has_finished_receives_50_mb),
    STAGE_TEST(shutdown_waits_for_what_is_queued_and_receiving_goes_on),
    STAGE_TEST(without_on_eof_what_is_queued_still_goes_out),
    STAGE_TEST(the_end_is_told_after_resume_and_after_all_bytes),
    STAGE_TEST(the_end_is_told_though_each_callback_pauses),
    STAGE_TEST_ON(an_end_that_meets_a_pause_is_told_on_resume, 1),
    STAGE_TEST_ON(bytes_that_meet_a_pause_stay_readable_while_they_close, 1),
    STAGE_TEST(closing_while_paused_reads_and_drops_the_rest),
    STAGE_TEST_ON(half_open_connections_end_by_the_idle_limit, 1),
};

int main(int argc, char **argv)
{
    return stage_run("half_close", tests, sizeof tests / sizeof *tests, argc, argv);
}
