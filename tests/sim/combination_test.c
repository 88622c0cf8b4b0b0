/* Features that touch the same state, two at a time: limits for bytes (P-73), reading on demand
 * (P-52), time limits and sends by id. Each test is a defect that only both together had. What all
 * of them do together, by the seed, is in mixture_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/server.h"
#include "sallyport/flow.h"
#include "sallyport/framing.h"
#include "sallyport/rate.h"
#include "sallyport/sim.h"
#include "sallyport/work.h"

#define SERVER "127.0.0.1:5002"
enum { MOST = 4000 };

static const sally_framing demand = {.kind = SALLY_FRAMING_ON_DEMAND, .message_bytes_max = MOST};

static struct {
    sally_sim *sim;
    sally_engine *engine;
    sally_bandwidth *before, *after;
    sally_id id;
    unsigned opened, closed, messages, drains;
    uint64_t bytes, closed_ms, wanted_ms, limited_ms, sent_after;
    sally_close_reason reason;
} seen;

static void begin(const sally_sim_options *world, const sally_engine_options *engine)
{
    static uint64_t seed = 11;
    memset(&seen, 0, sizeof seen);
    assert_int_equal(sally_sim_create(&seen.sim, seed++, world), 0);
    assert_int_equal(sally_sim_engine(seen.sim, engine, &seen.engine), 0);
}

static void end(void)
{
    assert_int_equal(sally_engine_destroy(seen.engine), 0);
    assert_int_equal(sally_sim_memory_bytes(seen.sim), 0);
    assert_int_equal(seen.opened, seen.closed);
    sally_sim_destroy(seen.sim);
}

static sally_sim_peer *serve(const sally_handler *handler, const sally_conn_options *conn)
{
    sally_server_options options = {.conn = *conn};
    assert_int_equal(sally_listen(seen.engine, SERVER, handler, &options, NULL), 0);
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
    assert_non_null(peer);
    sally_sim_run(seen.sim, 100);
    return peer;
}

/* The peer's send buffer may be small. */
static void say(sally_sim_peer *peer, size_t len)
{
    static const unsigned char bytes[MOST];
    for (unsigned rounds = 0; len; rounds++) {
        assert_true(rounds < 20000);
        size_t took = sally_sim_peer_write(peer, bytes, len);
        len -= took;
        if (!took) sally_sim_run(seen.sim, 1);
    }
}

static void on_open(sally_conn *conn)
{
    seen.opened++;
    seen.id = sally_conn_id(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    seen.closed++;
    seen.reason = info->reason;
    seen.closed_ms = sally_sim_now_ms(seen.sim);
}

/* ---- Waiting in line for longer than idle_ms ---- */

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    (void)data;
    seen.bytes += len;
}

static void who_has_waited_in_line_is_idle_in_time(void **state)
{
    (void)state;
    static const sally_handler handler = {
        .on_open = on_open, .on_data = on_data, .on_close = on_close};
    begin(NULL, NULL);
    sally_rate slow = {.bytes_s = 64, .burst_bytes = 64};
    sally_rates rates = {.shared = NULL};
    assert_int_equal(sally_bandwidth_create(&rates.shared, seen.engine, slow, (sally_rate){0}), 0);
    sally_sim_peer *peer = serve(&handler, &(sally_conn_options){.idle_ms = 200, .rates = &rates});
    say(peer, 640);
    sally_sim_run(seen.sim, 60 * 1000);
    assert_int_equal(seen.bytes, 640);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.reason, SALLY_CLOSE_IDLE_TIMEOUT);
    assert_true(seen.closed_ms < 15 * 1000);
    end();
}

static void fill(sally_conn *conn)
{
    static const unsigned char bytes[640];
    on_open(conn);
    assert_int_equal(sally_conn_send(conn, bytes, sizeof bytes), 0);
}

static void who_has_waited_in_line_to_send_is_idle_in_time(void **state)
{
    (void)state;
    static const sally_handler handler = {
        .on_open = fill, .on_data = on_data, .on_close = on_close};
    begin(NULL, NULL);
    sally_rate slow = {.bytes_s = 64, .burst_bytes = 64};
    sally_rates rates = {.shared = NULL};
    assert_int_equal(sally_bandwidth_create(&rates.shared, seen.engine, (sally_rate){0}, slow), 0);
    sally_sim_peer *peer = serve(&handler, &(sally_conn_options){.idle_ms = 200, .rates = &rates});
    say(peer, 1);
    sally_sim_run(seen.sim, 60 * 1000);
    assert_int_equal(sally_sim_peer_bytes(peer), 640);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.reason, SALLY_CLOSE_IDLE_TIMEOUT);
    assert_true(seen.closed_ms < 15 * 1000);
    end();
}

