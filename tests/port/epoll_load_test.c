/* The epoll port under load: what makes a loop on epoll spin, run out of buffers, or starve others.
 * Real sockets on the loopback interface.
 *
 * "Does not spin" is shown by a count: over a stretch of time port_wait is called with that stretch
 * as its limit, and a port that spins comes back thousands of times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/address.h"
#include "os/clock.h"
#include "port/support/epoll_bench.h"
#include "port/support/linux_tools.h"
#include "sallyport/error.h"

/* --- spinning --- */

static void accept_without_descriptors_ends_and_does_not_spin(void **state)
{
    (void)state;
    struct bench bench;
    struct addr at;
    int peers[3];
    bench_open(&bench, 0);
    struct port_sock *listener = bench_listener(&bench, 0, &at);
    port_accept(bench.port, listener);
    for (int i = 0; i < 3; i++) peers[i] = tool_connect(&at, true);
    tool_descriptors_forbid();
    unsigned returns = bench_returns(&bench);
    int probe = port_probe(bench.port, NULL);
    tool_descriptors_allow();
    assert_int_equal(bench.count, 1);
    assert_int_equal(bench.events[0].op, PORT_ACCEPT);
    assert_int_equal(bench.events[0].error, SALLY_EEXHAUSTED);
    assert_int_equal(bench.events[0].sys_error, EMFILE);
    assert_false(bench.events[0].more);
    assert_int_equal(probe, SALLY_EEXHAUSTED);
    assert_true(returns <= BENCH_SPINS_MAX);
    /* with descriptors again, it is started again, and nobody who waited was lost */
    assert_int_equal(port_probe(bench.port, NULL), 0);
    bench.count = 0;
    port_accept(bench.port, listener);
    bench_until(&bench, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(bench.events[i].error, 0);
        assert_true(bench.events[i].more);
        port_refuse(bench.port, bench.events[i].accepted, PORT_CLOSE_FIN);
        close(peers[i]);
    }
    assert_int_equal(bench.port->counters.accepted, 3);
    bench_drop(&bench, listener, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void stopped_listener_with_a_full_queue_does_not_spin(void **state)
{
    (void)state;
    struct bench bench;
    struct addr at;
    bench_open(&bench, 0);
    struct port_sock *listener = bench_listener(&bench, 0, &at);
    port_accept(bench.port, listener);
    port_accept_stop(bench.port, listener);
    int peer = tool_connect(&at, true);
    unsigned returns = bench_returns(&bench);
    assert_int_equal(bench.count, 1);
    assert_int_equal(bench.events[0].error, SALLY_ECANCELED);
    assert_true(returns <= BENCH_SPINS_MAX);
    close(peer);
    bench_drop(&bench, listener, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void paused_reader_whose_peer_resets_does_not_spin(void **state)
{
    (void)state;
    struct bench bench;
    int peer;
    bench_open(&bench, 0);
    struct port_sock *sock = bench_pair(&bench, &peer);
    port_recv(bench.port, sock);
    bench_turn(&bench, 0);
    port_recv_stop(bench.port, sock);
    bench_until(&bench, 1);
    assert_int_equal(bench.events[0].error, SALLY_ECANCELED);
    peer_reset(peer);
    unsigned returns = bench_returns(&bench);
    assert_int_equal(bench.count, 1);
    assert_true(returns <= BENCH_SPINS_MAX);
    /* who reads again is told */
    port_recv(bench.port, sock);
    bench_until(&bench, 2);
    assert_int_equal(bench.events[1].error, SALLY_ERESET);
    bench_drop(&bench, sock, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void half_closed_and_reset_connections_do_not_spin_after_the_end(void **state)
{
    (void)state;
    struct bench bench;
    int peers[3];
    struct port_sock *socks[3];
    bench_open(&bench, 0);
    for (int i = 0; i < 3; i++) {
        socks[i] = bench_pair(&bench, &peers[i]);
        port_recv(bench.port, socks[i]);
    }
    shutdown(peers[0], SHUT_WR);
    peer_reset(peers[1]);
    close(peers[2]);
    bench_until(&bench, 3);
    unsigned returns = bench_returns(&bench);
    assert_int_equal(bench.count, 3);
    assert_true(returns <= BENCH_SPINS_MAX);
    close(peers[0]);
    for (int i = 0; i < 3; i++) bench_drop(&bench, socks[i], PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void send_to_a_peer_that_does_not_read_sleeps_until_it_does(void **state)
{
    (void)state;
    static char sink[1 << 20];
    struct bench bench;
    int peer;
    bench_open(&bench, 0);
    struct port_sock *sock = bench_pair(&bench, &peer);
    bench_fill(&bench, sock);
    assert_true(bench_returns(&bench) <= BENCH_SPINS_MAX);
    uint64_t end = os_clock_ns() + (uint64_t)TOOL_LIMIT_MS * 1000000;
    while (!bench.count) {
        assert_true(os_clock_ns() < end);
        while (recv(peer, sink, sizeof sink, MSG_DONTWAIT) > 0) {
        }
        bench_turn(&bench, 10);
    }
    assert_int_equal(bench.events[0].op, PORT_SEND);
    assert_int_equal(bench.events[0].error, 0);
    assert_true(bench.events[0].bytes > 0);
    /* writable from now on, and nobody asks */
    assert_true(bench_returns(&bench) <= BENCH_SPINS_MAX);
    assert_int_equal(bench.count, 1);
    close(peer);
    bench_drop(&bench, sock, PORT_CLOSE_RST);
    bench_shut(&bench);
}

static void descriptor_copied_by_somebody_else_is_out_of_the_set_after_close(void **state)
{
    (void)state;
    struct bench bench;
    int peer;
    bench_open(&bench, 0);
    struct port_sock *sock = bench_pair(&bench, &peer);
    int copy = dup((int)sock->handle); /* as a child process has it between fork and exec */
    port_recv(bench.port, sock);
    bench_turn(&bench, 0);
    bench_drop(&bench, sock, PORT_CLOSE_FIN);
    assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(bench_returns(&bench) <= BENCH_SPINS_MAX);
    assert_int_equal(bench.count, 0);
    assert_int_equal(bench.port->counters.stray_events, 0);
    close(copy);
    close(peer);
    bench_shut(&bench);
}

/* --- buffers --- */

static void without_buffers_it_sleeps_and_then_serves_in_the_order_of_waiting(void **state)
{
    (void)state;
    enum { PAIRS = 5 };
    struct bench bench;
    int peers[PAIRS];
    struct port_sock *socks[PAIRS];
    bench_open(&bench, 1);
    bench.hold = true;
    bench_senders(&bench, socks, peers, PAIRS, "first", true);
    assert_int_equal(bench.count, 1);
    assert_ptr_equal(bench.events[0].sock, socks[0]);
    assert_int_equal(bench.port->bufs_total, 1);
    assert_int_equal(bench.port->bufs_lent, 1);
    peer_send(peers[0], socks[0], "again"); /* behind the others now */
    assert_true(bench_returns(&bench) <= BENCH_SPINS_MAX);
    assert_int_equal(bench.count, 1);
    assert_int_equal(bench.port->counters.buf_shortages, PAIRS);
    for (unsigned i = 0; i < PAIRS; i++) {
        port_buf_release(bench.port, bench.events[i].buf, bench.events[i].data);
        bench_until(&bench, i + 2);
        assert_int_equal(bench.count, i + 2); /* one buffer, one event */
        assert_ptr_equal(bench.events[i + 1].sock, socks[(i + 1) % PAIRS]);
        assert_int_equal(bench.events[i + 1].bytes, 5);
    }
    port_buf_release(bench.port, bench.events[PAIRS].buf, bench.events[PAIRS].data);
    bench_drop_pairs(&bench, socks, peers, PAIRS);
    bench_shut(&bench);
}

static void who_stops_or_closes_while_waiting_for_a_buffer_leaves_the_queue(void **state)
{
    (void)state;
    enum { PAIRS = 5 };
    struct bench bench;
    int peers[PAIRS];
    struct port_sock *socks[PAIRS];
    bench_open(&bench, 1);
    bench.hold = true;
    bench_senders(&bench, socks, peers, PAIRS, "x", true);
    struct port_event lent = bench.events[0];
    bench_drop(&bench, socks[4], PORT_CLOSE_FIN); /* the last, */
    port_recv_stop(bench.port, socks[2]);         /* one in the middle, */
    bench_until(&bench, 1);
    assert_int_equal(bench.events[0].error, SALLY_ECANCELED);
    bench_drop(&bench, socks[1], PORT_CLOSE_RST); /* and the first */
    port_buf_release(bench.port, lent.buf, lent.data);
    bench_until(&bench, 1);
    assert_ptr_equal(bench.events[0].sock, socks[3]);
    lent = bench.events[0];
    port_recv(bench.port, socks[2]);
    bench_turn(&bench, 0);
    assert_int_equal(bench.count, 1);
    port_buf_release(bench.port, lent.buf, lent.data);
    bench_until(&bench, 2);
    assert_ptr_equal(bench.events[1].sock, socks[2]);
    port_buf_release(bench.port, bench.events[1].buf, bench.events[1].data);
    bench_drop(&bench, socks[0], PORT_CLOSE_FIN);
    bench_drop(&bench, socks[2], PORT_CLOSE_FIN);
    bench_drop(&bench, socks[3], PORT_CLOSE_FIN);
    for (int i = 0; i < PAIRS; i++) close(peers[i]);
    bench_shut(&bench);
}

static void without_memory_for_a_buffer_it_tries_again_now_and_then(void **state)
{
    (void)state;
    struct bench bench;
    int peer;
    bench_open(&bench, 4);
    struct port_sock *sock = bench_pair(&bench, &peer);
    port_recv(bench.port, sock);
    peer_send(peer, sock, "x");
    bench.no_buffers = true;
    unsigned returns = bench_returns(&bench);
    assert_int_equal(bench.count, 0);
    assert_true(returns <= BENCH_STRETCH_MS / 10 + BENCH_SPINS_MAX); /* every 10 ms at most */
    bench.no_buffers = false;
    bench_until(&bench, 1);
    assert_int_equal(bench.events[0].bytes, 1);
    close(peer);
    bench_drop(&bench, sock, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void buffers_of_a_burst_go_back_when_nothing_comes(void **state)
{
    (void)state;
    enum { PAIRS = 20 };
    struct bench bench;
    int peers[PAIRS];
    struct port_sock *socks[PAIRS];
    bench_open(&bench, 0);
    bench_senders(&bench, socks, peers, PAIRS, "x", false);
    size_t before = mem_in_use(&bench.mem);
    bench.hold = true;
    bench_until(&bench, PAIRS);
    assert_true(mem_in_use(&bench.mem) >= before + PAIRS * 4096);
    for (int i = 0; i < PAIRS; i++)
        port_buf_release(bench.port, bench.events[i].buf, bench.events[i].data);
    bench_turn(&bench, 1);
    assert_true(mem_in_use(&bench.mem) <= before + 2 * 4096);
    bench_drop_pairs(&bench, socks, peers, PAIRS);
    bench_shut(&bench);
}

/* Under SALLY_POOLS_OFF every buffer is a new one. */
static void next_receive_reads_into_the_buffer_released_last(void **state)
{
    (void)state;
#if defined(SALLY_POOLS_OFF)
    skip();
#endif
    struct bench bench;
    int peers[2];
    struct port_sock *socks[2];
    bench_open(&bench, 0);
    bench_senders(&bench, socks, peers, 2, "x", false);
    bench_until(&bench, 2); /* in one turn: each is taken, released, then the next is read */
    assert_ptr_equal(bench.events[0].data, bench.events[1].data);
    bench_drop_pairs(&bench, socks, peers, 2);
    bench_shut(&bench);
}

/* --- fairness --- */

static void firehose_gets_one_read_in_a_turn(void **state)
{
    (void)state;
    static char bytes[10 * 4096];
    struct bench bench;
    int peers[2];
    struct port_sock *socks[2];
    bench_open(&bench, 0);
    for (int i = 0; i < 2; i++) socks[i] = bench_pair(&bench, &peers[i]);
    assert_int_equal(send(peers[0], bytes, sizeof bytes, 0), sizeof bytes);
    peer_send(peers[1], socks[1], "x");
    for (int i = 0; i < 2; i++) port_recv(bench.port, socks[i]);
    unsigned of_firehose = 0;
    bench_turn(&bench, TOOL_LIMIT_MS);
    for (unsigned i = 0; i < bench.count; i++) of_firehose += bench.events[i].sock == socks[0];
    assert_int_equal(bench.count, 2);
    assert_int_equal(of_firehose, 1);
    bench_until(&bench, 11); /* ten reads of a buffer each; what is left comes by itself */
    bench_drop_pairs(&bench, socks, peers, 2);
    bench_shut(&bench);
}

static void who_takes_one_event_a_turn_still_serves_everybody(void **state)
{
    (void)state;
    enum { PAIRS = 4, ROUNDS = 3 };
    static char bytes[8 * 4096];
    struct bench bench;
    int peers[PAIRS];
    struct port_sock *socks[PAIRS];
    unsigned served[PAIRS] = {0};
    bench_open(&bench, 0);
    for (int i = 0; i < PAIRS; i++) {
        socks[i] = bench_pair(&bench, &peers[i]);
        assert_int_equal(send(peers[i], bytes, sizeof bytes, 0), sizeof bytes);
        assert_true(tool_wait((int)socks[i]->handle, POLLIN, TOOL_LIMIT_MS));
        port_recv(bench.port, socks[i]);
    }
    for (int turn = 0; turn < PAIRS * ROUNDS; turn++) {
        assert_int_equal(port_wait(bench.port, TOOL_LIMIT_MS), 0);
        assert_int_equal(bench_take(&bench, 1), 1);
        for (int i = 0; i < PAIRS; i++) served[i] += bench.events[turn].sock == socks[i];
    }
    for (int i = 0; i < PAIRS; i++) assert_int_equal(served[i], ROUNDS);
    bench_drop_pairs(&bench, socks, peers, PAIRS);
    bench_shut(&bench);
}

static void listener_accepts_a_bounded_number_in_a_turn(void **state)
{
    (void)state;
    enum { PEERS = 100, BURST = 64 };
    struct bench bench;
    struct addr at;
    int peers[PEERS];
    bench_open(&bench, 0);
    struct port_sock *listener = bench_listener(&bench, 0, &at);
    for (int i = 0; i < PEERS; i++) {
        peers[i] = tool_connect(&at, true);
        assert_true(tool_wait(peers[i], POLLOUT, TOOL_LIMIT_MS));
    }
    port_accept(bench.port, listener);
    assert_int_equal(bench_turn(&bench, TOOL_LIMIT_MS), BURST);
    assert_int_equal(bench_turn(&bench, TOOL_LIMIT_MS), PEERS - BURST);
    for (unsigned i = 0; i < PEERS; i++) {
        char text[ADDRESS_TEXT_MAX];
        struct addr addr;
        const struct port_event *event = &bench.events[i];
        assert_int_equal(event->error, 0);
        assert_int_equal(port_peer(bench.port, event->accepted, &addr), 0);
        if (!addr_equal(&addr, &event->peer)) fail_msg("%s", addr_format(&addr, text, sizeof text));
        assert_true(fcntl((int)event->accepted, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl((int)event->accepted, F_GETFD) & FD_CLOEXEC);
        port_refuse(bench.port, event->accepted, PORT_CLOSE_FIN);
        close(peers[i]);
    }
    bench_drop(&bench, listener, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void stop_in_the_middle_of_a_burst_ends_it(void **state)
{
    (void)state;
    struct bench bench;
    struct addr at;
    int peers[3];
    bench_open(&bench, 0);
    struct port_sock *listener = bench_listener(&bench, 0, &at);
    for (int i = 0; i < 3; i++) {
        peers[i] = tool_connect(&at, true);
        assert_true(tool_wait(peers[i], POLLOUT, TOOL_LIMIT_MS));
    }
    port_accept(bench.port, listener);
    assert_int_equal(port_wait(bench.port, TOOL_LIMIT_MS), 0);
    assert_int_equal(bench_take(&bench, 1), 1);
    port_accept_stop(bench.port, listener);
    bench_turn(&bench, 0);
    bench_turn(&bench, 0);
    assert_int_equal(bench.count, 2);
    assert_int_equal(bench.events[1].error, SALLY_ECANCELED);
    assert_int_equal(bench.port->counters.accepted, 1);
    port_refuse(bench.port, bench.events[0].accepted, PORT_CLOSE_FIN);
    for (int i = 0; i < 3; i++) close(peers[i]);
    bench_drop(&bench, listener, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

/* Some waits are for ever, because not to sleep is what they show: the alarm is their limit. */
int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_without_descriptors_ends_and_does_not_spin),
        cmocka_unit_test(stopped_listener_with_a_full_queue_does_not_spin),
        cmocka_unit_test(paused_reader_whose_peer_resets_does_not_spin),
        cmocka_unit_test(half_closed_and_reset_connections_do_not_spin_after_the_end),
        cmocka_unit_test(send_to_a_peer_that_does_not_read_sleeps_until_it_does),
        cmocka_unit_test(descriptor_copied_by_somebody_else_is_out_of_the_set_after_close),
        cmocka_unit_test(without_buffers_it_sleeps_and_then_serves_in_the_order_of_waiting),
        cmocka_unit_test(who_stops_or_closes_while_waiting_for_a_buffer_leaves_the_queue),
        cmocka_unit_test(without_memory_for_a_buffer_it_tries_again_now_and_then),
        cmocka_unit_test(buffers_of_a_burst_go_back_when_nothing_comes),
        cmocka_unit_test(next_receive_reads_into_the_buffer_released_last),
        cmocka_unit_test(firehose_gets_one_read_in_a_turn),
        cmocka_unit_test(who_takes_one_event_a_turn_still_serves_everybody),
        cmocka_unit_test(listener_accepts_a_bounded_number_in_a_turn),
        cmocka_unit_test(stop_in_the_middle_of_a_burst_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
