/* Sending messages: as one unit, from callbacks and from any thread; what is refused, and when; and
 * which framings a server or a connection may have. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"
#include "sallyport/bytes.h"
#include "sallyport/framing.h"

enum { KB = 1024, HEADER = 4 };

static const sally_framing length = {.kind = SALLY_FRAMING_LENGTH};

static void take(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    (void)data;
    (void)len;
}

/* The next frame of the peer's stream, with a header of 32 bits; its length. */
static uint32_t read_frame(int fd, unsigned char *payload, uint32_t room)
{
    unsigned char header[HEADER];
    assert_true(raw_read(fd, header, sizeof header));
    uint32_t len = (uint32_t)header[0] << 24 | (uint32_t)header[1] << 16 |
                   (uint32_t)header[2] << 8 | header[3];
    assert_true(len <= room);
    if (len) assert_true(raw_read(fd, payload, len));
    return len;
}

/* ---- From callbacks ---- */

static void echo(sally_conn *conn, const void *data, size_t len)
{
    int err = sally_conn_send_message(conn, data, len);
    if (err) stage_wrong(actor_of(conn)->stage, "send: %s", sally_err_name(err));
}

struct writer {
    int fd;
    uint64_t bytes;
    const unsigned char *stream;
    bool done;
};

static void *write_slowly(void *arg)
{
    struct writer *writer = arg;
    struct lot lot = {writer->bytes};
    writer->done = true;
    for (uint64_t at = 0; at < writer->bytes && writer->done;) {
        uint64_t piece = 1 + lot_below(&lot, 60000);
        if (piece > writer->bytes - at) piece = writer->bytes - at;
        writer->done = raw_send(writer->fd, writer->stream + at, piece);
        at += piece;
    }
    return NULL;
}

/* The queue has room for a few messages only, and a receive brings many: reading pauses between two
 * messages of one receive, so no echo is ever refused, and nothing is lost. */
static void an_echo_never_overruns_its_queue(const struct stage_way *way)
{
    enum { MOST = 3 * KB };
    uint64_t wanted = stage_scaled(4 * 1024 * KB), bytes = 0;
    struct lot lot = {stage_seed()};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_message = echo,
                                                 .server.conn = {.framing = &length,
                                                                 .send_bytes_max = 16 * KB,
                                                                 .send_high_bytes = 8 * KB,
                                                                 .send_buf_bytes = 4 * KB}});
    unsigned char *stream = malloc(wanted + MOST + HEADER);
    assert_non_null(stream);
    while (bytes < wanted) {
        uint32_t len = lot_below(&lot, MOST);
        memcpy(stream + bytes,
               (unsigned char[]){0, 0, (unsigned char)(len >> 8), (unsigned char)len}, HEADER);
        pattern_fill(stream + bytes + HEADER, 3, bytes, len);
        bytes += HEADER + len;
    }
    struct actor *actor;
    struct writer writer = {
        .fd = stage_client(stage, 4 * KB, &actor), .bytes = bytes, .stream = stream};
    pthread_t thread = stage_thread(write_slowly, &writer);
    unsigned char *answer = malloc(bytes);
    assert_non_null(answer);
    assert_true(raw_read(writer.fd, answer, bytes));
    assert_memory_equal(answer, stream, bytes);
    pthread_join(thread, NULL);
    assert_true(writer.done);
    raw_close(writer.fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_truncated, 0);
    free(answer);
    free(stream);
    stage_end(stage);
}

/* What doesn't fit leaves no header behind. */
static void fill_the_queue(sally_conn *conn)
{
    static const char payload[700] = "";
    struct actor *actor = actor_of(conn);
    int err;
    while ((err = sally_conn_send_message(conn, payload, sizeof payload)) == 0)
        atomic_fetch_add(&actor->number[0], 1);
    STAGE_CHECK(actor->stage, err == SALLY_EFULL);
    STAGE_CHECK(actor->stage,
                sally_conn_queued(conn) == atomic_load(&actor->number[0]) * (HEADER + 700));
    STAGE_CHECK(actor->stage, sally_conn_send_message(conn, payload, 0) == 0);
    static const char longer[16 * KB] = "";
    STAGE_CHECK(actor->stage, sally_conn_send_message(conn, longer, sizeof longer) == SALLY_ELIMIT);
}