/* ---- Wanting nothing for longer than a limit of reading ---- */

static void want_now(sally_conn *conn)
{
    seen.wanted_ms = sally_sim_now_ms(seen.sim);
    assert_int_equal(sally_conn_want(conn, 4), 0);
}

static void want_first(sally_conn *conn)
{
    on_open(conn);
    want_now(conn);
}

static void want_later(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    assert_int_equal(len, 4);
    seen.messages++;
    assert_int_equal(sally_conn_timer(conn, 5000), 0);
}

static const sally_handler wanting = {
    .on_open = want_first, .on_message = want_later, .on_timer = want_now, .on_close = on_close};

static void what_nobody_wanted_is_not_held_against_the_peer(void **state)
{
    (void)state;
    static const sally_conn_options conn = {.framing = &demand, .limits = {.idle_read_ms = 2000}};
    begin(NULL, NULL);
    sally_sim_peer *peer = serve(&wanting, &conn);
    say(peer, 4);
    sally_sim_run(seen.sim, 100);
    assert_int_equal(seen.messages, 1);
    sally_sim_run(seen.sim, 6000); /* it was asked for again one second ago */
    assert_int_equal(seen.closed, 0);
    sally_sim_run(seen.sim, 6000);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.reason, SALLY_CLOSE_IDLE_READ_TIMEOUT);
    assert_int_equal(seen.closed_ms, seen.wanted_ms + 2000);
    end();
}

/* ---- Another bandwidth in the middle of a portion ---- */

static void change_lines(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    seen.messages++;
    seen.bytes += len;
    sally_rates rates = {.shared = seen.messages % 2 ? seen.after : seen.before};
    assert_int_equal(sally_conn_set_rates(conn, &rates), 0);
    (void)sally_conn_timer(conn, 10);
}

static void want_four(sally_conn *conn) { assert_int_equal(sally_conn_want(conn, 4), 0); }

static void what_was_taken_of_one_is_not_given_to_another(void **state)
{
    (void)state;
    static const sally_handler handler = {.on_open = want_first,
                                          .on_message = change_lines,
                                          .on_timer = want_four,
                                          .on_close = on_close};
    begin(NULL, NULL);
    sally_rate fast = {.bytes_s = 100000};
    assert_int_equal(sally_bandwidth_create(&seen.before, seen.engine, fast, fast), 0);
    assert_int_equal(sally_bandwidth_create(&seen.after, seen.engine, fast, fast), 0);
    sally_rates rates = {.shared = seen.before};
    sally_sim_peer *peer =
        serve(&handler, &(sally_conn_options){.framing = &demand, .rates = &rates});
    say(peer, 400);
    sally_sim_run(seen.sim, 10000);
    assert_int_equal(seen.bytes, 400);
    sally_bandwidth_stats before, after;
    assert_int_equal(sally_bandwidth_get_stats(seen.before, &before), 0);
    assert_int_equal(sally_bandwidth_get_stats(seen.after, &after), 0);
    printf("%llu and %llu bytes\n", (unsigned long long)before.recv_bytes,
           (unsigned long long)after.recv_bytes);
    assert_int_equal(before.recv_bytes, 200);
    assert_int_equal(after.recv_bytes, 200);
    end();
}

/* ---- Rates that begin in the middle of a flush ---- */

static void limit_it(sally_conn *conn, size_t bytes)
{
    if (seen.limited_ms) {
        seen.sent_after += bytes;
        return;
    }
    seen.limited_ms = sally_sim_now_ms(seen.sim);
    sally_rates rates = {.send = {.bytes_s = 1000, .burst_bytes = 1000}};
    assert_int_equal(sally_conn_set_rates(conn, &rates), 0);
}

static void fill_much(sally_conn *conn)
{
    static const unsigned char bytes[60000];
    on_open(conn);
    assert_int_equal(sally_conn_send(conn, bytes, sizeof bytes), 0);
}

static void a_rate_set_by_on_sent_is_kept_at_once(void **state)
{
    (void)state;
    static const sally_handler handler = {
        .on_open = fill_much, .on_sent = limit_it, .on_close = on_close};
    for (unsigned i = 0; i < 20; i++) {
        sally_sim_choice now = i % 2 ? SALLY_SIM_YES : SALLY_SIM_NO;
        begin(&(sally_sim_options){.send_now = now},
              &(sally_engine_options){.send_chunk_bytes = 256});
        (void)serve(&handler, &(sally_conn_options){.idle_ms = 0});
        assert_true(seen.limited_ms);
        uint64_t since_ms = sally_sim_now_ms(seen.sim) - seen.limited_ms;
        printf("%llu bytes in %llu ms\n", (unsigned long long)seen.sent_after,
               (unsigned long long)since_ms);
        assert_true(seen.sent_after <= 1000 + since_ms);
        end();
    }
}

