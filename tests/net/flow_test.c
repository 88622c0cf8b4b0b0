/* Flow: sends in pieces, without a copy, with a completion; cork; what a full queue does; received
 * bytes that are kept. */
#include <stdlib.h>
#include <string.h>

#include "sallyport/flow.h"
#include "support/raw.h"
#include "support/stage.h"

enum { MB = 1 << 20, QUEUE_MAX = 64 * 1024 };

/* ---- Completions ---- */

/* number[0]: tags asked for, number[1]: told as sent, number[2]: told as dropped */
static void tag_told(sally_conn *conn, void *arg, bool sent)
{
    struct actor *actor = actor_of(conn);
    uint64_t told = atomic_load(&actor->number[1]) + atomic_load(&actor->number[2]);
    STAGE_CHECK(actor->stage, (uint64_t)(uintptr_t)arg == told);         /* in order, each once */
    STAGE_CHECK(actor->stage, !sent || !atomic_load(&actor->number[2])); /* none sent after a gap */
    STAGE_CHECK(actor->stage, !atomic_load(&actor->closes));
    atomic_fetch_add(&actor->number[sent ? 1 : 2], 1);
}

static void *next_tag(struct actor *actor)
{
    return (void *)(uintptr_t)atomic_fetch_add(&actor->number[0], 1);
}

static const char bytes_16[] = "0123456789abcdef";

/* As many as are taken, each in one of the three ways. */
static void send_tagged(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    for (uint64_t n; (n = atomic_load(&actor->number[0])) < 10000;) {
        int err = n % 3 ? sally_conn_send(conn, bytes_16, 16) : 0;
        if (!err && n % 3) err = sally_conn_when_sent(conn, tag_told, (void *)(uintptr_t)n);
        if (!err && !(n % 3))
            err = sally_conn_send_owned(conn, bytes_16, 16, tag_told, (void *)(uintptr_t)n);
        STAGE_CHECK(actor->stage, !err || err == SALLY_EFULL);
        if (err) return;
        (void)next_tag(actor);
    }
    sally_conn_close(conn);
}

static void every_tag_is_told_once_and_in_order(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_tagged,
                                                 .handler.on_drain = send_tagged,
                                                 .server.conn.send_bytes_max = QUEUE_MAX});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    actor_wait_closed(actor);
    assert_int_equal(atomic_load(&actor->number[1]), 10000);
    assert_int_equal(atomic_load(&actor->number[2]), 0);
    stage_end(stage);
}

static void an_abort_tells_the_rest_before_on_close(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_tagged,
                                                 .server.conn.send_bytes_max = 16 * MB,
                                                 .server.conn.send_buf_bytes = 4096});
    for (int i = 0; i < 4; i++) {
        struct actor *actor;
        int fd = stage_client(stage, 2048, &actor);
        if (i % 2)
            raw_reset(fd);
        else
            assert_int_equal(sally_abort(stage->engine, actor->id), 0);
        actor_wait_closed(actor);
        if (i % 2 == 0) raw_close(fd);
        uint64_t told = atomic_load(&actor->number[1]) + atomic_load(&actor->number[2]);
        assert_int_equal(told, atomic_load(&actor->number[0]));
        assert_true(told >= 4096);
        assert_true(atomic_load(&actor->number[2]) > 0);
    }
    stage_end(stage);
}

static void again_until_three(sally_conn *conn, void *arg, bool sent)
{
    struct actor *actor = actor_of(conn);
    (void)arg;
    STAGE_CHECK(actor->stage, sent);
    if (atomic_fetch_add(&actor->number[0], 1) == 2) {
        sally_conn_close(conn);
    } else {
        STAGE_CHECK(actor->stage, sally_conn_when_sent(conn, again_until_three, NULL) == 0);
        STAGE_CHECK(actor->stage, sally_conn_send(conn, "x", 1) == 0);
    }
}

