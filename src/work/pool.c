/* A pool's life; see pool.h. */
#include "work/pool.h"

#include <assert.h>
#include <string.h>

#include "net/engine.h"
#include "net/shard.h"

enum {
    THREADS_MAX = 64,
    JOBS_MAX = 65536,
    WAIT_MS = 60 * 1000,
    JOBS_LIMIT = 1 << SLOTS_INDEX_BITS,
};

_Thread_local sally_pool *pool_of_thread;

uint64_t pool_now_ms(const sally_pool *pool) { return pool->host.now_ns(pool->host.ctx) / 1000000; }

bool pool_rests(const sally_pool *pool)
{
    return !pool->waiting.count && !pool->running.count && !pool->over.count && !pool->telling;
}

/* ---- Lists ---- */

void list_append(struct job_list *list, struct job *job)
{
    job->next = NULL;
    job->prev = list->tail;
    if (list->tail)
        list->tail->next = job;
    else
        list->head = job;
    list->tail = job;
    list->count++;
}

void list_remove(struct job_list *list, struct job *job)
{
    assert(list->count > 0);
    if (job->prev)
        job->prev->next = job->next;
    else
        list->head = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        list->tail = job->prev;
    list->count--;
}

struct job *list_pop(struct job_list *list)
{
    struct job *job = list->head;
    if (job) list_remove(list, job);
    return job;
}

/* ---- Making and freeing ---- */

static void pool__free(sally_pool *pool)
{
    struct mem mem = pool->mem;
    assert(pool->live == 0);
    slots_free(&pool->jobs);
    if (pool->workers)
        mem_free(&pool->mem, pool->workers, pool->threads_max * sizeof *pool->workers);
    os_condition_free(&pool->rested);
    os_condition_free(&pool->keeper_due);
    os_condition_free(&pool->work_came);
    os_lock_free(&pool->lock);
    os_lock_free(&pool->resizing);
    assert(mem_in_use(&pool->mem) == 0);
    mem.free(mem.user, pool, sizeof *pool);
}

void pool_unref(sally_pool *pool)
{
    os_lock_take(&pool->lock);
    assert(pool->refs > 0);
    bool last = --pool->refs == 0;
    os_lock_give(&pool->lock);
    if (last) pool__free(pool);
}

static int pool__options(sally_pool *pool, const sally_pool_options *given, uint32_t *threads)
{
    static const sally_pool_options defaults;
    const sally_pool_options *options = given ? given : &defaults;
    if (options->threads_max > POOL_THREADS_LIMIT || options->jobs_max > JOBS_LIMIT)
        return SALLY_EINVAL;
    pool->threads_max = options->threads_max ? options->threads_max : THREADS_MAX;
    pool->jobs_max = options->jobs_max ? options->jobs_max : JOBS_MAX;
    pool->wait_ms = options->wait_ms ? options->wait_ms : WAIT_MS;
    *threads = options->threads;
    if (*threads > pool->threads_max) return SALLY_EINVAL;
    if (!*threads) {
        *threads = pool->host.threads ? os_cores() : 1;
        if (*threads > pool->threads_max) *threads = pool->threads_max;
    }
    const char *name = options->name ? options->name : "sally-job";
    for (unsigned i = 0; name[i] && i < POOL_NAME_MAX - 1; i++) pool->name[i] = name[i];
    return 0;
}

static int pool__parts(sally_pool *pool)
{
    int err = slots_init(&pool->jobs, &pool->mem, sizeof(struct job), pool->jobs_max, UINT32_MAX);
    if (err) return err;
    pool->workers = mem_zalloc(&pool->mem, pool->threads_max * sizeof *pool->workers);
    if (!pool->workers) {
        slots_free(&pool->jobs);
        return SALLY_ENOMEM;
    }
    os_lock_init(&pool->resizing);
    os_lock_init(&pool->lock);
    os_condition_init(&pool->work_came);
    os_condition_init(&pool->keeper_due);
    os_condition_init(&pool->rested);
    wheel_init(&pool->wheel, pool_now_ms(pool));
    pool->keeper_at_ms = WHEEL_NEVER;
    pool->refs = 1;
    return 0;
}

