/* Reading on demand (P-52): sally_conn_want on real ports. Header, then body, whatever the pieces;
 * asked from anywhere; with every end that a stream may have. */
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"
#include "sallyport/framing.h"

static const sally_framing demand = {.kind = SALLY_FRAMING_ON_DEMAND, .message_bytes_max = 70000};

enum { HEADER = 4, MESSAGES = 100, LONGEST = 60000 };

static struct stage *begin(const struct stage_way *way, sally_handler handler, void *user)
{
    return stage_begin(way, &(struct stage_options){
                                .handler = handler, .server.conn.framing = &demand, .user = user});
}

static void want(sally_conn *conn, uint32_t bytes)
{
    int err = sally_conn_want(conn, bytes);
    if (err) stage_wrong(actor_of(conn)->stage, "want %u: %s", bytes, sally_err_name(err));
}

/* ---- Header, then body ---- */

static uint32_t body_len(uint64_t n) { return (uint32_t)(n % 7 == 6 ? n * 149 % LONGEST : n % 50); }

static void want_header(sally_conn *conn) { want(conn, HEADER); }

/* number[0]: messages; number[1]: bytes of the pattern; number[2]: a body is wanted */
static void header_or_body(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    const unsigned char *bytes = data;
    uint64_t n = atomic_load(&actor->number[0]), offset = atomic_load(&actor->number[1]);
    if (!atomic_load(&actor->number[2])) {
        uint32_t body = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
                        (uint32_t)bytes[2] << 8 | bytes[3];
        STAGE_CHECK(actor->stage, len == HEADER);
        STAGE_CHECK(actor->stage, body == body_len(n));
        if (body) {
            atomic_store(&actor->number[2], 1);
            want(conn, body);
            return;
        }
    } else {
        STAGE_CHECK(actor->stage, len == body_len(n));
        STAGE_CHECK(actor->stage, pattern_check(data, 3, offset, len) == len);
    }
    atomic_store(&actor->number[2], 0);
    atomic_store(&actor->number[1], offset + body_len(n));
    atomic_store(&actor->number[0], n + 1);
    want(conn, HEADER);
}

static void send_bodies(int fd, struct lot *lot, uint32_t piece_max)
{
    unsigned char bytes[HEADER + LONGEST];
    uint64_t offset = 0;
    for (uint64_t n = 0; n < MESSAGES; n++) {
        uint32_t len = body_len(n);
        for (int i = 0; i < HEADER; i++) bytes[i] = (unsigned char)(len >> (24 - 8 * i));
        pattern_fill(bytes + HEADER, 3, offset, len);
        offset += len;
        for (size_t at = 0, piece; at < HEADER + len; at += piece) {
            piece = 1 + lot_below(lot, piece_max);
            if (piece > HEADER + len - at) piece = HEADER + len - at;
            assert_true(raw_send(fd, bytes + at, piece));
        }
    }
}

static void a_header_says_how_long_the_body_is(const struct stage_way *way)
{
    static const uint32_t pieces[] = {3, 700, 65536};
    struct lot lot = {stage_seed()};
    struct stage *stage =
        begin(way, (sally_handler){.on_open = want_header, .on_message = header_or_body}, NULL);
    for (unsigned i = 0; i < 3; i++) {
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        send_bodies(fd, &lot, pieces[i]);
        raw_finish(fd);
        const sally_close_info *info = actor_wait_closed(actor);
        assert_int_equal(info->reason, SALLY_CLOSE_PEER_CLOSED);
        assert_int_equal(info->bytes_truncated, 0);
        assert_int_equal(atomic_load(&actor->number[0]), MESSAGES);
        raw_close(fd);
    }
    stage_end(stage);
}

/* ---- Nothing wanted ---- */

static void count_bytes(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    uint64_t offset = atomic_load(&actor->number[0]);
    STAGE_CHECK(actor->stage, pattern_check(data, 5, offset, len) == len);
    atomic_store(&actor->number[0], offset + len);
}

static void want_five(sally_conn *conn, void *arg)
{
    (void)arg;
    if (!conn) return;
    want(conn, 5);
    if (sally_conn_want(conn, 5) != SALLY_ESTATE)
        stage_wrong(actor_of(conn)->stage, "it was wanted before");
}

/* The peer is held up, its end isn't told, and each call brings so much and no more: what came
 * before needs no new bytes to come. */
static void nothing_comes_unless_it_is_wanted(const struct stage_way *way)
{
    struct actor *actor;
    struct stage *stage = begin(way, (sally_handler){.on_message = count_bytes}, NULL);
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 12, 12));
    raw_finish(fd);
    for (int i = 0; i < 20; i++) stage_nap();
    assert_true(actor_is_quiet(actor));
    for (uint64_t asked = 1; asked <= 2; asked++) {
        assert_int_equal(sally_post(stage->engine, actor->id, want_five, NULL), 0);
        STAGE_WAIT(atomic_load(&actor->number[0]) == 5 * asked);
        for (int i = 0; i < 5; i++) stage_nap();
        assert_int_equal(atomic_load(&actor->number[0]), 5 * asked);
        assert_int_equal(atomic_load(&actor->eofs), 0);
    }
    assert_int_equal(sally_post(stage->engine, actor->id, want_five, NULL), 0);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(info->bytes_truncated, 2);
    assert_int_equal(atomic_load(&actor->number[0]), 10);
    raw_close(fd);
    stage_end(stage);
}

static void start_timer(sally_conn *conn)
{
    want(conn, 1);
    (void)sally_conn_timer(conn, 5);
}

