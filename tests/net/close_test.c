/* How connections end: gently, at once, by the peer, by limits, from every callback. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { MB = 1 << 20, BIG_BYTES = 20 * MB, REPLY_BYTES = 200 * 1000 };

/* ---- Gently ---- */

static void send_pattern(sally_conn *conn, uint64_t bytes)
{
    struct stage *stage = actor_of(conn)->stage;
    unsigned char *all = malloc(bytes);
    if (!all) abort();
    pattern_fill(all, 1, 0, bytes);
    for (uint64_t at = 0; at < bytes; at += MB) {
        size_t n = bytes - at < MB ? (size_t)(bytes - at) : MB;
        STAGE_CHECK(stage, sally_conn_send(conn, all + at, n) == 0);
    }
    free(all);
}

static void send_big_and_close(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    send_pattern(conn, stage_scaled(BIG_BYTES));
    STAGE_CHECK(stage, sally_conn_queued(conn) == stage_scaled(BIG_BYTES));
    STAGE_CHECK(stage, sally_conn_close(conn) == 0);
    STAGE_CHECK(stage, sally_conn_send(conn, "x", 1) == SALLY_ECLOSED);
}

static void a_gentle_close_sends_20_mb_to_a_slow_reader_and_then_fin(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_big_and_close,
                                                 .server.conn.send_bytes_max = BIG_BYTES + MB});
    struct actor *actor;
    int fd = stage_client(stage, 16 * 1024, &actor);
    uint64_t total = stage_scaled(BIG_BYTES);
    assert_true(raw_check(fd, 1, 0, total, 5000));
    uint64_t more = 0;
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &more)), "FIN");
    assert_int_equal(more, 0);
    assert_false(atomic_load(&actor->closed)); /* it waits for our FIN */
    raw_close(fd);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_LOCAL);
    assert_int_equal(info->error, 0);
    assert_int_equal(info->bytes_out, total);
    assert_int_equal(info->bytes_unsent, 0);
    stage_end(stage);
}

static void reply_and_close(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    if (atomic_load(&actor_of(conn)->datas))
        stage_wrong(actor_of(conn)->stage, "on_data after close");
    send_pattern(conn, REPLY_BYTES);
    sally_conn_close(conn);
}

static void a_reply_arrives_whole_though_the_peer_goes_on_sending(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = reply_and_close});
    for (int round = 0; round < 10; round++) {
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        uint64_t sent = 4 * MB;
        assert_true(raw_send_pattern(fd, 2, 0, sent, 30000));
        raw_finish(fd);
        uint64_t bytes = 0;
        assert_string_equal(raw_end_name(raw_check_to_end(fd, 1, 0, &bytes)), "FIN");
        assert_int_equal(bytes, REPLY_BYTES);
        raw_close(fd);
        const sally_close_info *info = actor_wait_closed(actor);
        assert_int_equal(info->reason, SALLY_CLOSE_LOCAL);
        assert_int_equal(info->bytes_in, sent);
    }
    stage_end(stage);
}

static void say_bye(sally_conn *conn)
{
    sally_conn_send(conn, "bye", 3);
    sally_conn_close(conn);
}

static void a_peer_that_never_finishes_is_left_after_linger_ms(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_open = say_bye, .server.conn.linger_ms = 300});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    char bye[4];
    assert_true(raw_read(fd, bye, 3));
    assert_int_equal(raw_read_some(fd, bye, 1), 0);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_LINGER_TIMEOUT);
    assert_int_equal(info->error, SALLY_ETIMEDOUT);
    assert_int_equal(info->bytes_out, 3);
    /* exactly when is linger_timeout.trace's to say */
    assert_true(actor->closed_us - actor->dialled_us >= 299 * 1000);
    raw_close(fd);
    stage_end(stage);
}

