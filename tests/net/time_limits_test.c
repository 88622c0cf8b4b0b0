/* The time limits that a connection has by choice: reading and writing apart, rates, age,
 * heartbeats. In the simulator, where a limit is met to the millisecond, and each once on real
 * ports. The limits that every connection has are in limits_test.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/support/accept_tools.h"
#include "sallyport/sim.h"

#define SERVER "127.0.0.1:5002"
enum { CROWD = 200, REPLY = 3 << 20, LATENCY_MS = 2 };

/* What the handler saw and what it is to do. */
static struct {
    sally_sim *sim;
    uint64_t opened_ms, closed_ms, beat_ms;
    unsigned opened, closed, beats, asked, disorders;
    unsigned chances; /* on_timeout says no so often */
    sally_timeout which;
    sally_close_info info;
    uint64_t ages[CROWD];
    bool echo, expects, pings, pauses, any_beat;
    size_t reply;
    sally_id id;
} seen;

static unsigned char reply[REPLY];

static void on_open(sally_conn *conn)
{
    seen.opened++;
    seen.id = sally_conn_id(conn);
    seen.opened_ms = seen.beat_ms = sally_sim_now_ms(seen.sim);
    if (seen.expects) check_error(sally_conn_expect(conn, true), 0);
    if (seen.reply) check_error(sally_conn_send(conn, reply, seen.reply), 0);
    if (seen.pauses) check_error(sally_conn_pause(conn), 0);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    if (seen.echo) check_error(sally_conn_send(conn, data, len), 0);
}

static bool on_timeout(sally_conn *conn, sally_timeout which)
{
    (void)conn;
    if (seen.asked < CROWD) seen.ages[seen.asked] = sally_sim_now_ms(seen.sim) - seen.opened_ms;
    seen.asked++;
    seen.which = which;
    return seen.asked > seen.chances;
}

static void on_heartbeat(sally_conn *conn)
{
    uint64_t now = sally_sim_now_ms(seen.sim);
    seen.beats++;
    uint64_t distance = now - seen.beat_ms;
    if (!seen.any_beat && (distance < 99 || distance > 105)) seen.disorders++;
    seen.beat_ms = now;
    if (seen.pings) check_error(sally_conn_send(conn, "ping", 4), 0);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    seen.info = *info;
    seen.closed_ms = sally_sim_now_ms(seen.sim);
    seen.closed++;
}

static sally_engine *serving(uint64_t seed, sally_sim_choice send_now, sally_conn_options conn)
{
    sally_engine *engine;
    sally_sim_options world = {.send_now = send_now, .latency_max_us = LATENCY_MS * 1000};
    conn.first_byte_ms = SALLY_FOREVER; /* not what is tested here */
    sally_server_options options = {.conn = conn};
    sally_handler handler = {.on_open = on_open,
                             .on_data = on_data,
                             .on_timeout = on_timeout,
                             .on_heartbeat = on_heartbeat,
                             .on_close = on_close};
    check_error(sally_sim_create(&seen.sim, seed, &world), 0);
    check_error(sally_sim_engine(seen.sim, NULL, &engine), 0);
    check_error(sally_listen(engine, SERVER, &handler, &options, NULL), 0);
    return engine;
}

static sally_sim_peer *peer_of(sally_engine *engine)
{
    (void)engine;
    unsigned opened = seen.opened;
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
    sally_sim_run(seen.sim, 5 * LATENCY_MS);
    check_equal(seen.opened, opened + 1);
    return peer;
}

static void finish(sally_engine *engine)
{
    check_error(sally_engine_destroy(engine), 0);
    check_equal(sally_sim_memory_bytes(seen.sim), 0);
    sally_sim_destroy(seen.sim);
    check_equal(seen.opened, seen.closed);
    check_equal(seen.disorders, 0);
}

static void begin(void) { memset(&seen, 0, sizeof seen); }

static void do_expect(sally_conn *conn, void *arg)
{
    check_error(sally_conn_expect(conn, *(bool *)arg), 0);
}

static void do_resume(sally_conn *conn, void *arg)
{
    bool no = false;
    (void)arg;
    do_expect(conn, &no);
    check_error(sally_conn_resume(conn), 0);
}

