/* Jobs in the simulator: the pool is stepped in the order that the seed draws, so that what jobs
 * and connections do to each other replays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/sim.h"
#include "sallyport/work.h"

enum { SEEDS = 150, PEERS = 6 };
#define SERVER "127.0.0.1:5002"

struct world {
    sally_sim *sim;
    sally_engine *engine;
    sally_pool *pool;
    uint64_t order; /* mixes which job ran after which */
    unsigned taken, refused, ran, told, ok, late, cancelled, gone;
    unsigned running_high;
    int inner_destroy, inner_drain;
    bool ended;
};

struct errand {
    struct world *world;
    sally_id id;
    unsigned number, told;
};

static void mix(struct world *world, uint64_t value)
{
    world->order = (world->order ^ value) * 0x9e3779b97f4a7c15u;
}

static void errand_work(void *arg)
{
    struct errand *errand = arg;
    errand->world->ran++;
    mix(errand->world, errand->number);
}

static void errand_done(sally_conn *conn, void *arg, int status)
{
    struct errand *errand = arg;
    struct world *world = errand->world;
    assert_true((conn == NULL) == (status == SALLY_ENOCONN));
    assert_true(!conn || sally_conn_id(conn) == errand->id);
    assert_int_equal(errand->told++, 0);
    world->told++;
    world->ok += status == 0;
    world->late += status == SALLY_ETIMEDOUT;
    world->cancelled += status == SALLY_ECANCELED;
    world->gone += status == SALLY_ENOCONN;
    mix(world, (uint64_t)errand->number << 8 ^ (uint64_t)-status);
    if (conn && status == 0) (void)sally_conn_send(conn, "done", 4);
    free(errand);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    struct world *world = sally_conn_user(conn);
    for (size_t i = 0; i < len; i++) {
        struct errand *errand = calloc(1, sizeof *errand);
        assert_non_null(errand);
        *errand = (struct errand){
            .world = world, .id = sally_conn_id(conn), .number = world->taken + world->refused};
        sally_job_options options = {.needs_conn = i % 2,
                                     .wait_ms = 1 + sally_sim_random(world->sim, 300)};
        sally_job job;
        int err = sally_work(conn, world->pool, errand_work, errand_done, errand, &options, &job);
        assert_true(err == 0 || err == SALLY_EFULL || err == SALLY_ENOMEM || err == SALLY_ECLOSED);
        world->taken += err == 0;
        world->refused += err != 0;
        if (err)
            free(errand);
        else if (sally_sim_random(world->sim, 8) == 0)
            assert_int_equal(sally_pool_cancel(world->pool, job), 0);
    }
}

static void begin(struct world *world, uint64_t seed, const sally_pool_options *options)
{
    memset(world, 0, sizeof *world);
    assert_int_equal(sally_sim_create(&world->sim, seed, NULL), 0);
    sally_engine_options engine = {.shards = 2};
    assert_int_equal(sally_sim_engine(world->sim, &engine, &world->engine), 0);
    assert_int_equal(sally_pool_create(&world->pool, world->engine, options), 0);
    sally_handler handler = {.user = world, .on_data = on_data};
    assert_int_equal(sally_listen(world->engine, SERVER, &handler, NULL, NULL), 0);
}

static void end(struct world *world)
{
    /* either may go first */
    if (sally_sim_random(world->sim, 2)) {
        assert_int_equal(sally_pool_destroy(world->pool), 0);
        assert_int_equal(sally_engine_destroy(world->engine), 0);
    } else {
        assert_int_equal(sally_engine_destroy(world->engine), 0);
        assert_int_equal(sally_pool_destroy(world->pool), 0);
    }
    assert_int_equal(world->told, world->taken);
    assert_int_equal(world->ok + world->late + world->cancelled + world->gone, world->told);
    assert_int_equal(sally_sim_memory_bytes(world->sim), 0);
    sally_sim_destroy(world->sim);
}

/* ---- One seed is one run ---- */

