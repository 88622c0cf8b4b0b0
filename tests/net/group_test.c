/* Broadcasts and groups: who gets what, in which order, what it costs, slow receivers, the report.
 * How they meet threads is in group_thread_test.c. */
#include <stdlib.h>
#include <string.h>

#include "net/support/cast.h"
#include "net/support/raw.h"
#include "net/support/stage.h"
#include "support/long.h"

enum { KB = 1024, BIG = 64 * KB };

static void echo(sally_conn *conn, const void *data, size_t len)
{
    if (sally_conn_send(conn, data, len)) sally_conn_abort(conn);
}

/* Connects all; a client knows its actor by the order. */
static void crowd(struct stage *stage, int *fds, struct actor **actors, unsigned count, int buffer)
{
    for (unsigned i = 0; i < count; i++)
        fds[i] = stage_client(stage, buffer, actors ? &actors[i] : NULL);
}

static void leave_all(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) raw_close(fds[i]);
}

static void check_text(int fd, const char *text)
{
    char back[64];
    size_t len = strlen(text);
    assert_true(raw_read(fd, back, len));
    assert_memory_equal(back, text, len);
}

/* What the peer sends next is the first thing that comes back: nothing else was sent to it. */
static void check_nothing_else(int fd)
{
    assert_true(raw_send(fd, "#", 1));
    check_text(fd, "#");
}

/* ---- Who gets it ---- */

static void a_broadcast_reaches_every_connection_of_its_server_alone(const struct stage_way *way)
{
    enum { HERE = 40, THERE = 5 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo});
    char address[64];
    sally_server *there = stage_listen(stage, NULL, address, sizeof address);
    int here_fds[HERE], there_fds[THERE];
    crowd(stage, here_fds, NULL, HERE, 0);
    for (int i = 0; i < THERE; i++) assert_true((there_fds[i] = raw_connect(address, 0)) >= 0);
    STAGE_WAIT(sally_server_conns(there) == THERE && atomic_load(&stage->opened) == HERE + THERE);
    struct ticket ticket;
    assert_int_equal(cast_text(stage, stage->server, NULL, "to all here", NULL, &ticket), 0);
    ticket_wait(&ticket);
    assert_int_equal(ticket.report.sent, HERE);
    assert_int_equal(ticket.report.skipped + ticket.report.closed + ticket.report.failed, 0);
    for (int i = 0; i < HERE; i++) check_text(here_fds[i], "to all here");
    for (int i = 0; i < THERE; i++) check_nothing_else(there_fds[i]);
    for (int i = 0; i < HERE; i++) check_nothing_else(here_fds[i]);
    leave_all(here_fds, HERE);
    leave_all(there_fds, THERE);
    stage_end(stage);
}

static bool only_even(sally_conn *conn, void *arg)
{
    struct stage *stage = arg;
    STAGE_CHECK(stage, pthread_equal(actor_of(conn)->thread, pthread_self()));
    return actor_of(conn)->index % 2 == 0;
}

static void a_filter_is_asked_on_each_receivers_shard(const struct stage_way *way)
{
    enum { CLIENTS = 21 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo});
    int fds[CLIENTS];
    struct actor *actors[CLIENTS];
    crowd(stage, fds, actors, CLIENTS, 0);
    sally_buf *buf = cast_buf(stage, "even", 4);
    sally_broadcast_options options = {.filter = only_even, .arg = stage, .except = actors[4]->id};
    assert_int_equal(sally_broadcast(stage->server, buf, &options), 0);
    sally_buf_release(buf);
    for (int i = 0; i < CLIENTS; i++) {
        if (actors[i]->index % 2 == 0 && i != 4) check_text(fds[i], "even");
        check_nothing_else(fds[i]);
    }
    leave_all(fds, CLIENTS);
    stage_end(stage);
}

static bool close_it(sally_conn *conn, void *arg)
{
    (void)arg;
    sally_conn_close(conn);
    return true;
}

/* What a filter does to its connection, or to the group, is legal. */
static bool leave_it(sally_conn *conn, void *arg)
{
    if (sally_group_leave(arg, sally_conn_id(conn))) abort();
    return true;
}

