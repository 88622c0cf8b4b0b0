/* The budget of one connection: all that it has counts together, whoever fills it. */
#include <string.h>

#include "sallyport/framing.h"
#include "support/raw.h"
#include "support/stage.h"

enum { MAX = 100 * 1000, BIG = 1 << 20 };
static const char zeros[BIG];
static char got[MAX]; /* by the test alone */

/* number[0]: what the last send said, negated; number[1]: how many commands were done */
static void did(sally_conn *conn, int err)
{
    atomic_store(&actor_of(conn)->number[0], (uint64_t)-err);
    atomic_fetch_add(&actor_of(conn)->number[1], 1);
}

/* f: fill to the byte; p: pause */
static void command(sally_conn *conn, const void *data, size_t len)
{
    struct stage *stage = actor_of(conn)->stage;
    (void)len;
    switch (*(const char *)data) {
    case 'f':
        STAGE_CHECK(stage, sally_conn_send(conn, zeros, MAX + 1) == SALLY_ELIMIT);
        STAGE_CHECK(stage, sally_conn_send(conn, zeros, MAX - 40000) == 0);
        STAGE_CHECK(stage, sally_conn_send(conn, zeros, 40001) == SALLY_EFULL);
        did(conn, sally_conn_send(conn, zeros, 40000));
        break;
    case 'p': STAGE_CHECK(stage, sally_conn_pause(conn) == 0); break;
    default: did(conn, 0);
    }
}

/* Sends while a message is on its way. */
static void timed(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    if (!atomic_load(&actor->number[2])) return;
    STAGE_CHECK(actor->stage, sally_conn_message_bytes(conn) == 60004);
    STAGE_CHECK(actor->stage, sally_conn_send(conn, zeros, 40000) == SALLY_ENOMEM);
    STAGE_CHECK(actor->stage, sally_conn_send(conn, zeros, MAX - 60004) == 0);
    did(conn, sally_conn_send(conn, zeros, 1));
}

static void drained(sally_conn *conn) { (void)conn; } /* the stage counts it */

static struct stage *begin(const struct stage_way *way, const sally_framing *framing,
                           uint32_t memory_max)
{
    struct stage_options options = {.handler = {.on_timer = timed, .on_drain = drained},
                                    .engine.recv_buf_bytes = 16384,
                                    .server.conn = {.memory_max = memory_max,
                                                    .framing = framing,
                                                    .no_auto_pause = true,
                                                    .send_buf_bytes = 1}};
    if (framing)
        options.handler.on_message = command;
    else
        options.handler.on_data = command;
    return stage_begin(way, &options);
}

static void a_send_past_it_finds_the_queue_full_until_it_drains(const struct stage_way *way)
{
    struct stage *stage = begin(way, NULL, MAX);
    struct actor *actor;
    int fd = stage_client(stage, 1, &actor);
    assert_true(raw_send(fd, "f", 1));
    STAGE_WAIT(atomic_load(&actor->number[1]) == 1);
    assert_int_equal(atomic_load(&actor->number[0]), 0);
    assert_true(raw_read(fd, got, MAX));
    STAGE_WAIT(atomic_load(&actor->drains) == 1);
    assert_true(raw_send(fd, "f", 1)); /* and all of it is free again */
    STAGE_WAIT(atomic_load(&actor->number[1]) == 2);
    assert_true(raw_read(fd, got, MAX));
    raw_close(fd);
    stage_end(stage);
}

/* So many bytes of a message of 500,000. */
static void send_part(int fd, uint32_t bytes)
{
    static const char head[4] = {0, 7, (char)0xa1, 0x20};
    assert_true(raw_send(fd, head, sizeof head));
    assert_true(raw_send(fd, zeros, bytes));
}

static void a_message_past_it_is_reset(const struct stage_way *way)
{
    static const sally_framing framing = {.kind = SALLY_FRAMING_LENGTH};
    struct stage *stage = begin(way, &framing, MAX);
    struct actor *whole, *part;
    int good = stage_client(stage, 0, &whole), bad = stage_client(stage, 0, &part);
    static const char head[4] = {0, 1, (char)0x86, (char)0x9c}; /* 99,996: with it, to the byte */
    for (uint64_t n = 1; n <= 3; n++) {
        assert_true(raw_send(good, head, sizeof head));
        assert_true(raw_send(good, zeros, 99996));
        STAGE_WAIT(atomic_load(&whole->number[1]) == n); /* it was given back each time */
    }
    send_part(bad, MAX - 4 + 1);
    const sally_close_info *info = actor_wait_closed(part);
    assert_int_equal(info->reason, SALLY_CLOSE_MEMORY);
    assert_int_equal(info->error, SALLY_ELIMIT);
    assert_true(atomic_load(&part->messages) == 0);
    raw_close(good);
    raw_close(bad);
    stage_end(stage);
}

