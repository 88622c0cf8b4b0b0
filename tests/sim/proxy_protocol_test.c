/* Servers behind proxies in virtual time: every split, times to the millisecond, every allocation
 * that fails, and storms of good and bad proxies in which each newcomer is counted once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/server.h"
#include "sallyport/proxy.h"
#include "sallyport/rate.h"
#include "sim/support/world.h"
#include "support/long.h"

enum { SEEDS = 80, PEERS = 40, WAITING_MAX = 8 };
#define LINE "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"
static const char binary[] =
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\7\xc6\x33\x64\x01\x12\x67"
    "\1\xbb";

static struct {
    unsigned judged;
    uint64_t bytes_in;
    sally_verdict verdict;
    bool by_seed; /* the verdict, and whether a connection is closed at once */
    char peer[64];
    sally_proxy_options proxy;
} seen;

static sally_verdict on_accept(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    seen.judged++;
    assert_string_not_equal(info->peer, "-");
    return seen.by_seed ? (sally_verdict)sally_sim_random(world.sim, 4) : seen.verdict;
}

static void on_open(sally_conn *conn)
{
    world.opened++;
    (void)sally_conn_peer(conn, seen.peer, sizeof seen.peer);
    if (seen.by_seed && !sally_sim_random(world.sim, 8)) (void)sally_conn_close(conn);
    if (seen.by_seed && !sally_sim_random(world.sim, 8)) (void)sally_conn_abort(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    world.closed++;
    seen.bytes_in = info->bytes_in;
}

/* Every peer is a trusted proxy. */
static void prepare(uint64_t seed)
{
    memset(&seen, 0, sizeof seen);
    world_prepare(seed);
    seen.proxy.trusted = "0.0.0.0/0";
    world.options.proxy = &seen.proxy;
}

static int try_begin(unsigned shards)
{
    static const sally_handler handler = {
        .on_accept = on_accept, .on_open = on_open, .on_data = world_echo, .on_close = on_close};
    return world_begin(&handler, shards);
}

/* A peer's send buffer may be small: some of it now, the rest as it goes. How much never went. */
static size_t say_some(sally_sim_peer *peer, const char *bytes, size_t len)
{
    for (unsigned rounds = 0; len && rounds < 200; rounds++) {
        size_t taken = sally_sim_peer_write(peer, bytes, len);
        bytes += taken;
        len -= taken;
        if (len) run_ms(1);
    }
    return len;
}

static void say_all(sally_sim_peer *peer, const char *bytes, size_t len)
{
    assert_int_equal(say_some(peer, bytes, len), 0);
}

static void say_text(sally_sim_peer *peer, const char *text) { say_all(peer, text, strlen(text)); }

static sally_sim_peer *proxy_open(void)
{
    sally_sim_peer *peer = sally_sim_dial(world.sim, SERVER);
    run_ms(100);
    assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
    return peer;
}

static void assert_received(sally_sim_peer *peer, const char *wanted)
{
    size_t len;
    const char *bytes = sally_sim_peer_received(peer, &len);
    assert_int_equal(len, strlen(wanted));
    assert_memory_equal(bytes, wanted, len);
}

/* ---- Splits ---- */

/* The first part is with the server, and nothing has happened, before the second is sent. */
static void split_at(const char *header, size_t len, size_t cut, bool with_data)
{
    prepare(cut + 1);
    world.options.accept_with_data = with_data;
    assert_int_equal(try_begin(2), 0);
    sally_sim_peer *peer = proxy_open();
    say_all(peer, header, cut);
    run_ms(100);
    assert_int_equal(world.opened + seen.judged, 0);
    assert_int_equal(sally_server_proxy_waiting(world.server), !with_data || cut > 0);
    say_all(peer, header + cut, len - cut);
    run_ms(100);
    assert_int_equal(world.opened, 1);
    assert_int_equal(sally_server_proxy_waiting(world.server), 0);
    assert_string_equal(seen.peer, "203.0.113.7:4711");
    run_ms(20000); /* the limit of the header is over, and it holds no longer */
    say_text(peer, "mine");
    run_ms(100);
    assert_received(peer, "helloxmine");
    sally_sim_peer_finish(peer);
    run_ms(1000);
    assert_int_equal(world.closed, 1);
    assert_int_equal(seen.bytes_in, 10);
    assert_int_equal(server_stats().refused + server_stats().silent, 0);
    world_end();
}

static void a_header_may_be_split_anywhere(void **state)
{
    (void)state;
    char text[sizeof LINE + 6], bytes[sizeof binary + 6];
    snprintf(text, sizeof text, LINE "hellox");
    memcpy(bytes, binary, sizeof binary - 1);
    memcpy(bytes + sizeof binary - 1, "hellox", 6);
    for (size_t cut = 0; cut < sizeof LINE - 1; cut++)
        split_at(text, sizeof LINE - 1 + 6, cut, cut % 2);
    for (size_t cut = 0; cut < sizeof binary - 1; cut++)
        split_at(bytes, sizeof binary - 1 + 6, cut, cut % 2);
}

/* ---- Time ---- */

static void the_limit_is_of_the_whole_header(void **state)
{
    (void)state;
    static const uint32_t limits[] = {0, 3000, 250};
    for (unsigned i = 0; i < 3; i++) {
        prepare(i + 1);
        seen.proxy.header_ms = limits[i];
        assert_int_equal(try_begin(1), 0);
        uint32_t limit_ms = limits[i] ? limits[i] : 5000;
        sally_sim_peer *peer = sally_sim_dial(world.sim, SERVER);
        run_ms(50);
        for (uint32_t ms = 0; ms + 100 < limit_ms; ms += 50) { /* its bytes don't prolong it */
            if (ms < 1500) (void)sally_sim_peer_write(peer, &LINE[ms / 50], 1);
            run_ms(50);
        }
        assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
        run_ms(250);
        assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_RESET);
        assert_int_equal(admission_stats().refused_for[SALLY_REFUSED_PROXY_LATE], 1);
        assert_int_equal(seen.judged + world.opened, 0);
        world_end();
    }
}

