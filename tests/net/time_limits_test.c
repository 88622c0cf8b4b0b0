/* The time limits that a connection has by choice (P-83, P-86): reading and writing apart, and
 * rates. In the simulator, where a limit is met to the millisecond, and each once on real ports.
 * Ages and heartbeats are in age_heartbeat_test.c, what every connection has in limits_test.c. */
#include <string.h>

#include "net/support/timed.h"

/* ---- Silence ---- */

/* The server sends all the time: that is not the peer's merit. */
static void a_peer_that_only_reads_ends_at_idle_read(const struct setting *setting)
{
    (void)setting;
    for (sally_sim_choice now = SALLY_SIM_YES; now <= SALLY_SIM_NO; now++) {
        timed_begin();
        seen.pings = true;
        sally_engine *engine =
            timed_serve(1, now, (sally_conn_limits){.idle_read_ms = 1000, .heartbeat_ms = 100});
        sally_sim_peer *peer = timed_peer();
        for (int i = 0; i < 10; i++) { /* ten limits long it keeps it up */
            sally_sim_run(seen.sim, 950);
            check_equal(sally_sim_peer_write(peer, "x", 1), 1);
        }
        check_equal(seen.closed, 0);
        sally_sim_run(seen.sim, TIMED_LATENCY_MS); /* the last of it arrives */
        timed_ends(SALLY_CLOSE_IDLE_READ_TIMEOUT, sally_sim_now_ms(seen.sim) - TIMED_LATENCY_MS,
                   1000);
        check_equal(seen.which, SALLY_TIMEOUT_IDLE_READ);
        check(seen.beats > 90);
        timed_finish(engine);
    }
}

static void a_connection_that_only_hears_ends_at_idle_write(const struct setting *setting)
{
    (void)setting;
    for (sally_sim_choice now = SALLY_SIM_YES; now <= SALLY_SIM_NO; now++) {
        timed_begin();
        seen.echo = true;
        sally_engine *engine = timed_serve(2, now, (sally_conn_limits){.idle_write_ms = 500});
        sally_sim_peer *peer = timed_peer();
        for (int i = 0; i < 10; i++) {
            sally_sim_run(seen.sim, 450);
            check_equal(sally_sim_peer_write(peer, "x", 1), 1);
        }
        sally_sim_run(seen.sim, TIMED_LATENCY_MS);
        uint64_t from = sally_sim_now_ms(seen.sim) - TIMED_LATENCY_MS;
        seen.echo = false;
        for (int i = 0; i < 40; i++) {
            sally_sim_run(seen.sim, 10);
            (void)sally_sim_peer_write(peer, "x", 1);
        }
        timed_ends(SALLY_CLOSE_IDLE_WRITE_TIMEOUT, from, 500);
        timed_finish(engine);
    }
}

static void resume(sally_conn *conn, void *arg)
{
    (void)arg;
    check_error(sally_conn_expect(conn, false), 0);
    check_error(sally_conn_resume(conn), 0);
}

static void while_reading_is_paused_the_peer_is_not_blamed(const struct setting *setting)
{
    (void)setting;
    timed_begin();
    seen.pauses = seen.expects = true;
    sally_engine *engine = timed_serve(3, SALLY_SIM_YES,
                                       (sally_conn_limits){.idle_read_ms = 300,
                                                           .heartbeat_dead_ms = 400,
                                                           .min_recv_bytes_s = 1000,
                                                           .rate_window_ms = 200});
    (void)timed_peer();
    sally_sim_run(seen.sim, 5000);
    check_equal(seen.closed + seen.asked, 0);
    check_error(sally_post(engine, seen.id, resume, NULL), 0);
    timed_ends(SALLY_CLOSE_IDLE_READ_TIMEOUT, sally_sim_now_ms(seen.sim), 300);
    timed_finish(engine);
}

static void eof(sally_conn *conn) { (void)conn; }

static void a_peer_that_has_finished_is_not_waited_for(const struct setting *setting)
{
    (void)setting;
    timed_begin();
    sally_engine *engine;
    sally_handler handler = timed_handler();
    sally_server_options options = {.conn = {.limits = {.idle_read_ms = 200,
                                                        .heartbeat_dead_ms = 300,
                                                        .min_recv_bytes_s = 1000,
                                                        .rate_window_ms = 100}}};
    handler.on_eof = eof;
    check_error(sally_sim_create(&seen.sim, 17, NULL), 0);
    check_error(sally_sim_engine(seen.sim, NULL, &engine), 0);
    check_error(sally_listen(engine, TIMED_SERVER, &handler, &options, NULL), 0);
    sally_sim_peer *peer = sally_sim_dial(seen.sim, TIMED_SERVER);
    sally_sim_run(seen.sim, 100);
    sally_sim_peer_finish(peer);
    sally_sim_run(seen.sim, 100);
    timed_expect(engine, true);
    sally_sim_run(seen.sim, 10000);
    check_equal(seen.opened, 1);
    check_equal(seen.closed + seen.asked, 0);
    timed_finish(engine);
}