static void linger_ms_bounds_a_peer_that_sends_without_end(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_open = say_bye, .server.conn.linger_ms = 300});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    uint64_t until_us = stage_now_us() + (uint64_t)STAGE_LIMIT_MS * 1000;
    while (raw_send(fd, "endless", 7) && stage_now_us() < until_us) {
    }
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_LINGER_TIMEOUT);
    raw_close(fd);
    stage_end(stage);
}

/* ---- At once ---- */

static void queue_and_abort(sally_conn *conn)
{
    send_pattern(conn, MB);
    sally_conn_abort(conn);
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, sally_conn_send(conn, "x", 1) == SALLY_ECLOSED);
    STAGE_CHECK(stage, sally_conn_abort(conn) == 0);
    STAGE_CHECK(stage, sally_conn_close(conn) == 0);
}

static void abort_resets_the_peer_and_drops_what_is_queued(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = queue_and_abort});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "RST");
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_ABORTED);
    assert_int_equal(info->error, 0);
    assert_int_equal(info->bytes_out, 0);
    assert_int_equal(info->bytes_unsent, MB);
    assert_string_equal(actor->story, "oc");
    raw_close(fd);
    stage_end(stage);
}

static void abort_on_data(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    sally_conn_close(conn);
    sally_conn_close(conn);
    sally_conn_abort(conn);
    sally_conn_close(conn);
}

static void abort_after_close_wins(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = abort_on_data});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "x", 1));
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "RST");
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_ABORTED);
    assert_string_equal(actor->story, "odc");
    raw_close(fd);
    stage_end(stage);
}

/* ---- Many at once ---- */

struct closer {
    struct stage *stage;
    sally_id id;
    unsigned calls;
};

static void *close_many_times(void *arg)
{
    struct closer *closer = arg;
    for (unsigned i = 0; i < closer->calls; i++) {
        int err = sally_close(closer->stage->engine, closer->id);
        if (err && err != SALLY_ENOCONN)
            stage_wrong(closer->stage, "sally_close: %s", sally_err_name(err));
    }
    return NULL;
}

static void a_thousand_closes_from_threads_give_one_on_close(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){0});
    for (int round = 0; round < 10; round++) {
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        struct closer closer = {.stage = stage, .id = actor->id, .calls = 125};
        pthread_t threads[8];
        for (int i = 0; i < 8; i++) threads[i] = stage_thread(close_many_times, &closer);
        assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
        raw_close(fd);
        for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
        assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_LOCAL);
        assert_int_equal(sally_close(stage->engine, actor->id), SALLY_ENOCONN);
    }
    assert_int_equal(atomic_load(&stage->closed), 10);
    stage_end(stage);
}

/* ---- Reasons ---- */

static void assert_info(const sally_close_info *info, sally_close_reason reason, int error,
                        int sys_error)
{
    assert_string_equal(sally_close_reason_text(info->reason), sally_close_reason_text(reason));
    assert_string_equal(sally_err_name(info->error), sally_err_name(error));
    assert_int_equal(info->sys_error, sys_error);
}

static void a_peer_that_finishes_is_peer_closed(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "12345", 5));
    raw_close(fd);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_info(info, SALLY_CLOSE_PEER_CLOSED, 0, 0);
    assert_int_equal(info->bytes_in, 5);
    stage_end(stage);
}

static void a_peer_that_resets_is_peer_reset(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "12345", 5));
    STAGE_WAIT(atomic_load(&actor->bytes_in) == 5);
    raw_reset(fd);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_info(info, SALLY_CLOSE_PEER_RESET, SALLY_ERESET, ECONNRESET);
    assert_int_equal(info->bytes_in, 5);
    stage_end(stage);
}

static void open_and_send_much(sally_conn *conn) { send_pattern(conn, MB); }

