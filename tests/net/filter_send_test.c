/* Filters and what is sent (P-54): every way to send goes through them, two ends with the same ones
 * understand each other, a send has room or it hasn't. */
#include <stdlib.h>
#include <string.h>

#include "net/support/cast.h"
#include "net/support/mill.h"
#include "sallyport/flow.h"
#include "sallyport/framing.h"
#include "support/filter_shake.h"

enum { KB = 1024, MB = 1024 * KB, STREAM = 9 };

static unsigned char key = 0x21;

/* ---- Both ends ---- */

/* number[0]: bytes that have come back in order; number[1]: bytes sent; number[2]: done calls. */
enum { LETTERS = STAGE_SLOW ? 50 : 400, LETTER_MAX = 3000 };

static void count_done(sally_conn *conn, void *arg, bool sent)
{
    STAGE_CHECK(actor_of(conn)->stage, sent);
    atomic_fetch_add(&actor_of(conn)->number[2], 1);
    free(arg);
}

/* The next bytes of the stream, by one call or another. */
static int send_next(sally_conn *conn, uint64_t at, size_t len, unsigned how)
{
    unsigned char bytes[LETTER_MAX];
    pattern_fill(bytes, STREAM, at, len);
    const sally_bytes pieces[] = {{bytes, len / 3}, {bytes + len / 3, len - len / 3}, {NULL, 0}};
    if (how == 0) return sally_conn_send(conn, bytes, len);
    if (how == 1) return sally_conn_sendv(conn, pieces, 3);
    if (how == 2) return sally_send(sally_conn_engine(conn), sally_conn_id(conn), bytes, len);
    if (how == 3) {
        sally_buf *buf = sally_buf_create(sally_conn_engine(conn), len);
        memcpy(sally_buf_data(buf), bytes, len);
        int err = sally_conn_send_buf(conn, buf);
        sally_buf_release(buf);
        return err;
    }
    void *copy = malloc(len);
    memcpy(copy, bytes, len);
    int err = sally_conn_send_owned(conn, copy, len, count_done, copy);
    if (err) free(copy);
    return err;
}

static void send_letters(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    struct lot lot = {7};
    uint64_t at = 0;
    for (unsigned i = 0; i < LETTERS; i++) {
        size_t len = 1 + lot_below(&lot, LETTER_MAX);
        STAGE_CHECK(actor->stage, send_next(conn, at, len, i % 5) == 0);
        at += len;
    }
    atomic_store(&actor->number[1], at);
    STAGE_CHECK(actor->stage, sally_conn_shutdown(conn) == 0);
    STAGE_CHECK(actor->stage, sally_conn_send(conn, "x", 1) == SALLY_ECLOSED);
}

static void begin_as_client(sally_conn *conn)
{
    if (!sally_conn_server(conn)) send_letters(conn);
}

static void echo_or_check(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    if (sally_conn_server(conn)) {
        STAGE_CHECK(actor->stage, sally_conn_send(conn, data, len) == 0);
        return;
    }
    uint64_t at = atomic_fetch_add(&actor->number[0], len);
    STAGE_CHECK(actor->stage, pattern_check(data, STREAM, at, len) == len);
}

static void answer_end(sally_conn *conn) { sally_conn_close(conn); }

static void two_ends_with_stacks_exchange_streams(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_xor(&key), filter_shake(), filter_runs(),
                                    filter_xor(NULL)};
    for (uint32_t count = 1; count <= 4; count++) {
        sally_conn_options conn = {
            .filters = filters, .filter_count = count, .send_bytes_max = 64 * MB};
        struct stage *stage =
            stage_begin(way, &(struct stage_options){.handler = {.on_open = begin_as_client,
                                                                 .on_data = echo_or_check,
                                                                 .on_eof = answer_end},
                                                     .server.conn = conn,
                                                     .grows = true});
        assert_int_equal(
            stage_connect(stage, stage->address, &(sally_connect_options){.conn = conn}, NULL), 0);
        STAGE_WAIT(atomic_load(&stage->closed) == 2);
        for (unsigned i = 0; i < 2; i++) {
            struct actor *actor = stage_actor(stage, i);
            assert_int_equal(actor->info.bytes_unsent, 0);
            assert_int_equal(actor->info.error, 0);
            if (!atomic_load(&actor->number[1])) continue; /* the server's */
            assert_int_equal(atomic_load(&actor->number[0]), atomic_load(&actor->number[1]));
            assert_int_equal(atomic_load(&actor->number[2]), LETTERS / 5);
        }
        stage_end(stage);
    }
}

