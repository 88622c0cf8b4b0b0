#include "os/random.h"

#include <assert.h>
#include <windows.h>

/* RtlGenRandom, by the name under which Windows exports it (ntsecapi.h says so). */
BOOLEAN NTAPI SystemFunction036(PVOID bytes, ULONG count);

void os_random(void *bytes, size_t count)
{
    BOOLEAN made = SystemFunction036(bytes, (ULONG)count);
    assert(made);
    (void)made;
}