static void the_first_byte_is_the_clients(void **state)
{
    (void)state;
    prepare(1);
    world.options.conn.first_byte_ms = 2000;
    world.admission.strikes = (sally_strike_options){.max = 1};
    assert_int_equal(try_begin(1), 0);
    sally_sim_peer *peer = proxy_open();
    run_ms(1500);
    say_text(peer, LINE);
    run_ms(1900); /* counted from the opening */
    assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
    run_ms(300);
    assert_int_not_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
    assert_int_equal(seen.bytes_in, 0);
    assert_int_equal(sally_bans_check(world.bans, "203.0.113.7", NULL), 1);
    assert_int_equal(sally_bans_count(world.bans), 1);
    world_end();
}

static void one_that_is_delayed_is_asked_for_again_in_its_time(void **state)
{
    (void)state;
    prepare(4);
    seen.verdict = SALLY_DELAY;
    assert_int_equal(try_begin(2), 0);
    sally_sim_peer *peer = proxy_open();
    say_text(peer, LINE "abc");
    run_ms(3500);
    assert_int_equal(seen.judged, 4); /* at once and after each second */
    assert_int_equal(admission_stats().delayed, 1);
    assert_int_equal(sally_server_proxy_waiting(world.server), 0);
    say_text(peer, "def");
    seen.verdict = SALLY_ALLOW;
    run_ms(1000);
    assert_received(peer, "abcdef");
    assert_int_equal(admission_stats().delayed, 0);
    sally_sim_peer_reset(peer);
    run_ms(1000);
    seen.verdict = SALLY_DELAY; /* and not for ever */
    peer = proxy_open();
    say_text(peer, LINE);
    run_ms(11000);
    assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_RESET);
    assert_int_equal(admission_stats().refused_for[SALLY_REFUSED_DELAY], 1);
    peer = proxy_open(); /* banned meanwhile, it is not asked for */
    say_text(peer, LINE);
    run_ms(200);
    unsigned judged = seen.judged;
    assert_int_equal(sally_bans_add(world.bans, "203.0.113.0/24", 60, NULL), 0);
    run_ms(2000);
    assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_RESET);
    assert_int_equal(seen.judged, judged);
    assert_int_equal(admission_stats().refused_for[SALLY_REFUSED_BANNED], 1);
    sally_bans_clear(world.bans);
    peer = proxy_open(); /* nor when the server was closed meanwhile */
    say_text(peer, LINE);
    run_ms(200);
    assert_int_equal(admission_stats().delayed, 1);
    judged = seen.judged;
    assert_int_equal(sally_server_close(world.server), 0);
    run_ms(2000);
    assert_int_equal(sally_sim_peer_get_state(peer), SALLY_SIM_RESET);
    assert_int_equal(seen.judged, judged);
    assert_int_equal(admission_stats().refused_for[SALLY_REFUSED_CLOSING], 1);
    world_end();
}

