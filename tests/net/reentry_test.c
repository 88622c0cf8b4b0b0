/* Every call from every callback: nothing is called back inside a call, on_close can start nothing,
 * and what one connection's callback does to others is done when it has returned. */
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { CALLBACKS = 8, CALLS = 20, CELLS = CALLBACKS * CALLS, HIGH_BYTES = 1000 };

/* number[0]: 1 + the cell; number[1]: its call was made; number[2]: it posted;
 * number[3]: posts that ran */

static void posted(sally_conn *conn, void *arg)
{
    struct actor *actor = arg;
    (void)conn;
    atomic_fetch_add(&actor->number[3], 1);
}

static bool each_none(const sally_conn_info *info, void *arg)
{
    (void)info;
    (void)arg;
    return true;
}

struct call {
    const char *name;
    int (*make)(sally_conn *conn, struct actor *actor);
    int wanted;   /* while the connection is open */
    int finished; /* in on_close */
};

static int call_send(sally_conn *conn, struct actor *actor)
{
    (void)actor;
    return sally_conn_send(conn, "sent", 4);
}

static int call_send_buf(sally_conn *conn, struct actor *actor)
{
    sally_buf *buf = sally_buf_create(actor->stage->engine, 100);
    memset(sally_buf_data(buf), 'b', 100);
    int err = sally_conn_send_buf(conn, buf);
    sally_buf_release(buf);
    return err;
}

static int call_shutdown(sally_conn *conn, struct actor *actor)
{
    (void)actor;
    return sally_conn_shutdown(conn);
}

static int call_close(sally_conn *conn, struct actor *actor)
{
    (void)actor;
    return sally_conn_close(conn);
}

static int call_abort(sally_conn *conn, struct actor *actor)
{
    (void)actor;
    return sally_conn_abort(conn);
}

static int call_pause(sally_conn *conn, struct actor *actor)
{
    (void)actor;
    return sally_conn_pause(conn);
}

static int call_resume(sally_conn *conn, struct actor *actor)
{
    (void)actor;
    int err = sally_conn_pause(conn);
    return err ? err : sally_conn_resume(conn);
}

static int call_timer(sally_conn *conn, struct actor *actor)
{
    (void)actor;
    return sally_conn_timer(conn, 1);
}

static int call_look(sally_conn *conn, struct actor *actor)
{
    char peer[64], local[64];
    sally_conn_peer(conn, peer, sizeof peer);
    sally_conn_local(conn, local, sizeof local);
    STAGE_CHECK(actor->stage, strcmp(peer, actor->peer) == 0);
    STAGE_CHECK(actor->stage, sally_conn_id(conn) == actor->id);
    STAGE_CHECK(actor->stage, sally_conn_engine(conn) == actor->stage->engine);
    STAGE_CHECK(actor->stage, sally_conn_server(conn) == actor->stage->server);
    return 0;
}

static int call_id_send(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    return sally_send(actor->stage->engine, actor->id, "sent", 4);
}

static int call_id_close(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    return sally_close(actor->stage->engine, actor->id);
}

static int call_id_abort(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    return sally_abort(actor->stage->engine, actor->id);
}

static int call_post(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    int err = sally_post(actor->stage->engine, actor->id, posted, actor);
    if (!err) atomic_fetch_add(&actor->number[2], 1);
    return err;
}

static int call_connect(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    /* nobody listens on port 1: on_close alone */
    return stage_connect(actor->stage, "127.0.0.1:1", NULL, NULL);
}

static int call_each_conn(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    return sally_engine_each_conn(actor->stage->engine, each_none, NULL);
}

static int call_destroy(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    return sally_engine_destroy(actor->stage->engine);
}

static int call_wait(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    return sally_engine_wait(actor->stage->engine);
}

static int call_start(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    return sally_engine_start(actor->stage->engine);
}

