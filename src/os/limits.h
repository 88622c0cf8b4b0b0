/* What the system lets this process have. */
#ifndef OS_LIMITS_H
#define OS_LIMITS_H

#include <stdint.h>

/* How many descriptors the process may have open (RLIMIT_NOFILE, the soft one), and how many it has
 * now. */
uint32_t os_descriptors_max(void);
uint32_t os_descriptors_open(void);

#endif