static void a_filter_may_close_and_leave(const struct stage_way *way)
{
    enum { CLIENTS = 12 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo});
    int fds[CLIENTS];
    struct actor *actors[CLIENTS];
    crowd(stage, fds, actors, CLIENTS, 0);
    sally_group *group;
    assert_int_equal(sally_group_create(&group, stage->engine), 0);
    for (int i = 0; i < CLIENTS; i++) assert_int_equal(sally_group_join(group, actors[i]->id), 0);
    sally_buf *buf = cast_buf(stage, "bye", 3);
    sally_broadcast_options options = {.filter = leave_it, .arg = group};
    assert_int_equal(sally_group_send(group, buf, &options), 0);
    for (int i = 0; i < CLIENTS; i++) check_text(fds[i], "bye");
    assert_int_equal(sally_group_members(group), 0);
    options = (sally_broadcast_options){.filter = close_it};
    assert_int_equal(sally_broadcast(stage->server, buf, &options), 0);
    sally_buf_release(buf);
    for (int i = 0; i < CLIENTS; i++) {
        uint64_t more = 0;
        raw_finish(fds[i]);
        assert_string_equal(raw_end_name(raw_read_to_end(fds[i], &more)), "FIN");
        assert_int_equal(more, 0);
    }
    leave_all(fds, CLIENTS);
    sally_group_destroy(group);
    stage_end(stage);
}

/* The first on each shard makes all the others there leave, the one that was next among them. */
struct purge {
    sally_group *group;
    struct actor **actors;
    unsigned count;
};

static bool the_others_leave(sally_conn *conn, void *arg)
{
    const struct purge *purge = arg;
    for (unsigned i = 0; i < purge->count; i++) {
        const struct actor *other = purge->actors[i];
        if (other->conn != conn && pthread_equal(other->thread, pthread_self()) &&
            sally_group_leave(purge->group, other->id))
            abort();
    }
    return true;
}

static void who_has_left_meanwhile_gets_nothing(const struct stage_way *way)
{
    enum { CLIENTS = 15 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo});
    int fds[CLIENTS];
    struct actor *actors[CLIENTS];
    crowd(stage, fds, actors, CLIENTS, 0);
    struct purge purge = {.actors = actors, .count = CLIENTS};
    assert_int_equal(sally_group_create(&purge.group, stage->engine), 0);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(sally_group_join(purge.group, actors[i]->id), 0);
    sally_buf *buf = cast_buf(stage, "x", 1);
    sally_broadcast_options options = {.filter = the_others_leave, .arg = &purge};
    assert_int_equal(sally_group_send(purge.group, buf, &options), 0);
    struct ticket ticket;
    assert_int_equal(cast_send_ticket(NULL, purge.group, buf, NULL, &ticket), 0);
    sally_buf_release(buf);
    ticket_wait(&ticket);
    assert_int_equal(ticket.report.sent, way->shards);
    assert_int_equal(sally_group_members(purge.group), way->shards);
    leave_all(fds, CLIENTS);
    stage_end(stage);
}

/* ---- Groups ---- */

static _Atomic(sally_group *) the_group; /* made when the shards run already */

static void make_the_group(struct stage *stage)
{
    sally_group *made = NULL;
    assert_int_equal(sally_group_create(&made, stage->engine), 0);
    atomic_store(&the_group, made);
}

static void join_at_open(sally_conn *conn)
{
    if (sally_group_join(the_group, sally_conn_id(conn)))
        stage_wrong(actor_of(conn)->stage, "not joined");
}

/* 'l' leaves, 'j' joins, both at once; then an answer. */
static void join_or_leave(sally_conn *conn, const void *data, size_t len)
{
    char what = *(const char *)data;
    if (what == 'l' && sally_group_leave(the_group, sally_conn_id(conn))) abort();
    if (what == 'j' && sally_group_join(the_group, sally_conn_id(conn))) abort();
    echo(conn, data, len);
}

