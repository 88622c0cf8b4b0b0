/* Files on the wire: what holds them back, what ends them, and many connections that send one. */
#include <string.h>

#include "net/support/filed.h"
#include "net/support/raw.h"
#include "sallyport/rate.h"
#include "sallyport/why.h"

enum { SMALL = 1000 };

static void close_after(sally_conn *conn) { sally_conn_close(conn); }

/* ---- Holding back ---- */

static void send_corked(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, sally_conn_cork(conn) == 0);
    filed_send_bytes(conn, 0, 100);
    STAGE_CHECK(stage, filed_send(conn, 100, SMALL, 0) == 0);
    STAGE_CHECK(stage, sally_conn_timer(conn, 30) == 0);
}

static void uncork(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, sally_conn_queued(conn) == 100 + SMALL);
    STAGE_CHECK(stage, sally_conn_uncork(conn) == 0);
    sally_conn_close(conn);
}

static void send_long_corked(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_cork(conn) == 0);
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 0, 2 * MB, 0) == 0);
}

static void a_cork_holds_a_short_one_back(const struct stage_way *way)
{
    struct stage_options options = {.handler = {.on_open = send_corked, .on_timer = uncork}};
    struct stage *stage = filed_begin(way, 2 * MB, &options);
    filed_check_whole(stage, 100 + SMALL, 1);
    filed_end(stage);
    options.handler = (sally_handler){.on_open = send_long_corked, .on_drain = close_after};
    stage = filed_begin(way, 2 * MB, &options);
    filed_check_whole(stage, 2 * MB, 1);
    filed_end(stage);
}

/* number[2]: the most that went at once. */
static void count_most(sally_conn *conn, size_t bytes)
{
    struct actor *actor = actor_of(conn);
    if (bytes > atomic_load(&actor->number[2])) atomic_store(&actor->number[2], bytes);
}

/* What it lasts is far beyond linger_ms. */
static void send_slowly(sally_conn *conn)
{
    filed_send_bytes(conn, 0, 1000);
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 1000, 60 * KB, 0) == 0);
    filed_send_bytes(conn, 1000 + 60 * KB, 1000);
    sally_conn_close(conn);
}

static void limits_for_bytes_a_second_hold_for_it(const struct stage_way *way)
{
    sally_rates rates = {.send = {.bytes_s = 60 * KB, .burst_bytes = 4096}};
    struct stage *stage = filed_begin(
        way, MB,
        &(struct stage_options){.handler = {.on_open = send_slowly, .on_sent = count_most},
                                .server.conn = {.rates = &rates, .linger_ms = 500}});
    struct actor *actor = filed_check_whole(stage, 2000 + 60 * KB, 1);
    /* an end of a send and the next one may come in one turn */
    assert_true(atomic_load(&actor->number[2]) <= 2 * rates.send.burst_bytes);
    assert_true(actor->closed_us - actor->dialled_us > 700 * 1000); /* 1 s by the rate */
    filed_end(stage);
}

/* Limits that come while a part is in flight. */
static void set_rates(sally_conn *conn, size_t bytes)
{
    sally_rates rates = {.send = {.bytes_s = 64 * MB}};
    const sally_rates *which = atomic_fetch_add(&actor_of(conn)->number[2], 1) % 2 ? NULL : &rates;
    STAGE_CHECK(actor_of(conn)->stage, bytes <= PART); /* a turn's */
    int err = sally_conn_set_rates(conn, which);
    STAGE_CHECK(actor_of(conn)->stage, err == 0 || err == SALLY_ECLOSED);
}

static void send_long(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 0, 4 * MB, 0) == 0);
    filed_send_bytes(conn, 4 * MB, 100);
}

static void limits_may_change_on_the_way(const struct stage_way *way)
{
    struct stage *stage = filed_begin(
        way, 5 * MB,
        &(struct stage_options){
            .handler = {.on_open = send_long, .on_sent = set_rates, .on_drain = close_after}});
    filed_check_whole(stage, 4 * MB + 100, 1);
    filed_end(stage);
}

