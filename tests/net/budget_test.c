/* The memory budget: hostile peers against it, while good ones are served. */
#include <stdlib.h>
#include <string.h>

#include "net/support/cast.h"
#include "net/support/raw.h"
#include "net/support/stage.h"
#include "sallyport/framing.h"

enum { MB = 1 << 20, HOGS = 150, GOODS = 10 };

/* number[0]: 1 for a hog. It asks for as much as is taken, again and again. */
static void hog_more(sally_conn *conn)
{
    static const char many[32 * 1024];
    if (!atomic_load(&actor_of(conn)->number[0])) return;
    while (sally_conn_send(conn, many, sizeof many) == 0) continue;
    sally_conn_timer(conn, 20);
}

static void hog_or_echo(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    if (*(const char *)data == 'h') {
        atomic_store(&actor->number[0], 1);
        hog_more(conn);
    } else {
        STAGE_CHECK(actor->stage, sally_conn_send(conn, data, len) == 0);
    }
}

static struct stage *budget_stage(const struct stage_way *way, uint64_t engine, uint64_t server)
{
    return stage_begin(
        way,
        &(struct stage_options){
            .handler.on_data = hog_or_echo,
            .handler.on_timer = hog_more,
            .engine =
                {.memory_max = engine, .recv_bufs = 64, .recv_buf_bytes = 4096, .conns_max = 1000},
            .server = {
                .memory_max = server,
                .watchdog_ms = 20,
                .conn = {.no_auto_pause = true,
                         .send_buf_bytes = 4096,
                         .send_bytes_max = MB,
                         .send_high_bytes = MB,
                         /* an eighth of it, for each hog, is too much */ .send_low_bytes = MB}}});
}

static void echo_once(int fd)
{
    char got[5];
    assert_true(raw_send(fd, "echo!", 5));
    assert_true(raw_read(fd, got, 5));
    assert_memory_equal(got, "echo!", 5);
}

/* Clients that want everything and read nothing; one that was cut is replaced. */
static unsigned hogs_against_goods(struct stage *stage, uint64_t max, const char *good_address)
{
    int hogs[HOGS], goods[GOODS];
    for (int i = 0; i < GOODS; i++) {
        goods[i] = raw_connect(good_address, 0);
        assert_true(goods[i] >= 0);
        echo_once(goods[i]);
    }
    for (int i = 0; i < HOGS; i++) {
        hogs[i] = raw_connect(stage->address, 2048);
        assert_true(hogs[i] >= 0);
    }
    STAGE_WAIT(atomic_load(&stage->opened) >= HOGS + GOODS); /* all let in while there is room */
    for (int i = 0; i < HOGS; i++) {
        assert_true(raw_send(hogs[i], "h", 1));
        if (i % 5 == 0) echo_once(goods[i % GOODS]);
        assert_true(atomic_load(&stage->memory_high_bytes) <= max);
    }
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < GOODS; i++) echo_once(goods[i]);
        stage_nap();
    }
    unsigned cut = 0;
    for (int i = 0; i < HOGS; i++) raw_close(hogs[i]);
    for (unsigned i = 0; i < atomic_load(&stage->actor_count); i++) {
        struct actor *actor = stage_actor(stage, i);
        if (!atomic_load(&actor->number[0])) continue;
        cut += actor_wait_closed(actor)->reason == SALLY_CLOSE_MEMORY;
    }
    for (int i = 0; i < GOODS; i++) {
        echo_once(goods[i]);
        raw_close(goods[i]);
    }
    return cut;
}

static void
hogs_never_pass_the_engines_budget_and_good_clients_are_served(const struct stage_way *way)
{
    enum { BUDGET = 16 * MB };
    struct stage *stage = budget_stage(way, BUDGET, 0);
    uint64_t before = atomic_load(&stage->memory_bytes);
    unsigned cut = hogs_against_goods(stage, BUDGET + BUDGET / 100, stage->address);
    assert_true(atomic_load(&stage->memory_high_bytes) <= BUDGET + BUDGET / 100);
    assert_true(atomic_load(&stage->memory_high_bytes) > BUDGET / 2); /* it was hard */
    assert_true(cut > 0);
    /* and over: what pools keep is bounded, newcomers are taken */
    STAGE_WAIT(atomic_load(&stage->memory_bytes) < before + 6 * MB);
    int fd = raw_connect(stage->address, 0);
    echo_once(fd);
    raw_close(fd);
    stage_end(stage);
}

