/* A pool that is resized all the time: each job runs exactly once and is told exactly once. A
 * million jobs and a new size every 10 ms with SALLY_LONG. */
#include <stdlib.h>

#include "os/thread.h"
#include "support/long.h"
#include "work/support/bench.h"

struct million {
    struct bench *bench;
    unsigned char *runs; /* how often each has run: written by one worker each */
    atomic_uint ran, told, wrong;
};

struct million_job {
    struct million *million;
    uint32_t n;
};

static void million_work(void *arg)
{
    struct million_job *job = arg;
    job->million->runs[job->n]++;
    atomic_fetch_add(&job->million->ran, 1);
}

static void million_done(sally_conn *conn, void *arg, int status)
{
    struct million_job *job = arg;
    if (conn || status || job->million->runs[job->n] != 1)
        atomic_fetch_add(&job->million->wrong, 1);
    atomic_fetch_add(&job->million->told, 1);
}

struct sizer {
    struct bench *bench;
    uint64_t seed;
    atomic_bool over;
    atomic_uint resized, failed;
};

static void sizer_body(void *arg)
{
    struct sizer *sizer = arg;
    uint64_t state = sizer->seed;
    while (!atomic_load(&sizer->over)) {
        if (sally_pool_resize(sizer->bench->pool, bench_draw(&state, 17)))
            atomic_fetch_add(&sizer->failed, 1);
        atomic_fetch_add(&sizer->resized, 1);
        for (int ms = 0; ms < (long_form() ? 10 : 1); ms++) bench_nap();
    }
    if (sally_pool_resize(sizer->bench->pool, 4)) atomic_fetch_add(&sizer->failed, 1);
}

static void every_job_runs_once_while_the_pool_is_resized(void **state)
{
    (void)state;
    const uint32_t jobs = long_form() ? 1000000 : 50000;
    struct bench bench;
    bench_begin(&bench, &(sally_pool_options){.threads = 4, .jobs_max = 1000});
    struct million million = {.bench = &bench, .runs = calloc(jobs, 1)};
    struct million_job *each = calloc(jobs, sizeof *each);
    assert_true(million.runs && each);
    struct sizer sizer = {.bench = &bench, .seed = bench_seed()};
    struct os_thread thread;
    assert_int_equal(os_thread_start(&thread, "sizer", sizer_body, &sizer), 0);
    uint64_t began_ms = bench_now_ms(), full = 0;
    for (uint32_t n = 0; n < jobs; n++) {
        each[n] = (struct million_job){.million = &million, .n = n};
        int err;
        while ((err = sally_pool_run(bench.pool, million_work, million_done, &each[n], NULL,
                                     NULL)) == SALLY_EFULL) {
            full++;
            bench_nap();
        }
        assert_int_equal(err, 0);
    }
    atomic_store(&sizer.over, true);
    os_thread_join(&thread);
    BENCH_WAIT(atomic_load(&million.told) == jobs);
    uint64_t took_ms = bench_now_ms() - began_ms;
    assert_int_equal(atomic_load(&million.ran), jobs);
    assert_int_equal(atomic_load(&million.wrong), 0);
    for (uint32_t n = 0; n < jobs; n++) assert_int_equal(million.runs[n], 1);
    assert_int_equal(atomic_load(&sizer.failed), 0);
    BENCH_WAIT(bench_stats(&bench).threads_running == 4);
    printf("%u jobs in %llu ms, %u times resized, %llu times full\n", jobs,
           (unsigned long long)took_ms, atomic_load(&sizer.resized), (unsigned long long)full);
    bench_end(&bench);
    free(each);
    free(million.runs);
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <sys/resource.h>

static void no_work(void *arg) { atomic_fetch_add((atomic_uint *)arg, 1); }

static rlim_t address_space(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &pages), 1);
    fclose(file);
    return (rlim_t)pages * 4096;
}

/* With room for the stacks of a few threads alone: the pool stays as it was, and goes on. */
static void without_threads_to_be_had_the_pool_stays_as_it_was(void **state)
{
    (void)state;
    struct bench bench;
    atomic_uint ran = 0;
    bench_begin(&bench, &(sally_pool_options){.threads = 2, .threads_max = 64});
    struct rlimit before, scarce;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    scarce = before;
    scarce.rlim_cur = address_space() + (64u << 20);
    assert_int_equal(setrlimit(RLIMIT_AS, &scarce), 0);
    int err = sally_pool_resize(bench.pool, 64);
    sally_pool *another = NULL;
    int created = sally_pool_create(&another, bench.engine, &(sally_pool_options){.threads = 64});
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(err, SALLY_EEXHAUSTED);
    assert_int_equal(created, SALLY_EEXHAUSTED);
    assert_null(another);
    assert_int_equal(bench_stats(&bench).threads, 2);
    BENCH_WAIT(bench_stats(&bench).threads_running == 2);
    assert_int_equal(sally_pool_run(bench.pool, no_work, NULL, &ran, NULL, NULL), 0);
    BENCH_WAIT(atomic_load(&ran) == 1);
    assert_int_equal(sally_pool_resize(bench.pool, 64), 0);
    assert_int_equal(bench_stats(&bench).threads_running, 64);
    bench_end(&bench);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_job_runs_once_while_the_pool_is_resized),
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(without_threads_to_be_had_the_pool_stays_as_it_was),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
