/* What a turn seldom finds, and what comes of it when the turn goes the short way: mail that one
 * turn does not take, buffers that other threads gave back, an alarm that rings for nothing, sends
 * of other threads to a connection that has said all, small sends that may be dropped, sends that
 * need a limit. */
#include <string.h>

#include "sallyport/flow.h"
#include "sallyport/timer.h"
#include "support/raw.h"
#include "support/stage.h"

/* ---- Mail ---- */

enum { POSTS = 20000 }; /* more than the letters of a turn */

static void count_post(sally_conn *conn, void *arg)
{
    struct actor *actor = arg;
    STAGE_CHECK(actor->stage, conn != NULL);
    atomic_fetch_add(&actor->number[0], 1);
}

static void post_many(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    (void)data;
    (void)len;
    for (int i = 0; i < POSTS; i++)
        STAGE_CHECK(actor->stage, !sally_post(actor->stage->engine, actor->id, count_post, actor));
}

/* Nothing wakes the shard for the rest: it has posted that itself, and nothing else happens. */
static void mail_that_a_turn_leaves_is_taken_by_the_next(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = post_many,
                                                 .engine.mailbox_letters_max = 2 * POSTS});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "g", 1));
    if (!STAGE_POLL(atomic_load(&actor->number[0]) == POSTS, 5000))
        fail_msg("%u posts have run", (unsigned)atomic_load(&actor->number[0]));
    raw_close(fd);
    stage_end(stage);
}

/* ---- Buffers ---- */

enum { BUFS = 8, KEPT_MAX = BUFS, PIECE = 2048 };

static sally_buf *kept[KEPT_MAX];

/* number[0]: how many were kept; number[1]: 1 when the last one is the receive buffer itself. */
static void keep_piece(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->number[0]);
    if (len == 1) {
        atomic_fetch_add(&actor->number[2], 1);
        return;
    }
    STAGE_CHECK(actor->stage, at < KEPT_MAX && len == PIECE);
    kept[at] = sally_conn_keep(conn, data, len);
    atomic_store(&actor->number[1], sally_buf_data(kept[at]) == data);
    atomic_fetch_add(&actor->number[0], 1);
}

static bool piece_is_lent(int fd, struct actor *actor)
{
    static const char piece[PIECE];
    uint64_t before = atomic_load(&actor->number[0]);
    assert_true(raw_send(fd, piece, sizeof piece));
    STAGE_WAIT(atomic_load(&actor->number[0]) == before + 1);
    return atomic_load(&actor->number[1]);
}

static void drop_kept(struct actor *actor)
{
    uint64_t count = atomic_load(&actor->number[0]);
    while (count > 0) sally_buf_release(kept[--count]);
    atomic_store(&actor->number[0], 0);
}

/* The turn of the byte behind it takes them back; nothing but events has come. */
static void buffers_that_another_thread_gave_back_are_lent_again(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = keep_piece,
                                                 .server.watchdog_ms = SALLY_FOREVER,
                                                 .engine.recv_bufs = BUFS,
                                                 .engine.recv_buf_bytes = PIECE});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    for (unsigned round = 1; round <= 3; round++) {
        unsigned lent = 0;
        while (piece_is_lent(fd, actor)) assert_true(++lent < KEPT_MAX);
        assert_true(lent > 0);
        drop_kept(actor);
        assert_true(raw_send(fd, "g", 1));
        STAGE_WAIT(atomic_load(&actor->number[2]) == round);
    }
    raw_close(fd);
    stage_end(stage);
}

/* ---- Timers ---- */

static void count_tick(const sally_timer_tick *tick, void *user)
{
    struct actor *actor = user;
    (void)tick;
    atomic_fetch_add(&actor->number[1], 1);
}

/* The alarm is set for the first of them, which then is no more. */
static void start_two_and_cancel_one(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    sally_engine *engine = actor->stage->engine;
    sally_timer_options options = {.after_ms = 100, .user = actor, .on_tick = count_tick};
    sally_timer_id first, second;
    STAGE_CHECK(actor->stage, !sally_timer_start(engine, &options, &first));
    options.after_ms = 300;
    STAGE_CHECK(actor->stage, !sally_timer_start(engine, &options, &second));
    memcpy(&actor->user, &first, sizeof first);
}

static void cancel_the_first(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    sally_timer_id first;
    (void)data;
    (void)len;
    memcpy(&first, &actor->user, sizeof first);
    (void)sally_timer_cancel(actor->stage->engine, first);
}

static void an_alarm_for_nothing_is_followed_by_the_next(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = start_two_and_cancel_one,
                                                 .handler.on_data = cancel_the_first});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "c", 1));
    assert_true(STAGE_POLL(atomic_load(&actor->number[1]) >= 1, 5000));
    raw_close(fd);
    stage_end(stage);
}

/* ---- Sends ---- */

static void say_all(sally_conn *conn)
{
    (void)sally_conn_send(conn, "all", 3); /* its chunk is then there for the next send */
    (void)sally_conn_shutdown(conn);
}

static void take_bytes(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    atomic_fetch_add(&actor_of(conn)->number[0], len);
}

static void a_late_send_by_id_does_not_end_who_said_all(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_open = say_all, .handler.on_data = take_bytes});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    char said[3];
    assert_true(raw_read(fd, said, 3));
    assert_int_equal(raw_read_some(fd, said, 1), 0); /* its end has come */
    for (unsigned i = 1; i <= 3; i++) {
        (void)sally_send(stage->engine, actor->id, "late", 4);
        assert_true(raw_send(fd, "g", 1));
        bool came =
            STAGE_POLL(atomic_load(&actor->number[0]) == i || atomic_load(&actor->closes), 5000);
        assert_true(came);
    }
    assert_int_equal(atomic_load(&actor->closes), 0);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_PEER_CLOSED);
    stage_end(stage);
}

