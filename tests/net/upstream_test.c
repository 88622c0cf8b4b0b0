/* Connections through a proxy on the real ports: the proxy is the test's own, by blocking sockets.
 * What each protocol says in detail is in filter/upstream and sim/upstream. */
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"
#include "port/port.h"
#include "sallyport/client.h"
#include "sallyport/upstream.h"

enum { MUCH = 2 << 20, PIECE = 50 * 1000, BEHIND = 40000, SILENCE_MS = 300 };

#define TARGET   "a.example:443"
#define ASKS     "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
#define AGREES   "HTTP/1.1 200 Connection established\r\nVia: me\r\n\r\n"
#define SOCKS_OK "\5\0\0\1\0\0\0\0\0\0"

static uint64_t much(void) { return stage_scaled(MUCH); }

/* ---- The engine's side: checks what comes, and sends as much ---- */

/* number[0]: sent so far; [1]: what was told of the name */
static void pump(sally_conn *conn)
{
    static _Thread_local unsigned char piece[PIECE];
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->number[0]);
    while (at < much()) {
        size_t n = much() - at < PIECE ? (size_t)(much() - at) : PIECE;
        pattern_fill(piece, 3, at, n);
        int err = sally_conn_send(conn, piece, n);
        if (err == SALLY_EFULL) break;
        STAGE_CHECK(actor->stage, err == 0);
        if (err) return;
        at += n;
    }
    atomic_store(&actor->number[0], at);
    if (at == much()) STAGE_CHECK(actor->stage, sally_conn_shutdown(conn) == 0);
}

static void open_and_pump(sally_conn *conn)
{
    const char *name = sally_conn_server_name(conn);
    STAGE_CHECK(actor_of(conn)->stage, name && strcmp(name, "a.example") == 0);
    pump(conn);
}

static void pump_on(sally_conn *conn)
{
    if (atomic_load(&actor_of(conn)->number[0]) < much()) pump(conn);
}

static void check_data(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->bytes_in);
    STAGE_CHECK(actor->stage, pattern_check(data, 5, at, len) == len);
}

static void close_it(sally_conn *conn) { (void)sally_conn_close(conn); }

/* ---- The proxy's side ---- */

struct proxy {
    struct stage *stage;
    int door;
    char address[64];
    sally_upstream upstream;
    sally_connect_options options;
};

static void proxy_open(struct proxy *proxy, const struct stage_way *way, uint32_t features_off)
{
    *proxy = (struct proxy){0};
    proxy->door = raw_listen(proxy->address, sizeof proxy->address, 16);
    assert_true(proxy->door >= 0);
    proxy->upstream = (sally_upstream){.kind = SALLY_UPSTREAM_HTTP, .address = proxy->address};
    proxy->options = (sally_connect_options){.upstream = &proxy->upstream};
    proxy->stage =
        stage_begin(way, &(struct stage_options){.no_server = true,
                                                 .engine.port_features_off = features_off,
                                                 .handler.on_open = open_and_pump,
                                                 .handler.on_drain = pump_on,
                                                 .handler.on_data = check_data,
                                                 .handler.on_eof = close_it});
}

static void proxy_close(struct proxy *proxy)
{
    stage_end(proxy->stage); /* knows of the door */
    raw_close(proxy->door);
}

static int proxy_accept(struct proxy *proxy)
{
    int fd = raw_accept(proxy->door);
    assert_true(fd >= 0);
    return fd;
}

static void hears(int fd, const char *wanted, size_t len)
{
    char bytes[256];
    assert_true(len <= sizeof bytes && raw_read(fd, bytes, len));
    assert_memory_equal(bytes, wanted, len);
}

/* The answer and the first of the target's bytes at once; then all the rest, both ways. */
static void agrees_and_serves(struct proxy *proxy, int fd, const char *answer, size_t len)
{
    unsigned char *bytes = malloc(len + BEHIND);
    uint64_t got = 0;
    assert_non_null(bytes);
    memcpy(bytes, answer, len);
    pattern_fill(bytes + len, 5, 0, BEHIND);
    assert_true(raw_send(fd, bytes, len + BEHIND));
    free(bytes);
    struct actor *actor = stage_actor(proxy->stage, 0);
    assert_true(raw_check(fd, 3, 0, much(), PIECE));
    assert_true(raw_send_pattern(fd, 5, BEHIND, much() - BEHIND, PIECE));
    raw_finish(fd);
    assert_int_equal(raw_read_to_end(fd, &got), RAW_FIN);
    assert_int_equal(got, 0);
    raw_close(fd);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(info->bytes_in, much());
    assert_int_equal(info->bytes_out, much());
}