static void ask_with_nothing_queued(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    STAGE_CHECK(actor->stage, sally_conn_when_sent(conn, again_until_three, NULL) == 0);
    STAGE_CHECK(actor->stage, atomic_load(&actor->number[0]) == 0); /* not inside the call */
}

static void a_completion_may_send_and_ask_again(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = ask_with_nothing_queued});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_int_equal(bytes, 2);
    raw_close(fd);
    actor_wait_closed(actor);
    assert_int_equal(atomic_load(&actor->number[0]), 3);
    stage_end(stage);
}

static void free_block(sally_conn *conn, void *arg, bool sent)
{
    atomic_fetch_add(&actor_of(conn)->number[sent ? 1 : 2], 1);
    free(arg);
}

/* number[0]: blocks taken. What is refused is still the caller's. */
static void send_blocks(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    for (int i = 0; i < 100; i++) {
        unsigned char *block = malloc(5000);
        if (!block) return;
        pattern_fill(block, 5, 5000 * atomic_load(&actor->number[0]), 5000);
        int err = sally_conn_send_owned(conn, block, 5000, free_block, block);
        STAGE_CHECK(actor->stage, err == 0 || err == SALLY_EFULL);
        if (err)
            free(block);
        else
            atomic_fetch_add(&actor->number[0], 1);
    }
    STAGE_CHECK(actor->stage, sally_conn_send_owned(conn, bytes_16, QUEUE_MAX + 1, free_block,
                                                    NULL) == SALLY_ELIMIT);
    sally_conn_close(conn);
    STAGE_CHECK(actor->stage,
                sally_conn_send_owned(conn, bytes_16, 16, free_block, NULL) == SALLY_ECLOSED);
    STAGE_CHECK(actor->stage, sally_conn_when_sent(conn, free_block, NULL) == SALLY_ECLOSED);
}

static void
moved_blocks_are_freed_once_and_refused_ones_stay_the_callers(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_blocks,
                                                 .server.conn.send_bytes_max = QUEUE_MAX});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_check_to_end(fd, 5, 0, &bytes)), "FIN");
    raw_close(fd);
    actor_wait_closed(actor);
    assert_int_equal(bytes, 5000 * (QUEUE_MAX / 5000));
    assert_int_equal(atomic_load(&actor->number[1]), QUEUE_MAX / 5000);
    assert_int_equal(atomic_load(&actor->number[2]), 0);
    stage_end(stage);
}

/* ---- Pieces ---- */

static void send_pieces(sally_conn *conn)
{
    static unsigned char all[20000];
    struct stage *stage = actor_of(conn)->stage;
    pattern_fill(all, 5, 0, sizeof all);
    sally_bytes pieces[1025] = {{0}};
    size_t at = 0;
    struct lot lot = {.state = 7};
    for (int i = 0; i < 1024; i++) {
        size_t len = i == 1023 ? sizeof all - at : lot_below(&lot, 36);
        if (len > sizeof all - at) len = sizeof all - at;
        pieces[i] = (sally_bytes){all + at, len};
        at += len;
    }
    STAGE_CHECK(stage, at == sizeof all);
    STAGE_CHECK(stage, sally_conn_sendv(conn, pieces, 1025) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_sendv(conn, NULL, 1) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_sendv(conn, NULL, 0) == 0);
    for (int i = 0; i < 3; i++) STAGE_CHECK(stage, sally_conn_sendv(conn, pieces, 1024) == 0);
    STAGE_CHECK(stage, sally_conn_sendv(conn, pieces, 1024) == SALLY_EFULL);
    STAGE_CHECK(stage, sally_conn_queued(conn) == 3 * sizeof all);
    sally_bytes endless[2] = {{all, SIZE_MAX}, {all, 2}};
    STAGE_CHECK(stage, sally_conn_sendv(conn, endless, 2) == SALLY_EINVAL);
    sally_conn_close(conn);
}

