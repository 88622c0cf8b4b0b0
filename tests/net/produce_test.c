/* Content that is made while it is sent (P-70). */
#include <stdlib.h>
#include <string.h>

#include "sallyport/flow.h"
#include "support/raw.h"
#include "support/stage.h"

enum { KB = 1024, MB = 1024 * KB, QUEUE_MAX = 64 * KB, QUEUE_LOW = QUEUE_MAX / 16, STREAM = 5 };

/* ---- A maker ---- */

/* One content; `arg` of its producer. number[0] of the actor: contents that were done, number[1]:
 * the error of the last, negated; number[2]: calls of producers. */
struct content {
    uint64_t at, end; /* of the pattern */
    struct lot lot;
    int64_t last;                   /* what to say at the end */
    int (*after)(sally_conn *conn); /* once it is done without error */
    bool asleep;
    bool sleeps; /* says 0 now and then, and a timer goes on */
};

static int64_t make(sally_conn *conn, void *arg, void *into, size_t room)
{
    struct content *content = arg;
    struct stage *stage = actor_of(conn)->stage;
    atomic_fetch_add(&actor_of(conn)->number[2], 1);
    STAGE_CHECK(stage, room >= 256 && room <= 4096);
    STAGE_CHECK(stage, sally_conn_queued(conn) <= QUEUE_LOW);
    STAGE_CHECK(stage, !content->asleep);
    if (content->at == content->end) return content->last;
    if (content->sleeps && !lot_below(&content->lot, 40)) {
        content->asleep = true;
        STAGE_CHECK(stage, sally_conn_timer(conn, 1) == 0);
        return 0;
    }
    size_t len = 1 + lot_below(&content->lot, (uint32_t)room);
    if (!lot_below(&content->lot, 3)) len = room;
    if (len > content->end - content->at) len = content->end - content->at;
    pattern_fill(into, STREAM, content->at, len);
    content->at += len;
    return (int64_t)len;
}

static void wake(sally_conn *conn)
{
    struct content *content = actor_of(conn)->user;
    content->asleep = false;
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce_more(conn) == 0);
}

static void made(sally_conn *conn, void *arg, int error)
{
    struct content *content = arg;
    struct actor *actor = actor_of(conn);
    int (*after)(sally_conn *) = content->after;
    STAGE_CHECK(actor->stage, !atomic_load(&actor->closes));
    STAGE_CHECK(actor->stage, error || content->at == content->end);
    free(content);
    actor->user = NULL;
    atomic_store(&actor->number[1], (uint64_t)-error);
    atomic_fetch_add(&actor->number[0], 1);
    if (!error && after) STAGE_CHECK(actor->stage, after(conn) == 0);
}

/* From byte `at` of the pattern on. */
static struct content *produce(sally_conn *conn, uint64_t at, uint64_t len, uint32_t close_ms)
{
    struct actor *actor = actor_of(conn);
    struct content *content = calloc(1, sizeof *content);
    if (!content) abort();
    *content = (struct content){
        .at = at, .end = at + len, .lot = {actor->index + 1}, .last = SALLY_PRODUCED_END};
    actor->user = content;
    uint64_t calls = atomic_load(&actor->number[2]);
    sally_producer producer = {make, made, content, close_ms};
    STAGE_CHECK(actor->stage, sally_conn_produce(conn, &producer) == 0);
    STAGE_CHECK(actor->stage, atomic_load(&actor->number[2]) == calls); /* not inside the call */
    return content;
}

static struct stage *begin(const struct stage_way *way, void (*on_open)(sally_conn *conn))
{
    return stage_begin(way,
                       &(struct stage_options){.handler = {.on_open = on_open, .on_timer = wake},
                                               .server.conn.send_bytes_max = QUEUE_MAX});
}

/* The client reads the pattern to the FIN, and the content was done without error. */
static void check_whole(struct stage *stage, uint64_t len, unsigned contents)
{
    struct actor *actor;
    uint64_t bytes = 0;
    int fd = stage_client(stage, 0, &actor);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
    raw_close(fd);
    assert_int_equal(bytes, len);
    (void)actor_wait_closed(actor);
    assert_int_equal(atomic_load(&actor->number[0]), contents);
    assert_int_equal(atomic_load(&actor->number[1]), 0);
}