static int pool__start(sally_pool *pool, uint32_t threads)
{
    if (pool->host.threads) return workers_start(pool, threads);
    pool->threads = threads;
    stepped_start(pool);
    return 0;
}

int sally_pool_create(sally_pool **out, sally_engine *engine, const sally_pool_options *options)
{
    if (!out || !engine) return SALLY_EINVAL;
    struct mem mem;
    mem_init(&mem);
    mem.alloc = engine->mem.alloc;
    mem.free = engine->mem.free;
    mem.user = engine->mem.user;
    sally_pool *pool = mem.alloc(mem.user, sizeof *pool);
    if (!pool) return SALLY_ENOMEM;
    memset(pool, 0, sizeof *pool);
    pool->mem = mem;
    pool->host = engine->host;
    uint32_t threads = 0;
    int err = pool__options(pool, options, &threads);
    if (!err) err = pool__parts(pool);
    if (err) {
        mem.free(mem.user, pool, sizeof *pool);
        return err;
    }
    err = pool__start(pool, threads);
    if (err) {
        pool_unref(pool);
        return err;
    }
    *out = pool;
    return 0;
}

/* ---- Steering ---- */

int sally_pool_resize(sally_pool *pool, uint32_t threads)
{
    if (!pool) return SALLY_EINVAL;
    if (threads > pool->threads_max) return SALLY_ELIMIT;
    return workers_resize(pool, threads);
}

/* Whoever waits for the pool's threads must not be one, nor hold up connections. */
static bool pool__may_wait(const sally_pool *pool)
{
    return !shard_current() && pool_of_thread != pool;
}

int sally_pool_drain(sally_pool *pool, uint32_t timeout_ms)
{
    if (!pool) return SALLY_EINVAL;
    if (!pool__may_wait(pool)) return SALLY_ETHREAD;
    os_lock_take(&pool->lock);
    pool->draining = true;
    os_lock_give(&pool->lock);
    if (!pool->host.threads && pool->threads) stepped_finish(pool);
    os_lock_take(&pool->lock);
    uint64_t until_ms = pool_now_ms(pool) + timeout_ms + 1;
    for (uint64_t now_ms; !pool_rests(pool) && pool->host.threads;) {
        now_ms = pool_now_ms(pool);
        if (timeout_ms != SALLY_FOREVER && now_ms >= until_ms) break;
        os_condition_wait(&pool->rested, &pool->lock,
                          timeout_ms == SALLY_FOREVER ? OS_FOREVER : (uint32_t)(until_ms - now_ms));
    }
    bool rests = pool_rests(pool);
    os_lock_give(&pool->lock);
    return rests ? 0 : SALLY_ETIMEDOUT;
}

int sally_pool_destroy(sally_pool *pool)
{
    if (!pool) return 0;
    if (!pool__may_wait(pool)) return SALLY_ETHREAD;
    os_lock_take(&pool->lock);
    pool->draining = pool->ending = true;
    while (pool->waiting.head) job_give_up(pool->waiting.head, SALLY_ECANCELED);
    os_lock_give(&pool->lock);
    if (pool->host.threads)
        workers_end(pool);
    else
        stepped_end(pool);
    pool_unref(pool);
    return 0;
}

int sally_pool_get_stats(sally_pool *pool, sally_pool_stats *stats)
{
    if (!pool || !stats) return SALLY_EINVAL;
    os_lock_take(&pool->lock);
    *stats = pool->stats;
    stats->threads = pool->threads;
    stats->threads_running = pool->threads_running;
    stats->waiting = pool->waiting.count;
    stats->running = pool->running.count;
    stats->jobs = pool->live;
    os_lock_give(&pool->lock);
    return 0;
}
