/* The simulator as a program uses it: one engine or several, scripted peers, time, names, faults
 * one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/sim.h"

enum { SEEDS = 30, REPLY = 20000, FIRST_BYTE_MS = 3000 };
#define SERVER "127.0.0.1:5002"

/* What the handlers saw. */
struct seen {
    sally_sim *sim;
    unsigned opened;
    unsigned closed;
    sally_close_reason reason;
    uint64_t closed_ms;
    uint64_t bytes;
    unsigned exhausted;
    unsigned recovered;
    int inner_run;
};

static struct seen seen;
static unsigned char reply[REPLY];

static void on_open(sally_conn *conn)
{
    (void)conn;
    seen.opened++;
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    seen.closed++;
    seen.reason = info->reason;
    seen.closed_ms = sally_sim_now_ms(seen.sim);
}

static void on_error(sally_server *server, const sally_server_event *event)
{
    (void)server;
    seen.exhausted += event->kind == SALLY_SERVER_EXHAUSTED;
    seen.recovered += event->kind == SALLY_SERVER_RECOVERED;
}

static void echo(sally_conn *conn, const void *data, size_t len)
{
    seen.bytes += len;
    if (sally_conn_send(conn, data, len)) sally_conn_abort(conn);
}

static void reply_and_close(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    if (sally_conn_send(conn, reply, sizeof reply)) abort();
    sally_conn_close(conn);
}

static void run_inside(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    (void)data;
    (void)len;
    seen.inner_run = sally_sim_run(seen.sim, 1);
}

static sally_handler handler_with(void (*on_data)(sally_conn *, const void *, size_t))
{
    return (sally_handler){
        .on_open = on_open, .on_data = on_data, .on_close = on_close, .on_error = on_error};
}

static sally_sim *sim_with(uint64_t seed, sally_engine **engine)
{
    sally_sim *sim = NULL;
    memset(&seen, 0, sizeof seen);
    assert_int_equal(sally_sim_create(&sim, seed, NULL), 0);
    seen.sim = sim;
    assert_int_equal(sally_sim_engine(sim, &(sally_engine_options){.shards = 2}, engine), 0);
    return sim;
}

static sally_sim *sim_serving(uint64_t seed, sally_engine **engine,
                              void (*on_data)(sally_conn *, const void *, size_t))
{
    sally_sim *sim = sim_with(seed, engine);
    sally_handler handler = handler_with(on_data);
    sally_server_options options = {.conn = {.first_byte_ms = FIRST_BYTE_MS,
                                             .idle_ms = 20000,
                                             .write_stall_ms = 5000,
                                             .linger_ms = 5000}};
    assert_int_equal(sally_listen(*engine, SERVER, &handler, &options, NULL), 0);
    return sim;
}

static void end(sally_sim *sim, sally_engine *engine)
{
    assert_int_equal(sally_engine_destroy(engine), 0);
    assert_int_equal(sally_sim_sockets(sim), 0);
    assert_int_equal(sally_sim_memory_bytes(sim), 0);
    sally_sim_destroy(sim);
}

static size_t received(sally_sim_peer *peer)
{
    size_t len = 0;
    (void)sally_sim_peer_received(peer, &len);
    return len;
}

/* ---- Peers ---- */

static void a_peer_gets_its_bytes_back_and_then_the_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        sally_engine *engine;
        sally_sim *sim = sim_serving(seed, &engine, echo);
        sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
        assert_int_equal(sally_sim_peer_write(peer, "early", 5), 0);
        sally_sim_run(sim, 100);
        assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
        assert_int_equal(sally_sim_peer_write(peer, "hello", 5), 5);
        sally_sim_peer_finish(peer);
        sally_sim_run(sim, 2000);
        size_t len;
        assert_memory_equal(sally_sim_peer_received(peer, &len), "hello", 5);
        assert_int_equal(len, 5);
        assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_FINISHED);
        sally_sim_peer_close(peer);
        end(sim, engine);
        assert_int_equal(seen.opened, 1);
        assert_int_equal(seen.closed, 1);
    }
}

/* T2: a close while bytes are unread would reset, and the reply would be lost. */
static void a_reply_before_a_close_reaches_a_peer_that_still_sends(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        sally_engine *engine;
        sally_sim *sim = sim_serving(seed, &engine, reply_and_close);
        sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
        sally_sim_run(sim, 100);
        uint64_t limit_ms = sally_sim_now_ms(sim) + 600000;
        for (; !sally_sim_peer_finished(peer); sally_sim_run(sim, 1)) {
            sally_sim_peer_write(peer, reply, 1000);
            assert_int_not_equal(sally_sim_peer_get_state(peer), SALLY_SIM_RESET);
            assert_true(sally_sim_now_ms(sim) < limit_ms);
        }
        assert_int_equal(received(peer), REPLY);
        sally_sim_peer_close(peer);
        end(sim, engine);
    }
}

