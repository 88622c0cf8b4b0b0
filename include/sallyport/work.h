/* Sallyport: jobs, for what would hold up a connection's callbacks: blocking calls, long
 * computations.
 *
 * A pool has worker threads of its own. A job is a function that one of them runs, and a second
 * function, `done`, that brings the end of it back:
 *
 *     static void look_up(void *arg) { ... may block ... }
 *     static void answer(sally_conn *conn, void *arg, int status)
 *     {
 *         if (status == 0) sally_conn_send(conn, ...);
 *         free(arg);
 *     }
 *     static void on_data(sally_conn *conn, const void *data, size_t len)
 *     {
 *         ...
 *         int err = sally_work(conn, pool, look_up, answer, arg, NULL, NULL);
 *         if (err) { ... it was not taken, and nothing will be called ... }
 *     }
 *
 * What is promised. After a call that returned 0, `work` runs at most once, and `done` is called
 * exactly once, whatever happens: a job that was cancelled, one that waited too long, a connection
 * that has gone, a pool or an engine that is destroyed. So `arg` can be freed there. `done` is
 * never called inside the call that caused it. Jobs begin in the order in which they were taken.
 * The way back needs no memory and no room in a mailbox: what it takes was set aside when the job
 * was taken.
 *
 * Where `done` runs, for a job of a connection: on the connection's shard, between its callbacks,
 * also with conn NULL when the connection has gone; once the engine has stopped, inside
 * sally_engine_destroy; once the engine is gone, on a thread of the pool. For a job without a
 * connection: on a thread of the pool. There it should not block, since what else is to be told may
 * wait behind it. A connection that is closing is still one: then sends to it are SALLY_ECLOSED.
 * sally_engine_drain leaves a connection open until its jobs have come back, within its time, and
 * reads no more of it, also after a sally_conn_resume; sally_engine_stop waits for none.
 *
 * In a simulation (sallyport/sim.h) a pool of the sim's engine has no threads. Its jobs run between
 * the turns of shards, in the order that the seed draws, each after a time that the seed draws, as
 * many at once as the pool has workers. */
#ifndef SALLYPORT_WORK_H
#define SALLYPORT_WORK_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct sally_pool sally_pool;
typedef uint64_t sally_job; /* names a job of one pool; never used again; 0 names nothing */

/* Runs on a worker. May block, and may call what is marked [any]. */
typedef void (*sally_work_fn)(void *arg);

/* The end of a job. `conn` is NULL for a job without a connection, and whenever status is
 * SALLY_ENOCONN. The status is
 *   0                work has run
 *   SALLY_ETIMEDOUT  it has waited for wait_ms and was not run
 *   SALLY_ECANCELED  it was cancelled, or its pool was destroyed, and it was not run
 *   SALLY_ENOCONN    the connection has gone, or is at its end; whether work has run is not said */
typedef void (*sally_done_fn)(sally_conn *conn, void *arg, int status);

typedef struct sally_pool_options {
    uint32_t threads;     /* workers at first; 0: one for each core; for none see sally_pool_resize
                           */
    uint32_t threads_max; /* more than that can't be asked for; 0: 64; at most 1024 */
    uint32_t jobs_max;    /* jobs that wait, run, or whose end is on its way; 0: 65536; at most 16
                             million. Memory for the most that there ever were is kept. */
    uint32_t wait_ms;     /* the default of sally_job_options; 0: 60000 */
    const char *name;     /* of the threads, "NAME-0" and so on; NULL: "sally-job"; copied, at most
                             11 characters count */
} sally_pool_options;

typedef struct sally_job_options {
    uint32_t wait_ms; /* a job that has not begun by then is not run; 0: as the pool says;
                         SALLY_FOREVER: no limit. Told in time also while every worker is busy */
    bool needs_conn;  /* not run if its connection has gone before it begins */
} sally_job_options;

