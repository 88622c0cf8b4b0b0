/* Jobs of connections: the way back to the shard, whatever goes meanwhile. */
#include <stdlib.h>
#include <string.h>

#include "net/support/nap.h"
#include "net/support/raw.h"
#include "net/support/stage.h"
#include "sallyport/work.h"
#include "support/long.h"

/* What a test's connections submit to. */
struct office {
    _Atomic(sally_pool *) pool;
    struct os_gate *gate; /* jobs wait for it; NULL: they don't */
    atomic_uint taken, refused;
    atomic_uint began, ran;
    atomic_uint told, ok, timed_out, cancelled, gone;
    atomic_uint elsewhere; /* done on a thread that is not the connection's */
};

/* One job: a copy of what was received. */
struct errand {
    struct stage *stage;
    pthread_t thread; /* of the connection's shard */
    sally_id id;
    uint32_t len;
    char text[64];
};

static struct office *office_of(const struct stage *stage) { return stage->user; }

static void errand_work(void *arg)
{
    struct errand *errand = arg;
    struct office *office = office_of(errand->stage);
    atomic_fetch_add(&office->began, 1);
    if (office->gate) os_gate_wait(office->gate);
    for (uint32_t i = 0; i < errand->len; i++) errand->text[i] = (char)(errand->text[i] ^ 0x20);
    atomic_fetch_add(&office->ran, 1);
}

static void errand_count(struct office *office, int status)
{
    if (status == 0) atomic_fetch_add(&office->ok, 1);
    if (status == SALLY_ETIMEDOUT) atomic_fetch_add(&office->timed_out, 1);
    if (status == SALLY_ECANCELED) atomic_fetch_add(&office->cancelled, 1);
    if (status == SALLY_ENOCONN) atomic_fetch_add(&office->gone, 1);
}

static void errand_done(sally_conn *conn, void *arg, int status)
{
    struct errand *errand = arg;
    struct stage *stage = errand->stage;
    struct office *office = office_of(stage);
    STAGE_CHECK(stage, (conn == NULL) == (status == SALLY_ENOCONN));
    if (conn && sally_conn_id(conn) != errand->id)
        stage_wrong(stage, "a job came back to another connection");
    if (!pthread_equal(errand->thread, pthread_self())) {
        STAGE_CHECK(stage, !conn);
        atomic_fetch_add(&office->elsewhere, 1);
    }
    if (conn && status == 0) (void)sally_conn_send(conn, errand->text, errand->len);
    errand_count(office, status);
    free(errand); /* twice would be seen */
    atomic_fetch_add(&office->told, 1);
}

/* What is asked for tells how: 'n' needs its connection, 'l' waits for 10 ms at most. */
static int errand_submit(sally_conn *conn, const void *data, size_t len, sally_job *job)
{
    struct stage *stage = actor_of(conn)->stage;
    struct office *office = office_of(stage);
    struct errand *errand = calloc(1, sizeof *errand);
    if (!errand) abort();
    errand->stage = stage;
    errand->thread = pthread_self();
    errand->id = sally_conn_id(conn);
    errand->len = (uint32_t)(len < sizeof errand->text ? len : sizeof errand->text);
    memcpy(errand->text, data, errand->len);
    char what = errand->text[0];
    sally_job_options how = {.needs_conn = what == 'n', .wait_ms = what == 'l' ? 10 : 0};
    int err = sally_work(conn, office->pool, errand_work, errand_done, errand, &how, job);
    atomic_fetch_add(err ? &office->refused : &office->taken, 1);
    if (err) free(errand);
    return err;
}

/* 'p' is echoed. */
static void submit_data(sally_conn *conn, const void *data, size_t len)
{
    if (*(const char *)data == 'p') {
        if (sally_conn_send(conn, data, len)) sally_conn_abort(conn);
        return;
    }
    int err = errand_submit(conn, data, len, NULL);
    if (err && err != SALLY_EFULL) stage_wrong(actor_of(conn)->stage, "%s", sally_err_name(err));
}

static void check_balance(const struct office *office)
{
    assert_int_equal(atomic_load(&office->told), atomic_load(&office->taken));
    assert_int_equal(office->ok + office->timed_out + office->cancelled + office->gone,
                     office->told);
}