static void a_reset_is_seen_by_the_other_end(void **state)
{
    (void)state;
    sally_engine *engine;
    sally_sim *sim = sim_serving(3, &engine, echo);
    sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
    sally_sim_run(sim, 100);
    sally_sim_peer_reset(peer);
    sally_sim_run(sim, 100);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.reason, SALLY_CLOSE_PEER_RESET);
    end(sim, engine);
}

static void nobody_at_an_address_refuses(void **state)
{
    (void)state;
    sally_engine *engine;
    sally_sim *sim = sim_with(4, &engine);
    sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
    sally_sim_run(sim, 1000);
    assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_REFUSED);
    assert_null(sally_sim_dial(sim, "nonsense"));
    end(sim, engine);
}

/* ---- Time ---- */

static void a_silent_peer_costs_its_limit_and_no_more(void **state)
{
    (void)state;
    sally_engine *engine;
    sally_sim *sim = sim_serving(5, &engine, echo);
    sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
    sally_sim_run(sim, 10000);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.reason, SALLY_CLOSE_FIRST_BYTE_TIMEOUT);
    assert_in_range(seen.closed_ms, FIRST_BYTE_MS, FIRST_BYTE_MS + 100);
    assert_int_not_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
    end(sim, engine);
}

static void a_peer_that_vanished_is_given_up(void **state)
{
    (void)state;
    sally_engine *engine;
    sally_sim *sim = sim_serving(6, &engine, echo);
    sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
    sally_sim_run(sim, 100);
    sally_sim_peer_write(peer, "x", 1);
    sally_sim_run(sim, 100);
    sally_sim_peer_vanish(peer);
    sally_sim_run(sim, 60000);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.reason, SALLY_CLOSE_IDLE_TIMEOUT);
    end(sim, engine);
}

static void a_peer_that_does_not_read_is_cut_by_the_write_limit(void **state)
{
    (void)state;
    sally_engine *engine;
    sally_sim *sim = sim_serving(7, &engine, echo);
    sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
    sally_sim_run(sim, 100);
    sally_sim_peer_stop_reading(peer);
    for (unsigned i = 0; i < 20000 && !seen.closed; i++) {
        sally_sim_peer_write(peer, reply, sizeof reply);
        sally_sim_run(sim, 10);
    }
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.reason, SALLY_CLOSE_WRITE_TIMEOUT);
    end(sim, engine);
}

static bool is_closed(void *arg)
{
    (void)arg;
    return seen.closed;
}

static void run_until_stops_at_once_or_at_its_limit(void **state)
{
    (void)state;
    sally_engine *engine;
    sally_sim *sim = sim_serving(8, &engine, echo);
    assert_int_equal(sally_sim_run_until(sim, is_closed, NULL, 1234), SALLY_ETIMEDOUT);
    assert_int_equal(sally_sim_now_ms(sim), 1234);
    sally_sim_dial(sim, SERVER);
    assert_int_equal(sally_sim_run_until(sim, is_closed, NULL, 60000), 0);
    assert_int_equal(sally_sim_now_ms(sim), seen.closed_ms);
    end(sim, engine);
    sim = sim_with(8, &engine);
    assert_int_equal(sally_sim_run(sim, 1000), 1); /* nothing can ever happen */
    end(sim, engine);
}

static void what_needs_threads_or_the_world_is_refused(void **state)
{
    (void)state;
    sally_engine *engine;
    sally_sim *sim = sim_serving(9, &engine, run_inside);
    assert_int_equal(sally_engine_start(engine), SALLY_ESTATE);
    assert_string_equal(sally_engine_port(engine), "sim");
    sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
    sally_sim_run(sim, 100);
    sally_sim_peer_write(peer, "x", 1);
    sally_sim_run(sim, 1000);
    assert_int_equal(seen.inner_run, SALLY_ESTATE);
    end(sim, engine);
}

/* ---- Outgoing ---- */

static int connect_try(sally_engine *engine, const char *address)
{
    sally_handler handler = handler_with(echo);
    sally_connect_options options = {.connect_ms = 5000, .attempt_ms = 1000};
    return sally_connect(engine, address, &handler, &options, NULL);
}

static void connect_to(sally_engine *engine, const char *address)
{
    assert_int_equal(connect_try(engine, address), 0);
}

