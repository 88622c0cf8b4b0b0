/* A pool without threads: whoever steps the shards of the engine's host steps the pool too. As many
 * jobs are under way at once as there are workers; each takes the time that the host draws, and its
 * function runs at the end of it. One thread. */
#include "work/pool.h"

#include <string.h>

static sally_pool *pool_of(struct stepper *stepper)
{
    return (sally_pool *)(void *)((unsigned char *)stepper - offsetof(sally_pool, stepper));
}

static bool stepped__may_begin(const sally_pool *pool)
{
    return pool->waiting.head && pool->running.count < pool->threads;
}

/* Of those under way the one that is over first. */
static struct job *stepped__first(const sally_pool *pool)
{
    struct job *first = pool->running.head;
    for (struct job *job = first; job; job = job->next)
        if (job->over_ns < first->over_ns) first = job;
    return first;
}

static uint64_t stepped__due_ns(struct stepper *stepper)
{
    const sally_pool *pool = pool_of(stepper);
    if (pool->over.head || stepped__may_begin(pool)) return 0;
    const struct job *first = stepped__first(pool);
    uint64_t due_ns = first ? first->over_ns : UINT64_MAX;
    uint64_t next_ms = wheel_next_ms(&pool->wheel);
    if (next_ms != WHEEL_NEVER && next_ms * 1000000 < due_ns) due_ns = next_ms * 1000000;
    return due_ns;
}

static void stepped__begin(sally_pool *pool)
{
    struct job *job = job_next(pool);
    if (!job) return;
    job->over_ns = pool->host.now_ns(pool->host.ctx) + pool->host.job_ns(pool->host.ctx);
    list_append(&pool->running, job);
}

static void stepped__run(sally_pool *pool, struct job *job)
{
    sally_pool *outer = pool_of_thread;
    pool_of_thread = pool;
    list_remove(&pool->running, job);
    job_run(job);
    job_finish(job);
    pool_of_thread = outer;
}

static void stepped__tell(sally_pool *pool)
{
    sally_pool *outer = pool_of_thread;
    pool_of_thread = pool;
    struct job *job = list_pop(&pool->over);
    job->state = JOB_AWAY;
    job_finish(job);
    pool_of_thread = outer;
}

/* One thing. */
static void stepped__step(struct stepper *stepper)
{
    sally_pool *pool = pool_of(stepper);
    job_expire(pool);
    const struct job *first = stepped__first(pool);
    if (pool->over.head)
        stepped__tell(pool);
    else if (first && first->over_ns <= pool->host.now_ns(pool->host.ctx))
        stepped__run(pool, stepped__first(pool));
    else if (stepped__may_begin(pool))
        stepped__begin(pool);
}

void stepped_start(sally_pool *pool)
{
    pool->stepper = (struct stepper){.due_ns = stepped__due_ns, .step = stepped__step};
    pool->host.step_add(pool->host.ctx, &pool->stepper);
}

void stepped_finish(sally_pool *pool)
{
    for (;;) {
        while (stepped__may_begin(pool)) stepped__begin(pool);
        if (pool->over.head)
            stepped__tell(pool);
        else if (pool->running.head)
            stepped__run(pool, stepped__first(pool));
        else
            return;
    }
}

void stepped_end(sally_pool *pool)
{
    stepped_finish(pool); /* nothing waits any more */
    pool->host.step_remove(pool->host.ctx, &pool->stepper);
}