/* ---- A mailbox that is full for one that has not begun ---- */

static void on_drain(sally_conn *conn)
{
    (void)conn;
    seen.drains++;
}

static void nothing(sally_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
}

/* On the shard, in front of the letter that tells who was refused before. */
static void connect_and_send(sally_conn *conn, void *arg)
{
    static const sally_handler handler = {
        .on_open = on_open, .on_drain = on_drain, .on_close = on_close};
    sally_id outgoing, incoming = sally_conn_id(conn);
    bool *refused = arg;
    assert_int_equal(sally_connect(seen.engine, "203.0.113.5:80", &handler, NULL, &outgoing), 0);
    while (sally_post(seen.engine, incoming, nothing, NULL) == 0) {
    }
    *refused = sally_send(seen.engine, outgoing, "x", 1) == SALLY_EFULL;
}

static void who_was_refused_before_it_began_is_told(void **state)
{
    (void)state;
    static const sally_handler handler = {.on_open = on_open, .on_close = on_close};
    bool refused = false;
    begin(NULL, &(sally_engine_options){.mailbox_letters_max = 8});
    assert_non_null(sally_sim_listen(seen.sim, "203.0.113.5:80", 4));
    (void)serve(&handler, &(sally_conn_options){.idle_ms = 0});
    for (unsigned i = 0; i < 4; i++) /* their places are free when they have been read */
        assert_int_equal(sally_post(seen.engine, seen.id, nothing, NULL), 0);
    assert_int_equal(sally_post(seen.engine, seen.id, connect_and_send, &refused), 0);
    while (sally_send(seen.engine, seen.id, "x", 1) == 0) {
    }
    sally_sim_run(seen.sim, 5000);
    assert_int_equal(seen.opened, 2);
    assert_true(refused);
    assert_int_equal(seen.drains, 1);
    end();
}

/* ---- A send by id to one that is half-closed ---- */

static void finish(sally_conn *conn)
{
    on_open(conn);
    assert_int_equal(sally_conn_shutdown(conn), 0);
}

static void who_was_refused_after_a_half_close_is_told(void **state)
{
    (void)state;
    static const sally_handler handler = {
        .on_open = finish, .on_drain = on_drain, .on_close = on_close};
    begin(NULL, NULL);
    (void)serve(&handler, &(sally_conn_options){.send_bytes_max = 1000});
    int err = 0;
    for (unsigned i = 0; i < 200 && !err; i++)
        err = sally_send(seen.engine, seen.id, "0123456789", 10);
    assert_int_equal(err, SALLY_EFULL);
    sally_sim_run(seen.sim, 1000);
    assert_int_equal(seen.closed, 0);
    assert_int_equal(seen.drains, 1);
    end();
}

/* ---- A drain, and a handler that doesn't read while its jobs run ---- */

static sally_pool *pool;

static void work(void *arg) { (void)arg; }

static void read_on(sally_conn *conn, void *arg, int status)
{
    (void)arg;
    if (status == 0) assert_int_equal(sally_conn_resume(conn), 0);
}