static void an_outgoing_connection_reaches_a_listening_peer(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        sally_engine *engine;
        sally_sim *sim = sim_with(seed, &engine);
        sally_sim_listener *listener = sally_sim_listen(sim, "192.0.2.1:80", 0);
        assert_null(sally_sim_listener_accept(listener));
        connect_to(engine, "192.0.2.1:80");
        sally_sim_run(sim, 1000);
        sally_sim_peer *peer = sally_sim_listener_accept(listener);
        assert_non_null(peer);
        assert_int_equal(sally_sim_peer_write(peer, "hello", 5), 5);
        sally_sim_run(sim, 1000);
        assert_int_equal(received(peer), 5);
        end(sim, engine);
        assert_int_equal(seen.closed, 1);
    }
}

static void the_addresses_of_a_name_are_tried_until_one_answers(void **state)
{
    (void)state;
    sally_engine *engine;
    sally_sim *sim = sim_with(10, &engine);
    assert_int_equal(sally_sim_name(sim, "some.example", "192.0.2.1"), 0);
    assert_int_equal(sally_sim_name(sim, "some.example", "2001:db8::1"), 0);
    assert_int_equal(sally_sim_name(sim, "some.example", "192.0.2.2"), 0);
    assert_int_equal(sally_sim_name(sim, "some.example", "some"), SALLY_EADDRESS);
    assert_int_equal(sally_sim_black_hole(sim, "192.0.2.1:80"), 0);
    sally_sim_listener *listener = sally_sim_listen(sim, "192.0.2.2:80", 0);
    connect_to(engine, "some.example:80");
    sally_sim_run(sim, 10000);
    assert_non_null(sally_sim_listener_accept(listener));
    assert_int_equal(seen.opened, 1);
    end(sim, engine);
}

static void a_connect_ends_with_what_stopped_it(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        sally_close_reason reason;
    } cases[] = {
        {"192.0.2.1:80", SALLY_CLOSE_CONNECT_TIMEOUT},
        {"192.0.2.2:80", SALLY_CLOSE_CONNECT_FAILED},
        {"nobody.example:80", SALLY_CLOSE_CONNECT_FAILED},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sally_engine *engine;
        sally_sim *sim = sim_with(11, &engine);
        assert_int_equal(sally_sim_black_hole(sim, "192.0.2.1:80"), 0);
        connect_to(engine, cases[i].address);
        sally_sim_run(sim, 10000);
        assert_int_equal(seen.opened, 0);
        assert_int_equal(seen.closed, 1);
        assert_int_equal(seen.reason, cases[i].reason);
        end(sim, engine);
    }
}

static void engines_in_one_sim_talk_to_each_other(void **state)
{
    (void)state;
    sally_engine *server, *client;
    sally_sim *sim = sim_serving(12, &server, echo);
    assert_int_equal(sally_sim_engine(sim, NULL, &client), 0);
    connect_to(client, SERVER);
    sally_sim_run(sim, 100);
    assert_int_equal(seen.opened, 2);
    assert_int_equal(sally_engine_destroy(client), 0);
    sally_sim_run(sim, 10000);
    assert_int_equal(seen.closed, 2);
    end(sim, server);
}

/* ---- Faults ---- */

/* S4-13: it was another program that took them, so no connection of ours can give them back. */
static void a_server_without_connections_recovers_from_exhaustion(void **state)
{
    (void)state;
    sally_engine *engine;
    sally_sim *sim = sim_serving(13, &engine, echo);
    sally_sim_run(sim, 10);
    sally_sim_take_descriptors(sim, UINT32_MAX);
    sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
    sally_engine_stats before, after;
    assert_int_equal(sally_engine_get_stats(engine, &before), 0);
    sally_sim_run(sim, 60000);
    assert_int_equal(sally_engine_get_stats(engine, &after), 0);
    assert_int_equal(seen.exhausted, 1);
    assert_int_equal(seen.opened, 0);
    assert_true(after.turns - before.turns < 1000); /* it sleeps (S4-11) */
    sally_sim_give_descriptors(sim);
    sally_sim_run(sim, 2500);
    assert_int_equal(seen.opened, 1);
    assert_int_equal(seen.recovered, 1);
    assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
    end(sim, engine);
}

static void an_allocation_fails_when_it_is_told_to(void **state)
{
    (void)state;
    sally_sim *sim;
    sally_engine *engine = NULL;
    assert_int_equal(sally_sim_create(&sim, 14, NULL), 0);
    sally_sim_fail_alloc_at(sim, 3, false);
    assert_int_equal(sally_sim_engine(sim, NULL, &engine), SALLY_ENOMEM);
    assert_true(sally_sim_alloc_failed(sim));
    assert_int_equal(sally_sim_memory_bytes(sim), 0);
    sally_sim_fail_alloc_at(sim, 0, false);
    assert_int_equal(sally_sim_engine(sim, NULL, &engine), 0);
    end(sim, engine);
}

