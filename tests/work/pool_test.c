/* The job pool by itself: every job told once, limits, cancelling, deadlines, resizing, the end. */
#include <stdlib.h>
#include <string.h>

#include "os/thread.h"
#include "work/support/bench.h"

/* A job that counts, and may wait for a gate. */
struct task {
    struct os_gate *gate; /* NULL: doesn't wait */
    atomic_uint began;
    atomic_uint ran;
    atomic_uint told;
    atomic_int status;
    atomic_uint *order; /* where its place in the order goes, NULL: nowhere */
    unsigned place;
};

static void task_work(void *arg)
{
    struct task *task = arg;
    atomic_fetch_add(&task->began, 1);
    if (task->order) task->place = atomic_fetch_add(task->order, 1);
    if (task->gate) os_gate_wait(task->gate);
    atomic_fetch_add(&task->ran, 1);
}

static void task_done(sally_conn *conn, void *arg, int status)
{
    struct task *task = arg;
    if (conn) abort();
    atomic_store(&task->status, status);
    atomic_fetch_add(&task->told, 1);
}

static int submit(struct bench *bench, struct task *task, const sally_job_options *options,
                  sally_job *job)
{
    return sally_pool_run(bench->pool, task_work, task_done, task, options, job);
}

/* A worker is busy with it when this returns, until its gate opens. */
static void occupy(struct bench *bench, struct task *task, struct os_gate *gate)
{
    *task = (struct task){.gate = gate};
    assert_int_equal(submit(bench, task, NULL, NULL), 0);
    BENCH_WAIT(atomic_load(&task->began) == 1);
}

static void check_told(struct task *tasks, unsigned count, unsigned ran, int status)
{
    for (unsigned i = 0; i < count; i++) {
        BENCH_WAIT(atomic_load(&tasks[i].told) == 1);
        assert_int_equal(atomic_load(&tasks[i].ran), ran);
        assert_int_equal(atomic_load(&tasks[i].status), status);
    }
}

/* ---- Running ---- */

static void each_job_runs_once_and_is_told_once(void **state)
{
    (void)state;
    enum { JOBS = 2000 };
    static struct task tasks[JOBS];
    memset(tasks, 0, sizeof tasks);
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 4});
    for (int i = 0; i < JOBS; i++) assert_int_equal(submit(&bench, &tasks[i], NULL, NULL), 0);
    check_told(tasks, JOBS, 1, 0);
    BENCH_WAIT(bench_stats(&bench).jobs == 0);
    sally_pool_stats stats = bench_stats(&bench);
    assert_int_equal(stats.submitted, JOBS);
    assert_int_equal(stats.ran, JOBS);
    assert_int_equal(stats.refused + stats.expired + stats.cancelled + stats.dropped, 0);
    assert_int_equal(stats.waiting, 0);
    bench_end(&bench);
}

static void one_worker_begins_jobs_in_their_order(void **state)
{
    (void)state;
    enum { JOBS = 100 };
    static struct task tasks[JOBS];
    atomic_uint order = 0;
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 1});
    for (unsigned i = 0; i < JOBS; i++) {
        tasks[i] = (struct task){.order = &order};
        assert_int_equal(submit(&bench, &tasks[i], NULL, NULL), 0);
    }
    check_told(tasks, JOBS, 1, 0);
    for (unsigned i = 0; i < JOBS; i++) assert_int_equal(tasks[i].place, i);
    bench_end(&bench);
}

static void a_job_needs_no_done(void **state)
{
    (void)state;
    struct task task = {.gate = NULL};
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 1});
    assert_int_equal(sally_pool_run(bench.pool, task_work, NULL, &task, NULL, NULL), 0);
    BENCH_WAIT(bench_stats(&bench).jobs == 0);
    assert_int_equal(atomic_load(&task.ran), 1);
    bench_end(&bench);
}

/* At the limit of one, each done may submit the next: its own place is free by then. */
struct chain {
    struct bench *bench;
    atomic_uint left;
    atomic_int err;
};

static void chain_work(void *arg) { (void)arg; }