/* ---- What opens ---- */

static void through_http(const struct stage_way *way, uint32_t features_off)
{
    struct proxy proxy;
    proxy_open(&proxy, way, features_off);
    assert_int_equal(stage_connect(proxy.stage, TARGET, &proxy.options, NULL), 0);
    int fd = proxy_accept(&proxy);
    hears(fd, ASKS, sizeof ASKS - 1);
    assert_true(raw_send(fd, "HTTP/1.1 100 Wait\r\n", 19)); /* in two receives at least */
    assert_int_equal(atomic_load(&proxy.stage->opened), 0);
    agrees_and_serves(&proxy, fd, "\r\n" AGREES, sizeof AGREES + 1);
    proxy_close(&proxy);
}

static void http_connect_carries_streams_both_ways(const struct stage_way *way)
{
    through_http(way, 0);
}

/* Receives that end with each buffer, and sends by operation. */
static void so_it_does_by_the_ports_plain_ways(const struct stage_way *way)
{
    through_http(way, PORT_NO_MULTISHOT_RECV | PORT_NO_BUF_RING | PORT_NO_BUNDLES |
                          PORT_NO_PACKET_SKIP | PORT_NO_POSTED_RECV);
}

static void socks_5_asks_in_three_steps(const struct stage_way *way)
{
    static const char asks[] = "\5\1\0\3\x9"
                               "a.example\1\xbb";
    struct proxy proxy;
    proxy_open(&proxy, way, 0);
    proxy.upstream.kind = SALLY_UPSTREAM_SOCKS5;
    proxy.upstream.user = "me";
    proxy.upstream.password = "secret";
    assert_int_equal(stage_connect(proxy.stage, TARGET, &proxy.options, NULL), 0);
    memset(&proxy.upstream, 0xee, sizeof proxy.upstream); /* it was copied */
    int fd = proxy_accept(&proxy);
    hears(fd, "\5\2\0\2", 4);
    assert_true(raw_send(fd, "\5\2", 2));
    hears(fd, "\1\2me\6secret", 11);
    assert_true(raw_send(fd, "\1\0", 2));
    hears(fd, asks, sizeof asks - 1);
    agrees_and_serves(&proxy, fd, SOCKS_OK, sizeof SOCKS_OK - 1);
    proxy_close(&proxy);
}

static void what_is_sent_by_id_meanwhile_waits_for_the_target(const struct stage_way *way)
{
    struct proxy proxy;
    sally_id id;
    proxy_open(&proxy, way, 0);
    proxy.upstream.kind = SALLY_UPSTREAM_SOCKS4A;
    assert_int_equal(stage_connect(proxy.stage, TARGET, &proxy.options, &id), 0);
    assert_int_equal(sally_send(proxy.stage->engine, id, "early", 5), 0);
    int fd = proxy_accept(&proxy);
    assert_int_equal(sally_send(proxy.stage->engine, id, "later", 5), 0);
    stage_letters_came(proxy.stage, id);
    hears(fd, "\4\1\1\xbb\0\0\0\1\0a.example\0", 19);
    assert_true(raw_send(fd, "\0\x5a\0\0\0\0\0\0", 8));
    hears(fd, "earlylater", 10);
    assert_true(raw_check(fd, 3, 0, much(), PIECE));
    raw_close(fd);
    proxy_close(&proxy);
}

/* ---- What doesn't ---- */

/* By on_close alone, on which actors count as well. */
static void check_failed(struct proxy *proxy, sally_close_reason reason, int error, int code)
{
    STAGE_WAIT(atomic_load(&proxy->stage->closed) == 1);
    assert_int_equal(atomic_load(&proxy->stage->opened), 0);
    const sally_close_info *info = &atomic_load(&proxy->stage->actors[0])->info;
    assert_int_equal(info->reason, reason);
    assert_int_equal(info->error, error);
    assert_int_equal(info->sys_error, code);
    assert_int_equal(stage_engine_stats(proxy->stage).connect_failures, 1);
    proxy_close(proxy);
}