static void pieces_go_as_one_or_not_at_all(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_pieces,
                                                 .server.conn.send_bytes_max = QUEUE_MAX});
    int fd = stage_client(stage, 0, NULL);
    for (int i = 0; i < 3; i++) assert_true(raw_check(fd, 5, 0, 20000, 0));
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    stage_end(stage);
}

/* ---- Cork ---- */

/* c: cork, u: uncork, s: shutdown, e: close, b: bytes beyond the high mark, others: sent back */
static void by_letter(sally_conn *conn, const void *data, size_t len)
{
    static const char many[QUEUE_MAX / 2];
    struct stage *stage = actor_of(conn)->stage;
    for (const char *at = data; len--; at++) {
        switch (*at) {
        case 'c': STAGE_CHECK(stage, sally_conn_cork(conn) == 0); break;
        case 'u': STAGE_CHECK(stage, sally_conn_uncork(conn) == 0); break;
        case 's': STAGE_CHECK(stage, sally_conn_shutdown(conn) == 0); break;
        case 'e': STAGE_CHECK(stage, sally_conn_close(conn) == 0); break;
        case 'b': STAGE_CHECK(stage, sally_conn_send(conn, many, sizeof many) == 0); break;
        default: STAGE_CHECK(stage, sally_conn_send(conn, at, 1) == 0); break;
        }
    }
}

static void say(int fd, struct actor *actor, const char *letters)
{
    uint64_t had = atomic_load(&actor->bytes_in), more = strlen(letters);
    assert_true(raw_send(fd, letters, more));
    STAGE_WAIT(atomic_load(&actor->bytes_in) == had + more);
}

static void a_cork_holds_what_is_sent_until_it_is_drawn(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = by_letter,
                                                 .server.conn.write_stall_ms = 50,
                                                 .server.conn.send_bytes_max = QUEUE_MAX});
    struct actor *actor;
    char got[8];
    int fd = stage_client(stage, 0, &actor);
    for (int round = 0; round < 2; round++) {
        say(fd, actor, "cc1");
        say(fd, actor, "2");
        /* several turns and the stall limit: nothing may come, and nothing may end it */
        uint64_t until_us = stage_now_us() + 120 * 1000;
        STAGE_WAIT(stage_now_us() > until_us);
        assert_int_equal(raw_recv_now(fd, got, sizeof got), -1);
        say(fd, actor, "uu");
        assert_true(raw_read(fd, got, 2));
        assert_memory_equal(got, "12", 2);
    }
    say(fd, actor, "c3b"); /* more than the high mark goes */
    uint64_t bytes = 0;
    static char many[1 + QUEUE_MAX / 2];
    assert_true(raw_read(fd, many, sizeof many));
    say(fd, actor, "c4s");
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_int_equal(bytes, 1);
    raw_close(fd);
    fd = stage_client(stage, 0, NULL);
    assert_true(raw_send(fd, "c5e", 3));
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_int_equal(bytes, 1);
    raw_close(fd);
    stage_end(stage);
}

/* ---- A full queue ---- */

enum { UNIT_BYTES = 1000, UNITS = 2000 };

/* Numbered sends of one size, far more than there is room for. number[0]: made, number[1],
 * number[2]: told, number[3]: dropped */
static void unit_told(sally_conn *conn, void *arg, bool sent)
{
    (void)arg;
    atomic_fetch_add(&actor_of(conn)->number[sent ? 1 : 2], 1);
}