enum { UNIT = 100, UNITS = 30, KEPT = 10, LOW = 4 };

/* All in one turn, so that nothing has gone when the queue is full. */
static void send_small_units(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    char unit[UNIT];
    (void)data;
    (void)len;
    for (int i = 0; i < UNITS; i++) {
        memset(unit, 'A' + i, sizeof unit);
        STAGE_CHECK(actor->stage, !sally_conn_send(conn, unit, sizeof unit));
    }
    uint64_t bytes;
    STAGE_CHECK(actor->stage, sally_conn_dropped(conn, &bytes) == UNITS - KEPT);
    STAGE_CHECK(actor->stage, bytes == (UNITS - KEPT) * UNIT);
    sally_conn_close(conn);
}

static void small_sends_below_the_low_mark_are_dropped_one_by_one(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = send_small_units,
                                                 .server.conn = {.at_full = SALLY_FULL_DROP_OLDEST,
                                                                 .send_bytes_max = KEPT * UNIT,
                                                                 .send_high_bytes = 2 * LOW * UNIT,
                                                                 .send_low_bytes = LOW * UNIT}});
    int fd = stage_client(stage, 0, NULL);
    char came[KEPT * UNIT];
    assert_true(raw_send(fd, "g", 1));
    assert_true(raw_read(fd, came, sizeof came));
    for (int i = 0; i < KEPT * UNIT; i++) assert_int_equal(came[i], 'A' + UNITS - KEPT + i / UNIT);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    stage_end(stage);
}

/* ---- Limits of sends: no other timer is set, so nothing but the send's own ends a silence.
 * The queue stays below its low mark: a connection that pauses is looked at in any case. ---- */

enum { STALL_MS = 100, BIG = 4 << 20 };

/* One piece, and more than the system takes. */
static void send_big(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    sally_buf *buf = sally_buf_create(stage->engine, BIG);
    STAGE_CHECK(stage, buf != NULL);
    STAGE_CHECK(stage, sally_conn_send_buf(conn, buf) == 0);
    sally_buf_release(buf);
}

static void send_big_on_data(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    send_big(conn);
}

/* Its own answer is the turn's first send, so on io_uring the other's goes through the ring. Small
 * ones, each behind one that has gone: none is taken in part, and the last one not at all. */
static void answer_and_send_to_another(sally_conn *conn, const void *data, size_t len)
{
    static const char piece[64];
    struct actor *actor = actor_of(conn), *other = stage_actor(actor->stage, 0);
    (void)len;
    STAGE_CHECK(actor->stage, sally_conn_send(conn, data, 1) == 0);
    if (atomic_load(&other->closed) || sally_conn_queued(other->conn)) return;
    (void)sally_conn_send(other->conn, piece, sizeof piece);
}

static struct stage *stall_stage(const struct stage_way *way,
                                 void (*on_data)(sally_conn *, const void *, size_t))
{
    return stage_begin(way,
                       &(struct stage_options){.handler.on_data = on_data,
                                               .server = {.watchdog_ms = SALLY_FOREVER,
                                                          .conn = {.first_byte_ms = SALLY_FOREVER,
                                                                   .idle_ms = SALLY_FOREVER,
                                                                   .write_stall_ms = STALL_MS,
                                                                   .send_buf_bytes = 4096,
                                                                   .send_bytes_max = 2 * BIG,
                                                                   .send_high_bytes = 2 * BIG,
                                                                   .send_low_bytes = 2 * BIG}}});
}

static void must_be_cut(struct actor *actor)
{
    assert_true(STAGE_POLL(atomic_load(&actor->closed), 10000));
    assert_int_equal(actor->info.reason, SALLY_CLOSE_WRITE_TIMEOUT);
}

static void the_first_send_of_a_connection_has_its_limit(const struct stage_way *way)
{
    struct stage *stage = stall_stage(way, send_big_on_data);
    struct actor *actor;
    int fd = stage_client(stage, 4096, &actor);
    assert_true(raw_send(fd, "g", 1));
    must_be_cut(actor);
    raw_close(fd);
    stage_end(stage);
}

static void a_send_through_the_ring_that_takes_nothing_has_its_limit(const struct stage_way *way)
{
    struct stage *stage = stall_stage(way, answer_and_send_to_another);
    struct actor *deaf;
    char answer;
    int fd = stage_client(stage, 1024, &deaf), other = stage_client(stage, 0, NULL);
    uint64_t until_us = stage_now_us() + 10 * 1000 * 1000;
    while (!atomic_load(&deaf->closed) && stage_now_us() < until_us) {
        assert_true(raw_send(other, "g", 1));
        assert_true(raw_read(other, &answer, 1));
    }
    must_be_cut(deaf);
    raw_close(fd);
    raw_close(other);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(mail_that_a_turn_leaves_is_taken_by_the_next, 1),
    STAGE_TEST_ON(buffers_that_another_thread_gave_back_are_lent_again, 1),
    STAGE_TEST_ON(an_alarm_for_nothing_is_followed_by_the_next, 1),
    STAGE_TEST_ON(a_late_send_by_id_does_not_end_who_said_all, 1),
    STAGE_TEST_ON(small_sends_below_the_low_mark_are_dropped_one_by_one, 1),
    STAGE_TEST_ON(the_first_send_of_a_connection_has_its_limit, 1),
    STAGE_TEST_ON(a_send_through_the_ring_that_takes_nothing_has_its_limit, 1),
};

int main(int argc, char **argv)
{
    return stage_run("turn", tests, sizeof tests / sizeof *tests, argc, argv);
}
