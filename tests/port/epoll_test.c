/* The traps of epoll itself: hang-ups, errors, stale events, connecting, waking. What every port
 * promises is the conformance suite's; load is epoll_load_test's. Real sockets on the loopback
 * interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/thread.h"
#include "port/support/epoll_bench.h"
#include "port/support/linux_tools.h"
#include "sallyport/error.h"

/* --- hang-ups, errors, stale events --- */

static void bytes_come_before_the_end_when_the_peer_hangs_up(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20 };
    static unsigned char bytes[BYTES];
    struct bench bench;
    int peer;
    size_t sent = 0, got = 0;
    bool ended = false;
    bench_open(&bench, 0);
    for (size_t i = 0; i < BYTES; i++) bytes[i] = (unsigned char)(i * 31 + (i >> 8));
    struct port_sock *sock = bench_pair(&bench, &peer);
    bench.hold = true;
    port_recv(bench.port, sock);
    uint64_t end = os_clock_ns() + (uint64_t)TOOL_LIMIT_MS * 1000000;
    while (!ended) {
        assert_true(os_clock_ns() < end);
        ssize_t more = sent < BYTES ? send(peer, bytes + sent, BYTES - sent, MSG_DONTWAIT) : 0;
        if (more > 0) {
            sent += (size_t)more;
            if (sent == BYTES) close(peer); /* with much of it unread: IN, RDHUP, HUP at once */
        }
        assert_int_equal(port_wait(bench.port, 10), 0);
        bench.count = 0;
        if (!bench_take(&bench, 1)) continue; /* a slow reader */
        struct port_event *event = &bench.events[0];
        assert_int_equal(event->error, 0);
        ended = event->bytes == 0;
        if (ended) break;
        assert_true(got + event->bytes <= BYTES);
        assert_memory_equal(event->data, bytes + got, event->bytes);
        got += event->bytes;
        port_buf_release(bench.port, event->buf, event->data);
    }
    assert_int_equal(got, BYTES);
    bench_drop(&bench, sock, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void reset_is_told_to_the_receive_although_a_send_waits_too(void **state)
{
    (void)state;
    struct bench bench;
    int peer;
    bench_open(&bench, 0);
    struct port_sock *sock = bench_pair(&bench, &peer);
    port_recv(bench.port, sock);
    bench_fill(&bench, sock);
    bench_turn(&bench, 0);
    peer_reset(peer);
    bench_until(&bench, 2);
    assert_int_equal(bench.count, 2);
    assert_int_equal(bench.events[0].op, PORT_RECV);
    assert_int_equal(bench.events[0].error, SALLY_ERESET); /* not an end of the stream */
    assert_int_equal(bench.events[1].op, PORT_SEND);
    assert_int_equal(bench.events[1].error, SALLY_ERESET);
    bench_drop(&bench, sock, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void sending_to_a_reset_connection_raises_no_signal(void **state)
{
    (void)state;
    struct bench bench;
    int peer;
    bench_open(&bench, 0);
    struct port_sock *sock = bench_pair(&bench, &peer);
    struct span spans[] = {{"a", 1}, {"b", 1}};
    peer_reset(peer);
    assert_true(tool_wait((int)sock->handle, POLLIN, TOOL_LIMIT_MS));
    for (int i = 0; i < 100; i++) { /* SIGPIPE's default would end this program */
        int sys = 0;
        assert_int_equal(port_send_now(bench.port, sock, spans, 1 + (i & 1), &sys), SALLY_ERESET);
        assert_true(sys == EPIPE || sys == ECONNRESET);
        port_send(bench.port, sock, spans, 1);
        bench.count = 0;
        bench_until(&bench, 1);
        assert_int_equal(bench.events[0].error, SALLY_ERESET);
    }
    bench_drop(&bench, sock, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void stale_event_of_a_closed_socket_finds_nobody(void **state)
{
    (void)state;
    struct bench bench;
    int peers[3];
    struct port_sock *socks[2];
    bench_open(&bench, 0);
    bench_senders(&bench, socks, peers, 2, "x", false);
    int newcomer = bench_connection(&peers[2]);
    /* both are in the kernel's answer; who handles the first closes the second and attaches a new
     * connection, which gets the slot and the number of the descriptor */
    assert_int_equal(port_wait(bench.port, TOOL_LIMIT_MS), 0);
    assert_int_equal(bench_take(&bench, 1), 1);
    struct port_sock *other = socks[bench.events[0].sock == socks[0]];
    int number = (int)other->handle;
    port_close(bench.port, other, PORT_CLOSE_FIN);
    assert_int_equal(bench_take(&bench, 2), 2); /* the receive, then the close */
    assert_int_equal(bench.events[2].op, PORT_CLOSE);
    slots_give(&bench.socks, other);
    assert_ptr_equal(slots_take(&bench.socks), other);
    assert_int_equal(dup2(newcomer, number), number);
    close(newcomer);
    port_attach(bench.port, other, number, NULL);
    port_recv(bench.port, other);
    assert_int_equal(bench_take(&bench, 16), 0);
    assert_int_equal(bench.port->counters.stray_events, 1);
    bench.count = 0;
    peer_send(peers[2], other, "new");
    bench_until(&bench, 1);
    assert_ptr_equal(bench.events[0].sock, other);
    assert_int_equal(bench.events[0].bytes, 3);
    for (int i = 0; i < 3; i++) close(peers[i]);
    for (int i = 0; i < 2; i++) bench_drop(&bench, socks[i], PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void event_of_a_socket_closed_and_not_given_back_is_dropped(void **state)
{
    (void)state;
    struct bench bench;
    int peer;
    bench_open(&bench, 0);
    struct port_sock *sock = bench_pair(&bench, &peer);
    port_recv(bench.port, sock);
    peer_send(peer, sock, "x");
    assert_int_equal(port_wait(bench.port, TOOL_LIMIT_MS), 0);
    port_close(bench.port, sock, PORT_CLOSE_RST);
    assert_int_equal(bench_take(&bench, 1), 1);
    assert_int_equal(bench.events[0].op, PORT_RECV);
    assert_int_equal(bench.events[0].error, SALLY_ECANCELED);
    assert_int_equal(bench_take(&bench, 1), 1);
    assert_int_equal(bench.events[1].op, PORT_CLOSE);
    assert_int_equal(bench_take(&bench, 1), 0); /* the table still knows the name */
    slots_give(&bench.socks, sock);
    close(peer);
    bench_shut(&bench);
}

/* --- connecting --- */

/* A listener whose queue is full: who connects to it now is not answered. Returns how many peers
 * fill it. */
static unsigned listener_filled(const struct addr *at, int *peers, unsigned max)
{
    for (unsigned i = 0; i < max; i++) {
        peers[i] = tool_connect(at, true);
        if (!tool_wait(peers[i], POLLOUT, 100)) return i + 1;
    }
    fail_msg("the queue is never full");
    return 0;
}

static void stale_event_of_an_earlier_attempt_does_not_connect_the_next(void **state)
{
    (void)state;
    struct bench bench;
    struct addr open_at, full_at;
    int peers[8];
    bench_open(&bench, 0);
    struct port_sock *open_one = bench_listener(&bench, 0, &open_at);
    struct port_sock *full_one = bench_listener(&bench, 1, &full_at);
    unsigned filling = listener_filled(&full_at, peers, 8);
    struct address to = {.kind = ADDRESS_IP, .ip = open_at};
    struct port_sock *sock = bench_sock(&bench);
    sock->handle = PORT_NO_HANDLE;
    port_connect(bench.port, sock, &to, NULL, NULL);
    assert_int_equal(port_wait(bench.port, TOOL_LIMIT_MS), 0); /* it is connected; nobody took it */
    port_close(bench.port, sock, PORT_CLOSE_RST);
    assert_int_equal(bench_take(&bench, 2), 2);
    assert_int_equal(bench.events[0].op, PORT_CONNECT);
    assert_int_equal(bench.events[0].error, SALLY_ECANCELED);
    /* the same name connects again, as a dial that goes through a list of addresses does */
    memset((char *)sock + sizeof sock->slot, 0, sizeof *sock - sizeof sock->slot);
    sock->handle = PORT_NO_HANDLE;
    to.ip = full_at;
    port_connect(bench.port, sock, &to, NULL, NULL);
    assert_int_equal(bench_take(&bench, 16), 0);
    assert_true(sock->in_flight & PORT_BIT(PORT_CONNECT));
    bench_drop(&bench, sock, PORT_CLOSE_RST);
    for (unsigned i = 0; i < filling; i++) close(peers[i]);
    bench_drop(&bench, open_one, PORT_CLOSE_FIN);
    bench_drop(&bench, full_one, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void connect_to_itself_fails_and_leaves_the_socket_bare(void **state)
{
    (void)state;
    struct bench bench;
    struct addr at;
    bench_open(&bench, 0);
    struct port_sock *listener = bench_listener(&bench, 0, &at);
    bench_drop(&bench, listener, PORT_CLOSE_FIN); /* its number is free now, and nobody listens */
    struct address to = {.kind = ADDRESS_IP, .ip = at};
    struct port_sock *sock = bench_sock(&bench);
    port_connect(bench.port, sock, &to, &at, NULL);
    bench_until(&bench, 1);
    assert_int_equal(bench.events[0].op, PORT_CONNECT);
    assert_int_equal(bench.events[0].error, SALLY_EADDRNOTAVAIL);
    assert_true(sock->handle == PORT_NO_HANDLE);
    /* and it may be connected again */
    bench.count = 0;
    port_connect(bench.port, sock, &to, NULL, NULL);
    bench_until(&bench, 1);
    assert_int_equal(bench.events[0].error, SALLY_EREFUSED);
    assert_true(sock->handle == PORT_NO_HANDLE);
    bench_drop(&bench, sock, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void connect_that_fails_at_once_says_so_in_an_event(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 0);
    struct address to = {.kind = ADDRESS_PATH, .host = "/nonexistent/epoll_test"};
    struct port_sock *sock = bench_sock(&bench);
    port_connect(bench.port, sock, &to, NULL, NULL);
    assert_true(sock->in_flight & PORT_BIT(PORT_CONNECT));
    tool_descriptors_forbid();
    struct port_sock *other = bench_sock(&bench);
    port_connect(bench.port, other, &to, NULL, NULL);
    tool_descriptors_allow();
    assert_int_equal(port_wait(bench.port, PORT_FOREVER), 0); /* has something: does not sleep */
    assert_int_equal(bench_take(&bench, 16), 2);
    assert_int_equal(bench.events[0].error, SALLY_EADDRNOTAVAIL);
    assert_int_equal(bench.events[0].sys_error, ENOENT);
    assert_int_equal(bench.events[1].error, SALLY_EEXHAUSTED);
    assert_int_equal(bench.events[1].sys_error, EMFILE);
    bench_drop(&bench, sock, PORT_CLOSE_FIN);
    bench_drop(&bench, other, PORT_CLOSE_RST);
    bench_shut(&bench);
}

/* --- the last event of a wait --- */

/* What is there is taken one by one: bytes, then an end that no wait has found. */
static void the_last_event_is_told_as_such(void **state)
{
    (void)state;
    enum { PAIRS = 3 };
    struct bench bench;
    int peers[PAIRS];
    struct port_sock *socks[PAIRS];
    bench_open(&bench, 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        socks[i] = bench_pair(&bench, &peers[i]);
        port_recv(bench.port, socks[i]);
        peer_send(peers[i], socks[i], "x");
    }
    assert_int_equal(port_wait(bench.port, TOOL_LIMIT_MS), 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        assert_int_equal(bench_take(&bench, 1), 1);
        assert_int_equal(bench.port->emptied, i == PAIRS - 1);
    }
    for (unsigned i = 0; i < PAIRS; i++) peer_send(peers[i], socks[i], "y");
    assert_int_equal(port_wait(bench.port, TOOL_LIMIT_MS), 0);
    port_recv_stop(bench.port, bench.events[0].sock);
    for (unsigned i = 0; i < PAIRS; i++) { /* the end, and the bytes of the two others */
        assert_int_equal(bench_take(&bench, 1), 1);
        if (i < PAIRS - 1) assert_false(bench.port->emptied);
    }
    assert_int_equal(bench_take(&bench, 1), 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        close(peers[i]);
        bench_drop(&bench, socks[i], PORT_CLOSE_FIN);
    }
    bench_shut(&bench);
}

/* --- closing, waking, watching --- */

static void close_ends_reading_then_writing_then_itself(void **state)
{
    (void)state;
    static const uint8_t order[] = {PORT_RECV, PORT_SEND, PORT_CLOSE};
    struct bench bench;
    int peer;
    bench_open(&bench, 0);
    struct port_sock *sock = bench_pair(&bench, &peer);
    bench_fill(&bench, sock); /* the send is started first */
    port_recv(bench.port, sock);
    port_close(bench.port, sock, PORT_CLOSE_RST);
    assert_int_equal(port_wait(bench.port, PORT_FOREVER), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(bench_take(&bench, 1), 1);
        assert_int_equal(bench.events[i].op, order[i]);
        assert_int_equal(bench.events[i].error, order[i] == PORT_CLOSE ? 0 : SALLY_ECANCELED);
    }
    assert_int_equal(bench_take(&bench, 1), 0);
    slots_give(&bench.socks, sock);
    close(peer);
    bench_shut(&bench);
}

static void socket_that_never_had_a_descriptor_closes_none(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 0);
    struct port_sock *sock = bench_sock(&bench); /* zeroed: its handle is 0, the standard input */
    bench_drop(&bench, sock, PORT_CLOSE_RST);
    assert_true(fcntl(0, F_GETFD) >= 0);
    bench_shut(&bench);
}

static void wake_up_before_and_after_the_wait_is_not_lost(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 0);
    int fd = (int)port_fd(bench.port);
    assert_false(tool_wait(fd, POLLIN, 0));
    for (int i = 0; i < 1000; i++) {
        port_wake(bench.port);
        assert_int_equal(port_wait(bench.port, PORT_FOREVER), 0);
        if (i & 1) port_wake(bench.port); /* between the wait and the take */
        assert_int_equal(bench_take(&bench, 16), 0);
        if (i & 1) assert_int_equal(port_wait(bench.port, PORT_FOREVER), 0);
    }
    /* told once each */
    assert_int_equal(port_wait(bench.port, 0), 0);
    assert_int_equal(bench_take(&bench, 16), 0);
    assert_false(tool_wait(fd, POLLIN, 0));
    assert_true(bench_returns(&bench) <= BENCH_SPINS_MAX);
    assert_int_equal(bench.port->counters.stray_events, 0);
    bench_shut(&bench);
}

enum { POSTERS = 4, POSTS = 5000 };
struct posting {
    struct port *port;
    _Atomic uint32_t *posted;
};

static void posting_run(void *arg)
{
    struct posting *posting = arg;
    for (int i = 0; i < POSTS; i++) {
        atomic_fetch_add(posting->posted, 1); /* the letter first, then the bell */
        port_wake(posting->port);
    }
}

static void every_letter_of_other_threads_is_seen_before_the_port_sleeps(void **state)
{
    (void)state;
    struct bench bench;
    struct os_thread threads[POSTERS];
    _Atomic uint32_t posted = 0;
    uint32_t seen = 0;
    bench_open(&bench, 0);
    struct posting posting = {bench.port, &posted};
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(os_thread_start(&threads[i], "poster", posting_run, &posting), 0);
    while (seen < POSTERS * POSTS) { /* letters before events: the order that loses wake-ups most */
        assert_int_equal(port_wait(bench.port, PORT_FOREVER), 0);
        seen = atomic_load(&posted);
        while (bench_take(&bench, 16)) {
        }
    }
    for (int i = 0; i < POSTERS; i++) os_thread_join(&threads[i]);
    bench_shut(&bench);
}

static void watched_descriptor_tells_of_what_epoll_does_not_know(void **state)
{
    (void)state;
    struct bench bench;
    int peers[2];
    struct port_sock *socks[2];
    bench_open(&bench, 1);
    int fd = (int)port_fd(bench.port);
    bench.hold = true;
    bench_senders(&bench, socks, peers, 2, "x", true);
    while (tool_wait(fd, POLLIN, 0)) bench_turn(&bench, 0);
    assert_int_equal(bench.count, 1);
    port_buf_release(bench.port, bench.events[0].buf, bench.events[0].data);
    assert_true(tool_wait(fd, POLLIN, 0)); /* the other can be served */
    bench_turn(&bench, 0);
    assert_int_equal(bench.count, 2);
    while (tool_wait(fd, POLLIN, 0)) bench_turn(&bench, 0);
    port_recv_stop(bench.port, socks[0]);
    assert_true(tool_wait(fd, POLLIN, 0)); /* an end to hand out */
    bench_turn(&bench, 0);
    assert_int_equal(bench.events[2].error, SALLY_ECANCELED);
    port_buf_release(bench.port, bench.events[1].buf, bench.events[1].data);
    bench_drop_pairs(&bench, socks, peers, 2);
    bench_shut(&bench);
}

static void pausing_and_resuming_many_times_loses_nothing(void **state)
{
    (void)state;
    struct bench bench;
    int peer;
    bench_open(&bench, 0);
    struct port_sock *sock = bench_pair(&bench, &peer);
    port_recv(bench.port, sock);
    for (unsigned i = 0; i < 100; i++) {
        bench.count = 0;
        port_recv_stop(bench.port, sock);
        bench_until(&bench, 1);
        assert_int_equal(bench.events[0].error, SALLY_ECANCELED);
        port_recv(bench.port, sock);
        peer_send(peer, sock, "x");
        bench_until(&bench, 2);
        assert_int_equal(bench.events[1].bytes, 1);
    }
    close(peer);
    bench_drop(&bench, sock, PORT_CLOSE_FIN);
    bench_shut(&bench);
}

static void port_without_descriptors_or_memory_is_not_made_and_leaves_nothing(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 0);
    struct port_config config = {.mem = &bench.mem, .socks = &bench.socks};
    size_t before = mem_in_use(&bench.mem);
    struct port *port = bench.port;
    tool_descriptors_forbid();
    int err = port_create(&port_epoll_ops, &config, &port);
    tool_descriptors_allow();
    assert_int_equal(err, SALLY_EEXHAUSTED);
    assert_null(port);
    assert_int_equal(mem_in_use(&bench.mem), before);
    bench_shut(&bench);
}

/* Some waits are for ever, because not to sleep is what they show: the alarm is their limit. */
int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_before_the_end_when_the_peer_hangs_up),
        cmocka_unit_test(reset_is_told_to_the_receive_although_a_send_waits_too),
        cmocka_unit_test(sending_to_a_reset_connection_raises_no_signal),
        cmocka_unit_test(stale_event_of_a_closed_socket_finds_nobody),
        cmocka_unit_test(event_of_a_socket_closed_and_not_given_back_is_dropped),
        cmocka_unit_test(stale_event_of_an_earlier_attempt_does_not_connect_the_next),
        cmocka_unit_test(connect_to_itself_fails_and_leaves_the_socket_bare),
        cmocka_unit_test(connect_that_fails_at_once_says_so_in_an_event),
        cmocka_unit_test(the_last_event_is_told_as_such),
        cmocka_unit_test(close_ends_reading_then_writing_then_itself),
        cmocka_unit_test(socket_that_never_had_a_descriptor_closes_none),
        cmocka_unit_test(wake_up_before_and_after_the_wait_is_not_lost),
        cmocka_unit_test(every_letter_of_other_threads_is_seen_before_the_port_sleeps),
        cmocka_unit_test(watched_descriptor_tells_of_what_epoll_does_not_know),
        cmocka_unit_test(pausing_and_resuming_many_times_loses_nothing),
        cmocka_unit_test(port_without_descriptors_or_memory_is_not_made_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