static void chain_done(sally_conn *conn, void *arg, int status)
{
    (void)conn;
    struct chain *chain = arg;
    unsigned left = status ? 0 : atomic_fetch_sub(&chain->left, 1) - 1;
    if (!left) return;
    int err = sally_pool_run(chain->bench->pool, chain_work, chain_done, chain, NULL, NULL);
    if (!err) return;
    atomic_store(&chain->err, err);
    atomic_store(&chain->left, 0);
}

static void a_done_may_submit_the_next_at_the_limit(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 2, .jobs_max = 1});
    struct chain chain = {.bench = &bench, .left = 500};
    assert_int_equal(sally_pool_run(bench.pool, chain_work, chain_done, &chain, NULL, NULL), 0);
    BENCH_WAIT(atomic_load(&chain.left) == 0);
    assert_int_equal(atomic_load(&chain.err), 0);
    bench_end(&bench);
}

/* ---- Limits ---- */

static void a_full_pool_refuses_and_takes_again(void **state)
{
    (void)state;
    struct task tasks[5] = {{.gate = NULL}};
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 1, .jobs_max = 4});
    assert_int_equal(sally_pool_resize(bench.pool, 0), 0);
    for (int i = 0; i < 4; i++) assert_int_equal(submit(&bench, &tasks[i], NULL, NULL), 0);
    assert_int_equal(submit(&bench, &tasks[4], NULL, NULL), SALLY_EFULL);
    assert_int_equal(bench_stats(&bench).refused, 1);
    assert_int_equal(bench_stats(&bench).waiting, 4);
    assert_int_equal(bench_stats(&bench).threads, 0);
    for (int i = 0; i < 4; i++) assert_int_equal(atomic_load(&tasks[i].began), 0);
    assert_int_equal(sally_pool_resize(bench.pool, 1), 0);
    check_told(tasks, 4, 1, 0);
    BENCH_WAIT(bench_stats(&bench).jobs == 0);
    assert_int_equal(submit(&bench, &tasks[4], NULL, NULL), 0);
    check_told(tasks, 5, 1, 0);
    bench_end(&bench);
}

static void absurd_sizes_are_refused(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, NULL);
    const sally_pool_options wrong[] = {
        {.threads = 65},
        {.threads = UINT32_MAX},
        {.threads_max = 1025},
        {.threads_max = UINT32_MAX},
        {.threads = 5, .threads_max = 4},
        {.jobs_max = (1u << 24) + 1},
        {.jobs_max = UINT32_MAX},
    };
    size_t before = atomic_load(&bench.bytes);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(sally_pool_create(&bench.pool, bench.engine, &wrong[i]), SALLY_EINVAL);
        assert_null(bench.pool);
        assert_int_equal(atomic_load(&bench.bytes), before);
    }
    assert_int_equal(sally_pool_create(NULL, bench.engine, NULL), SALLY_EINVAL);
    assert_int_equal(sally_pool_create(&bench.pool, NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_pool_create(&bench.pool, bench.engine, NULL), 0);
    assert_true(bench_stats(&bench).threads >= 1);
    assert_int_equal(sally_pool_resize(bench.pool, 65), SALLY_ELIMIT);
    assert_int_equal(sally_pool_resize(bench.pool, UINT32_MAX), SALLY_ELIMIT);
    assert_int_equal(sally_pool_resize(NULL, 1), SALLY_EINVAL);
    assert_int_equal(sally_pool_run(bench.pool, NULL, NULL, NULL, NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_pool_run(NULL, task_work, NULL, NULL, NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_work(NULL, bench.pool, task_work, NULL, NULL, NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_pool_cancel(NULL, 1), SALLY_EINVAL);
    assert_int_equal(sally_pool_drain(NULL, 1), SALLY_EINVAL);
    assert_int_equal(sally_pool_get_stats(bench.pool, NULL), SALLY_EINVAL);
    bench_end(&bench);
}

/* ---- Waiting too long ---- */

static void a_job_that_waited_too_long_is_told_though_every_worker_is_busy(void **state)
{
    (void)state;
    struct task busy, late = {.gate = NULL}, patient = {.gate = NULL};
    struct os_gate gate;
    os_gate_init(&gate);
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 1});
    occupy(&bench, &busy, &gate);
    const sally_job_options soon = {.wait_ms = 20}, never = {.wait_ms = SALLY_FOREVER};
    uint64_t began_ms = bench_now_ms();
    assert_int_equal(submit(&bench, &patient, &never, NULL), 0);
    assert_int_equal(submit(&bench, &late, &soon, NULL), 0);
    check_told(&late, 1, 0, SALLY_ETIMEDOUT);
    assert_true(bench_now_ms() - began_ms >= 20); /* never early */
    assert_int_equal(atomic_load(&patient.told), 0);
    assert_int_equal(bench_stats(&bench).expired, 1);
    os_gate_open(&gate);
    check_told(&patient, 1, 1, 0);
    check_told(&busy, 1, 1, 0);
    bench_end(&bench);
    os_gate_free(&gate);
}

/* The pool's own limit, and jobs whose times are not in the order of their coming. */
static void waiting_has_a_limit_of_the_pools_own(void **state)
{
    (void)state;
    enum { JOBS = 50 };
    static struct task tasks[JOBS];
    memset(tasks, 0, sizeof tasks);
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 1, .wait_ms = 30});
    assert_int_equal(sally_pool_resize(bench.pool, 0), 0);
    for (unsigned i = 0; i < JOBS; i++) {
        sally_job_options options = {.wait_ms = i % 2 ? JOBS - i : 0};
        assert_int_equal(submit(&bench, &tasks[i], &options, NULL), 0);
    }
    check_told(tasks, JOBS, 0, SALLY_ETIMEDOUT);
    assert_int_equal(bench_stats(&bench).expired, JOBS);
    bench_end(&bench);
}

