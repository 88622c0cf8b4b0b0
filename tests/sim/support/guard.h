/* What is said when a run dies. One thread. */
#ifndef TESTS_SIM_SUPPORT_GUARD_H
#define TESTS_SIM_SUPPORT_GUARD_H

#include <stdint.h>

/* The run that begins now. */
void guard_seed(uint64_t seed, const char *more);

/* Says it. Async-signal-safe. */
void guard_tell(void);

#endif
