/* Threads and gates on pthreads. Nothing is allocated: what a new thread must know lies on its
 * starter's stack until the thread has read it. Any thread. */
#include "os/thread.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "os/linux_mask.h"
#include "sallyport/error.h"

enum { THREAD_NAME_MAX = 16 }; /* the kernel's, with the end */

static void must_be_0(int error)
{
    assert(error == 0);
    (void)error;
}

/* ---- Threads ---- */

struct start {
    void (*body)(void *arg);
    void *arg;
    char name[THREAD_NAME_MAX];
    struct os_gate begun;
};

static void *thread__main(void *arg)
{
    struct start *start = arg;
    void (*body)(void *) = start->body;
    void *body_arg = start->arg;
    /* best effort: a name is for the eye */
    (void)pthread_setname_np(pthread_self(), start->name);
    os_gate_open(&start->begun); /* from here on `start` is gone */
    body(body_arg);
    return NULL;
}

int os_thread_start(struct os_thread *thread, const char *name, void (*body)(void *arg), void *arg)
{
    struct start start = {.body = body, .arg = arg};
    snprintf(start.name, sizeof start.name, "%.*s", THREAD_NAME_MAX - 1, name);
    os_gate_init(&start.begun);
    /* the mask is inherited, so no signal finds a moment between start and block */
    sigset_t before;
    linux_mask(&before);
    int err = pthread_create(&thread->id, NULL, thread__main, &start);
    linux_unmask(&before);
    if (!err) os_gate_wait(&start.begun);
    os_gate_free(&start.begun);
    if (!err) return 0;
    return err == EAGAIN || err == ENOMEM ? SALLY_EEXHAUSTED : SALLY_ESYSTEM;
}

void os_thread_join(struct os_thread *thread) { must_be_0(pthread_join(thread->id, NULL)); }

_Thread_local char os_thread_mark;

uint64_t os_thread_self(void) { return (uint64_t)pthread_self(); }

unsigned os_cores(void)
{
    cpu_set_t allowed[16]; /* 16384 cores; the kernel refuses a set that is too small for it */
    if (sched_getaffinity(0, sizeof allowed, allowed) == 0) {
        int count = CPU_COUNT_S(sizeof allowed, allowed);
        if (count > 0) return (unsigned)count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

/* ---- Gates ---- */

void os_gate_init(struct os_gate *gate)
{
    pthread_condattr_t attr;
    must_be_0(pthread_condattr_init(&attr));
    must_be_0(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must_be_0(pthread_cond_init(&gate->condition, &attr));
    must_be_0(pthread_condattr_destroy(&attr));
    must_be_0(pthread_mutex_init(&gate->mutex, NULL));
    gate->open = false;
}

void os_gate_free(struct os_gate *gate)
{
    must_be_0(pthread_cond_destroy(&gate->condition));
    must_be_0(pthread_mutex_destroy(&gate->mutex));
}

/* Told under the mutex: who waits may free the gate as soon as it has passed. */
void os_gate_open(struct os_gate *gate)
{
    must_be_0(pthread_mutex_lock(&gate->mutex));
    gate->open = true;
    must_be_0(pthread_cond_broadcast(&gate->condition));
    must_be_0(pthread_mutex_unlock(&gate->mutex));
}

void os_gate_wait(struct os_gate *gate)
{
    must_be_0(pthread_mutex_lock(&gate->mutex));
    while (!gate->open) must_be_0(pthread_cond_wait(&gate->condition, &gate->mutex));
    must_be_0(pthread_mutex_unlock(&gate->mutex));
}

static struct timespec monotonic_after(uint32_t timeout_ms)
{
    struct timespec until;
    must_be_0(clock_gettime(CLOCK_MONOTONIC, &until));
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return until;
}

bool os_gate_wait_for(struct os_gate *gate, uint32_t timeout_ms)
{
    struct timespec until = monotonic_after(timeout_ms);
    int err = 0;
    must_be_0(pthread_mutex_lock(&gate->mutex));
    while (!gate->open && err != ETIMEDOUT) {
        err = pthread_cond_timedwait(&gate->condition, &gate->mutex, &until);
        assert(err == 0 || err == ETIMEDOUT);
    }
    bool open = gate->open;
    must_be_0(pthread_mutex_unlock(&gate->mutex));
    return open;
}