/* ---- Cancelling ---- */

static void what_waits_can_be_cancelled_and_nothing_else(void **state)
{
    (void)state;
    struct task busy, tasks[3] = {{.gate = NULL}};
    struct os_gate gate;
    os_gate_init(&gate);
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 1});
    sally_job first, jobs[3];
    busy = (struct task){.gate = &gate};
    assert_int_equal(submit(&bench, &busy, NULL, &first), 0);
    BENCH_WAIT(atomic_load(&busy.began) == 1);
    for (int i = 0; i < 3; i++) assert_int_equal(submit(&bench, &tasks[i], NULL, &jobs[i]), 0);
    assert_int_equal(sally_pool_cancel(bench.pool, first), SALLY_ESTATE);
    assert_int_equal(sally_pool_cancel(bench.pool, 0), SALLY_ESTATE);
    assert_int_equal(sally_pool_cancel(bench.pool, UINT64_MAX), SALLY_ESTATE);
    assert_int_equal(sally_pool_cancel(bench.pool, jobs[1]), 0);
    assert_int_equal(sally_pool_cancel(bench.pool, jobs[1]), SALLY_ESTATE);
    check_told(&tasks[1], 1, 0, SALLY_ECANCELED);
    os_gate_open(&gate);
    check_told(&tasks[0], 1, 1, 0);
    check_told(&tasks[2], 1, 1, 0);
    BENCH_WAIT(bench_stats(&bench).jobs == 0);
    assert_int_equal(sally_pool_cancel(bench.pool, jobs[2]), SALLY_ESTATE);
    assert_int_equal(bench_stats(&bench).cancelled, 1);
    bench_end(&bench);
    os_gate_free(&gate);
}

/* A name is never used again, though its place is. */
static void an_old_name_reaches_no_later_job(void **state)
{
    (void)state;
    struct task gone = {.gate = NULL}, later = {.gate = NULL};
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 1, .jobs_max = 1});
    sally_job old, fresh;
    assert_int_equal(submit(&bench, &gone, NULL, &old), 0);
    BENCH_WAIT(bench_stats(&bench).jobs == 0);
    assert_int_equal(sally_pool_resize(bench.pool, 0), 0);
    assert_int_equal(submit(&bench, &later, NULL, &fresh), 0);
    assert_true(old != fresh);
    assert_int_equal(sally_pool_cancel(bench.pool, old), SALLY_ESTATE);
    assert_int_equal(sally_pool_resize(bench.pool, 1), 0);
    check_told(&later, 1, 1, 0);
    bench_end(&bench);
}

/* ---- Resizing ---- */