static void a_refusal_has_its_code_and_its_sockets_end(const struct stage_way *way)
{
    static const struct {
        const char *says;
        int error, code;
    } cases[] = {
        {"HTTP/1.0 403 Filtered\r\nA: b\r\n\r\n<html>", SALLY_EPROXY, 403},
        {"HTTP/1.1 407 Proxy Authentication Required\r\n", SALLY_EPROXYAUTH, 407},
        {"HELO\r\n", SALLY_EMALFORMED, 0},
        {"", SALLY_EPROXY, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct proxy proxy;
        uint64_t got;
        proxy_open(&proxy, way, 0);
        assert_int_equal(stage_connect(proxy.stage, TARGET, &proxy.options, NULL), 0);
        int fd = proxy_accept(&proxy);
        hears(fd, ASKS, sizeof ASKS - 1);
        if (*cases[i].says) assert_true(raw_send(fd, cases[i].says, strlen(cases[i].says)));
        if (!*cases[i].says) raw_finish(fd);
        assert_int_not_equal(raw_read_to_end(fd, &got), RAW_SILENT);
        raw_close(fd);
        check_failed(&proxy, SALLY_CLOSE_CONNECT_FAILED, cases[i].error, cases[i].code);
    }
}

static void a_silent_proxy_meets_connect_ms(const struct stage_way *way)
{
    for (int half = 0; half < 2; half++) {
        struct proxy proxy;
        uint64_t got;
        proxy_open(&proxy, way, 0);
        proxy.options.connect_ms = SILENCE_MS;
        assert_int_equal(stage_connect(proxy.stage, TARGET, &proxy.options, NULL), 0);
        int fd = proxy_accept(&proxy);
        bool over = half && !raw_send(fd, AGREES, sizeof AGREES - 2); /* the reset was before it */
        enum raw_end end = raw_read_to_end(fd, &got);
        if (!over) assert_int_equal(end, RAW_RST);
        raw_close(fd);
        check_failed(&proxy, SALLY_CLOSE_CONNECT_TIMEOUT, SALLY_ETIMEDOUT, 0);
    }
}

static void an_engine_may_be_destroyed_while_proxies_are_asked(const struct stage_way *way)
{
    enum { MANY = 30 };
    struct proxy proxy;
    int fds[MANY];
    proxy_open(&proxy, way, 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(stage_connect(proxy.stage, TARGET, &proxy.options, NULL), 0);
        fds[i] = proxy_accept(&proxy);
        if (i % 3) hears(fds[i], ASKS, sizeof ASKS - 1);
        if (i % 3 == 2) assert_true(raw_send(fds[i], AGREES, 20));
    }
    stage_destroy_engine(proxy.stage);
    assert_int_equal(atomic_load(&proxy.stage->closed), MANY);
    for (int i = 0; i < MANY; i++) raw_close(fds[i]);
    proxy_close(&proxy);
}

/* ---- A client ---- */

static void a_client_comes_through_when_its_proxy_lets_it(const struct stage_way *way)
{
    struct proxy proxy;
    sally_client *client;
    proxy_open(&proxy, way, 0);
    sally_handler handler = stage_handler(proxy.stage);
    sally_client_options options = {.connect = proxy.options, .delay_min_ms = 1};
    assert_int_equal(sally_client_create(proxy.stage->engine, TARGET, &handler, &options, &client),
                     0);
    for (int i = 0; i < 3; i++) {
        int fd = proxy_accept(&proxy);
        hears(fd, ASKS, sizeof ASKS - 1);
        assert_true(raw_send(fd, "HTTP/1.1 503 x\r\n\r\n", 18));
        raw_close(fd);
    }
    int fd = proxy_accept(&proxy);
    hears(fd, ASKS, sizeof ASKS - 1);
    agrees_and_serves(&proxy, fd, AGREES, sizeof AGREES - 1);
    assert_int_equal(sally_client_destroy(client), 0);
    stage_destroy_engine(proxy.stage); /* attempts that failed are in its count of closed ones */
    proxy_close(&proxy);
}

static const struct stage_test tests[] = {
    STAGE_TEST(http_connect_carries_streams_both_ways),
    STAGE_TEST_ON(so_it_does_by_the_ports_plain_ways, 1),
    STAGE_TEST_ON(socks_5_asks_in_three_steps, 1),
    STAGE_TEST_ON(what_is_sent_by_id_meanwhile_waits_for_the_target, 1),
    STAGE_TEST_ON(a_refusal_has_its_code_and_its_sockets_end, 1),
    STAGE_TEST_ON(a_silent_proxy_meets_connect_ms, 1),
    STAGE_TEST(an_engine_may_be_destroyed_while_proxies_are_asked),
    STAGE_TEST_ON(a_client_comes_through_when_its_proxy_lets_it, 1),
};

int main(int argc, char **argv)
{
    return stage_run("upstream", tests, sizeof tests / sizeof *tests, argc, argv);
}
