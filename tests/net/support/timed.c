/* See timed.h. */
#include "net/support/timed.h"

#include <string.h>

struct timed seen;
static unsigned char reply[TIMED_REPLY];

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
    if (seen.asked < TIMED_CROWD)
        seen.ages[seen.asked] = sally_sim_now_ms(seen.sim) - seen.opened_ms;
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

sally_handler timed_handler(void)
{
    return (sally_handler){.on_open = on_open,
                           .on_data = on_data,
                           .on_timeout = on_timeout,
                           .on_heartbeat = on_heartbeat,
                           .on_close = on_close};
}

sally_engine *timed_serve(uint64_t seed, sally_sim_choice send_now, sally_conn_limits limits)
{
    sally_engine *engine;
    sally_sim_options world = {.send_now = send_now, .latency_max_us = TIMED_LATENCY_MS * 1000};
    /* no limit for a first byte: it is not what is tested */
    sally_server_options options = {.conn = {.first_byte_ms = SALLY_FOREVER, .limits = limits}};
    sally_handler handler = timed_handler();
    check_error(sally_sim_create(&seen.sim, seed, &world), 0);
    check_error(sally_sim_engine(seen.sim, NULL, &engine), 0);
    check_error(sally_listen(engine, TIMED_SERVER, &handler, &options, NULL), 0);
    return engine;
}

sally_sim_peer *timed_peer(void)
{
    unsigned opened = seen.opened;
    sally_sim_peer *peer = sally_sim_dial(seen.sim, TIMED_SERVER);
    sally_sim_run(seen.sim, 5 * TIMED_LATENCY_MS);
    check_equal(seen.opened, opened + 1);
    return peer;
}

void timed_finish(sally_engine *engine)
{
    check_error(sally_engine_destroy(engine), 0);
    check_equal(sally_sim_memory_bytes(seen.sim), 0);
    sally_sim_destroy(seen.sim);
    check_equal(seen.opened, seen.closed);
    check_equal(seen.disorders, 0);
}

void timed_begin(void) { memset(&seen, 0, sizeof seen); }

static void do_expect(sally_conn *conn, void *arg)
{
    check_error(sally_conn_expect(conn, *(bool *)arg), 0);
}

void timed_expect(sally_engine *engine, bool expects)
{
    check_error(sally_post(engine, seen.id, do_expect, &expects), 0);
    sally_sim_run(seen.sim, 1);
}

void timed_ends(sally_close_reason reason, uint64_t since_ms, uint32_t after_ms)
{
    sally_sim_run(seen.sim, after_ms + 1000);
    check_equal(seen.closed, 1);
    check_equal(seen.info.reason, reason);
    check(seen.closed_ms + 1 >= since_ms + after_ms);
    check(seen.closed_ms <= since_ms + after_ms + 4 * TIMED_LATENCY_MS);
    check(strcmp(sally_close_reason_text(reason), "unknown reason") != 0);
}
