/* Secrets from the system: for the seeds of hash tables. Any thread. */
#ifndef OS_RANDOM_H
#define OS_RANDOM_H

#include <stddef.h>

void os_random(void *bytes, size_t count);

#endif
