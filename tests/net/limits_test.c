/* Time limits: each fires when its time is over, and only then. Times are measured as "at least";
 * what must not fire is held against a timer of the connection that comes later. */
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { LIMIT_MS = 300, LATER_MS = 3 * LIMIT_MS, MB = 1 << 20 };

/* From before its peer connected, so that no pause of the machine makes it less. The engine's clock
 * has whole milliseconds. */
static void assert_at_least_ms(const struct actor *actor, uint64_t ms)
{
    uint64_t took_us = actor->closed_us - actor->dialled_us;
    if (took_us + 1000 < ms * 1000) fail_msg("closed after %llu us", (unsigned long long)took_us);
}

/* number[0]: the timer has fired while open */
static void later_open(sally_conn *conn) { sally_conn_timer(conn, LATER_MS); }

static void later_timer(sally_conn *conn)
{
    atomic_store(&actor_of(conn)->number[0], 1);
    sally_conn_abort(conn);
}

/* ---- Each fires ---- */

static void a_silent_peer_meets_the_first_byte_limit(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore,
                                                 .server.conn.first_byte_ms = LIMIT_MS});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_FIRST_BYTE_TIMEOUT);
    assert_int_equal(info->error, SALLY_ETIMEDOUT);
    assert_int_equal(info->sys_error, 0);
    assert_at_least_ms(actor, LIMIT_MS);
    raw_close(fd);
    stage_end(stage);
}

static void one_byte_is_enough_for_the_first_byte_limit(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = later_open,
                                                 .handler.on_timer = later_timer,
                                                 .server.conn.first_byte_ms = LIMIT_MS});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "x", 1));
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_ABORTED);
    assert_int_equal(atomic_load(&actor->number[0]), 1);
    raw_close(fd);
    stage_end(stage);
}

static void a_quiet_connection_meets_the_idle_limit(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore,
                                                 .server.conn.idle_ms = LIMIT_MS});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "x", 1));
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_IDLE_TIMEOUT);
    assert_int_equal(info->error, SALLY_ETIMEDOUT);
    assert_at_least_ms(actor, LIMIT_MS);
    raw_close(fd);
    stage_end(stage);
}

static void send_much(sally_conn *conn)
{
    static const char zeros[MB];
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, zeros, MB) == 0);
}

static void a_peer_that_takes_nothing_meets_the_write_limit(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_much,
                                                 .handler.on_data = stage_ignore,
                                                 .server.conn.send_buf_bytes = 8192,
                                                 .server.conn.write_stall_ms = LIMIT_MS});
    struct actor *actor;
    int fd = stage_client(stage, 2048, &actor);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_WRITE_TIMEOUT);
    assert_int_equal(info->error, SALLY_ETIMEDOUT);
    assert_int_equal(info->bytes_out + info->bytes_unsent, MB);
    assert_at_least_ms(actor, LIMIT_MS);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "RST");
    raw_close(fd);
    stage_end(stage);
}

static void send_much_and_close(sally_conn *conn)
{
    send_much(conn);
    sally_conn_close(conn);
}

static void the_write_limit_holds_while_closing_too(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_much_and_close,
                                                 .server.conn.send_buf_bytes = 8192,
                                                 .server.conn.write_stall_ms = LIMIT_MS});
    struct actor *actor;
    int fd = stage_client(stage, 2048, &actor);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, SALLY_CLOSE_WRITE_TIMEOUT);
    assert_at_least_ms(actor, LIMIT_MS);
    raw_close(fd);
    stage_end(stage);
}

/* A backlog that is full answers no more. */
static int full_listener(char *address, size_t size, int *fillers, int count)
{
    int listener = raw_listen(address, size, 0);
    assert_true(listener >= 0);
    for (int i = 0; i < count; i++) fillers[i] = -1;
    fillers[0] = raw_connect(address, 0);
    assert_true(fillers[0] >= 0);
    return listener;
}

