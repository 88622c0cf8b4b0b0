/* Broadcasts and groups among threads: order, exactly one report, full queues, the engine's end,
 * and connections that send to each other. */
#include <sched.h>
#include <string.h>

#include "net/support/cast.h"
#include "net/support/nap.h"
#include "net/support/raw.h"
#include "net/support/stage.h"
#include "support/long.h"

/* ---- Order ---- */

enum { RECEIVERS = 24, SENDERS = 4, FILL_MAX = 400 };

struct note {
    uint32_t magic, sender, number, fill;
};

struct sender {
    struct stage *stage;
    sally_group *group; /* of the receivers with an even number */
    const sally_id *ids;
    uint32_t index, notes;
    uint32_t expected[RECEIVERS]; /* how many each gets */
};

static int send_note(struct sender *sender, struct lot *lot, const void *bytes, uint32_t len)
{
    uint32_t way = lot_below(lot, 3);
    if (way == 2) {
        uint32_t to = lot_below(lot, RECEIVERS);
        int err;
        while ((err = sally_send(sender->stage->engine, sender->ids[to], bytes, len)) ==
               SALLY_EFULL)
            sched_yield();
        sender->expected[to]++;
        return err;
    }
    sally_buf *buf = sally_buf_create(sender->stage->engine, len);
    if (!buf) return SALLY_ENOMEM;
    memcpy(sally_buf_data(buf), bytes, len);
    int err;
    while ((err = way ? sally_group_send(sender->group, buf, NULL)
                      : sally_broadcast(sender->stage->server, buf, NULL)) == SALLY_EFULL)
        sched_yield();
    sally_buf_release(buf);
    for (uint32_t i = 0; i < RECEIVERS; i++) sender->expected[i] += !way || i % 2 == 0;
    return err;
}

static void *send_notes(void *arg)
{
    struct sender *sender = arg;
    struct lot lot = {.state = sender->index + 1};
    unsigned char bytes[sizeof(struct note) + FILL_MAX];
    for (uint32_t n = 0; n < sender->notes; n++) {
        struct note note = {0xcafe, sender->index, n, lot_below(&lot, FILL_MAX)};
        memcpy(bytes, &note, sizeof note);
        pattern_fill(bytes + sizeof note, note.sender, note.number, note.fill);
        int err = send_note(sender, &lot, bytes, (uint32_t)sizeof note + note.fill);
        if (err) stage_wrong(sender->stage, "a note: %s", sally_err_name(err));
        if (err) return NULL;
    }
    return NULL;
}

/* All that were sent to this one, each sender's in order, none torn. */
static void read_notes(int fd, const struct sender *senders, uint32_t receiver)
{
    uint32_t total = 0, count[SENDERS] = {0};
    int64_t last[SENDERS] = {-1, -1, -1, -1};
    for (int s = 0; s < SENDERS; s++) total += senders[s].expected[receiver];
    for (; total; total--) {
        struct note note;
        unsigned char fill[FILL_MAX];
        assert_true(raw_read(fd, &note, sizeof note));
        assert_int_equal(note.magic, 0xcafe);
        assert_true(note.sender < SENDERS && note.fill < FILL_MAX);
        assert_true(note.number > last[note.sender]);
        last[note.sender] = note.number;
        count[note.sender]++;
        assert_true(raw_read(fd, fill, note.fill));
        assert_int_equal(pattern_check(fill, note.sender, note.number, note.fill), note.fill);
    }
    for (int s = 0; s < SENDERS; s++) assert_int_equal(count[s], senders[s].expected[receiver]);
}