static void a_servers_budget_is_its_own(const struct stage_way *way)
{
    enum { BUDGET = 4 * MB, SLACK = 8 * MB };
    struct stage *stage = budget_stage(way, 0, BUDGET);
    char other[64];
    assert_non_null(stage_listen(stage, NULL, other, sizeof other));
    uint64_t before = atomic_load(&stage->memory_bytes);
    assert_true(hogs_against_goods(stage, before + BUDGET + SLACK, other) > 0);
    int fd = raw_connect(stage->address, 0); /* the account went back to nothing */
    echo_once(fd);
    raw_close(fd);
    stage_end(stage);
}

/* ---- Levels, one by one: of a server, whose account only these sends touch ---- */

enum { LEVEL_MAX = 1000 * 1000, LOW = 80 * 1000 };
static char zeros[LEVEL_MAX];

static struct stage *level_stage(const struct stage_way *way, uint32_t watchdog_ms,
                                 void (*on_data)(sally_conn *conn, const void *data, size_t len))
{
    return stage_begin(way,
                       &(struct stage_options){.handler.on_data = on_data,
                                               .server = {.memory_max = LEVEL_MAX,
                                                          .watchdog_ms = watchdog_ms,
                                                          .conn = {.send_buf_bytes = 1,
                                                                   .send_bytes_max = LEVEL_MAX,
                                                                   .send_high_bytes = LEVEL_MAX,
                                                                   .send_low_bytes = LOW}}});
}

/* f: fills the queue to 900,000 bytes, then small and big ones; e: a queue that is empty */
static void judge_level(sally_conn *conn, const void *data, size_t len)
{
    struct stage *stage = actor_of(conn)->stage;
    (void)len;
    if (*(const char *)data == 'f') {
        STAGE_CHECK(stage, sally_conn_send(conn, zeros, 900 * 1000) == 0); /* not tight before */
        STAGE_CHECK(stage, sally_conn_send(conn, zeros, 1) == SALLY_EFULL);
        return;
    }
    /* above 85 %: one send to an empty queue, not a big one; then up to an eighth of the low mark
     */
    STAGE_CHECK(stage, sally_conn_send(conn, zeros, 64 * 1024 + 1) == SALLY_ENOMEM);
    STAGE_CHECK(stage, sally_conn_send(conn, zeros, 4000) == 0);
    STAGE_CHECK(stage, sally_conn_send(conn, zeros, LOW / 8 - 4000 + 1) == SALLY_EFULL);
    STAGE_CHECK(stage, sally_conn_send(conn, zeros, LOW / 8 - 4000) == 0);
    atomic_store(&actor_of(conn)->number[1], 1);
}

static void above_its_levels_a_queue_takes_less_and_less(const struct stage_way *way)
{
    struct stage *stage = level_stage(way, 0, judge_level);
    struct actor *full, *empty;
    int reader = stage_client(stage, 1, &full), good = stage_client(stage, 0, &empty);
    assert_true(raw_send(reader, "f", 1));
    STAGE_WAIT(atomic_load(&full->datas) == 1);
    assert_true(raw_send(good, "e", 1));
    STAGE_WAIT(atomic_load(&empty->number[1]) == 1);
    raw_close(reader);
    raw_close(good);
    stage_end(stage);
}

/* Between 70 and 85 %: up to the low mark, while another one holds what makes it tight. */
static void judge_tight(sally_conn *conn, const void *data, size_t len)
{
    struct stage *stage = actor_of(conn)->stage;
    (void)len;
    size_t share = (size_t)(*(const char *)data - ' ') * 10 * 1000;
    if (*(const char *)data != 't') {
        STAGE_CHECK(stage, sally_conn_send(conn, zeros, share) == 0);
        return;
    }
    STAGE_CHECK(stage, sally_conn_send(conn, zeros, LOW) == 0);
    atomic_store(&actor_of(conn)->number[0], (uint64_t)-sally_conn_send(conn, zeros, 1));
    atomic_store(&actor_of(conn)->number[1], 1);
}

/* A client whose connection holds so many tenths of a megabyte, but for what its system took. */
static int holder(struct stage *stage, char letter, struct actor **actor)
{
    int fd = stage_client(stage, 1, actor);
    assert_true(raw_send(fd, &letter, 1));
    STAGE_WAIT(atomic_load(&(*actor)->datas) == 1);
    return fd;
}

