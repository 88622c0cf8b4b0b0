/* Looking at the connections: while they come and go nobody is held up or shown twice, and at rest
 * what is told is the truth. */
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { INFOS_MAX = 1024 };

struct look {
    struct stage *stage;
    unsigned count;
    unsigned stop_at; /* 0: never */
    sally_conn_info infos[INFOS_MAX];
};

static bool collect(const sally_conn_info *info, void *arg)
{
    struct look *look = arg;
    if (look->count < INFOS_MAX) look->infos[look->count] = *info;
    look->count++;
    return look->count != look->stop_at;
}

static const sally_conn_info *info_of(const struct look *look, sally_id id)
{
    for (unsigned i = 0; i < look->count; i++)
        if (look->infos[i].id == id) return &look->infos[i];
    return NULL;
}

static void take_look(struct look *look, struct stage *stage)
{
    look->stage = stage;
    look->count = 0;
    look->stop_at = 0;
    assert_int_equal(sally_engine_each_conn(stage->engine, collect, look), 0);
    assert_true(look->count <= INFOS_MAX);
}

/* ---- At rest ---- */

/* The client's first byte says what becomes of its connection. */
static void become(sally_conn *conn, const void *data, size_t len)
{
    (void)len;
    static const char much[100 * 1000];
    switch (*(const char *)data) {
    case 'p': sally_conn_pause(conn); return;
    case 's': sally_conn_shutdown(conn); return;
    case 'q': sally_conn_send(conn, much, sizeof much); return;
    case 'c':
        sally_conn_send(conn, much, sizeof much);
        sally_conn_close(conn);
        return;
    default: sally_conn_send(conn, "12345", 5); return;
    }
}

static void stay_open(sally_conn *conn) { (void)conn; }

static void assert_as(const sally_conn_info *info, const struct actor *actor, char kind)
{
    char peer[64];
    snprintf(peer, sizeof peer, "%s", actor->peer);
    assert_string_equal(info->peer, peer);
    assert_ptr_equal(info->server, actor->stage->server);
    assert_int_equal(info->bytes_in, 1);
    assert_int_equal(info->paused, kind == 'p' || kind == 'q');
    sally_conn_state state = kind == 's'   ? SALLY_CONN_SHUTDOWN
                             : kind == 'e' ? SALLY_CONN_PEER_FINISHED
                             : kind == 'c' ? SALLY_CONN_CLOSING
                                           : SALLY_CONN_OPEN;
    assert_int_equal(info->state, state);
    if (kind == 'q' || kind == 'c')
        assert_int_equal(info->bytes_out + info->bytes_queued, 100 * 1000);
    else
        assert_int_equal(info->bytes_out, kind == 'o' || kind == 'e' ? 5 : 0);
    assert_true(info->idle_ms <= info->age_ms);
}

static void at_rest_the_look_and_the_counts_are_the_truth(const struct stage_way *way)
{
    static const char kinds[] = "opseqcopseqcopseqc";
    enum { CLIENTS = sizeof kinds - 1 };
    struct stage *stage = stage_begin(
        way,
        &(struct stage_options){.handler.on_data = become,
                                .handler.on_eof = stay_open,
                                .server.conn = {.send_buf_bytes = 4096, .send_high_bytes = 10000}});
    static struct look look;
    int fds[CLIENTS];
    struct actor *actors[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = stage_client(stage, 2048, &actors[i]);
        assert_true(raw_send(fds[i], &kinds[i], 1));
        STAGE_WAIT(atomic_load(&actors[i]->datas) == 1);
        if (kinds[i] == 'e') raw_finish(fds[i]);
        if (kinds[i] == 'e') STAGE_WAIT(atomic_load(&actors[i]->eofs) == 1);
    }
    /* the turns that sent are over when nothing moves any more */
    sally_engine_stats before, after = {0};
    do {
        before = after;
        for (int i = 0; i < 50; i++) stage_nap();
        assert_int_equal(sally_engine_get_stats(stage->engine, &after), 0);
    } while (before.bytes_out != after.bytes_out);
    take_look(&look, stage);
    assert_int_equal(look.count, CLIENTS);
    uint64_t bytes_out = 0;
    for (int i = 0; i < CLIENTS; i++) {
        const sally_conn_info *info = info_of(&look, actors[i]->id);
        assert_non_null(info);
        assert_as(info, actors[i], kinds[i]);
        bytes_out += info->bytes_out;
    }
    assert_int_equal(after.conns, CLIENTS);
    assert_int_equal(after.accepted, CLIENTS);
    assert_int_equal(after.closed, 0);
    assert_int_equal(after.bytes_in, CLIENTS);
    assert_int_equal(after.bytes_out, bytes_out);
    assert_int_equal(sally_server_conns(stage->server), CLIENTS);
    for (int i = 0; i < CLIENTS; i++) raw_reset(fds[i]);
    stage_end(stage);
}

