/* Servers that accept with data: who has said nothing costs no connection, no place and no
 * callback; who speaks is served at once, and its first bytes are its first bytes. */
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { SILENT = 20, SHORT_MS = 200 };

static struct stage *begin(const struct stage_way *way, sally_server_options server)
{
    server.accept_with_data = true;
    return stage_begin(way,
                       &(struct stage_options){.handler.on_data = stage_echo, .server = server});
}

static void connect_silent(const struct stage *stage, int *fds, int count)
{
    for (int i = 0; i < count; i++) assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
}

static void close_all(const int *fds, int count)
{
    for (int i = 0; i < count; i++) raw_close(fds[i]);
}

/* A whole conversation: what it says comes back, then the end. */
static void converse(const struct stage *stage, uint64_t stream, uint64_t bytes)
{
    int fd = raw_connect(stage->address, 0);
    assert_true(fd >= 0);
    assert_true(raw_send_pattern(fd, stream, 0, bytes, 700));
    assert_true(raw_check(fd, stream, 0, bytes, 0));
    raw_finish(fd);
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
}

/* With room for one connection in all; accepting goes on when it is taken. */
static void the_silent_cost_no_connection(const struct stage_way *way)
{
    int fds[SILENT];
    struct stage *stage =
        begin(way, (sally_server_options){.conns_max = 1, .at_limit = SALLY_AT_LIMIT_RESET});
    connect_silent(stage, fds, SILENT);
    for (unsigned n = 1; n <= 10; n++) {
        converse(stage, n, 3000);
        STAGE_WAIT(atomic_load(&stage->closed) == n && stage_server_stats(stage).conns == 0);
    }
    assert_int_equal(atomic_load(&stage->opened), 10);
    assert_int_equal(stage_server_stats(stage).accepted, 10);
    assert_int_equal(stage_server_stats(stage).conns, 0);
    close_all(fds, SILENT);
    STAGE_WAIT(stage_server_stats(stage).silent == SILENT);
    stage_end(stage);
}

static atomic_uint told;

static void note_event(sally_server *server, const sally_server_event *event)
{
    (void)server, (void)event;
    atomic_fetch_add(&told, 1);
}

static void silence_is_cut_without_a_word_to_the_program(const struct stage_way *way)
{
    int fds[SILENT];
    atomic_store(&told, 0);
    struct stage *stage = stage_begin(
        way,
        &(struct stage_options){.handler.on_data = stage_echo,
                                .handler.on_error = note_event,
                                .server = {.accept_with_data = true, .accept_data_ms = SHORT_MS}});
    uint64_t began = stage_now_us();
    connect_silent(stage, fds, SILENT);
    for (int i = 0; i < SILENT; i++)
        assert_string_equal(raw_end_name(raw_read_to_end(fds[i], NULL)), "FIN");
    assert_true(stage_now_us() - began + 10000 >= SHORT_MS * 1000);
    STAGE_WAIT(stage_server_stats(stage).silent == SILENT);
    assert_int_equal(atomic_load(&stage->opened), 0);
    /* Wine's AcceptEx may fail by itself (31); that is told, the silent ones are not */
    assert_int_equal(atomic_load(&told), stage_server_stats(stage).accept_failures);
    if (strcmp(sally_engine_port(stage->engine), "iocp") != 0)
        assert_int_equal(atomic_load(&told), 0);
    converse(stage, 1, 100);
    close_all(fds, SILENT);
    STAGE_WAIT(atomic_load(&stage->closed) == 1);
    stage_end(stage);
}

/* The good one is silent too until its bytes are there, so it may cost one more of the old. */
static void past_the_limit_the_oldest_goes(const struct stage_way *way)
{
    enum { HELD = 4, CUT = SILENT - HELD, KEPT = HELD - 1 };
    int fds[SILENT];
    struct stage *stage = begin(way, (sally_server_options){.accept_held_max = HELD});
    connect_silent(stage, fds, SILENT);
    STAGE_WAIT(stage_server_stats(stage).silent == CUT);
    for (int i = 0; i < CUT; i++)
        assert_string_equal(raw_end_name(raw_read_to_end(fds[i], NULL)), "FIN");
    converse(stage, 1, 100);
    for (int i = SILENT - KEPT; i < SILENT; i++) {
        char byte = 0;
        assert_true(raw_send(fds[i], "x", 1) && raw_read(fds[i], &byte, 1));
        assert_int_equal(byte, 'x');
    }
    assert_true(stage_server_stats(stage).silent <= CUT + 1);
    assert_int_equal(stage_server_stats(stage).stalled_times, 0);
    close_all(fds, SILENT);
    STAGE_WAIT(atomic_load(&stage->closed) == 1 + KEPT);
    stage_end(stage);
}