typedef struct sally_pool_stats {
    uint32_t threads;         /* workers asked for */
    uint32_t threads_running; /* threads there are; more than asked for while some finish a job */
    uint32_t waiting;         /* jobs that wait for a worker */
    uint32_t running;         /* jobs that a worker has */
    uint32_t jobs;            /* all jobs whose done has not been called */
    uint64_t submitted;       /* since the beginning: taken */
    uint64_t refused;         /* not taken, the pool was full */
    uint64_t ran;             /* work has run */
    uint64_t expired;         /* not run, waited too long */
    uint64_t cancelled;       /* not run, cancelled */
    uint64_t dropped;         /* not run, needs_conn and the connection had gone */
} sally_pool_stats;

/* Makes a pool and starts its workers. It takes the engine's allocator (which must live as long as
 * the pool) and what stands for the machine, and may outlive the engine; it serves connections of
 * any engine of the same machine, that is, the real one or one simulation. `options` may be NULL.
 * All or nothing: SALLY_EINVAL (also for a size past what the options allow), SALLY_ENOMEM,
 * SALLY_EEXHAUSTED (no more threads). Beside the workers a pool has one thread that tells what was
 * cancelled or waited too long. [any] */
SALLY_API int sally_pool_create(sally_pool **pool, sally_engine *engine,
                                const sally_pool_options *options) SALLY_MUST_USE;

/* So many workers from now on, also none: then jobs wait. A worker too many finishes the job it has
 * and ends. SALLY_ELIMIT past threads_max; SALLY_EEXHAUSTED when the system has no more threads,
 * after which there are as many as before; SALLY_ESTATE while the pool is destroyed. [any] */
SALLY_API int sally_pool_resize(sally_pool *pool, uint32_t threads) SALLY_MUST_USE;

/* A job for a connection, inside one of its callbacks: work(arg) on a worker, then
 * done(conn, arg, status) on the connection's shard. `done`, `options` and `job` (which gets the
 * name for sally_pool_cancel) may be NULL. SALLY_EFULL (jobs_max), SALLY_ESTATE (the pool is
 * drained), SALLY_ECLOSED (the connection is not open, or at its end), SALLY_EINVAL, SALLY_ENOMEM,
 * SALLY_ENOTSUP (pool and engine are not of the same machine). [shard] */
SALLY_API int sally_work(sally_conn *conn, sally_pool *pool, sally_work_fn work, sally_done_fn done,
                         void *arg, const sally_job_options *options,
                         sally_job *job) SALLY_MUST_USE;

/* The same without a connection; done(NULL, arg, status) on a thread of the pool. [any] */
SALLY_API int sally_pool_run(sally_pool *pool, sally_work_fn work, sally_done_fn done, void *arg,
                             const sally_job_options *options, sally_job *job) SALLY_MUST_USE;

/* A job that has not begun will not be run; its done says SALLY_ECANCELED. SALLY_ESTATE: it runs,
 * has run, was cancelled before, or never was. [any] */
SALLY_API int sally_pool_cancel(sally_pool *pool, sally_job job);

/* Takes no jobs from now on (SALLY_ESTATE), and waits until those taken have run; without workers
 * they wait on. SALLY_ETIMEDOUT when timeout_ms was over first: what is left goes on. SALLY_ETHREAD
 * inside a callback or on a thread of the pool. [outside] */
SALLY_API int sally_pool_drain(sally_pool *pool, uint32_t timeout_ms) SALLY_MUST_USE;

/* Cancels what waits, waits for what runs, and frees the pool. Legal while the engine runs and
 * after it was destroyed; nobody may use the pool after this call has begun. The ends of its
 * connections' jobs may still be on their way then and arrive as promised. NULL does nothing.
 * SALLY_ETHREAD inside a callback or on a thread of the pool, and then it does nothing. [outside]
 */
SALLY_API int sally_pool_destroy(sally_pool *pool);

/* All of one moment. [any] */
SALLY_API int sally_pool_get_stats(sally_pool *pool, sally_pool_stats *stats) SALLY_MUST_USE;

#if defined(__cplusplus)
}
#endif
#endif
