/* Files on the wire (P-68, P-69): in their place among other sends, what a call means, and how many
 * there may be. */
#include <stdlib.h>

#include "net/support/filed.h"
#include "net/support/raw.h"
#include "os/file.h"
#include "sallyport/framing.h"
#include "support/filters.h"

/* ---- Order ---- */

static const uint64_t lengths[] = {1,        2,    255,      256,     257,          4095,
                                   PART - 1, PART, PART + 1, 64 * KB, 2 * PART + 3, 4096};
enum { LENGTHS = sizeof lengths / sizeof *lengths, ROUNDS = 2 };

static uint64_t lengths_sum(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < LENGTHS; i++) sum += lengths[i];
    return sum;
}

/* Each length as a file, with nothing, a byte, a chunk or more before and behind it. */
static void send_every_length(sally_conn *conn)
{
    static const size_t between[] = {0, 1, 4096, PIECE};
    struct stage *stage = actor_of(conn)->stage;
    uint64_t at = 0, queued = 0, tag = 0;
    unsigned first = actor_of(conn)->index;
    for (unsigned i = 0; i < ROUNDS * LENGTHS; i++) {
        size_t len = between[(first + i) % 4];
        if (len) filed_send_bytes(conn, at, len);
        at += len;
        STAGE_CHECK(stage, filed_send(conn, at, lengths[i % LENGTHS], tag++) == 0);
        at += lengths[i % LENGTHS];
        queued = sally_conn_queued(conn);
        STAGE_CHECK(stage, queued == at); /* nothing goes inside a callback */
    }
    STAGE_CHECK(stage, sally_conn_close(conn) == 0);
    STAGE_CHECK(stage, filed_send(conn, 0, 1, 0) == SALLY_ECLOSED);
}

static void files_stand_in_order_among_sends(const struct stage_way *way)
{
    uint64_t len = ROUNDS * (lengths_sum() + LENGTHS / 4 * (1 + 4096 + PIECE));
    struct stage *stage =
        filed_begin(way, len, &(struct stage_options){.handler.on_open = send_every_length});
    for (unsigned i = 0; i < 4; i++) filed_check_whole(stage, len, ROUNDS * LENGTHS);
    filed_end(stage);
}

/* Pieces drawn by the seed from the file and from memory, over many turns. */
enum { MIX_BYTES = 3 * MB };

static void mix_on(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    struct stage *stage = actor->stage;
    struct lot *lot = actor->user;
    uint64_t at = atomic_load(&actor->number[2]);
    for (int n = 0; n < 10 && at < MIX_BYTES; n++) {
        uint64_t len = 1 + lot_below(lot, lot_below(lot, 3) ? PIECE - 1 : 400 * KB);
        if (len > MIX_BYTES - at) len = MIX_BYTES - at;
        if (len > PIECE || lot_below(lot, 2))
            STAGE_CHECK(stage,
                        filed_send(conn, at, len, atomic_fetch_add(&actor->number[3], 1)) == 0);
        else
            filed_send_bytes(conn, at, (size_t)len);
        at += len;
    }
    atomic_store(&actor->number[2], at);
    if (at < MIX_BYTES)
        STAGE_CHECK(stage, sally_conn_timer(conn, 1) == 0);
    else
        STAGE_CHECK(stage, sally_conn_close(conn) == 0);
}

static void mix_open(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    struct lot *lot = malloc(sizeof *lot);
    if (!lot) abort();
    *lot = (struct lot){actor->index + 1};
    actor->user = lot;
    mix_on(conn);
}

static void mix_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    free(actor_of(conn)->user);
}

static void sends_of_both_kinds_mix(const struct stage_way *way)
{
    struct stage *stage =
        filed_begin(way, MIX_BYTES,
                    &(struct stage_options){
                        .handler = {.on_open = mix_open, .on_timer = mix_on, .on_close = mix_close},
                        .server.conn.send_bytes_max = 16 * MB});
    for (unsigned i = 0; i < 3; i++) {
        struct actor *actor;
        uint64_t bytes = 0;
        int fd = stage_client(stage, i ? 4096 : 0, &actor);
        assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
        raw_close(fd);
        assert_int_equal(bytes, MIX_BYTES);
        (void)actor_wait_closed(actor);
        assert_int_equal(atomic_load(&actor->number[0]), atomic_load(&actor->number[3]));
    }
    filed_end(stage);
}

/* By the engine instead of the system. */
static void files_that_are_read_stand_in_order_too(const struct stage_way *way)
{
    filed_read = true;
    files_stand_in_order_among_sends(way);
    sends_of_both_kinds_mix(way);
    filed_read = false;
}

/* ---- What a call means ---- */

enum { SMALL = 1000 };

