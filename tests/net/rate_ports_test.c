/* Limits for bytes a second (P-73, P-74) on real ports, with threads: nothing is lost, doubled or
 * disordered by them, the bound holds for what several shards share, and everything ends. */
#include <string.h>
#include <sys/socket.h>

#include "net/support/raw.h"
#include "net/support/stage.h"
#include "sallyport/rate.h"

enum { KB = 1024 };

struct talk {
    int fd;
    uint64_t stream, len;
    bool good;
};

static void *say_pattern(void *arg)
{
    struct talk *talk = arg;
    talk->good = raw_send_pattern(talk->fd, talk->stream, 0, talk->len, 20000);
    raw_finish(talk->fd);
    return NULL;
}

/* So fast that it takes a moment, so slow that each limit is met many times. */
static void every_byte_comes_once_and_in_order(const struct stage_way *way)
{
    enum { CLIENTS = 3, BYTES = 300 * KB };
    sally_rates rates = {.recv = {.bytes_s = 800000, .burst_bytes = 9000},
                         .send = {.bytes_s = 900000, .burst_bytes = 10000}};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler = {.on_data = stage_echo},
                                                 .server.conn.rates = &rates});
    struct talk talks[CLIENTS];
    pthread_t threads[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++) {
        talks[i] = (struct talk){stage_client(stage, 0, NULL), i, BYTES, false};
        threads[i] = stage_thread(say_pattern, &talks[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_true(raw_check(talks[i].fd, i, 0, BYTES, 5000));
        pthread_join(threads[i], NULL);
        assert_true(talks[i].good);
        raw_close(talks[i].fd);
    }
    stage_end(stage);
}

/* Written by the test, named by shards. */
static _Atomic(sally_bandwidth *) shared;

static sally_bandwidth *make_shared(sally_engine *engine, sally_rate recv, sally_rate send)
{
    sally_bandwidth *made;
    assert_int_equal(sally_bandwidth_create(&made, engine, recv, send), 0);
    atomic_store(&shared, made);
    return made;
}

static void flood(sally_conn *conn)
{
    static const unsigned char bytes[8 * KB];
    while (sally_conn_send(conn, bytes, sizeof bytes) == 0) {
    }
}

/* That the stage counts it. */
static void note_sent(sally_conn *conn, size_t bytes)
{
    (void)conn;
    (void)bytes;
}

static void share(sally_conn *conn)
{
    int err = sally_conn_set_rates(conn, &(sally_rates){.shared = shared});
    if (err) stage_wrong(actor_of(conn)->stage, "share: %s", sally_err_name(err));
    flood(conn);
}

static void *drop_bytes(void *arg)
{
    char bytes[16 * KB];
    while (recv(*(int *)arg, bytes, sizeof bytes, 0) > 0) {
    }
    return NULL;
}

/* How much passed is asked before the time, so the bound holds however late anybody is. */
static void shards_share_one_limit(const struct stage_way *way)
{
    enum { CLIENTS = 6, RATE = 300000, BURST = 20000 };
    const sally_rate rate = {.bytes_s = RATE, .burst_bytes = BURST}, none = {0};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){
                             .handler = {.on_open = share, .on_drain = flood, .on_sent = note_sent},
                             .server.conn.send_bytes_max = 64 * KB});
    sally_bandwidth_stats stats;
    int fds[CLIENTS];
    pthread_t threads[CLIENTS];
    uint64_t from_us = stage_now_us();
    sally_bandwidth *bandwidth = make_shared(stage->engine, none, rate);
    for (unsigned i = 0; i < CLIENTS; i++) {
        fds[i] = stage_client(stage, 0, NULL);
        threads[i] = stage_thread(drop_bytes, &fds[i]);
    }
    do {
        stage_nap();
        assert_int_equal(sally_bandwidth_get_stats(bandwidth, &stats), 0);
        uint64_t us = stage_now_us() - from_us;
        assert_true(stats.send_bytes <= RATE * (us / 1000 + 2) / 1000 + BURST);
    } while (stats.send_bytes < 200000);
    assert_int_equal(stats.conns, CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++)
        STAGE_WAIT(atomic_load(&stage_actor(stage, i)->sent) > 0); /* nobody starves */
    sally_bandwidth_destroy(bandwidth); /* and they go on: until the engine ends under them */
    stage_destroy_engine(stage);
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        raw_close(fds[i]);
    }
    stage_end(stage);
}

static void change(sally_conn *conn, void *arg)
{
    static const sally_rates slow = {.recv = {.bytes_s = 50000}, .send = {.bytes_s = 50000}};
    uintptr_t turn = (uintptr_t)arg;
    sally_rates both = {.shared = shared};
    if (!conn) return;
    (void)sally_conn_set_rates(conn, turn % 3 == 0 ? NULL : turn % 3 == 1 ? &slow : &both);
}

/* Another thread changes everything while they talk; in the end there is no limit. */
static void limits_change_under_load(const struct stage_way *way)
{
    enum { CLIENTS = 4, BYTES = 2000 * KB };
    const sally_rate rate = {.bytes_s = 1000000};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler = {.on_data = stage_echo}});
    struct talk talks[CLIENTS];
    pthread_t threads[CLIENTS];
    sally_bandwidth *bandwidth = make_shared(stage->engine, rate, rate);
    for (unsigned i = 0; i < CLIENTS; i++) {
        talks[i] = (struct talk){stage_client(stage, 0, NULL), i, BYTES, false};
        threads[i] = stage_thread(say_pattern, &talks[i]);
    }
    for (uintptr_t turn = 1; turn <= 100; turn++) {
        sally_id id = stage_actor(stage, (unsigned)turn % CLIENTS)->id;
        (void)sally_post(stage->engine, id, change, (void *)turn);
        sally_rate other = {.bytes_s = 100000 * (uint32_t)(turn % 20)};
        assert_int_equal(sally_bandwidth_set(bandwidth, other, other), 0);
        if (turn % 4 == 0) stage_nap();
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        (void)sally_post(stage->engine, stage_actor(stage, i)->id, change, NULL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_true(raw_check(talks[i].fd, i, 0, BYTES, 50000));
        pthread_join(threads[i], NULL);
        assert_true(talks[i].good);
        raw_close(talks[i].fd);
    }
    stage_end(stage);
}

int main(int argc, char **argv)
{
    static const struct stage_test tests[] = {
        STAGE_TEST_ON(every_byte_comes_once_and_in_order, 1),
        STAGE_TEST(shards_share_one_limit),
        STAGE_TEST_ON(limits_change_under_load, 3),
    };
    return stage_run("net/rate_ports", tests, sizeof tests / sizeof *tests, argc, argv);
}
