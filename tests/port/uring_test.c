/* The traps of io_uring that the suite of all ports doesn't know: tiny rings, features off, closing
 * with requests in the kernel, stray completions, buffers. Faults of the system are in
 * uring_fault_test.c. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "port/linux_sock.h"
#include "port/support/uring_rig.h"
#include "sallyport/error.h"

static const uint32_t each_off[] = {
    0,
    PORT_NO_MULTISHOT_ACCEPT,
    PORT_NO_MULTISHOT_RECV,
    PORT_NO_BUF_RING,
    PORT_NO_BUNDLES,
    PORT_NO_RATION,
    PORT_NO_DEFER_TASKRUN,
    PORT_NO_SINGLE_ISSUER,
    PORT_NO_RING_FD,
    PORT_NO_MULTISHOT_ACCEPT | PORT_NO_MULTISHOT_RECV | PORT_NO_BUF_RING | PORT_NO_BUNDLES |
        PORT_NO_DEFER_TASKRUN | PORT_NO_SINGLE_ISSUER | PORT_NO_RING_FD,
};
enum { EACH_OFF = sizeof each_off / sizeof *each_off };

static struct rig rig;

/* --- small rings, few buffers --- */

static bool recv_over(struct rig *r, void *arg)
{
    (void)r;
    return ((struct rig_conn *)arg)->ended;
}

static void test_tiny_rings_carry_hundreds_of_connections(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EACH_OFF; i++) {
        rig_open(&rig, 4, 8, 512, 2, each_off[i]);
        rig_listen(&rig);
        rig_stream(&rig, 300, 3000, 1000);
        assert_true(rig.port->counters.buf_shortages > 0);
        assert_int_equal(rig.port->counters.stray_events, 0);
        rig_close(&rig);
    }
}

static void test_a_full_completion_queue_loses_nothing(void **state)
{
    (void)state;
    struct rig_client clients[100];
    rig_open(&rig, 4, 8, 512, 4, 0);
    rig_listen(&rig);
    rig_turn(&rig, 0);
    for (unsigned i = 0; i < 100; i++) rig_client_open(&rig, &clients[i], i, 0);
    assert_int_equal(port_wait(rig.port, 100), 0);
    assert_true(
        io_uring_cq_has_overflow(&uring_of(rig.port)->ring)); /* the case is the one meant */
    rig_until_opened(&rig, 100);
    for (unsigned i = 0; i < 100; i++) rig_client_close(&clients[i]);
    rig_close(&rig);
}

static void test_one_buffer_serves_everybody(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EACH_OFF; i++) {
        rig_open(&rig, 0, 0, 256, 1, each_off[i]);
        rig_listen(&rig);
        rig_stream(&rig, 60, 2000, 2000);
        assert_true(rig.port->counters.buf_shortages > 0);
        rig_close(&rig);
    }
}

static void test_buffers_given_back_late_serve_everybody(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EACH_OFF; i++) {
        rig_open(&rig, 8, 16, 300, 5, each_off[i]);
        rig.hold = 3;
        rig_listen(&rig);
        rig_stream(&rig, 100, 4000, 1500);
        rig_close(&rig);
    }
}

static void test_each_feature_off_keeps_the_streams_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EACH_OFF; i++) {
        rig_open(&rig, 0, 0, 0, 0, each_off[i]);
        rig_listen(&rig);
        rig_stream(&rig, 20, 300000, 16000);
        rig_close(&rig);
    }
}

static void test_taking_may_stop_inside_a_bundle(void **state)
{
    (void)state;
    rig_open(&rig, 0, 0, 128, 64, 0);
    rig.take_max = 1;
    rig.one_take = true;
    rig_listen(&rig);
    rig_stream(&rig, 10, 20000, 8000);
    rig_close(&rig);
}

static bool quiet_ones_arrived(struct rig *r, void *arg)
{
    struct rig_client *clients = arg;
    unsigned whole = 0;
    for (unsigned i = 0; i < 21; i++) rig_client_step(&clients[i], i ? 50 : 16000);
    for (unsigned i = 0; i < RIG_CONNS_MAX; i++)
        whole += r->conns[i] && r->conns[i]->tag < 1000 && r->conns[i]->received == 5000;
    return whole == 20;
}