static void a_look_that_is_told_to_stop_stops(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){0});
    static struct look look;
    int fds[10];
    for (int i = 0; i < 10; i++) fds[i] = stage_client(stage, 0, NULL);
    for (unsigned stop = 1; stop <= 10; stop++) {
        look.count = 0;
        look.stop_at = stop;
        assert_int_equal(sally_engine_each_conn(stage->engine, collect, &look), 0);
        assert_int_equal(look.count, stop);
    }
    for (int i = 0; i < 10; i++) raw_close(fds[i]);
    STAGE_WAIT(atomic_load(&stage->closed) == 10);
    sally_engine_stats stats;
    STAGE_WAIT(sally_engine_get_stats(stage->engine, &stats) == 0 && stats.conns == 0);
    take_look(&look, stage);
    assert_int_equal(look.count, 0);
    assert_int_equal(sally_engine_stop(stage->engine), 0);
    assert_int_equal(sally_engine_wait(stage->engine), 0);
    take_look(&look, stage);
    assert_int_equal(look.count, 0);
    stage_end(stage);
}

/* ---- In motion ---- */

static atomic_bool churn_over;

static void *churn(void *arg)
{
    struct stage *stage = arg;
    struct lot lot = {.state = (uint64_t)(uintptr_t)&lot};
    int fds[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    while (!atomic_load(&churn_over)) {
        int *fd = &fds[lot_below(&lot, 8)];
        if (*fd < 0) {
            /* waits for its answer, so that the engine keeps up */
            char answer[5];
            *fd = raw_connect(stage->address, 0);
            if (*fd >= 0 && raw_send(*fd, "o", 1)) (void)raw_read(*fd, answer, sizeof answer);
        } else {
            (lot_below(&lot, 2) ? raw_reset : raw_close)(*fd);
            *fd = -1;
        }
    }
    for (int i = 0; i < 8; i++)
        if (fds[i] >= 0) raw_close(fds[i]);
    return NULL;
}

static int by_id(const void *a, const void *b)
{
    sally_id x = ((const sally_conn_info *)a)->id, y = ((const sally_conn_info *)b)->id;
    return (x > y) - (x < y);
}

/* A connection that is there all the time is in each look, once; nobody is twice in one. */
static void judge_look(struct look *look, const sally_id *steady, unsigned count)
{
    qsort(look->infos, look->count, sizeof *look->infos, by_id);
    for (unsigned i = 0; i < look->count; i++) {
        const sally_conn_info *info = &look->infos[i];
        assert_true(info->id != 0);
        assert_true((unsigned)info->state <= SALLY_CONN_CLOSING);
        assert_true(strncmp(info->peer, "127.0.0.1:", 10) == 0);
        if (i) assert_true(look->infos[i - 1].id != info->id);
    }
    for (unsigned i = 0; i < count; i++) assert_non_null(info_of(look, steady[i]));
}

static void looks_during_churn_show_each_connection_once(const struct stage_way *way)
{
    enum { STEADY = 10, LOOKS = 200, CHURNERS = 2 };
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = become});
    static struct look look;
    int fds[STEADY];
    sally_id ids[STEADY];
    for (int i = 0; i < STEADY; i++) {
        struct actor *actor;
        fds[i] = stage_client(stage, 0, &actor);
        ids[i] = actor->id;
    }
    atomic_store(&churn_over, false);
    pthread_t threads[CHURNERS];
    for (int i = 0; i < CHURNERS; i++) threads[i] = stage_thread(churn, stage);
    sally_engine_stats before = {0};
    for (uint64_t i = 0; i < stage_scaled(LOOKS); i++) {
        take_look(&look, stage);
        judge_look(&look, ids, STEADY);
        sally_engine_stats stats;
        assert_int_equal(sally_engine_get_stats(stage->engine, &stats), 0);
        assert_true(stats.conns >= STEADY && stats.conns <= STEADY + 4096);
        assert_true(stats.accepted >= before.accepted && stats.closed >= before.closed);
        assert_true(stats.turns >= before.turns && stats.bytes_in >= before.bytes_in);
        before = stats;
        for (int nap = 0; nap < 9; nap++) stage_nap();
    }
    atomic_store(&churn_over, true);
    for (int i = 0; i < CHURNERS; i++) pthread_join(threads[i], NULL);
    STAGE_WAIT(sally_engine_get_stats(stage->engine, &before) == 0 && before.conns == STEADY);
    take_look(&look, stage);
    assert_int_equal(look.count, STEADY);
    judge_look(&look, ids, STEADY);
    for (int i = 0; i < STEADY; i++) raw_close(fds[i]);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(at_rest_the_look_and_the_counts_are_the_truth),
    STAGE_TEST(a_look_that_is_told_to_stop_stops),
    STAGE_TEST(looks_during_churn_show_each_connection_once),
};

int main(int argc, char **argv)
{
    return stage_run("snapshot", tests, sizeof tests / sizeof *tests, argc, argv);
}