static void a_worker_too_many_finishes_its_job_first(void **state)
{
    (void)state;
    struct task tasks[3], waits = {.gate = NULL};
    struct os_gate gate;
    os_gate_init(&gate);
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 3});
    for (int i = 0; i < 3; i++) occupy(&bench, &tasks[i], &gate);
    assert_int_equal(sally_pool_resize(bench.pool, 0), 0);
    assert_int_equal(submit(&bench, &waits, NULL, NULL), 0);
    assert_int_equal(bench_stats(&bench).threads_running, 3);
    assert_int_equal(bench_stats(&bench).running, 3);
    os_gate_open(&gate);
    check_told(tasks, 3, 1, 0);
    BENCH_WAIT(bench_stats(&bench).threads_running == 0);
    assert_int_equal(atomic_load(&waits.began), 0);
    assert_int_equal(sally_pool_resize(bench.pool, 2), 0);
    check_told(&waits, 1, 1, 0);
    bench_end(&bench);
    os_gate_free(&gate);
}

/* ---- The end ---- */

struct ender {
    struct bench *bench;
    atomic_int err;
    atomic_bool over;
};

static void destroy_body(void *arg)
{
    struct ender *ender = arg;
    atomic_store(&ender->err, sally_pool_destroy(ender->bench->pool));
    atomic_store(&ender->over, true);
}

static void destroy_cancels_what_waits_and_waits_for_what_runs(void **state)
{
    (void)state;
    enum { JOBS = 100 };
    static struct task busy, tasks[JOBS];
    memset(tasks, 0, sizeof tasks);
    struct os_gate gate;
    os_gate_init(&gate);
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 1});
    occupy(&bench, &busy, &gate);
    for (int i = 0; i < JOBS; i++) assert_int_equal(submit(&bench, &tasks[i], NULL, NULL), 0);
    struct ender ender = {.bench = &bench};
    struct os_thread thread;
    assert_int_equal(os_thread_start(&thread, "ender", destroy_body, &ender), 0);
    check_told(tasks, JOBS, 0, SALLY_ECANCELED);
    assert_false(atomic_load(&ender.over)); /* a job runs */
    os_gate_open(&gate);
    os_thread_join(&thread);
    assert_int_equal(atomic_load(&ender.err), 0);
    check_told(&busy, 1, 1, 0);
    bench.pool = NULL;
    bench_end(&bench);
    os_gate_free(&gate);
}

static void a_drained_pool_has_run_everything_and_takes_nothing(void **state)
{
    (void)state;
    enum { JOBS = 300 };
    static struct task tasks[JOBS], late;
    memset(tasks, 0, sizeof tasks);
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 2});
    assert_int_equal(sally_pool_resize(bench.pool, 0), 0);
    for (int i = 0; i < JOBS; i++) assert_int_equal(submit(&bench, &tasks[i], NULL, NULL), 0);
    assert_int_equal(sally_pool_drain(bench.pool, 5), SALLY_ETIMEDOUT);
    assert_int_equal(submit(&bench, &late, NULL, NULL), SALLY_ESTATE);
    assert_int_equal(sally_pool_resize(bench.pool, 2), 0);
    assert_int_equal(sally_pool_drain(bench.pool, BENCH_LIMIT_MS), 0);
    for (int i = 0; i < JOBS; i++) assert_int_equal(atomic_load(&tasks[i].told), 1);
    assert_int_equal(sally_pool_drain(bench.pool, SALLY_FOREVER), 0);
    assert_int_equal(bench_stats(&bench).jobs, 0);
    bench_end(&bench);
}

struct inside {
    struct bench *bench;
    int drain, destroy, resize, stats;
    atomic_bool over;
};

static void work_inside(void *arg)
{
    struct inside *inside = arg;
    sally_pool_stats stats;
    inside->drain = sally_pool_drain(inside->bench->pool, 1);
    inside->destroy = sally_pool_destroy(inside->bench->pool);
    inside->resize = sally_pool_resize(inside->bench->pool, 2);
    inside->stats = sally_pool_get_stats(inside->bench->pool, &stats);
    atomic_store(&inside->over, true);
}