static uint64_t second_send(struct stage *stage)
{
    struct actor *actor;
    int fd = stage_client(stage, 1, &actor);
    assert_true(raw_send(fd, "t", 1));
    STAGE_WAIT(atomic_load(&actor->number[1]) == 1);
    uint64_t err = atomic_load(&actor->number[0]);
    raw_close(fd);
    actor_wait_closed(actor);
    return err;
}

/* ' ' + 60 is 600,000 bytes, with the 80,000 of the second one still below 70 %. */
static void from_70_percent_on_a_queue_ends_at_its_low_mark(const struct stage_way *way)
{
    struct stage *stage = level_stage(way, 20, judge_tight);
    struct actor *actor;
    int fd = holder(stage, ' ' + 60, &actor);
    assert_int_equal(second_send(stage), 0);
    raw_close(fd);
    actor_wait_closed(actor);
    fd = holder(stage, ' ' + 40, &actor);
    struct actor *more;
    int other = holder(stage, ' ' + 36, &more); /* 760,000 less 40,000 that the system may have */
    assert_int_equal(second_send(stage), -SALLY_EFULL);
    raw_close(fd);
    raw_close(other);
    stage_end(stage);
}

/* Of 50,000, 450,000, 300,000 and 200,000 bytes: the second, which is enough; the third one holds
 * more than half as much and would be next. */
static void from_95_percent_on_the_worst_is_closed_and_no_other(const struct stage_way *way)
{
    struct stage *stage = level_stage(way, 20, judge_tight);
    struct actor *actors[4];
    int fds[4];
    fds[0] = holder(stage, ' ' + 5, &actors[0]);
    fds[1] = holder(stage, ' ' + 45, &actors[1]);
    fds[2] = holder(stage, ' ' + 30, &actors[2]);
    for (int i = 0; i < 5; i++) stage_nap();
    assert_int_equal(atomic_load(&stage->closed), 0); /* 80 % */
    fds[3] = holder(stage, ' ' + 20, &actors[3]);
    assert_int_equal(actor_wait_closed(actors[1])->reason, SALLY_CLOSE_MEMORY);
    for (int i = 0; i < 30; i++) stage_nap(); /* three looks for the worst */
    assert_int_equal(atomic_load(&stage->closed), 1);
    for (int i = 0; i < 4; i++) raw_close(fds[i]);
    stage_end(stage);
}

/* ---- Levels of an engine, which buffers of the test's own raise ---- */

enum { ENGINE_MAX = 16 * MB };

static uint64_t engine_bytes(struct stage *stage)
{
    sally_engine_stats stats;
    assert_int_equal(sally_engine_get_stats(stage->engine, &stats), 0);
    return stats.memory_bytes;
}

/* So that this much of the budget is in use. */
static sally_buf *weight(struct stage *stage, unsigned percent)
{
    uint64_t aim = (uint64_t)ENGINE_MAX / 100 * percent, used = engine_bytes(stage);
    assert_true(used + 1000 < aim);
    sally_buf *buf = sally_buf_create(stage->engine, (size_t)(aim - used - 200));
    assert_non_null(buf);
    return buf;
}

static void engine_judge(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    (void)len;
    atomic_store(&actor->number[0], (uint64_t)-sally_conn_send(conn, zeros, LOW));
    atomic_store(&actor->number[1], (uint64_t)-sally_conn_send(conn, zeros, 1));
    if (*(const char *)data == 'e') sally_conn_abort(conn);
    atomic_fetch_add(&actor->number[2], 1);
}

/* What a first send of LOW bytes says and what one more byte does, in an engine that is so full. */
static void engine_says(struct stage *stage, int first, int second)
{
    struct actor *actor;
    int fd = stage_client(stage, 1, &actor);
    assert_true(raw_send(fd, "e", 1));
    STAGE_WAIT(atomic_load(&actor->number[2]) == 1);
    assert_int_equal(atomic_load(&actor->number[0]), -first);
    assert_int_equal(atomic_load(&actor->number[1]), -second);
    actor_wait_closed(actor);
    raw_close(fd);
}

static struct stage *engine_stage(const struct stage_way *way)
{
    return stage_begin(way, &(struct stage_options){.handler.on_data = engine_judge,
                                                    .engine = {.memory_max = ENGINE_MAX,
                                                               .recv_bufs = 16,
                                                               .recv_buf_bytes = 4096,
                                                               .conns_max = 1000},
                                                    .server = {.watchdog_ms = 20,
                                                               .conn = {.send_buf_bytes = 1,
                                                                        .send_bytes_max = MB,
                                                                        .send_low_bytes = LOW}}});
}

