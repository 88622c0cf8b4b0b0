/* Everything at once, drawn by a seed: clients that connect, send, finish, reset and sleep;
 * handlers that send, pause, close, abort, post and set timers, on their own and on other
 * connections. What is judged is the trace: each connection opened first, closed once and last, one
 * callback at a time; and what a client reads is always a part of its own stream, in order. */
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { CLIENTS = 50, CLIENT_THREADS = 5, STEPS = 6000, RECENT = 64 };

static uint64_t seed;
static _Atomic sally_id recent[RECENT]; /* ids, of which many have gone */

/* The handlers' choices: one state a thread. */
static struct lot *shard_lot(void)
{
    static _Thread_local struct lot lot;
    static atomic_uint threads;
    if (!lot.state) lot.state = seed + 1000 + atomic_fetch_add(&threads, 1);
    return &lot;
}

static void posted(sally_conn *conn, void *arg)
{
    int *parcel = arg;
    if (conn && *parcel == 0) sally_conn_abort(conn);
    if (conn && *parcel == 1) sally_conn_resume(conn);
    free(parcel);
}

static void post(struct stage *stage, sally_id id, int what)
{
    int *parcel = malloc(sizeof *parcel);
    if (!parcel) abort();
    *parcel = what;
    if (sally_post(stage->engine, id, posted, parcel) != 0) free(parcel);
}

/* Bytes to somebody else are no part of its stream, so only ends and posts go to others. */
static void act_on_another(struct stage *stage, struct lot *lot)
{
    sally_id id = atomic_load(&recent[lot_below(lot, RECENT)]);
    if (!id) return;
    switch (lot_below(lot, 8)) {
    case 0: (void)sally_close(stage->engine, id); return;
    case 1: (void)sally_abort(stage->engine, id); return;
    case 2: post(stage, id, 0); return;
    default: post(stage, id, 1); return;
    }
}

/* number[0]: bytes of the pattern sent */
static void send_more(sally_conn *conn, struct lot *lot)
{
    static _Thread_local unsigned char piece[40000];
    struct actor *actor = actor_of(conn);
    size_t n = 1 + lot_below(lot, lot_below(lot, 4) ? 500 : sizeof piece);
    uint64_t at = atomic_load(&actor->number[0]);
    pattern_fill(piece, 7, at, n);
    int err;
    if (lot_below(lot, 8) == 0) {
        sally_buf *buf = sally_buf_create(actor->stage->engine, n);
        memcpy(sally_buf_data(buf), piece, n);
        err = sally_conn_send_buf(conn, buf);
        sally_buf_release(buf);
    } else if (lot_below(lot, 4) == 0) {
        err = sally_send(actor->stage->engine, actor->id, piece, n);
    } else {
        err = sally_conn_send(conn, piece, n);
    }
    if (!err) atomic_store(&actor->number[0], at + n);
    if (err && err != SALLY_EFULL && err != SALLY_ECLOSED)
        stage_wrong(actor->stage, "send: %s", sally_err_name(err));
}

static void act(sally_conn *conn)
{
    struct lot *lot = shard_lot();
    struct actor *actor = actor_of(conn);
    for (uint32_t n = lot_below(lot, 4); n > 0; n--) {
        switch (lot_below(lot, 40)) {
        case 0: sally_conn_close(conn); break;
        case 1: sally_conn_abort(conn); break;
        case 2: sally_conn_shutdown(conn); break;
        case 3:
        case 4:
            sally_conn_pause(conn);
            sally_conn_timer(conn, 1 + lot_below(lot, 5)); /* which resumes */
            break;
        case 5: sally_conn_resume(conn); break;
        case 6: post(actor->stage, actor->id, 1); break;
        case 7:
        case 8: act_on_another(actor->stage, lot); break;
        case 9: sally_conn_timer(conn, lot_below(lot, 4)); break;
        default: send_more(conn, lot); break;
        }
    }
}

static void torture_open(sally_conn *conn)
{
    struct actor *actor = actor_of(conn);
    atomic_store(&recent[actor->index % RECENT], actor->id);
    act(conn);
}

static void torture_data(sally_conn *conn, const void *data, size_t len)
{
    unsigned char first = *(const unsigned char *)data,
                  last = ((const unsigned char *)data)[len - 1];
    act(conn);
    /* readable until the callback returns, whatever was called */
    STAGE_CHECK(actor_of(conn)->stage, *(const volatile unsigned char *)data == first);
    STAGE_CHECK(actor_of(conn)->stage, ((const volatile unsigned char *)data)[len - 1] == last);
}

static void torture_sent(sally_conn *conn, size_t bytes)
{
    (void)bytes;
    if (lot_below(shard_lot(), 4) == 0) act(conn);
}

static void torture_timer(sally_conn *conn)
{
    sally_conn_resume(conn);
    act(conn);
}

static void torture_eof(sally_conn *conn)
{
    act(conn);
    if (lot_below(shard_lot(), 3))
        sally_conn_close(conn);
    else
        sally_conn_timer(conn, 1);
}

static bool torture_timeout(sally_conn *conn, sally_timeout which)
{
    (void)which;
    act(conn);
    return lot_below(shard_lot(), 2);
}