static int call_run_once(sally_conn *conn, struct actor *actor)
{
    (void)conn;
    int err = sally_engine_run_once(actor->stage->engine, 0);
    return err == SALLY_ESTATE ? SALLY_ETHREAD : err; /* both reasons hold */
}

static int call_server(sally_conn *conn, struct actor *actor)
{
    sally_server *server = sally_conn_server(conn);
    sally_server_stats stats;
    int err = sally_server_get_stats(server, &stats);
    if (!err) err = sally_server_pause(server);
    if (!err) err = sally_server_resume(server);
    STAGE_CHECK(actor->stage, stats.conns > 0);
    return err;
}

static const struct call calls[CALLS] = {
    {"send", call_send, 0, SALLY_ECLOSED},
    {"send_buf", call_send_buf, 0, SALLY_ECLOSED},
    {"shutdown", call_shutdown, 0, SALLY_ECLOSED},
    {"close", call_close, 0, 0},
    {"abort", call_abort, 0, 0},
    {"pause", call_pause, 0, SALLY_ECLOSED},
    {"resume", call_resume, 0, SALLY_ECLOSED},
    {"timer", call_timer, 0, SALLY_ECLOSED},
    {"look", call_look, 0, 0},
    {"sally_send", call_id_send, 0, SALLY_ECLOSED},
    {"sally_close", call_id_close, 0, 0},
    {"sally_abort", call_id_abort, 0, 0},
    {"sally_post", call_post, 0, 0},
    {"connect", call_connect, 0, 0},
    {"each_conn", call_each_conn, SALLY_ETHREAD, SALLY_ETHREAD},
    {"destroy", call_destroy, SALLY_ETHREAD, SALLY_ETHREAD},
    {"wait", call_wait, SALLY_ETHREAD, SALLY_ETHREAD},
    {"start", call_start, SALLY_ETHREAD, SALLY_ETHREAD},
    {"run_once", call_run_once, SALLY_ETHREAD, SALLY_ETHREAD},
    {"server", call_server, 0, 0},
};

/* ---- The matrix: a client says which callback and which call ---- */

enum callback { ON_OPEN, ON_DATA, ON_SENT, ON_DRAIN, ON_EOF, ON_TIMER, ON_TIMEOUT, ON_CLOSE };
static const char *const callback_names[CALLBACKS] = {
    "on_open", "on_data", "on_sent", "on_drain", "on_eof", "on_timer", "on_timeout", "on_close"};

/* The connections that make their call in on_open know no cell from a byte: they take one in turn.
 */
static atomic_uint open_cells;
static atomic_bool open_phase;

static void perform(sally_conn *conn, enum callback callback)
{
    struct actor *actor = actor_of(conn);
    uint64_t cell = atomic_load(&actor->number[0]);
    if (!cell || (cell - 1) / CALLS != callback || atomic_exchange(&actor->number[1], 1)) return;
    const struct call *call = &calls[(cell - 1) % CALLS];
    int wanted = callback == ON_CLOSE ? call->finished : call->wanted;
    int got = call->make(conn, actor);
    if (got != wanted)
        stage_wrong(actor->stage, "%s in %s: %s, not %s", call->name, callback_names[callback],
                    sally_err_name(got), sally_err_name(wanted));
}

static void matrix_open(sally_conn *conn)
{
    if (!atomic_load(&open_phase)) return;
    atomic_store(&actor_of(conn)->number[0],
                 1 + ON_OPEN * CALLS + atomic_fetch_add(&open_cells, 1));
    perform(conn, ON_OPEN);
}

static void matrix_data(sally_conn *conn, const void *data, size_t len)
{
    (void)len;
    struct actor *actor = actor_of(conn);
    static const char many[HIGH_BYTES * 4];
    if (atomic_load(&actor->number[0])) return; /* it was made in on_open */
    unsigned char cell = *(const unsigned char *)data;
    atomic_store(&actor->number[0], 1 + cell);
    switch ((enum callback)(cell / CALLS)) {
    case ON_SENT: sally_conn_send(conn, "x", 1); break;
    case ON_DRAIN: sally_conn_send(conn, many, sizeof many); break;
    case ON_TIMER: sally_conn_timer(conn, 1); break;
    default: break;
    }
    perform(conn, ON_DATA);
    /* what was given stays readable until the callback returns, whatever was called */
    STAGE_CHECK(actor->stage, *(const volatile unsigned char *)data == cell);
}