static void send_pattern(sally_conn *conn, uint64_t at, size_t len)
{
    unsigned char bytes[1000];
    pattern_fill(bytes, STREAM, at, len);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, bytes, len) == 0);
}

/* ---- Content ---- */

enum { LONG_BYTES = 4 * MB };

static int tail_and_close(sally_conn *conn)
{
    send_pattern(conn, 1000 + LONG_BYTES, 1000);
    return sally_conn_close(conn);
}

static void send_long(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    sally_bytes piece = {"x", 1};
    send_pattern(conn, 0, 1000);
    struct content *content = produce(conn, 1000, LONG_BYTES, 0);
    content->after = tail_and_close;
    content->sleeps = actor_of(conn)->index % 2;
    STAGE_CHECK(stage, sally_conn_send(conn, "x", 1) == SALLY_ESTATE);
    STAGE_CHECK(stage, sally_conn_send_some(conn, "x", 1) == SALLY_ESTATE);
    STAGE_CHECK(stage, sally_conn_sendv(conn, &piece, 1) == SALLY_ESTATE);
    STAGE_CHECK(stage, sally_conn_send_owned(conn, "x", 1, NULL, NULL) == SALLY_ESTATE);
    sally_producer second = {make, made, NULL, 0};
    STAGE_CHECK(stage, sally_conn_produce(conn, &second) == SALLY_ESTATE);
}

static void content_of_any_length_goes_in_order_from_a_short_queue(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_long);
    for (int i = 0; i < 2; i++) check_whole(stage, LONG_BYTES + 2000, 1);
    stage_end(stage);
}

enum { PARTS = 20, PART_BYTES = 5000 };

static int next_part(sally_conn *conn)
{
    uint64_t parts = atomic_load(&actor_of(conn)->number[0]);
    if (parts == PARTS) return sally_conn_close(conn);
    produce(conn, parts * PART_BYTES, PART_BYTES, 0)->after = next_part;
    return 0;
}

static void send_parts(sally_conn *conn) { (void)next_part(conn); }

static void the_next_content_may_begin_when_one_is_done(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_parts);
    check_whole(stage, PARTS * PART_BYTES, PARTS);
    stage_end(stage);
}

static void send_corked(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    STAGE_CHECK(stage, sally_conn_cork(conn) == 0);
    send_pattern(conn, 0, 1000);
    produce(conn, 1000, MB, 0)->after = sally_conn_close;
}

static void a_cork_doesnt_stop_it(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_corked);
    check_whole(stage, MB + 1000, 1);
    stage_end(stage);
}

/* ---- Nothing now ---- */

/* number[3]: calls of the producer while it is asleep. It says 0 twice: once it has woken itself
 * before, once it waits for the timer. */
static int64_t make_late(sally_conn *conn, void *arg, void *into, size_t room)
{
    struct actor *actor = actor_of(conn);
    (void)arg;
    (void)room;
    switch (atomic_fetch_add(&actor->number[2], 1)) {
    case 0: STAGE_CHECK(actor->stage, sally_conn_produce_more(conn) == 0); return 0;
    case 1: STAGE_CHECK(actor->stage, sally_conn_timer(conn, 50) == 0); return 0;
    case 2:
        STAGE_CHECK(actor->stage, atomic_load(&actor->timers) == 1);
        memcpy(into, "late", 4);
        return 4;
    default: return SALLY_PRODUCED_END;
    }
}

static void late_is_made(sally_conn *conn, void *arg, int error)
{
    (void)arg;
    STAGE_CHECK(actor_of(conn)->stage, error == 0);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce_more(conn) == SALLY_ESTATE);
    sally_conn_close(conn);
}

static void send_late(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce_more(conn) == SALLY_ESTATE);
    sally_producer producer = {.produce = make_late, .done = late_is_made};
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce(conn, &producer) == 0);
}

