/* Time limits of WebSockets, in the simulator's time and but for its network's delays, and memory
 * that fails at any place. */
#include "net/support/ws_hall.h"

enum { TEXT = 0x81, BIN = 0x82, BYE = 0x88 };

static atomic_int asked;

static void close_at_c(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)type;
    if (len && *(const char *)data == 'c' && sally_ws_close(conn, 1000, NULL))
        atomic_fetch_add(&hall_of(conn)->wrongs, 1);
}

static void assert_closed_at(struct hall *hall, sally_close_reason why, uint64_t ms)
{
    hall_wait(hall, &hall->closed, 1);
    if (hall_last(hall)->why != why || hall_last(hall)->closed_ms + 2 < ms ||
        hall_last(hall)->closed_ms > ms + 60)
        fail_msg("reason %d at %u ms, not %u", (int)hall_last(hall)->why,
                 (unsigned)hall_last(hall)->closed_ms, (unsigned)ms);
}

/* message_ms is for the whole of a message: parts that keep coming, empty ones too, don't prolong
 * it. A whole message begins anew. */
static void a_message_in_endless_parts_runs_out_of_time(void **state)
{
    (void)state;
    struct hall *hall =
        hall_begin(HALL_SIM, &(struct hall_options){.server.conn.message_ms = 2000});
    struct peer peer = hall_visit(hall);
    for (int i = 0; i < 3; i++) {
        say_frame(&peer, 0x01, "a", 1);
        hall_run(hall, 1500);
        say_frame(&peer, 0x80, "b", 1);
        hall_run(hall, 100);
    }
    assert_int_equal(atomic_load(&hall->messages), 3);
    uint64_t began = sally_sim_now_ms(hall->sim);
    say_frame(&peer, 0x01, "a", 1);
    for (int i = 0; i < 30 && !atomic_load(&hall->closed); i++) {
        hall_run(hall, 100);
        say_frame(&peer, 0x00, "b", i & 1);
    }
    assert_closed_at(hall, SALLY_CLOSE_MESSAGE_TIMEOUT, began + 2000);
    hall_end(hall);
}

static void a_frame_in_slow_pieces_runs_out_of_time(void **state)
{
    (void)state;
    unsigned char frame[128];
    struct hall *hall =
        hall_begin(HALL_SIM, &(struct hall_options){.server.conn.message_ms = 2000});
    struct peer peer = hall_visit(hall);
    size_t len = frame_put(frame, TEXT, frame, 100);
    uint64_t began = sally_sim_now_ms(hall->sim);
    for (size_t i = 0; i < len && !atomic_load(&hall->closed); i++) {
        peer_say(&peer, frame + i, 1);
        hall_run(hall, 100);
    }
    assert_closed_at(hall, SALLY_CLOSE_MESSAGE_TIMEOUT, began + 2000);
    hall_end(hall);
}

static bool once_more(sally_conn *conn, sally_timeout which)
{
    (void)conn;
    if (which != SALLY_TIMEOUT_MESSAGE) atomic_fetch_add(&asked, 100);
    return atomic_fetch_add(&asked, 1) == 1;
}

/* on_timeout may grant a message its time once more. */
static void a_program_may_give_a_message_more_time(void **state)
{
    (void)state;
    atomic_store(&asked, 0);
    struct hall *hall =
        hall_begin(HALL_SIM, &(struct hall_options){.handler.on_timeout = once_more,
                                                    .server.conn.message_ms = 2000});
    struct peer peer = hall_visit(hall);
    uint64_t began = sally_sim_now_ms(hall->sim);
    say_frame(&peer, 0x01, "a", 1);
    assert_closed_at(hall, SALLY_CLOSE_MESSAGE_TIMEOUT, began + 4000);
    assert_int_equal(atomic_load(&asked), 2);
    hall_end(hall);
}

static void who_does_not_answer_a_goodbye_is_not_waited_for(void **state)
{
    (void)state;
    struct hall *hall =
        hall_begin(HALL_SIM, &(struct hall_options){.handler.on_message = close_at_c,
                                                    .server.conn.linger_ms = 3000});
    struct peer peer = hall_visit(hall);
    uint64_t began = sally_sim_now_ms(hall->sim);
    say_frame(&peer, TEXT, "c", 1);
    assert_closed_at(hall, SALLY_CLOSE_LINGER_TIMEOUT, began + 3000);
    assert_int_equal(hall_last(hall)->code, 1006);
    assert_int_equal(hall_last(hall)->code_sent, 1000);
    hall_end(hall);
}

/* A heartbeat is a ping, and an answer is a sign of life. */
static void heartbeats_are_pings(void **state)
{
    (void)state;
    struct hall *hall = hall_begin(
        HALL_SIM, &(struct hall_options){
                      .server.conn.limits = {.heartbeat_ms = 1000, .heartbeat_dead_ms = 3500}});
    struct peer peer = hall_visit(hall);
    uint64_t last = 0;
    for (int i = 0; i < 10; i++) {
        assert_hears(&peer, "\x89\x00", 2);
        say_frame(&peer, 0x8a, "", 0);
        last = sally_sim_now_ms(hall->sim);
    }
    assert_closed_at(hall, SALLY_CLOSE_HEARTBEAT_TIMEOUT, last + 3500);
    hall_end(hall);
}

/* ---- Memory ---- */

static void echo_or_abort(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    if (sally_ws_send(conn, type, data, len)) sally_conn_abort(conn);
}

static void visit_badly(struct hall *hall)
{
    static unsigned char said[20000], plain[9000];
    struct peer peer = hall_dial(hall);
    size_t len = strlen(hall_upgrade);
    memcpy(said, hall_upgrade, len);
    len += frame_put(said + len, 0x02, plain, 600);
    len += frame_put(said + len, 0x80, plain, 700);
    len += frame_put(said + len, BIN, plain, sizeof plain);
    len += frame_put(said + len, BYE, "\x03\xe8why", 5);
    for (size_t at = 0, tries = 0; at < len && tries < 2000; tries++) {
        at += sally_sim_peer_write(peer.sim, said + at, len - at); /* it may be refused meanwhile */
        hall_run(hall, 1);
    }
    hall_run(hall, 500);
    peer_leave(&peer);
    hall_run(hall, 500);
}

/* Each allocation fails once: the connection ends, nothing else does, nothing is left behind. */
static void memory_may_fail_at_any_place(void **state)
{
    (void)state;
    bool failed = true;
    unsigned n = 0;
    while (failed) {
        struct hall *hall =
            hall_begin(HALL_SIM, &(struct hall_options){.handler.on_message = echo_or_abort});
        sally_sim_fail_alloc_at(hall->sim, ++n, false);
        visit_badly(hall);
        failed = sally_sim_alloc_failed(hall->sim);
        sally_sim_fail_alloc_at(hall->sim, 0, false);
        unsigned closed = atomic_load(&hall->closed);
        struct peer peer = hall_visit(hall); /* the next is served */
        say_frame(&peer, BYE, "", 0);
        hall_wait(hall, &hall->closed, closed + 1);
        hall_end(hall);
        assert_true(n < 200);
    }
    printf("%u places\n", n - 1);
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_in_endless_parts_runs_out_of_time),
        cmocka_unit_test(a_frame_in_slow_pieces_runs_out_of_time),
        cmocka_unit_test(a_program_may_give_a_message_more_time),
        cmocka_unit_test(who_does_not_answer_a_goodbye_is_not_waited_for),
        cmocka_unit_test(heartbeats_are_pings),
        cmocka_unit_test(memory_may_fail_at_any_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
