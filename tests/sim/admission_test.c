/* Admission in virtual time: what takes minutes elsewhere, and what has to be true for every seed.
 * The simulated peers come from addresses of their own, 250 of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/support/world.h"
#include "support/long.h"

enum { SEEDS = 60, PEERS = 40 };

static struct {
    unsigned peak;
    unsigned listen_failed, listening;
    unsigned asked, stop_at; /* the engine stops at that newcomer; 0: it doesn't */
    sally_verdict verdict;
} seen;

static sally_verdict on_accept(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    (void)info;
    if (seen.stop_at && ++seen.asked == seen.stop_at)
        assert_int_equal(sally_engine_stop(world.engine), 0);
    return seen.verdict;
}

static void on_open(sally_conn *conn)
{
    (void)conn;
    world.opened++;
    if (world.opened - world.closed > seen.peak) seen.peak = world.opened - world.closed;
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    (void)info;
    world.closed++;
}

static void on_error(sally_server *server, const sally_server_event *event)
{
    (void)server;
    seen.listen_failed += event->kind == SALLY_SERVER_LISTEN_FAILED;
    seen.listening += event->kind == SALLY_SERVER_LISTENING;
}

static void prepare(uint64_t seed)
{
    memset(&seen, 0, sizeof seen);
    world_prepare(seed);
}

static void begin(unsigned shards)
{
    static const sally_handler handler = {.on_accept = on_accept,
                                          .on_open = on_open,
                                          .on_data = world_echo,
                                          .on_close = on_close,
                                          .on_error = on_error};
    assert_int_equal(world_begin(&handler, shards), 0);
}

static unsigned in_state(sally_sim_peer **peers, unsigned count, sally_sim_peer_state state)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++) n += sally_sim_peer_get_state(peers[i]) == state;
    return n;
}

/* ---- Bans and strikes ---- */

static void a_ban_ends_in_its_time_and_a_silent_peer_earns_longer_ones(void **state)
{
    (void)state;
    char address[64];
    prepare(1);
    world.admission.strikes = (sally_strike_options){.max = 1, .ban_s = 100, .ban_max_s = 300};
    world.options.conn.first_byte_ms = 1000;
    begin(1);
    sally_sim_peer *silent = sally_sim_dial(world.sim, SERVER);
    sally_sim_peer_address(silent, address, sizeof address);
    run_ms(1500);
    assert_int_equal(sally_sim_peer_get_state(silent), SALLY_SIM_FINISHED);
    assert_int_equal(sally_bans_check(world.bans, address, NULL), 1);
    sally_ban ban;
    assert_int_equal(sally_bans_check(world.bans, address, &ban), 1);
    assert_true(ban.left_s <= 100 && ban.left_s >= 98);
    assert_non_null(strstr(ban.reason, "silent"));
    run_ms(100 * 1000);
    assert_int_equal(sally_bans_check(world.bans, address, NULL), 0);
    assert_int_equal(admission_stats().strike_bans, 1);
    world_end();
}

/* ---- Farewells ---- */

static void who_never_leaves_after_the_farewell_is_gone_in_its_time(void **state)
{
    (void)state;
    enum { FIRST = 1, GUESTS = 64, MORE = 100 };
    sally_sim_peer *first, *peers[MORE];
    for (uint64_t seed = 1; seed <= 10; seed++) {
        prepare(seed);
        world.admission.farewell = "full\n";
        world.admission.farewell_bytes = 5;
        world.options.conns_max = FIRST;
        world.options.at_limit = SALLY_AT_LIMIT_FAREWELL;
        world.options.conn.first_byte_ms = SALLY_FOREVER;
        begin((unsigned)(1 + seed % 2));
        first = sally_sim_dial(world.sim, SERVER);
        run_ms(100);
        for (int i = 0; i < MORE; i++) peers[i] = sally_sim_dial(world.sim, SERVER);
        run_ms(1000);
        assert_int_equal(admission_stats().farewells, GUESTS);
        assert_int_equal(in_state(peers, MORE, SALLY_SIM_RESET), MORE - GUESTS);
        assert_int_equal(in_state(peers, MORE, SALLY_SIM_FINISHED), GUESTS);
        for (int i = 0; i < MORE; i++)
            if (sally_sim_peer_get_state(peers[i]) == SALLY_SIM_FINISHED)
                assert_int_equal(received(peers[i]), 5);
        assert_true(sally_sim_sockets(world.sim) >= GUESTS);
        run_ms(2500); /* none of them has closed */
        assert_true(sally_sim_sockets(world.sim) <= FIRST + 1);
        assert_int_equal(sally_sim_peer_get_state(first), SALLY_SIM_OPEN);
        sally_sim_peer *late = sally_sim_dial(world.sim, SERVER);
        run_ms(500);
        assert_int_equal(received(late), 5);
        assert_int_equal(world.opened, FIRST);
        world_end();
    }
}

/* ---- Delays ---- */

static void a_delayed_one_that_nobody_lets_in_is_reset_in_its_time(void **state)
{
    (void)state;
    prepare(7);
    seen.verdict = SALLY_DELAY;
    begin(1);
    sally_sim_peer *peer = sally_sim_dial(world.sim, SERVER);
    run_ms(9500);
    assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
    assert_int_equal(admission_stats().delayed, 1);
    run_ms(2000);
    assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_RESET);
    assert_int_equal(admission_stats().delayed, 0);
    assert_int_equal(admission_stats().delayed_times, 10);
    assert_int_equal(admission_stats().refused_for[SALLY_REFUSED_DELAY], 1);
    world_end();
}

/* ---- The rate of all, exactly ---- */

