/* See metered.h. */
#include "net/support/metered.h"

#include <stdio.h>
#include <string.h>

#include "sim/sim.h"
#include "support/long.h"

enum { PIECE = 10000, WRITE = 1 << 16, BUFFER = 1 << 15 };

struct metered metered;

static unsigned char pattern(uint64_t offset) { return (unsigned char)(offset * 7 + offset / 251); }

static unsigned check_pattern(const unsigned char *data, size_t len, uint64_t offset)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] != pattern(offset + i)) return 1;
    return 0;
}

static void put_pattern(unsigned char *data, size_t len, uint64_t offset)
{
    for (size_t i = 0; i < len; i++) data[i] = pattern(offset + i);
}

struct metered_conn *metered_of(const sally_conn *conn)
{
    sally_id id = sally_conn_id(conn);
    for (unsigned i = 0; i < metered.count; i++)
        if (metered.conns[i].id == id) return &metered.conns[i];
    return NULL;
}

/* ---- The handler ---- */

static void fill(sally_conn *conn)
{
    struct metered_conn *of = metered_of(conn);
    unsigned char piece[PIECE];
    while (of->queued < metered.fill) {
        size_t len =
            metered.fill - of->queued < PIECE ? (size_t)(metered.fill - of->queued) : PIECE;
        put_pattern(piece, len, of->queued);
        if (sally_conn_send(conn, piece, len)) return; /* full, or closing */
        of->queued += len;
    }
}

void metered_say(sally_conn *conn, void *arg)
{
    struct metered_conn *of = conn ? metered_of(conn) : NULL;
    unsigned char bytes[METERED_BIT];
    (void)arg;
    if (!of) return;
    put_pattern(bytes, sizeof bytes, of->queued);
    if (sally_conn_send(conn, bytes, sizeof bytes) == 0) of->queued += sizeof bytes;
}

static void on_open(sally_conn *conn)
{
    check(metered.count < METERED_CONNS);
    struct metered_conn *of = &metered.conns[metered.count++];
    of->id = sally_conn_id(conn);
    of->opened_ms = sally_sim_now_ms(metered.sim);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct metered_conn *of = metered_of(conn);
    metered.wrong += check_pattern(data, len, of->received);
    of->received += len;
    if (metered.on_received) metered.on_received(conn, of);
}

static void on_sent(sally_conn *conn, size_t bytes) { metered_of(conn)->sent += bytes; }

static bool on_timeout(sally_conn *conn, sally_timeout which)
{
    (void)conn;
    (void)which;
    metered.timeouts++;
    return true;
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct metered_conn *of = metered_of(conn);
    if (!of) return; /* it never opened */
    of->closed = true;
    of->closed_ms = sally_sim_now_ms(metered.sim);
    of->info = *info;
    metered.closed++;
}

/* ---- The test's side ---- */

void metered_begin(void)
{
    memset(&metered, 0, sizeof metered);
    metered.options.conn.first_byte_ms = SALLY_FOREVER;
}

void metered_serve(uint64_t seed, sally_sim_choice send_now)
{
    sally_sim_options world = {.send_now = send_now, .latency_max_us = METERED_LATENCY_US};
    sally_engine_options options = {.shards = metered.shards};
    check_error(sally_sim_create(&metered.sim, seed, &world), 0);
    check_error(sally_sim_engine(metered.sim, &options, &metered.engine), 0);
}

void metered_do(unsigned conn, void (*fn)(sally_conn *conn, void *arg), void *arg)
{
    check_error(sally_post(metered.engine, metered.conns[conn].id, fn, arg), 0);
    sally_sim_run(metered.sim, 1);
}

/* Buffers large enough that the network is no limit; they are drawn small as often as not. */
static void widen(void)
{
    struct sim_world *world = metered.sim->world;
    for (uint32_t i = 0; i < world->socks_room; i++) {
        struct sim_sock *sock = world->socks[i];
        if (!sock || sock->kind != SIM_STREAM) continue;
        if (!sock->tx.bytes) sock->tx.size = BUFFER;
        if (!sock->rx.bytes) sock->rx.size = BUFFER;
    }
}

void metered_fill(sally_conn *conn, void *arg)
{
    (void)arg;
    if (conn) fill(conn);
}