static void send_units(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    uint32_t unit[UNIT_BYTES / 4];
    for (uint64_t n = 0; n < UNITS; n++) {
        for (size_t i = 0; i < UNIT_BYTES / 4; i++) unit[i] = (uint32_t)n;
        int err = sally_conn_send(conn, unit, UNIT_BYTES);
        if (err == SALLY_ECLOSED) break;
        STAGE_CHECK(actor->stage, err == 0);
        if (n % 100 == 0) err = sally_conn_when_sent(conn, unit_told, NULL);
        STAGE_CHECK(actor->stage, err == 0);
        atomic_fetch_add(&actor->number[0], 1);
    }
    uint64_t bytes = 0, dropped = sally_conn_dropped(conn, &bytes);
    STAGE_CHECK(actor->stage, bytes == dropped * UNIT_BYTES);
    atomic_store(&actor->number[3], dropped);
}

/* Whole units, rising numbers; which came first after a gap, and which last. */
static uint64_t read_units(int fd, uint32_t *last)
{
    uint32_t unit[UNIT_BYTES / 4];
    uint64_t count = 0;
    while (raw_read(fd, unit, sizeof unit)) {
        for (size_t i = 1; i < UNIT_BYTES / 4; i++) assert_int_equal(unit[i], unit[0]);
        if (count) assert_true(unit[0] > *last);
        *last = unit[0];
        count++;
    }
    return count;
}

static void send_units_and_close(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    send_units(conn);
    sally_conn_close(conn);
}

static struct actor *units_with(const struct stage_way *way, sally_at_full at_full,
                                struct stage **stage, int *fd)
{
    *stage = stage_begin(way, &(struct stage_options){.handler.on_data = send_units_and_close,
                                                      .server.conn = {.at_full = at_full,
                                                                      .send_bytes_max = QUEUE_MAX,
                                                                      .send_buf_bytes = 4096}});
    struct actor *actor;
    *fd = stage_client(*stage, 4096, &actor);
    assert_true(raw_send(*fd, "g", 1));
    STAGE_WAIT(atomic_load(&actor->number[0]) == UNITS || atomic_load(&actor->closed));
    return actor;
}

static void dropped_sends_are_whole_and_counted(const struct stage_way *way)
{
    for (int newest = 0; newest < 2; newest++) {
        struct stage *stage;
        int fd;
        struct actor *actor =
            units_with(way, newest ? SALLY_FULL_DROP_NEWEST : SALLY_FULL_DROP_OLDEST, &stage, &fd);
        STAGE_WAIT(atomic_load(&actor->number[3]) > 0);
        uint32_t last = 0;
        uint64_t came = read_units(fd, &last);
        raw_close(fd);
        const sally_close_info *info = actor_wait_closed(actor);
        uint64_t dropped = atomic_load(&actor->number[3]);
        assert_int_equal(came + dropped, UNITS);
        assert_int_equal(info->bytes_unsent, dropped * UNIT_BYTES);
        assert_int_equal(info->reason, SALLY_CLOSE_LOCAL);
        if (newest)
            assert_true(last < UNITS / 2);
        else
            assert_int_equal(last, UNITS - 1);
        assert_int_equal(atomic_load(&actor->number[1]) + atomic_load(&actor->number[2]),
                         UNITS / 100);
        if (!newest) assert_true(atomic_load(&actor->number[2]) > 0);
        stage_end(stage);
    }
}

static void a_full_queue_may_end_the_connection(const struct stage_way *way)
{
    struct stage *stage;
    int fd;
    struct actor *actor = units_with(way, SALLY_FULL_CLOSE, &stage, &fd);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_SEND_LIMIT);
    assert_int_equal(info->error, SALLY_EFULL);
    assert_int_equal(info->bytes_unsent + info->bytes_out,
                     UNIT_BYTES * atomic_load(&actor->number[0]));
    raw_close(fd);
    stage_end(stage);
}

/* ---- Kept bytes ---- */

enum { KEPT_MAX = 4096 };
static sally_buf *kept[KEPT_MAX];
static atomic_uint kept_count;