static void a_job_can_resize_its_pool_and_not_end_it(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 1});
    struct inside inside = {.bench = &bench};
    assert_int_equal(sally_pool_run(bench.pool, work_inside, NULL, &inside, NULL, NULL), 0);
    BENCH_WAIT(atomic_load(&inside.over));
    assert_int_equal(inside.drain, SALLY_ETHREAD);
    assert_int_equal(inside.destroy, SALLY_ETHREAD);
    assert_int_equal(inside.resize, 0);
    assert_int_equal(inside.stats, 0);
    assert_int_equal(bench_stats(&bench).threads, 2);
    bench_end(&bench);
}

static void a_pool_outlives_its_engine(void **state)
{
    (void)state;
    struct task task = {.gate = NULL};
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 2});
    assert_int_equal(sally_engine_destroy(bench.engine), 0);
    bench.engine = NULL;
    assert_int_equal(submit(&bench, &task, NULL, NULL), 0);
    check_told(&task, 1, 1, 0);
    bench_end(&bench);
}

/* ---- Memory and threads ---- */

static void every_allocation_may_fail(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (unsigned n = 1;; n++) {
        struct task task = {.gate = NULL};
        struct bench bench;
        bench_begin(&bench, NULL);
        unsigned before = atomic_load(&bench.allocations);
        atomic_store(&bench.fail_at, before + n);
        int err = sally_pool_create(&bench.pool, bench.engine, &(sally_pool_options){.threads = 1});
        if (!err) err = submit(&bench, &task, NULL, NULL);
        unsigned asked = atomic_load(&bench.allocations) - before;
        assert_true(err == (asked >= n ? SALLY_ENOMEM : 0));
        if (!err) check_told(&task, 1, 1, 0);
        bench_end(&bench);
        if (!err) break;
        failed++;
    }
    assert_true(failed >= 4);
}

#if defined(__linux__)
#include "support/folder.h"

static unsigned threads_named(const char *name)
{
    unsigned found = 0;
    DIR *tasks = folder_open("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(tasks));) {
        char path[300], comm[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fgets(comm, sizeof comm, file)) comm[strcspn(comm, "\n")] = 0;
        fclose(file);
        found += strcmp(comm, name) == 0;
    }
    closedir(tasks);
    return found;
}

/* A worker that ended is joined without anybody asking. */
static void threads_have_names_and_go_when_they_are_too_many(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 2, .name = "a-very-long-name"});
    assert_int_equal(threads_named("a-very-long-0"), 1);
    assert_int_equal(threads_named("a-very-long-1"), 1);
    assert_int_equal(threads_named("a-very-long-k"), 1);
    assert_int_equal(sally_pool_resize(bench.pool, 1), 0);
    BENCH_WAIT(threads_named("a-very-long-1") == 0);
    assert_int_equal(threads_named("a-very-long-0"), 1);
    bench_end(&bench);
    bench_begin(&bench, &(sally_pool_options){.threads = 1});
    assert_int_equal(threads_named("sally-job-0"), 1);
    bench_end(&bench);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_job_runs_once_and_is_told_once),
        cmocka_unit_test(one_worker_begins_jobs_in_their_order),
        cmocka_unit_test(a_job_needs_no_done),
        cmocka_unit_test(a_done_may_submit_the_next_at_the_limit),
        cmocka_unit_test(a_full_pool_refuses_and_takes_again),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(a_job_that_waited_too_long_is_told_though_every_worker_is_busy),
        cmocka_unit_test(waiting_has_a_limit_of_the_pools_own),
        cmocka_unit_test(what_waits_can_be_cancelled_and_nothing_else),
        cmocka_unit_test(an_old_name_reaches_no_later_job),
        cmocka_unit_test(a_worker_too_many_finishes_its_job_first),
        cmocka_unit_test(destroy_cancels_what_waits_and_waits_for_what_runs),
        cmocka_unit_test(a_drained_pool_has_run_everything_and_takes_nothing),
        cmocka_unit_test(a_job_can_resize_its_pool_and_not_end_it),
        cmocka_unit_test(a_pool_outlives_its_engine),
        cmocka_unit_test(every_allocation_may_fail),
#if defined(__linux__)
        cmocka_unit_test(threads_have_names_and_go_when_they_are_too_many),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
