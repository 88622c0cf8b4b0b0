/* rand_s asks the system's generator (RtlGenRandom) and is only declared when this is set. */
#define _CRT_RAND_S
#include "os/random.h"

#include <stdlib.h>

#include "os/clock.h"

void os_random(void *bytes, size_t count)
{
    for (unsigned char *at = bytes; count; at++, count--) {
        unsigned number;
        if (rand_s(&number)) number = (unsigned)os_clock_ns();
        *at = (unsigned char)(number >> 8);
    }
}
