/* What Windows does under duress and Wine never: each failure is brought about through the table of
 * calls, on the fake kernel, and connections must come and go as before. The rules of the contract
 * are checked by the stage at each event, and at its end that nothing stays: operations, buffers,
 * memory, descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "os/clock.h"
#include "port/iocp.h"
#include "port/support/stage.h"
#include "sallyport/error.h"
#include "win32/support/trial_fake.h"

enum { NS_PER_MS = 1000000 };

static struct actor *open_listener(struct stage *stage, struct address *at)
{
    struct address loopback = stage_loopback();
    struct actor *listener = stage_listener(stage, &loopback, NULL, at);
    listener->refuse = true;
    return listener;
}

/* As the owner does: an accept that has ended is started again. */
static void keep_accepting(struct stage *stage, struct actor *listener)
{
    if (!actor_flies(listener, PORT_ACCEPT)) stage_accept(stage, listener);
}

/* So many newcomers, one after the other; each is served or costs an error. */
static void serve(struct stage *stage, struct actor *listener, const struct address *at,
                  unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned before = listener->newcomers + listener->accept_errors;
        struct peer *peer = peer_connect(stage, at);
        UNTIL(stage, (keep_accepting(stage, listener),
                      listener->newcomers + listener->accept_errors > before));
        peer_close(peer, PORT_CLOSE_RST);
    }
}

static unsigned posted(const struct actor *listener)
{
    return iocp_own((struct port_sock *)(uintptr_t)&listener->sock)->owed;
}

static unsigned depth(const struct stage *stage) { return iocp_of(stage->port)->accept_depth; }

/* --- accepting --- */

/* The context of the k-th newcomer can't be taken over: it costs that one, and the next is served.
 */
static void a_failed_accept_context_costs_one_newcomer(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    stage_accept(stage, listener);
    for (unsigned k = 1; k <= 50; k++) {
        fake_fail(fake_of(stage), FAKE_ACCEPTED, 0, 1, WIN32_WSAENOTCONN);
        serve(stage, listener, &at, 1);
        CHECK_EQUAL(posted(listener), depth(stage)); /* before anybody else comes */
        serve(stage, listener, &at, 1);
        CHECK_EQUAL(listener->accept_errors, k);
        CHECK_EQUAL(listener->newcomers, k);
        CHECK_EQUAL(listener->endings[PORT_ACCEPT], 0);
        CHECK_EQUAL(posted(listener), depth(stage));
    }
}

static void an_accept_that_ends_with_an_error_costs_one_newcomer(struct stage *stage)
{
    static const uint32_t statuses[] = {0xC000020D, 0xC0000140, 0xC00000C9, 0xC0000241, 0xC0001234};
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < 50; i++) {
        fake_fail(fake_of(stage), FAKE_ACCEPT_ENDS, 0, 1, (int)statuses[i % 5]);
        serve(stage, listener, &at, 1);
        CHECK_EQUAL(posted(listener), depth(stage));
        serve(stage, listener, &at, 1);
        CHECK_EQUAL(listener->endings[PORT_ACCEPT], 0);
        CHECK_EQUAL(posted(listener), depth(stage));
    }
    CHECK_EQUAL(listener->accept_errors, 50);
}

/* Whatever number it has: one that nobody cancelled is not told as cancelled. */
static void an_accept_that_nobody_cancelled_is_not_cancelled(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    stage_accept(stage, listener);
    fake_fail(fake_of(stage), FAKE_ACCEPT_ENDS, 0, 1, WIN32_STATUS_CANCELLED);
    serve(stage, listener, &at, 2);
    CHECK_EQUAL(listener->accept_errors, 1);
    CHECK(actor_flies(listener, PORT_ACCEPT));
}

/* Some accepts wait and no more can be had: those serve, and the rest come back by themselves. */
static void accepts_that_can_t_be_posted_come_back(struct stage *stage)
{
    static const enum fake_call calls[] = {FAKE_SOCKET, FAKE_ACCEPT};
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < 20; i++) {
        fake_fail(fake_of(stage), calls[i & 1], 0, 1 + i % 3, WIN32_WSAENOBUFS);
        serve(stage, listener, &at, 3);
        UNTIL(stage, posted(listener) == depth(stage));
        CHECK_EQUAL(listener->endings[PORT_ACCEPT], 0);
    }
    CHECK_EQUAL(listener->newcomers, 60);
}

