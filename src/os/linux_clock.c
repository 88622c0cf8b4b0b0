/* Clocks. The monotonic one; setting the wall clock doesn't move it. Any thread. */
#include "os/clock.h"

#include <assert.h>
#include <time.h>

uint64_t os_clock_ns(void)
{
    struct timespec now;
    int err = clock_gettime(CLOCK_MONOTONIC, &now);
    assert(err == 0); /* every Linux has it */
    (void)err;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int64_t os_world_s(void) { return (int64_t)time(NULL); }
