/* The monotonic clock: the only one that timers see. */
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

uint64_t os_clock_ns(void);

#endif