static void what_a_thread_sends_keeps_its_order_at_every_receiver(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.server.conn = {.send_bytes_max = 64 << 20}});
    sally_group *group;
    assert_int_equal(sally_group_create(&group, stage->engine), 0);
    int fds[RECEIVERS];
    sally_id ids[RECEIVERS];
    for (int i = 0; i < RECEIVERS; i++) {
        struct actor *actor;
        fds[i] = stage_client(stage, 0, &actor);
        ids[i] = actor->id;
        if (i % 2 == 0) assert_int_equal(sally_group_join(group, ids[i]), 0);
    }
    STAGE_WAIT(sally_group_members(group) == RECEIVERS / 2);
    static struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    for (uint32_t s = 0; s < SENDERS; s++) {
        senders[s] = (struct sender){.stage = stage,
                                     .group = group,
                                     .ids = ids,
                                     .index = s,
                                     .notes = long_form() ? 20000 : 400};
        threads[s] = stage_thread(send_notes, &senders[s]);
    }
    for (int s = 0; s < SENDERS; s++) pthread_join(threads[s], NULL);
    for (uint32_t i = 0; i < RECEIVERS; i++) read_notes(fds[i], senders, i);
    for (int i = 0; i < RECEIVERS; i++) raw_close(fds[i]);
    sally_group_destroy(group);
    stage_end(stage);
}

/* A join by this thread is in force for its next send, and not for the one before, on whatever
 * shard the connection is; so is a leave. */
static void a_join_and_a_leave_keep_their_place_among_sends(const struct stage_way *way)
{
    const uint32_t rounds = long_form() ? 20000 : 1000;
    struct stage *stage = stage_begin(way, &(struct stage_options){.no_server = false});
    sally_group *group;
    assert_int_equal(sally_group_create(&group, stage->engine), 0);
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    uint32_t wanted = 0;
    for (uint32_t n = 0; n < rounds; n++) {
        uint32_t in = n % 2;
        sally_buf *buf = cast_buf(stage, &n, sizeof n);
        if (in) assert_int_equal(sally_group_join(group, actor->id), 0);
        assert_int_equal(sally_group_send(group, buf, NULL), 0);
        if (in) assert_int_equal(sally_group_leave(group, actor->id), 0);
        sally_buf_release(buf);
        if (n % 64) continue;
        for (uint32_t back; wanted < n; wanted += 2) {
            assert_true(raw_read(fd, &back, sizeof back));
            assert_int_equal(back, wanted + 1);
        }
    }
    raw_close(fd);
    stage_end(stage);
}

/* ---- Full, and the end ---- */

/* One shard sleeps, so that nothing is finished; who is refused reaches nobody. */
static void messages_under_way_are_bounded(const struct stage_way *way)
{
    enum { CLIENTS = 6, LETTERS = 8 };
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.engine = {.mailbox_letters_max = LETTERS,
                                                            .mailbox_bytes_max = 100000}});
    int fds[CLIENTS];
    struct actor *actor;
    for (int i = 0; i < CLIENTS; i++) fds[i] = stage_client(stage, 0, &actor);
    struct nap nap;
    static struct ticket tickets[LETTERS + 1], big;
    nap_begin(&nap, stage, actor->id);
    for (int i = 0; i < LETTERS; i++)
        assert_int_equal(cast_text(stage, stage->server, NULL, "12345", NULL, &tickets[i]), 0);
    assert_int_equal(cast_text(stage, stage->server, NULL, "67890", NULL, &tickets[LETTERS]),
                     SALLY_EFULL);
    nap_wake(&nap);
    for (int i = 0; i < LETTERS; i++) ticket_wait(&tickets[i]);
    nap_free(&nap);
    nap_begin(&nap, stage, actor->id);
    sally_buf *buf = sally_buf_create(stage->engine, 60000);
    assert_non_null(buf);
    memset(sally_buf_data(buf), 'b', 60000);
    assert_int_equal(cast_send_ticket(stage->server, NULL, buf, NULL, &big), 0);
    assert_int_equal(cast_send_ticket(stage->server, NULL, buf, NULL, &tickets[LETTERS]),
                     SALLY_EFULL);
    sally_buf *huge = sally_buf_create(stage->engine, 100001);
    assert_int_equal(sally_broadcast(stage->server, huge, NULL), SALLY_ELIMIT);
    sally_buf_release(huge);
    nap_wake(&nap);
    ticket_wait(&big);
    assert_int_equal(cast_send_ticket(stage->server, NULL, buf, NULL, &big), 0);
    sally_buf_release(buf);
    ticket_wait(&big);
    assert_int_equal(atomic_load(&tickets[LETTERS].told), 0);
    for (int i = 0; i < CLIENTS; i++) {
        static char back[120000];
        for (int n = 0; n < LETTERS; n++) {
            assert_true(raw_read(fds[i], back, 5));
            assert_memory_equal(back, "12345", 5);
        }
        assert_true(raw_read(fds[i], back, 120000));
        raw_close(fds[i]);
    }
    nap_free(&nap);
    stage_end(stage);
}