static void members_come_and_go(const struct stage_way *way)
{
    enum { CLIENTS = 10 };
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = join_or_leave});
    make_the_group(stage);
    int fds[CLIENTS];
    struct actor *actors[CLIENTS];
    crowd(stage, fds, actors, CLIENTS, 0);
    struct ticket ticket;
    assert_int_equal(cast_text(stage, NULL, the_group, "nobody", NULL, &ticket), 0);
    ticket_wait(&ticket);
    assert_int_equal(ticket.report.sent, 0);
    for (int i = 0; i < CLIENTS; i++) {
        /* by this thread, by its own, and both */
        if (i % 3 != 1) assert_int_equal(sally_group_join(the_group, actors[i]->id), 0);
        if (i % 3 == 0) continue;
        assert_true(raw_send(fds[i], "j", 1));
        check_text(fds[i], "j");
    }
    assert_int_equal(cast_text(stage, NULL, the_group, "first", NULL, &ticket), 0);
    ticket_wait(&ticket);
    assert_int_equal(ticket.report.sent, CLIENTS);
    assert_int_equal(sally_group_members(the_group), CLIENTS);
    assert_int_equal(sally_group_leave(the_group, actors[0]->id), 0);
    assert_int_equal(sally_group_leave(the_group, actors[0]->id), 0);
    assert_true(raw_send(fds[1], "l", 1));
    for (int i = 0; i < CLIENTS; i++) check_text(fds[i], "first");
    check_text(fds[1], "l");
    raw_reset(fds[2]);
    actor_wait_closed(actors[2]);
    assert_int_equal(sally_group_join(the_group, actors[2]->id) & ~SALLY_ENOCONN, 0);
    assert_int_equal(cast_text(stage, NULL, the_group, "second", NULL, &ticket), 0);
    ticket_wait(&ticket);
    assert_int_equal(ticket.report.sent, CLIENTS - 3);
    assert_int_equal(sally_group_members(the_group), CLIENTS - 3);
    for (int i = 3; i < CLIENTS; i++) check_text(fds[i], "second");
    sally_group_destroy(the_group);
    for (int i = 0; i < CLIENTS; i++) {
        if (i == 2) continue;
        assert_true(raw_send(fds[i], "e", 1));
        check_text(fds[i], "e"); /* the connections stay */
        raw_close(fds[i]);
    }
    stage_end(stage);
}

/* One sends to the group and then joins it, both inside one callback: what it sent is older. */
static void send_then_join(sally_conn *conn, const void *data, size_t len)
{
    struct stage *stage = actor_of(conn)->stage;
    sally_buf *buf = sally_buf_create(stage->engine, len);
    memcpy(sally_buf_data(buf), data, len);
    STAGE_CHECK(stage, sally_group_send(the_group, buf, NULL) == 0);
    STAGE_CHECK(stage, sally_group_join(the_group, sally_conn_id(conn)) == 0);
    sally_buf_release(buf);
}

static void who_joins_gets_what_is_sent_after(const struct stage_way *way)
{
    enum { CLIENTS = 4 };
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = send_then_join});
    make_the_group(stage);
    int fds[CLIENTS];
    crowd(stage, fds, NULL, CLIENTS, 0);
    for (int i = 0; i < CLIENTS; i++) {
        char text[2] = {(char)('a' + i), 0};
        assert_true(raw_send(fds[i], text, 1));
        STAGE_WAIT(sally_group_members(the_group) == (unsigned)i + 1);
        for (int k = 0; k < i; k++) check_text(fds[k], text);
    }
    assert_true(raw_send(fds[0], "!", 1));
    for (int i = 0; i < CLIENTS; i++) check_text(fds[i], "!"); /* the first since it joined */
    leave_all(fds, CLIENTS);
    stage_end(stage);
}

static void a_connection_is_in_many_groups_and_leaves_all_at_its_end(const struct stage_way *way)
{
    enum { GROUPS = 100, CLIENTS = 9 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo});
    static sally_group *groups[GROUPS];
    int fds[CLIENTS];
    struct actor *actors[CLIENTS];
    crowd(stage, fds, actors, CLIENTS, 0);
    for (int g = 0; g < GROUPS; g++) {
        assert_int_equal(sally_group_create(&groups[g], stage->engine), 0);
        for (int i = 0; i <= g % CLIENTS; i++)
            assert_int_equal(sally_group_join(groups[g], actors[i]->id), 0);
    }
    for (int g = 0; g < GROUPS; g++)
        STAGE_WAIT(sally_group_members(groups[g]) == (unsigned)(g % CLIENTS) + 1);
    leave_all(fds, CLIENTS);
    for (int i = 0; i < CLIENTS; i++) actor_wait_closed(actors[i]);
    for (int g = 0; g < GROUPS; g++) assert_int_equal(sally_group_members(groups[g]), 0);
    for (int g = 0; g < GROUPS; g += 2) sally_group_destroy(groups[g]);
    stage_end(stage); /* the others go with the engine */
}

