/* Clocks. The monotonic one is the performance counter, which setting the wall clock doesn't move.
 * Any thread. */
#include "os/clock.h"

#include <assert.h>
#include <time.h>
#include <windows.h>

enum { NS_PER_S = 1000000000 };

/* Split in seconds and the rest, since ticks times 10^9 would not fit for long. */
uint64_t os_clock_ns(void)
{
    LARGE_INTEGER ticks, per_s;
    BOOL known = QueryPerformanceFrequency(&per_s) && QueryPerformanceCounter(&ticks);
    assert(known); /* since Windows XP neither fails */
    (void)known;
    uint64_t count = (uint64_t)ticks.QuadPart, rate = (uint64_t)per_s.QuadPart;
    return count / rate * NS_PER_S + count % rate * NS_PER_S / rate;
}

int64_t os_world_s(void) { return (int64_t)time(NULL); }
