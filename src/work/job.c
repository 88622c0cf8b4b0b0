/* A job: submitted, waiting, running, told. It lies in a slot of its pool's table from the
 * submission until just before its done, with the letter that takes it home in it, so that nothing
 * on its way can fail. */
#include "work/pool.h"

#include <assert.h>

#include "net/conn.h"

static struct job *job_of_call(struct letter_call *call)
{
    return (struct job *)(void *)((unsigned char *)call - offsetof(struct job, call));
}

static struct job *job_of_timer(struct timer *timer)
{
    return (struct job *)(void *)((unsigned char *)timer - offsetof(struct job, timer));
}

/* ---- The end ---- */

/* Its place is free before the program's function runs, which may submit the next. */
static void job__tell(struct job *job, sally_conn *conn, int status)
{
    sally_pool *pool = job->pool;
    sally_done_fn done = job->done;
    void *arg = job->arg;
    door_release(job->door);
    os_lock_take(&pool->lock);
    slots_give(&pool->jobs, job);
    pool->live--;
    os_lock_give(&pool->lock);
    if (done) done(conn, arg, status);
    pool_unref(pool);
}

static void job__home(struct letter_call *call, struct shard *shard)
{
    struct job *job = job_of_call(call);
    sally_id id = job->conn;
    sally_conn *conn = shard ? letter_open_conn(shard, id) : NULL;
    job__tell(job, conn, conn ? job->status : SALLY_ENOCONN);
    if (shard) conn_job_ended(shard, id); /* after its last words */
}

void job_finish(struct job *job)
{
    if (!job->door) {
        job__tell(job, NULL, job->status);
        return;
    }
    struct door *door = door_ref(job->door); /* the job may be gone when the post returns */
    if (!door_post(door, job->conn, &job->call.letter)) job__tell(job, NULL, SALLY_ENOCONN);
    door_release(door);
}

void job_give_up(struct job *job, int status)
{
    sally_pool *pool = job->pool;
    assert(job->state == JOB_WAITING);
    list_remove(&pool->waiting, job);
    wheel_cancel(&pool->wheel, &job->timer);
    job->state = JOB_OVER;
    job->status = status;
    list_append(&pool->over, job);
    if (status == SALLY_ETIMEDOUT)
        pool->stats.expired++;
    else
        pool->stats.cancelled++;
    pool_keeper_wanted(pool);
}

void job_expire(sally_pool *pool)
{
    wheel_advance(&pool->wheel, pool_now_ms(pool));
    for (struct timer *timer; (timer = wheel_pop_due(&pool->wheel));)
        job_give_up(job_of_timer(timer), SALLY_ETIMEDOUT);
}

/* ---- The run ---- */

struct job *job_next(sally_pool *pool)
{
    /* the keeper may be late; a job is not */
    if (pool->waiting.head && wheel_next_ms(&pool->wheel) <= pool_now_ms(pool)) job_expire(pool);
    struct job *job = list_pop(&pool->waiting);
    if (!job) return NULL;
    wheel_cancel(&pool->wheel, &job->timer);
    job->state = JOB_RUNNING;
    return job;
}

void job_run(struct job *job)
{
    sally_pool *pool = job->pool;
    bool needless = job->needs_conn && job->door && !door_knows(job->door, job->conn);
    if (!needless) job->work(job->arg);
    os_lock_take(&pool->lock);
    if (needless)
        pool->stats.dropped++;
    else
        pool->stats.ran++;
    job->state = JOB_AWAY;
    os_lock_give(&pool->lock);
}

/* ---- The beginning ---- */

/* With the lock held. What has waited too long makes no room by itself: its end has to be told
 * first. */
static int pool__place(sally_pool *pool, struct job **out)
{
    if (pool->draining) return SALLY_ESTATE;
    if (pool->live == pool->jobs_max) {
        pool->stats.refused++;
        return SALLY_EFULL;
    }
    *out = slots_take(&pool->jobs);
    if (!*out) return SALLY_ENOMEM;
    pool->live++;
    pool->refs++;
    pool->stats.submitted++;
    return 0;
}

static uint32_t pool__wait_ms(const sally_pool *pool, const sally_job_options *options)
{
    return options && options->wait_ms ? options->wait_ms : pool->wait_ms;
}

/* With the lock held. */
static void job__wait(struct job *job, uint32_t wait_ms)
{
    sally_pool *pool = job->pool;
    job->state = JOB_WAITING;
    list_append(&pool->waiting, job);
    if (wait_ms != SALLY_FOREVER) {
        /* one more: this millisecond has begun already */
        wheel_set(&pool->wheel, &job->timer, pool_now_ms(pool) + wait_ms + 1);
        if (wheel_next_ms(&pool->wheel) < pool->keeper_at_ms) pool_keeper_wanted(pool);
    }
    pool_work_came(pool);
}

static int pool__submit(sally_pool *pool, const struct job *what, uint32_t wait_ms, sally_job *name)
{
    struct job *job;
    os_lock_take(&pool->lock);
    int err = pool__place(pool, &job);
    if (!err) {
        job->call =
            (struct letter_call){.letter.mail = {sizeof(struct job), LETTER_CALL}, .fn = job__home};
        job->pool = pool;
        job->work = what->work;
        job->done = what->done;
        job->arg = what->arg;
        job->conn = what->conn;
        job->needs_conn = what->needs_conn;
        job->door = what->door ? door_ref(what->door) : NULL;
        /* before it can run: who submits may look at the name in `work` */
        if (name) *name = (uint64_t)slot_generation(&job->slot) << 32 | job->slot.index;
        job__wait(job, wait_ms);
    }
    os_lock_give(&pool->lock);
    return err;
}

int sally_pool_run(sally_pool *pool, sally_work_fn work, sally_done_fn done, void *arg,
                   const sally_job_options *options, sally_job *name)
{
    if (!pool || !work) return SALLY_EINVAL;
    struct job job = {.work = work, .done = done, .arg = arg};
    return pool__submit(pool, &job, pool__wait_ms(pool, options), name);
}

int sally_work(sally_conn *conn, sally_pool *pool, sally_work_fn work, sally_done_fn done,
               void *arg, const sally_job_options *options, sally_job *name)
{
    if (!conn || !pool || !work) return SALLY_EINVAL;
    const struct shard *shard = conn->shard;
    assert(shard_current() == shard || !shard_current());
    const struct host *host = &shard->engine->host;
    if (host->threads != pool->host.threads || host->ctx != pool->host.ctx) return SALLY_ENOTSUP;
    sally_id id = sally_conn_id(conn);
    if (letter_open_conn(shard, id) != conn) return SALLY_ECLOSED;
    struct job job = {.work = work,
                      .done = done,
                      .arg = arg,
                      .conn = id,
                      .door = shard->engine->door,
                      .needs_conn = options && options->needs_conn};
    int err = pool__submit(pool, &job, pool__wait_ms(pool, options), name);
    if (!err) conn_job_begun(conn);
    return err;
}

int sally_pool_cancel(sally_pool *pool, sally_job name)
{
    if (!pool) return SALLY_EINVAL;
    os_lock_take(&pool->lock);
    struct job *job = slots_find(&pool->jobs, (uint32_t)name, (uint32_t)(name >> 32));
    bool waits = job && job->state == JOB_WAITING;
    if (waits) job_give_up(job, SALLY_ECANCELED);
    os_lock_give(&pool->lock);
    return waits ? 0 : SALLY_ESTATE;
}