/* In one batch with the header, where the shard gets its turns late: the receive that brought the
 * header is over then, and must not be started again when the connection opens. */
static void the_end_of_the_stream_may_come_with_the_header(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        prepare(seed);
        assert_int_equal(try_begin(1), 0);
        sally_sim_peer *peer = proxy_open();
        sally_sim_set_faults(world.sim, &(sally_sim_faults){.stall = 500000});
        say_text(peer, LINE "abc");
        sally_sim_peer_finish(peer);
        run_ms(5000);
        sally_sim_set_faults(world.sim, NULL);
        run_ms(1000);
        assert_received(peer, "abc");
        assert_true(sally_sim_peer_finished(peer));
        assert_int_equal(world.closed, 1);
        world_end();
    }
}

/* The end may come in one batch with the header, or while nothing is read. */
static void the_end_of_one_that_is_delayed_comes_after_its_bytes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        prepare(seed);
        seen.verdict = SALLY_DELAY;
        assert_int_equal(try_begin(1), 0);
        sally_sim_peer *peer = proxy_open();
        say_text(peer, LINE "abc");
        sally_sim_peer_finish(peer);
        run_ms(500);
        assert_int_equal(admission_stats().delayed, 1);
        seen.verdict = SALLY_ALLOW;
        run_ms(1000);
        assert_received(peer, "abc");
        assert_true(sally_sim_peer_finished(peer));
        run_ms(1000);
        assert_int_equal(world.closed, 1);
        world_end();
    }
}

/* ---- The number ---- */

static void who_waits_longest_makes_room(void **state)
{
    (void)state;
    sally_sim_peer *peers[WAITING_MAX + 3];
    prepare(5);
    seen.proxy.waiting_max = WAITING_MAX;
    assert_int_equal(try_begin(1), 0);
    for (unsigned i = 0; i < WAITING_MAX + 3; i++) peers[i] = proxy_open();
    assert_int_equal(sally_server_proxy_waiting(world.server), WAITING_MAX);
    assert_int_equal(admission_stats().refused_for[SALLY_REFUSED_PROXY_LATE], 3);
    for (unsigned i = 0; i < WAITING_MAX + 3; i++)
        assert_int_equal(sally_sim_peer_get_state(peers[i]),
                         i < 3 ? SALLY_SIM_RESET : SALLY_SIM_OPEN);
    say_text(peers[6], LINE); /* one out of the middle */
    run_ms(100);
    assert_int_equal(world.opened, 1);
    (void)proxy_open(); /* there was room */
    assert_int_equal(admission_stats().refused_for[SALLY_REFUSED_PROXY_LATE], 3);
    (void)proxy_open();
    assert_int_equal(sally_sim_peer_get_state(peers[3]), SALLY_SIM_RESET);
    assert_int_equal(sally_sim_peer_get_state(peers[4]), SALLY_SIM_OPEN);
    world_end();
}

/* ---- Whatever goes wrong ---- */

