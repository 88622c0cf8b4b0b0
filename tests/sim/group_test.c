/* Broadcasts and groups in the simulator: under every mix of faults each message is told once, no
 * receiver sees messages in another order than they were sent, nobody gets one twice, and a seed
 * replays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/group.h"
#include "sallyport/sim.h"

enum { SEEDS = 120, PEERS = 8, IDS_MAX = 256, GROUPS = 2 };
#define SERVER "127.0.0.1:5002"

/* On the wire; `pad` bytes follow. */
struct note {
    uint32_t number, pad;
};

struct world {
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    sally_group *groups[GROUPS];
    sally_sim_peer *peers[PEERS];
    sally_id ids[IDS_MAX];
    unsigned opened, live;
    unsigned accepted, told;
    uint64_t queued, skipped, closed, failed, read;
    uint32_t numbers;
};

static void on_open(sally_conn *conn)
{
    struct world *world = sally_conn_user(conn);
    assert_true(world->opened < IDS_MAX);
    world->ids[world->opened++] = sally_conn_id(conn);
    world->live++;
    for (int g = 0; g < GROUPS; g++)
        if (sally_sim_random(world->sim, 2))
            (void)sally_group_join(world->groups[g], sally_conn_id(conn));
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    ((struct world *)sally_conn_user(conn))->live--;
}

static void on_done(const sally_broadcast_report *report, void *arg)
{
    struct world *world = arg;
    world->told++;
    world->queued += report->sent;
    world->skipped += report->skipped;
    world->closed += report->closed;
    world->failed += report->failed;
}

static void send_one(struct world *world)
{
    struct note note = {world->numbers++, sally_sim_random(world->sim, 3000)};
    sally_buf *buf = sally_buf_create(world->engine, sizeof note + note.pad);
    if (!buf) return;
    memset(sally_buf_data(buf), 0, sizeof note + note.pad);
    memcpy(sally_buf_data(buf), &note, sizeof note);
    sally_broadcast_options options = {
        .slow = (sally_slow)sally_sim_random(world->sim, 2), .done = on_done, .arg = world};
    uint32_t to = sally_sim_random(world->sim, GROUPS + 1);
    int err = to < GROUPS ? sally_group_send(world->groups[to], buf, &options)
                          : sally_broadcast(world->server, buf, &options);
    assert_true(err == 0 || err == SALLY_ENOMEM);
    world->accepted += err == 0;
    sally_buf_release(buf);
}

/* Whole notes at the front of what a peer has, in order. */
static void read_notes(struct world *world, sally_sim_peer *peer)
{
    size_t len;
    const unsigned char *data = sally_sim_peer_received(peer, &len);
    size_t used = 0;
    uintptr_t last = (uintptr_t)sally_sim_peer_user(peer); /* number + 1; 0: none yet */
    for (struct note note; len - used >= sizeof note; used += sizeof note + note.pad) {
        memcpy(&note, data + used, sizeof note);
        if (len - used - sizeof note < note.pad) break;
        assert_true(note.number < world->numbers && note.number + 1 > last);
        last = note.number + 1;
        world->read++;
    }
    sally_sim_peer_set_user(peer, (void *)last);
    sally_sim_peer_consume(peer, used);
}

static void act(struct world *world)
{
    sally_sim *sim = world->sim;
    sally_sim_peer **peer = &world->peers[sally_sim_random(sim, PEERS)];
    sally_id id = world->opened ? world->ids[sally_sim_random(sim, world->opened)] : 0;
    sally_group *group = world->groups[sally_sim_random(sim, GROUPS)];
    if (!*peer) *peer = sally_sim_dial(sim, SERVER);
    switch (sally_sim_random(sim, 12)) {
    case 0:
        sally_sim_peer_reset(*peer);
        *peer = NULL;
        return;
    case 1: sally_sim_peer_stop_reading(*peer); return;
    case 2: sally_sim_peer_read(*peer); return;
    case 3: (void)sally_group_leave(group, id); return;
    case 4:
    case 5: (void)sally_group_join(group, id); return;
    default: send_one(world);
    }
}

static void begin(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    assert_int_equal(sally_sim_create(&world->sim, seed, NULL), 0);
    sally_engine_options engine = {.shards = 3};
    assert_int_equal(sally_sim_engine(world->sim, &engine, &world->engine), 0);
    for (int g = 0; g < GROUPS; g++)
        assert_int_equal(sally_group_create(&world->groups[g], world->engine), 0);
    sally_handler handler = {.user = world, .on_open = on_open, .on_close = on_close};
    sally_server_options options = {.conn = {.send_bytes_max = 8000}};
    assert_int_equal(sally_listen(world->engine, SERVER, &handler, &options, &world->server), 0);
}