static void keep_it(sally_conn *conn, const void *data, size_t len)
{
    struct stage *stage = actor_of(conn)->stage;
    unsigned n = atomic_load(&kept_count);
    if (n + 2 > KEPT_MAX) return;
    sally_buf *whole = sally_conn_keep(conn, data, len);
    sally_buf *half = sally_conn_keep(conn, (const char *)data + len / 2, len - len / 2);
    STAGE_CHECK(stage, whole && half);
    STAGE_CHECK(stage, sally_buf_data(whole) != sally_buf_data(half));
    kept[n] = whole;
    kept[n + 1] = half;
    atomic_store(&kept_count, n + 2);
}

/* All that was sent, in order; the halves beside. */
static void judge_kept(uint64_t bytes)
{
    uint64_t at = 0;
    for (unsigned i = 0; i < atomic_load(&kept_count); i += 2) {
        size_t len = sally_buf_len(kept[i]), half = sally_buf_len(kept[i + 1]);
        assert_int_equal(pattern_check(sally_buf_data(kept[i]), 5, at, len), len);
        assert_int_equal(pattern_check(sally_buf_data(kept[i + 1]), 5, at + len - half, half),
                         half);
        at += len;
    }
    assert_int_equal(at, bytes);
}

static void kept_bytes_stay_and_their_buffers_come_back(const struct stage_way *way)
{
    enum { BYTES = 256 * 1024 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = keep_it,
                                                                   .engine.recv_bufs = 8,
                                                                   .engine.recv_buf_bytes = 4096});
    int fd = stage_client(stage, 0, NULL);
    for (int round = 0; round < 3; round++) {
        struct actor *actor = stage_actor(stage, 0);
        uint64_t had = atomic_load(&actor->bytes_in);
        atomic_store(&kept_count, 0);
        /* many times what the buffers hold, so all but a few were copied */
        assert_true(raw_send_pattern(fd, 5, 0, BYTES, 4096));
        STAGE_WAIT(atomic_load(&actor->bytes_in) == had + BYTES);
        assert_true(atomic_load(&kept_count) < KEPT_MAX);
        judge_kept(BYTES);
        for (unsigned i = 0; i < atomic_load(&kept_count); i++) sally_buf_release(kept[i]);
    }
    raw_close(fd);
    stage_end(stage);
}

static void keep_and_send(sally_conn *conn, const void *data, size_t len)
{
    struct stage *stage = actor_of(conn)->stage;
    sally_buf *buf = sally_conn_keep(conn, data, len);
    STAGE_CHECK(stage, buf && sally_conn_send_buf(conn, buf) == 0);
    sally_buf_release(buf);
}

static void kept_bytes_may_be_sent(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = keep_and_send,
                                                                   .engine.recv_bufs = 8,
                                                                   .engine.recv_buf_bytes = 4096});
    int fd = stage_client(stage, 0, NULL);
    for (int i = 0; i < 200; i++) {
        assert_true(raw_send_pattern(fd, 5, 0, 3000, 3000));
        assert_true(raw_check(fd, 5, 0, 3000, 0));
    }
    raw_close(fd);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(every_tag_is_told_once_and_in_order),
    STAGE_TEST(an_abort_tells_the_rest_before_on_close),
    STAGE_TEST_ON(a_completion_may_send_and_ask_again, 1),
    STAGE_TEST_ON(moved_blocks_are_freed_once_and_refused_ones_stay_the_callers, 1),
    STAGE_TEST_ON(pieces_go_as_one_or_not_at_all, 1),
    STAGE_TEST_ON(a_cork_holds_what_is_sent_until_it_is_drawn, 1),
    STAGE_TEST_ON(dropped_sends_are_whole_and_counted, 1),
    STAGE_TEST_ON(a_full_queue_may_end_the_connection, 1),
    STAGE_TEST(kept_bytes_stay_and_their_buffers_come_back),
    STAGE_TEST_ON(kept_bytes_may_be_sent, 1),
};

int main(int argc, char **argv)
{
    return stage_run("flow", tests, sizeof tests / sizeof *tests, argc, argv);
}