static void something_is_said(sally_sim_peer *peer)
{
    static const char *const texts[] = {LINE,
                                        LINE "hello",
                                        "PROXY TCP4 203.0.",
                                        "PROXY UNKNOWN\r\n",
                                        "113.7 198.51.100.1 4711 443\r\nxyz",
                                        "GET / HTTP/1.0\r\n"};
    unsigned which = sally_sim_random(world.sim, 8);
    if (which < 6)
        (void)sally_sim_peer_write(peer, texts[which], strlen(texts[which]));
    else if (which == 6)
        (void)sally_sim_peer_write(peer, binary, sizeof binary - 1);
}

static void something_happens(sally_sim_peer *peer)
{
    switch (sally_sim_random(world.sim, 16)) {
    case 0: sally_sim_peer_reset(peer); break;
    case 1: sally_sim_peer_finish(peer); break;
    case 2: sally_sim_peer_close(peer); break;
    case 3: (void)sally_server_pause_closed(world.server); break;
    case 4: (void)sally_server_pause(world.server); break;
    case 5: assert_int_equal(sally_bans_add(world.bans, "203.0.113.7", 1, NULL), 0); break;
    case 6: (void)sally_server_cut_banned(world.server); break;
    case 7:
    case 8: (void)sally_server_resume(world.server); break;
    default: something_is_said(peer); break;
    }
}

static void storm_options(void)
{
    sally_sim *sim = world.sim;
    seen.by_seed = sally_sim_random(sim, 2);
    seen.proxy.header_ms = 300 + sally_sim_random(sim, 3000);
    seen.proxy.waiting_max = 1 + sally_sim_random(sim, WAITING_MAX);
    world.admission.limits.conns_per_address = sally_sim_random(sim, 4);
    world.admission.farewell = "full\n";
    world.admission.farewell_bytes = 5;
    world.admission.delay_ms = 100;
    world.admission.delay_max_ms = 300;
    world.admission.delayed_max = 3;
    world.options.conns_max = sally_sim_random(sim, 2) ? 12 : 0;
    world.options.accept_with_data = sally_sim_random(sim, 4) == 0;
    world.options.at_limit = (sally_at_limit)sally_sim_random(sim, 3);
    world.options.conn = (sally_conn_options){.first_byte_ms = 3000, .idle_ms = 5000};
    world.options.conn.limits.max_age_ms = sally_sim_random(sim, 2) ? 4000 : 0;
    static const sally_rates rates = {.recv = {.bytes_s = 1000}, .send = {.bytes_s = 1000}};
    world.options.conn.rates = sally_sim_random(sim, 2) ? &rates : NULL;
    world.options.memory_max = sally_sim_random(sim, 2) ? 1 << 20 : 0;
}

static void storm(uint64_t seed)
{
    sally_sim_peer *peers[PEERS];
    sally_sim_faults faults;
    prepare(seed);
    storm_options();
    assert_int_equal(try_begin(1 + sally_sim_random(world.sim, 3)), 0);
    sally_sim_draw_faults(world.sim, &faults);
    sally_sim_set_faults(world.sim, &faults);
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = sally_sim_dial(world.sim, SERVER);
        something_is_said(peers[i]);
        run_ms(sally_sim_random(world.sim, 300));
        for (unsigned n = 0; n < 2; n++)
            something_happens(peers[sally_sim_random(world.sim, i + 1)]);
    }
    sally_sim_set_faults(world.sim, NULL);
    seen.by_seed = false;
    assert_int_equal(sally_server_resume(world.server), 0);
    for (unsigned i = 0; i < PEERS; i++) sally_sim_peer_reset(peers[i]);
    run_ms(600 * 1000);
    sally_server_stats all = server_stats();
    sally_admission_stats got = admission_stats();
    if (world.opened != world.closed || all.conns || got.addresses || got.delayed ||
        sally_server_proxy_waiting(world.server))
        fail_msg("seed %llu: %u live, %u conns, %u addresses, %u delayed, %u waiting",
                 (unsigned long long)seed, world.opened - world.closed, all.conns, got.addresses,
                 got.delayed, sally_server_proxy_waiting(world.server));
    if (atomic_load(&world.server->held))
        fail_msg("seed %llu: memory is counted that nobody holds", (unsigned long long)seed);
    sally_sim_peer *peer = sally_sim_dial(world.sim, SERVER);
    run_ms(100);
    say_text(peer, "PROXY TCP4 203.0.113.99 1.1.1.1 1 1\r\nhello");
    run_ms(1000);
    if (received(peer) != 5) fail_msg("seed %llu: not served in the end", (unsigned long long)seed);
    for (unsigned i = 0; i < 6; i++) something_is_said(sally_sim_dial(world.sim, SERVER));
    run_ms(sally_sim_random(world.sim, 40)); /* the engine ends while some are on their way in */
    world_end();
}

