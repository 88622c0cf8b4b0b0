/* Clocks. The monotonic one is the performance counter, which setting the wall clock doesn't move.
 * Any thread. */
#include "os/clock.h"

#include <assert.h>
#include <time.h>
#include <windows.h>

enum { NS_PER_S = 1000000000, TICKS_PER_MS = 10000 };

/* From 1601, where FILETIME begins, to 1970. */
#define EPOCH_MS INT64_C(11644473600000)

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

int64_t os_world_ms(void)
{
    FILETIME now;
    GetSystemTimePreciseAsFileTime(&now);
    uint64_t ticks = (uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime;
    return (int64_t)(ticks / TICKS_PER_MS) - EPOCH_MS;
}

/* _localtime64_s knows 1970 to 3000. */
int32_t os_local_offset_s(int64_t unix_s)
{
    __time64_t instant = unix_s;
    struct tm local;
    if (unix_s < 0 || _localtime64_s(&local, &instant) != 0) return 0;
    __time64_t as_utc = _mkgmtime64(&local);
    return as_utc == -1 ? 0 : (int32_t)(as_utc - instant);
}