static void a_connection_not_made_in_time_is_connect_timeout(const struct stage_way *way)
{
    char address[64];
    int fillers[1];
    int listener = full_listener(address, sizeof address, fillers, 1);
    struct stage *stage = stage_begin(way, &(struct stage_options){.no_server = true});
    uint64_t began = stage_now_us();
    sally_id ids[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(stage_connect(stage, address,
                                       &(sally_connect_options){.connect_ms = LIMIT_MS}, &ids[i]),
                         0);
    STAGE_WAIT(atomic_load(&stage->closed) >= 1);
    /* Linux lets one or two more in than the backlog says; those that were not let in timed out */
    STAGE_WAIT(atomic_load(&stage->closed) + atomic_load(&stage->opened) == 4);
    unsigned timed_out = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct actor *actor = atomic_load(&stage->actors[i]);
        if (!atomic_load(&actor->closed)) continue;
        assert_int_equal(actor->info.reason, SALLY_CLOSE_CONNECT_TIMEOUT);
        assert_int_equal(actor->info.error, SALLY_ETIMEDOUT);
        assert_string_equal(actor->story, "c");
        assert_true(actor->closed_us - began + 1000 >= LIMIT_MS * 1000);
        timed_out++;
    }
    assert_true(timed_out > 0);
    stage_end(stage);
    raw_close(fillers[0]);
    raw_close(listener);
}

/* ---- Only then ---- */

struct talker {
    int fd;
    atomic_bool stop;
};

static void *talk(void *arg)
{
    struct talker *talker = arg;
    char echo[1];
    while (!atomic_load(&talker->stop) && raw_send(talker->fd, "x", 1) &&
           raw_read(talker->fd, echo, 1))
        for (int i = 0; i < 20 && !atomic_load(&talker->stop); i++) stage_nap();
    return NULL;
}

static void echo(sally_conn *conn, const void *data, size_t len)
{
    sally_conn_send(conn, data, len);
}

static void limits_dont_fire_while_there_is_traffic(const struct stage_way *way)
{
    enum { GENEROUS_MS = 1000 };
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = NULL,
                                                 .handler.on_data = echo,
                                                 .server.conn.first_byte_ms = GENEROUS_MS,
                                                 .server.conn.idle_ms = GENEROUS_MS,
                                                 .server.conn.write_stall_ms = GENEROUS_MS});
    struct actor *actor;
    struct talker talker = {.fd = stage_client(stage, 0, &actor)};
    pthread_t thread = stage_thread(talk, &talker);
    uint64_t until = stage_now_us() + 2500 * 1000;
    while (stage_now_us() < until && !atomic_load(&actor->closed)) stage_nap();
    assert_false(atomic_load(&actor->closed));
    atomic_store(&talker.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_IDLE_TIMEOUT);
    raw_close(talker.fd);
    stage_end(stage);
}

/* number[1]: ticks */
static void tick(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    if (atomic_fetch_add(&actor->number[1], 1) == 25) {
        sally_conn_close(conn);
        return;
    }
    sally_conn_send(conn, "tick", 4);
    sally_conn_timer(conn, 40);
}

static void what_we_send_counts_as_traffic(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_open = tick,
                                                                   .handler.on_timer = tick,
                                                                   .server.conn.idle_ms = 500});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    uint64_t bytes = 0;
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &bytes)), "FIN");
    assert_int_equal(bytes, 25 * 4);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_LOCAL);
    stage_end(stage);
}

static void a_slow_reader_doesnt_meet_the_write_limit(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = send_much_and_close,
                                                 .server.conn.send_buf_bytes = 8192,
                                                 .server.conn.write_stall_ms = 1000});
    struct actor *actor;
    int fd = stage_client(stage, 4096, &actor);
    static char piece[8192];
    uint64_t total = 0;
    for (long got; (got = raw_read_some(fd, piece, sizeof piece)) > 0; total += (uint64_t)got)
        for (int i = 0; i < 10; i++) stage_nap();
    assert_int_equal(total, MB);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_LOCAL);
    assert_at_least_ms(actor, 1000); /* it was slow enough to meet the limit otherwise */
    stage_end(stage);
}

