/* The listener's watchdog (S0-3, S4-12, S4-21): an accept that the system has lost. No kernel does
 * that on demand, so the port under the engine is epoll's with an accept that is never armed the
 * first time: the operation is in flight, clients wait, and nothing comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "net/host.h"
#include "os/address.h"
#include "os/clock.h"

static struct port_ops deaf_ops;
static atomic_int lost;
static atomic_int stalled;
static atomic_int long_turns; /* that begin with what is received next */
static atomic_int crowded;    /* of those to go: somebody waits meanwhile */

/* Others than those whom the test knows of. */
static bool crowded_pending(struct port *port, port_handle handle)
{
    (void)port;
    (void)handle;
    return atomic_load(&crowded) > 0;
}

static void deaf_accept(struct port *port, struct port_sock *sock)
{
    if (atomic_fetch_sub(&lost, 1) > 0)
        sock->in_flight |= (uint8_t)PORT_BIT(PORT_ACCEPT);
    else
        port_epoll_ops.accept(port, sock);
}

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return os_clock_ns();
}

static int resolve(void *ctx, const char *name, uint16_t port, struct addr *addrs, unsigned max,
                   unsigned *count)
{
    (void)ctx;
    return os_resolve(name, port, addrs, max, count);
}

static void echo(sally_conn *conn, const void *data, size_t len)
{
    atomic_store(&crowded, atomic_exchange(&long_turns, 0));
    if (atomic_load(&crowded))
        sally_conn_timer(conn, 1);
    else
        assert_int_equal(sally_conn_send(conn, data, len), 0);
}

/* Each turn of the shard is longer than a tick, with no time between two of them. */
static void take_long(sally_conn *conn)
{
    struct timespec nap = {.tv_nsec = 60 * 1000000};
    nanosleep(&nap, NULL);
    if (atomic_fetch_sub(&crowded, 1) > 1)
        sally_conn_timer(conn, 1);
    else
        assert_int_equal(sally_conn_send(conn, "x", 1), 0);
}

static void on_server(sally_server *server, const sally_server_event *event)
{
    (void)server;
    if (event->kind == SALLY_SERVER_STALLED) atomic_fetch_add(&stalled, 1);
}

static sally_engine *open_deaf(int accepts_lost, sally_server **server)
{
    deaf_ops = port_epoll_ops;
    deaf_ops.accept = deaf_accept;
    atomic_store(&lost, accepts_lost);
    atomic_store(&stalled, 0);
    struct host host = {.ops = &deaf_ops,
                        .now_ns = now_ns,
                        .resolve = resolve,
                        .threads = true,
                        .reason = "the test's"};
    sally_engine_options options = {.shards = 1};
    sally_server_options server_options = {.watchdog_ms = 20};
    sally_handler handler = {.on_data = echo, .on_timer = take_long, .on_error = on_server};
    sally_engine *engine;
    assert_int_equal(engine_create_on(&engine, &options, &host), 0);
    assert_int_equal(sally_listen(engine, "127.0.0.1:0", &handler, &server_options, server), 0);
    assert_int_equal(sally_engine_start(engine), 0);
    return engine;
}

/* Connects, says a byte, and waits at most 20 s for it to come back. */
static void be_served(sally_server *server)
{
    char text[64], byte = 'x';
    assert_non_null(sally_server_address(server, 0, text, sizeof text));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    unsigned port;
    assert_int_equal(sscanf(strrchr(text, ':'), ":%u", &port), 1);
    to.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, &byte, 1, MSG_NOSIGNAL), 1);
    byte = 0;
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    assert_int_equal(byte, 'x');
    close(fd);
}

static void a_lost_accept_is_begun_again_and_told(void **state)
{
    (void)state;
    for (int accepts_lost = 1; accepts_lost <= 3; accepts_lost++) {
        sally_server *server;
        sally_server_stats stats;
        sally_engine *engine = open_deaf(accepts_lost, &server);
        be_served(server);
        be_served(server);
        assert_int_equal(sally_server_get_stats(server, &stats), 0);
        assert_int_equal(stats.stalled_times, accepts_lost);
        assert_int_equal(atomic_load(&stalled), accepts_lost);
        assert_int_equal(stats.armed, 1);
        assert_int_equal(sally_engine_destroy(engine), 0);
    }
}

static void a_healthy_listener_is_left_alone(void **state)
{
    (void)state;
    sally_server *server;
    sally_server_stats stats;
    sally_engine *engine = open_deaf(0, &server);
    for (int i = 0; i < 50; i++) be_served(server);
    assert_int_equal(sally_server_get_stats(server, &stats), 0);
    assert_int_equal(stats.stalled_times, 0);
    assert_int_equal(sally_engine_destroy(engine), 0);
}

static void a_shard_that_is_late_blames_nobody(void **state)
{
    (void)state;
    sally_server *server;
    sally_server_stats stats;
    sally_engine *engine = open_deaf(0, &server);
    deaf_ops.pending = crowded_pending;
    atomic_store(&long_turns, 8);
    be_served(server);
    assert_int_equal(sally_server_get_stats(server, &stats), 0);
    assert_int_equal(stats.stalled_times, 0);
    assert_int_equal(sally_engine_destroy(engine), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_accept_is_begun_again_and_told),
        cmocka_unit_test(a_healthy_listener_is_left_alone),
        cmocka_unit_test(a_shard_that_is_late_blames_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