static void an_engines_queues_end_at_their_low_mark_from_70_percent_on(const struct stage_way *way)
{
    struct stage *stage = engine_stage(way);
    sally_buf *buf = weight(stage, 66);
    engine_says(stage, 0, 0);
    sally_buf_release(buf);
    buf = weight(stage, 73);
    engine_says(stage, 0, SALLY_EFULL);
    sally_buf_release(buf);
    engine_says(stage, 0, 0);
    stage_end(stage);
}

/* Who was there is served with what is small; who comes waits until there is room. */
static void an_engines_newcomers_wait_from_85_percent_on(const struct stage_way *way)
{
    struct stage *stage = engine_stage(way);
    struct actor *before, *later;
    int old = stage_client(stage, 0, &before);
    sally_buf *buf = weight(stage, 83);
    int young = stage_client(stage, 0, &later); /* not yet */
    raw_close(young);
    actor_wait_closed(later);
    sally_buf_release(buf);
    buf = weight(stage, 88);
    assert_true(raw_send(old, "x", 1)); /* 80,000 bytes are big for an empty queue */
    STAGE_WAIT(atomic_load(&before->number[2]) == 1);
    assert_int_equal(atomic_load(&before->number[0]), -SALLY_ENOMEM);
    assert_int_equal(atomic_load(&before->number[1]), 0);
    int waits = raw_connect(stage->address, 0);
    assert_true(waits >= 0);
    for (int i = 0; i < 10; i++) stage_nap(); /* it may not open, however long that is */
    assert_int_equal(atomic_load(&stage->opened), 2);
    sally_buf_release(buf);
    STAGE_WAIT(atomic_load(&stage->opened) == 3);
    raw_close(old);
    raw_close(waits);
    stage_end(stage);
}

static void an_engines_worst_is_closed_from_95_percent_on(const struct stage_way *way)
{
    struct stage *stage = engine_stage(way);
    struct actor *worst, *good;
    int hog = stage_client(stage, 1, &worst), fd = stage_client(stage, 0, &good);
    for (uint64_t n = 1; n <= 4; n++) { /* until it holds what sockets don't take */
        assert_true(raw_send(hog, "h", 1));
        STAGE_WAIT(atomic_load(&worst->number[2]) == n);
    }
    sally_buf *buf = weight(stage, 92);
    for (int i = 0; i < 5; i++) stage_nap();
    assert_false(atomic_load(&worst->closed));
    sally_buf_release(buf);
    buf = weight(stage, 97);
    assert_int_equal(actor_wait_closed(worst)->reason, SALLY_CLOSE_MEMORY);
    sally_buf_release(buf);
    assert_false(atomic_load(&good->closed));
    raw_close(hog);
    raw_close(fd);
    stage_end(stage);
}

/* A message that would be collected has no memory then, and small answers have what is left. */
static void a_long_message_ends_its_connection_from_95_percent_on(const struct stage_way *way)
{
    enum { SLACK = 24 * 1024, ROUNDS = 20 };
    static const sally_framing framing = {.kind = SALLY_FRAMING_LENGTH,
                                          .message_bytes_max = 4 * MB};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_message = stage_echo,
                                                 .engine = {.memory_max = ENGINE_MAX,
                                                            .recv_bufs = 16,
                                                            .recv_buf_bytes = 4096,
                                                            .conns_max = 1000},
                                                 .server.conn.framing = &framing});
    struct actor *grows, *good;
    int long_one = stage_client(stage, 0, &grows), fd = stage_client(stage, 0, &good);
    char got[9];
    assert_true(raw_send(fd, "\0\0\0\5hello", 9)); /* its shard has a chunk for it */
    assert_true(raw_read(fd, got, 5));
    sally_buf *buf = weight(stage, 96);
    atomic_store(&stage->memory_high_bytes, atomic_load(&stage->memory_bytes));
    uint64_t before = atomic_load(&stage->memory_bytes);
    zeros[1] = 0x20; /* 2 MiB are announced */
    (void)raw_send_some(long_one, zeros, sizeof zeros, 1000);
    zeros[1] = 0;
    sally_close_reason reason = actor_wait_closed(grows)->reason;
    assert_true(reason == SALLY_CLOSE_NO_MEMORY || reason == SALLY_CLOSE_MEMORY);
    assert_in_range(atomic_load(&stage->memory_high_bytes), before, before + SLACK);
    for (int round = 0; round < ROUNDS; round++) {
        assert_true(raw_send(fd, "\0\0\0\5hello", 9));
        assert_true(raw_read(fd, got, 5));
    }
    sally_buf_release(buf);
    raw_close(long_one);
    raw_close(fd);
    stage_end(stage);
}

