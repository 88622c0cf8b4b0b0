/* How long a message may take, in virtual time: from its first byte, whatever comes on the way; not
 * while reading is paused, by the handler or by the send queue; not after the end of the stream,
 * when its memory is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/framing.h"
#include "sallyport/sim.h"

enum {
    MESSAGE_MS = 2000,
    PAUSE_AT_MS = 500,
    RESUME_AFTER_MS = 5000,
    WAY_MS = 25,
    BIG = 200000,
    CAME = 150000
};
#define SERVER "127.0.0.1:5002"

static struct stage {
    sally_sim *sim;
    sally_engine *engine;
    sally_sim_peer *peer;
    unsigned timers;
    unsigned messages;
    uint64_t opened_ms;
    uint64_t resumed_ms;
    uint64_t closed_ms;
    uint32_t at_eof; /* bytes of the message that is not whole */
    sally_close_info info;
} stage;

static void on_open(sally_conn *conn)
{
    (void)conn;
    stage.opened_ms = sally_sim_now_ms(stage.sim);
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    (void)data;
    (void)len;
    stage.messages++;
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    stage.info = *info;
    stage.closed_ms = sally_sim_now_ms(stage.sim);
}

static void begin(const sally_handler *given)
{
    static const sally_framing framing = {.kind = SALLY_FRAMING_LENGTH,
                                          .message_bytes_max = 2 * BIG};
    sally_server_options options = {.conn = {.framing = &framing,
                                             .message_ms = MESSAGE_MS,
                                             .send_high_bytes = 20000,
                                             .write_stall_ms = SALLY_FOREVER}};
    sally_handler handler = *given;
    if (!handler.on_message) handler.on_message = on_message;
    if (!handler.on_open) handler.on_open = on_open;
    handler.on_close = on_close;
    memset(&stage, 0, sizeof stage);
    assert_int_equal(sally_sim_create(&stage.sim, 1, NULL), 0);
    assert_int_equal(sally_sim_engine(stage.sim, NULL, &stage.engine), 0);
    assert_int_equal(sally_listen(stage.engine, SERVER, &handler, &options, NULL), 0);
    stage.peer = sally_sim_dial(stage.sim, SERVER);
    (void)sally_sim_run(stage.sim, 100);
}

static void say(const char *bytes, size_t len)
{
    assert_int_equal(sally_sim_peer_write(stage.peer, bytes, len), len);
}

static void end(void)
{
    assert_int_equal(sally_engine_destroy(stage.engine), 0);
    sally_sim_destroy(stage.sim);
}

/* A limit counts whole milliseconds, begun ones too. */
static void within(uint64_t ms, uint64_t from) { assert_in_range(ms, from - 1, from + WAY_MS); }

static void bytes_on_the_way_dont_extend_the_time(void **state)
{
    (void)state;
    begin(&(sally_handler){0});
    uint64_t began = sally_sim_now_ms(stage.sim);
    say("\0\0\0\x40", 4);
    for (int i = 0; i < 60 && !stage.closed_ms; i++) {
        (void)sally_sim_run(stage.sim, 100);
        (void)sally_sim_peer_write(stage.peer, "x", 1);
    }
    assert_int_equal(stage.info.reason, SALLY_CLOSE_MESSAGE_TIMEOUT);
    assert_int_equal(stage.info.error, SALLY_ETIMEDOUT);
    within(stage.closed_ms, began + MESSAGE_MS);
    assert_in_range(stage.info.bytes_truncated, 4 + 15, 4 + 20);
    end();
}

/* One message after the other, each begun with the end of the one before: no limit is reached. */
static void each_message_has_its_own_time(void **state)
{
    (void)state;
    begin(&(sally_handler){0});
    say("\0\0\0", 3);
    for (unsigned i = 1; i <= 10; i++) {
        (void)sally_sim_run(stage.sim, MESSAGE_MS - 100);
        say("\1x\0\0\0", 5);
    }
    (void)sally_sim_run(stage.sim, 100);
    assert_int_equal(stage.messages, 10);
    assert_int_equal(stage.closed_ms, 0);
    (void)sally_sim_run(stage.sim, MESSAGE_MS);
    assert_int_equal(stage.info.reason, SALLY_CLOSE_MESSAGE_TIMEOUT);
    end();
}

static void pause_later(sally_conn *conn)
{
    on_open(conn);
    assert_int_equal(sally_conn_timer(conn, PAUSE_AT_MS), 0);
}

static void pause_then_resume(sally_conn *conn)
{
    if (stage.timers++ == 0) {
        assert_int_equal(sally_conn_message_bytes(conn), 5);
        assert_int_equal(sally_conn_pause(conn), 0);
        assert_int_equal(sally_conn_timer(conn, RESUME_AFTER_MS), 0);
        return;
    }
    stage.resumed_ms = sally_sim_now_ms(stage.sim);
    assert_int_equal(sally_conn_resume(conn), 0);
}

/* It is in the middle of a message when the handler pauses for longer than a message may take. */
static void a_pause_by_the_handler_does_not_count(void **state)
{
    (void)state;
    begin(&(sally_handler){.on_open = pause_later, .on_timer = pause_then_resume});
    say("\0\0\0\x40x", 5);
    (void)sally_sim_run(stage.sim, PAUSE_AT_MS + RESUME_AFTER_MS + 100);
    assert_int_equal(stage.timers, 2);
    assert_int_equal(stage.closed_ms, 0);
    (void)sally_sim_run(stage.sim, 2 * MESSAGE_MS);
    assert_int_equal(stage.info.reason, SALLY_CLOSE_MESSAGE_TIMEOUT);
    within(stage.closed_ms, stage.resumed_ms + MESSAGE_MS);
    assert_int_equal(stage.info.bytes_truncated, 5);
    end();
}