static void matrix_sent(sally_conn *conn, size_t bytes)
{
    (void)bytes;
    perform(conn, ON_SENT);
}

static void matrix_drain(sally_conn *conn) { perform(conn, ON_DRAIN); }
static void matrix_eof(sally_conn *conn) { perform(conn, ON_EOF); }
static void matrix_timer(sally_conn *conn) { perform(conn, ON_TIMER); }

static bool matrix_timeout(sally_conn *conn, sally_timeout which)
{
    (void)which;
    perform(conn, ON_TIMEOUT);
    return true;
}

static void matrix_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    perform(conn, ON_CLOSE);
}

static void judge_cells(struct stage *stage)
{
    unsigned made = 0;
    for (unsigned i = 0; i < atomic_load(&stage->actor_count); i++) {
        struct actor *actor = atomic_load(&stage->actors[i]);
        actor_wait_closed(actor);
        uint64_t cell = atomic_load(&actor->number[0]);
        if (!cell) continue; /* an outgoing one */
        if (!atomic_load(&actor->number[1]))
            stage_wrong(stage, "%s in %s was not made: %s", calls[(cell - 1) % CALLS].name,
                        callback_names[(cell - 1) / CALLS], actor->story);
        STAGE_WAIT(atomic_load(&actor->number[3]) == atomic_load(&actor->number[2]));
        made++;
    }
    assert_int_equal(made, CELLS);
}

static void every_call_from_every_callback(const struct stage_way *way)
{
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler = {.on_open = matrix_open,
                                                 .on_data = matrix_data,
                                                 .on_sent = matrix_sent,
                                                 .on_drain = matrix_drain,
                                                 .on_eof = matrix_eof,
                                                 .on_timer = matrix_timer,
                                                 .on_timeout = matrix_timeout,
                                                 .on_close = matrix_close},
                                     /* short, but a client's first bytes must come before it */
                                     .server.conn = {.idle_ms = STAGE_SLOW ? 3000 : 1000,
                                                     .linger_ms = 400,
                                                     .send_high_bytes = HIGH_BYTES}});
    int fds[CELLS];
    atomic_store(&open_cells, 0);
    atomic_store(&open_phase, true);
    for (int cell = 0; cell < CALLS; cell++) fds[cell] = stage_client(stage, 0, NULL);
    atomic_store(&open_phase, false);
    for (int cell = CALLS; cell < CELLS; cell++) {
        unsigned char byte = (unsigned char)cell;
        fds[cell] = stage_client(stage, 0, NULL);
        assert_true(raw_send(fds[cell], &byte, 1));
        if (cell / CALLS == ON_EOF) raw_finish(fds[cell]);
    }
    for (int cell = 0; cell < CELLS; cell++) {
        enum raw_end end = raw_read_to_end(fds[cell], NULL);
        assert_true(end == RAW_FIN || end == RAW_RST);
        raw_close(fds[cell]);
    }
    judge_cells(stage);
    stage_end(stage);
}

/* ---- Three levels deep: the end of one ends the next, by pointer on one shard, by id on many ----
 */

enum { CHAIN = 4 };
static struct actor *_Atomic chain[CHAIN];