/* ---- No way to send goes past them ---- */

enum { PART = 5000, PARTS = 6, PRODUCED = 30000, WIRE_MAX = 2 * MB };

static uint64_t produced;

static int64_t produce_next(sally_conn *conn, void *arg, void *into, size_t room)
{
    (void)arg;
    STAGE_CHECK(actor_of(conn)->stage, room >= 1 && room <= 4096);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, "x", 1) == SALLY_ESTATE);
    if (produced == PRODUCED) return SALLY_PRODUCED_END;
    size_t len = room < PRODUCED - produced ? room : PRODUCED - produced;
    pattern_fill(into, STREAM, PARTS * PART + produced, len);
    produced += len;
    return (int64_t)len;
}

static void produce_ends(sally_conn *conn, void *arg, int error)
{
    (void)arg;
    STAGE_CHECK(actor_of(conn)->stage, error == 0);
    sally_conn_close(conn);
}

static void send_every_way(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    static unsigned char bytes[PART];
    for (unsigned i = 0; i < PARTS - 1; i++) {
        for (unsigned at = 0; at < PART; at += PART / 10)
            STAGE_CHECK(stage, send_next(conn, i * PART + at, PART / 10, i) == 0);
    }
    pattern_fill(bytes, STREAM, (PARTS - 1) * PART, PART);
    STAGE_CHECK(stage, sally_conn_send_some(conn, bytes, PART) == PART);
    produced = 0;
    sally_producer producer = {.produce = produce_next, .done = produce_ends};
    STAGE_CHECK(stage, sally_conn_produce(conn, &producer) == 0);
}

/* What came on the wire through [xor, runs], by hand; how many bytes. */
static size_t read_through(int fd, unsigned char *to, size_t room, bool ended)
{
    struct xor_state xor = {.key = key};
    struct runs_state runs = {.left = 0};
    unsigned char *wire = malloc(WIRE_MAX), *middle = malloc(WIRE_MAX);
    size_t len = raw_read_all(fd, wire, WIRE_MAX);
    len = mill(xor_in, &xor, wire, len, true, middle, WIRE_MAX);
    assert_true(len >= RUN_BYTES);
    bool end = run_count(middle + len - RUN_BYTES) == RUNS_END;
    assert_int_equal(end, ended);
    len = mill(runs_in, &runs, middle, len, true, to, room);
    free(wire);
    free(middle);
    return len;
}

static void no_way_to_send_goes_past_them(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_xor(&key), filter_runs()};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_every_way,
                                                 .handler.on_data = stage_ignore,
                                                 .server.conn.filters = filters,
                                                 .server.conn.filter_count = 2});
    struct actor *actor;
    unsigned char *got = malloc(MB);
    int fd = stage_client(stage, 0, &actor);
    size_t len = read_through(fd, got, MB, true);
    assert_int_equal(len, PARTS * PART + PRODUCED);
    assert_int_equal(pattern_check(got, STREAM, 0, len), len);
    raw_close(fd);
    (void)actor_wait_closed(actor);
    assert_int_equal(atomic_load(&actor->number[2]), 10);
    free(got);
    stage_end(stage);
}

static void send_message_back(sally_conn *conn, const void *data, size_t len)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send_message(conn, data, len) == 0);
}

static void a_message_and_its_frame_pass_them(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_xor(&key)};
    const sally_framing framing = {.kind = SALLY_FRAMING_LINE};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_message = send_message_back,
                                                 .server.conn.framing = &framing,
                                                 .server.conn.filters = filters,
                                                 .server.conn.filter_count = 1});
    struct xor_state xor = {.key = key};
    unsigned char wire[64], back[64];
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_int_equal(sally_send_message(stage->engine, actor->id, "from afar", 9), 0);
    assert_true(raw_read(fd, wire, 10));
    (void)mill(xor_in, &xor, wire, 10, false, back, sizeof back);
    size_t len = mill(xor_out, &xor, "one\r\ntwo\nthree", 14, false, wire, sizeof wire);
    for (size_t i = 0; i < len; i++) assert_true(raw_send(fd, wire + i, 1));
    raw_finish(fd);
    len = raw_read_all(fd, wire, sizeof wire);
    assert_int_equal(mill(xor_in, &xor, wire, len, true, back + 10, sizeof back - 10), 8);
    assert_memory_equal(back, "from afar\none\ntwo\n", 18);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_truncated, 5);
    assert_int_equal(atomic_load(&actor->messages), 2);
    stage_end(stage);
}