static void meddle(struct world *world, sally_sim_peer **peers)
{
    sally_sim *sim = world->sim;
    sally_sim_peer **peer = &peers[sally_sim_random(sim, PEERS)];
    if (!*peer) *peer = sally_sim_dial(sim, SERVER);
    switch (sally_sim_random(sim, 6)) {
    case 0:
        sally_sim_peer_reset(*peer);
        *peer = NULL;
        return;
    case 1: assert_int_equal(sally_pool_resize(world->pool, sally_sim_random(sim, 5)), 0); return;
    default: (void)sally_sim_peer_write(*peer, "jobs", 1 + sally_sim_random(sim, 4));
    }
}

static uint64_t run(uint64_t seed, struct world *world, bool faults)
{
    begin(world, seed, &(sally_pool_options){.threads = 2, .jobs_max = 12});
    sally_sim_peer *peers[PEERS] = {NULL};
    sally_sim_faults mixture;
    if (faults) {
        sally_sim_draw_faults(world->sim, &mixture);
        mixture.no_memory = 0;
        sally_sim_set_faults(world->sim, &mixture);
    }
    for (int i = 0; i < 60; i++) {
        meddle(world, peers);
        sally_sim_run(world->sim, sally_sim_random(world->sim, 60));
    }
    uint64_t hash = sally_sim_hash(world->sim) ^ world->order;
    end(world);
    return hash ^ world->order;
}

static void each_job_is_told_once_and_a_seed_replays(void **state)
{
    (void)state;
    uint64_t first_hash = 0;
    struct world world, again, sum = {.told = 0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t hash = run(seed, &world, seed % 2);
        if (seed % 10 == 0) {
            assert_true(hash == run(seed, &again, seed % 2));
            assert_int_equal(world.told, again.told);
        }
        assert_true(hash != first_hash);
        if (seed == 1) first_hash = hash;
        sum.told += world.told;
        sum.ok += world.ok;
        sum.late += world.late;
        sum.cancelled += world.cancelled;
        sum.gone += world.gone;
        sum.refused += world.refused;
    }
    printf("%u told: %u ok, %u late, %u cancelled, %u gone; %u refused\n", sum.told, sum.ok,
           sum.late, sum.cancelled, sum.gone, sum.refused);
    /* each way to end was seen, or this shows little */
    assert_true(sum.ok > 100 && sum.late > 100 && sum.cancelled > 100 && sum.gone > 100 &&
                sum.refused > 0);
}

/* Memory runs out at any place; what was taken is told all the same. */
static void jobs_are_told_though_memory_runs_out(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (uint64_t n = 1; n <= 120; n++) {
        struct world world;
        begin(&world, n, &(sally_pool_options){.threads = 2});
        sally_sim_peer *peers[PEERS] = {NULL};
        sally_sim_fail_alloc_at(world.sim, 1 + n / 2 % 10, n % 2);
        for (int i = 0; i < 20; i++) {
            meddle(&world, peers);
            sally_sim_run(world.sim, 50);
        }
        failed += sally_sim_alloc_failed(world.sim);
        end(&world);
    }
    printf("memory ran out in %u of 120 runs\n", failed);
    assert_true(failed > 60);
}

/* ---- Time ---- */

/* With two workers the order of the ends is the seed's, not that of the beginnings. */
static void seeds_draw_the_order_of_jobs(void **state)
{
    (void)state;
    unsigned swapped = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world world;
        begin(&world, seed, &(sally_pool_options){.threads = 2});
        struct errand *errands[2];
        for (unsigned i = 0; i < 2; i++) {
            errands[i] = calloc(1, sizeof **errands);
            assert_non_null(errands[i]);
            *errands[i] = (struct errand){.world = &world, .number = i + 1};
        }
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(sally_pool_run(world.pool, errand_work, NULL, errands[i], NULL, NULL),
                             0);
        while (world.ran == 0) assert_int_equal(sally_sim_run(world.sim, 1), 0);
        struct world after_second = {.order = 0};
        mix(&after_second, 2);
        swapped += world.order == after_second.order;
        sally_sim_run(world.sim, 2000);
        assert_int_equal(world.ran, 2);
        end(&world);
        free(errands[0]);
        free(errands[1]);
    }
    assert_true(swapped > 2 && swapped < 38);
}