static void go_on_late(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce_more(conn) == 0);
}

/* Bytes that come meanwhile mark the connection: that must not wake it. */
static void drop_data(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    STAGE_CHECK(actor_of(conn)->stage, atomic_load(&actor_of(conn)->number[2]) == 2);
}

static void who_has_nothing_is_not_asked_before_it_says_so(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){
                 .handler = {.on_open = send_late, .on_data = drop_data, .on_timer = go_on_late}});
    struct actor *actor;
    char got[8];
    int fd = stage_client(stage, 0, &actor);
    STAGE_WAIT(atomic_load(&actor->number[2]) == 2);
    assert_true(raw_send(fd, "x", 1));
    assert_true(raw_read(fd, got, 4));
    assert_memory_equal(got, "late", 4);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    stage_end(stage);
}

/* ---- It fails ---- */

static const int64_t answers[] = {SALLY_EFILE, -1, INT64_MIN, 1 << 20};
static const int errors[] = {SALLY_EFILE, SALLY_EINVAL, SALLY_EINVAL, SALLY_EINVAL};

static void send_and_fail(sally_conn *conn)
{
    produce(conn, 0, 100 * KB, 0)->last = answers[actor_of(conn)->index];
}

static void a_producer_that_fails_resets(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_and_fail);
    for (unsigned i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, NULL)), "RST");
        raw_close(fd);
        const sally_close_info *info = actor_wait_closed(actor);
        assert_int_equal(info->reason, SALLY_CLOSE_PRODUCER);
        assert_int_equal(info->error, errors[i]);
        assert_int_equal(atomic_load(&actor->number[0]), 1);
        assert_int_equal(-(int)atomic_load(&actor->number[1]), errors[i]);
    }
    stage_end(stage);
}

/* It ends the connection and says that it has made something. */
static int64_t make_and_abort(sally_conn *conn, void *arg, void *into, size_t room)
{
    (void)arg;
    memset(into, 'x', room);
    sally_conn_abort(conn);
    return (int64_t)room;
}

static void told_closed(sally_conn *conn, void *arg, int error)
{
    (void)arg;
    STAGE_CHECK(actor_of(conn)->stage, error == SALLY_ECLOSED);
    sally_producer producer = {.produce = make_and_abort};
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce(conn, &producer) == SALLY_ECLOSED);
    atomic_fetch_add(&actor_of(conn)->number[0], 1);
}

static void send_and_abort(sally_conn *conn)
{
    sally_producer producer = {.produce = make_and_abort, .done = told_closed};
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce(conn, &producer) == 0);
}

static void a_producer_may_abort(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_and_abort);
    struct actor *actor;
    uint64_t bytes = 0;
    int fd = stage_client(stage, 0, &actor);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "RST");
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_ABORTED);
    assert_int_equal(actor->info.bytes_unsent, 0); /* that piece was not taken */
    assert_int_equal(bytes, 0);
    assert_int_equal(atomic_load(&actor->number[0]), 1);
    stage_end(stage);
}

static void send_endless(sally_conn *conn) { produce(conn, 0, UINT64_MAX / 2, 100); }

static void an_end_from_outside_tells_it_before_on_close(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_endless);
    for (int i = 0; i < 4; i++) {
        struct actor *actor;
        int fd = stage_client(stage, 2048, &actor); /* a reader that is stuck */
        STAGE_WAIT(atomic_load(&actor->number[2]) > 1);
        if (i % 2)
            raw_reset(fd);
        else
            assert_int_equal(sally_abort(stage->engine, actor->id), 0);
        const sally_close_info *info = actor_wait_closed(actor);
        if (i % 2 == 0) raw_close(fd);
        assert_int_equal(atomic_load(&actor->number[0]), 1);
        assert_int_equal(-(int)atomic_load(&actor->number[1]),
                         info->error ? info->error : SALLY_ECLOSED);
        assert_true(info->bytes_unsent <= QUEUE_LOW + 4096);
    }
    stage_end(stage);
}

/* ---- Gentle ends ---- */