struct storm {
    struct stage *stage;
    sally_group *groups[3];
    uint64_t seed;
    atomic_uint accepted, told, sent;
    atomic_bool over;
};

static void storm_done(const sally_broadcast_report *report, void *arg)
{
    struct storm *storm = arg;
    atomic_fetch_add(&storm->told, 1);
    atomic_fetch_add(&storm->sent, (unsigned)report->sent);
}

static sally_id some_id(struct storm *storm, struct lot *lot)
{
    unsigned count = atomic_load(&storm->stage->opened);
    struct actor *actor = count ? atomic_load(&storm->stage->actors[lot_below(lot, count)]) : NULL;
    return actor && atomic_load(&actor->opens) ? actor->id : 0;
}

static int storm_act(struct storm *storm, struct lot *lot)
{
    sally_group *group = storm->groups[lot_below(lot, 3)];
    uint32_t what = lot_below(lot, 8);
    if (what < 3) return sally_group_join(group, some_id(storm, lot));
    if (what < 5) return sally_group_leave(group, some_id(storm, lot));
    sally_buf *buf = sally_buf_create(storm->stage->engine, 1 + lot_below(lot, 3000));
    if (!buf) return SALLY_ENOMEM;
    sally_broadcast_options options = {
        .slow = (sally_slow)lot_below(lot, 2), .done = storm_done, .arg = storm};
    int err = what == 5 ? sally_broadcast(storm->stage->server, buf, &options)
                        : sally_group_send(group, buf, &options);
    if (!err) atomic_fetch_add(&storm->accepted, 1);
    sally_buf_release(buf);
    return err;
}

static void *storm_body(void *arg)
{
    struct storm *storm = arg;
    struct lot lot = {.state = storm->seed ^ os_thread_self()};
    while (!atomic_load(&storm->over)) {
        int err = storm_act(storm, &lot);
        if (err && err != SALLY_ENOCONN && err != SALLY_EFULL && err != SALLY_ELIMIT)
            stage_wrong(storm->stage, "in the storm: %s", sally_err_name(err));
    }
    return NULL;
}

static void join_some(sally_conn *conn)
{
    struct storm *storm = actor_of(conn)->stage->user;
    for (unsigned g = 0; g < 3; g++)
        if (actor_of(conn)->index % (g + 2) == 0 &&
            sally_group_join(storm->groups[g], sally_conn_id(conn)))
            stage_wrong(storm->stage, "not joined");
}

/* Connections, members and messages come and go, one group goes, and at last the engine with
 * messages under way: each accepted one is told once. */
static void every_message_is_told_once_whatever_ends(const struct stage_way *way)
{
    enum { THREADS = 4 };
    const unsigned rounds = long_form() ? 400 : 12;
    static struct storm storm;
    memset(&storm, 0, sizeof storm);
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.user = &storm,
                                                 .handler.on_open = join_some,
                                                 .engine.mailbox_letters_max = 500,
                                                 .server.conn = {.send_bytes_max = 20000}});
    storm.stage = stage;
    storm.seed = stage_seed();
    for (int g = 0; g < 3; g++)
        assert_int_equal(sally_group_create(&storm.groups[g], stage->engine), 0);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) threads[i] = stage_thread(storm_body, &storm);
    struct lot lot = {.state = storm.seed};
    for (unsigned round = 0; round < rounds; round++) {
        int fds[20];
        for (int i = 0; i < 20; i++) assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
        for (int i = 0; i < 20; i++) {
            char some[4000];
            if (lot_below(&lot, 2)) (void)raw_read_some(fds[i], some, sizeof some);
            if (lot_below(&lot, 2))
                raw_reset(fds[i]);
            else
                raw_close(fds[i]);
        }
    }
    assert_int_equal(sally_engine_stop(stage->engine), 0); /* they go on */
    stage_nap();
    atomic_store(&storm.over, true);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    sally_group_destroy(storm.groups[0]);
    stage_destroy_engine(stage);
    assert_int_equal(atomic_load(&storm.told), atomic_load(&storm.accepted));
    printf("%u messages, %u times queued\n", storm.accepted, storm.sent);
    assert_true(storm.sent > 0);
    stage_end(stage);
}

