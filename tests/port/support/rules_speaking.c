/* P14: a listener that accepts with data hands out who has spoken, and nobody else. */
#include "port/support/rules.h"
#include "sallyport/error.h"

enum { NEVER_MS = 60 * 1000, SOON_MS = 100, BYTES = 100 };

/* Its first bytes came, with the accept or after it, and are the peer's; and more come. */
static struct actor *check_speaker(struct stage *stage, struct peer *peer)
{
    UNTIL(stage, stage_has_newcomer(stage));
    struct actor *actor = stage_next(stage);
    actor->tag_in = peer->tag_out;
    stage_recv(stage, actor);
    peer_write(peer, BYTES);
    UNTIL(stage, actor->got >= BYTES);
    CHECK_EQUAL(actor->got, BYTES);
    return actor;
}

static struct peer *silent_one(struct stage *stage, const struct address *at)
{
    struct peer *peer = peer_connect(stage, at);
    UNTIL(stage, stage->ground->connected(stage->world, peer->id) == 1);
    return peer;
}

/* A network in memory may have room for one byte until somebody receives. */
static struct peer *speaker(struct stage *stage, const struct address *at, uint32_t tag)
{
    struct peer *peer = silent_one(stage, at);
    peer->tag_out = tag;
    peer_write(peer, 1);
    return peer;
}

static void who_speaks(struct stage *stage)
{
    enum { SILENT = 30, SPEAKERS = 5 };
    struct address at;
    struct actor *listener = stage_listener_for_data(stage, NEVER_MS, 1000, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < SILENT; i++) silent_one(stage, &at);
    for (unsigned i = 1; i <= SPEAKERS; i++) {
        check_speaker(stage, speaker(stage, &at, i));
    }
    stage_settle(stage);
    CHECK_EQUAL(listener->newcomers, SPEAKERS);
    CHECK_EQUAL(listener->silent + listener->accept_errors, 0);
    CHECK_EQUAL(counter_get(&stage->port->counters.accepted), SPEAKERS);
}

static void spoken_before_the_accept(struct stage *stage)
{
    struct address at;
    struct actor *listener = stage_listener_for_data(stage, NEVER_MS, 10, &at);
    struct peer *peer = speaker(stage, &at, 7);
    stage_settle(stage);
    stage_accept(stage, listener);
    AWAIT(stage, stage_has_newcomer(stage));
    check_speaker(stage, peer);
}

static void late_words(struct stage *stage)
{
    struct address at;
    struct actor *listener = stage_listener_for_data(stage, NEVER_MS, 10, &at);
    stage_accept(stage, listener);
    struct peer *first = silent_one(stage, &at), *second = silent_one(stage, &at);
    stage_settle(stage);
    CHECK_EQUAL(listener->newcomers, 0);
    second->tag_out = 4;
    peer_write(second, 1);
    AWAIT(stage, stage_has_newcomer(stage));
    check_speaker(stage, second);
    first->tag_out = 5;
    peer_write(first, 1);
    AWAIT(stage, stage_has_newcomer(stage));
    check_speaker(stage, first);
}

/* Nobody new comes: the port has to wake by itself. */
static void silence_is_cut(struct stage *stage)
{
    enum { SILENT = 5 };
    struct address at;
    struct peer *peers[SILENT];
    struct actor *listener = stage_listener_for_data(stage, SOON_MS, 10, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < SILENT; i++) peers[i] = silent_one(stage, &at);
    AWAIT(stage, listener->silent == SILENT);
    for (unsigned i = 0; i < SILENT; i++) UNTIL(stage, peer_ended(peers[i]));
    CHECK_EQUAL(listener->newcomers + listener->accept_errors, 0);
    check_speaker(stage, speaker(stage, &at, 9));
}

