/* Clocks. Any thread. */
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

/* The monotonic one: the only one that timers see. */
uint64_t os_clock_ns(void);

/* The world's, since 1970, which people set: for dates in files and timers by calendar alone. */
int64_t os_world_ms(void);

/* What has to be added to UTC at that instant for the local time here; 0 when the system can't say.
 */
int32_t os_local_offset_s(int64_t unix_s);

#endif
