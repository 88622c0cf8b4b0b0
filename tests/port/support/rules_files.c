/* P15: a file send takes a bounded part of a file, in its place among the sends. The stage frees
 * what it was given at the event; files are those of the ground. */
#include "port/support/rules.h"
#include "sallyport/error.h"

#define GIB (UINT64_C(1) << 30)

static os_file file_of(struct stage *stage, const struct actor *actor, uint64_t offset,
                       uint64_t bytes)
{
    return stage->ground->file(stage->world, actor->tag_out, actor->sent, offset, bytes);
}

static void close_file(struct stage *stage, os_file file)
{
    stage->ground->file_close(stage->world, file);
}

/* Until nothing has moved for a while: the part in flight waits for room that nobody makes. A quiet
 * moment alone is not the end, as the system still grows its buffers. */
static void fill_with_file(struct stage *stage, struct actor *actor, os_file file, uint64_t bytes)
{
    stage_send_file_all(stage, actor, file, 0, bytes);
    for (unsigned quiet = 0; quiet < 15;) {
        uint64_t sent = actor->sent;
        stage_settle(stage);
        quiet = actor->sent == sent ? quiet + 1 : 0;
    }
    CHECK(actor_flies(actor, PORT_SEND));
}

static void wait_for_send(struct stage *stage, struct actor *actor, struct peer *peer)
{
    UNTIL(stage, (peer_read(peer, 40000), !actor_flies(actor, PORT_SEND)));
}

/* After it the connection does as if nothing had been: both ways still work. */
static void still_goes(struct stage *stage, struct actor *actor, struct peer *peer)
{
    stage_send(stage, actor, 500);
    wait_for_send(stage, actor, peer);
    CHECK_EQUAL(actor->error[PORT_SEND], 0);
    UNTIL(stage, peer_got(peer, actor->sent));
    stage_settle(stage);
    peer_read(peer, UINT64_MAX);
    CHECK_EQUAL(peer->got, actor->sent);
}

static void order_with_sends(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    for (unsigned i = 0; i < 60; i++) {
        uint32_t bytes = 1 + stage_random(stage, stage_bulk(stage, 100000));
        uint32_t offset = stage_random(stage, 9000);
        os_file file = file_of(stage, actor, offset, bytes);
        stage_send_file_all(stage, actor, file, offset, bytes);
        wait_for_send(stage, actor, peer);
        CHECK_EQUAL(actor->error[PORT_SEND], 0);
        close_file(stage, file);
        stage_send(stage, actor, 1 + stage_random(stage, 3000));
        wait_for_send(stage, actor, peer);
        CHECK_EQUAL(actor->error[PORT_SEND], 0);
        CHECK(stage_send_now(stage, actor, 1 + stage_random(stage, 3000)) >= 0);
    }
    UNTIL(stage, peer_got(peer, actor->sent));
    CHECK_EQUAL(peer->got, actor->sent);
}

static void beyond_4_gib(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    uint64_t offset = 4 * GIB - 1000;
    os_file file = file_of(stage, actor, offset, GIB / 1024);
    actor->chunk = 1500; /* so the first part ends behind it and the others begin there */
    stage_send_file_all(stage, actor, file, offset, 5000);
    wait_for_send(stage, actor, peer);
    CHECK_EQUAL(actor->error[PORT_SEND], 0);
    UNTIL(stage, peer_got(peer, 5000));
    CHECK_EQUAL(peer->got, 5000);
    close_file(stage, file);
}

static void bounded_parts(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    uint64_t bytes = stage->ground->real ? 5 * PORT_FILE_BYTES_MAX + 1 : 70000;
    os_file file = file_of(stage, actor, 0, bytes);
    stage_send_file_all(stage, actor, file, 0, bytes);
    UNTIL(stage, (peer_read(peer, UINT64_MAX), peer->got == bytes));
    UNTIL(stage, !actor_flies(actor, PORT_SEND));
    CHECK_EQUAL(actor->sent, bytes);
    if (stage->ground->real) CHECK(actor->endings[PORT_SEND] >= 6);
    close_file(stage, file);
}

static void slow_reader(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    uint64_t bytes = stage_bulk(stage, 8 << 20);
    os_file file = file_of(stage, actor, 0, bytes);
    fill_with_file(stage, actor, file, bytes);
    UNTIL(stage, (peer_read(peer, 100000), peer->got == bytes));
    UNTIL(stage, !actor_flies(actor, PORT_SEND));
    CHECK_EQUAL(actor->sent, bytes);
    close_file(stage, file);
}