static void gone_without_a_word(struct stage *stage)
{
    enum { LEAVERS = 20 };
    struct address at;
    struct actor *listener = stage_listener_for_data(stage, NEVER_MS, 100, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < LEAVERS; i++) {
        struct peer *peer = silent_one(stage, &at);
        if (i & 1) stage_settle(stage);
        peer_close(peer, i & 2 ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
    }
    UNTIL(stage, listener->silent == LEAVERS);
    CHECK_EQUAL(listener->newcomers + listener->accept_errors, 0);
}

/* The oldest make room for those who come later, so who speaks at once is always served. */
static void more_than_may_wait(struct stage *stage)
{
    enum { SILENT = 12, HELD = 4 };
    struct address at;
    struct peer *peers[SILENT];
    struct actor *listener = stage_listener_for_data(stage, NEVER_MS, HELD, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < SILENT; i++) peers[i] = silent_one(stage, &at);
    UNTIL(stage, listener->silent == SILENT - HELD);
    check_speaker(stage, speaker(stage, &at, 3));
    CHECK(listener->silent <= SILENT - HELD + 1);
    UNTIL(stage, peer_ended(peers[0]));
}

static void stopped_and_started(struct stage *stage)
{
    struct address at;
    struct actor *listener = stage_listener_for_data(stage, NEVER_MS, 10, &at);
    stage_accept(stage, listener);
    struct peer *peer = silent_one(stage, &at);
    stage_settle(stage);
    for (unsigned round = 1; round <= 3; round++) {
        stage_accept_stop(stage, listener);
        AWAIT(stage, !actor_flies(listener, PORT_ACCEPT));
        stage_settle(stage);
        CHECK_EQUAL(listener->newcomers, 0);
        if (round < 3) stage_accept(stage, listener);
        if (round < 3) stage_settle(stage);
    }
    (void)peer;
    struct peer *second = speaker(stage, &at, 6);
    stage_settle(stage);
    CHECK_EQUAL(listener->newcomers, 0);
    stage_accept(stage, listener);
    AWAIT(stage, stage_has_newcomer(stage));
    check_speaker(stage, second);
}

static void closed_with_silent_ones(struct stage *stage)
{
    enum { SILENT = 8 };
    struct address at;
    struct peer *peers[SILENT];
    struct actor *listener = stage_listener_for_data(stage, NEVER_MS, 100, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < SILENT; i++) peers[i] = silent_one(stage, &at);
    stage_settle(stage);
    stage_close(stage, listener, PORT_CLOSE_FIN);
    AWAIT(stage, listener->closed);
    for (unsigned i = 0; i < SILENT; i++)
        UNTIL(stage, peer_ended(peers[i]) || peer_was_reset(peers[i]));
}

/* Slots of the block are used again and again. */
static void many_come_and_go(struct stage *stage)
{
    enum { ROUNDS = 60 };
    struct address at;
    struct actor *listener = stage_listener_for_data(stage, NEVER_MS, 3, &at);
    stage_accept(stage, listener);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        struct peer *mute = silent_one(stage, &at);
        struct peer *peer = speaker(stage, &at, i);
        stage_drop(stage, check_speaker(stage, peer), PORT_CLOSE_FIN);
        peer_close(peer, PORT_CLOSE_FIN);
        if (i % 3) peer_close(mute, PORT_CLOSE_RST);
    }
    CHECK_EQUAL(listener->newcomers, ROUNDS);
}

static const struct rule rules[] = {
    {"P14_01_who_speaks_is_handed_out_and_who_does_not_is_not", who_speaks},
    {"P14_02_who_spoke_before_the_accept", spoken_before_the_accept},
    {"P14_03_who_speaks_late", late_words},
    {"P14_04_silence_is_cut_in_its_time_although_nobody_comes", silence_is_cut},
    {"P14_05_who_goes_without_a_word_is_no_newcomer", gone_without_a_word},
    {"P14_06_the_oldest_make_room", more_than_may_wait},
    {"P14_07_stopped_nobody_is_handed_out", stopped_and_started},
    {"P14_08_closing_ends_those_that_wait", closed_with_silent_ones},
    {"P14_09_places_are_used_again", many_come_and_go},
};
const struct rule_set rules_speaking = {rules, sizeof rules / sizeof rules[0]};