/* ---- Rates ---- */

/* A peer that takes what its receive buffer holds every `every_ms`. Bytes it took within 60 s. */
static uint64_t slow_reader(sally_sim_choice now, uint32_t every_ms, sally_conn_limits limits)
{
    timed_begin();
    seen.reply = TIMED_REPLY;
    sally_engine *engine = timed_serve(4, now, limits);
    sally_sim_peer *peer = sally_sim_dial(seen.sim, TIMED_SERVER);
    sally_sim_peer_stop_reading(peer);
    for (uint32_t ms = 0; ms < 60000; ms += every_ms) {
        sally_sim_run(seen.sim, every_ms);
        sally_sim_peer_read(peer);
        sally_sim_peer_stop_reading(peer);
    }
    uint64_t bytes = sally_sim_peer_bytes(peer);
    if (!seen.closed) check_equal(seen.asked, 0);
    sally_close_info info = seen.info;
    unsigned closed = seen.closed;
    timed_finish(engine);
    seen.info = info;
    seen.closed = closed;
    return bytes;
}

/* No byte is ever later than the stall limit, yet it would take an hour. */
static void a_reader_below_the_rate_is_cut(const struct setting *setting)
{
    (void)setting;
    for (sally_sim_choice now = SALLY_SIM_YES; now <= SALLY_SIM_NO; now++) {
        sally_conn_limits limits = {0};
        uint64_t bytes = slow_reader(now, 10000, limits);
        check_equal(seen.closed, 0); /* it escapes the limit for stalls */
        uint32_t rate = (uint32_t)(bytes / 60);
        check(rate > 100);
        limits.min_send_bytes_s = rate * 4;
        (void)slow_reader(now, 10000, limits);
        check_equal(seen.closed, 1);
        check_equal(seen.info.reason, SALLY_CLOSE_SEND_RATE);
        check_equal(seen.which, SALLY_TIMEOUT_SEND_RATE);
        check(seen.info.bytes_unsent > 0);
    }
}

static void a_slow_reader_above_the_rate_lives(const struct setting *setting)
{
    (void)setting;
    for (sally_sim_choice now = SALLY_SIM_YES; now <= SALLY_SIM_NO; now++) {
        sally_conn_limits limits = {0};
        uint64_t bytes = slow_reader(now, 3000, limits);
        check(bytes < TIMED_REPLY); /* it is slow: still at it after a minute */
        limits.min_send_bytes_s = (uint32_t)(bytes / 60 / 3);
        check_equal(slow_reader(now, 3000, limits), bytes);
        check_equal(seen.closed, 0);
    }
}

/* A queue that is empty again within its window, and another one windows later. */
static void short_answers_are_not_judged(const struct setting *setting)
{
    (void)setting;
    for (sally_sim_choice now = SALLY_SIM_YES; now <= SALLY_SIM_NO; now++) {
        timed_begin();
        seen.echo = true;
        sally_engine *engine = timed_serve(
            18, now, (sally_conn_limits){.min_send_bytes_s = 1000, .rate_window_ms = 1000});
        sally_sim_peer *peer = timed_peer();
        for (uint64_t n = 1; n <= 20; n++) {
            check_equal(sally_sim_peer_write(peer, "x", 1), 1);
            sally_sim_run(seen.sim, 2500);
            check_equal(sally_sim_peer_bytes(peer), n);
        }
        check_equal(seen.closed + seen.asked, 0);
        timed_finish(engine);
    }
}

/* The rest of a queue is under the rate too once the connection is closing. */
static void a_closing_connection_keeps_the_rate(const struct setting *setting)
{
    (void)setting;
    timed_begin();
    seen.reply = TIMED_REPLY;
    sally_engine *engine =
        timed_serve(5, SALLY_SIM_YES,
                    (sally_conn_limits){
                        .max_age_ms = 1000, .min_send_bytes_s = 1 << 20, .rate_window_ms = 5000});
    sally_sim_peer *peer = sally_sim_dial(seen.sim, TIMED_SERVER);
    sally_sim_peer_stop_reading(peer);
    sally_sim_run(seen.sim, 4000);
    check_equal(seen.closed, 0);
    check_equal(seen.which, SALLY_TIMEOUT_AGE);
    sally_sim_run(seen.sim, 3000);
    check_equal(seen.closed, 1);
    check_equal(seen.info.reason, SALLY_CLOSE_SEND_RATE);
    timed_finish(engine);
}

