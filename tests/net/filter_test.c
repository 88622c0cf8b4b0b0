/* Filters between the wire and the program (P-54): every way to send goes through them, what comes
 * waits where the program stops, limits and budgets hold. Their ends and errors are in
 * filter_end_test.c. */
#include <stdlib.h>
#include <string.h>

#include "net/support/cast.h"
#include "net/support/mill.h"
#include "sallyport/flow.h"
#include "sallyport/framing.h"
#include "sallyport/rate.h"

enum { KB = 1024, MB = 1024 * KB, STREAM = 9 };

static unsigned char key = 0x21;

/* ---- Both ends ---- */

/* number[0]: bytes that have come back in order; number[1]: bytes sent; number[2]: done calls. */
enum { LETTERS = 400, LETTER_MAX = 3000 };

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
    assert_memory_not_equal(hidden, "hello", 5);
    (void)mill(xor_in, &xor, hidden, 5, false, shown, sizeof shown + 1);
    assert_memory_equal(shown, "hello", 5);
    raw_close(fd);
    raw_close(other_fd);
    stage_end(stage);
}

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

static uint64_t server_bytes_in(const struct stage *stage)
{
    sally_engine_stats stats;
    assert_int_equal(sally_engine_get_stats(stage->engine, &stats), 0);
    return stats.bytes_in;
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
    STAGE_WAIT(server_bytes_in(stage) == 1);
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

/* A limit for bytes a second counts what was on the wire: 100 bytes in portions of at most 20, of
 * which each makes much. */
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
    STAGE_TEST(two_ends_with_stacks_exchange_streams),
    STAGE_TEST_ON(no_way_to_send_goes_past_them, 1),
    STAGE_TEST_ON(a_message_and_its_frame_pass_them, 1),
    STAGE_TEST(sends_by_id_and_to_many_pass_them),
    STAGE_TEST(a_group_may_have_members_with_and_without),
    STAGE_TEST_ON(a_bomb_is_delivered_in_pieces_and_grows_no_memory, 1),
    STAGE_TEST_ON(a_bomb_that_is_sent_back_waits_for_its_reader, 1),
    STAGE_TEST_ON(a_bomb_doesnt_hold_up_others, 1),
    STAGE_TEST_ON(pauses_lose_and_double_nothing, 1),
    STAGE_TEST_ON(an_end_in_on_data_is_the_last_of_it, 1),
    STAGE_TEST_ON(room_is_what_a_send_may_become, 1),
    STAGE_TEST_ON(what_a_full_queue_lets_go_leaves_the_stream_whole, 1),
    STAGE_TEST_ON(rates_are_of_the_wire, 1),
    STAGE_TEST_ON(states_count_in_budgets, 1),
};

int main(int argc, char **argv)
{
    return stage_run("filter", tests, sizeof tests / sizeof *tests, argc, argv);
}