static void nothing_there(struct stage *stage)
{
    static const uint64_t offsets[] = {0, 1, GIB, 8 * GIB, UINT64_MAX - 1};
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    os_file empty = file_of(stage, actor, 0, 0);
    for (unsigned i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        stage_send_file(stage, actor, empty, offsets[i], i % 2 ? UINT64_MAX : 1);
        AWAIT(stage, !actor_flies(actor, PORT_SEND));
        CHECK_EQUAL(actor->error[PORT_SEND], SALLY_EFILEEND);
        still_goes(stage, actor, peer);
    }
    close_file(stage, empty);
}

static void shorter_than_said(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    os_file file = file_of(stage, actor, 100, 3000);
    stage_send_file_all(stage, actor, file, 100, 10000);
    wait_for_send(stage, actor, peer);
    CHECK_EQUAL(actor->error[PORT_SEND], SALLY_EFILEEND);
    CHECK_EQUAL(actor->sent, 3000);
    still_goes(stage, actor, peer);
    close_file(stage, file);
}

/* While a part waits for room. What the system has read by then arrives, and only that. */
static void cut_in_flight(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    uint64_t bytes = stage_bulk(stage, 8 << 20);
    os_file file = file_of(stage, actor, 0, bytes);
    fill_with_file(stage, actor, file, bytes);
    stage->ground->file_cut(stage->world, file, actor->sent + 10);
    wait_for_send(stage, actor, peer);
    CHECK(actor->error[PORT_SEND] == SALLY_EFILEEND || actor->error[PORT_SEND] == SALLY_EFILE);
    CHECK(actor->sent < bytes);
    close_file(stage, file);
}

static void unreadable(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    os_file file = stage->ground->file_unreadable(stage->world);
    stage_send_file(stage, actor, file, 0, 1000);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    if (actor->error[PORT_SEND] != SALLY_EACCES) CHECK_EQUAL(actor->error[PORT_SEND], SALLY_EFILE);
    close_file(stage, file);
    stage_settle(stage);
    CHECK_EQUAL(peer_read(peer, UINT64_MAX), 0);
    stage_drop(stage, actor, PORT_CLOSE_RST);
}

/* Once PORT_CLOSE has come the file's number may be another file's: not a byte of that goes out. */
static void closed_in_flight(struct stage *stage, enum port_close_mode mode)
{
    for (unsigned i = 0; i < 4; i++) {
        struct peer *peer;
        struct actor *actor = stage_pair(stage, &peer);
        if (i % 2) stage_recv(stage, actor);
        uint64_t bytes = stage_bulk(stage, 8 << 20);
        os_file file = file_of(stage, actor, 0, bytes);
        if (i > 1)
            fill_with_file(stage, actor, file, bytes);
        else
            stage_send_file_all(stage, actor, file, 0, bytes);
        uint32_t endings = actor->endings[PORT_SEND];
        CHECK(actor_flies(actor, PORT_SEND));
        stage_close(stage, actor, mode);
        AWAIT(stage, actor->closed);
        CHECK_EQUAL(actor->endings[PORT_SEND], endings + 1);
        CHECK(!actor->error[PORT_SEND] || actor->error[PORT_SEND] == SALLY_ECANCELED);
        close_file(stage, file);
        os_file other = stage->ground->file(stage->world, 0, 0, bytes, 0); /* zeros */
        stage_give(stage, actor);
        stage_settle(stage);
        UNTIL(stage, (peer_read(peer, UINT64_MAX), peer->ended || peer->reset));
        CHECK(peer->got < bytes);
        close_file(stage, other);
        peer_close(peer, PORT_CLOSE_RST);
    }
}

static void closed_with_fin(struct stage *stage) { closed_in_flight(stage, PORT_CLOSE_FIN); }
static void closed_with_rst(struct stage *stage) { closed_in_flight(stage, PORT_CLOSE_RST); }

static void reset_in_flight(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    uint64_t bytes = stage_bulk(stage, 8 << 20);
    os_file file = file_of(stage, actor, bytes, 0); /* zeros */
    fill_with_file(stage, actor, file, bytes);
    peer_close(peer, PORT_CLOSE_RST);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    CHECK(actor->error[PORT_SEND] == SALLY_ERESET || actor->error[PORT_SEND] == SALLY_ECLOSED);
    close_file(stage, file);
}

/* On Linux the system would end the program by a signal. */
static void to_who_has_gone(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    os_file file = file_of(stage, actor, 0, 1000);
    stage_recv(stage, actor);
    peer_close(peer, PORT_CLOSE_RST);
    AWAIT(stage, actor->endings[PORT_RECV]);
    stage_send_file(stage, actor, file, 0, 1000);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    CHECK(actor->error[PORT_SEND] == SALLY_ERESET || actor->error[PORT_SEND] == SALLY_ECLOSED);
    close_file(stage, file);
}