/* More than comes with the accept, in pieces, on each shard. */
static void the_first_bytes_come_first(const struct stage_way *way)
{
    struct stage *stage = begin(way, (sally_server_options){0});
    for (unsigned n = 1; n <= 12; n++) converse(stage, n, 1 + n * 4001);
    STAGE_WAIT(atomic_load(&stage->closed) == 12);
    for (unsigned n = 1; n <= 12; n++) {
        const sally_close_info *info = actor_wait_closed(stage_actor(stage, n - 1));
        assert_int_equal(info->bytes_in, info->bytes_out);
    }
    stage_end(stage);
}

static void pause_at_first(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_pause(conn) == 0);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_timer(conn, 50) == 0);
}

static void go_on(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    STAGE_CHECK(actor->stage, atomic_load(&actor->datas) == 0);
    STAGE_CHECK(actor->stage, sally_conn_resume(conn) == 0);
}

static void a_pause_in_on_open_holds_the_first_bytes_too(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = pause_at_first,
                                                 .handler.on_timer = go_on,
                                                 .handler.on_data = stage_echo,
                                                 .server.accept_with_data = true});
    for (unsigned n = 1; n <= 3; n++) converse(stage, n, 9000);
    STAGE_WAIT(atomic_load(&stage->closed) == 3);
    stage_end(stage);
}

static void abort_at_first(sally_conn *conn) { sally_conn_abort(conn); }

static void no_bytes_after_an_abort_in_on_open(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_open = abort_at_first,
                                                 .handler.on_data = stage_echo,
                                                 .server.accept_with_data = true});
    for (unsigned n = 0; n < 3; n++) {
        int fd = raw_connect(stage->address, 0);
        assert_true(raw_send(fd, "hello", 5));
        struct actor *actor = stage_actor(stage, n);
        assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_ABORTED);
        assert_int_equal(atomic_load(&actor->datas), 0);
        raw_close(fd);
    }
    stage_end(stage);
}

/* stage_end finds what is left. */
static void the_engine_ends_with_silent_ones(const struct stage_way *way)
{
    int fds[SILENT];
    struct stage *stage = begin(way, (sally_server_options){0});
    connect_silent(stage, fds, SILENT);
    converse(stage, 1, 10);
    stage_destroy_engine(stage);
    for (int i = 0; i < SILENT; i++) {
        enum raw_end end = raw_read_to_end(fds[i], NULL);
        assert_true(end == RAW_FIN || end == RAW_RST);
    }
    close_all(fds, SILENT);
    stage_end(stage);
}

static void a_pause_of_the_server_hands_out_nobody(const struct stage_way *way)
{
    struct stage *stage = begin(way, (sally_server_options){0});
    assert_int_equal(sally_server_pause(stage->server), 0);
    STAGE_WAIT(stage_server_stats(stage).armed == 0);
    int fd = raw_connect(stage->address, 0);
    assert_true(raw_send(fd, "hello", 5));
    for (int i = 0; i < 50; i++) stage_nap();
    assert_int_equal(atomic_load(&stage->opened), 0);
    assert_int_equal(sally_server_resume(stage->server), 0);
    char got[5];
    assert_true(raw_read(fd, got, sizeof got));
    assert_memory_equal(got, "hello", sizeof got);
    raw_close(fd);
    STAGE_WAIT(atomic_load(&stage->closed) == 1);
    stage_end(stage);
}

static void too_many_that_may_wait_are_refused(const struct stage_way *way)
{
    struct stage *stage = begin(way, (sally_server_options){0});
    sally_server_options options = {.accept_with_data = true, .accept_held_max = 65001};
    assert_int_equal(
        sally_listen(stage->engine, "127.0.0.1:0", &(sally_handler){0}, &options, NULL),
        SALLY_EINVAL);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(the_silent_cost_no_connection),
    STAGE_TEST(silence_is_cut_without_a_word_to_the_program),
    STAGE_TEST_ON(past_the_limit_the_oldest_goes, 1),
    STAGE_TEST(the_first_bytes_come_first),
    STAGE_TEST(a_pause_in_on_open_holds_the_first_bytes_too),
    STAGE_TEST_ON(no_bytes_after_an_abort_in_on_open, 1),
    STAGE_TEST(the_engine_ends_with_silent_ones),
    STAGE_TEST_ON(a_pause_of_the_server_hands_out_nobody, 1),
    STAGE_TEST_ON(too_many_that_may_wait_are_refused, 1),
};

int main(int argc, char **argv)
{
    return stage_run("first_data", tests, sizeof tests / sizeof *tests, argc, argv);
}
