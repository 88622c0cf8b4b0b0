/* When those who say nothing are cut, in virtual time, where "not later" can be asked for too: a
 * connection by first_byte_ms, one that is not yet a connection by accept_data_ms. Nobody else
 * comes meanwhile, so it is the time alone that cuts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/sim.h"

enum {
    SEEDS = 20,
    CROWD = 40,
    APART_MS = 37,
    LATENCY_US = 1000,                          /* one way, at most */
    TICK_MS = 1,                                /* of the shards' timers */
    COMES_MS = 2 * LATENCY_US / 1000 + TICK_MS, /* from the dial until the server has it */
};
#define SERVER "127.0.0.1:5002"

static const uint32_t limits_ms[] = {1, 7, 63, 64, 65, 500, 4095, 4096, 30000, 600000};
enum { LIMITS = sizeof limits_ms / sizeof *limits_ms };

static struct scene {
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    unsigned opened;
    unsigned told;
    uint64_t opened_ms;
    uint64_t told_ms;
} scene;

static void on_open(sally_conn *conn)
{
    (void)conn;
    scene.opened++;
    scene.opened_ms = sally_sim_now_ms(scene.sim);
}

static bool on_timeout(sally_conn *conn, sally_timeout which)
{
    (void)conn;
    assert_int_equal(which, SALLY_TIMEOUT_FIRST_BYTE);
    scene.told++;
    scene.told_ms = sally_sim_now_ms(scene.sim);
    return true;
}

static void begin(uint64_t seed, const sally_server_options *options)
{
    static const sally_handler handler = {.on_open = on_open, .on_timeout = on_timeout};
    memset(&scene, 0, sizeof scene);
    sally_sim_options world = {.latency_max_us = LATENCY_US};
    assert_int_equal(sally_sim_create(&scene.sim, seed, &world), 0);
    assert_int_equal(sally_sim_engine(scene.sim, NULL, &scene.engine), 0);
    assert_int_equal(sally_listen(scene.engine, SERVER, &handler, options, &scene.server), 0);
    (void)sally_sim_run(scene.sim, (uint32_t)seed * 13); /* another place in the wheel */
}

static void end(void)
{
    assert_int_equal(sally_engine_destroy(scene.engine), 0);
    assert_int_equal(sally_sim_sockets(scene.sim), 0);
    sally_sim_destroy(scene.sim);
}

static uint64_t silent(void)
{
    sally_server_stats stats;
    assert_int_equal(sally_server_get_stats(scene.server, &stats), 0);
    return stats.silent;
}

/* The engine's clock has whole milliseconds, so the first of them may be over at once. */
static void is_within(uint64_t seed, uint64_t came_ms, uint64_t cut_ms, uint32_t limit_ms,
                      uint32_t slack_ms)
{
    if (cut_ms + TICK_MS >= came_ms + limit_ms && cut_ms <= came_ms + limit_ms + slack_ms) return;
    fail_msg("seed %llu: %u ms were given, %llu ms it took", (unsigned long long)seed, limit_ms,
             (unsigned long long)(cut_ms - came_ms));
}

static void a_silent_connection_is_cut_at_its_time_to_the_tick(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS * LIMITS; seed++) {
        uint32_t limit_ms = limits_ms[seed % LIMITS];
        begin(seed, &(sally_server_options){
                        .conn = {.first_byte_ms = limit_ms, .idle_ms = SALLY_FOREVER}});
        sally_sim_peer *peer = sally_sim_dial(scene.sim, SERVER);
        (void)sally_sim_run(scene.sim, COMES_MS + limit_ms + 10 * TICK_MS);
        assert_int_equal(scene.opened, 1);
        assert_int_equal(scene.told, 1);
        is_within(seed, scene.opened_ms, scene.told_ms, limit_ms, TICK_MS);
        sally_sim_peer_close(peer);
        end();
    }
}

/* Steps until one more is gone. */
static uint64_t wait_for_cut(uint64_t count, uint32_t at_most_ms)
{
    for (uint32_t waited = 0; silent() < count && waited < at_most_ms; waited++)
        (void)sally_sim_run(scene.sim, 1);
    assert_int_equal(silent(), count);
    return sally_sim_now_ms(scene.sim);
}

/* The port has it when its way is over, and tells of its end when the shard next looks. */
static void before_it_is_a_connection_too(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS * LIMITS; seed++) {
        uint32_t limit_ms = limits_ms[seed % LIMITS];
        begin(seed, &(sally_server_options){.accept_with_data = true, .accept_data_ms = limit_ms});
        uint64_t dialed_ms = sally_sim_now_ms(scene.sim);
        sally_sim_peer *peer = sally_sim_dial(scene.sim, SERVER);
        (void)sally_sim_run(scene.sim, limit_ms - 1); /* its way is not counted */
        assert_int_equal(silent(), 0);
        uint64_t cut_ms = wait_for_cut(1, limit_ms + 100);
        is_within(seed, dialed_ms, cut_ms, limit_ms, COMES_MS + TICK_MS);
        assert_int_equal(scene.opened, 0);
        sally_sim_peer_close(peer);
        end();
    }
}

/* Each at its own time, although the first cut is followed by nobody's coming. */
static void each_of_a_crowd_is_cut_at_its_own_time(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        enum { LIMIT_MS = CROWD * APART_MS + 1000 };
        uint64_t dialed_ms[CROWD];
        sally_sim_peer *peers[CROWD];
        begin(seed, &(sally_server_options){.accept_with_data = true, .accept_data_ms = LIMIT_MS});
        for (unsigned i = 0; i < CROWD; i++) {
            dialed_ms[i] = sally_sim_now_ms(scene.sim);
            peers[i] = sally_sim_dial(scene.sim, SERVER);
            (void)sally_sim_run(scene.sim, APART_MS);
        }
        for (unsigned i = 0; i < CROWD; i++)
            is_within(seed, dialed_ms[i], wait_for_cut(i + 1, LIMIT_MS + 100), LIMIT_MS,
                      COMES_MS + TICK_MS);
        for (unsigned i = 0; i < CROWD; i++) sally_sim_peer_close(peers[i]);
        end();
    }
}

/* Who has spoken, and an accept to which nobody has come, have no such time. */
static void neither_who_spoke_nor_an_empty_accept_is_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(seed,
              &(sally_server_options){.conn = {.first_byte_ms = 1000, .idle_ms = SALLY_FOREVER},
                                      .accept_with_data = true,
                                      .accept_data_ms = 1000});
        (void)sally_sim_run(scene.sim, 100000);
        sally_sim_peer *peer = sally_sim_dial(scene.sim, SERVER);
        (void)sally_sim_run(scene.sim, 900);
        assert_int_equal(sally_sim_peer_write(peer, "x", 1), 1);
        (void)sally_sim_run(scene.sim, 100000);
        assert_int_equal(silent(), 0);
        assert_int_equal(scene.told, 0);
        assert_int_equal(scene.opened, 1);
        assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
        sally_sim_peer_close(peer);
        end();
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_connection_is_cut_at_its_time_to_the_tick),
        cmocka_unit_test(before_it_is_a_connection_too),
        cmocka_unit_test(each_of_a_crowd_is_cut_at_its_own_time),
        cmocka_unit_test(neither_who_spoke_nor_an_empty_accept_is_cut),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("silence", tests, NULL, NULL);
}