static void half_close_behind(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    uint64_t bytes = stage_bulk(stage, 600000);
    os_file file = file_of(stage, actor, 0, bytes);
    stage_send_file_all(stage, actor, file, 0, bytes);
    wait_for_send(stage, actor, peer);
    CHECK_EQUAL(port_shutdown(stage->port, &actor->sock), 0);
    close_file(stage, file);
    UNTIL(stage, peer_ended(peer));
    CHECK_EQUAL(peer->got, bytes);
    stage_recv(stage, actor);
    peer_write(peer, 5000);
    AWAIT(stage, actor->got == 5000);
}

/* One file to all of them, each from its own place on, while the other direction is busy too. */
static void many_at_once(struct stage *stage)
{
    enum { STREAMS = 16, TAG = 77 };
    uint64_t bytes = stage_bulk(stage, 400000);
    os_file file = stage->ground->file(stage->world, TAG, 0, 0, bytes);
    struct peer *peers[STREAMS];
    struct actor *actors[STREAMS];
    for (unsigned i = 0; i < STREAMS; i++) {
        actors[i] = stage_pair(stage, &peers[i]);
        peers[i]->tag_in = TAG;
        stage_recv(stage, actors[i]);
        stage_send_file_all(stage, actors[i], file, 0, bytes - i);
    }
    unsigned done = 0;
    while (done < STREAMS) {
        done = 0;
        for (unsigned i = 0; i < STREAMS; i++)
            done += all_of(peer_wrote(peers[i], bytes), peer_got(peers[i], bytes - i),
                           actors[i]->got == bytes && !actors[i]->file_left);
        stage_turn(stage, 0);
    }
    for (unsigned i = 0; i < STREAMS; i++) CHECK_EQUAL(peers[i]->got, bytes - i);
    close_file(stage, file);
}

/* Who is sent a file without end gets one part, then the others have their turn. */
static void others_are_served(struct stage *stage)
{
    struct peer *greedy, *peer;
    struct actor *source = stage_pair(stage, &greedy), *actor = stage_pair(stage, &peer);
    uint64_t bytes = 2 * GIB;
    os_file file = file_of(stage, source, bytes, 0); /* zeros */
    greedy->tag_in = 0;
    actor->echo = true;
    actor->tag_out = actor->tag_in;
    peer->tag_in = peer->tag_out;
    stage_recv(stage, actor);
    stage_send_file_all(stage, source, file, 0, bytes);
    for (unsigned i = 1; i <= 20; i++) {
        peer_write(peer, i); /* a byte: it comes and goes in one piece */
        UNTIL(stage, (peer_read(greedy, 1 << 20), peer_got(peer, i)));
    }
    CHECK(actor_flies(source, PORT_SEND));
    source->file_left = 0;
    stage_drop(stage, source, PORT_CLOSE_RST);
    close_file(stage, file);
}

static void switched_off(struct stage *stage)
{
    struct port_config config;
    stage_port_config(stage, &config);
    config.features_off |= PORT_NO_FILE_SEND;
    int err = port_create(stage->config.ops, &config, &stage->port);
    if (err == SALLY_ENOPORT) trial_skip("%s can't be used here", stage->config.ops->name);
    CHECK_EQUAL(err, 0);
    CHECK(!(stage->port->abilities & PORT_CAN_SEND_FILE));
    CHECK_EQUAL(port_own(stage->port), 0);
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    still_goes(stage, actor, peer);
    CHECK(!(stage->port->abilities & PORT_CAN_SEND_FILE));
}

static const struct rule rules[] = {
    {"P15_01_files_and_sends_keep_their_order", order_with_sends},
    {"P15_02_an_offset_beyond_4_gib", beyond_4_gib},
    {"P15_03_a_file_goes_in_bounded_parts", bounded_parts},
    {"P15_04_megabytes_to_a_slow_peer", slow_reader},
    {"P15_05_nothing_is_there_and_the_connection_goes_on", nothing_there},
    {"P15_06_a_file_shorter_than_said", shorter_than_said},
    {"P15_07_a_file_that_is_cut_while_it_is_sent", cut_in_flight},
    {"P15_08_a_file_that_can_not_be_read", unreadable, NEEDS_RIGHTS},
    {"P15_09_close_with_fin_while_a_file_is_sent", closed_with_fin},
    {"P15_10_close_with_rst_while_a_file_is_sent", closed_with_rst},
    {"P15_11_the_peer_resets_while_a_file_is_sent", reset_in_flight},
    {"P15_12_a_file_to_a_peer_that_has_gone", to_who_has_gone},
    {"P15_13_half_close_behind_a_file", half_close_behind},
    {"P15_14_one_file_to_sixteen_at_once_both_ways", many_at_once},
    {"P15_15_others_are_served_beside_a_file_without_end", others_are_served},
    {"P15_16_a_port_that_is_told_not_to", switched_off, NEEDS_BARE},
};
const struct rule_set rules_files = {rules, sizeof rules / sizeof rules[0]};