static void answer_much(sally_conn *conn)
{
    static const char zeros[BIG];
    if (stage.timers++ == 0) assert_int_equal(sally_conn_timer(conn, PAUSE_AT_MS), 0);
    assert_int_equal(sally_conn_send_message(conn, zeros, sizeof zeros), 0);
}

/* The same by the send queue: the peer doesn't read what it is sent. */
static void a_pause_by_the_send_queue_does_not_count(void **state)
{
    (void)state;
    begin(&(sally_handler){.on_open = pause_later, .on_timer = answer_much});
    sally_sim_peer_stop_reading(stage.peer);
    say("\0\0\0\x40x", 5);
    (void)sally_sim_run(stage.sim, PAUSE_AT_MS + RESUME_AFTER_MS);
    assert_int_equal(stage.closed_ms, 0);
    sally_sim_peer_read(stage.peer);
    (void)sally_sim_run(stage.sim, MESSAGE_MS - 500);
    assert_int_equal(stage.closed_ms, 0);
    (void)sally_sim_run(stage.sim, 3 * MESSAGE_MS);
    assert_int_equal(stage.info.reason, SALLY_CLOSE_MESSAGE_TIMEOUT);
    end();
}

/* 150000 bytes of a message of 200004; returns how much memory there was before. */
static uint64_t say_a_part(void)
{
    static const char zeros[CAME - 4];
    uint64_t before = sally_sim_memory_bytes(stage.sim);
    say("\0\3\x0d\x40", 4);
    for (size_t at = 0; at < sizeof zeros;) {
        at += sally_sim_peer_write(stage.peer, zeros + at, sizeof zeros - at);
        (void)sally_sim_run(stage.sim, 10);
    }
    (void)sally_sim_run(stage.sim, 200);
    assert_true(sally_sim_memory_bytes(stage.sim) >= before + CAME);
    return before;
}

static void answer_in_time(sally_conn *conn)
{
    stage.at_eof = sally_conn_message_bytes(conn);
    assert_int_equal(sally_conn_timer(conn, RESUME_AFTER_MS), 0);
}

static void answer_and_close(sally_conn *conn)
{
    assert_int_equal(sally_conn_message_bytes(conn), stage.at_eof);
    assert_int_equal(sally_conn_send_message(conn, "late", 4), 0);
    assert_int_equal(sally_conn_close(conn), 0);
}

/* The peer has finished in the middle of a message and waits for an answer. */
static void after_the_end_of_the_stream_nothing_is_kept_and_no_limit_runs(void **state)
{
    (void)state;
    begin(&(sally_handler){.on_eof = answer_in_time, .on_timer = answer_and_close});
    uint64_t before = say_a_part();
    sally_sim_peer_finish(stage.peer);
    (void)sally_sim_run(stage.sim, 200);
    assert_int_equal(stage.at_eof, CAME);
    assert_true(sally_sim_memory_bytes(stage.sim) < before + CAME / 2);
    (void)sally_sim_run(stage.sim, RESUME_AFTER_MS + 1000);
    size_t len = 0;
    const void *answer = sally_sim_peer_received(stage.peer, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(answer, "\0\0\0\4late", 8);
    assert_int_equal(stage.info.reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(stage.info.bytes_truncated, CAME);
    end();
}

static void close_soon(sally_conn *conn) { assert_int_equal(sally_conn_close(conn), 0); }

static void close_later(sally_conn *conn)
{
    on_open(conn);
    assert_int_equal(sally_conn_timer(conn, MESSAGE_MS - 10), 0);
}

/* Our end is closed and waits for the peer's, which doesn't come for a while. */
static void a_connection_that_closes_keeps_no_message(void **state)
{
    (void)state;
    begin(&(sally_handler){.on_open = close_later, .on_timer = close_soon});
    uint64_t before = say_a_part();
    (void)sally_sim_run(stage.sim, MESSAGE_MS);
    assert_int_equal(sally_sim_peer_get_state(stage.peer), SALLY_SIM_FINISHED);
    assert_int_equal(stage.closed_ms, 0);
    assert_true(sally_sim_memory_bytes(stage.sim) < before + CAME / 2);
    sally_sim_peer_close(stage.peer);
    (void)sally_sim_run(stage.sim, 200);
    assert_int_equal(stage.info.reason, SALLY_CLOSE_LOCAL);
    assert_int_equal(stage.info.bytes_truncated, CAME);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_on_the_way_dont_extend_the_time),
        cmocka_unit_test(each_message_has_its_own_time),
        cmocka_unit_test(a_pause_by_the_handler_does_not_count),
        cmocka_unit_test(a_pause_by_the_send_queue_does_not_count),
        cmocka_unit_test(after_the_end_of_the_stream_nothing_is_kept_and_no_limit_runs),
        cmocka_unit_test(a_connection_that_closes_keeps_no_message),
    };
    return cmocka_run_group_tests_name("framing_time", tests, NULL, NULL);
}