/* The firehose's buffers come back late, so it has most of them all the time. */
static void test_a_firehose_leaves_buffers_for_the_others(void **state)
{
    (void)state;
    struct rig_client clients[21];
    rig_open(&rig, 0, 0, 256, 8, 0);
    rig.hold = 6;
    rig_listen(&rig);
    rig_client_open(&rig, &clients[0], 1000, UINT64_MAX);
    for (unsigned i = 1; i < 21; i++) rig_client_open(&rig, &clients[i], i, 5000);
    rig_until(&rig, quiet_ones_arrived, clients);
    assert_true(rig.received > 21 * 5000); /* it was one */
    for (unsigned i = 0; i < 21; i++) rig_client_close(&clients[i]);
    rig_close(&rig);
}

/* --- closing --- */

static bool client_ended(struct rig *r, void *arg)
{
    struct rig_client *client = arg;
    (void)r;
    rig_client_step(client, 0);
    return client->ended;
}

/* The reuse of descriptors and slots is the point: the next connection has the number of the one
 * just closed, and its stream must be its own. */
static void test_closing_with_a_receive_in_the_kernel_ends_the_stream(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EACH_OFF; i++) {
        rig_open(&rig, 4, 8, 256, 4, each_off[i]);
        rig_listen(&rig);
        for (unsigned round = 0; round < 60; round++) {
            struct rig_client client;
            rig_client_open(&rig, &client, round, 4096);
            rig_client_step(&client, 100 + round % 3 * 500);
            rig_until_opened(&rig, round + 1);
            rig_shut(&rig, rig_only(&rig), round % 5 == 4 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
            rig_until(&rig, client_ended, &client);
            rig_until_closed(&rig, round + 1);
            rig_client_close(&client);
        }
        rig_close(&rig);
    }
}

static uint32_t seed;

static uint32_t draw(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static void stop_under_load(uint32_t features_off)
{
    struct rig_client clients[24];
    rig_open(&rig, 4, 8, 512, 3, features_off);
    rig_listen(&rig);
    rig.echo = true;
    rig.hold = draw() % 3;
    for (unsigned i = 0; i < 24; i++) rig_client_open(&rig, &clients[i], i, 1 << 16);
    for (unsigned turn = draw() % 30; turn > 0; turn--) {
        for (unsigned i = 0; i < 24; i++) rig_client_step(&clients[i], 1 + draw() % 3000);
        rig_turn(&rig, 0);
        if (draw() % 4 == 0) {
            struct rig_conn *conn = rig.conns[draw() % 25];
            if (conn) rig_shut(&rig, conn, draw() % 2 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
        }
    }
    rig_close(&rig);
    for (unsigned i = 0; i < 24; i++) rig_client_close(&clients[i]);
}

static void test_stopping_under_load_leaves_nothing_behind(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) stop_under_load(each_off[i % EACH_OFF]);
}

/* performance.md: the listening socket of a ring that is torn down late lives on for a while. */
static void test_a_destroyed_port_has_freed_its_address(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        rig_open(&rig, 0, 0, 0, 0, 0);
        rig_listen(&rig);
        rig_turn(&rig, 0);
        struct addr addr = rig.addr;
        rig_close(&rig);
        union linux_sockaddr again;
        socklen_t len = linux_addr_to(&addr, &again);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, &again.any, len), 0); /* without SO_REUSEADDR */
        assert_int_equal(listen(fd, 1), 0);
        close(fd);
    }
}

/* --- stopping and starting the receive --- */

static void three_conns(struct rig_conn *conns[3])
{
    for (unsigned k = 0, at = 0; at < 4; at++)
        if (rig.conns[at] && rig.conns[at] != rig.listener) conns[k++] = rig.conns[at];
}

static bool some_starve(struct rig *r, void *arg)
{
    return uring_of(r->port)->starved.count >= *(unsigned *)arg;
}

/* The one that has the buffer waits behind them for its next. */
static bool got_nothing(const struct rig_conn *conn)
{
    return conn->sock.marks & URING_STARVED && conn->received == 0;
}