/* The peer's window stays closed, and the system gives up (as it does when a cable is cut). */
static void a_network_that_fails_is_network(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = open_and_send_much,
                                                 .handler.on_data = stage_ignore,
                                                 .server.conn.write_stall_ms = SALLY_FOREVER,
                                                 .server.conn.send_buf_bytes = 16 * 1024});
    struct actor *actor;
    int fd = stage_client(stage, 2048, &actor);
    int other = raw_find_other_end(fd);
    assert_true(other >= 0);
    int limit_ms = 500;
    assert_int_equal(setsockopt(other, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms),
                     0);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_info(info, SALLY_CLOSE_NETWORK, SALLY_ETIMEDOUT, ETIMEDOUT);
    assert_int_equal(info->bytes_out + info->bytes_unsent, MB);
    raw_close(fd);
    stage_end(stage);
}

static void nobody_listening_is_connect_failed(const struct stage_way *way)
{
    char address[64];
    int listener = raw_listen(address, sizeof address, 1);
    raw_close(listener);
    struct stage *stage = stage_begin(way, &(struct stage_options){.no_server = true});
    sally_id id = 0;
    assert_int_equal(stage_connect(stage, address, NULL, &id), 0);
    STAGE_WAIT(atomic_load(&stage->closed) == 1);
    struct actor *actor = atomic_load(&stage->actors[0]);
    assert_info(&actor->info, SALLY_CLOSE_CONNECT_FAILED, SALLY_EREFUSED, ECONNREFUSED);
    assert_string_equal(actor->story, "c");
    assert_true(actor->id == id);
    assert_int_equal(sally_close(stage->engine, id), SALLY_ENOCONN);
    stage_end(stage);
}

static void no_memory_for_accepted_bytes_is_no_memory(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.engine.send_chunks_max = 4, .engine.send_chunk_bytes = 4096});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    char *big = calloc(1, MB);
    assert_non_null(big);
    assert_int_equal(sally_send(stage->engine, actor->id, big, MB), 0);
    free(big);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "RST");
    assert_info(actor_wait_closed(actor), SALLY_CLOSE_NO_MEMORY, SALLY_ENOMEM, 0);
    raw_close(fd);
    stage_end(stage);
}

static void stopping_the_engine_is_shutdown(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_int_equal(sally_engine_stop(stage->engine), 0);
    assert_info(actor_wait_closed(actor), SALLY_CLOSE_SHUTDOWN, SALLY_ECANCELED, 0);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    stage_end(stage);
}

static void what_a_drain_cuts_is_drain_timeout(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = open_and_send_much,
                                                 .server.conn.send_buf_bytes = 16 * 1024});
    struct actor *actor;
    int fd = stage_client(stage, 2048, &actor);
    assert_int_equal(sally_engine_drain(stage->engine, 300), 0);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_info(info, SALLY_CLOSE_DRAIN_TIMEOUT, SALLY_ECANCELED, 0);
    assert_int_equal(info->bytes_out + info->bytes_unsent, MB);
    assert_true(info->bytes_unsent > 0);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "RST");
    raw_close(fd);
    stage_end(stage);
}

static void closing_by_id_is_local_and_aborting_is_aborted(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_int_equal(sally_close(stage->engine, actor->id), 0);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    assert_info(actor_wait_closed(actor), SALLY_CLOSE_LOCAL, 0, 0);
    fd = stage_client(stage, 0, &actor);
    assert_int_equal(sally_abort(stage->engine, actor->id), 0);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "RST");
    raw_close(fd);
    assert_info(actor_wait_closed(actor), SALLY_CLOSE_ABORTED, 0, 0);
    stage_end(stage);
}

static void ids_that_name_nothing_are_refused(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore});
    struct lot lot = {.state = stage_seed()};
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    for (unsigned i = 0; i < 2000; i++) {
        /* small generations, shards and indexes: names of listeners and of what never was */
        sally_id id = (uint64_t)lot_below(&lot, 4) << 32 | (uint64_t)lot_below(&lot, 5) << 24 |
                      lot_below(&lot, 4);
        if (i % 2) id = lot_next(&lot);
        if (id == actor->id) continue;
        /* a listener's name may be taken for one that has gone since: nothing must happen */
        int sent = sally_send(stage->engine, id, "x", 1);
        int closed = i % 4 < 2 ? sally_close(stage->engine, id) : sally_abort(stage->engine, id);
        assert_true(sent == 0 || sent == SALLY_ENOCONN || sent == SALLY_ELIMIT);
        assert_true(closed == 0 || closed == SALLY_ENOCONN);
    }
    assert_true(raw_send(fd, "still here", 10));
    STAGE_WAIT(atomic_load(&actor->bytes_in) == 10);
    int again = stage_client(stage, 0, NULL); /* the listener lives */
    raw_close(again);
    raw_close(fd);
    stage_end(stage);
}