/* ---- From other threads, and to many ---- */

static void sends_by_id_and_to_many_pass_them(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_xor(&key), filter_runs()};
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore,
                                                                   .server.conn.filters = filters,
                                                                   .server.conn.filter_count = 2});
    static unsigned char big[100 * KB], got[MB];
    struct ticket ticket;
    struct actor *actors[2];
    int fds[2];
    pattern_fill(big, STREAM, 0, sizeof big);
    for (int i = 0; i < 2; i++) fds[i] = stage_client(stage, 0, &actors[i]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sally_send(stage->engine, actors[i]->id, big, 1000), 0);
        assert_int_equal(sally_send(stage->engine, actors[i]->id, big + 1000, 50 * KB), 0);
    }
    sally_buf *buf = cast_buf(stage, big + 1000 + 50 * KB, 10 * KB);
    assert_int_equal(cast_send_ticket(stage->server, NULL, buf, NULL, &ticket), 0);
    sally_buf_release(buf);
    ticket_wait(&ticket);
    assert_int_equal(ticket.report.sent, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sally_close(stage->engine, actors[i]->id), 0);
        size_t len = read_through(fds[i], got, sizeof got, true);
        assert_int_equal(len, 1000 + 60 * KB);
        assert_memory_equal(got, big, len);
        raw_close(fds[i]);
    }
    stage_end(stage);
}

static void send_three(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, "aaa", 3) == 0);
}

static void each_send_ends_with_a_flush(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_runs()};
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_open = send_three,
                                                                   .handler.on_data = stage_ignore,
                                                                   .server.conn.filters = filters,
                                                                   .server.conn.filter_count = 1});
    unsigned char run[RUN_BYTES];
    int fd = stage_client(stage, 0, NULL);
    assert_true(raw_read(fd, run, sizeof run));
    assert_int_equal(run_count(run), 3);
    raw_close(fd);
    stage_end(stage);
}

static void room_again(sally_conn *conn) { (void)conn; }

/* What other threads send is charged to the connection until it has gone. When it becomes less, the
 * rest of the charge is given back; and who was refused is told. */
static void what_becomes_less_gives_its_room_back(const struct stage_way *way)
{
    enum { SENDS = 60, SEND_BYTES = 20 * KB };
    const sally_filter filters[] = {filter_xor(&key), filter_runs()};
    struct stage *stage = stage_begin(
        way,
        &(struct stage_options){
            .handler = {.on_data = stage_ignore, .on_drain = room_again},
            .server.conn = {.filters = filters, .filter_count = 2, .send_bytes_max = 64 * KB}});
    static unsigned char bytes[SEND_BYTES], got[2 * MB];
    struct actor *actor;
    unsigned refused = 0;
    int fd = stage_client(stage, 0, &actor);
    memset(bytes, 'x', sizeof bytes);
    for (int i = 0; i < SENDS; i++) {
        int err = 0;
        STAGE_WAIT((err = sally_send(stage->engine, actor->id, bytes, SEND_BYTES)) != SALLY_EFULL ||
                   !++refused);
        assert_int_equal(err, 0);
    }
    STAGE_WAIT(!refused || atomic_load(&actor->drains));
    assert_int_equal(sally_close(stage->engine, actor->id), 0);
    size_t len = read_through(fd, got, sizeof got, true);
    assert_int_equal(len, SENDS * SEND_BYTES);
    raw_close(fd);
    assert_true(actor_wait_closed(actor)->bytes_out <= SENDS * RUN_BYTES + RUN_BYTES);
    stage_end(stage);
}

static int swallow(void *state, sally_filter_io *io)
{
    (void)state;
    io->used = io->len;
    return SALLY_FILTERED_ALL;
}