static void a_message_is_sent_whole_or_not_at_all(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way,
        &(struct stage_options){.handler = {.on_open = fill_the_queue, .on_message = take},
                                .server.conn = {.framing = &length, .send_bytes_max = 10 * KB}});
    struct actor *actor;
    unsigned char payload[700];
    int fd = stage_client(stage, 0, &actor);
    uint64_t count = atomic_load(&actor->number[0]);
    assert_int_equal(count, 10 * KB / (HEADER + 700));
    while (count--) assert_int_equal(read_frame(fd, payload, sizeof payload), 700);
    assert_int_equal(read_frame(fd, payload, sizeof payload), 0);
    raw_close(fd);
    actor_wait_closed(actor);
    stage_end(stage);
}

static void try_wrong_ones(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    bool framed = stage->handler.on_message != NULL;
    STAGE_CHECK(stage, sally_conn_send_message(NULL, "", 0) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_send_message(conn, NULL, 1) == SALLY_EINVAL);
    if (!framed) STAGE_CHECK(stage, sally_conn_send_message(conn, "a", 1) == SALLY_ENOTSUP);
    if (!framed) STAGE_CHECK(stage, sally_conn_message_bytes(conn) == 0);
    if (framed) STAGE_CHECK(stage, sally_conn_send_message(conn, "a\n", 2) == SALLY_EINVAL);
    if (framed) STAGE_CHECK(stage, sally_conn_send_message(conn, NULL, 0) == 0);
    STAGE_CHECK(stage, sally_conn_queued(conn) == (framed ? 1 : 0));
    sally_conn_close(conn);
    STAGE_CHECK(stage,
                sally_conn_send_message(conn, "a", 1) == (framed ? SALLY_ECLOSED : SALLY_ENOTSUP));
}

static void what_the_peer_could_not_read_is_refused(const struct stage_way *way)
{
    static const sally_framing line = {.kind = SALLY_FRAMING_LINE};
    for (int framed = 0; framed < 2; framed++) {
        struct stage *stage = stage_begin(
            way, &(struct stage_options){
                     .handler = {.on_open = try_wrong_ones, .on_message = framed ? take : NULL},
                     .server.conn.framing = framed ? &line : NULL});
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        raw_close(fd);
        actor_wait_closed(actor);
        stage_end(stage);
    }
}

/* S2-58: header and payload are written where they are sent from. */
static void answer_in_place(sally_conn *conn, const void *data, size_t len)
{
    struct stage *stage = actor_of(conn)->stage;
    sally_buf *buf = sally_buf_create(stage->engine, HEADER + 1 + len);
    if (!buf) abort();
    sally_writer writer = sally_writer_over(sally_buf_data(buf), sally_buf_len(buf));
    sally_write_u32_be(&writer, (uint32_t)len + 1);
    sally_write_u8(&writer, '>');
    sally_write_bytes(&writer, data, len);
    STAGE_CHECK(stage, writer.error == 0 && writer.len == sally_buf_len(buf));
    STAGE_CHECK(stage, sally_conn_send_buf(conn, buf) == 0);
    sally_buf_release(buf);
}

static void a_writer_fills_what_is_sent(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_message = answer_in_place,
                                                 .server.conn.framing = &length});
    unsigned char answer[6];
    int fd = stage_client(stage, 0, NULL);
    assert_true(raw_send(fd, "\0\0\0\5hello\0\0\0\0", 13));
    assert_int_equal(read_frame(fd, answer, sizeof answer), 6);
    assert_memory_equal(answer, ">hello", 6);
    assert_int_equal(read_frame(fd, answer, sizeof answer), 1);
    raw_close(fd);
    stage_end(stage);
}

static void send_as_it_is(sally_conn *conn, const void *data, size_t len)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, data, len) == 0);
}

/* The first message of a receive is sent from where it lies, without a copy; those behind it in the
 * same buffer, and what a pause leaves of it, are still read after. */
static void a_message_may_be_sent_from_where_it_lies(const struct stage_way *way)
{
    static const sally_framing line = {.kind = SALLY_FRAMING_LINE, .keep_frame = true};
    const size_t bytes = (size_t)stage_scaled(2048 * KB);
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_message = send_as_it_is,
                                                 .server.conn = {.framing = &line,
                                                                 .send_bytes_max = 64 * KB,
                                                                 .send_buf_bytes = 4 * KB}});
    struct lot lot = {stage_seed()};
    unsigned char *stream = malloc(bytes), *answer = malloc(bytes);
    assert_true(stream && answer);
    for (size_t at = 0; at < bytes; at++) stream[at] = (unsigned char)('a' + at % 23);
    for (size_t at = 0; at < bytes; at += 1 + lot_below(&lot, 5000)) stream[at] = '\n';
    stream[bytes - 1] = '\n';
    struct writer writer = {
        .fd = stage_client(stage, 4 * KB, NULL), .bytes = bytes, .stream = stream};
    pthread_t thread = stage_thread(write_slowly, &writer);
    assert_true(raw_read(writer.fd, answer, bytes));
    assert_memory_equal(answer, stream, bytes);
    pthread_join(thread, NULL);
    raw_close(writer.fd);
    free(answer);
    free(stream);
    stage_end(stage);
}