static void two_jobs(sally_conn *conn, const void *data, size_t len)
{
    on_data(conn, data, len);
    assert_int_equal(sally_conn_pause(conn), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(sally_work(conn, pool, work, read_on, NULL, NULL, NULL), 0);
}

static bool has_closed(void *arg)
{
    (void)arg;
    return seen.closed;
}

static void a_drain_reads_no_more_though_the_handler_would(void **state)
{
    (void)state;
    static const sally_handler handler = {
        .on_open = on_open, .on_data = two_jobs, .on_close = on_close};
    for (unsigned i = 0; i < 50; i++) {
        begin(NULL, NULL);
        assert_int_equal(sally_pool_create(&pool, seen.engine, &(sally_pool_options){.threads = 1}),
                         0);
        sally_sim_peer *peer = serve(&handler, &(sally_conn_options){.idle_ms = 0});
        say(peer, 1);
        while (!seen.bytes) sally_sim_run(seen.sim, 1);
        assert_int_equal(sally_engine_drain(seen.engine, 20000), 0);
        sally_sim_run(seen.sim, 1);
        say(peer, 1);
        assert_int_equal(sally_sim_run_until(seen.sim, has_closed, NULL, 20000), 0);
        assert_int_equal(seen.bytes, 1);
        assert_int_equal(seen.reason, SALLY_CLOSE_SHUTDOWN);
        assert_int_equal(sally_pool_destroy(pool), 0);
        end();
    }
}

/* ---- A budget, and a message that was begun ---- */

static void what_a_closing_connection_let_go_is_not_counted(void **state)
{
    (void)state;
    static const sally_framing fixed = {.kind = SALLY_FRAMING_FIXED, .fixed_bytes = 100000};
    static const sally_handler handler = {.on_open = on_open, .on_close = on_close};
    sally_server_options options = {.conn.framing = &fixed, .memory_max = 1 << 20};
    sally_server *server;
    begin(NULL, NULL);
    assert_int_equal(sally_listen(seen.engine, SERVER, &handler, &options, &server), 0);
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
    sally_sim_run(seen.sim, 100);
    say(peer, 3000);
    sally_sim_run(seen.sim, 100);
    assert_int_equal(atomic_load(&server->held), 3000);
    assert_int_equal(sally_close(seen.engine, seen.id), 0);
    sally_sim_run(seen.sim, 100);
    assert_int_equal(seen.closed, 0); /* the peer's FIN is waited for */
    assert_int_equal(atomic_load(&server->held), 0);
    end();
}

/* ---- Peers that do not read, behind a shared limit ---- */

static void sends_much(sally_conn *conn)
{
    static const unsigned char bytes[400000];
    on_open(conn);
    assert_int_equal(sally_conn_send(conn, bytes, sizeof bytes), 0);
}

/* Each turn in the line found a peer that took nothing, and began its time anew. */
static void who_takes_nothing_is_late_though_others_stand_in_line(void **state)
{
    (void)state;
    static const sally_handler handler = {.on_open = sends_much, .on_close = on_close};
    static const sally_rate fast = {.bytes_s = 100000, .burst_bytes = 10000};
    sally_sim_options world = {.send_now = SALLY_SIM_YES};
    begin(&world, NULL);
    sally_rates rates = {.shared = NULL};
    assert_int_equal(sally_bandwidth_create(&rates.shared, seen.engine, (sally_rate){0}, fast), 0);
    sally_conn_options options = {
        .rates = &rates, .write_stall_ms = 3000, .first_byte_ms = SALLY_FOREVER};
    sally_sim_peer_stop_reading(serve(&handler, &options));
    for (unsigned i = 0; i < 3; i++) {
        sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
        assert_non_null(peer);
        sally_sim_peer_stop_reading(peer);
    }
    sally_sim_run(seen.sim, 60 * 1000);
    assert_int_equal(seen.opened, 4);
    assert_int_equal(seen.closed, 4);
    assert_int_equal(seen.reason, SALLY_CLOSE_WRITE_TIMEOUT);
    end();
}

/* ---- Newcomers without memory ---- */

static void a_newcomer_without_memory_is_refused_by_its_server_too(void **state)
{
    (void)state;
    static const sally_framing fixed = {.kind = SALLY_FRAMING_FIXED, .fixed_bytes = 4};
    const sally_handler framed = {.on_open = on_open, .on_message = on_data, .on_close = on_close};
    const sally_server_options options = {.conn = {.framing = &fixed, .limits.idle_read_ms = 99}};
    uint64_t refused = 0;
    for (uint64_t n = 1; n < 12; n++) {
        sally_server *server;
        sally_server_stats stats;
        sally_engine_stats all;
        begin(NULL, NULL);
        assert_int_equal(sally_listen(seen.engine, SERVER, &framed, &options, &server), 0);
        sally_sim_run(seen.sim, 10);
        assert_non_null(sally_sim_dial(seen.sim, SERVER));
        sally_sim_fail_alloc_at(seen.sim, n, false);
        sally_sim_run(seen.sim, 50);
        sally_sim_fail_alloc_at(seen.sim, 0, false);
        assert_int_equal(sally_server_get_stats(server, &stats), 0);
        assert_int_equal(sally_engine_get_stats(seen.engine, &all), 0);
        assert_int_equal(stats.refused, all.refused);
        refused += stats.refused;
        end();
    }
    assert_true(refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_waited_in_line_is_idle_in_time),
        cmocka_unit_test(who_has_waited_in_line_to_send_is_idle_in_time),
        cmocka_unit_test(what_nobody_wanted_is_not_held_against_the_peer),
        cmocka_unit_test(what_was_taken_of_one_is_not_given_to_another),
        cmocka_unit_test(a_rate_set_by_on_sent_is_kept_at_once),
        cmocka_unit_test(who_was_refused_before_it_began_is_told),
        cmocka_unit_test(who_was_refused_after_a_half_close_is_told),
        cmocka_unit_test(a_drain_reads_no_more_though_the_handler_would),
        cmocka_unit_test(what_a_closing_connection_let_go_is_not_counted),
        cmocka_unit_test(who_takes_nothing_is_late_though_others_stand_in_line),
        cmocka_unit_test(a_newcomer_without_memory_is_refused_by_its_server_too),
    };
    return cmocka_run_group_tests_name("sim/combination", tests, NULL, NULL);
}