/* ---- What on_close may free ---- */

static atomic_uint freed;

static void plain_open(sally_conn *conn)
{
    int *own = malloc(sizeof *own);
    if (!own) abort();
    *own = 7;
    sally_conn_set_user(conn, own);
}

static void plain_data(sally_conn *conn, const void *data, size_t len)
{
    int *own = sally_conn_user(conn);
    ++*own;
    sally_conn_send(conn, data, len);
    if (*(const char *)data == 'a') sally_conn_abort(conn);
    if (*(const char *)data == 'c') sally_conn_close(conn);
}

static void plain_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    free(sally_conn_user(conn));
    sally_conn_set_user(conn, NULL);
    atomic_fetch_add(&freed, 1);
}

static void on_close_is_where_the_program_frees_its_own(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){.no_server = true});
    sally_handler plain = {.on_open = plain_open, .on_data = plain_data, .on_close = plain_close};
    sally_server *server = NULL;
    char address[64];
    assert_int_equal(sally_listen(stage->engine, "127.0.0.1:0", &plain, NULL, &server), 0);
    sally_server_address(server, 0, address, sizeof address);
    atomic_store(&freed, 0);
    for (unsigned i = 0; i < 200; i++) {
        int fd = raw_connect(address, 0);
        assert_true(fd >= 0);
        assert_true(raw_send(fd, &"acxy"[i % 4], 1));
        if (i % 4 == 2)
            raw_reset(fd);
        else
            raw_close(fd);
    }
    /* a port may see that a reset peer has gone before it costs a connection */
    sally_server_stats stats;
    STAGE_WAIT(sally_server_get_stats(server, &stats) == 0 && stats.conns == 0 &&
               stats.accepted == 200 && atomic_load(&freed) + stats.dead_on_arrival == 200);
    stage_destroy_engine(stage);
    assert_int_equal(atomic_load(&freed) + stats.dead_on_arrival, 200);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(a_gentle_close_sends_20_mb_to_a_slow_reader_and_then_fin),
    STAGE_TEST(a_reply_arrives_whole_though_the_peer_goes_on_sending),
    STAGE_TEST(a_peer_that_never_finishes_is_left_after_linger_ms),
    STAGE_TEST_ON(linger_ms_bounds_a_peer_that_sends_without_end, 1),
    STAGE_TEST(abort_resets_the_peer_and_drops_what_is_queued),
    STAGE_TEST(abort_after_close_wins),
    STAGE_TEST(a_thousand_closes_from_threads_give_one_on_close),
    STAGE_TEST(a_peer_that_finishes_is_peer_closed),
    STAGE_TEST(a_peer_that_resets_is_peer_reset),
    STAGE_TEST_ON(a_network_that_fails_is_network, 1),
    STAGE_TEST(nobody_listening_is_connect_failed),
    STAGE_TEST(no_memory_for_accepted_bytes_is_no_memory),
    STAGE_TEST(stopping_the_engine_is_shutdown),
    STAGE_TEST(what_a_drain_cuts_is_drain_timeout),
    STAGE_TEST(closing_by_id_is_local_and_aborting_is_aborted),
    STAGE_TEST(ids_that_name_nothing_are_refused),
    STAGE_TEST(on_close_is_where_the_program_frees_its_own),
};

int main(int argc, char **argv)
{
    return stage_run("close", tests, sizeof tests / sizeof *tests, argc, argv);
}