static void every_count_comes_back_whatever_goes_wrong(void **state)
{
    (void)state;
    seeds_run(SEEDS, 50, storm);
}

/* Nothing is lost without faults: a newcomer is open, refused for one cause, or went in silence. */
static void each_newcomer_is_counted_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        sally_sim_peer *peers[PEERS];
        prepare(seed);
        seen.proxy.header_ms = 400;
        seen.proxy.waiting_max = 5;
        seen.by_seed = true;
        world.admission.delay_ms = 100;
        world.admission.delay_max_ms = 300;
        assert_int_equal(try_begin(1 + (unsigned)(seed % 3)), 0);
        for (unsigned i = 0; i < PEERS; i++) {
            peers[i] = sally_sim_dial(world.sim, SERVER);
            run_ms(sally_sim_random(world.sim, 60));
            something_is_said(peers[i]);
            if (!sally_sim_random(world.sim, 6)) sally_sim_peer_close(peers[i / 2]);
        }
        run_ms(600 * 1000);
        sally_server_stats all = server_stats();
        (void)admission_stats(); /* the causes' sum */
        assert_int_equal(all.accepted, PEERS);
        assert_int_equal(all.accepted,
                         world.opened + all.refused + all.silent + all.dead_on_arrival);
        world_end();
    }
}

static void without_memory_it_is_refused_and_nothing_is_left(void **state)
{
    (void)state;
    unsigned served = 0, failed = 0;
    for (uint64_t n = 1; n < 400 && (n == 1 || served < 3); n++) {
        prepare(9);
        world.admission.limits.conns_per_address = 4;
        assert_int_equal(try_begin(2), 0);
        sally_sim_fail_alloc_at(world.sim, n, false);
        sally_sim_peer *peer = sally_sim_dial(world.sim, SERVER);
        run_ms(100);
        (void)say_some(peer, LINE "ab", sizeof LINE - 1 + 2);
        run_ms(2000);
        failed += sally_sim_alloc_failed(world.sim);
        served += !sally_sim_alloc_failed(world.sim);
        sally_sim_fail_alloc_at(world.sim, 0, false);
        sally_sim_peer *next = proxy_open();
        say_text(next, LINE "cd");
        run_ms(2000);
        assert_received(next, "cd");
        world_end();
    }
    assert_int_equal(served, 3); /* all that there are have failed */
    assert_true(failed >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_may_be_split_anywhere),
        cmocka_unit_test(the_limit_is_of_the_whole_header),
        cmocka_unit_test(the_first_byte_is_the_clients),
        cmocka_unit_test(one_that_is_delayed_is_asked_for_again_in_its_time),
        cmocka_unit_test(the_end_of_the_stream_may_come_with_the_header),
        cmocka_unit_test(the_end_of_one_that_is_delayed_comes_after_its_bytes),
        cmocka_unit_test(who_waits_longest_makes_room),
        cmocka_unit_test(every_count_comes_back_whatever_goes_wrong),
        cmocka_unit_test(each_newcomer_is_counted_once),
        cmocka_unit_test(without_memory_it_is_refused_and_nothing_is_left),
    };
    return cmocka_run_group_tests_name("sim/proxy_protocol", tests, NULL, NULL);
}