static void torture_close(sally_conn *conn, const sally_close_info *info)
{
    struct actor *actor = actor_of(conn);
    uint64_t accepted = atomic_load(&actor->number[0]);
    STAGE_CHECK(actor->stage, info->bytes_out + info->bytes_unsent == accepted);
    if (lot_below(shard_lot(), 4) == 0) act(conn);
    act_on_another(actor->stage, shard_lot());
}

/* ---- The other side ---- */

struct client {
    int fd;
    uint64_t read;
};

struct squad {
    struct stage *stage;
    struct lot lot;
    struct client clients[CLIENTS / CLIENT_THREADS];
    uint64_t steps;
};

static void client_read(struct squad *squad, struct client *client)
{
    unsigned char piece[20000];
    if (client->fd < 0) return;
    long got = raw_recv_now(client->fd, piece, 1 + lot_below(&squad->lot, sizeof piece));
    if (got <= 0) return;
    if (pattern_check(piece, 7, client->read, (size_t)got) != (size_t)got)
        stage_wrong(squad->stage, "a client read what is not its own");
    client->read += (uint64_t)got;
}

static void client_send(struct squad *squad, struct client *client)
{
    static const unsigned char zeros[30000];
    if (client->fd < 0) return;
    size_t n = 1 + lot_below(&squad->lot, lot_below(&squad->lot, 3) ? 300 : sizeof zeros);
    (void)raw_send_some(client->fd, zeros, n, 0);
}

static void client_step(struct squad *squad, struct client *client)
{
    if (client->fd < 0) {
        client->fd = raw_connect(squad->stage->address, lot_below(&squad->lot, 2) ? 4096 : 0);
        client->read = 0;
        return;
    }
    switch (lot_below(&squad->lot, 30)) {
    case 0:
        raw_reset(client->fd);
        client->fd = -1;
        return;
    case 1:
        raw_close(client->fd);
        client->fd = -1;
        return;
    case 2: raw_finish(client->fd); return;
    case 3: stage_nap(); return;
    case 4:
    case 5: act_on_another(squad->stage, &squad->lot); return;
    case 6:
        (void)stage_connect(squad->stage, squad->stage->address,
                            &(sally_connect_options){.conn.idle_ms = 200}, NULL);
        return;
    default: break;
    }
    if (lot_below(&squad->lot, 2))
        client_send(squad, client);
    else
        client_read(squad, client);
}

static void *run_squad(void *arg)
{
    struct squad *squad = arg;
    uint32_t count = CLIENTS / CLIENT_THREADS;
    for (uint64_t step = 0; step < squad->steps; step++)
        client_step(squad, &squad->clients[lot_below(&squad->lot, count)]);
    for (uint32_t i = 0; i < count; i++)
        if (squad->clients[i].fd >= 0) raw_close(squad->clients[i].fd);
    return NULL;
}

static const sally_handler torture_handler = {
    .on_open = torture_open,
    .on_data = torture_data,
    .on_sent = torture_sent,
    .on_drain = act,
    .on_eof = torture_eof,
    .on_timer = torture_timer,
    .on_timeout = torture_timeout,
    .on_close = torture_close,
};

static void run_squads(struct stage *stage)
{
    static struct squad squads[CLIENT_THREADS];
    pthread_t threads[CLIENT_THREADS];
    for (unsigned i = 0; i < CLIENT_THREADS; i++) {
        squads[i] = (struct squad){
            .stage = stage, .lot = {.state = seed + i}, .steps = stage_scaled(5 * STEPS)};
        for (unsigned k = 0; k < CLIENTS / CLIENT_THREADS; k++) squads[i].clients[k].fd = -1;
        threads[i] = stage_thread(run_squad, &squads[i]);
    }
    for (int i = 0; i < CLIENT_THREADS; i++) pthread_join(threads[i], NULL);
}

static struct stage *torture_begin(const struct stage_way *way)
{
    seed = stage_seed();
    for (int i = 0; i < RECENT; i++) atomic_store(&recent[i], 0);
    return stage_begin(way,
                       &(struct stage_options){.handler = torture_handler,
                                               .engine = {.recv_buf_bytes = 4096, .recv_bufs = 16},
                                               .server.conn = {.first_byte_ms = 100,
                                                               .idle_ms = 300,
                                                               .write_stall_ms = 100,
                                                               .linger_ms = 100,
                                                               .send_bytes_max = 64 * 1024}});
}

static void random_lives_end_in_order(const struct stage_way *way)
{
    struct stage *stage = torture_begin(way);
    run_squads(stage);
    sally_engine_stats stats;
    STAGE_WAIT(sally_engine_get_stats(stage->engine, &stats) == 0 && stats.conns == 0);
    stage_end(stage);
}

static void random_lives_are_cut_by_destroy(const struct stage_way *way)
{
    struct stage *stage = torture_begin(way);
    run_squads(stage);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST(random_lives_end_in_order),
    STAGE_TEST(random_lives_are_cut_by_destroy),
};

int main(int argc, char **argv)
{
    return stage_run("torture", tests, sizeof tests / sizeof *tests, argc, argv);
}