static struct stage *office_begin(const struct stage_way *way, struct office *office,
                                  struct os_gate *gate, const sally_pool_options *pool,
                                  struct stage_options options)
{
    memset(office, 0, sizeof *office);
    office->gate = gate;
    options.user = office;
    if (!options.handler.on_data) options.handler.on_data = submit_data;
    struct stage *stage = stage_begin(way, &options);
    sally_pool *made = NULL;
    assert_int_equal(sally_pool_create(&made, stage->engine, pool), 0);
    atomic_store(&office->pool, made);
    return stage;
}

static void office_end(struct office *office, struct stage *stage)
{
    stage_destroy_engine(stage);
    assert_int_equal(sally_pool_destroy(office->pool), 0);
    check_balance(office);
    stage_end(stage);
}

/* ---- The way back ---- */

static void a_result_comes_back_to_its_connection(const struct stage_way *way)
{
    enum { CLIENTS = 20, ROUNDS = 30 };
    struct office office;
    struct stage *stage = office_begin(way, &office, NULL, &(sally_pool_options){.threads = 4},
                                       (struct stage_options){0});
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) fds[i] = stage_client(stage, 0, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++) assert_true(raw_send(fds[i], "hello", 5));
        for (int i = 0; i < CLIENTS; i++) {
            char back[5];
            assert_true(raw_read(fds[i], back, sizeof back));
            assert_memory_equal(back, "HELLO", 5);
        }
    }
    for (int i = 0; i < CLIENTS; i++) raw_close(fds[i]);
    assert_int_equal(atomic_load(&office.ok), CLIENTS * ROUNDS);
    assert_int_equal(atomic_load(&office.elsewhere), 0);
    office_end(&office, stage);
}

/* The mailbox has room for four letters, the shard is asleep in a callback, and posts fill it; yet
 * every result arrives. */
static void results_arrive_though_the_mailbox_is_full(const struct stage_way *way)
{
    enum { JOBS = 50 };
    struct office office;
    struct os_gate jobs_gate;
    struct nap nap;
    os_gate_init(&jobs_gate);
    struct stage_options options = {.engine.mailbox_letters_max = 4};
    struct stage *stage =
        office_begin(way, &office, &jobs_gate, &(sally_pool_options){.threads = 8}, options);
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_true(raw_send(fd, "a", 1));
        STAGE_WAIT(atomic_load(&office.taken) == i + 1);
    }
    nap_begin(&nap, stage, actor->id);
    int err = 0;
    for (int i = 0; i < 10 && !err; i++)
        err = sally_post(stage->engine, actor->id, nap_letter, NULL);
    assert_int_equal(err, SALLY_EFULL);
    os_gate_open(&jobs_gate);
    STAGE_WAIT(atomic_load(&office.ran) == JOBS);
    sally_pool_stats stats;
    STAGE_WAIT(sally_pool_get_stats(office.pool, &stats) == 0 && stats.running == 0);
    assert_int_equal(stats.jobs, JOBS); /* all on their way */
    assert_int_equal(atomic_load(&office.told), 0);
    nap_wake(&nap);
    char back[JOBS];
    assert_true(raw_read(fd, back, JOBS));
    assert_int_equal(atomic_load(&office.ok), JOBS);
    raw_close(fd);
    office_end(&office, stage);
    os_gate_free(&jobs_gate);
    nap_free(&nap);
}

/* Eight workers are held up the whole time, and the echo beside goes on. */
static void blocked_jobs_hold_up_nobody(const struct stage_way *way)
{
    enum { BLOCKED = 8 };
    const unsigned rounds = long_form() ? 50000 : 500;
    struct office office;
    struct os_gate gate;
    os_gate_init(&gate);
    struct stage *stage = office_begin(
        way, &office, &gate, &(sally_pool_options){.threads = BLOCKED}, (struct stage_options){0});
    int fds[BLOCKED];
    for (int i = 0; i < BLOCKED; i++) {
        fds[i] = stage_client(stage, 0, NULL);
        assert_true(raw_send(fds[i], "x", 1));
    }
    STAGE_WAIT(atomic_load(&office.began) == BLOCKED);
    int fd = stage_client(stage, 0, NULL);
    uint64_t worst_us = 0;
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t began_us = stage_now_us();
        char back[4];
        assert_true(raw_send(fd, "ping", 4));
        assert_true(raw_read(fd, back, 4));
        uint64_t took_us = stage_now_us() - began_us;
        if (took_us > worst_us) worst_us = took_us;
    }
    assert_int_equal(atomic_load(&office.ran), 0);
    printf("%u echoes beside %d blocked jobs, the slowest %llu us\n", rounds, BLOCKED,
           (unsigned long long)worst_us);
    os_gate_open(&gate);
    for (int i = 0; i < BLOCKED; i++) {
        char back;
        assert_true(raw_read(fds[i], &back, 1));
        raw_close(fds[i]);
    }
    raw_close(fd);
    office_end(&office, stage);
    os_gate_free(&gate);
}