/* ---- Ends ---- */

enum { HOW_ABORT, HOW_RESET, HOW_STOP, HOWS, ENDLESS = 24 * MB };

static void send_endless(sally_conn *conn)
{
    filed_send_bytes(conn, 0, 100);
    for (uint64_t tag = 0; tag < 3; tag++)
        STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 100, ENDLESS, tag) == 0);
    filed_send_bytes(conn, 0, 100);
}

static void an_end_in_the_middle_lets_go_of_the_file(const struct stage_way *way)
{
    for (unsigned how = 0; how < HOWS; how++) {
        struct stage *stage = filed_begin(way, ENDLESS + 100,
                                          &(struct stage_options){.handler.on_open = send_endless});
        struct actor *actor;
        int fd = stage_client(stage, 4096, &actor); /* a reader that is stuck */
        filed_release();                            /* those of the sends hold it */
        assert_true(raw_check(fd, STREAM, 0, 20000, 0));
        if (how == HOW_ABORT) assert_int_equal(sally_abort(stage->engine, actor->id), 0);
        if (how == HOW_STOP) assert_int_equal(sally_engine_stop(stage->engine), 0);
        if (how == HOW_RESET)
            raw_reset(fd);
        else
            assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "RST");
        const sally_close_info *info = actor_wait_closed(actor);
        if (how != HOW_RESET) raw_close(fd);
        assert_int_equal(atomic_load(&actor->number[0]), 0);
        assert_int_equal(atomic_load(&actor->number[1]), 3);
        assert_int_equal(info->bytes_out + info->bytes_unsent, 200 + 3 * (uint64_t)ENDLESS);
        stage_end(stage); /* with the descriptors counted */
    }
}

/* An idle limit ends it by FIN elsewhere; a part of a file must not look like the whole. */
static void send_stuck(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 0, ENDLESS, 0) == 0);
}

static void a_limit_that_ends_it_resets(const struct stage_way *way)
{
    struct stage *stage = filed_begin(
        way, ENDLESS,
        &(struct stage_options){.handler.on_open = send_stuck, .server.conn.idle_ms = 100});
    struct actor *actor;
    int fd = stage_client(stage, 4096, &actor);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_IDLE_TIMEOUT);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, NULL)), "RST");
    raw_close(fd);
    filed_end(stage);
}

static void a_reader_that_is_stuck_meets_the_write_limit(const struct stage_way *way)
{
    struct stage *stage = filed_begin(
        way, ENDLESS,
        &(struct stage_options){.handler.on_open = send_stuck, .server.conn.write_stall_ms = 100});
    struct actor *actor;
    int fd = stage_client(stage, 4096, &actor);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_WRITE_TIMEOUT);
    raw_close(fd);
    filed_end(stage);
}

static void keep_why(sally_conn *conn, const sally_close_info *info)
{
    char why[1024];
    struct actor *actor = actor_of(conn);
    sally_conn_why(conn, why, sizeof why);
    STAGE_CHECK(actor->stage, sally_conn_initiator(conn) == SALLY_INITIATOR_SYSTEM);
    STAGE_CHECK(actor->stage, strstr(why, sally_close_reason_text(SALLY_CLOSE_FILE)));
    STAGE_CHECK(actor->stage, strstr(why, "SALLY_EFILEEND"));
    STAGE_CHECK(actor->stage, info->bytes_unsent > 0);
}

/* What was in the file comes, and then a reset: never the tail in place of what is missing. */
static void a_file_made_shorter_resets(const struct stage_way *way)
{
    struct stage *stage = filed_begin(
        way, ENDLESS,
        &(struct stage_options){
            .handler = {.on_open = send_stuck, .on_drain = close_after, .on_close = keep_why}});
    struct actor *actor;
    int fd = stage_client(stage, 4096, &actor);
    STAGE_WAIT(atomic_load(&actor->opens));
    assert_true(raw_check(fd, STREAM, 0, 20000, 0));
    filed_cut(ENDLESS / 2);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 20000, &bytes)), "RST");
    assert_true(20000 + bytes <= ENDLESS / 2);
    raw_close(fd);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_FILE);
    assert_int_equal(info->error, SALLY_EFILEEND);
    assert_int_equal(info->bytes_out, ENDLESS / 2);
    assert_int_equal(atomic_load(&actor->number[1]), 1);
    filed_end(stage);
}