/* ---- From any thread ---- */

struct teller {
    struct stage *stage;
    sally_id id;
    unsigned char number;
    unsigned messages;
};

/* Message n of thread t: t, n in 32 bits, then bytes t. */
static void *tell(void *arg)
{
    struct teller *teller = arg;
    unsigned char payload[300];
    struct lot lot = {teller->number};
    memset(payload, teller->number, sizeof payload);
    for (uint32_t n = 0; n < teller->messages;) {
        memcpy(payload + 1, &n, sizeof n);
        size_t len = 5 + lot_below(&lot, sizeof payload - 5);
        int err = sally_send_message(teller->stage->engine, teller->id, payload, len);
        if (err == 0) n++;
        if (err == SALLY_EFULL) stage_nap();
        if (err && err != SALLY_EFULL) {
            stage_wrong(teller->stage, "send: %s", sally_err_name(err));
            break;
        }
    }
    return NULL;
}

static void messages_of_many_threads_stay_whole_and_in_order(const struct stage_way *way)
{
    enum { TELLERS = 4 };
    const unsigned messages = (unsigned)stage_scaled(5000);
    struct stage *stage = stage_begin(
        way,
        &(struct stage_options){.handler.on_message = take,
                                .server.conn = {.framing = &length, .send_bytes_max = 64 * KB}});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    pthread_t threads[TELLERS];
    struct teller tellers[TELLERS];
    uint32_t next[TELLERS] = {0};
    for (unsigned i = 0; i < TELLERS; i++) {
        tellers[i] = (struct teller){stage, actor->id, (unsigned char)i, messages};
        threads[i] = stage_thread(tell, &tellers[i]);
    }
    for (unsigned i = 0; i < TELLERS * messages; i++) {
        unsigned char payload[300];
        uint32_t len = read_frame(fd, payload, sizeof payload), n;
        assert_true(len >= 5 && payload[0] < TELLERS);
        memcpy(&n, payload + 1, sizeof n);
        assert_int_equal(n, next[payload[0]]++);
        for (uint32_t at = 5; at < len; at++) assert_int_equal(payload[at], payload[0]);
    }
    for (unsigned i = 0; i < TELLERS; i++) pthread_join(threads[i], NULL);
    raw_close(fd);
    actor_wait_closed(actor);
    assert_int_equal(sally_send_message(stage->engine, actor->id, "x", 1), SALLY_ENOCONN);
    stage_end(stage);
}

static void by_id_a_message_is_judged_at_once(const struct stage_way *way)
{
    sally_framing small = length;
    small.message_bytes_max = 100;
    small.refuse_empty = true;
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_message = take, .server.conn.framing = &small});
    struct actor *actor;
    static const char payload[200];
    unsigned char answer[100];
    int fd = stage_client(stage, 0, &actor);
    sally_engine *engine = stage->engine;
    assert_int_equal(sally_send_message(engine, actor->id, payload, 97), SALLY_ELIMIT);
    assert_int_equal(sally_send_message(engine, actor->id, payload, 0), SALLY_EINVAL);
    assert_int_equal(sally_send_message(engine, actor->id, NULL, 1), SALLY_EINVAL);
    assert_int_equal(sally_send_message(NULL, actor->id, payload, 1), SALLY_EINVAL);
    assert_int_equal(sally_send_message(engine, 0, payload, 1), SALLY_ENOCONN);
    assert_int_equal(sally_send_message(engine, actor->id ^ (sally_id)2 << 32, payload, 1),
                     SALLY_ENOCONN);
    assert_int_equal(sally_send_message(engine, actor->id, payload, 96), 0);
    assert_int_equal(read_frame(fd, answer, sizeof answer), 96);
    raw_close(fd);
    actor_wait_closed(actor);
    stage_end(stage);
}

/* ---- Outgoing connections ---- */

static void ask(sally_conn *conn)
{
    if (sally_conn_server(conn)) return;
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send_message(conn, "ping", 4) == 0);
}