/* ---- What is sent to many ---- */

static sally_broadcast_report cast(struct stage *stage, sally_slow slow, size_t len)
{
    struct ticket ticket;
    sally_buf *buf = sally_buf_create(stage->engine, len);
    assert_non_null(buf);
    memset(sally_buf_data(buf), 'x', len);
    const sally_broadcast_options options = {.slow = slow};
    assert_int_equal(cast_send_ticket(stage->server, NULL, buf, &options, &ticket), 0);
    sally_buf_release(buf);
    ticket_wait(&ticket);
    return ticket.report;
}

static void fill(sally_conn *conn, const void *data, size_t len)
{
    (void)data, (void)len;
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, zeros, 900 * 1000) == 0);
}

/* Its queue has room, its server's budget has not: what is queued for it is why, so it is slow. And
 * a big message for an empty queue has failed: that receiver is not. */
static void who_has_no_room_by_a_budget_is_slow(const struct stage_way *way)
{
    struct stage *stage = level_stage(way, 0, fill);
    struct actor *full, *empty;
    int reader = stage_client(stage, 1, &full), good = stage_client(stage, 0, &empty);
    assert_true(raw_send(reader, "f", 1));
    STAGE_WAIT(atomic_load(&full->datas) == 1);
    sally_broadcast_report report = cast(stage, SALLY_SLOW_SKIP, 1000);
    assert_int_equal(report.sent, 1);
    assert_int_equal(report.skipped, 1);
    assert_int_equal(report.failed, 0);
    report = cast(stage, SALLY_SLOW_SKIP, 64 * 1024 + 1);
    assert_int_equal(report.skipped + report.failed, 2);
    assert_true(report.failed <= 1); /* its queue may not be empty yet: then it is skipped too */
    report = cast(stage, SALLY_SLOW_CLOSE, 1000);
    assert_int_equal(report.closed, 1);
    assert_int_equal(report.failed, 0);
    assert_int_equal(actor_wait_closed(full)->reason, SALLY_CLOSE_TOO_SLOW);
    raw_close(reader);
    raw_close(good);
    stage_end(stage);
}

static void a_budget_too_small_to_live_is_refused(const struct stage_way *way)
{
    (void)way;
    sally_engine *engine = NULL;
    sally_engine_options options = {.memory_max = MB - 1};
    assert_int_equal(sally_engine_create(&engine, &options), SALLY_EINVAL);
    options = (sally_engine_options){.memory_max = MB, .shards = 4, .conns_max = 1 << 20};
    int err = sally_engine_create(&engine, &options); /* its tables alone pass it, or it lives */
    assert_true(err == 0 || err == SALLY_ENOMEM);
    sally_engine_destroy(engine);
}

static const struct stage_test tests[] = {
    STAGE_TEST(hogs_never_pass_the_engines_budget_and_good_clients_are_served),
    STAGE_TEST(a_servers_budget_is_its_own),
    STAGE_TEST_ON(above_its_levels_a_queue_takes_less_and_less, 1),
    STAGE_TEST_ON(from_70_percent_on_a_queue_ends_at_its_low_mark, 1),
    STAGE_TEST_ON(from_95_percent_on_the_worst_is_closed_and_no_other, 1),
    STAGE_TEST_ON(an_engines_queues_end_at_their_low_mark_from_70_percent_on, 1),
    STAGE_TEST_ON(an_engines_newcomers_wait_from_85_percent_on, 1),
    STAGE_TEST(a_long_message_ends_its_connection_from_95_percent_on),
    STAGE_TEST_ON(an_engines_worst_is_closed_from_95_percent_on, 1),
    STAGE_TEST_ON(who_has_no_room_by_a_budget_is_slow, 1),
    STAGE_TEST_ON(a_budget_too_small_to_live_is_refused, 1),
};

int main(int argc, char **argv)
{
    return stage_run("budget", tests, sizeof tests / sizeof *tests, argc, argv);
}
