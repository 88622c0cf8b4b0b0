/* Accepting with data where the system is short of something or a crowd comes: newcomers that say
 * nothing, in posted accepts and taken by plain ones, on the fake kernel. The stage checks the
 * rules of the contract at each event, and at the end that nothing stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "port/iocp.h"
#include "port/support/stage.h"
#include "sallyport/error.h"
#include "win32/support/trial_fake.h"

static unsigned posted(const struct actor *listener)
{
    return iocp_own((struct port_sock *)(uintptr_t)&listener->sock)->owed;
}

static unsigned depth(const struct stage *stage) { return iocp_of(stage->port)->accept_depth; }

enum { NEVER_MS = 60000, HELD = 100 };

/* One who speaks at once, among those who say nothing. */
static void serve_speaker(struct stage *stage, struct actor *listener, const struct address *at)
{
    unsigned before = listener->newcomers + listener->accept_errors;
    struct peer *peer = peer_connect(stage, at);
    UNTIL(stage, peer_wrote(peer, 10));
    UNTIL(stage, listener->newcomers + listener->accept_errors > before);
    peer_close(peer, PORT_CLOSE_RST);
}

static void crowd(struct stage *stage, struct actor *listener, const struct address *at)
{
    enum { SILENT = 60 };
    for (unsigned i = 0; i < SILENT; i++) peer_connect(stage, at);
    serve_speaker(stage, listener, at);
    CHECK(posted(listener) <= IOCP_POSTED_FACTOR * depth(stage));
    CHECK(fake_count(fake_of(stage), FAKE_TAKE) > 1);
    CHECK_EQUAL(listener->newcomers, 1);
    CHECK_EQUAL(listener->silent + listener->accept_errors, 0);
}

static struct actor *open_holding(struct stage *stage, unsigned held, struct address *at)
{
    struct actor *listener = stage_listener_for_data(stage, NEVER_MS, held, at);
    listener->refuse = true;
    return listener;
}

static struct actor *open_for_data(struct stage *stage, struct address *at)
{
    return open_holding(stage, HELD, at);
}

static void past_silent_ones_a_speaker_is_served(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_for_data(stage, &at);
    stage_accept(stage, listener);
    CHECK_EQUAL(posted(listener), depth(stage));
    crowd(stage, listener, &at);
}

static void without_the_signal_a_look_takes_them(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_for_data(stage, &at);
    fake_fail(fake_of(stage), FAKE_SIGNAL, 0, 1, WIN32_WSAENOBUFS);
    stage_accept(stage, listener);
    crowd(stage, listener, &at);
}

enum { MANY = 64 };

/* All dial: the first of them take what is posted, the others are taken. */
static struct actor *open_to_many(struct stage *stage, struct address *at, struct peer **peers)
{
    struct actor *listener = open_for_data(stage, at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < MANY; i++) peers[i] = peer_connect(stage, at);
    return listener;
}

/* All at the listener are somewhere else by now. */
static void all_are_known(struct stage *stage, struct actor *listener)
{
    const struct iocp_accepts *block =
        iocp_own((struct port_sock *)(uintptr_t)&listener->sock)->accepts;
    UNTIL(stage, block->silent.count == MANY);
}

static void speaks(struct stage *stage, struct actor *listener, struct peer *peer)
{
    unsigned before = listener->newcomers;
    UNTIL(stage, peer_wrote(peer, 10));
    AWAIT(stage, listener->newcomers == before + 1);
}

static void one_of_a_crowd_speaks_late(struct stage *stage)
{
    struct address at;
    struct peer *peers[MANY];
    struct actor *listener = open_to_many(stage, &at, peers);
    all_are_known(stage, listener);
    CHECK(fake_count(fake_of(stage), FAKE_WATCH) > 0);
    unsigned looks = fake_count(fake_of(stage), FAKE_LOOK);
    speaks(stage, listener, peers[MANY - 1]);
    CHECK(fake_count(fake_of(stage), FAKE_LOOK) <= looks + 2); /* heard, not found by chance */
    speaks(stage, listener, peers[0]);
    speaks(stage, listener, peers[MANY / 2]);
    CHECK_EQUAL(listener->silent + listener->accept_errors, 0);
}