static void answer_or_close(sally_conn *conn, const void *data, size_t len)
{
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, len == 4);
    if (sally_conn_server(conn)) {
        STAGE_CHECK(stage, memcmp(data, "ping", 4) == 0);
        STAGE_CHECK(stage, sally_conn_send_message(conn, "pong", 4) == 0);
        return;
    }
    STAGE_CHECK(stage, memcmp(data, "pong", 4) == 0);
    sally_conn_close(conn);
}

static void both_ends_may_be_framed(const struct stage_way *way)
{
    sally_framing pack = sally_framing_hp_pack(7, 0);
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler = {.on_open = ask, .on_message = answer_or_close},
                                     .server.conn.framing = &pack});
    sally_connect_options options = {.conn.framing = &pack};
    for (int i = 0; i < 10; i++)
        assert_int_equal(stage_connect(stage, stage->address, &options, NULL), 0);
    STAGE_WAIT(atomic_load(&stage->closed) == 20);
    stage_end(stage);
}

/* ---- What is judged when a server is made ---- */

static int listened(struct stage *stage, const sally_framing *framing, bool on_data,
                    bool on_message)
{
    sally_handler handler = {.on_data = on_data ? take : NULL,
                             .on_message = on_message ? take : NULL};
    sally_server_options options = {.conn.framing = framing};
    sally_server *server = NULL;
    int err = sally_listen(stage->engine, "127.0.0.1:0", &handler, &options, &server);
    if (!err) assert_int_equal(sally_server_close(server), 0);
    return err;
}

static void nonsense_is_refused_at_once(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){0});
    sally_framing wrong = {.kind = SALLY_FRAMING_FIXED};
    static const sally_framing none = {0};
    assert_int_equal(listened(stage, &wrong, false, true), SALLY_EINVAL);
    assert_int_equal(listened(stage, &length, true, false), SALLY_EINVAL); /* would hear nothing */
    assert_int_equal(listened(stage, NULL, false, true), SALLY_EINVAL);
    assert_int_equal(listened(stage, &none, false, true), SALLY_EINVAL);
    assert_int_equal(listened(stage, &none, true, false), 0);
    assert_int_equal(listened(stage, &length, true, true), 0);
    assert_int_equal(listened(stage, NULL, true, true), 0);
    assert_int_equal(listened(stage, &length, false, false), 0);
    sally_connect_options options = {.conn.framing = &wrong};
    assert_int_equal(stage_connect(stage, stage->address, &options, NULL), SALLY_EINVAL);
    stage_end(stage);
}

/* The description is copied; equal ones are kept once, and there is a limit for different ones. */
static void an_engine_keeps_each_framing_once(const struct stage_way *way)
{
    enum { MOST = 256 };
    struct stage *stage = stage_begin(way, &(struct stage_options){0});
    char end[] = "ab";
    sally_framing plain = {.kind = SALLY_FRAMING_DELIMITER, .end = end, .end_bytes = 2};
    assert_int_equal(listened(stage, &plain, false, true), 0);
    end[0] = 'x'; /* ours again */
    for (uint32_t i = 1; i < MOST; i++) {
        plain.message_bytes_max = 100 + i;
        assert_int_equal(listened(stage, &plain, false, true), 0);
        assert_int_equal(listened(stage, &plain, false, true), 0);
    }
    plain.message_bytes_max = 99;
    assert_int_equal(listened(stage, &plain, false, true), SALLY_ELIMIT);
    plain.message_bytes_max = 0;
    assert_int_equal(listened(stage, &plain, false, true), SALLY_ELIMIT); /* "xb" is new */
    end[0] = 'a';
    assert_int_equal(listened(stage, &plain, false, true), 0);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(an_echo_never_overruns_its_queue),
    STAGE_TEST_ON(a_message_is_sent_whole_or_not_at_all, 1),
    STAGE_TEST_ON(what_the_peer_could_not_read_is_refused, 1),
    STAGE_TEST_ON(a_writer_fills_what_is_sent, 1),
    STAGE_TEST(a_message_may_be_sent_from_where_it_lies),
    STAGE_TEST(messages_of_many_threads_stay_whole_and_in_order),
    STAGE_TEST(by_id_a_message_is_judged_at_once),
    STAGE_TEST(both_ends_may_be_framed),
    STAGE_TEST_ON(nonsense_is_refused_at_once, 1),
    STAGE_TEST_ON(an_engine_keeps_each_framing_once, 1),
};

int main(int argc, char **argv)
{
    return stage_run("framing_send", tests, sizeof tests / sizeof *tests, argc, argv);
}