static bool two_got_nothing(struct rig *r, void *arg)
{
    struct rig_conn **conns = arg;
    (void)r;
    return got_nothing(conns[0]) + got_nothing(conns[1]) + got_nothing(conns[2]) == 2;
}

/* All buffers are lent, so the receives wait for one that doesn't come. */
static void test_a_receive_without_a_buffer_can_be_stopped_and_closed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EACH_OFF; i++) {
        struct rig_client clients[3];
        rig_open(&rig, 4, 8, 100, 1, each_off[i]);
        rig.hold = 1;
        rig.keep = true;
        rig.no_recv = true;
        rig_listen(&rig);
        for (unsigned k = 0; k < 3; k++) rig_client_open(&rig, &clients[k], k, 1000);
        rig_until_opened(&rig, 3);
        for (unsigned k = 0; k < 3; k++) rig_client_step(&clients[k], 90);
        struct rig_conn *conns[3];
        three_conns(conns);
        for (unsigned k = 0; k < 3; k++) port_recv(rig.port, &conns[k]->sock);
        struct rig_conn *starved[2] = {0};
        rig_until(&rig, two_got_nothing, conns);
        for (unsigned k = 0, n = 0; k < 3; k++)
            if (got_nothing(conns[k]) && n < 2) starved[n++] = conns[k];
        port_recv_stop(rig.port, &starved[0]->sock);
        rig_shut(&rig, starved[1], PORT_CLOSE_FIN);
        assert_int_equal(rig.port->bufs_lent, 1);
        rig_until_closed(&rig, 1);
        rig_until(&rig, recv_over, starved[0]);
        assert_int_equal(starved[0]->end, SALLY_ECANCELED);
        assert_int_equal(starved[0]->received, 0);
        for (unsigned k = 0; k < 3; k++) rig_client_close(&clients[k]);
        rig_close(&rig);
    }
}

static bool step_and_toggle(struct rig *r, void *arg)
{
    struct rig_client *client = arg;
    rig_client_step(client, 700);
    struct rig_conn *conn = rig_only(&rig);
    if (conn->ended) {
        assert_int_equal(conn->end, SALLY_ECANCELED);
        conn->ended = false;
        port_recv(r->port, &conn->sock);
    } else if (draw() % 2) {
        port_recv_stop(r->port, &conn->sock);
    }
    return client->echoed == client->goal;
}

static void test_stopping_the_receive_loses_no_byte_and_ends_it_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EACH_OFF; i++) {
        struct rig_client client;
        rig_open(&rig, 4, 8, 200, 3, each_off[i]);
        rig_listen(&rig);
        rig.echo = true;
        rig_client_open(&rig, &client, 7, 100000);
        rig_until_opened(&rig, 1);
        rig_until(&rig, step_and_toggle, &client);
        rig_client_close(&client);
        rig_close(&rig);
    }
}

/* --- completions and buffers that don't fit --- */

static void inject(uint64_t user_data)
{
    struct io_uring_sqe *sqe = uring_sqe(uring_of(rig.port), IORING_OP_NOP, -1, user_data);
    assert_non_null(sqe);
}

static void test_stray_completions_are_counted_and_dropped(void **state)
{
    (void)state;
    struct rig_client client;
    rig_open(&rig, 0, 0, 0, 0, 0);
    rig_listen(&rig);
    rig_client_open(&rig, &client, 1, 0);
    rig_until_opened(&rig, 1);
    struct rig_conn *conn = rig_only(&rig);
    uint64_t stale = uring_data(&conn->sock, PORT_RECV) - (2ull << 32); /* an earlier generation */
    inject(stale);
    inject(uring_data(&conn->sock, PORT_SEND)); /* nothing of the kind is in flight */
    inject(uring_data(&conn->sock, 0xee));      /* there is no such kind */
    inject(UINT64_MAX);
    inject((uint64_t)PORT_ACCEPT << SLOTS_INDEX_BITS | 0xffffff); /* there is no such slot */
    for (unsigned i = 0; i < 3; i++) rig_turn(&rig, 1);
    assert_int_equal(rig.port->counters.stray_events, 5);
    assert_int_equal(conn->finals[PORT_RECV] + conn->finals[PORT_SEND], 0);
    client.goal = 3000;
    rig.echo = true;
    while (client.echoed < client.goal) {
        rig_client_step(&client, 1000);
        assert_false(client.ended);
        rig_turn(&rig, 1);
    }
    rig_client_close(&client);
    rig_close(&rig);
}

