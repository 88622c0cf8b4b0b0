/* Clocks. Any thread. */
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

/* The monotonic one: the only one that timers see. */
uint64_t os_clock_ns(void);

/* The world's, in seconds since 1970, which people set: for dates in files alone. */
int64_t os_world_s(void);

#endif