/* ---- To each other ---- */

enum { TALKERS = 8 };

static _Atomic(sally_group *) talk_group;
static _Atomic sally_id talk_ids[TALKERS];
static atomic_uint talked;

/* What comes in goes to two others by id, and now and then to all. Full queues drop it. */
static void pass_on(sally_conn *conn, const void *data, size_t len)
{
    sally_engine *engine = sally_conn_engine(conn);
    unsigned at = atomic_fetch_add(&talked, 1);
    if (len > 64) len = 64;
    for (unsigned i = 1; i <= 2; i++) {
        int err = sally_send(engine, talk_ids[(at * 5 + i) % TALKERS], data, len);
        if (err && err != SALLY_EFULL)
            stage_wrong(actor_of(conn)->stage, "send: %s", sally_err_name(err));
    }
    if (at % 16) return;
    sally_buf *buf = sally_buf_create(engine, len);
    memcpy(sally_buf_data(buf), data, len);
    int err = sally_group_send(talk_group, buf, NULL);
    if (err && err != SALLY_EFULL)
        stage_wrong(actor_of(conn)->stage, "group: %s", sally_err_name(err));
    sally_buf_release(buf);
}

/* The clients send back what they get, so messages go round for ever, with mailboxes so small that
 * they are full most of the time; after every while each connection still answers. */
static void connections_that_send_to_each_other_never_lock_up(const struct stage_way *way)
{
    const unsigned whiles = long_form() ? 60 : 1;
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = pass_on,
                                                 .engine.mailbox_letters_max = 16,
                                                 .server.conn = {.send_bytes_max = 4096}});
    sally_group *made = NULL;
    assert_int_equal(sally_group_create(&made, stage->engine), 0);
    atomic_store(&talk_group, made);
    int fds[TALKERS];
    for (int i = 0; i < TALKERS; i++) {
        struct actor *actor;
        fds[i] = stage_client(stage, 0, &actor);
        talk_ids[i] = actor->id;
        while (sally_group_join(talk_group, actor->id) == SALLY_EFULL) stage_nap();
    }
    STAGE_WAIT(sally_group_members(talk_group) == TALKERS);
    char some[65536];
    for (unsigned n = 0; n < whiles; n++) {
        unsigned before = atomic_load(&talked);
        uint64_t until_us = stage_now_us() + (long_form() ? 1000000 : 100000);
        while (stage_now_us() < until_us) {
            for (int i = 0; i < TALKERS; i++) {
                (void)raw_send_some(fds[i], "0123456789abcdef", 16, 0);
                while (raw_recv_now(fds[i], some, sizeof some) > 0) {
                }
            }
        }
        assert_true(atomic_load(&talked) > before);
    }
    for (int i = 0; i < TALKERS; i++) {
        struct actor *actor = stage_actor(stage, (unsigned)i);
        uint64_t had = atomic_load(&actor->bytes_in);
        assert_true(raw_send(fds[i], "last", 4));
        STAGE_WAIT(atomic_load(&actor->bytes_in) > had);
    }
    printf("%u passed on\n", atomic_load(&talked));
    for (int i = 0; i < TALKERS; i++) raw_reset(fds[i]);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(what_a_thread_sends_keeps_its_order_at_every_receiver),
    STAGE_TEST(a_join_and_a_leave_keep_their_place_among_sends),
    STAGE_TEST(messages_under_way_are_bounded),
    STAGE_TEST(every_message_is_told_once_whatever_ends),
    STAGE_TEST(connections_that_send_to_each_other_never_lock_up),
};

int main(int argc, char **argv)
{
    return stage_run("group_thread", tests, sizeof tests / sizeof *tests, argc, argv);
}
