/* The job pool: jobs that wait in one queue, workers that take them, and a keeper. Private to
 * src/work/.
 *
 *   pool.c     life, stats, and the queue
 *   worker.c   threads: workers, the keeper, resizing
 *   job.c      a job from its submission to its done
 *   stepped.c  the same without threads, for a host that is stepped
 *
 * Everything in a pool is under its lock, but what is fixed when it is made. No function of the
 * program's is called under it. The pool's memory goes with the last of: its owner's
 * sally_pool_destroy, and each job whose done has not been called. */
#ifndef WORK_POOL_H
#define WORK_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/slots.h"
#include "base/wheel.h"
#include "net/door.h"
#include "net/host.h"
#include "net/letter.h"
#include "os/condition.h"
#include "os/lock.h"
#include "os/thread.h"
#include "sallyport/work.h"

enum { POOL_NAME_MAX = 12, POOL_THREADS_LIMIT = 1024 };

enum job_state {
    JOB_NEW, /* 0, what a slot is before it is filled */
    JOB_WAITING,
    JOB_RUNNING,
    JOB_OVER, /* not run: the keeper tells it */
    JOB_AWAY, /* its letter is with its shard, or its done runs */
};

struct job {
    struct slot slot;
    struct letter_call call;
    sally_pool *pool;
    struct job *next; /* of the list it is in */
    struct job *prev;
    sally_work_fn work;
    sally_done_fn done;
    void *arg;
    struct door *door; /* NULL: without a connection */
    sally_id conn;
    struct timer timer; /* while it waits */
    uint64_t over_ns;   /* stepped: when it has run */
    int status;
    uint8_t state;
    bool needs_conn;
};

struct job_list {
    struct job *head;
    struct job *tail;
    uint32_t count;
};

enum worker_state { WORKER_NONE, WORKER_RUNS, WORKER_DONE };

struct worker {
    sally_pool *pool;
    struct os_thread thread;
    uint32_t index;
    uint8_t state;
};

struct sally_pool {
    struct mem mem;
    struct host host;
    uint32_t threads_max;
    uint32_t jobs_max;
    uint32_t wait_ms;
    char name[POOL_NAME_MAX];
    struct worker *workers; /* threads_max */
    struct os_thread keeper;
    struct os_lock resizing; /* one at a time makes or joins workers; taken before `lock` */

    struct os_lock lock;
    struct os_condition work_came; /* or there are too many workers */
    struct os_condition keeper_due;
    struct os_condition rested; /* for a drain */
    struct slots jobs;
    struct wheel wheel;
    struct job_list waiting;
    struct job_list running; /* stepped only: the jobs; else its count alone */
    struct job_list over;    /* not run, to be told */
    uint32_t telling;        /* taken from `over` and not yet told */
    uint32_t threads;        /* wanted */
    uint32_t threads_running;
    uint32_t idle;         /* workers that sleep */
    uint64_t keeper_at_ms; /* when the keeper looks again by itself */
    uint32_t live;         /* jobs whose done has not been called */
    uint32_t refs;
    bool draining;          /* takes no jobs */
    bool ending;            /* is being destroyed */
    bool dead;              /* a worker has ended and is to be joined */
    sally_pool_stats stats; /* the sums of it */
    struct stepper stepper;
};

/* The pool whose thread this is, or NULL. */
extern _Thread_local sally_pool *pool_of_thread;

uint64_t pool_now_ms(const sally_pool *pool);

/* Gives back one reference. */
void pool_unref(sally_pool *pool);

/* With the lock held: whether nothing waits, runs or is to be told. */
bool pool_rests(const sally_pool *pool);

void list_append(struct job_list *list, struct job *job);
void list_remove(struct job_list *list, struct job *job);
struct job *list_pop(struct job_list *list);

/* ---- job.c ---- */

/* With the lock held: the next that may run, now JOB_RUNNING; NULL when none waits. */
struct job *job_next(sally_pool *pool);

/* With the lock held: it is not run. */
void job_give_up(struct job *job, int status);

/* With the lock held: gives up what has waited too long. */
void job_expire(sally_pool *pool);

/* Runs it, unless it has become needless. Not under the lock. */
void job_run(struct job *job);

/* Sends it home. Not under the lock; the job is not the caller's any more. */
void job_finish(struct job *job);

/* With the lock held: something waits that did not before. */
void pool_work_came(sally_pool *pool);
void pool_keeper_wanted(sally_pool *pool);

/* ---- worker.c ---- */

int workers_start(sally_pool *pool, uint32_t threads);
int workers_resize(sally_pool *pool, uint32_t threads);
/* Ends and joins all threads. `ending` is set and nothing waits. */
void workers_end(sally_pool *pool);

/* ---- stepped.c ---- */

void stepped_start(sally_pool *pool);
/* Does at once what is left. */
void stepped_finish(sally_pool *pool);
void stepped_end(sally_pool *pool);

#endif