static void an_outgoing_connection_is_a_member_like_any_other(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler = {.on_open = join_at_open, .on_data = echo},
                                     .no_server = true});
    make_the_group(stage);
    char address[64];
    int listener = raw_listen(address, sizeof address, 4);
    assert_true(listener >= 0);
    sally_id id;
    assert_int_equal(stage_connect(stage, address, NULL, &id), 0);
    int fd = raw_accept(listener);
    assert_true(fd >= 0);
    STAGE_WAIT(sally_group_members(the_group) == 1);
    struct ticket ticket;
    assert_int_equal(cast_text(stage, NULL, the_group, "out", NULL, &ticket), 0);
    check_text(fd, "out");
    ticket_wait(&ticket);
    raw_close(fd);
    raw_close(listener);
    stage_end(stage);
}

/* ---- What it costs ---- */

/* Receivers that don't read: everything stays in their queues, and it is one copy. */
static void many_receivers_share_one_buffer(const struct stage_way *way)
{
    const unsigned clients = long_form() ? 5000 : 150;
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = echo,
                                                 .engine.conns_max = clients + 8,
                                                 .server.conn = {.send_buf_bytes = 4096,
                                                                 .write_stall_ms = SALLY_FOREVER}});
    int *fds = calloc(clients, sizeof *fds);
    assert_non_null(fds);
    for (unsigned i = 0; i < clients; i++)
        assert_true((fds[i] = raw_connect(stage->address, 4096)) >= 0);
    STAGE_WAIT(atomic_load(&stage->opened) == clients);
    uint64_t before = atomic_load(&stage->memory_bytes);
    atomic_store(&stage->memory_high_bytes, before);
    static unsigned char bytes[BIG];
    pattern_fill(bytes, 9, 0, BIG);
    sally_buf *buf = cast_buf(stage, bytes, BIG);
    struct ticket ticket;
    assert_int_equal(cast_send_ticket(stage->server, NULL, buf, NULL, &ticket), 0);
    sally_buf_release(buf);
    ticket_wait(&ticket);
    assert_int_equal(ticket.report.sent, clients);
    uint64_t high = atomic_load(&stage->memory_high_bytes) - before;
    printf("%d KiB to %u receivers that don't read: %llu bytes more, at most\n", BIG / KB, clients,
           (unsigned long long)high);
    assert_true(high < BIG + 16 * KB + clients * 128);
    for (unsigned i = 0; i < clients; i++) {
        assert_true(raw_check(fds[i], 9, 0, BIG, 0));
        raw_close(fds[i]);
    }
    free(fds);
    STAGE_WAIT(atomic_load(&stage->closed) == clients);
    stage_end(stage);
}

struct slices {
    struct stage *stage;
    uint64_t turn;
    unsigned in_turn, most_in_turn, turns; /* readable once it is over */
    atomic_bool over;
};

static void slices_over(const sally_broadcast_report *report, void *arg)
{
    (void)report;
    atomic_store(&((struct slices *)arg)->over, true);
}

static bool count_turns(sally_conn *conn, void *arg)
{
    struct slices *slices = arg;
    sally_engine_stats stats;
    if (sally_engine_get_stats(sally_conn_engine(conn), &stats)) abort();
    if (stats.turns != slices->turn || !slices->turns) {
        slices->turn = stats.turns;
        slices->in_turn = 0;
        slices->turns++;
    }
    if (++slices->in_turn > slices->most_in_turn) slices->most_in_turn = slices->in_turn;
    return true;
}