/* ---- What goes meanwhile ---- */

static void the_end_of_a_job_whose_connection_has_gone(const struct stage_way *way)
{
    struct office office;
    struct os_gate gate;
    os_gate_init(&gate);
    struct stage *stage = office_begin(way, &office, &gate, &(sally_pool_options){.threads = 1},
                                       (struct stage_options){0});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_true(raw_send(fd, "x", 1));
    STAGE_WAIT(atomic_load(&office.began) == 1);
    /* a second one waits behind it and needs its connection */
    assert_true(raw_send(fd, "n", 1));
    STAGE_WAIT(atomic_load(&office.taken) == 2);
    raw_reset(fd);
    actor_wait_closed(actor);
    os_gate_open(&gate);
    STAGE_WAIT(atomic_load(&office.told) == 2);
    assert_int_equal(atomic_load(&office.gone), 2);
    assert_int_equal(atomic_load(&office.ran), 1);
    assert_int_equal(atomic_load(&office.elsewhere), 0); /* its shard still tells it */
    sally_pool_stats stats;
    assert_int_equal(sally_pool_get_stats(office.pool, &stats), 0);
    assert_int_equal(stats.dropped, 1);
    assert_int_equal(stats.ran, 1);
    office_end(&office, stage);
    os_gate_free(&gate);
}

static sally_job last_job;

static void submit_named(sally_conn *conn, const void *data, size_t len)
{
    if (errand_submit(conn, data, len, &last_job)) stage_wrong(actor_of(conn)->stage, "not taken");
}

static void cancelled_and_late_jobs_are_told_to_the_connection(const struct stage_way *way)
{
    struct office office;
    struct os_gate gate;
    os_gate_init(&gate);
    struct stage_options options = {.handler.on_data = submit_named};
    struct stage *stage =
        office_begin(way, &office, &gate, &(sally_pool_options){.threads = 1}, options);
    int fd = stage_client(stage, 0, NULL);
    assert_true(raw_send(fd, "a", 1));
    STAGE_WAIT(atomic_load(&office.began) == 1);
    assert_true(raw_send(fd, "b", 1));
    STAGE_WAIT(atomic_load(&office.taken) == 2);
    assert_int_equal(sally_pool_cancel(office.pool, last_job), 0);
    STAGE_WAIT(atomic_load(&office.cancelled) == 1);
    assert_true(raw_send(fd, "l", 1));
    STAGE_WAIT(atomic_load(&office.timed_out) == 1);
    assert_int_equal(atomic_load(&office.ran), 0);
    os_gate_open(&gate);
    STAGE_WAIT(atomic_load(&office.ok) == 1);
    assert_int_equal(atomic_load(&office.elsewhere), 0);
    raw_close(fd);
    office_end(&office, stage);
    os_gate_free(&gate);
}

static void submit_at_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    if (errand_submit(conn, "x", 1, NULL) != SALLY_ECLOSED)
        stage_wrong(actor_of(conn)->stage, "a job for a connection that ends");
}

static void submit_at_open(sally_conn *conn)
{
    if (errand_submit(conn, "x", 1, NULL)) stage_wrong(actor_of(conn)->stage, "not taken");
}

static void
a_connection_submits_from_its_first_callback_to_before_its_last(const struct stage_way *way)
{
    struct office office;
    struct stage_options options = {
        .handler = {.on_open = submit_at_open, .on_close = submit_at_close}};
    /* no connection may come before there is a pool */
    struct stage *stage =
        office_begin(way, &office, NULL, &(sally_pool_options){.threads = 1}, options);
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    char back;
    assert_true(raw_read(fd, &back, 1));
    raw_close(fd);
    actor_wait_closed(actor);
    assert_int_equal(atomic_load(&office.refused), 1);
    office_end(&office, stage);
}