static void send_edges(sally_conn *conn)
{
    struct stage *stage = actor_of(conn)->stage;
    sally_file *file = atomic_load(&filed_shared);
    STAGE_CHECK(stage, filed_send(conn, SMALL, 0, 0) == 0); /* nothing is left of it */
    STAGE_CHECK(stage, sally_conn_queued(conn) == 0);
    STAGE_CHECK(stage, filed_send(conn, 0, 0, 1) == 0); /* all of it */
    STAGE_CHECK(stage, sally_conn_queued(conn) == SMALL);
    STAGE_CHECK(stage, filed_send(conn, SMALL, 1, 9) == SALLY_EFILEEND);
    STAGE_CHECK(stage, filed_send(conn, SMALL + 1, 0, 9) == SALLY_EFILEEND);
    STAGE_CHECK(stage, filed_send(conn, 1, SMALL, 9) == SALLY_EFILEEND);
    STAGE_CHECK(stage, filed_send(conn, UINT64_MAX, 2, 9) == SALLY_EFILEEND);
    STAGE_CHECK(stage, filed_send(conn, 1, UINT64_MAX, 9) == SALLY_EFILEEND);
    STAGE_CHECK(stage, sally_conn_send_file(conn, NULL, 0, 0, NULL, NULL) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_send_file(NULL, file, 0, 0, NULL, NULL) == SALLY_EINVAL);
    STAGE_CHECK(stage, sally_conn_shutdown(conn) == 0);
    STAGE_CHECK(stage, filed_send(conn, 0, 0, 9) == SALLY_ECLOSED);
}

static void close_after(sally_conn *conn) { sally_conn_close(conn); }

static void lengths_are_judged_and_a_half_close_comes_behind(const struct stage_way *way)
{
    struct stage *stage = filed_begin(
        way, SMALL,
        &(struct stage_options){
            .handler = {.on_open = send_edges, .on_data = stage_ignore, .on_eof = close_after}});
    struct actor *actor;
    uint64_t bytes = 0;
    int fd = stage_client(stage, 0, &actor);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
    assert_int_equal(bytes, SMALL);
    assert_true(raw_send(fd, "still heard", 11));
    STAGE_WAIT(atomic_load(&actor->bytes_in) == 11);
    raw_finish(fd);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(atomic_load(&actor->number[0]), 2);
    raw_close(fd);
    filed_end(stage);
}

static void send_other(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 0, 0, 0) == SALLY_EINVAL);
    sally_conn_close(conn);
}

static void send_dropping(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 0, 0, 0) == SALLY_ENOTSUP);
    sally_conn_close(conn);
}

static void send_tight(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 0, 0, 0) == SALLY_ELIMIT);
    sally_conn_close(conn);
}

static void a_file_is_refused_where_it_can_not_go(const struct stage_way *way)
{
    sally_engine *other;
    sally_file *file;
    assert_int_equal(sally_engine_create(&other, &(sally_engine_options){.shards = 1}), 0);
    filed_write(SMALL);
    assert_int_equal(sally_file_open(other, filed_path, &file, NULL), 0);
    atomic_store(&filed_shared, file);
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_open = send_other});
    filed_check_whole(stage, 0, 0);
    stage_end(stage);
    filed_release();
    assert_int_equal(sally_engine_destroy(other), 0);

    struct stage_options options = {.handler.on_open = send_dropping,
                                    .server.conn.at_full = SALLY_FULL_DROP_OLDEST};
    stage = filed_begin(way, SMALL, &options);
    filed_check_whole(stage, 0, 0);
    filed_end(stage);
    static unsigned char key = 7;
    const sally_filter filters[] = {filter_xor(&key)};
    options.server.conn = (sally_conn_options){.filters = filters, .filter_count = 1};
    stage = filed_begin(way, SMALL, &options);
    filed_check_whole(stage, 0, 0);
    filed_end(stage);
    options.handler.on_open = send_tight;
    options.server.conn = (sally_conn_options){.send_bytes_max = 255};
    stage = filed_begin(way, SMALL, &options);
    filed_check_whole(stage, 0, 0);
    filed_end(stage);
}

static int64_t make_rest(sally_conn *conn, void *arg, void *into, size_t room)
{
    struct actor *actor = actor_of(conn);
    (void)arg;
    (void)room;
    STAGE_CHECK(actor->stage, atomic_load(&actor->number[0]) == 1); /* the file is through */
    uint64_t at = atomic_fetch_add(&actor->number[2], 1);
    if (at == 100) return SALLY_PRODUCED_END;
    pattern_fill(into, STREAM, SMALL + at, 1);
    return 1;
}

static void rest_is_made(sally_conn *conn, void *arg, int error)
{
    (void)arg;
    STAGE_CHECK(actor_of(conn)->stage, error == 0);
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, SMALL + 100, 5, 1) == 0);
    sally_conn_close(conn);
}