static void who_is_expected_to_send_has_to_keep_the_rate(const struct setting *setting)
{
    (void)setting;
    for (int bytes = 9; bytes <= 11; bytes += 2) { /* 100 ms apart, so 90 and 110 a second */
        timed_begin();
        seen.expects = true;
        sally_engine *engine = timed_serve(
            6, SALLY_SIM_YES, (sally_conn_limits){.min_recv_bytes_s = 100, .rate_window_ms = 2000});
        sally_sim_peer *peer = timed_peer();
        uint64_t began = seen.opened_ms;
        for (int i = 0; i < 100 && !seen.closed; i++) {
            (void)sally_sim_peer_write(peer, "eleven byte", (size_t)bytes);
            sally_sim_run(seen.sim, 100);
        }
        check_equal(seen.closed, bytes == 9);
        if (seen.closed) {
            check_equal(seen.info.reason, SALLY_CLOSE_RECV_RATE);
            check(seen.closed_ms + 1 - began >= 2000 && seen.closed_ms - began < 2200);
        } else {
            timed_expect(engine, true); /* changes nothing */
            timed_expect(engine, false);
            sally_sim_run(seen.sim, 10000); /* nothing is expected, nothing comes */
            check_equal(seen.closed, 0);
            timed_expect(engine, true);
            timed_ends(SALLY_CLOSE_RECV_RATE, sally_sim_now_ms(seen.sim) - 1, 2000);
        }
        timed_finish(engine);
    }
}

/* ---- The handler's word ---- */

static void a_handler_may_give_another_chance(const struct setting *setting)
{
    (void)setting;
    static const struct {
        sally_conn_limits of;
        sally_timeout which;
        sally_close_reason reason;
        bool reply;
    } limits[] = {
        {{.idle_read_ms = 500}, SALLY_TIMEOUT_IDLE_READ, SALLY_CLOSE_IDLE_READ_TIMEOUT, false},
        {{.idle_write_ms = 500}, SALLY_TIMEOUT_IDLE_WRITE, SALLY_CLOSE_IDLE_WRITE_TIMEOUT, false},
        {{.min_send_bytes_s = 1 << 30, .rate_window_ms = 500},
         SALLY_TIMEOUT_SEND_RATE,
         SALLY_CLOSE_SEND_RATE,
         true},
        {{.min_recv_bytes_s = 1, .rate_window_ms = 500},
         SALLY_TIMEOUT_RECV_RATE,
         SALLY_CLOSE_RECV_RATE,
         false},
        {{.max_age_ms = 500}, SALLY_TIMEOUT_AGE, SALLY_CLOSE_MAX_AGE, false},
        {{.heartbeat_dead_ms = 500}, SALLY_TIMEOUT_HEARTBEAT, SALLY_CLOSE_HEARTBEAT_TIMEOUT, false},
    };
    for (unsigned i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        timed_begin();
        seen.chances = 2;
        seen.expects = limits[i].of.min_recv_bytes_s != 0;
        seen.reply = limits[i].reply ? TIMED_REPLY : 0;
        sally_engine *engine = timed_serve(13, SALLY_SIM_YES, limits[i].of);
        sally_sim_peer *peer = sally_sim_dial(seen.sim, TIMED_SERVER);
        sally_sim_peer_stop_reading(peer);
        sally_sim_run(seen.sim, 1400);
        check_equal(seen.asked, 2);
        check_equal(seen.closed, 0);
        check_equal(seen.which, limits[i].which);
        sally_sim_run(seen.sim, 400);
        check_equal(seen.asked, 3);
        sally_sim_peer_close(peer);
        sally_sim_run(seen.sim, 400);
        check_equal(seen.closed, 1);
        check_equal(seen.info.reason, limits[i].reason);
        check_equal(seen.which, limits[i].which);
        timed_finish(engine);
    }
}

static void expect_in_vain(sally_conn *conn, void *arg)
{
    (void)arg;
    check_error(sally_conn_expect(conn, true), SALLY_ESTATE);
    check_error(sally_conn_close(conn), 0);
    check_error(sally_conn_expect(conn, true), SALLY_ECLOSED);
}