static void expect(sally_engine *engine, bool expects)
{
    check_error(sally_post(engine, seen.id, do_expect, &expects), 0);
    sally_sim_run(seen.sim, 1);
}

/* It ends for this reason, so long after that moment, and a little for the network. */
static void check_ends(sally_close_reason reason, uint64_t since_ms, uint32_t after_ms)
{
    sally_sim_run(seen.sim, after_ms + 1000);
    check_equal(seen.closed, 1);
    check_equal(seen.info.reason, reason);
    check(seen.closed_ms + 1 >= since_ms + after_ms);
    check(seen.closed_ms <= since_ms + after_ms + 4 * LATENCY_MS);
    check(strcmp(sally_close_reason_text(reason), "unknown reason") != 0);
}

/* ---- Silence ---- */

/* The server sends all the time: that is not the peer's merit. */
static void a_peer_that_only_reads_ends_at_idle_read(const struct setting *setting)
{
    (void)setting;
    for (sally_sim_choice now = SALLY_SIM_YES; now <= SALLY_SIM_NO; now++) {
        begin();
        seen.pings = true;
        sally_engine *engine =
            serving(1, now, (sally_conn_options){.idle_read_ms = 1000, .heartbeat_ms = 100});
        sally_sim_peer *peer = peer_of(engine);
        for (int i = 0; i < 10; i++) { /* ten limits long it keeps it up */
            sally_sim_run(seen.sim, 950);
            check_equal(sally_sim_peer_write(peer, "x", 1), 1);
        }
        check_equal(seen.closed, 0);
        sally_sim_run(seen.sim, LATENCY_MS); /* the last of it arrives */
        check_ends(SALLY_CLOSE_IDLE_READ_TIMEOUT, sally_sim_now_ms(seen.sim) - LATENCY_MS, 1000);
        check_equal(seen.which, SALLY_TIMEOUT_IDLE_READ);
        check(seen.beats > 90);
        finish(engine);
    }
}

static void a_connection_that_only_hears_ends_at_idle_write(const struct setting *setting)
{
    (void)setting;
    for (sally_sim_choice now = SALLY_SIM_YES; now <= SALLY_SIM_NO; now++) {
        begin();
        seen.echo = true;
        sally_engine *engine = serving(2, now, (sally_conn_options){.idle_write_ms = 500});
        sally_sim_peer *peer = peer_of(engine);
        for (int i = 0; i < 10; i++) {
            sally_sim_run(seen.sim, 450);
            check_equal(sally_sim_peer_write(peer, "x", 1), 1);
        }
        sally_sim_run(seen.sim, LATENCY_MS);
        uint64_t from = sally_sim_now_ms(seen.sim) - LATENCY_MS;
        seen.echo = false;
        for (int i = 0; i < 40; i++) {
            sally_sim_run(seen.sim, 10);
            (void)sally_sim_peer_write(peer, "x", 1);
        }
        check_ends(SALLY_CLOSE_IDLE_WRITE_TIMEOUT, from, 500);
        finish(engine);
    }
}

static void while_reading_is_paused_the_peer_is_not_blamed(const struct setting *setting)
{
    (void)setting;
    begin();
    seen.pauses = seen.expects = true;
    sally_engine *engine = serving(3, SALLY_SIM_YES,
                                   (sally_conn_options){.idle_read_ms = 300,
                                                        .heartbeat_dead_ms = 400,
                                                        .min_recv_bytes_s = 1000,
                                                        .rate_window_ms = 200});
    (void)peer_of(engine);
    sally_sim_run(seen.sim, 5000);
    check_equal(seen.closed + seen.asked, 0);
    check_error(sally_post(engine, seen.id, do_resume, NULL), 0);
    check_ends(SALLY_CLOSE_IDLE_READ_TIMEOUT, sally_sim_now_ms(seen.sim), 300);
    finish(engine);
}

static void eof(sally_conn *conn) { (void)conn; }

