#include "os/random.h"

#include <sys/random.h>

#include "os/clock.h"

uint64_t os_random(void)
{
    uint64_t number;
    /* getrandom(2): without GRND_NONBLOCK it waits until the system's pool is filled */
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) == (ssize_t)sizeof number) return number;
    return os_clock_ns();
}