static void what_makes_no_sense_is_refused(const struct setting *setting)
{
    (void)setting;
    timed_begin();
    sally_engine *engine = timed_serve(14, SALLY_SIM_YES, (sally_conn_limits){.idle_read_ms = 100});
    static const sally_server_options wrong[] = {
        {.conn = {.limits = {.max_age_ms = 10, .age_spread_ms = 11}}},
        {.conn = {.limits = {.age_spread_ms = 1}}},
        {.conn = {.limits = {.min_send_bytes_s = 1, .rate_window_ms = SALLY_FOREVER}}}};
    sally_handler handler = {0};
    for (int i = 0; i < 3; i++)
        check_error(sally_listen(engine, "127.0.0.1:5003", &handler, &wrong[i], NULL),
                    SALLY_EINVAL);
    (void)timed_peer();
    check_error(sally_conn_expect(NULL, true), SALLY_EINVAL);
    check_error(sally_post(engine, seen.id, expect_in_vain, NULL), 0);
    sally_sim_run(seen.sim, 10);
    timed_finish(engine);
}

/* ---- Real ports ---- */

static atomic_uint real_beats;

static unsigned char flood[4 << 20];
static bool floods;

static void real_on_open(sally_conn *conn)
{
    (void)sally_conn_expect(conn, true);
    if (floods) check_error(sally_conn_send(conn, flood, sizeof flood), 0);
}

static void real_on_heartbeat(sally_conn *conn)
{
    atomic_fetch_add(&real_beats, 1);
    (void)sally_conn_send(conn, "ping", 4);
}

static void real_on_close(sally_conn *conn, const sally_close_info *info)
{
    struct tally *tally = sally_conn_user(conn);
    atomic_store(&tally->last_reason, (int)info->reason);
    atomic_fetch_add(&tally->closed, 1);
}

static void real_ends(const struct setting *setting, sally_conn_limits limits,
                      sally_close_reason reason)
{
    struct rig rig;
    struct tally tally;
    char address[TEXT_MAX];
    tally_init(&tally);
    rig_open(&rig, setting);
    rig_start(&rig);
    sally_handler handler = {.user = &tally,
                             .on_open = real_on_open,
                             .on_heartbeat = real_on_heartbeat,
                             .on_close = real_on_close};
    sally_server_options options = {.conn = {.limits = limits}};
    serve_handler(&rig, "127.0.0.1:0", &handler, &options, address);
    int fd = dial_small(address, 4096);
    if (!floods) check(hear_end(fd, LIMIT_S * 1000) != HEARD_NOTHING);
    if (!floods) hang_up(fd);
    until(atomic_load(&tally.closed) == 1);
    if (floods) hang_up(fd); /* it has read nothing */
    check_equal(atomic_load(&tally.last_reason), reason);
    rig_end(&rig);
}

static void each_limit_ends_a_real_connection(const struct setting *setting)
{
    real_ends(setting, (sally_conn_limits){.idle_read_ms = 50, .heartbeat_ms = 5},
              SALLY_CLOSE_IDLE_READ_TIMEOUT);
    check(atomic_load(&real_beats) > 0);
    real_ends(setting, (sally_conn_limits){.idle_write_ms = 50}, SALLY_CLOSE_IDLE_WRITE_TIMEOUT);
    real_ends(setting, (sally_conn_limits){.min_recv_bytes_s = 1000, .rate_window_ms = 50},
              SALLY_CLOSE_RECV_RATE);
    real_ends(setting, (sally_conn_limits){.max_age_ms = 50, .age_spread_ms = 20},
              SALLY_CLOSE_MAX_AGE);
    real_ends(setting, (sally_conn_limits){.heartbeat_ms = 5, .heartbeat_dead_ms = 50},
              SALLY_CLOSE_HEARTBEAT_TIMEOUT);
    floods = true;
    real_ends(setting, (sally_conn_limits){.min_send_bytes_s = 1 << 30, .rate_window_ms = 50},
              SALLY_CLOSE_SEND_RATE);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(a_peer_that_only_reads_ends_at_idle_read, ANYWHERE),
        BEHAVIOUR(a_connection_that_only_hears_ends_at_idle_write, ANYWHERE),
        BEHAVIOUR(while_reading_is_paused_the_peer_is_not_blamed, ANYWHERE),
        BEHAVIOUR(a_peer_that_has_finished_is_not_waited_for, ANYWHERE),
        BEHAVIOUR(a_reader_below_the_rate_is_cut, ANYWHERE),
        BEHAVIOUR(a_slow_reader_above_the_rate_lives, ANYWHERE),
        BEHAVIOUR(short_answers_are_not_judged, ANYWHERE),
        BEHAVIOUR(a_closing_connection_keeps_the_rate, ANYWHERE),
        BEHAVIOUR(who_is_expected_to_send_has_to_keep_the_rate, ANYWHERE),
        BEHAVIOUR(a_handler_may_give_another_chance, ANYWHERE),
        BEHAVIOUR(what_makes_no_sense_is_refused, ANYWHERE),
        BEHAVIOUR(each_limit_ends_a_real_connection, ON_ONE),
    };
    return BEHAVIOURS_RUN(list);
}
