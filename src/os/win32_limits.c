#include "os/limits.h"

#include <windows.h>

/* Windows has no limit of descriptors: a process may have 16 million handles, and what ends first
 * is memory of the kernel's. This much is always there, and an engine's tables are made for it. */
enum { SOCKETS_MAX = 1 << 16 };

uint32_t os_descriptors_max(void) { return SOCKETS_MAX; }

uint32_t os_descriptors_open(void)
{
    DWORD count = 0;
    return GetProcessHandleCount(GetCurrentProcess(), &count) ? count : 0;
}
