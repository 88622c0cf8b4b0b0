#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "machine.h"

enum { BIG_BLOCK = 128 << 10 }; /* what glibc begins with */

static sigset_t stops;
static void (*on_reload)(void *arg);
static void *reload_arg;

void machine_ignore_broken_pipes(void)
{
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
}

/* Threads that are made later inherit the mask. What is ignored, as under nohup, stays so. */
void machine_hold_stops(void)
{
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stops, NULL);
}

/* Only then: without it SIGHUP ends the process, as it does by default. */
void machine_hold_reloads(void (*reload)(void *arg), void *arg)
{
    on_reload = reload;
    reload_arg = arg;
    sigaddset(&stops, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &stops, NULL);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool machine_wait_stop(uint32_t timeout_ms)
{
    uint64_t end_ms = now_ms() + timeout_ms;
    for (;;) {
        uint64_t now = now_ms(), left_ms = end_ms > now ? end_ms - now : 0;
        struct timespec timeout = {(time_t)(left_ms / 1000), (long)(left_ms % 1000) * 1000000};
        int signal_number = sigtimedwait(&stops, NULL, &timeout);
        if (signal_number != SIGHUP) return signal_number > 0;
        on_reload(reload_arg);
    }
}

bool machine_descriptor_limit(unsigned long long *limit)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &now) != 0) return false;
    *limit = now.rlim_cur;
    return true;
}

/* glibc's limit from which on a block has pages of its own rises to whatever was freed; one that is
 * set stays (mallopt(3), M_MMAP_THRESHOLD). */
void machine_return_big_blocks(void)
{
#if defined(__GLIBC__)
    (void)mallopt(M_MMAP_THRESHOLD, BIG_BLOCK);
#endif
}
