/* rand_s asks the system's generator (RtlGenRandom) and is only declared when this is set. */
#define _CRT_RAND_S
#include "os/random.h"

#include <stdlib.h>

#include "os/clock.h"

uint64_t os_random(void)
{
    unsigned high, low;
    if (rand_s(&high) || rand_s(&low)) return os_clock_ns();
    return (uint64_t)high << 32 | low;
}