/* The kernel says that it received bytes and doesn't say where to, or into a buffer that is lent.
 */
static void test_bytes_without_a_buffer_break_the_connection_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct rig_client client;
        struct port_event event;
        rig_open(&rig, 0, 0, 256, 4, PORT_NO_BUNDLES);
        rig_listen(&rig);
        struct rig_conn *conn = rig_armed(&rig, &client);
        struct uring *uring = uring_of(rig.port);
        uint32_t flags = IORING_CQE_F_MORE;
        if (i) flags |= IORING_CQE_F_BUFFER | 2u << IORING_CQE_BUFFER_SHIFT;
        if (i) uring->bufs.state[2] = URING_BUF_LENT;
        assert_false(uring_recv_done(uring, &conn->sock, 100, flags, &event));
        if (i) uring->bufs.state[2] = URING_BUF_FREE;
        rig_client_step(&client, 600); /* bytes behind the hole aren't told */
        rig_until(&rig, recv_over, conn);
        assert_int_equal(conn->end, SALLY_ESYSTEM);
        assert_int_equal(conn->received, 0);
        assert_int_equal(conn->finals[PORT_RECV], 1);
        rig_client_close(&client);
        rig_shut(&rig, conn, PORT_CLOSE_RST);
        rig_stream(&rig, 10, 4000, 1000); /* no buffer was lost, none is there twice */
        rig_close(&rig);
    }
}

static void test_a_buffer_named_and_not_taken_is_not_given_twice(void **state)
{
    (void)state;
    struct rig_client client;
    struct port_event event;
    rig_open(&rig, 0, 0, 256, 4, 0);
    rig_listen(&rig);
    struct rig_conn *conn = rig_armed(&rig, &client);
    struct uring *uring = uring_of(rig.port);
    for (uint32_t buf = 0; buf < 6; buf++) { /* two of them don't exist */
        uint32_t flags = IORING_CQE_F_MORE | IORING_CQE_F_BUFFER | buf << IORING_CQE_BUFFER_SHIFT;
        assert_false(uring_recv_done(uring, &conn->sock, 0, flags, &event));
    }
    assert_int_equal(uring->bufs.pending, 0);
    assert_int_equal(uring->bufs.lost, 0);
    rig_client_close(&client);
    rig_shut(&rig, conn, PORT_CLOSE_RST);
    rig.hold = 3;
    rig_stream(&rig, 30, 8000, 3000);
    rig_close(&rig);
}

static void test_the_end_of_a_stream_costs_no_buffer(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EACH_OFF; i++) {
        rig_open(&rig, 0, 0, 256, 2, each_off[i]);
        rig_listen(&rig);
        rig_stream(&rig, 100, 10, 10);
        for (unsigned turn = 0; turn < 20; turn++) rig_turn(&rig, 1);
        assert_int_equal(uring_of(rig.port)->bufs.lost, 0);
        assert_int_equal(rig.port->counters.stray_events, 0);
        assert_int_equal(uring_bufs_ready(uring_of(rig.port)), 2);
        rig_close(&rig);
    }
}

/* --- the loop from outside --- */

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    return poll(&wanted, 1, timeout_ms) == 1;
}

static void test_the_descriptor_is_readable_when_there_is_something(void **state)
{
    (void)state;
    struct rig_client client;
    rig_open(&rig, 0, 0, 0, 0, 0);
    rig_listen(&rig);
    int fd = (int)port_fd(rig.port);
    for (unsigned i = 0; i < 3; i++) rig_turn(&rig, 0);
    assert_false(is_readable(fd, 0));
    port_wake(rig.port);
    assert_true(is_readable(fd, 5000));
    for (unsigned i = 0; i < 3; i++) rig_turn(&rig, 0);
    assert_false(is_readable(fd, 0));
    rig_client_open(&rig, &client, 1, 100); /* a completion */
    assert_true(is_readable(fd, 5000));
    rig_until_opened(&rig, 1);
    for (unsigned i = 0; i < 3; i++) rig_turn(&rig, 0);
    struct rig_conn *idle = rig_add(&rig, PORT_NO_HANDLE);
    rig_shut(&rig, idle, PORT_CLOSE_FIN); /* an event that no completion brings */
    assert_true(is_readable(fd, 5000));
    rig_until_closed(&rig, 1);
    rig_client_close(&client);
    rig_close(&rig);
}