static void with_nothing_to_post_accepting_ends_and_starts_again(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    for (unsigned i = 1; i <= 20; i++) {
        fake_fail(fake_of(stage), i & 1 ? FAKE_SOCKET : FAKE_ACCEPT, 0, 1, WIN32_WSAENOBUFS);
        stage_accept(stage, listener);
        AWAIT(stage, listener->endings[PORT_ACCEPT] == i);
        CHECK_EQUAL(listener->error[PORT_ACCEPT], SALLY_EEXHAUSTED);
    }
    stage_accept(stage, listener);
    serve(stage, listener, &at, 3);
    CHECK_EQUAL(listener->newcomers, 3);
}

/* Failures without end, as of a system that is out of descriptors, keep nobody busy. */
static void accepts_that_fail_one_after_another_slow_down(struct stage *stage)
{
    enum { CROWD = 100, WATCHED_MS = 1500 };
    struct address at;
    struct actor *listener = open_listener(stage, &at);
    fake_fail(fake_of(stage), FAKE_ACCEPT_ENDS, 0, 1000000, WIN32_STATUS_TOO_MANY_OPENED_FILES);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < CROWD; i++) peer_connect(stage, &at);
    uint64_t until = os_clock_ns() + (uint64_t)WATCHED_MS * NS_PER_MS;
    unsigned before = fake_count(fake_of(stage), FAKE_ACCEPT);
    while (os_clock_ns() < until) stage_turn(stage, 1);
    unsigned tries = fake_count(fake_of(stage), FAKE_ACCEPT) - before;
    CHECK(listener->accept_errors > 0 && tries <= 16 * depth(stage));
    fake_fail(fake_of(stage), FAKE_ACCEPT_ENDS, 0, 0, 0);
    UNTIL(stage, (keep_accepting(stage, listener),
                  listener->newcomers + listener->accept_errors >= CROWD));
    serve(stage, listener, &at, 3);
}

/* --- connections --- */