static void a_peer_that_has_finished_is_not_waited_for(const struct setting *setting)
{
    (void)setting;
    begin();
    sally_engine *engine;
    sally_handler handler = {
        .on_open = on_open, .on_eof = eof, .on_timeout = on_timeout, .on_close = on_close};
    sally_server_options options = {.conn = {.idle_read_ms = 200,
                                             .heartbeat_dead_ms = 300,
                                             .min_recv_bytes_s = 1000,
                                             .rate_window_ms = 100}};
    check_error(sally_sim_create(&seen.sim, 17, NULL), 0);
    check_error(sally_sim_engine(seen.sim, NULL, &engine), 0);
    check_error(sally_listen(engine, SERVER, &handler, &options, NULL), 0);
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
    sally_sim_run(seen.sim, 100);
    sally_sim_peer_finish(peer);
    sally_sim_run(seen.sim, 100);
    expect(engine, true);
    sally_sim_run(seen.sim, 10000);
    check_equal(seen.opened, 1);
    check_equal(seen.closed + seen.asked, 0);
    finish(engine);
}

/* ---- Rates ---- */

/* A peer that takes what its receive buffer holds every `every_ms`. Bytes it took within 60 s. */
static uint64_t slow_reader(sally_sim_choice now, uint32_t every_ms, sally_conn_options conn)
{
    begin();
    seen.reply = sizeof reply;
    sally_engine *engine = serving(4, now, conn);
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
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
    finish(engine);
    seen.info = info;
    seen.closed = closed;
    return bytes;
}

/* No byte is ever later than the stall limit, yet it would take an hour. */
static void a_reader_below_the_rate_is_cut(const struct setting *setting)
{
    (void)setting;
    for (sally_sim_choice now = SALLY_SIM_YES; now <= SALLY_SIM_NO; now++) {
        sally_conn_options conn = {.write_stall_ms = 30000};
        uint64_t bytes = slow_reader(now, 10000, conn);
        check_equal(seen.closed, 0); /* it escapes the limit for stalls */
        uint32_t rate = (uint32_t)(bytes / 60);
        check(rate > 100);
        conn.min_send_bytes_s = rate * 4;
        (void)slow_reader(now, 10000, conn);
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
        sally_conn_options conn = {.write_stall_ms = 30000};
        uint64_t bytes = slow_reader(now, 3000, conn);
        check(bytes < sizeof reply); /* it is slow: still at it after a minute */
        conn.min_send_bytes_s = (uint32_t)(bytes / 60 / 3);
        check_equal(slow_reader(now, 3000, conn), bytes);
        check_equal(seen.closed, 0);
    }
}

/* The rest of a queue is under the rate too once the connection is closing. */
static void a_closing_connection_keeps_the_rate(const struct setting *setting)
{
    (void)setting;
    begin();
    seen.reply = sizeof reply;
    sally_engine *engine =
        serving(5, SALLY_SIM_YES,
                (sally_conn_options){
                    .max_age_ms = 1000, .min_send_bytes_s = 1 << 20, .rate_window_ms = 5000});
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
    sally_sim_peer_stop_reading(peer);
    sally_sim_run(seen.sim, 4000);
    check_equal(seen.closed, 0);
    check_equal(seen.which, SALLY_TIMEOUT_AGE);
    sally_sim_run(seen.sim, 3000);
    check_equal(seen.closed, 1);
    check_equal(seen.info.reason, SALLY_CLOSE_SEND_RATE);
    finish(engine);
}

static void who_is_expected_to_send_has_to_keep_the_rate(const struct setting *setting)
{
    (void)setting;
    for (int bytes = 9; bytes <= 11; bytes += 2) { /* 100 ms apart, so 90 and 110 a second */
        begin();
        seen.expects = true;
        sally_engine *engine =
            serving(6, SALLY_SIM_YES,
                    (sally_conn_options){.min_recv_bytes_s = 100, .rate_window_ms = 2000});
        sally_sim_peer *peer = peer_of(engine);
        uint64_t began = seen.opened_ms;
        for (int i = 0; i < 100 && !seen.closed; i++) {
            (void)sally_sim_peer_write(peer, reply, (size_t)bytes);
            sally_sim_run(seen.sim, 100);
        }
        check_equal(seen.closed, bytes == 9);
        if (seen.closed) {
            check_equal(seen.info.reason, SALLY_CLOSE_RECV_RATE);
            check(seen.closed_ms + 1 - began >= 2000 && seen.closed_ms - began < 2200);
        } else {
            expect(engine, true); /* changes nothing */
            expect(engine, false);
            sally_sim_run(seen.sim, 10000); /* nothing is expected, nothing comes */
            check_equal(seen.closed, 0);
            expect(engine, true);
            check_ends(SALLY_CLOSE_RECV_RATE, sally_sim_now_ms(seen.sim) - 1, 2000);
        }
        finish(engine);
    }
}