static void late_job(sally_conn *conn, void *arg, int status)
{
    struct world *world = arg;
    assert_null(conn);
    assert_int_equal(status, SALLY_ETIMEDOUT);
    world->told = (unsigned)sally_sim_now_ms(world->sim);
}

static void no_work(void *arg) { (void)arg; }

/* No worker, so nothing but the limit can end it; and no thread waits in real time. */
static void a_job_waits_for_its_limit_in_virtual_time(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 7, &(sally_pool_options){.threads = 1});
    assert_int_equal(sally_pool_resize(world.pool, 0), 0);
    sally_job_options hour = {.wait_ms = 3600 * 1000};
    assert_int_equal(sally_pool_run(world.pool, no_work, late_job, &world, &hour, NULL), 0);
    sally_sim_run(world.sim, 3600 * 1000 - 1);
    assert_int_equal(world.told, 0);
    sally_sim_run(world.sim, 100);
    assert_in_range(world.told, 3600 * 1000, 3600 * 1000 + 2);
    world.told = 0;
    end(&world);
}

/* ---- What is not possible ---- */

static void work_inside(void *arg)
{
    struct world *world = arg;
    world->inner_destroy = sally_pool_destroy(world->pool);
    world->inner_drain = sally_pool_drain(world->pool, 1);
    world->ended = true;
}

static void a_job_cannot_end_its_pool(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 3, &(sally_pool_options){.threads = 1});
    assert_int_equal(sally_pool_run(world.pool, work_inside, NULL, &world, NULL, NULL), 0);
    sally_sim_run(world.sim, 2000);
    assert_true(world.ended);
    assert_int_equal(world.inner_destroy, SALLY_ETHREAD);
    assert_int_equal(world.inner_drain, SALLY_ETHREAD);
    end(&world);
}

/* Threads of a real pool must not reach into a world that is one thread's. */
static int other_machine;

static void submit_elsewhere(sally_conn *conn)
{
    struct world *world = sally_conn_user(conn);
    other_machine = sally_work(conn, world->pool, no_work, NULL, NULL, NULL, NULL);
}

static void a_pool_of_another_machine_is_refused(void **state)
{
    (void)state;
    struct world world, other;
    begin(&world, 1, &(sally_pool_options){.threads = 1});
    begin(&other, 2, &(sally_pool_options){.threads = 1});
    sally_handler handler = {.user = &other, .on_open = submit_elsewhere};
    assert_int_equal(sally_listen(world.engine, "127.0.0.1:6000", &handler, NULL, NULL), 0);
    assert_non_null(sally_sim_dial(world.sim, "127.0.0.1:6000"));
    sally_sim_run(world.sim, 1000);
    assert_int_equal(other_machine, SALLY_ENOTSUP);
    end(&world);
    end(&other);
}

static void a_drain_runs_what_is_left(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 5, &(sally_pool_options){.threads = 3});
    struct errand errand = {.world = &world};
    for (int i = 0; i < 10; i++)
        assert_int_equal(sally_pool_run(world.pool, errand_work, NULL, &errand, NULL, NULL), 0);
    assert_int_equal(sally_pool_drain(world.pool, 0), 0);
    assert_int_equal(world.ran, 10);
    assert_int_equal(sally_pool_run(world.pool, errand_work, NULL, &errand, NULL, NULL),
                     SALLY_ESTATE);
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_job_is_told_once_and_a_seed_replays),
        cmocka_unit_test(jobs_are_told_though_memory_runs_out),
        cmocka_unit_test(seeds_draw_the_order_of_jobs),
        cmocka_unit_test(a_job_waits_for_its_limit_in_virtual_time),
        cmocka_unit_test(a_job_cannot_end_its_pool),
        cmocka_unit_test(a_pool_of_another_machine_is_refused),
        cmocka_unit_test(a_drain_runs_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
