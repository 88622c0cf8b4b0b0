/* The threads of a pool. Worker n runs while more than n are wanted; a worker that ends is joined
 * by the keeper, or by who wants it again before that. */
#include "work/pool.h"

#include <stdio.h>

/* ---- Waking; with the lock held ---- */

void pool_work_came(sally_pool *pool)
{
    if (pool->idle) os_condition_tell(&pool->work_came);
}

void pool_keeper_wanted(sally_pool *pool)
{
    pool->keeper_at_ms = 0;
    os_condition_tell(&pool->keeper_due);
}

static void pool__tell_rest(sally_pool *pool)
{
    if (pool->draining && pool_rests(pool)) os_condition_tell_all(&pool->rested);
}

/* ---- Workers ---- */

/* With the lock held; a job, or NULL when this worker is one too many. */
static struct job *worker__next(const struct worker *self)
{
    sally_pool *pool = self->pool;
    while (self->index < pool->threads) {
        struct job *job = job_next(pool);
        if (job) return job;
        pool->idle++;
        os_condition_wait(&pool->work_came, &pool->lock, OS_FOREVER);
        pool->idle--;
    }
    /* what woke it was meant for all: those that stay have looked at the queue, or will */
    return NULL;
}

static void worker__body(void *arg)
{
    struct worker *self = arg;
    sally_pool *pool = self->pool;
    pool_of_thread = pool;
    os_lock_take(&pool->lock);
    for (struct job *job; (job = worker__next(self));) {
        pool->running.count++;
        os_lock_give(&pool->lock);
        job_run(job);
        job_finish(job);
        os_lock_take(&pool->lock);
        pool->running.count--;
        pool__tell_rest(pool);
    }
    self->state = WORKER_DONE;
    pool->threads_running--;
    pool->dead = true;
    pool_keeper_wanted(pool);
    os_lock_give(&pool->lock);
}

/* The states that `resizing` guards against each other: a worker that is not running stays so. */
static int worker__start(struct worker *worker)
{
    sally_pool *pool = worker->pool;
    os_lock_take(&pool->lock);
    enum worker_state state = worker->state;
    if (state != WORKER_RUNS) {
        worker->state = WORKER_RUNS;
        pool->threads_running++;
    }
    os_lock_give(&pool->lock);
    if (state == WORKER_RUNS) return 0;
    if (state == WORKER_DONE) os_thread_join(&worker->thread);
    char name[32];
    snprintf(name, sizeof name, "%s-%u", pool->name, worker->index);
    int err = os_thread_start(&worker->thread, name, worker__body, worker);
    if (!err) return 0;
    os_lock_take(&pool->lock);
    worker->state = WORKER_NONE;
    pool->threads_running--;
    os_lock_give(&pool->lock);
    return err;
}

/* With the lock held. */
static void pool__want(sally_pool *pool, uint32_t threads)
{
    pool->threads = threads;
    os_condition_tell_all(&pool->work_came);
}

static int resize__locked(sally_pool *pool, uint32_t threads)
{
    os_lock_take(&pool->lock);
    uint32_t before = pool->threads;
    bool ending = pool->ending;
    /* first: a worker that starts looks at it */
    if (!ending) pool__want(pool, threads);
    os_lock_give(&pool->lock);
    if (ending) return SALLY_ESTATE;
    if (!pool->host.threads) return 0;
    int err = 0;
    for (uint32_t i = 0; i < threads && !err; i++) err = worker__start(&pool->workers[i]);
    if (!err) return 0;
    os_lock_take(&pool->lock);
    if (!pool->ending) pool__want(pool, before);
    os_lock_give(&pool->lock);
    return err;
}

int workers_resize(sally_pool *pool, uint32_t threads)
{
    os_lock_take(&pool->resizing);
    int err = resize__locked(pool, threads);
    os_lock_give(&pool->resizing);
    return err;
}

/* ---- The keeper ---- */

/* While the pool is being destroyed, who destroys it joins. */
static void keeper__join_dead(sally_pool *pool)
{
    os_lock_take(&pool->resizing);
    for (uint32_t i = 0; i < pool->threads_max; i++) {
        struct worker *worker = &pool->workers[i];
        os_lock_take(&pool->lock);
        bool dead = worker->state == WORKER_DONE && !pool->ending;
        if (dead) worker->state = WORKER_NONE;
        os_lock_give(&pool->lock);
        if (dead) os_thread_join(&worker->thread);
    }
    os_lock_give(&pool->resizing);
}

/* With the lock held, which is given meanwhile. */
static void keeper__tell(sally_pool *pool)
{
    for (struct job *job; (job = list_pop(&pool->over));) {
        job->state = JOB_AWAY;
        pool->telling++;
        os_lock_give(&pool->lock);
        job_finish(job);
        os_lock_take(&pool->lock);
        pool->telling--;
    }
    pool__tell_rest(pool);
}

/* With the lock held. */
static void keeper__sleep(sally_pool *pool)
{
    uint64_t now_ms = pool_now_ms(pool);
    uint64_t next_ms = wheel_next_ms(&pool->wheel);
    pool->keeper_at_ms = next_ms;
    if (next_ms <= now_ms) return;
    uint64_t left_ms = next_ms - now_ms;
    os_condition_wait(&pool->keeper_due, &pool->lock,
                      left_ms < OS_FOREVER ? (uint32_t)left_ms : OS_FOREVER);
}

static void keeper__body(void *arg)
{
    sally_pool *pool = arg;
    pool_of_thread = pool;
    os_lock_take(&pool->lock);
    for (;;) {
        job_expire(pool);
        keeper__tell(pool);
        if (pool->ending) break;
        if (pool->dead) {
            pool->dead = false;
            os_lock_give(&pool->lock);
            keeper__join_dead(pool);
            os_lock_take(&pool->lock);
        } else if (!pool->over.head) {
            keeper__sleep(pool);
        }
    }
    os_lock_give(&pool->lock);
}

/* ---- Begin and end ---- */

int workers_start(sally_pool *pool, uint32_t threads)
{
    char name[32];
    snprintf(name, sizeof name, "%s-k", pool->name);
    for (uint32_t i = 0; i < pool->threads_max; i++)
        pool->workers[i] = (struct worker){.pool = pool, .index = i};
    int err = os_thread_start(&pool->keeper, name, keeper__body, pool);
    if (err) return err;
    err = workers_resize(pool, threads);
    if (!err) return 0;
    os_lock_take(&pool->lock);
    pool->ending = true;
    os_lock_give(&pool->lock);
    workers_end(pool);
    return err;
}

void workers_end(sally_pool *pool)
{
    /* who was resizing has finished after this, and nobody begins */
    os_lock_take(&pool->resizing);
    os_lock_give(&pool->resizing);
    os_lock_take(&pool->lock);
    pool__want(pool, 0);
    pool_keeper_wanted(pool);
    os_lock_give(&pool->lock);
    for (uint32_t i = 0; i < pool->threads_max; i++) {
        struct worker *worker = &pool->workers[i];
        os_lock_take(&pool->lock);
        enum worker_state state = worker->state;
        os_lock_give(&pool->lock);
        if (state != WORKER_NONE) os_thread_join(&worker->thread);
    }
    os_thread_join(&pool->keeper);
}