static void want_more(sally_conn *conn)
{
    int err = sally_conn_want(conn, 1000);
    if (err && err != SALLY_ESTATE)
        stage_wrong(actor_of(conn)->stage, "want: %s", sally_err_name(err));
    (void)sally_conn_timer(conn, 2);
}

static void a_timer_may_ask(const struct stage_way *way)
{
    struct actor *actor;
    struct stage *stage = begin(
        way,
        (sally_handler){.on_open = start_timer, .on_timer = want_more, .on_message = count_bytes},
        NULL);
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 20001, 5000));
    STAGE_WAIT(atomic_load(&actor->number[0]) == 20001);
    assert_int_equal(atomic_load(&actor->messages), 21);
    raw_close(fd);
    stage_end(stage);
}

/* ---- Ends ---- */

static void close_on_message(sally_conn *conn, const void *data, size_t len)
{
    count_bytes(conn, data, len);
    want(conn, 3);
    sally_conn_close(conn);
    if (sally_conn_want(conn, 3) != SALLY_ECLOSED)
        stage_wrong(actor_of(conn)->stage, "it is closed");
}

static void a_close_ends_it_at_once(const struct stage_way *way)
{
    struct actor *actor;
    struct stage *stage =
        begin(way, (sally_handler){.on_open = want_header, .on_message = close_on_message}, NULL);
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 1000, 1000));
    raw_finish(fd);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_LOCAL);
    assert_int_equal(atomic_load(&actor->number[0]), HEADER);
    raw_close(fd);
    stage_end(stage);
}

static void at_eof(sally_conn *conn)
{
    atomic_store(&actor_of(conn)->number[1], sally_conn_message_bytes(conn));
    if (sally_conn_want(conn, 1) != SALLY_ECLOSED)
        stage_wrong(actor_of(conn)->stage, "nothing can come any more");
    sally_conn_close(conn);
}

static void an_end_in_the_middle_is_told(const struct stage_way *way)
{
    struct actor *actor;
    struct stage *stage = begin(
        way, (sally_handler){.on_open = want_header, .on_message = count_bytes, .on_eof = at_eof},
        NULL);
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 3, 1));
    raw_finish(fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_truncated, 3);
    assert_int_equal(atomic_load(&actor->number[1]), 3);
    assert_int_equal(atomic_load(&actor->messages), 0);
    raw_close(fd);
    stage_end(stage);
}

static void pause_and_want(sally_conn *conn, const void *data, size_t len)
{
    count_bytes(conn, data, len);
    want(conn, 2);
    if (atomic_load(&actor_of(conn)->number[0]) == HEADER) (void)sally_conn_pause(conn);
}

static void resume(sally_conn *conn, void *arg)
{
    (void)arg;
    if (conn) (void)sally_conn_resume(conn);
}

static void a_pause_holds_what_is_wanted(const struct stage_way *way)
{
    struct actor *actor;
    struct stage *stage =
        begin(way, (sally_handler){.on_open = want_header, .on_message = pause_and_want}, NULL);
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 10, 10));
    STAGE_WAIT(atomic_load(&actor->number[0]) == HEADER);
    for (int i = 0; i < 10; i++) stage_nap();
    assert_int_equal(atomic_load(&actor->number[0]), HEADER);
    assert_int_equal(sally_post(stage->engine, actor->id, resume, NULL), 0);
    STAGE_WAIT(atomic_load(&actor->number[0]) == 10);
    raw_close(fd);
    stage_end(stage);
}

/* ---- What is refused ---- */

static void want_wrong(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, sally_conn_want(conn, 0) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_want(NULL, 1) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_want(conn, 70001) == SALLY_ELIMIT);
    STAGE_CHECK(stage, sally_conn_send_message(conn, "x", 1) == SALLY_ENOTSUP);
    want(conn, 70000);
    STAGE_CHECK(stage, sally_conn_want(conn, 1) == SALLY_ESTATE);
}

static void want_without(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_want(conn, 1) == SALLY_ENOTSUP);
}

static void what_makes_no_sense_is_refused(const struct stage_way *way)
{
    struct actor *actor;
    struct stage *stage =
        begin(way, (sally_handler){.on_open = want_wrong, .on_message = count_bytes}, NULL);
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send_pattern(fd, 5, 0, 70000, 70000)); /* the largest there may be */
    STAGE_WAIT(atomic_load(&actor->number[0]) == 70000);
    assert_int_equal(atomic_load(&actor->messages), 1);
    raw_close(fd);
    stage_end(stage);
    stage = stage_begin(way, &(struct stage_options){.handler = {.on_open = want_without}});
    fd = stage_client(stage, 0, &actor);
    raw_close(fd);
    stage_end(stage);
}

int main(int argc, char **argv)
{
    static const struct stage_test tests[] = {
        STAGE_TEST_ON(a_header_says_how_long_the_body_is, 3),
        STAGE_TEST_ON(nothing_comes_unless_it_is_wanted, 1),
        STAGE_TEST_ON(a_timer_may_ask, 1),
        STAGE_TEST_ON(a_close_ends_it_at_once, 1),
        STAGE_TEST_ON(an_end_in_the_middle_is_told, 1),
        STAGE_TEST_ON(a_pause_holds_what_is_wanted, 1),
        STAGE_TEST_ON(what_makes_no_sense_is_refused, 1),
    };
    return stage_run("net/want", tests, sizeof tests / sizeof *tests, argc, argv);
}
