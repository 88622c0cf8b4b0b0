/* Filters and what comes (P-54): it waits where the program stops, and limits and budgets hold.
 * What goes is in filter_send_test.c, ends and errors in filter_end_test.c. */
#include <stdlib.h>
#include <string.h>

#include "net/support/mill.h"
#include "sallyport/flow.h"
#include "sallyport/rate.h"

enum { KB = 1024, MB = 1024 * KB, STREAM = 9, WIRE_MAX = 2 * MB };

static unsigned char key = 0x21;

static void answer_end(sally_conn *conn) { sally_conn_close(conn); }

/* ---- Little becomes much ---- */

enum { BOMB_BYTES = 16 * MB, BOMB_PARTS = 16, PAUSES = 50 };

/* Reads a piece, and then pauses until the timer: PAUSES times, and then the test says. */
static void take_slowly(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    const unsigned char *bytes = data;
    uint64_t at = atomic_fetch_add(&actor->number[0], len);
    STAGE_CHECK(actor->stage, len <= 4096);
    STAGE_CHECK(actor->stage, bytes[0] == (unsigned char)(at / (BOMB_BYTES / BOMB_PARTS)));
    if (atomic_fetch_add(&actor->number[1], 1) >= PAUSES) return;
    STAGE_CHECK(actor->stage, sally_conn_pause(conn) == 0);
    STAGE_CHECK(actor->stage, sally_conn_timer(conn, 1) == 0);
}

static void go_on(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_resume(conn) == 0);
}

static void a_bomb_is_delivered_in_pieces_and_grows_no_memory(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_xor(&key), filter_runs()};
    struct stage *stage = stage_begin(
        way, &(struct stage_options){
                 .handler = {.on_data = take_slowly, .on_timer = go_on, .on_eof = answer_end},
                 .server.conn = {.filters = filters, .filter_count = 2},
                 .grows = true});
    struct actor *actor;
    struct xor_state xor = {.key = key};
    unsigned char bomb[BOMB_PARTS * RUN_BYTES], wire[BOMB_PARTS * RUN_BYTES + 1];
    int first = stage_client(stage, 0, &actor); /* whatever a port makes with its first bytes */
    assert_true(raw_send(first, "?", 1));
    STAGE_WAIT(stage_engine_stats(stage).bytes_in == 1);
    int fd = stage_client(stage, 0, &actor);
    uint64_t before = atomic_load(&stage->memory_bytes);
    atomic_store(&stage->memory_high_bytes, before);
    for (int i = 0; i < BOMB_PARTS; i++)
        run_write(bomb + i * RUN_BYTES, BOMB_BYTES / BOMB_PARTS, (unsigned char)i);
    size_t len = mill(xor_out, &xor, bomb, sizeof bomb, false, wire, sizeof wire);
    assert_true(raw_send(fd, wire, len));
    raw_finish(fd);
    (void)actor_wait_closed(actor);
    assert_int_equal(atomic_load(&actor->number[0]), BOMB_BYTES);
    assert_int_equal(actor->info.reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(atomic_load(&actor->eofs), 1);
    /* one receive, a chunk for each filter, and what is held: a chunk and a few structs */
    printf("grew by %llu bytes\n",
           (unsigned long long)(atomic_load(&stage->memory_high_bytes) - before));
    assert_true(atomic_load(&stage->memory_high_bytes) - before <= 64 * KB + 4 * 4096 + 1024);
    raw_close(fd);
    raw_close(first);
    stage_end(stage);
}

enum { BACK_BYTES = 8 * MB, BACK_MAX = 64 * KB };

static void send_back(sally_conn *conn, const void *data, size_t len)
{
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, sally_conn_queued(conn) <= BACK_MAX / 4);
    STAGE_CHECK(stage, sally_conn_send(conn, data, len) == 0);
}

/* It waits in the send queue, which stops it. */
static void a_bomb_that_is_sent_back_waits_for_its_reader(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_unpack()};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = send_back,
                                                 .server.conn = {.filters = filters,
                                                                 .filter_count = 1,
                                                                 .send_bytes_max = BACK_MAX,
                                                                 .send_buf_bytes = 8 * KB},
                                                 .grows = true});
    struct actor *actor;
    unsigned char bomb[RUN_BYTES];
    uint64_t bytes = 0;
    int fd = stage_client(stage, 4 * KB, &actor);
    run_write(bomb, BACK_BYTES, 'x');
    assert_true(raw_send(fd, bomb, sizeof bomb));
    raw_finish(fd);
    STAGE_WAIT(atomic_load(&actor->bytes_in) >= BACK_MAX / 4);
    assert_int_equal(atomic_load(&actor->eofs), 0);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_int_equal(bytes, BACK_BYTES);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_unsent, 0);
    stage_end(stage);
}