static void one_of_a_crowd_that_can_t_be_watched_is_heard(struct stage *stage)
{
    struct address at;
    struct peer *peers[MANY];
    fake_fail(fake_of(stage), FAKE_WATCH, 0, 1000, WIN32_WSAENOBUFS);
    struct actor *listener = open_to_many(stage, &at, peers);
    all_are_known(stage, listener);
    fake_fail(fake_of(stage), FAKE_READ, 0, 1, WIN32_WSAEWOULDBLOCK);
    fake_fail(fake_of(stage), FAKE_LOOK, 0, 1, WIN32_WSAENOBUFS);
    UNTIL(stage, peer_wrote(peers[MANY - 1], 10));
    UNTIL(stage, (iocp_hold_news(iocp_of(stage->port)), listener->newcomers == 1));
    CHECK_EQUAL(listener->silent + listener->accept_errors, 0);
}

/* Without a word, by an end or a reset; the next one who speaks is served. */
static void who_leaves_a_crowd_costs_one_each(struct stage *stage)
{
    enum { LEFT = 40 };
    struct address at;
    struct peer *peers[MANY];
    struct actor *listener = open_to_many(stage, &at, peers);
    all_are_known(stage, listener);
    for (unsigned i = 1; i <= LEFT; i++)
        peer_close(peers[MANY - i], i <= LEFT / 2 ? PORT_CLOSE_FIN : PORT_CLOSE_RST);
    UNTIL(stage, listener->silent == LEFT); /* SALLY_ERESET */
    CHECK(!(listener->sock.marks & IOCP_LACKING));
    serve_speaker(stage, listener, &at);
    CHECK_EQUAL(listener->newcomers, 1);
    CHECK_EQUAL(listener->accept_errors, 0);
}

/* Its own, as the failure of a posted accept is. */
static void a_failed_take_costs_one_newcomer(struct stage *stage)
{
    struct address at;
    struct peer *peers[MANY];
    fake_fail(fake_of(stage), FAKE_TAKE, 3, 2, WIN32_WSAENETUNREACH);
    struct actor *listener = open_to_many(stage, &at, peers);
    UNTIL(stage, listener->accept_errors == 2);
    all_are_known(stage, listener);
    speaks(stage, listener, peers[MANY - 1]);
}

/* No descriptor for a newcomer is nobody's failure, and not told: it waits at the listener. */
static void with_nothing_to_take_with_it_is_tried_again(struct stage *stage)
{
    struct address at;
    struct peer *peers[MANY];
    fake_fail(fake_of(stage), FAKE_TAKE, 5, 1, WIN32_WSAEMFILE);
    struct actor *listener = open_to_many(stage, &at, peers);
    UNTIL(stage, listener->sock.marks & IOCP_LACKING);
    CHECK_EQUAL(fake_count(fake_of(stage), FAKE_TAKE), 6);
    UNTIL(stage, !(listener->sock.marks & IOCP_LACKING));
    iocp_hold_news(iocp_of(stage->port));
    speaks(stage, listener, peers[MANY - 1]);
    CHECK_EQUAL(listener->accept_errors, 0);
}

static void a_taken_socket_that_can_t_be_settled_costs_one(struct stage *stage)
{
    struct address at;
    struct peer *peers[MANY];
    struct actor *listener = open_to_many(stage, &at, peers);
    all_are_known(stage, listener);
    fake_fail(fake_of(stage), FAKE_TAKEN, 0, 1, WIN32_WSAENOBUFS);
    UNTIL(stage, peer_wrote(peers[MANY - 1], 10));
    UNTIL(stage, listener->accept_errors == 1);
    speaks(stage, listener, peers[MANY - 2]);
    CHECK_EQUAL(stage->port->bufs_lent, 0);
}

/* They may go (P14), and nothing of them stays; who comes later is served. */
static void a_stop_with_a_crowd_lets_it_go(struct stage *stage)
{
    struct address at;
    struct peer *peers[MANY];
    struct actor *listener = open_to_many(stage, &at, peers);
    all_are_known(stage, listener);
    stage_accept_stop(stage, listener);
    UNTIL(stage, !actor_flies(listener, PORT_ACCEPT));
    for (unsigned i = 0; i < MANY; i++)
        UNTIL(stage, peer_ended(peers[i]) || peer_was_reset(peers[i]));
    stage_accept(stage, listener);
    serve_speaker(stage, listener, &at);
    CHECK_EQUAL(listener->newcomers, 1);
    CHECK_EQUAL(listener->silent, 0);
}