enum { HOW_CLOSE, HOW_SHUTDOWN, HOW_BOTH, HOW_PEER, HOWS };

static void send_then_end(sally_conn *conn)
{
    unsigned how = actor_of(conn)->index;
    produce(conn, 0, MB, 0);
    if (how == HOW_CLOSE || how == HOW_BOTH) sally_conn_close(conn);
    if (how == HOW_SHUTDOWN) STAGE_CHECK(actor_of(conn)->stage, sally_conn_shutdown(conn) == 0);
    sally_producer second = {make, made, NULL, 0};
    if (how != HOW_PEER)
        STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce(conn, &second) == SALLY_ECLOSED);
}

static void a_gentle_end_waits_for_it(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_then_end);
    for (unsigned how = 0; how < HOWS; how++) {
        struct actor *actor;
        uint64_t bytes = 0;
        int fd = stage_client(stage, 0, &actor);
        if (how >= HOW_BOTH) raw_finish(fd);
        assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
        raw_close(fd);
        assert_int_equal(bytes, MB);
        (void)actor_wait_closed(actor);
        assert_int_equal(atomic_load(&actor->number[0]), 1);
        assert_int_equal(atomic_load(&actor->number[1]), 0);
    }
    stage_end(stage);
}

static int64_t make_nothing(sally_conn *conn, void *arg, void *into, size_t room)
{
    atomic_fetch_add(&actor_of(conn)->number[2], 1);
    (void)arg;
    (void)into;
    (void)room;
    return 0;
}

static void told_timed_out(sally_conn *conn, void *arg, int error)
{
    (void)arg;
    STAGE_CHECK(actor_of(conn)->stage, error == SALLY_ETIMEDOUT);
    atomic_fetch_add(&actor_of(conn)->number[0], 1);
}

/* Nothing, or content without end. */
static void send_without_end(sally_conn *conn)
{
    sally_producer producer = {.produce = make_nothing, .done = told_timed_out, .close_ms = 100};
    if (actor_of(conn)->index % 2)
        send_endless(conn);
    else
        STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce(conn, &producer) == 0);
    sally_conn_close(conn);
}

static void after_close_ms_the_peer_sees_that_it_was_cut(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_without_end);
    for (int i = 0; i < 2; i++) {
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, NULL)), "RST");
        raw_close(fd);
        const sally_close_info *info = actor_wait_closed(actor);
        assert_int_equal(info->reason, SALLY_CLOSE_LINGER_TIMEOUT);
        assert_int_equal(info->error, SALLY_ETIMEDOUT);
        assert_int_equal(atomic_load(&actor->number[0]), 1);
        assert_true(atomic_load(&actor->number[2]) > 0);
    }
    stage_end(stage);
}

static void send_for_drain(sally_conn *conn) { produce(conn, 0, LONG_BYTES, 0); }

static void a_drain_lets_it_finish(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_for_drain);
    struct actor *actor;
    uint64_t bytes = 0;
    int fd = stage_client(stage, 4096, &actor);
    STAGE_WAIT(atomic_load(&actor->number[2]) > 1);
    assert_int_equal(sally_engine_drain(stage->engine, STAGE_LIMIT_MS), 0);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
    raw_close(fd);
    assert_int_equal(bytes, LONG_BYTES);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_SHUTDOWN);
    assert_int_equal(atomic_load(&actor->number[1]), 0);
    stage_end(stage);
}

/* ---- Others' sends ---- */

enum { UNIT = 16, UNITS = 20000, MARKS = 200 };

/* Whole units, numbered. */
static int64_t make_units(sally_conn *conn, void *arg, void *into, size_t room)
{
    static const unsigned most = 8;
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->number[2]), units = room / UNIT < most ? room / UNIT : most;
    (void)arg;
    if (at == UNITS) return atomic_load(&actor->number[3]) ? SALLY_PRODUCED_END : 0;
    if (units > UNITS - at) units = UNITS - at;
    for (uint64_t i = 0; i < units; i++, into = (char *)into + UNIT) {
        uint64_t unit[2] = {'u', at + i};
        memcpy(into, unit, UNIT);
    }
    atomic_store(&actor->number[2], at + units);
    return (int64_t)(units * UNIT);
}