/* The first to be given the only buffer is idle; the one behind it isn't, and nothing of the
 * kernel's would say so. */
static void test_the_descriptor_is_readable_when_a_buffer_came_back(void **state)
{
    (void)state;
    struct rig_client clients[3];
    rig_open(&rig, 0, 0, 100, 1, 0);
    rig.no_recv = true;
    rig.hold = 1;
    rig.keep = true;
    rig_listen(&rig);
    int fd = (int)port_fd(rig.port);
    for (unsigned k = 0; k < 3; k++) rig_client_open(&rig, &clients[k], k, 1000);
    rig_until_opened(&rig, 3);
    struct rig_conn *conns[3];
    three_conns(conns);
    rig_client_step(&clients[0], 50);
    rig_client_step(&clients[2], 50);
    port_recv(rig.port, &conns[0]->sock);
    for (unsigned i = 0; i < 1000 && !rig.held_count; i++) rig_turn(&rig, 2);
    assert_int_equal(rig.held_count, 1);  /* it has the buffer */
    port_recv(rig.port, &conns[1]->sock); /* idle: meets no buffer */
    rig_until(&rig, some_starve, &(unsigned){1});
    port_recv(rig.port, &conns[2]->sock);
    for (unsigned i = 0; i < 3; i++) assert_int_equal(port_wait(rig.port, 0), 0);
    struct port_event event;
    while (port_take(rig.port, &event, 1)) fail_msg("an event without a buffer");
    rig.held_count = 0;
    port_buf_release(rig.port, rig.held[0].buf, rig.held[0].data);
    port_flush(rig.port);
    assert_true(is_readable(fd, 5000));
    for (unsigned i = 0; i < RIG_ROUNDS_MAX && !conns[2]->received; i++) rig_turn(&rig, 2);
    assert_int_equal(conns[2]->received, 50);
    for (unsigned k = 0; k < 3; k++) rig_client_close(&clients[k]);
    rig_close(&rig);
}

int main(void)
{
    const char *given = getenv("SEED");
    seed = given ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)getpid();
    printf("seed %u\n", seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiny_rings_carry_hundreds_of_connections),
        cmocka_unit_test(test_a_full_completion_queue_loses_nothing),
        cmocka_unit_test(test_one_buffer_serves_everybody),
        cmocka_unit_test(test_buffers_given_back_late_serve_everybody),
        cmocka_unit_test(test_each_feature_off_keeps_the_streams_whole),
        cmocka_unit_test(test_taking_may_stop_inside_a_bundle),
        cmocka_unit_test(test_a_firehose_leaves_buffers_for_the_others),
        cmocka_unit_test(test_closing_with_a_receive_in_the_kernel_ends_the_stream),
        cmocka_unit_test(test_stopping_under_load_leaves_nothing_behind),
        cmocka_unit_test(test_a_destroyed_port_has_freed_its_address),
        cmocka_unit_test(test_stopping_the_receive_loses_no_byte_and_ends_it_once),
        cmocka_unit_test(test_stray_completions_are_counted_and_dropped),
        cmocka_unit_test(test_bytes_without_a_buffer_break_the_connection_alone),
        cmocka_unit_test(test_a_buffer_named_and_not_taken_is_not_given_twice),
        cmocka_unit_test(test_the_end_of_a_stream_costs_no_buffer),
        cmocka_unit_test(test_a_receive_without_a_buffer_can_be_stopped_and_closed),
        cmocka_unit_test(test_the_descriptor_is_readable_when_there_is_something),
        cmocka_unit_test(test_the_descriptor_is_readable_when_a_buffer_came_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