/* Others are served in between: the bomb's shard has other connections. */
static void a_bomb_doesnt_hold_up_others(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_runs()};
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore,
                                                                   .server.conn.filters = filters,
                                                                   .server.conn.filter_count = 1,
                                                                   .grows = true});
    unsigned char endless[RUN_BYTES];
    struct actor *bomber, *other;
    int fd = stage_client(stage, 0, &bomber), other_fd = stage_client(stage, 0, &other);
    run_write(endless, RUNS_END - 1, 'x'); /* 4 GiB: it never gets to its end here */
    assert_true(raw_send(fd, endless, sizeof endless));
    STAGE_WAIT(atomic_load(&bomber->datas) > 1000);
    run_write(endless, 3, 'y');
    assert_true(raw_send(other_fd, endless, sizeof endless));
    STAGE_WAIT(atomic_load(&other->bytes_in) == 3);
    assert_int_equal(sally_abort(stage->engine, bomber->id), 0);
    assert_int_equal(actor_wait_closed(bomber)->reason, SALLY_CLOSE_ABORTED);
    assert_true(atomic_load(&bomber->bytes_in) < RUNS_END - 1);
    raw_close(fd);
    raw_close(other_fd);
    stage_end(stage);
}

/* ---- Pauses, keeps, closes ---- */

/* number[0]: bytes; number[1]: pauses. Everything that may be done in the middle. */
static void stop_and_go(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_fetch_add(&actor->number[0], len);
    sally_buf *kept = sally_conn_keep(conn, data, len);
    STAGE_CHECK(actor->stage, pattern_check(data, STREAM, at, len) == len);
    STAGE_CHECK(actor->stage, kept && pattern_check(sally_buf_data(kept), STREAM, at, len) == len);
    sally_buf_release(kept);
    STAGE_CHECK(actor->stage, sally_conn_pause(conn) == 0);
    if (at % 2) {
        STAGE_CHECK(actor->stage, sally_conn_resume(conn) == 0);
    } else {
        atomic_fetch_add(&actor->number[1], 1);
        STAGE_CHECK(actor->stage, sally_conn_timer(conn, 1) == 0);
    }
}

static void check_all_came(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    STAGE_CHECK(actor->stage, atomic_load(&actor->number[0]) == 200 * KB);
    sally_conn_close(conn);
}

static void pauses_lose_and_double_nothing(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_runs(), filter_xor(&key)};
    struct stage *stage = stage_begin(
        way, &(struct stage_options){
                 .handler = {.on_data = stop_and_go, .on_timer = go_on, .on_eof = check_all_came},
                 .server.conn = {.filters = filters, .filter_count = 2},
                 .grows = true});
    struct xor_state xor = {.key = key};
    struct runs_state runs = {.left = 0};
    unsigned char *plain = malloc(200 * KB), *hidden = malloc(200 * KB + 1),
                  *wire = malloc(WIRE_MAX);
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    pattern_fill(plain, STREAM, 0, 200 * KB);
    size_t len = mill(xor_out, &xor, plain, 200 * KB, false, hidden, 200 * KB + 1);
    len = mill(runs_out, &runs, hidden, len, true, wire, WIRE_MAX);
    assert_true(raw_send(fd, wire, len));
    raw_finish(fd);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    (void)actor_wait_closed(actor);
    assert_int_equal(atomic_load(&actor->number[0]), 200 * KB);
    assert_true(atomic_load(&actor->number[1]) > 0);
    free(plain);
    free(hidden);
    free(wire);
    stage_end(stage);
}

enum { CLOSES, ABORTS, SHUTS, ENDINGS };

static void end_in_the_middle(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    const unsigned char *bytes = data;
    STAGE_CHECK(actor->stage, atomic_load(&actor->datas) == 0 || actor->index % ENDINGS == SHUTS);
    if (atomic_load(&actor->datas)) return;
    switch (actor->index % ENDINGS) {
    case CLOSES: sally_conn_close(conn); break;
    case ABORTS: sally_conn_abort(conn); break;
    case SHUTS: STAGE_CHECK(actor->stage, sally_conn_shutdown(conn) == 0); break;
    }
    STAGE_CHECK(actor->stage, bytes[0] == 'x' && bytes[len - 1] == 'x'); /* still readable */
}