/* Jobs wait, run and are on their way when the engine goes; the pool goes after it. */
static void the_engine_goes_first(const struct stage_way *way)
{
    enum { JOBS = 40 };
    struct office office;
    struct os_gate gate;
    os_gate_init(&gate);
    struct stage *stage = office_begin(way, &office, &gate, &(sally_pool_options){.threads = 3},
                                       (struct stage_options){0});
    int fd = stage_client(stage, 0, NULL);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_true(raw_send(fd, "x", 1));
        STAGE_WAIT(atomic_load(&office.taken) == i + 1);
    }
    STAGE_WAIT(atomic_load(&office.began) == 3);
    stage_destroy_engine(stage);
    assert_int_equal(atomic_load(&office.told), 0);
    os_gate_open(&gate);
    STAGE_WAIT(atomic_load(&office.told) == JOBS);
    assert_int_equal(atomic_load(&office.gone), JOBS);
    assert_int_equal(sally_pool_destroy(office.pool), 0);
    check_balance(&office);
    raw_close(fd);
    stage_end(stage);
    os_gate_free(&gate);
}

/* The pool goes in the middle of traffic that has stopped submitting; what is on its way arrives.
 */
static void the_pool_goes_first(const struct stage_way *way)
{
    enum { JOBS = 40 };
    struct office office;
    struct stage *stage = office_begin(way, &office, NULL, &(sally_pool_options){.threads = 2},
                                       (struct stage_options){0});
    int fd = stage_client(stage, 0, NULL);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_true(raw_send(fd, "x", 1));
        STAGE_WAIT(atomic_load(&office.taken) == i + 1);
    }
    assert_int_equal(sally_pool_destroy(office.pool), 0);
    STAGE_WAIT(atomic_load(&office.told) == JOBS);
    assert_int_equal(atomic_load(&office.gone), 0);
    check_balance(&office);
    raw_close(fd);
    stage_end(stage);
}

/* ---- Everything at once ---- */

struct mixer {
    struct stage *stage;
    uint64_t seed;
    atomic_bool over;
};

static void *resize_now_and_then(void *arg)
{
    struct mixer *mixer = arg;
    struct lot lot = {.state = mixer->seed};
    while (!atomic_load(&mixer->over)) {
        int err = sally_pool_resize(office_of(mixer->stage)->pool, lot_below(&lot, 4));
        if (err) stage_wrong(mixer->stage, "resize: %s", sally_err_name(err));
        for (unsigned naps = lot_below(&lot, 10); naps; naps--) stage_nap();
    }
    return NULL;
}

static void jobs_connections_and_workers_come_and_go(const struct stage_way *way)
{
    const unsigned rounds = long_form() ? 2000 : 60;
    struct office office;
    struct stage *stage = office_begin(
        way, &office, NULL, &(sally_pool_options){.threads = 2, .jobs_max = 64, .wait_ms = 1},
        (struct stage_options){0});
    struct mixer mixer = {.stage = stage, .seed = stage_seed()};
    struct lot lot = {.state = mixer.seed + 1};
    pthread_t thread = stage_thread(resize_now_and_then, &mixer);
    for (unsigned round = 0; round < rounds; round++) {
        int fds[8];
        unsigned count = 1 + lot_below(&lot, 8);
        for (unsigned i = 0; i < count; i++)
            assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
        for (unsigned n = lot_below(&lot, 40); n; n--)
            (void)raw_send(fds[lot_below(&lot, count)], "job", 3);
        for (unsigned i = 0; i < count; i++) {
            if (lot_below(&lot, 2))
                raw_reset(fds[i]);
            else
                raw_close(fds[i]);
        }
    }
    /* half of the rounds end while jobs are under way */
    stage_destroy_engine(stage);
    atomic_store(&mixer.over, true);
    pthread_join(thread, NULL);
    assert_int_equal(sally_pool_destroy(office.pool), 0);
    check_balance(&office);
    printf("%u taken: %u ok, %u late, %u cancelled, %u gone; %u refused\n", office.taken, office.ok,
           office.timed_out, office.cancelled, office.gone, office.refused);
    stage_end(stage);
}

/* ---- A drain ---- */

static bool find_paused(const sally_conn_info *info, void *arg)
{
    *(bool *)arg |= info->paused;
    return true;
}

/* The shard of a connection with jobs has seen the drain. */
static bool one_waits_for_its_jobs(const struct stage *stage)
{
    bool paused = false;
    assert_int_equal(sally_engine_each_conn(stage->engine, find_paused, &paused), 0);
    return paused;
}

