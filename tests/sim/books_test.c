/* Who reaches a server is told to its handler or counted as refused, wherever memory fails on the
 * way in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sallyport/admission.h"
#include "sallyport/sim.h"
#include "support/filter_shake.h"

#define ADDRESS "127.0.0.1:8080"
enum { PEERS = 3, PLACES_MAX = 1000 };

static unsigned opened, closed;

static void count_open(sally_conn *conn)
{
    (void)conn;
    opened++;
}

static void count_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    (void)info;
    closed++;
}

static void drop(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    (void)data;
    (void)len;
}

static void check_books(sally_engine *engine, sally_server *server)
{
    sally_server_stats of_server;
    sally_admission_stats why;
    sally_engine_stats of_engine;
    uint64_t sum = 0;
    assert_int_equal(sally_server_get_stats(server, &of_server), 0);
    assert_int_equal(sally_server_admission_stats(server, &why), 0);
    assert_int_equal(sally_engine_get_stats(engine, &of_engine), 0);
    for (int i = 0; i < SALLY_REFUSALS; i++) sum += why.refused_for[i];
    assert_int_equal(of_server.conns, 0);
    assert_int_equal(sum, of_server.refused);
    assert_int_equal(of_engine.refused, of_server.refused);
    assert_int_equal(of_engine.closed, closed);
    assert_int_equal(opened, closed);
    assert_int_equal(of_server.accepted, of_server.refused + opened);
}

/* Three visitors, of whom the first says hello, the others less; whether an allocation failed. */
static bool visit(uint64_t fails_at)
{
    static const char *const says[PEERS] = {"hello\3abc", "hel", ""};
    const sally_filter filter = filter_shake();
    const sally_handler handler = {.on_open = count_open, .on_data = drop, .on_close = count_close};
    const sally_server_options options = {.conn = {.filters = &filter,
                                                   .filter_count = 1,
                                                   .first_byte_ms = 1000,
                                                   .limits.heartbeat_ms = 500}};
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    sally_sim_peer *peers[PEERS];
    opened = closed = 0;
    assert_int_equal(sally_sim_create(&sim, 11, NULL), 0);
    assert_int_equal(sally_sim_engine(sim, NULL, &engine), 0);
    assert_int_equal(sally_listen(engine, ADDRESS, &handler, &options, &server), 0);
    (void)sally_sim_run(sim, 10);
    sally_sim_fail_alloc_at(sim, fails_at, false);
    for (int i = 0; i < PEERS; i++) {
        assert_non_null(peers[i] = sally_sim_dial(sim, ADDRESS));
        (void)sally_sim_run(sim, 20);
        (void)sally_sim_peer_write(peers[i], says[i], strlen(says[i]));
    }
    (void)sally_sim_run(sim, 3000);
    for (int i = 0; i < PEERS; i++) sally_sim_peer_close(peers[i]);
    (void)sally_sim_run(sim, 30000);
    bool failed = sally_sim_alloc_failed(sim);
    check_books(engine, server);
    assert_int_equal(sally_engine_destroy(engine), 0);
    sally_sim_destroy(sim);
    return failed;
}

static void books_balance_wherever_memory_fails(void **state)
{
    (void)state;
    uint64_t places = 0;
    while (visit(places + 1)) assert_true(++places < PLACES_MAX);
    printf("memory failed at %llu places\n", (unsigned long long)places);
    assert_true(places > PEERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(books_balance_wherever_memory_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
