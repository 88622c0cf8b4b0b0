/* Conditions on pthreads, with the clock that nobody sets. */
#include "os/condition.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

static void must_be_0(int error)
{
    assert(error == 0);
    (void)error;
}

void os_condition_init(struct os_condition *condition)
{
    pthread_condattr_t attr;
    must_be_0(pthread_condattr_init(&attr));
    must_be_0(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must_be_0(pthread_cond_init(&condition->condition, &attr));
    must_be_0(pthread_condattr_destroy(&attr));
}

void os_condition_free(struct os_condition *condition)
{
    must_be_0(pthread_cond_destroy(&condition->condition));
}

static struct timespec in_ms(uint32_t timeout_ms)
{
    struct timespec until;
    must_be_0(clock_gettime(CLOCK_MONOTONIC, &until));
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)timeout_ms * 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    return until;
}

void os_condition_wait(struct os_condition *condition, struct os_lock *lock, uint32_t timeout_ms)
{
    if (timeout_ms == OS_FOREVER) {
        must_be_0(pthread_cond_wait(&condition->condition, &lock->mutex));
        return;
    }
    struct timespec until = in_ms(timeout_ms);
    int err = pthread_cond_timedwait(&condition->condition, &lock->mutex, &until);
    assert(err == 0 || err == ETIMEDOUT);
    (void)err;
}

void os_condition_tell(struct os_condition *condition)
{
    must_be_0(pthread_cond_signal(&condition->condition));
}

void os_condition_tell_all(struct os_condition *condition)
{
    must_be_0(pthread_cond_broadcast(&condition->condition));
}