/* Its answers go out first, and nothing more is read meanwhile. */
static void a_drain_lets_jobs_come_back(const struct stage_way *way)
{
    enum { JOBS = 3 };
    struct office office;
    struct os_gate gate;
    os_gate_init(&gate);
    struct stage *stage = office_begin(way, &office, &gate, NULL, (struct stage_options){0});
    struct actor *busy, *idle;
    int fds[2] = {stage_client(stage, 0, &busy), stage_client(stage, 0, &idle)};
    for (unsigned i = 0; i < JOBS; i++) {
        assert_true(raw_send(fds[0], "a", 1));
        STAGE_WAIT(atomic_load(&office.taken) == i + 1);
    }
    assert_int_equal(sally_engine_drain(stage->engine, STAGE_LIMIT_MS), 0);
    assert_string_equal(raw_end_name(raw_read_to_end(fds[1], NULL)), "FIN");
    raw_close(fds[1]);
    actor_wait_closed(idle);
    STAGE_WAIT(one_waits_for_its_jobs(stage));
    assert_true(raw_send(fds[0], "b", 1));
    char answer[JOBS + 1];
    long early = raw_recv_now(fds[0], answer, 1);
    os_gate_open(&gate);
    assert_true(raw_read(fds[0], answer, JOBS));
    assert_memory_equal(answer, "AAA", JOBS);
    assert_string_equal(raw_end_name(raw_read_to_end(fds[0], NULL)), "FIN");
    raw_close(fds[0]);
    assert_int_equal(early, -1);
    assert_int_equal(actor_wait_closed(busy)->reason, SALLY_CLOSE_SHUTDOWN);
    assert_int_equal(sally_engine_wait(stage->engine), 0);
    sally_stop_report report;
    assert_int_equal(sally_engine_stop_report(stage->engine, &report), 0);
    assert_int_equal(report.jobs, JOBS);
    assert_int_equal(report.jobs_cut, 0);
    assert_int_equal(report.finished, 2);
    assert_int_equal(atomic_load(&office.taken), JOBS);
    assert_int_equal(atomic_load(&office.ok), JOBS);
    office_end(&office, stage);
    os_gate_free(&gate);
}

/* The drain's time is over first, or a stop comes: the connection is cut, the job told so. */
static void jobs_that_do_not_end_are_cut_with_their_connection(const struct stage_way *way)
{
    for (int by_stop = 0; by_stop < 3; by_stop++) {
        struct office office;
        struct os_gate gate;
        os_gate_init(&gate);
        struct stage *stage = office_begin(way, &office, &gate, NULL, (struct stage_options){0});
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        assert_true(raw_send(fd, "a", 1));
        STAGE_WAIT(atomic_load(&office.began) == 1);
        uint32_t limit_ms = by_stop ? STAGE_LIMIT_MS : 50;
        if (by_stop < 2) assert_int_equal(sally_engine_drain(stage->engine, limit_ms), 0);
        if (by_stop) assert_int_equal(sally_engine_stop(stage->engine), 0);
        const sally_close_info *info = actor_wait_closed(actor);
        assert_int_equal(info->reason, by_stop ? SALLY_CLOSE_SHUTDOWN : SALLY_CLOSE_DRAIN_TIMEOUT);
        assert_int_equal(sally_engine_wait(stage->engine), 0);
        sally_stop_report report;
        assert_int_equal(sally_engine_stop_report(stage->engine, &report), 0);
        assert_int_equal(report.jobs, 1);
        assert_int_equal(report.jobs_cut, 1);
        assert_int_equal(report.cut, 1);
        os_gate_open(&gate);
        raw_close(fd);
        office_end(&office, stage);
        assert_int_equal(atomic_load(&office.gone), 1);
        os_gate_free(&gate);
    }
}

static const struct stage_test tests[] = {
    STAGE_TEST(a_drain_lets_jobs_come_back),
    STAGE_TEST_ON(jobs_that_do_not_end_are_cut_with_their_connection, 2),
    STAGE_TEST(a_result_comes_back_to_its_connection),
    STAGE_TEST_ON(results_arrive_though_the_mailbox_is_full, 1),
    STAGE_TEST(blocked_jobs_hold_up_nobody),
    STAGE_TEST(the_end_of_a_job_whose_connection_has_gone),
    STAGE_TEST(cancelled_and_late_jobs_are_told_to_the_connection),
    STAGE_TEST(a_connection_submits_from_its_first_callback_to_before_its_last),
    STAGE_TEST(the_engine_goes_first),
    STAGE_TEST(the_pool_goes_first),
    STAGE_TEST(jobs_connections_and_workers_come_and_go),
};

int main(int argc, char **argv)
{
    return stage_run("jobs", tests, sizeof tests / sizeof *tests, argc, argv);
}