/* ---- Age ---- */

static uint64_t crowd_of_ages(uint64_t seed)
{
    begin();
    sally_engine *engine = serving(
        seed, SALLY_SIM_YES, (sally_conn_options){.max_age_ms = 10000, .age_spread_ms = 4000});
    for (int i = 0; i < CROWD; i++) (void)sally_sim_dial(seen.sim, SERVER);
    sally_sim_run(seen.sim, 30000);
    check_equal(seen.opened, CROWD);
    check_equal(seen.closed, CROWD);
    check_equal(seen.asked, CROWD);
    uint64_t hash = 0;
    unsigned quarters[4] = {0};
    for (int i = 0; i < CROWD; i++) {
        uint64_t age = seen.ages[i]; /* counted from the last one's opening */
        check(age + 5 * LATENCY_MS >= 6000 && age <= 10000);
        hash = hash * 31 + age;
        quarters[age < 6000 ? 0 : age < 9999 ? (age - 6000) / 1000 : 3]++;
    }
    for (int i = 0; i < 4; i++) check(quarters[i] > CROWD / 10);
    finish(engine);
    return hash;
}

static void connections_made_together_do_not_end_together(const struct setting *setting)
{
    (void)setting;
    uint64_t first = crowd_of_ages(7);
    check(first == crowd_of_ages(7));
    check(first != crowd_of_ages(8));
}

static void an_old_connection_says_what_it_has_to_say_first(const struct setting *setting)
{
    (void)setting;
    begin();
    seen.reply = 96 << 10;
    sally_engine *engine = serving(9, SALLY_SIM_NO, (sally_conn_options){.max_age_ms = 1000});
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
    sally_sim_peer_stop_reading(peer);
    sally_sim_run(seen.sim, 2000);
    check_equal(seen.closed, 0);
    sally_sim_peer_read(peer);
    sally_sim_run(seen.sim, 5000);
    check_equal(sally_sim_peer_bytes(peer), seen.reply);
    check(sally_sim_peer_finished(peer));
    sally_sim_peer_close(peer);
    sally_sim_run(seen.sim, 1000);
    check_equal(seen.info.reason, SALLY_CLOSE_MAX_AGE);
    check_equal(seen.info.bytes_unsent, 0);
    finish(engine);
}

/* ---- Heartbeats ---- */

static void a_heart_beats_when_nothing_is_sent(const struct setting *setting)
{
    (void)setting;
    for (int pings = 0; pings < 2; pings++) {
        begin();
        seen.pings = pings;
        sally_engine *engine =
            serving(10, SALLY_SIM_BY_SEED, (sally_conn_options){.heartbeat_ms = 100});
        sally_sim_peer *peer = peer_of(engine);
        sally_sim_run(seen.sim, 10000);
        check(seen.beats >= 99 && seen.beats <= 101); /* on_heartbeat looks at each distance */
        check_equal(sally_sim_peer_bytes(peer) > 0, pings);
        unsigned beats = seen.beats;
        seen.echo = true;
        seen.pings = false;
        seen.any_beat = true;
        for (int i = 0; i < 50; i++) { /* what else is sent is a sign of life too */
            check_equal(sally_sim_peer_write(peer, "x", 1), 1);
            sally_sim_run(seen.sim, 50);
        }
        check(seen.beats <= beats + 1);
        finish(engine);
    }
}

static void no_heart_beats_while_bytes_wait(const struct setting *setting)
{
    (void)setting;
    begin();
    seen.any_beat = true;
    seen.reply = 96 << 10;
    sally_engine *engine = serving(11, SALLY_SIM_NO, (sally_conn_options){.heartbeat_ms = 100});
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
    sally_sim_peer_stop_reading(peer);
    sally_sim_run(seen.sim, 10000);
    check_equal(seen.beats, 0);
    sally_sim_peer_read(peer);
    for (int i = 0; i < 1000 && sally_sim_peer_bytes(peer) < seen.reply; i++)
        sally_sim_run(seen.sim, 50);
    check_equal(sally_sim_peer_bytes(peer), seen.reply);
    unsigned before = seen.beats;
    sally_sim_run(seen.sim, 105);
    check(seen.beats > before);
    finish(engine);
}