static void begin_timer(sally_conn *conn, void *arg)
{
    (void)arg;
    if (sally_conn_message_bytes(conn) < 60004) {
        (void)sally_post(sally_conn_engine(conn), sally_conn_id(conn), begin_timer, NULL);
        return;
    }
    atomic_store(&actor_of(conn)->number[2], 1);
    sally_conn_timer(conn, 1);
}

static void a_message_on_its_way_leaves_less_for_sends(const struct stage_way *way)
{
    static const sally_framing framing = {.kind = SALLY_FRAMING_LENGTH};
    struct stage *stage = begin(way, &framing, MAX);
    struct actor *actor;
    int fd = stage_client(stage, 1, &actor);
    send_part(fd, 60000);
    assert_int_equal(sally_post(stage->engine, actor->id, begin_timer, NULL), 0);
    STAGE_WAIT(atomic_load(&actor->number[1]) == 1);
    assert_int_equal(atomic_load(&actor->number[0]), -SALLY_EFULL);
    raw_close(fd);
    stage_end(stage);
}

static void what_came_while_paused_counts(const struct stage_way *way)
{
    static const sally_framing framing = {.kind = SALLY_FRAMING_LENGTH};
    static const char both[3000] = {0, 0, 0, 1, 'p', 0, 0, 9};
    struct stage *stage = begin(way, &framing, 2000);
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, both, 1500)); /* the pause, and 1495 bytes: they have room */
    STAGE_WAIT(atomic_load(&actor->messages) == 1);
    assert_false(atomic_load(&actor->closed));
    raw_close(fd);
    int other = stage_client(stage, 0, &actor);
    assert_true(raw_send(other, both, sizeof both));
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_MEMORY);
    raw_close(other);
    sally_engine_stop(stage->engine); /* the first one is paused and never sees its peer's end */
    stage_end(stage);
}

static void tell_part(sally_conn *conn, void *arg)
{
    struct actor *actor = arg;
    if (!conn)
        stage_wrong(actor->stage, "it was closed");
    else if (sally_conn_message_bytes(conn) == 60004)
        did(conn, 0);
    else
        (void)sally_post(sally_conn_engine(conn), sally_conn_id(conn), tell_part, actor);
}

/* Counted apart, up to the same: a message has its room all the while. */
static void what_comes_by_id_has_as_much_again(const struct stage_way *way)
{
    static const sally_framing framing = {.kind = SALLY_FRAMING_LENGTH};
    struct stage *stage = begin(way, &framing, MAX);
    struct actor *actor;
    int fd = stage_client(stage, 1, &actor);
    assert_int_equal(sally_send(stage->engine, actor->id, zeros, MAX + 1), SALLY_ELIMIT);
    assert_int_equal(sally_send(stage->engine, actor->id, zeros, MAX), 0);
    assert_int_equal(sally_send(stage->engine, actor->id, zeros, MAX), SALLY_EFULL);
    send_part(fd, 60000);
    assert_int_equal(sally_post(stage->engine, actor->id, tell_part, actor), 0);
    STAGE_WAIT(atomic_load(&actor->number[1]) == 1 || atomic_load(&stage->wrongs));
    assert_false(atomic_load(&actor->closed));
    assert_true(raw_read(fd, got, MAX));
    raw_close(fd);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(a_send_past_it_finds_the_queue_full_until_it_drains, 1),
    STAGE_TEST_ON(a_message_past_it_is_reset, 1),
    STAGE_TEST_ON(a_message_on_its_way_leaves_less_for_sends, 1),
    STAGE_TEST_ON(what_came_while_paused_counts, 1),
    STAGE_TEST_ON(what_comes_by_id_has_as_much_again, 1),
};

int main(int argc, char **argv)
{
    return stage_run("conn_budget", tests, sizeof tests / sizeof *tests, argc, argv);
}