static void end_next(struct actor *actor)
{
    for (unsigned i = 0; i + 1 < CHAIN; i++) {
        struct actor *next = atomic_load(&chain[i + 1]);
        if (atomic_load(&chain[i]) != actor) continue;
        if (actor->stage->way.shards > 1) {
            int err = i % 2 ? sally_close(actor->stage->engine, next->id)
                            : sally_abort(actor->stage->engine, next->id);
            STAGE_CHECK(actor->stage, err == 0);
        } else {
            STAGE_CHECK(actor->stage, sally_conn_send(next->conn, "before", 6) == 0);
            STAGE_CHECK(actor->stage,
                        (i % 2 ? sally_conn_close : sally_conn_abort)(next->conn) == 0);
            STAGE_CHECK(actor->stage, !atomic_load(&next->closed));
        }
    }
}

static void chain_data(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    end_next(actor_of(conn));
    sally_conn_abort(conn);
}

static void chain_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    struct actor *actor = actor_of(conn);
    if (actor != atomic_load(&chain[0])) end_next(actor);
}

static void the_end_of_one_connection_may_end_the_next(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = chain_data,
                                                 .handler.on_close = chain_close});
    for (int round = 0; round < 50; round++) {
        int fds[CHAIN];
        struct actor *actors[CHAIN];
        for (int i = 0; i < CHAIN; i++) {
            fds[i] = stage_client(stage, 0, &actors[i]);
            atomic_store(&chain[i], actors[i]);
        }
        assert_true(raw_send(fds[0], "x", 1));
        assert_string_equal(raw_end_name(raw_read_to_end(fds[0], NULL)), "RST");
        for (int i = 1; i < CHAIN; i++) {
            assert_string_equal(raw_end_name(raw_read_to_end(fds[i], NULL)), i % 2 ? "RST" : "FIN");
            raw_close(fds[i]);
        }
        raw_close(fds[0]);
        for (int i = 0; i < CHAIN; i++) actor_wait_closed(actors[i]);
    }
    stage_end(stage);
}

/* Two connections talk to each other from their callbacks, both ways at once (S2-33). */
static void cross_data(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = actor_of(conn);
    struct actor *other = atomic_load(&chain[atomic_load(&chain[0]) == actor ? 1 : 0]);
    int err = sally_send(actor->stage->engine, other->id, data, len);
    STAGE_CHECK(actor->stage, err == 0);
}

struct reader {
    int fd;
    uint64_t stream, bytes;
    bool right;
};

static void *read_stream(void *arg)
{
    struct reader *reader = arg;
    reader->right = raw_check(reader->fd, reader->stream, 0, reader->bytes, 0);
    return NULL;
}

static void *write_stream(void *arg)
{
    struct reader *reader = arg;
    (void)raw_send_pattern(reader->fd, reader->stream, 0, reader->bytes, 20000);
    return NULL;
}

static void two_connections_talk_across_shards_from_their_callbacks(const struct stage_way *way)
{
    uint64_t bytes = stage_scaled(20 << 20);
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = cross_data,
                                                 .server.conn.send_bytes_max = 64 << 20});
    int fds[2];
    struct actor *actors[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = stage_client(stage, 0, &actors[i]);
        atomic_store(&chain[i], actors[i]);
    }
    if (way->shards > 1) assert_true(actors[0]->thread != actors[1]->thread);
    struct reader readers[2], writers[2];
    pthread_t threads[4];
    for (unsigned i = 0; i < 2; i++) {
        writers[i] = (struct reader){.fd = fds[i], .stream = i, .bytes = bytes};
        readers[i] = (struct reader){.fd = fds[i], .stream = 1 - i, .bytes = bytes};
        threads[i] = stage_thread(read_stream, &readers[i]);
        threads[2 + i] = stage_thread(write_stream, &writers[i]);
    }
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_true(readers[0].right && readers[1].right);
    raw_close(fds[0]);
    raw_close(fds[1]);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(every_call_from_every_callback),
    STAGE_TEST(the_end_of_one_connection_may_end_the_next),
    STAGE_TEST(two_connections_talk_across_shards_from_their_callbacks),
};

int main(int argc, char **argv)
{
    return stage_run("reentry", tests, sizeof tests / sizeof *tests, argc, argv);
}