static void a_dead_peer_is_found_and_a_living_one_is_not(const struct setting *setting)
{
    (void)setting;
    begin();
    seen.pings = true;
    sally_engine *engine = serving(
        12, SALLY_SIM_YES, (sally_conn_options){.heartbeat_ms = 100, .heartbeat_dead_ms = 350});
    sally_sim_peer *peer = peer_of(engine);
    uint64_t answered = 0, last_ms = 0;
    for (int i = 0; i < 5000; i++) { /* it answers each ping */
        sally_sim_run(seen.sim, 1);
        if (sally_sim_peer_bytes(peer) == answered) continue;
        answered = sally_sim_peer_bytes(peer);
        check_equal(sally_sim_peer_write(peer, "pong", 4), 4);
        last_ms = sally_sim_now_ms(seen.sim);
    }
    check(answered >= 40 * 4);
    check_equal(seen.closed, 0);
    sally_sim_peer_vanish(peer);
    seen.pings = false; /* what is sent now would wait for an answer for ever */
    sally_sim_run(seen.sim, 1000);
    check_equal(seen.closed, 1);
    check_equal(seen.info.reason, SALLY_CLOSE_HEARTBEAT_TIMEOUT);
    check(seen.closed_ms >= last_ms && seen.closed_ms <= last_ms + 350 + 2 * LATENCY_MS);
    finish(engine);
}

/* ---- The handler's word ---- */