static void forever_is_for_ever(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = later_open,
                                                 .handler.on_timer = later_timer,
                                                 .server.conn = {.first_byte_ms = SALLY_FOREVER,
                                                                 .idle_ms = SALLY_FOREVER,
                                                                 .write_stall_ms = SALLY_FOREVER,
                                                                 .linger_ms = SALLY_FOREVER}});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_ABORTED);
    assert_int_equal(atomic_load(&actor->number[0]), 1);
    raw_close(fd);
    stage_end(stage);
}

/* ---- The handler decides ---- */

/* number[2]: which; the third ends it */
static bool two_more_chances(sally_conn *conn, sally_timeout which)
{
    struct actor *actor = actor_of(conn);
    atomic_store(&actor->number[2], which);
    return atomic_load(&actor->limits) == 2;
}

static void extended(const struct stage_way *way, const sally_conn_options *limits, bool say,
                     bool stuck, sally_timeout which, sally_close_reason reason)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = stuck ? send_much : NULL,
                                                 .handler.on_timeout = two_more_chances,
                                                 .server.conn = *limits});
    struct actor *actor;
    int fd = stage_client(stage, 2048, &actor);
    if (say) assert_true(raw_send(fd, "x", 1));
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->reason, reason);
    assert_int_equal(atomic_load(&actor->limits), 3);
    assert_int_equal(atomic_load(&actor->number[2]), which);
    assert_at_least_ms(actor, 3 * LIMIT_MS);
    raw_close(fd);
    stage_end(stage);
}

static void on_timeout_false_starts_each_limit_anew(const struct stage_way *way)
{
    extended(way, &(sally_conn_options){.first_byte_ms = LIMIT_MS}, false, false,
             SALLY_TIMEOUT_FIRST_BYTE, SALLY_CLOSE_FIRST_BYTE_TIMEOUT);
    extended(way, &(sally_conn_options){.idle_ms = LIMIT_MS}, true, false, SALLY_TIMEOUT_IDLE,
             SALLY_CLOSE_IDLE_TIMEOUT);
    extended(way, &(sally_conn_options){.write_stall_ms = LIMIT_MS, .send_buf_bytes = 8192}, true,
             true, SALLY_TIMEOUT_WRITE, SALLY_CLOSE_WRITE_TIMEOUT);
}

static bool close_it_and_say_false(sally_conn *conn, sally_timeout which)
{
    (void)which;
    sally_conn_send(conn, "too late", 8);
    sally_conn_close(conn);
    return false;
}

static void on_timeout_may_close_by_itself(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_timeout = close_it_and_say_false,
                                                 .server.conn.first_byte_ms = LIMIT_MS});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    char text[8];
    assert_true(raw_read(fd, text, 8));
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_LOCAL);
    assert_string_equal(actor->story, "olc");
    stage_end(stage);
}

/* ---- The connection's own timer ---- */

enum timer_play { SET, REPLACE_LATER, REPLACE_EARLIER, CANCEL, AGAIN };

/* user: the play; number[1]: when it was set, in us; number[2]: the time, in ms */
static void timer_set(sally_conn *conn, uint32_t ms)
{
    struct actor *actor = actor_of(conn);
    atomic_store(&actor->number[1], stage_now_us());
    atomic_store(&actor->number[2], ms);
    STAGE_CHECK(actor->stage, sally_conn_timer(conn, ms) == 0);
}

static void timer_play(sally_conn *conn, const void *data, size_t len)
{
    (void)len;
    switch ((enum timer_play) * (const char *)data) {
    case SET:
    case AGAIN: timer_set(conn, 50); return;
    case REPLACE_LATER:
        timer_set(conn, 20);
        timer_set(conn, 150);
        return;
    case REPLACE_EARLIER:
        timer_set(conn, 30000);
        timer_set(conn, 50);
        return;
    case CANCEL:
        timer_set(conn, 20);
        STAGE_CHECK(actor_of(conn)->stage, sally_conn_timer(conn, 0) == 0);
        return;
    }
}