/* The next turn takes events first: nobody waits for more than a slice. */
static void a_large_broadcast_is_done_in_slices(const struct stage_way *way)
{
    enum { CLIENTS = 200 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = echo});
    int fds[CLIENTS];
    crowd(stage, fds, NULL, CLIENTS, 0);
    static unsigned char bytes[BIG];
    sally_buf *buf = cast_buf(stage, bytes, BIG);
    struct slices slices = {.stage = stage};
    struct ticket ticket;
    sally_broadcast_options options = {.filter = count_turns, .done = slices_over, .arg = &slices};
    /* nothing else wakes the shard between the slices */
    assert_int_equal(sally_broadcast(stage->server, buf, &options), 0);
    for (int i = 0; i < CLIENTS; i++) assert_true(raw_read(fds[i], bytes, BIG));
    STAGE_WAIT(atomic_load(&slices.over));
    assert_true(slices.most_in_turn <= 31);
    assert_true(slices.turns >= CLIENTS / 31);
    /* what is sent behind it comes behind it, though the message needs many turns */
    assert_int_equal(sally_broadcast(stage->server, buf, NULL), 0);
    sally_buf_release(buf);
    assert_int_equal(cast_text(stage, stage->server, NULL, "after", NULL, &ticket), 0);
    ticket_wait(&ticket);
    for (int i = 0; i < CLIENTS; i++) {
        assert_true(raw_read(fds[i], bytes, BIG));
        check_text(fds[i], "after");
    }
    leave_all(fds, CLIENTS);
    stage_end(stage);
}

/* ---- Slow receivers ---- */

static void note_drain(sally_conn *conn) { (void)conn; }

/* One of them reads nothing. It misses messages or is closed; the others get all of them. */
static void slow_receiver(const struct stage_way *way, sally_slow slow)
{
    enum { CLIENTS = 6, PIECE = 16 * KB, MESSAGES = 120 };
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler = {.on_data = echo, .on_drain = note_drain},
                                     .server.conn = {.send_bytes_max = 40 * KB,
                                                     .send_high_bytes = 40 * KB,
                                                     .send_low_bytes = 1,
                                                     .send_buf_bytes = 8192}});
    int fds[CLIENTS];
    struct actor *actors[CLIENTS];
    crowd(stage, fds, actors, CLIENTS, 8192);
    static unsigned char bytes[PIECE];
    sally_broadcast_report sum = {0};
    for (unsigned n = 0; n < MESSAGES; n++) {
        pattern_fill(bytes, 3, (uint64_t)n * PIECE, PIECE);
        sally_buf *buf = cast_buf(stage, bytes, PIECE);
        struct ticket ticket;
        sally_broadcast_options options = {.slow = slow};
        assert_int_equal(cast_send_ticket(stage->server, NULL, buf, &options, &ticket), 0);
        sally_buf_release(buf);
        for (int i = 1; i < CLIENTS; i++)
            assert_true(raw_check(fds[i], 3, (uint64_t)n * PIECE, PIECE, 0));
        ticket_wait(&ticket);
        sum.sent += ticket.report.sent;
        sum.skipped += ticket.report.skipped;
        sum.closed += ticket.report.closed;
        assert_int_equal(ticket.report.failed, 0);
    }
    if (slow == SALLY_SLOW_SKIP) {
        assert_true(sum.skipped > MESSAGES / 2);
        assert_int_equal(sum.closed, 0);
        assert_int_equal(sum.sent + sum.skipped, CLIENTS * MESSAGES);
        assert_false(atomic_load(&actors[0]->closed));
    } else {
        assert_int_equal(sum.closed, 1);
        assert_int_equal(sum.skipped, 0);
        assert_int_equal(actor_wait_closed(actors[0])->reason, SALLY_CLOSE_TOO_SLOW);
        assert_int_equal(actors[0]->info.error, SALLY_EFULL);
    }
    /* nobody's own send was refused */
    assert_int_equal(atomic_load(&actors[0]->drains), 0);
    leave_all(fds, CLIENTS);
    stage_end(stage);
}

static void a_slow_receiver_is_skipped(const struct stage_way *way)
{
    slow_receiver(way, SALLY_SLOW_SKIP);
}

static void or_a_slow_receiver_is_closed(const struct stage_way *way)
{
    slow_receiver(way, SALLY_SLOW_CLOSE);
}

/* It never fits, so the receiver is not slow. */
static void a_message_above_the_queues_limit_fails(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = echo,
                                                 .server.conn = {.send_bytes_max = 10 * KB}});
    int fd = stage_client(stage, 0, NULL);
    static unsigned char bytes[BIG];
    sally_buf *buf = cast_buf(stage, bytes, BIG);
    struct ticket ticket;
    sally_broadcast_options options = {.slow = SALLY_SLOW_CLOSE};
    assert_int_equal(cast_send_ticket(stage->server, NULL, buf, &options, &ticket), 0);
    sally_buf_release(buf);
    ticket_wait(&ticket);
    assert_int_equal(ticket.report.failed, 1);
    assert_int_equal(ticket.report.sent + ticket.report.skipped + ticket.report.closed, 0);
    check_nothing_else(fd);
    raw_close(fd);
    stage_end(stage);
}