static void an_end_in_on_data_is_the_last_of_it(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_runs()};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = end_in_the_middle,
                                                 .server.conn.filters = filters,
                                                 .server.conn.filter_count = 1,
                                                 .grows = true});
    for (int i = 0; i < ENDINGS; i++) {
        unsigned char bomb[2 * RUN_BYTES];
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        run_write(bomb, 100 * KB, 'x');
        run_write(bomb + RUN_BYTES, RUNS_END, 0);
        assert_true(raw_send(fd, bomb, sizeof bomb));
        STAGE_WAIT(atomic_load(&actor->datas));
        raw_finish(fd);
        (void)actor_wait_closed(actor);
        assert_int_equal(actor->info.reason == SALLY_CLOSE_ABORTED, i == ABORTS);
        assert_int_equal(atomic_load(&actor->bytes_in) == 100 * KB, i == SHUTS);
        raw_close(fd);
    }
    stage_end(stage);
}

/* ---- Limits ---- */

/* A limit for bytes a second counts what was on the wire: RUNS of 5 bytes in portions of at most
 * 20, of which each makes much. */
static void note_portion(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    (void)data;
    atomic_fetch_add(&actor->number[0], len);
}

static void rates_are_of_the_wire(const struct stage_way *way)
{
    enum { RUNS = 40 };
    const sally_filter filters[] = {filter_runs()};
    const sally_rates rates = {.recv = {.bytes_s = 400, .burst_bytes = 20}};
    struct stage *stage = stage_begin(
        way, &(struct stage_options){
                 .handler = {.on_data = note_portion, .on_eof = answer_end},
                 .server.conn = {.filters = filters, .filter_count = 1, .rates = &rates},
                 .grows = true});
    struct actor *actor;
    unsigned char wire[RUNS * RUN_BYTES];
    for (int i = 0; i < RUNS; i++) run_write(wire + i * RUN_BYTES, 10 * KB, 'x');
    int fd = stage_client(stage, 0, &actor);
    uint64_t began_us = stage_now_us();
    assert_true(raw_send(fd, wire, sizeof wire));
    raw_finish(fd);
    (void)actor_wait_closed(actor);
    /* 180 bytes more than the burst have to be waited for */
    assert_true(stage_now_us() - began_us >= 400 * 1000);
    assert_int_equal(atomic_load(&actor->number[0]), RUNS * 10 * KB);
    assert_int_equal(actor->info.bytes_in, sizeof wire);
    raw_close(fd);
    stage_end(stage);
}

/* States count in a server's budget, and what lies between filters too. */
static void states_count_in_budgets(const struct stage_way *way)
{
    sally_filter filters[] = {filter_xor(&key)};
    filters[0].state_bytes = 200 * KB;
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_data = stage_echo,
                                     .server.conn = {.filters = filters, .filter_count = 1},
                                     .server.memory_max = 1111 * KB});
    int fds[12];
    for (int i = 0; i < 4; i++) fds[i] = stage_client(stage, 0, NULL);
    for (int i = 4; i < 12; i++) assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
    /* 5 states are over 85 % of it: the next newcomers wait in the backlog */
    STAGE_WAIT(atomic_load(&stage->opened) == 5);
    for (int i = 0; i < 50; i++) stage_nap();
    assert_int_equal(atomic_load(&stage->opened), 5);
    for (int i = 0; i < 12; i++) raw_close(fds[i]);
    STAGE_WAIT(sally_server_conns(stage->server) == 0);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(a_bomb_is_delivered_in_pieces_and_grows_no_memory, 1),
    STAGE_TEST_ON(a_bomb_that_is_sent_back_waits_for_its_reader, 1),
    STAGE_TEST_ON(a_bomb_doesnt_hold_up_others, 1),
    STAGE_TEST_ON(pauses_lose_and_double_nothing, 1),
    STAGE_TEST_ON(an_end_in_on_data_is_the_last_of_it, 1),
    STAGE_TEST_ON(rates_are_of_the_wire, 1),
    STAGE_TEST_ON(states_count_in_budgets, 1),
};

int main(int argc, char **argv)
{
    return stage_run("filter", tests, sizeof tests / sizeof *tests, argc, argv);
}
