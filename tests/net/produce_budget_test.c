/* Content that is made while it is sent (P-70), near limits for memory and bytes a second. */
#include "sallyport/flow.h"
#include "sallyport/rate.h"
#include "support/raw.h"
#include "support/stage.h"

enum { KB = 1024, MB = 1024 * KB, QUEUE_MAX = 64 * KB, STREAM = 5 };

enum { HOLDS_MAX = 3000, HELD_BYTES = 200 * KB };

/* A connection's budget of less than a chunk: pieces are small, and none is refused. */
static int64_t make_held(sally_conn *conn, void *arg, void *into, size_t room)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->number[0]);
    (void)arg;
    STAGE_CHECK(actor->stage, sally_conn_queued(conn) + room <= HOLDS_MAX);
    if (at == HELD_BYTES) return SALLY_PRODUCED_END;
    if (room > HELD_BYTES - at) room = HELD_BYTES - at;
    pattern_fill(into, STREAM, at, room);
    atomic_store(&actor->number[0], at + room);
    return (int64_t)room;
}

static void send_held(sally_conn *conn)
{
    sally_producer producer = {.produce = make_held};
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce(conn, &producer) == 0);
    sally_conn_close(conn);
}

static void a_budget_makes_pieces_smaller(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler = {.on_open = send_held},
                                     .server.conn = {.memory_max = HOLDS_MAX,
                                                     .rates = &(sally_rates){.send.bytes_s = MB}}});
    struct actor *actor;
    uint64_t bytes = 0;
    int fd = stage_client(stage, 0, &actor);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
    raw_close(fd);
    assert_int_equal(bytes, HELD_BYTES);
    (void)actor_wait_closed(actor);
    stage_end(stage);
}

/* Of a server's budget: at 85 % the producer has to wait, and at 95 % the worst would be closed. */
enum { SERVER_MAX = 40000, SERVER_WAITS = SERVER_MAX / 100 * 85 };

static int64_t make_tight(sally_conn *conn, void *arg, void *into, size_t room)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->number[0]);
    (void)arg;
    STAGE_CHECK(actor->stage, sally_conn_queued(conn) < SERVER_WAITS);
    if (at == MB) return SALLY_PRODUCED_END;
    if (room > MB - at) room = MB - at;
    pattern_fill(into, STREAM, at, room);
    atomic_store(&actor->number[0], at + room);
    return (int64_t)room;
}

static void send_tight(sally_conn *conn)
{
    sally_producer producer = {.produce = make_tight};
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce(conn, &producer) == 0);
    sally_conn_close(conn);
}

static void a_servers_budget_makes_it_wait(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler = {.on_open = send_tight},
                                                 .engine.send_chunk_bytes = 1024,
                                                 .server = {.memory_max = SERVER_MAX,
                                                            .conn = {.send_low_bytes = QUEUE_MAX,
                                                                     .send_buf_bytes = 4096}}});
    struct actor *actor;
    uint64_t bytes = 0;
    int fd = stage_client(stage, 4096, &actor);
    /* it does not read before the queue is as full as it may be */
    STAGE_WAIT(atomic_load(&actor->number[0]) > SERVER_MAX / 2);
    uint64_t until_us = stage_now_us() + 100 * 1000;
    STAGE_WAIT(stage_now_us() > until_us);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
    raw_close(fd);
    assert_int_equal(bytes, MB);
    (void)actor_wait_closed(actor);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(a_budget_makes_pieces_smaller, 1),
    STAGE_TEST_ON(a_servers_budget_makes_it_wait, 1),
};

int main(int argc, char **argv)
{
    return stage_run("produce_budget", tests, sizeof tests / sizeof *tests, argc, argv);
}
