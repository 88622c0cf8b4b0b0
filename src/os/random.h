/* Numbers that nobody foretells, from the system: seeds of hash tables, and of what is spread by
 * chance. Not for keys. */
#ifndef OS_RANDOM_H
#define OS_RANDOM_H

#include <stddef.h>

/* Any thread; never blocks for long and never fails: where a sandbox forbids the system's, a clock
 * stands in. */
void os_random(void *bytes, size_t count);

#endif