static void send_and_produce(sally_conn *conn)
{
    sally_producer producer = {.produce = make_rest, .done = rest_is_made};
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 0, SMALL, 0) == 0);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_produce(conn, &producer) == 0);
    STAGE_CHECK(actor_of(conn)->stage, filed_send(conn, 0, 0, 1) == SALLY_ESTATE);
}

static void a_producer_waits_for_it(const struct stage_way *way)
{
    struct stage *stage =
        filed_begin(way, SMALL + 200, &(struct stage_options){.handler.on_open = send_and_produce});
    filed_check_whole(stage, SMALL + 105, 2);
    filed_end(stage);
}

/* ---- Room ---- */

enum { CHAIN = 300, CHAIN_BYTES = 700 };

/* As many as there is room for; the rest when they are through. number[2]: sent so far. */
static void chain(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_load(&actor->number[2]), before = at;
    int err = 0;
    STAGE_CHECK(actor->stage, sally_conn_queued(conn) == 0);
    while (at < CHAIN && !(err = filed_send(conn, at * CHAIN_BYTES, CHAIN_BYTES, at))) at++;
    STAGE_CHECK(actor->stage, at == CHAIN || err == SALLY_EFULL);
    STAGE_CHECK(actor->stage, at - before <= SALLY_FILES_MAX);
    STAGE_CHECK(actor->stage, at == CHAIN || at - before == SALLY_FILES_MAX);
    atomic_store(&actor->number[2], at);
    if (at == CHAIN) sally_conn_close(conn);
}

static void at_most_so_many_are_queued_and_on_drain_tells(const struct stage_way *way)
{
    struct stage *stage =
        filed_begin(way, CHAIN * CHAIN_BYTES,
                    &(struct stage_options){.handler = {.on_open = chain, .on_drain = chain}});
    struct actor *actor = filed_check_whole(stage, CHAIN * CHAIN_BYTES, CHAIN);
    assert_int_equal(atomic_load(&actor->drains), CHAIN / SALLY_FILES_MAX);
    filed_end(stage);
}

/* A file and nothing else asks for on_drain, too. */
static void chain_one(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    uint64_t at = atomic_fetch_add(&actor->number[2], 1);
    STAGE_CHECK(actor->stage, atomic_load(&actor->number[0]) == at); /* and its completion was */
    if (at == 20)
        sally_conn_close(conn);
    else
        STAGE_CHECK(actor->stage, filed_send(conn, at * PART, PART, at) == 0);
}

static void one_can_be_sent_after_the_other(const struct stage_way *way)
{
    struct stage *stage = filed_begin(
        way, 20 * PART,
        &(struct stage_options){.handler = {.on_open = chain_one, .on_drain = chain_one}});
    filed_check_whole(stage, 20 * PART, 20);
    filed_end(stage);
}

/* Each byte asks for a file. number[2]: how many were asked for; number[3]: the most at once. */
static void answer(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    (void)data;
    for (size_t i = 0; i < len; i++) {
        uint64_t n = atomic_fetch_add(&actor->number[2], 1);
        int err = filed_send(conn, n * PART, PART, n);
        STAGE_CHECK(actor->stage, err == 0);
        if (err) sally_conn_abort(conn); /* who waits for it needn't wait long */
        uint64_t waiting = n + 1 - atomic_load(&actor->number[0]);
        if (waiting > atomic_load(&actor->number[3])) atomic_store(&actor->number[3], waiting);
    }
}

enum { ASKED = 80 };

static void who_asks_for_many_is_not_read_meanwhile(const struct stage_way *way)
{
    sally_framing asks = {.kind = SALLY_FRAMING_FIXED, .fixed_bytes = 1};
    struct stage *stage = filed_begin(
        way, (uint64_t)ASKED * PART,
        &(struct stage_options){.handler.on_message = answer, .server.conn.framing = &asks});
    struct actor *actor;
    char all[ASKED] = {0};
    int fd = stage_client(stage, 4096, &actor);
    assert_true(raw_send(fd, all, ASKED));
    assert_true(raw_check(fd, STREAM, 0, (uint64_t)ASKED * PART, 0));
    raw_finish(fd);
    (void)actor_wait_closed(actor);
    raw_close(fd);
    assert_int_equal(atomic_load(&actor->number[0]), ASKED);
    assert_int_equal(atomic_load(&actor->number[3]), SALLY_FILES_MAX / 4);
    filed_end(stage);
}