/* Keeps its shard until it may go on. */
static void hold_up(sally_conn *conn, void *arg)
{
    (void)conn;
    while (!atomic_load((atomic_bool *)arg)) stage_nap();
}

/* Who was refused is told also when nothing becomes of what was sent, so that nothing ever goes. */
static void who_was_refused_is_told_though_nothing_goes(const struct stage_way *way)
{
    const sally_filter filters[] = {
        {.name = "swallow", .state_bytes = 1, .in = swallow, .out = swallow}};
    struct stage *stage = stage_begin(
        way,
        &(struct stage_options){
            .handler = {.on_data = stage_ignore, .on_drain = room_again},
            .server.conn = {.filters = filters, .filter_count = 1, .send_bytes_max = 64 * KB}});
    static unsigned char bytes[20 * KB];
    struct actor *actor;
    atomic_bool free_again = false;
    unsigned taken = 0;
    int fd = stage_client(stage, 0, &actor), err;
    assert_int_equal(sally_post(stage->engine, actor->id, hold_up, &free_again), 0);
    while (!(err = sally_send(stage->engine, actor->id, bytes, sizeof bytes))) taken++;
    assert_int_equal(err, SALLY_EFULL);
    assert_int_equal(taken, 3);
    atomic_store(&free_again, true);
    STAGE_WAIT(atomic_load(&actor->drains) == 1);
    assert_int_equal(sally_send(stage->engine, actor->id, bytes, sizeof bytes), 0);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_out, 0);
    stage_end(stage);
}

/* Of many, the one with filters gets other bytes than the one without. */
static void a_group_may_have_members_with_and_without(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_xor(&key)};
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = stage_echo});
    char address[64], plain[5];
    unsigned char hidden[5], shown[5];
    struct xor_state xor = {.key = key};
    sally_server_options options = {.conn = {.filters = filters, .filter_count = 1}};
    sally_server *other = stage_listen(stage, &options, address, sizeof address);
    int fd = stage_client(stage, 0, NULL), other_fd = raw_connect(address, 0);
    STAGE_WAIT(atomic_load(&stage->opened) == 2);
    struct ticket ticket;
    assert_int_equal(cast_text(stage, stage->server, NULL, "hello", NULL, &ticket), 0);
    ticket_wait(&ticket);
    assert_int_equal(cast_text(stage, other, NULL, "hello", NULL, &ticket), 0);
    ticket_wait(&ticket);
    assert_true(raw_read(fd, plain, 5) && raw_read(other_fd, hidden, 5));
    assert_memory_equal(plain, "hello", 5);
    assert_true(memcmp(hidden, "hello", 5) != 0);
    (void)mill(xor_in, &xor, hidden, 5, false, shown, sizeof shown + 1);
    assert_memory_equal(shown, "hello", 5);
    raw_close(fd);
    raw_close(other_fd);
    stage_end(stage);
}

/* ---- Limits ---- */

/* A send has room when the most that it may become has. */
static void fill_up(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    static unsigned char bytes[20 * KB];
    pattern_fill(bytes, STREAM, 0, sizeof bytes);
    STAGE_CHECK(stage, sally_conn_cork(conn) == 0);
    STAGE_CHECK(stage, sally_conn_send(conn, bytes, 20 * KB) == SALLY_ELIMIT); /* 100 KiB */
    STAGE_CHECK(stage, sally_conn_queued(conn) == 0);
    STAGE_CHECK(stage, sally_conn_send(conn, bytes, 10 * KB) == 0);
    uint32_t queued = sally_conn_queued(conn);
    STAGE_CHECK(stage, queued > 40 * KB && queued <= 50 * KB);
    STAGE_CHECK(stage, sally_conn_send(conn, bytes, 3 * KB) == SALLY_EFULL);
    STAGE_CHECK(stage, sally_conn_queued(conn) == queued);
    int64_t some = sally_conn_send_some(conn, bytes + 10 * KB, 3 * KB);
    STAGE_CHECK(stage, some > 2 * KB && some < 3 * KB);
    STAGE_CHECK(stage, sally_conn_queued(conn) > queued);
    STAGE_CHECK(stage, sally_conn_queued(conn) <= 64 * KB);
    atomic_store(&actor_of(conn)->number[0], 10 * KB + (uint64_t)some);
    STAGE_CHECK(stage, sally_conn_uncork(conn) == 0);
}