sally_handler metered_handler(void)
{
    return (sally_handler){.on_open = on_open,
                           .on_data = on_data,
                           .on_sent = on_sent,
                           .on_drain = fill,
                           .on_timeout = on_timeout,
                           .on_close = on_close};
}

static void listen_once(void)
{
    sally_handler handler = metered_handler();
    if (metered.count) return;
    check_error(sally_listen(metered.engine, METERED_SERVER, &handler, &metered.options, NULL), 0);
}

void metered_dial(unsigned count)
{
    listen_once();
    for (unsigned i = 0; i < count; i++) { /* one by one: so it is known which is whose */
        unsigned before = metered.count;
        sally_sim_peer *peer = sally_sim_dial(metered.sim, METERED_SERVER);
        for (unsigned ms = 0; ms < 1000 && metered.count == before; ms++)
            sally_sim_run(metered.sim, 1);
        check_equal(metered.count, before + 1);
        metered.conns[before].peer = peer;
        if (!metered.narrow) widen();
        metered_do(before, metered_fill, NULL);
    }
}

void metered_connect(const sally_rates *rates)
{
    sally_sim_listener *listener = sally_sim_listen(metered.sim, METERED_PEER, 0);
    sally_handler handler = metered_handler();
    sally_connect_options options = {.conn.rates = rates};
    unsigned before = metered.count;
    check_error(sally_connect(metered.engine, METERED_PEER, &handler, &options, NULL), 0);
    sally_sim_run(metered.sim, 10);
    check_equal(metered.count, before + 1);
    metered.conns[before].peer = sally_sim_listener_accept(listener);
    check(metered.conns[before].peer != NULL);
    widen();
    metered_do(before, metered_fill, NULL);
}

static void peer_write(struct metered_conn *of)
{
    unsigned char bytes[WRITE];
    put_pattern(bytes, sizeof bytes, of->written);
    of->written += sally_sim_peer_write(of->peer, bytes, sizeof bytes);
}

static void peer_read(struct metered_conn *of)
{
    size_t len = 0;
    const void *bytes = sally_sim_peer_received(of->peer, &len);
    metered.wrong += check_pattern(bytes, len, sally_sim_peer_bytes(of->peer) - len);
    sally_sim_peer_consume(of->peer, len);
}

void metered_run(uint32_t ms, bool peers_write)
{
    for (unsigned i = 0; i < metered.count; i++) {
        if (peers_write && !metered.conns[i].closed) peer_write(&metered.conns[i]);
        peer_read(&metered.conns[i]);
    }
    sally_sim_run(metered.sim, ms);
    check_equal(metered.wrong, 0);
}

void metered_finish(void)
{
    check_error(sally_engine_destroy(metered.engine), 0);
    check_equal(sally_sim_memory_bytes(metered.sim), 0);
    sally_sim_destroy(metered.sim);
    check_equal(metered.closed, metered.count);
    check_equal(metered.wrong, 0);
}

static uint64_t metered_life(uint64_t seed, void (*life)(uint64_t seed))
{
    life(seed);
    uint64_t hash = sally_sim_hash(metered.sim);
    metered_finish();
    return hash;
}

void metered_seeds(uint64_t count, uint64_t count_long, void (*life)(uint64_t seed))
{
    uint64_t seeds = long_form() ? count_long : count;
    printf("seeds 1 to %llu\n", (unsigned long long)seeds);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        uint64_t first = metered_life(seed, life);
        check(metered_life(seed, life) == first);
    }
}

uint64_t metered_sent(void)
{
    sally_engine_stats stats;
    check_error(sally_engine_get_stats(metered.engine, &stats), 0);
    return stats.bytes_out;
}

uint64_t metered_received(void)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < metered.count; i++) bytes += metered.conns[i].received;
    return bytes;
}

void metered_within(uint64_t bytes, uint64_t ms, sally_rate rate, uint64_t slack, const char *file,
                    int line)
{
    uint64_t came = (uint64_t)rate.bytes_s * ms / 1000;
    char what[128];
    snprintf(what, sizeof what, "%llu bytes in %llu ms at %lu bytes/s, burst %lu, slack %llu",
             (unsigned long long)bytes, (unsigned long long)ms, (unsigned long)rate.bytes_s,
             (unsigned long)rate.burst_bytes, (unsigned long long)slack);
    check_at(bytes <= came + rate.burst_bytes + 1 && bytes + slack >= came, what, file, line);
}