static void are_cut_in_order(struct stage *stage, struct peer *const *peers, unsigned count,
                             unsigned held)
{
    for (unsigned i = 0; i < count - held; i++)
        UNTIL(stage, peer_ended(peers[i]) || peer_was_reset(peers[i]));
    stage_settle(stage);
    for (unsigned i = count - held; i < count; i++)
        CHECK(!peer_ended(peers[i]) && !peer_was_reset(peers[i]));
}

/* Also where the system says again and again that somebody waits: that fills no queue, and costs
 * nobody his place who came later than those that have to go. */
static void of_a_crowd_the_oldest_go(struct stage *stage)
{
    enum { SILENT = 200, FEW = 8 };
    struct address at;
    struct peer *peers[SILENT];
    struct fake *fake = fake_of(stage);
    fake->signal_storms = fake->accepts_at_once;
    struct actor *listener = open_holding(stage, FEW, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < SILENT; i++) peers[i] = peer_connect(stage, &at);
    UNTIL(stage, listener->silent == SILENT - FEW);
    are_cut_in_order(stage, peers, SILENT, FEW);
    CHECK(fake->signals >= 1 && fake->signals <= SILENT / 8);
    CHECK_EQUAL(listener->silent, SILENT - FEW);
    CHECK_EQUAL(listener->accept_errors + listener->newcomers, 0);
    serve_speaker(stage, listener, &at);
    CHECK_EQUAL(listener->newcomers, 1);
}

/* All of them have a posted accept, and are found by one look. */
static void of_a_few_found_at_once_the_oldest_go(struct stage *stage)
{
    enum { FEW = 4 };
    struct address at;
    struct peer *peers[64];
    struct actor *listener = open_holding(stage, FEW, &at);
    unsigned silent = depth(stage) - 2;
    CHECK(silent > FEW + 2 && silent <= 64);
    for (unsigned i = 0; i < silent; i++) peers[i] = peer_connect(stage, &at);
    stage_accept(stage, listener);
    UNTIL(stage, listener->silent == silent - FEW);
    are_cut_in_order(stage, peers, silent, FEW);
}

static void more_than_a_look_takes_go_in_order(struct stage *stage)
{
    enum { CROWD = IOCP_TAKE_MAX + 90, KEPT = IOCP_TAKE_MAX + 10 };
    struct address at;
    static struct peer *peers[CROWD];
    struct actor *listener = open_holding(stage, KEPT, &at);
    for (unsigned i = 0; i < CROWD; i++) peers[i] = peer_connect(stage, &at);
    stage_accept(stage, listener);
    UNTIL(stage, listener->silent == CROWD - KEPT);
    are_cut_in_order(stage, peers, CROWD, KEPT);
    CHECK(fake_count(fake_of(stage), FAKE_ACCEPT) < 3 * depth(stage)); /* none in between */
    CHECK_EQUAL(listener->accept_errors + listener->newcomers, 0);
    serve_speaker(stage, listener, &at);
    CHECK_EQUAL(listener->newcomers, 1);
}

/* So many at once that a turn does not tell all of them; the listener is closed meanwhile. */
static void closing_while_the_cut_are_told(struct stage *stage)
{
    enum { CROWD = IOCP_TAKE_MAX + 90 };
    struct address at;
    struct actor *listener = open_holding(stage, CROWD, &at);
    struct iocp_port *port = iocp_of(stage->port);
    for (unsigned i = 0; i < CROWD; i++) peer_connect(stage, &at);
    stage_accept(stage, listener);
    const struct iocp_accepts *block = iocp_own(&listener->sock)->accepts;
    UNTIL(stage, block->silent.count == CROWD);
    listener->sock.data_ms = 0;
    UNTIL(stage, (iocp_hold_news(port), listener->silent));
    CHECK(listener->silent >= IOCP_TAKE_MAX && block->ended.count > 0);
    stage_close(stage, listener, PORT_CLOSE_FIN);
    AWAIT(stage, listener->closed);
}