static void a_handler_may_give_another_chance(const struct setting *setting)
{
    (void)setting;
    static const struct {
        sally_conn_options conn;
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
        begin();
        seen.chances = 2;
        seen.expects = limits[i].conn.min_recv_bytes_s != 0;
        seen.reply = limits[i].reply ? sizeof reply : 0;
        sally_engine *engine = serving(13, SALLY_SIM_YES, limits[i].conn);
        sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
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
        finish(engine);
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
    begin();
    sally_engine *engine = serving(14, SALLY_SIM_YES, (sally_conn_options){.idle_read_ms = 100});
    static const sally_server_options wrong[] = {
        {.conn = {.max_age_ms = 10, .age_spread_ms = 11}},
        {.conn = {.age_spread_ms = 1}},
        {.conn = {.min_send_bytes_s = 1, .rate_window_ms = SALLY_FOREVER}}};
    sally_handler handler = {0};
    for (int i = 0; i < 3; i++)
        check_error(sally_listen(engine, "127.0.0.1:5003", &handler, &wrong[i], NULL),
                    SALLY_EINVAL);
    (void)peer_of(engine);
    check_error(sally_conn_expect(NULL, true), SALLY_EINVAL);
    check_error(sally_post(engine, seen.id, expect_in_vain, NULL), 0);
    sally_sim_run(seen.sim, 10);
    finish(engine);
}

/* ---- Cost ---- */

static uint64_t bytes_of_crowd(sally_conn_options conn)
{
    begin();
    sally_engine *engine = serving(15, SALLY_SIM_YES, conn);
    for (int i = 0; i < CROWD; i++) (void)sally_sim_dial(seen.sim, SERVER);
    sally_sim_run(seen.sim, 1000);
    check_equal(seen.opened, CROWD);
    uint64_t bytes = sally_sim_memory_bytes(seen.sim);
    finish(engine);
    return bytes;
}

static void only_who_asks_for_them_pays(const struct setting *setting)
{
    (void)setting;
    uint64_t without = bytes_of_crowd((sally_conn_options){0});
    uint64_t off = bytes_of_crowd((sally_conn_options){
        .idle_read_ms = SALLY_FOREVER, .max_age_ms = SALLY_FOREVER, .rate_window_ms = 5});
    uint64_t with = bytes_of_crowd((sally_conn_options){.idle_read_ms = 60000});
    check_equal(off, without);
    check(with > without && with <= without + CROWD * 150);
}

static void without_memory_a_newcomer_is_refused(const struct setting *setting)
{
    (void)setting;
    bool all = false;
    for (uint64_t nth = 1; !all; nth++) {
        begin();
        sally_engine *engine =
            serving(16, SALLY_SIM_YES, (sally_conn_options){.idle_read_ms = 60000});
        sally_sim_run(seen.sim, 10);
        sally_sim_fail_alloc_at(seen.sim, nth, false);
        (void)sally_sim_dial(seen.sim, SERVER);
        sally_sim_run(seen.sim, 1000);
        all = !sally_sim_alloc_failed(seen.sim);
        (void)sally_sim_dial(seen.sim, SERVER); /* the next one is served */
        sally_sim_run(seen.sim, 1000);
        check(seen.opened >= 1);
        finish(engine);
    }
}

/* ---- Real ports ---- */

static atomic_uint real_beats;

static void real_on_open(sally_conn *conn) { (void)sally_conn_expect(conn, true); }

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

static void real_ends(const struct setting *setting, sally_conn_options conn,
                      sally_close_reason reason)
{
    struct rig rig;
    struct tally tally;
    char address[TEXT_MAX];
    sally_server *server;
    tally_init(&tally);
    rig_open(&rig, setting);
    rig_start(&rig);
    sally_handler handler = {.user = &tally,
                             .on_open = real_on_open,
                             .on_heartbeat = real_on_heartbeat,
                             .on_close = real_on_close};
    sally_server_options options = {.conn = conn};
    check_error(sally_listen(rig.engine, "127.0.0.1:0", &handler, &options, &server), 0);
    check(sally_server_address(server, 0, address, sizeof address) != NULL);
    int fd = dial(address);
    check(hear_end(fd, LIMIT_S * 1000) != HEARD_NOTHING);
    hang_up(fd);
    until(atomic_load(&tally.closed) == 1);
    check_equal(atomic_load(&tally.last_reason), reason);
    rig_end(&rig);
}

static void each_limit_ends_a_real_connection(const struct setting *setting)
{
    real_ends(setting, (sally_conn_options){.idle_read_ms = 50, .heartbeat_ms = 5},
              SALLY_CLOSE_IDLE_READ_TIMEOUT);
    check(atomic_load(&real_beats) > 0);
    real_ends(setting, (sally_conn_options){.idle_write_ms = 50}, SALLY_CLOSE_IDLE_WRITE_TIMEOUT);
    real_ends(setting, (sally_conn_options){.min_recv_bytes_s = 1000, .rate_window_ms = 50},
              SALLY_CLOSE_RECV_RATE);
    real_ends(setting, (sally_conn_options){.max_age_ms = 50, .age_spread_ms = 20},
              SALLY_CLOSE_MAX_AGE);
    real_ends(setting, (sally_conn_options){.heartbeat_ms = 5, .heartbeat_dead_ms = 50},
              SALLY_CLOSE_HEARTBEAT_TIMEOUT);
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
        BEHAVIOUR(a_closing_connection_keeps_the_rate, ANYWHERE),
        BEHAVIOUR(who_is_expected_to_send_has_to_keep_the_rate, ANYWHERE),
        BEHAVIOUR(connections_made_together_do_not_end_together, ANYWHERE),
        BEHAVIOUR(an_old_connection_says_what_it_has_to_say_first, ANYWHERE),
        BEHAVIOUR(a_heart_beats_when_nothing_is_sent, ANYWHERE),
        BEHAVIOUR(no_heart_beats_while_bytes_wait, ANYWHERE),
        BEHAVIOUR(a_dead_peer_is_found_and_a_living_one_is_not, ANYWHERE),
        BEHAVIOUR(a_handler_may_give_another_chance, ANYWHERE),
        BEHAVIOUR(what_makes_no_sense_is_refused, ANYWHERE),
        BEHAVIOUR(only_who_asks_for_them_pays, ANYWHERE),
        BEHAVIOUR(without_memory_a_newcomer_is_refused, ANYWHERE),
        BEHAVIOUR(each_limit_ends_a_real_connection, ON_ONE),
    };
    return BEHAVIOURS_RUN(list);
}