static uint64_t run(uint64_t seed, struct world *world)
{
    begin(world, seed);
    sally_sim_faults faults;
    sally_sim_draw_faults(world->sim, &faults);
    if (seed % 3) sally_sim_set_faults(world->sim, &faults);
    for (int i = 0; i < 150; i++) {
        for (uint32_t n = sally_sim_random(world->sim, 4); n; n--) act(world);
        sally_sim_run(world->sim, sally_sim_random(world->sim, 40));
        for (int p = 0; p < PEERS; p++)
            if (world->peers[p]) read_notes(world, world->peers[p]);
    }
    if (sally_sim_random(world->sim, 2)) sally_group_destroy(world->groups[1]);
    uint64_t hash = sally_sim_hash(world->sim) ^ world->queued << 20 ^ world->read;
    assert_int_equal(sally_engine_destroy(world->engine), 0); /* often with messages under way */
    assert_int_equal(world->told, world->accepted);
    assert_int_equal(world->live, 0);
    assert_int_equal(sally_sim_memory_bytes(world->sim), 0);
    sally_sim_destroy(world->sim);
    return hash;
}

static void messages_to_many_are_told_once_and_keep_their_order(void **state)
{
    (void)state;
    static struct world world, again;
    uint64_t told = 0, queued = 0, skipped = 0, closed = 0, failed = 0, was_read = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t hash = run(seed, &world);
        if (seed % 10 == 0) assert_true(hash == run(seed, &again));
        told += world.told;
        queued += world.queued;
        skipped += world.skipped;
        closed += world.closed;
        failed += world.failed;
        was_read += world.read;
    }
    printf("%llu told: queued %llu, skipped %llu, closed %llu, failed %llu; read %llu\n",
           (unsigned long long)told, (unsigned long long)queued, (unsigned long long)skipped,
           (unsigned long long)closed, (unsigned long long)failed, (unsigned long long)was_read);
    assert_true(queued > 1000 && skipped > 50 && closed > 10 && was_read > 1000);
    assert_true(was_read <= queued);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (uint64_t n = 1; n <= 160; n++) {
        static struct world world;
        begin(&world, n / 2 + 1);
        for (int i = 0; i < 30; i++) {
            act(&world);
            sally_sim_run(world.sim, 20);
        }
        sally_sim_fail_alloc_at(world.sim, 1 + n / 2, n % 2);
        for (int i = 0; i < 60; i++) {
            act(&world);
            sally_sim_run(world.sim, 10);
        }
        failed += sally_sim_alloc_failed(world.sim);
        assert_int_equal(sally_engine_destroy(world.engine), 0);
        assert_int_equal(world.told, world.accepted);
        assert_int_equal(sally_sim_memory_bytes(world.sim), 0);
        sally_sim_destroy(world.sim);
    }
    printf("memory ran out in %u of 160 runs\n", failed);
    assert_true(failed > 100);
}

static bool nobody(sally_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    return false;
}

/* Nothing is sent and nothing comes, so no event wakes the shard between two slices. */
static void a_slice_is_followed_by_the_next(void **state)
{
    (void)state;
    enum { MANY = 900 };
    static struct world world;
    memset(&world, 0, sizeof world);
    assert_int_equal(sally_sim_create(&world.sim, 11, NULL), 0);
    assert_int_equal(sally_sim_engine(world.sim, NULL, &world.engine), 0);
    sally_handler handler = {.user = &world};
    assert_int_equal(sally_listen(world.engine, SERVER, &handler, NULL, &world.server), 0);
    for (int i = 0; i < MANY; i++) {
        assert_non_null(sally_sim_dial(world.sim, SERVER));
        if (i % 50 == 0) sally_sim_run(world.sim, 100); /* the backlog has an end */
    }
    sally_sim_run(world.sim, 1000);
    assert_int_equal(sally_server_conns(world.server), MANY);
    sally_buf *buf = sally_buf_create(world.engine, 1);
    sally_broadcast_options options = {.filter = nobody, .done = on_done, .arg = &world};
    sally_engine_stats stats;
    assert_int_equal(sally_engine_get_stats(world.engine, &stats), 0);
    uint64_t turns = stats.turns;
    assert_int_equal(sally_broadcast(world.server, buf, &options), 0);
    sally_buf_release(buf);
    sally_sim_run(world.sim, 1);
    assert_int_equal(world.told, 1);
    assert_int_equal(sally_engine_get_stats(world.engine, &stats), 0);
    assert_true(stats.turns - turns >= 2); /* it was more than one slice */
    assert_int_equal(sally_engine_destroy(world.engine), 0);
    sally_sim_destroy(world.sim);
}

/* Nobody ever works on it; it is told all the same, with nobody reached. */
static void a_message_is_told_by_an_engine_that_never_ran(void **state)
{
    (void)state;
    static struct world world;
    begin(&world, 13);
    send_one(&world);
    assert_int_equal(world.accepted, 1);
    assert_int_equal(world.told, 0);
    assert_int_equal(sally_engine_destroy(world.engine), 0);
    assert_int_equal(world.told, 1);
    assert_int_equal(world.queued + world.skipped + world.closed + world.failed, 0);
    sally_sim_destroy(world.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_to_many_are_told_once_and_keep_their_order),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_slice_is_followed_by_the_next),
        cmocka_unit_test(a_message_is_told_by_an_engine_that_never_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