/* Every start of every operation fails in its call: no packet, one event. */
static void a_start_that_fails_at_once_is_one_event(struct stage *stage)
{
    struct peer *peer;
    for (unsigned i = 0; i < 10; i++) {
        struct actor *actor = stage_pair(stage, &peer);
        fake_fail(fake_of(stage), FAKE_RECV, 0, 1, WIN32_WSAENOBUFS);
        stage_recv(stage, actor);
        AWAIT(stage, actor->endings[PORT_RECV] == 1);
        CHECK_EQUAL(actor->error[PORT_RECV], SALLY_EEXHAUSTED);
        fake_fail(fake_of(stage), FAKE_SEND, 0, 1, WIN32_WSAECONNABORTED);
        stage_send(stage, actor, 100);
        AWAIT(stage, actor->endings[PORT_SEND] == 1);
        CHECK_EQUAL(actor->error[PORT_SEND], SALLY_ERESET);
        stage_drop(stage, actor, i & 1 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
    }
}

static void a_receive_fails_when_it_is_posted_again(struct stage *stage)
{
    for (unsigned after = 0; after < 12; after++) {
        struct peer *peer;
        struct actor *actor = stage_pair(stage, &peer);
        fake_fail(fake_of(stage), FAKE_RECV, after, 1, WIN32_WSAENOBUFS);
        stage_recv(stage, actor);
        for (unsigned i = 1; i <= 16 && actor_flies(actor, PORT_RECV); i++) {
            peer_write(peer, i * 100);
            UNTIL(stage, actor->got == i * 100 || !actor_flies(actor, PORT_RECV));
        }
        AWAIT(stage, !actor_flies(actor, PORT_RECV));
        CHECK_EQUAL(actor->error[PORT_RECV], SALLY_EEXHAUSTED);
        stage_drop(stage, actor, PORT_CLOSE_RST);
    }
}

static void a_connect_fails_at_each_of_its_calls(struct stage *stage)
{
    static const enum fake_call calls[] = {FAKE_SOCKET, FAKE_ADD, FAKE_BIND, FAKE_CONNECT,
                                           FAKE_CONNECTED};
    struct address loopback = stage_loopback(), at;
    intptr_t listener;
    CHECK_EQUAL(stage->ground->listen(stage->world, &loopback, 64, &listener, &at), 0);
    struct actor *actor = stage_actor(stage);
    for (unsigned i = 0; i < 5; i++) {
        fake_fail(fake_of(stage), calls[i], 0, 1, WIN32_WSAENOBUFS);
        stage_connect(stage, actor, &at, NULL);
        AWAIT(stage, actor->endings[PORT_CONNECT] == i + 1);
        CHECK_EQUAL(actor->error[PORT_CONNECT], SALLY_EEXHAUSTED);
        CHECK_EQUAL(actor->sock.handle, PORT_NO_HANDLE);
    }
    stage_connect(stage, actor, &at, NULL);
    AWAIT(stage, actor->endings[PORT_CONNECT] == 6);
    CHECK_EQUAL(actor->error[PORT_CONNECT], 0);
    stage->ground->close_listener(stage->world, listener);
}

/* A newcomer that can't be added to the port is told by its first operation. */
static void an_attach_that_fails_is_told_by_the_operation(struct stage *stage)
{
    struct peer *peer;
    stage_open_door(stage);
    fake_fail(fake_of(stage), FAKE_ADD, 0, 1, WIN32_ERROR_NO_SYSTEM_RESOURCES);
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_send(stage, actor, 100);
    AWAIT(stage, !actor->flying);
    CHECK_EQUAL(actor->error[PORT_RECV], SALLY_EEXHAUSTED);
    CHECK_EQUAL(actor->error[PORT_SEND], SALLY_EEXHAUSTED);
    stage_drop(stage, actor, PORT_CLOSE_RST);
}

/* The system may not be able to say which handles skip packets: then all have them. */
static void a_handle_that_can_t_skip_packets_has_them(struct stage *stage)
{
    struct peer *peer;
    fake_fail(fake_of(stage), FAKE_SKIP, 0, 1000, WIN32_WSAEOPNOTSUPP);
    for (unsigned i = 0; i < 4; i++) {
        struct actor *actor = stage_pair(stage, &peer);
        stage_recv(stage, actor);
        stage_send_all(stage, actor, 200000);
        UNTIL(stage, all_of(peer_wrote(peer, 200000), peer_got(peer, 200000),
                            actor->got == 200000 && !actor->send_left));
        stage_drop(stage, actor, PORT_CLOSE_FIN);
    }
}

/* --- cancelling and waking --- */

/* A cancel that does nothing: the close of the handle ends what is pending. */
static void a_cancel_that_fails_delays_nothing(struct stage *stage)
{
    struct peer *peer;
    for (unsigned i = 0; i < 8; i++) {
        struct actor *actor = stage_pair(stage, &peer);
        stage_recv(stage, actor);
        if (i & 1) stage_fill(stage, actor);
        fake_fail(fake_of(stage), FAKE_CANCEL, 0, 1, WIN32_ERROR_NOT_FOUND);
        stage_close(stage, actor, i & 2 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
        actor->send_left = 0;
        AWAIT(stage, actor->closed);
        CHECK_EQUAL(actor->error[PORT_RECV], SALLY_ECANCELED);
        stage_give(stage, actor);
    }
}

/* What a close of ours ends is cancelled, whatever number the system has for it. */
static void numbers_of_a_close_mean_cancelled(struct stage *stage)
{
    static const uint32_t statuses[] = {0xC0000241, 0x8000000A, 0xC00000C9, 0xC0000120, 0xC000020D};
    struct peer *peer;
    for (unsigned i = 0; i < 5; i++) {
        fake_of(stage)->closed_status = statuses[i];
        struct actor *actor = stage_pair(stage, &peer);
        stage_recv(stage, actor);
        stage_settle(stage);
        fake_fail(fake_of(stage), FAKE_CANCEL, 0, 1, WIN32_ERROR_NOT_FOUND);
        stage_close(stage, actor, PORT_CLOSE_RST);
        AWAIT(stage, actor->closed);
        CHECK_EQUAL(actor->error[PORT_RECV], SALLY_ECANCELED);
        stage_give(stage, actor);
    }
}

/* The same numbers when nobody closes are the end of the connection. */
static void numbers_of_a_close_without_one_are_a_reset(struct stage *stage)
{
    static const uint32_t statuses[] = {0xC0000241, 0x8000000A, 0xC00000C9, 0xC0000120, 0xC000020D};
    struct peer *peer;
    for (unsigned i = 0; i < 5; i++) {
        struct actor *actor = stage_pair(stage, &peer);
        fake_fail(fake_of(stage), FAKE_RECV_ENDS, 0, 1, (int)statuses[i]);
        stage_recv(stage, actor);
        peer_write(peer, 1);
        AWAIT(stage, actor->endings[PORT_RECV] == 1);
        CHECK_EQUAL(actor->error[PORT_RECV], SALLY_ERESET);
        stage_drop(stage, actor, PORT_CLOSE_RST);
    }
}

/* A wake-up that the system can't post costs a second at most; the next one is posted. */
static void a_wake_up_that_can_t_be_posted_is_found(struct stage *stage)
{
    for (unsigned i = 0; i < 3; i++) {
        stage_settle(stage);
        fake_fail(fake_of(stage), FAKE_POST, 0, 1, WIN32_ERROR_NO_SYSTEM_RESOURCES);
        uint64_t before = os_clock_ns();
        port_wake(stage->port);
        CHECK_EQUAL(port_wait(stage->port, PORT_FOREVER), 0);
        CHECK(os_clock_ns() - before < UINT64_C(3000) * NS_PER_MS);
        port_wake(stage->port);
        trial_waits_for("a wake-up after one that was lost", __FILE__, __LINE__);
        CHECK_EQUAL(port_wait(stage->port, PORT_FOREVER), 0);
        trial_waits_for(NULL, NULL, 0);
    }
    CHECK_EQUAL(fake_count(fake_of(stage), FAKE_POST), 6);
}

/* --- buffers --- */

/* A busy connection's posted buffer goes back after a second without bytes, and at once when
 * somebody waits for one. */
static void a_posted_buffer_comes_back(struct stage *stage)
{
    struct iocp_port *port = iocp_of(stage->port);
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    for (unsigned i = 1; i <= 8; i++) {
        peer_write(peer, i * 50);
        UNTIL(stage, actor->got == i * 50);
    }
    CHECK_EQUAL(port->posted.count, 1);
    CHECK_EQUAL(port->bufs.out, 1);
    AWAIT(stage, port->posted.count == 0);
    CHECK_EQUAL(port->bufs.out, 0);
    peer_write(peer, 8 * 50 + 30000);
    AWAIT(stage, actor->got == 8 * 50 + 30000);
}

/* Somebody waits for a buffer, so posted ones are taken back; but not from a socket that has just
 * been closed: it has no handle any more (and to Windows -1 is this process). */
static void a_closed_socket_s_posted_buffer_is_not_cancelled_again(struct stage *stage)
{
    struct iocp_port *port = iocp_of(stage->port);
    struct peer *peer, *loud;
    struct actor *actor = stage_pair(stage, &peer);
    struct actor *keeper = stage_pair(stage, &loud);
    stage_recv(stage, actor);
    for (uint64_t i = 1; i <= 8; i++) {
        peer_write(peer, i * 50);
        UNTIL(stage, actor->got == i * 50);
    }
    CHECK_EQUAL(port->posted.count, 1);
    keeper->hold = true;
    stage_recv(stage, keeper);
    UNTIL(stage, (peer_wrote(loud, loud->wrote + 1), port->starved.count > 0));
    CHECK(port->posted.count > 0);
    stage_close(stage, actor, PORT_CLOSE_RST);
    AWAIT(stage, actor->closed);
}

int main(int argc, char **argv)
{
    static struct fake_case cases[] = {
        CASE(a_failed_accept_context_costs_one_newcomer),
        CASE(an_accept_that_ends_with_an_error_costs_one_newcomer),
        CASE(an_accept_that_nobody_cancelled_is_not_cancelled),
        CASE(accepts_that_can_t_be_posted_come_back),
        CASE(with_nothing_to_post_accepting_ends_and_starts_again),
        CASE(accepts_that_fail_one_after_another_slow_down),
        CASE(a_start_that_fails_at_once_is_one_event),
        CASE(a_receive_fails_when_it_is_posted_again),
        CASE(a_connect_fails_at_each_of_its_calls),
        CASE(an_attach_that_fails_is_told_by_the_operation),
        CASE(a_handle_that_can_t_skip_packets_has_them),
        CASE(a_cancel_that_fails_delays_nothing),
        CASE(numbers_of_a_close_mean_cancelled),
        CASE(numbers_of_a_close_without_one_are_a_reset),
        CASE(a_wake_up_that_can_t_be_posted_is_found),
        CASE(a_posted_buffer_comes_back),
        CASE(a_closed_socket_s_posted_buffer_is_not_cancelled_again),
    };
    return fake_cases_run("iocp_fault", cases, sizeof cases / sizeof cases[0], argc, argv);
}
