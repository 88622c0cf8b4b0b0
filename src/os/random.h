/* Numbers that nobody foretells, to seed what is spread by chance: delays, ages. Not for keys. */
#ifndef OS_RANDOM_H
#define OS_RANDOM_H

#include <stdint.h>

/* 64 bits from the system. Any thread; never blocks and never fails: where the system has none yet
 * (early at its start), the clock stands in. */
uint64_t os_random(void);

#endif