static void units_made(sally_conn *conn, void *arg, int error)
{
    (void)arg;
    STAGE_CHECK(actor_of(conn)->stage, error == 0);
    sally_conn_close(conn);
}

static void send_units(sally_conn *conn)
{
    sally_producer producer = {.produce = make_units, .done = units_made};
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce(conn, &producer) == 0);
}

static void no_more_marks(sally_conn *conn, void *arg)
{
    (void)arg;
    if (!conn) return;
    atomic_store(&actor_of(conn)->number[3], 1);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce_more(conn) == 0);
}

static void *send_marks(void *arg)
{
    struct actor *actor = arg;
    sally_engine *engine = actor->stage->engine;
    for (uint64_t at = 0; at < MARKS; at++) {
        uint64_t mark[2] = {'m', at};
        STAGE_CHECK(actor->stage,
                    STAGE_POLL(sally_send(engine, actor->id, mark, UNIT) == 0, STAGE_LIMIT_MS));
    }
    STAGE_CHECK(actor->stage, sally_post(engine, actor->id, no_more_marks, NULL) == 0);
    return NULL;
}

static void what_other_threads_send_goes_between_pieces(const struct stage_way *way)
{
    struct stage *stage = begin(way, send_units);
    struct actor *actor;
    int fd = stage_client(stage, 8192, &actor);
    pthread_t thread = stage_thread(send_marks, actor);
    uint64_t unit[2], units = 0, marks = 0;
    while (raw_read(fd, unit, UNIT)) {
        if (unit[0] == 'u')
            assert_int_equal(unit[1], units++);
        else if (unit[0] == 'm')
            assert_int_equal(unit[1], marks++);
        else
            fail_msg("neither a unit nor a mark");
    }
    pthread_join(thread, NULL);
    raw_close(fd);
    assert_int_equal(units, UNITS);
    assert_int_equal(marks, MARKS);
    stage_end(stage);
}

/* ---- Misuse ---- */

static void ask_wrongly(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    sally_producer producer = {make_nothing, NULL, NULL, 0}, nothing = {.done = made};
    STAGE_CHECK(stage, sally_conn_produce(conn, &producer) == SALLY_ENOTSUP);
    STAGE_CHECK(stage, sally_conn_produce(conn, NULL) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_produce(conn, &nothing) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_produce(NULL, &producer) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_produce_more(NULL) == SALLY_EINVAL);
    sally_conn_close(conn);
    STAGE_CHECK(stage, sally_conn_produce(conn, &producer) == SALLY_ECLOSED);
}

static void where_it_cant_be_it_is_refused(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = ask_wrongly,
                                                 .server.conn.at_full = SALLY_FULL_DROP_OLDEST});
    int fd = stage_client(stage, 0, NULL);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(content_of_any_length_goes_in_order_from_a_short_queue),
    STAGE_TEST_ON(the_next_content_may_begin_when_one_is_done, 1),
    STAGE_TEST_ON(a_cork_doesnt_stop_it, 1),
    STAGE_TEST_ON(who_has_nothing_is_not_asked_before_it_says_so, 1),
    STAGE_TEST_ON(a_producer_that_fails_resets, 1),
    STAGE_TEST_ON(a_producer_may_abort, 1),
    STAGE_TEST(an_end_from_outside_tells_it_before_on_close),
    STAGE_TEST_ON(a_gentle_end_waits_for_it, 1),
    STAGE_TEST_ON(after_close_ms_the_peer_sees_that_it_was_cut, 1),
    STAGE_TEST(a_drain_lets_it_finish),
    STAGE_TEST(what_other_threads_send_goes_between_pieces),
    STAGE_TEST_ON(where_it_cant_be_it_is_refused, 1),
};

int main(int argc, char **argv)
{
    return stage_run("produce", tests, sizeof tests / sizeof *tests, argc, argv);
}