static void a_drain_lets_it_finish(const struct stage_way *way)
{
    struct stage *stage =
        filed_begin(way, 5 * MB, &(struct stage_options){.handler.on_open = send_long});
    struct actor *actor;
    uint64_t bytes = 0;
    int fd = stage_client(stage, 4096, &actor);
    assert_int_equal(sally_engine_drain(stage->engine, STAGE_LIMIT_MS), 0);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
    raw_close(fd);
    assert_int_equal(bytes, 4 * MB + 100);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_SHUTDOWN);
    assert_int_equal(atomic_load(&actor->number[0]), 1);
    filed_end(stage);
}

/* ---- Many ---- */

enum { READERS = 50 };

static void send_all(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 0, 0, 0) == 0);
    sally_conn_close(conn);
}

/* All at once, each at its own pace. */
static void many_connections_send_one_file(const struct stage_way *way)
{
    uint64_t len = stage_scaled(10 * MB) / 10;
    struct stage *stage =
        filed_begin(way, len, &(struct stage_options){.handler.on_open = send_all});
    int fds[READERS];
    uint64_t high = atomic_load(&stage->memory_bytes);
    for (unsigned i = 0; i < READERS; i++) {
        struct actor *actor;
        fds[i] = stage_client(stage, i % 2 ? 4096 : 0, &actor);
    }
    filed_release(); /* the last of them closes it */
    for (uint64_t at = 0; at < len;) {
        uint64_t piece = len - at < len / 3 ? len - at : len / 3;
        for (unsigned i = 0; i < READERS; i++) assert_true(raw_check(fds[i], STREAM, at, piece, 0));
        at += piece;
    }
    for (unsigned i = 0; i < READERS; i++) {
        assert_string_equal(raw_end_name(raw_read_to_end(fds[i], NULL)), "FIN");
        raw_close(fds[i]);
        (void)actor_wait_closed(stage_actor(stage, i));
        assert_int_equal(atomic_load(&stage_actor(stage, i)->number[0]), 1);
    }
    assert_true(atomic_load(&stage->memory_high_bytes) - high < (uint64_t)READERS * 16 * KB);
    stage_end(stage);
}

/* By the engine instead of the system: the same ends. */
static void files_that_are_read_end_alike(const struct stage_way *way)
{
    filed_read = true;
    limits_for_bytes_a_second_hold_for_it(way);
    an_end_in_the_middle_lets_go_of_the_file(way);
    a_file_made_shorter_resets(way);
    a_drain_lets_it_finish(way);
    filed_read = false;
}

int main(int argc, char **argv)
{
    const struct stage_test tests[] = {
        STAGE_TEST_ON(a_cork_holds_a_short_one_back, 1),
        STAGE_TEST_ON(limits_for_bytes_a_second_hold_for_it, 1),
        STAGE_TEST_ON(limits_may_change_on_the_way, 1),
        STAGE_TEST_ON(an_end_in_the_middle_lets_go_of_the_file, 2),
        STAGE_TEST_ON(a_limit_that_ends_it_resets, 1),
        STAGE_TEST_ON(a_reader_that_is_stuck_meets_the_write_limit, 1),
        STAGE_TEST_ON(a_file_made_shorter_resets, 1),
        STAGE_TEST_ON(a_drain_lets_it_finish, 1),
        STAGE_TEST_ON(many_connections_send_one_file, 3),
        STAGE_TEST_ON(files_that_are_read_end_alike, 2),
    };
    return stage_run("net/file_end", tests, sizeof tests / sizeof *tests, argc, argv);
}
