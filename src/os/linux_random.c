#include "os/random.h"

#include <stdint.h>
#include <sys/random.h>

#include "os/clock.h"

/* getrandom(2) doesn't fail for so few bytes once the system has started; where a sandbox forbids
 * it, a clock is a poor secret and still better than a constant. */
void os_random(void *bytes, size_t count)
{
    if (getrandom(bytes, count, 0) == (ssize_t)count) return;
    uint64_t state = os_clock_ns() ^ (uint64_t)(uintptr_t)bytes;
    for (unsigned char *at = bytes; count; at++, count--) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        *at = (unsigned char)(state >> 56);
    }
}
