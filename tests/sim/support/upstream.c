/* See upstream.h. */
#include "sim/support/upstream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/why.h"

struct seen seen;
sally_sim_listener *door;

char ours(size_t at) { return (char)('a' + at % 23); }
char theirs(size_t at) { return (char)('A' + at % 19); }

/* ---- The connection ---- */

static void on_open(sally_conn *conn)
{
    static char bytes[STREAM];
    for (size_t at = 0; at < STREAM; at++) bytes[at] = ours(at);
    world.opened++;
    seen.opened++;
    const char *name = sally_conn_server_name(conn);
    snprintf(seen.name, sizeof seen.name, "%s", name ? name : "(none)");
    (void)sally_conn_peer(conn, seen.peer, sizeof seen.peer);
    if (seen.to_say) (void)sally_conn_send(conn, bytes, seen.to_say);
    if (seen.pauses || (seen.by_seed && !sally_sim_random(world.sim, 8)))
        (void)sally_conn_pause(conn);
    if (seen.by_seed && !sally_sim_random(world.sim, 16)) (void)sally_conn_abort(conn);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    assert_true(seen.got_len + len <= sizeof seen.got);
    memcpy(seen.got + seen.got_len, data, len);
    seen.got_len += len;
}

static void on_eof(sally_conn *conn)
{
    seen.eofs++;
    seen.at_eof = seen.got_len;
    (void)sally_conn_close(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    if (world.opened > world.closed)
        world.closed++;
    else
        seen.closed_alone++;
    seen.info = *info;
    (void)sally_conn_why(conn, seen.why, sizeof seen.why);
}

const sally_handler upstream_handler = {
    .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_close = on_close};

/* ---- The world ---- */

void begin(uint64_t seed, sally_upstream_kind kind)
{
    sally_engine_options options = {.shards = 1 + (uint32_t)(seed % 2)};
    memset(&seen, 0, sizeof seen);
    world_prepare(seed);
    assert_int_equal(sally_sim_engine(world.sim, &options, &world.engine), 0);
    door = sally_sim_listen(world.sim, PROXY, 0);
    seen.proxy = (sally_upstream){.kind = kind, .address = PROXY};
    seen.options = (sally_connect_options){.upstream = &seen.proxy, .connect_ms = CONNECT_MS};
}

int dial_to(const char *to)
{
    return sally_connect(world.engine, to, &upstream_handler, &seen.options, &seen.id);
}

/* The proxy's end of a connection that was just asked for. */
sally_sim_peer *proxy_of(const char *to)
{
    assert_int_equal(dial_to(to), 0);
    run_ms(100);
    sally_sim_peer *peer = sally_sim_listener_accept(door);
    assert_non_null(peer);
    assert_int_equal(seen.opened, 0);
    return peer;
}

/* A peer's send buffer may be small: some of it now, the rest as it goes. */
bool say_some(sally_sim_peer *peer, const char *bytes, size_t len)
{
    for (unsigned rounds = 0; len && rounds < 200; rounds++) {
        size_t taken = sally_sim_peer_write(peer, bytes, len);
        bytes += taken;
        len -= taken;
        if (len) run_ms(1);
    }
    return len == 0;
}

void say(sally_sim_peer *peer, const char *bytes, size_t len)
{
    assert_true(say_some(peer, bytes, len));
    run_ms(100);
}

void heard_first(sally_sim_peer *peer, const char *wanted, size_t len)
{
    size_t have;
    for (unsigned rounds = 0; received(peer) < len && rounds < 200; rounds++) run_ms(10);
    const void *bytes = sally_sim_peer_received(peer, &have);
    assert_true(have >= len);
    assert_memory_equal(bytes, wanted, len);
    sally_sim_peer_consume(peer, len);
}

/* And it has heard nothing else since. */
void heard(sally_sim_peer *peer, const char *wanted, size_t len)
{
    heard_first(peer, wanted, len);
    assert_int_equal(received(peer), 0);
}

/* ---- Every protocol ---- */

#define STEP(asks, says)                                                                           \
    {                                                                                              \
        asks, says, sizeof(asks) - 1, sizeof(says) - 1                                             \
    }

const struct protocol protocols[PROTOCOLS] = {
    {SALLY_UPSTREAM_SOCKS4,
     "198.51.100.9:80",
     "me",
     NULL,
     {STEP("\4\1\0\x50\xc6\x33\x64\x9me\0", "\0\x5a\0\0\0\0\0\0")}},
    {SALLY_UPSTREAM_SOCKS4A,
     TARGET,
     NULL,
     NULL,
     {STEP("\4\1\1\xbb\0\0\0\1\0a.example\0", "\0\x5a\0\0\0\0\0\0")}},
    {SALLY_UPSTREAM_SOCKS5,
     TARGET,
     NULL,
     NULL,
     {STEP("\5\1\0", "\5\0"), STEP("\5\1\0\3\x9"
                                   "a.example\1\xbb",
                                   "\5\0\0\1\0\0\0\0\0\0")}},
    {SALLY_UPSTREAM_SOCKS5,
     "[2001:db8::9]:443",
     "me",
     "secret",
     {STEP("\5\2\0\2", "\5\2"), STEP("\1\2me\6secret", "\1\0"),
      STEP("\5\1\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\x9\1\xbb", "\5\0\0\3\1x\0\0")}},
    {SALLY_UPSTREAM_HTTP,
     TARGET,
     "me",
     "secret",
     {STEP("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n"
           "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n",
           "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")}},
};

void begin_protocol(uint64_t seed, const struct protocol *protocol)
{
    begin(seed, protocol->kind);
    seen.proxy.user = protocol->user;
    seen.proxy.password = protocol->password;
}

/* Up to the last answer, which is the caller's to say. */
const struct step *talk(sally_sim_peer *peer, const struct protocol *protocol)
{
    const struct step *step = protocol->steps;
    for (; step + 1 < protocol->steps + 3 && step[1].asks; step++) {
        heard(peer, step->asks, step->asks_len);
        say(peer, step->says, step->says_len);
    }
    heard(peer, step->asks, step->asks_len);
    return step;
}

/* All its answers at once, and something of the target's behind them. */
void serve_some(sally_sim_peer *peer, const struct protocol *protocol)
{
    char bytes[256];
    size_t len = 0;
    for (unsigned i = 0; i < 3 && protocol->steps[i].asks; i++) {
        memcpy(bytes + len, protocol->steps[i].says, protocol->steps[i].says_len);
        len += protocol->steps[i].says_len;
    }
    for (size_t at = 0; at < REST; at++) bytes[len++] = theirs(at);
    if (peer) (void)say_some(peer, bytes, len);
}

void failed_with(sally_close_reason reason, int error, int code)
{
    sally_engine_stats stats;
    assert_int_equal(seen.opened, 0);
    assert_int_equal(seen.closed_alone, 1);
    assert_int_equal(seen.info.reason, reason);
    assert_int_equal(seen.info.error, error);
    assert_int_equal(seen.info.sys_error, code);
    assert_int_equal(seen.info.bytes_in + seen.info.bytes_out, 0);
    assert_int_equal(sally_engine_get_stats(world.engine, &stats), 0);
    assert_int_equal(stats.connect_failures, 1);
    assert_int_equal(stats.connected, 0);
    assert_int_equal(stats.conns, 0);
}
