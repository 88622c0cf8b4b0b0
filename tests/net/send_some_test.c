/* Sends of as much as there is room for (P-63). */
#include "sallyport/flow.h"
#include "support/raw.h"
#include "support/stage.h"

enum { KB = 1024, MB = 1024 * KB, QUEUE_MAX = 64 * KB, HOLDS_MAX = 3000, STREAM = 5 };

static unsigned char some[QUEUE_MAX + 1000];
enum { SOME_BYTES = 1 * MB };

/* number[0]: taken; number[1]: calls that took less than all; number[3]: on_drain. */
static void send_some(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->number[0]), less = atomic_load(&actor->number[1]);
    STAGE_CHECK(actor->stage, atomic_load(&actor->number[3]) == less); /* one for each */
    for (size_t len = sizeof some; at < SOME_BYTES;) {
        uint32_t before = sally_conn_queued(conn);
        if (len > SOME_BYTES - at) len = SOME_BYTES - at;
        pattern_fill(some, STREAM, at, len);
        int64_t took = sally_conn_send_some(conn, some, len);
        size_t room = QUEUE_MAX - before;
        STAGE_CHECK(actor->stage, took == (int64_t)(len < room ? len : room));
        STAGE_CHECK(actor->stage, sally_conn_send_some(conn, some, 0) == 0);
        if (took < 0) return;
        at = atomic_fetch_add(&actor->number[0], (uint64_t)took) + (uint64_t)took;
        if ((size_t)took == len) continue;
        STAGE_CHECK(actor->stage, sally_conn_send_some(conn, some, 1) == 0);
        atomic_fetch_add(&actor->number[1], 1);
        return;
    }
    sally_conn_close(conn);
}

static void note_drain(sally_conn *conn) { atomic_fetch_add(&actor_of(conn)->number[3], 1); }

static void send_more(sally_conn *conn)
{
    note_drain(conn);
    send_some(conn);
}

static void some_is_what_there_is_room_for_and_on_drain_follows(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler = {.on_open = send_some, .on_drain = send_more},
                                     .server.conn = {.send_bytes_max = QUEUE_MAX,
                                                     /* no other reason for on_drain */
                                                     .send_high_bytes = QUEUE_MAX,
                                                     .send_low_bytes = QUEUE_MAX / 16}});
    struct actor *actor;
    uint64_t bytes = 0;
    int fd = stage_client(stage, 0, &actor);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
    raw_close(fd);
    assert_int_equal(bytes, SOME_BYTES);
    (void)actor_wait_closed(actor);
    assert_true(atomic_load(&actor->number[1]) >= SOME_BYTES / sizeof some - 1);
    stage_end(stage);
}

/* The connection's own budget: as much as it leaves, then nothing. */
static void send_some_held(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    pattern_fill(some, STREAM, 0, sizeof some);
    STAGE_CHECK(stage, sally_conn_send_some(conn, some, 1000) == 1000);
    STAGE_CHECK(stage, sally_conn_send_some(conn, some + 1000, 5000) == HOLDS_MAX - 1000);
    STAGE_CHECK(stage, sally_conn_send_some(conn, some, 1) == 0);
}

static void some_is_what_a_budget_leaves(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler = {.on_open = send_some_held, .on_drain = note_drain},
                                     .server.conn.memory_max = HOLDS_MAX});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_check(fd, STREAM, 0, HOLDS_MAX, 0));
    STAGE_WAIT(atomic_load(&actor->number[3]) == 1);
    raw_close(fd);
    stage_end(stage);
}

static void ask_wrongly(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, sally_conn_send_some(NULL, "x", 1) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_send_some(conn, NULL, 1) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_shutdown(conn) == 0);
    STAGE_CHECK(stage, sally_conn_send_some(conn, "x", 1) == SALLY_ECLOSED);
    sally_conn_close(conn);
    STAGE_CHECK(stage, sally_conn_send_some(conn, "x", 1) == SALLY_ECLOSED);
}

static void after_the_end_it_takes_nothing(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_open = ask_wrongly});
    uint64_t bytes = 0;
    int fd = stage_client(stage, 0, NULL);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_int_equal(bytes, 0);
    raw_close(fd);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(some_is_what_there_is_room_for_and_on_drain_follows, 1),
    STAGE_TEST_ON(some_is_what_a_budget_leaves, 1),
    STAGE_TEST_ON(after_the_end_it_takes_nothing, 1),
};

int main(int argc, char **argv)
{
    return stage_run("send_some", tests, sizeof tests / sizeof *tests, argc, argv);
}