/* number[3]: fired more often than once in the play AGAIN */
static void timer_fired(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    uint64_t took_us = stage_now_us() - atomic_load(&actor->number[1]);
    if (took_us < atomic_load(&actor->number[2]) * 1000)
        stage_wrong(actor->stage, "a timer of %u ms fired after %u us",
                    (unsigned)atomic_load(&actor->number[2]), (unsigned)took_us);
    if (atomic_load(&actor->number[3]) > 0) {
        atomic_fetch_sub(&actor->number[3], 1);
        timer_set(conn, (uint32_t)(1 + atomic_load(&actor->number[3]) % 7));
    }
}

static void timers_fire_once_and_not_early(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = timer_play,
                                                 .handler.on_timer = timer_fired});
    enum { PLAYS = AGAIN + 1 };
    int fds[PLAYS];
    struct actor *actors[PLAYS];
    for (int i = 0; i < PLAYS; i++) {
        fds[i] = stage_client(stage, 0, &actors[i]);
        if (i == AGAIN) atomic_store(&actors[i]->number[3], 50);
        char play = (char)i;
        assert_true(raw_send(fds[i], &play, 1));
    }
    STAGE_WAIT(atomic_load(&actors[REPLACE_LATER]->timers) == 1);
    STAGE_WAIT(atomic_load(&actors[AGAIN]->timers) == 51);
    STAGE_WAIT(atomic_load(&actors[REPLACE_EARLIER]->timers) == 1);
    STAGE_WAIT(atomic_load(&actors[SET]->timers) == 1);
    for (int i = 0; i < PLAYS; i++) raw_close(fds[i]);
    for (int i = 0; i < PLAYS; i++) actor_wait_closed(actors[i]);
    assert_string_equal(actors[SET]->story, "odtc");
    assert_string_equal(actors[REPLACE_LATER]->story, "odtc");
    assert_string_equal(actors[REPLACE_EARLIER]->story, "odtc");
    assert_string_equal(actors[CANCEL]->story, "odc");
    stage_end(stage);
}

/* The turn's clock is older than the call: a timer counts from the call. */
static void slow_then_timer(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    uint64_t until = stage_now_us() + 60 * 1000;
    while (stage_now_us() < until) {
    }
    timer_set(conn, 50);
}

static void a_timer_counts_from_the_call_though_the_callback_was_slow(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = slow_then_timer,
                                                 .handler.on_timer = timer_fired});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "x", 1));
    STAGE_WAIT(atomic_load(&actor->timers) == 1);
    raw_close(fd);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(a_silent_peer_meets_the_first_byte_limit),
    STAGE_TEST_ON(one_byte_is_enough_for_the_first_byte_limit, 1),
    STAGE_TEST(a_quiet_connection_meets_the_idle_limit),
    STAGE_TEST(a_peer_that_takes_nothing_meets_the_write_limit),
    STAGE_TEST_ON(the_write_limit_holds_while_closing_too, 1),
    STAGE_TEST(a_connection_not_made_in_time_is_connect_timeout),
    STAGE_TEST_ON(limits_dont_fire_while_there_is_traffic, 1),
    STAGE_TEST_ON(what_we_send_counts_as_traffic, 1),
    STAGE_TEST_ON(a_slow_reader_doesnt_meet_the_write_limit, 1),
    STAGE_TEST_ON(forever_is_for_ever, 1),
    STAGE_TEST_ON(on_timeout_false_starts_each_limit_anew, 1),
    STAGE_TEST_ON(on_timeout_may_close_by_itself, 1),
    STAGE_TEST(timers_fire_once_and_not_early),
    STAGE_TEST_ON(a_timer_counts_from_the_call_though_the_callback_was_slow, 1),
};

int main(int argc, char **argv)
{
    return stage_run("limits", tests, sizeof tests / sizeof *tests, argc, argv);
}