/* Each kind alone, and certain where it can be, so that none is a name only. */
static void every_kind_of_fault_does_something(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < sizeof(sally_sim_faults) / sizeof(uint32_t); kind++) {
        uint64_t hashes[2];
        if (kind == offsetof(sally_sim_faults, late_max_us) / sizeof(uint32_t)) continue;
        for (unsigned with = 0; with < 2; with++) {
            uint32_t chances[sizeof(sally_sim_faults) / sizeof(uint32_t)] = {0};
            sally_sim_faults faults;
            if (with) chances[kind] = 500000;
            memcpy(&faults, chances, sizeof faults);
            sally_engine *engine;
            sally_sim *sim = sim_serving(15, &engine, echo);
            assert_int_equal(sally_sim_name(sim, "some.example", "127.0.0.1"), 0);
            sally_sim_set_faults(sim, &faults);
            for (unsigned i = 0; i < 20; i++) {
                sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
                int err = i % 4 ? 0 : connect_try(engine, "some.example:5002");
                assert_true(err == 0 || err == SALLY_ENOMEM);
                sally_sim_run(sim, 200);
                sally_sim_peer_write(peer, reply, 500);
                sally_sim_run(sim, 200);
                if (i % 2) sally_sim_peer_reset(peer);
            }
            hashes[with] = sally_sim_hash(sim);
            end(sim, engine);
        }
        if (hashes[0] == hashes[1]) fail_msg("fault %zu changes nothing", kind);
    }
}

/* ---- From outside, with the mailbox full ---- */

static sally_id known;
static unsigned drains;

static void on_open_known(sally_conn *conn) { known = sally_conn_id(conn); }

static void on_drain(sally_conn *conn)
{
    drains++;
    assert_int_equal(sally_conn_id(conn), known);
}

/* E8, with nothing queued and with the connection's queue full of what the mailbox let in. */
static void who_found_the_mailbox_full_is_told_when_it_is_read(void **state)
{
    enum { LETTERS = 4 };
    (void)state;
    sally_engine *engine;
    sally_sim *sim = NULL;
    assert_int_equal(sally_sim_create(&sim, 1, NULL), 0);
    sally_engine_options options = {.shards = 2, .mailbox_letters_max = LETTERS};
    assert_int_equal(sally_sim_engine(sim, &options, &engine), 0);
    sally_handler handler = {.on_open = on_open_known, .on_drain = on_drain};
    assert_int_equal(sally_listen(engine, SERVER, &handler, NULL, NULL), 0);
    sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
    sally_sim_run(sim, 100);
    drains = 0;
    for (unsigned round = 1; round <= 3; round++) {
        for (int i = 0; i < LETTERS; i++) assert_int_equal(sally_send(engine, known, "x", 1), 0);
        for (int i = 0; i < 2; i++)
            assert_int_equal(sally_send(engine, known, "x", 1), SALLY_EFULL);
        assert_int_equal(drains, round - 1);
        sally_sim_run(sim, 100);
        assert_int_equal(drains, round);
        assert_int_equal(received(peer), round * LETTERS);
    }
    end(sim, engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_gets_its_bytes_back_and_then_the_end),
        cmocka_unit_test(a_reply_before_a_close_reaches_a_peer_that_still_sends),
        cmocka_unit_test(a_reset_is_seen_by_the_other_end),
        cmocka_unit_test(nobody_at_an_address_refuses),
        cmocka_unit_test(a_silent_peer_costs_its_limit_and_no_more),
        cmocka_unit_test(a_peer_that_vanished_is_given_up),
        cmocka_unit_test(a_peer_that_does_not_read_is_cut_by_the_write_limit),
        cmocka_unit_test(run_until_stops_at_once_or_at_its_limit),
        cmocka_unit_test(what_needs_threads_or_the_world_is_refused),
        cmocka_unit_test(an_outgoing_connection_reaches_a_listening_peer),
        cmocka_unit_test(the_addresses_of_a_name_are_tried_until_one_answers),
        cmocka_unit_test(a_connect_ends_with_what_stopped_it),
        cmocka_unit_test(engines_in_one_sim_talk_to_each_other),
        cmocka_unit_test(a_server_without_connections_recovers_from_exhaustion),
        cmocka_unit_test(an_allocation_fails_when_it_is_told_to),
        cmocka_unit_test(every_kind_of_fault_does_something),
        cmocka_unit_test(who_found_the_mailbox_full_is_told_when_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