/* ---- Limits ---- */

static void wrong_arguments_are_refused(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){.engine.conns_max = 8});
    struct stage *other = stage_begin(way, &(struct stage_options){.no_server = true});
    sally_buf *buf = cast_buf(stage, "x", 1), *foreign = cast_buf(other, "x", 1);
    sally_buf *empty = sally_buf_create(stage->engine, 0);
    sally_group *group;
    assert_int_equal(sally_group_create(&group, stage->engine), 0);
    sally_broadcast_options odd = {.slow = (sally_slow)7};
    assert_int_equal(sally_broadcast(NULL, buf, NULL), SALLY_EINVAL);
    assert_int_equal(sally_broadcast(stage->server, NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_broadcast(stage->server, empty, NULL), SALLY_EINVAL);
    assert_int_equal(sally_broadcast(stage->server, foreign, NULL), SALLY_EINVAL);
    assert_int_equal(sally_broadcast(stage->server, buf, &odd), SALLY_EINVAL);
    assert_int_equal(sally_group_send(NULL, buf, NULL), SALLY_EINVAL);
    assert_int_equal(sally_group_send(group, foreign, NULL), SALLY_EINVAL);
    assert_int_equal(sally_group_create(NULL, stage->engine), SALLY_EINVAL);
    assert_int_equal(sally_group_create(&group, NULL), SALLY_EINVAL);
    assert_int_equal(sally_group_join(NULL, 1), SALLY_EINVAL);
    assert_int_equal(sally_group_join(group, 0), SALLY_ENOCONN);
    assert_int_equal(sally_group_leave(group, UINT64_MAX), SALLY_ENOCONN);
    assert_int_equal(sally_group_members(NULL), 0);
    sally_group_destroy(NULL);
    sally_buf_release(buf);
    sally_buf_release(foreign);
    sally_buf_release(empty);
    stage_end(other);
    stage_end(stage);
}

static void memberships_have_a_limit(const struct stage_way *way)
{
    enum { CONNS = 4, ALL = CONNS * 16 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.engine.conns_max = CONNS});
    static sally_group *groups[ALL + 1];
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    for (int g = 0; g <= ALL; g++) {
        assert_int_equal(sally_group_create(&groups[g], stage->engine), 0);
        int err = sally_group_join(groups[g], actor->id);
        assert_int_equal(err, g < ALL ? 0 : SALLY_ELIMIT);
    }
    STAGE_WAIT(sally_group_members(groups[ALL - 1]) == 1);
    sally_group_destroy(groups[0]);
    STAGE_WAIT(sally_group_join(groups[ALL], actor->id) == 0);
    raw_close(fd);
    actor_wait_closed(actor);
    fd = stage_client(stage, 0, &actor);
    for (int g = 1; g <= ALL; g++) assert_int_equal(sally_group_join(groups[g], actor->id), 0);
    raw_close(fd);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(a_broadcast_reaches_every_connection_of_its_server_alone),
    STAGE_TEST(a_filter_is_asked_on_each_receivers_shard),
    STAGE_TEST(a_filter_may_close_and_leave),
    STAGE_TEST(who_has_left_meanwhile_gets_nothing),
    STAGE_TEST(members_come_and_go),
    STAGE_TEST(who_joins_gets_what_is_sent_after),
    STAGE_TEST(a_connection_is_in_many_groups_and_leaves_all_at_its_end),
    STAGE_TEST(an_outgoing_connection_is_a_member_like_any_other),
    STAGE_TEST(many_receivers_share_one_buffer),
    STAGE_TEST_ON(a_large_broadcast_is_done_in_slices, 1),
    STAGE_TEST(a_slow_receiver_is_skipped),
    STAGE_TEST(or_a_slow_receiver_is_closed),
    STAGE_TEST(a_message_above_the_queues_limit_fails),
    STAGE_TEST_ON(wrong_arguments_are_refused, 1),
    STAGE_TEST(memberships_have_a_limit),
};

int main(int argc, char **argv)
{
    return stage_run("group", tests, sizeof tests / sizeof *tests, argc, argv);
}
