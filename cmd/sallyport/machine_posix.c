#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "machine.h"

static sigset_t stops;

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

bool machine_wait_stop(uint32_t timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    return sigtimedwait(&stops, NULL, &timeout) > 0;
}

bool machine_descriptor_limit(unsigned long long *limit)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &now) != 0) return false;
    *limit = now.rlim_cur;
    return true;
}