/* Few at a time, so that none finds all accepts taken: then their number has an end too. */
static void a_trickle_takes_no_more_than_so_many_accepts(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_for_data(stage, &at);
    struct iocp_port *port = iocp_of(stage->port);
    stage_accept(stage, listener);
    unsigned few = depth(stage) - 1, most = IOCP_POSTED_FACTOR * depth(stage);
    const struct iocp_row *silent = &iocp_own(&listener->sock)->accepts->silent;
    for (unsigned came = 0; came < HELD - few; came += few) {
        for (unsigned i = 0; i < few; i++) peer_connect(stage, &at);
        UNTIL(stage, (iocp_hold_news(port), silent->count == came + few));
        CHECK(posted(listener) <= most);
    }
    CHECK_EQUAL(posted(listener), most);
    serve_speaker(stage, listener, &at);
    CHECK_EQUAL(listener->newcomers, 1);
}

/* Nothing can be posted and each accept has somebody silent: one after the other goes, the oldest
 * first, until one who speaks is served. */
static void without_sockets_the_oldest_silent_makes_room(struct stage *stage)
{
    struct address at;
    struct peer *peers[64];
    struct actor *listener = open_for_data(stage, &at);
    stage_accept(stage, listener);
    unsigned silent = depth(stage);
    fake_fail(fake_of(stage), FAKE_SOCKET, 0, 1000000, WIN32_WSAEMFILE);
    for (unsigned i = 0; i < silent; i++) peers[i] = peer_connect(stage, &at);
    struct peer *peer = peer_connect(stage, &at);
    UNTIL(stage, listener->silent == 1);
    UNTIL(stage, peer_ended(peers[0]) || peer_was_reset(peers[0]));
    CHECK(!peer_ended(peers[1]) && !peer_was_reset(peers[1]));
    fake_fail(fake_of(stage), FAKE_SOCKET, 0, 0, 0);
    UNTIL(stage, peer_wrote(peer, 10));
    AWAIT(stage, listener->newcomers == 1);
}

static void accepts_with_data_that_can_t_be_posted_come_back(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_for_data(stage, &at);
    fake_fail(fake_of(stage), FAKE_SOCKET, 5, 3, WIN32_WSAENOBUFS);
    stage_accept(stage, listener);
    CHECK_EQUAL(posted(listener), 5);
    UNTIL(stage, posted(listener) == depth(stage));
    serve_speaker(stage, listener, &at);
    CHECK_EQUAL(listener->newcomers, 1);
}

/* Its first bytes go with it: nothing stays lent. */
static void a_failed_context_costs_one_speaker(struct stage *stage)
{
    struct address at;
    struct actor *listener = open_for_data(stage, &at);
    stage_accept(stage, listener);
    for (unsigned k = 1; k <= 20; k++) {
        fake_fail(fake_of(stage), FAKE_ACCEPTED, 0, 1, WIN32_WSAENOBUFS);
        serve_speaker(stage, listener, &at);
        serve_speaker(stage, listener, &at);
        CHECK_EQUAL(listener->accept_errors, k);
        CHECK_EQUAL(listener->newcomers, k);
        CHECK_EQUAL(stage->port->bufs_lent, 0);
    }
}

int main(int argc, char **argv)
{
    static struct fake_case cases[] = {
        CASE(past_silent_ones_a_speaker_is_served),
        CASE(without_the_signal_a_look_takes_them),
        CASE(more_than_a_look_takes_go_in_order),
        CASE(closing_while_the_cut_are_told),
        CASE(a_trickle_takes_no_more_than_so_many_accepts),
        CASE(one_of_a_crowd_speaks_late),
        CASE(one_of_a_crowd_that_can_t_be_watched_is_heard),
        CASE(who_leaves_a_crowd_costs_one_each),
        CASE(a_failed_take_costs_one_newcomer),
        CASE(with_nothing_to_take_with_it_is_tried_again),
        CASE(a_taken_socket_that_can_t_be_settled_costs_one),
        CASE(a_stop_with_a_crowd_lets_it_go),
        CASE(of_a_crowd_the_oldest_go),
        CASE(of_a_few_found_at_once_the_oldest_go),
        CASE(without_sockets_the_oldest_silent_makes_room),
        CASE(accepts_with_data_that_can_t_be_posted_come_back),
        CASE(a_failed_context_costs_one_speaker),
    };
    return fake_cases_run("iocp_hold_fault", cases, sizeof cases / sizeof cases[0], argc, argv);
}