static void close_it(sally_conn *conn) { sally_conn_close(conn); }

static void room_is_what_a_send_may_become(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_xor(&key), filter_runs()};
    struct stage *stage = stage_begin(
        way,
        &(struct stage_options){
            .handler = {.on_open = fill_up, .on_drain = close_it, .on_data = stage_ignore},
            .server.conn = {.filters = filters, .filter_count = 2, .send_bytes_max = 64 * KB}});
    struct actor *actor;
    unsigned char *got = malloc(MB);
    int fd = stage_client(stage, 0, &actor);
    size_t len = read_through(fd, got, MB, true);
    assert_int_equal(len, atomic_load(&actor->number[0]));
    assert_int_equal(pattern_check(got, STREAM, 0, len), len);
    assert_int_equal(atomic_load(&actor->drains), 1);
    raw_close(fd);
    free(got);
    stage_end(stage);
}

/* What is let go no filter has seen. */
static void send_too_much(sally_conn *conn)
{
    static unsigned char bytes[KB];
    for (unsigned i = 0; i < 100; i++) {
        pattern_fill(bytes, STREAM, i * KB, KB);
        STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, bytes, KB) == 0);
    }
    uint64_t bytes_dropped;
    uint64_t dropped = sally_conn_dropped(conn, &bytes_dropped);
    STAGE_CHECK(actor_of(conn)->stage, dropped > 50 && bytes_dropped == dropped * KB);
    atomic_store(&actor_of(conn)->number[0], (100 - dropped) * KB);
    sally_conn_close(conn);
}

static void what_a_full_queue_lets_go_leaves_the_stream_whole(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_xor(&key), filter_runs()};
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_open = send_too_much,
                                     .server.conn = {.filters = filters,
                                                     .filter_count = 2,
                                                     .send_bytes_max = 64 * KB,
                                                     .at_full = SALLY_FULL_DROP_NEWEST}});
    struct actor *actor;
    unsigned char *got = malloc(MB);
    int fd = stage_client(stage, 0, &actor);
    size_t len = read_through(fd, got, MB, true);
    assert_int_equal(len, atomic_load(&actor->number[0]));
    assert_int_equal(pattern_check(got, STREAM, 0, len), len); /* the first ones had room */
    raw_close(fd);
    free(got);
    sally_server_options wrong = {
        .conn = {.filters = filters, .filter_count = 2, .at_full = SALLY_FULL_DROP_OLDEST}};
    sally_handler handler = {.on_data = stage_ignore};
    assert_int_equal(sally_listen(stage->engine, "127.0.0.1:0", &handler, &wrong, NULL),
                     SALLY_EINVAL);
    wrong.conn.at_full = SALLY_FULL_FAIL;
    wrong.conn.memory_max = 16; /* the states alone have more */
    assert_int_equal(sally_listen(stage->engine, "127.0.0.1:0", &handler, &wrong, NULL),
                     SALLY_EINVAL);
    wrong.conn.memory_max = 0;
    wrong.conn.filter_count = 5;
    assert_int_equal(sally_listen(stage->engine, "127.0.0.1:0", &handler, &wrong, NULL),
                     SALLY_EINVAL);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(two_ends_with_stacks_exchange_streams),
    STAGE_TEST_ON(no_way_to_send_goes_past_them, 1),
    STAGE_TEST_ON(a_message_and_its_frame_pass_them, 1),
    STAGE_TEST(sends_by_id_and_to_many_pass_them),
    STAGE_TEST_ON(each_send_ends_with_a_flush, 1),
    STAGE_TEST_ON(what_becomes_less_gives_its_room_back, 1),
    STAGE_TEST_ON(who_was_refused_is_told_though_nothing_goes, 1),
    STAGE_TEST(a_group_may_have_members_with_and_without),
    STAGE_TEST_ON(room_is_what_a_send_may_become, 1),
    STAGE_TEST_ON(what_a_full_queue_lets_go_leaves_the_stream_whole, 1),
};

int main(int argc, char **argv)
{
    return stage_run("filter_send", tests, sizeof tests / sizeof *tests, argc, argv);
}
