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

int64_t os_world_ms(void)
{
    struct timespec now;
    int err = clock_gettime(CLOCK_REALTIME, &now);
    assert(err == 0); /* POSIX wants it */
    (void)err;
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Where time_t is short, later instants than it can say have no offset. */
int32_t os_local_offset_s(int64_t unix_s)
{
    time_t instant = (time_t)unix_s;
    struct tm local;
    if (instant != unix_s || !localtime_r(&instant, &local)) return 0;
    return (int32_t)local.tm_gmtoff;
}