/* What others have sent waits behind the file: its bytes make no room for more of theirs. */
static void others_have_no_more_room_by_its_bytes(const struct stage_way *way)
{
    enum { QUEUE = 64 * KB, UNIT = 1000, LONG = 24 * MB };
    struct stage *stage =
        filed_begin(way, LONG,
                    &(struct stage_options){
                        .handler.on_data = answer,
                        .server.conn = {.send_bytes_max = QUEUE, .send_buf_bytes = 16 * KB}});
    static char unit[UNIT];
    struct actor *actor;
    unsigned units = 0;
    int fd = stage_client(stage, 4096, &actor);
    for (unsigned i = 0; i < 4; i++) assert_true(raw_send(fd, "x", 1));
    STAGE_WAIT(atomic_load(&actor->number[2]) == 4);
    while (sally_send(stage->engine, actor->id, unit, UNIT) == 0) units++;
    assert_int_equal(units, QUEUE / UNIT);
    assert_true(raw_check(fd, STREAM, 0, PART, 0));
    STAGE_WAIT(atomic_load(&actor->number[0]) >= 1);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(sally_send(stage->engine, actor->id, unit, UNIT), SALLY_EFULL);
    assert_true(raw_check(fd, STREAM, PART, 3 * PART, 0));
    static char got[UNIT];
    for (; units; units--) {
        assert_true(raw_read(fd, got, UNIT));
        assert_memory_equal(got, unit, UNIT);
    }
    raw_finish(fd);
    (void)actor_wait_closed(actor);
    raw_close(fd);
    filed_end(stage);
}

/* ---- Opening ---- */

static void only_ordinary_files_are_opened(const struct stage_way *way)
{
    struct stage *stage =
        filed_begin(way, SMALL, &(struct stage_options){.handler.on_open = close_after});
    sally_engine *engine = stage->engine;
    sally_file *file = atomic_load(&filed_shared);
    int sys_error = 0;
    assert_int_equal(sally_file_open(engine, "no/such/file", &file, &sys_error), SALLY_EFILE);
    assert_null(file);
    assert_true(sys_error != 0);
    assert_true(sally_file_open(engine, ".", &file, &sys_error) < 0); /* a folder */
    assert_int_equal(sally_file_from_fd(engine, -1, &file, NULL), SALLY_EFILE);
    assert_int_equal(sally_file_open(NULL, filed_path, &file, NULL), SALLY_EINVAL);
    assert_int_equal(sally_file_open(engine, NULL, &file, NULL), SALLY_EINVAL);
    assert_int_equal(sally_file_open(engine, filed_path, NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_file_from_fd(engine, 0, NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_file_size(NULL), 0);
    assert_null(sally_file_ref(NULL));
    sally_file_release(NULL);
    filed_end(stage);
}

/* It is closed with the last reference: the stage counts descriptors. */
static void a_descriptor_is_taken_over(const struct stage_way *way)
{
    struct stage *stage = filed_begin(
        way, SMALL,
        &(struct stage_options){.handler.on_open = send_edges, .handler.on_eof = close_after});
    os_file handle;
    uint64_t bytes;
    int sys_error;
    sally_file *file;
    assert_int_equal(os_file_open(filed_path, &handle, &bytes, &sys_error), 0);
    assert_int_equal(sally_file_from_fd(stage->engine, handle, &file, &sys_error), 0);
    assert_int_equal(sally_file_size(file), SMALL);
    assert_ptr_equal(sally_file_ref(file), file);
    sally_file_release(atomic_exchange(&filed_shared, file));
    struct actor *actor;
    uint64_t got = 0;
    int fd = stage_client(stage, 0, &actor);
    sally_file_release(file);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &got)), "FIN");
    assert_int_equal(got, SMALL);
    raw_close(fd);
    (void)actor_wait_closed(actor);
    filed_end(stage);
}

int main(int argc, char **argv)
{
    const struct stage_test tests[] = {
        STAGE_TEST(files_stand_in_order_among_sends),
        STAGE_TEST_ON(sends_of_both_kinds_mix, 2),
        STAGE_TEST_ON(files_that_are_read_stand_in_order_too, 2),
        STAGE_TEST_ON(lengths_are_judged_and_a_half_close_comes_behind, 1),
        STAGE_TEST_ON(a_file_is_refused_where_it_can_not_go, 1),
        STAGE_TEST_ON(a_producer_waits_for_it, 1),
        STAGE_TEST_ON(at_most_so_many_are_queued_and_on_drain_tells, 1),
        STAGE_TEST_ON(one_can_be_sent_after_the_other, 1),
        STAGE_TEST_ON(who_asks_for_many_is_not_read_meanwhile, 1),
        STAGE_TEST_ON(others_have_no_more_room_by_its_bytes, 1),
        STAGE_TEST_ON(only_ordinary_files_are_opened, 1),
        STAGE_TEST_ON(a_descriptor_is_taken_over, 1),
    };
    return stage_run("net/file", tests, sizeof tests / sizeof *tests, argc, argv);
}