static void newcomers_get_in_at_the_rate_and_none_is_lost(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        prepare(seed);
        world.admission.limits =
            (sally_admission_limits){.connects_per_s = 10, .connects_burst = 5};
        world.options.watchdog_ms = 3600 * 1000;
        begin((unsigned)(1 + seed % 3));
        for (int i = 0; i < PEERS; i++) (void)sally_sim_dial(world.sim, SERVER);
        for (unsigned s = 1; s <= 4; s++) {
            run_ms(1000);
            unsigned most = s * 10 + 5 < PEERS ? s * 10 + 5 : PEERS;
            unsigned least = s * 10 < PEERS ? s * 10 - 5 : PEERS - 5;
            assert_in_range(world.opened, least, most);
        }
        run_ms(1000);
        assert_int_equal(world.opened, PEERS);
        world_end();
    }
}

/* ---- Every count comes back, whatever goes wrong ---- */

static void storm(uint64_t seed)
{
    sally_sim_peer *peers[PEERS];
    sally_sim_faults faults;
    prepare(seed);
    world.admission.limits = (sally_admission_limits){.conns_per_address = 1};
    world.admission.addresses_max = 8;
    world.admission.farewell = "full\n";
    world.admission.farewell_bytes = 5;
    world.admission.delay_ms = 100;
    world.admission.delay_max_ms = 300;
    world.admission.delayed_max = 3;
    world.options.conns_max = 8;
    world.options.at_limit = (sally_at_limit)sally_sim_random(world.sim, 3);
    world.options.conn = (sally_conn_options){.first_byte_ms = 3000, .idle_ms = 5000};
    begin(1 + sally_sim_random(world.sim, 3));
    sally_sim_draw_faults(world.sim, &faults);
    sally_sim_set_faults(world.sim, &faults);
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = sally_sim_dial(world.sim, SERVER);
        seen.verdict = (sally_verdict)sally_sim_random(world.sim, 4);
        run_ms(sally_sim_random(world.sim, 400));
        sally_sim_peer *peer = peers[sally_sim_random(world.sim, i + 1)];
        switch (sally_sim_random(world.sim, 9)) {
        case 0: sally_sim_peer_reset(peer); break;
        case 1: sally_sim_peer_finish(peer); break;
        case 2: sally_sim_peer_close(peer); break;
        case 3: (void)sally_server_pause_closed(world.server); break;
        case 4: (void)sally_server_pause(world.server); break;
        case 5: assert_int_equal(sally_bans_add(world.bans, "127.0.0.0/30", 1, NULL), 0); break;
        case 6: (void)sally_server_cut_banned(world.server); break;
        default: (void)sally_server_resume(world.server); break;
        }
    }
    sally_sim_set_faults(world.sim, NULL);
    seen.verdict = SALLY_ALLOW;
    assert_int_equal(sally_server_resume(world.server), 0);
    for (unsigned i = 0; i < PEERS; i++) sally_sim_peer_reset(peers[i]);
    run_ms(600 * 1000);
    if (world.opened != world.closed || admission_stats().addresses || admission_stats().delayed ||
        seen.listen_failed != seen.listening)
        fail_msg("seed %llu: %u live, %u addresses, %u delayed", (unsigned long long)seed,
                 world.opened - world.closed, admission_stats().addresses,
                 admission_stats().delayed);
    assert_true(seen.peak <= 8);
    sally_sim_peer *peer = sally_sim_dial(world.sim, SERVER);
    run_ms(1000);
    sally_sim_peer_write(peer, "hello", 5);
    run_ms(1000);
    if (received(peer) != 5) fail_msg("seed %llu: not served in the end", (unsigned long long)seed);
    /* the engine ends while some are on their way in: the gate asserts that they gave all back */
    for (unsigned i = 0; i < 6; i++) (void)sally_sim_dial(world.sim, SERVER);
    run_ms(sally_sim_random(world.sim, 25));
    world_end();
}

static void every_count_comes_back_whatever_goes_wrong(void **state)
{
    (void)state;
    seeds_run(SEEDS, 50, storm);
}

static void one_that_is_held_ends_with_the_engine(void **state)
{
    (void)state;
    prepare(3);
    seen.verdict = SALLY_DELAY;
    begin(2);
    for (int i = 0; i < 5; i++) (void)sally_sim_dial(world.sim, SERVER);
    run_ms(500);
    assert_int_equal(admission_stats().delayed, 5);
    world_end();
}

/* Of six that come at once the sixth meets the stop, while others are on their way to their shards;
 * the gate asserts that all give back what they were counted as. */
static void who_meets_the_stop_on_the_way_gives_its_place_back(void **state)
{
    (void)state;
    enum { AT_ONCE = 6 };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        prepare(seed);
        world.admission.limits.conns_per_address = 1;
        seen.stop_at = AT_ONCE;
        begin(3);
        assert_int_equal(sally_server_pause(world.server), 0);
        for (int i = 0; i < AT_ONCE; i++) (void)sally_sim_dial(world.sim, SERVER);
        run_ms(1000);
        assert_int_equal(sally_server_resume(world.server), 0);
        run_ms(5000);
        assert_int_equal(seen.asked, AT_ONCE);
        world_end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ban_ends_in_its_time_and_a_silent_peer_earns_longer_ones),
        cmocka_unit_test(who_never_leaves_after_the_farewell_is_gone_in_its_time),
        cmocka_unit_test(a_delayed_one_that_nobody_lets_in_is_reset_in_its_time),
        cmocka_unit_test(newcomers_get_in_at_the_rate_and_none_is_lost),
        cmocka_unit_test(every_count_comes_back_whatever_goes_wrong),
        cmocka_unit_test(one_that_is_held_ends_with_the_engine),
        cmocka_unit_test(who_meets_the_stop_on_the_way_gives_its_place_back),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
