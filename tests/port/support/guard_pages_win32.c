/* Pages of Windows (VirtualAlloc, VirtualProtect: Microsoft's documentation of memoryapi.h); see
 * guard_pages.h. */
#include <stdlib.h>
#include <windows.h>

#include "port/support/guard_pages.h"

size_t guard_page_bytes(void)
{
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
}

void *guard_map(size_t bytes)
{
    return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void guard_forbid(void *at, size_t bytes)
{
    DWORD before;
    if (!VirtualProtect(at, bytes, PAGE_NOACCESS, &before)) abort();
}

void guard_unmap(void *at, size_t bytes)
{
    (void)bytes;
    if (!VirtualFree(at, 0, MEM_RELEASE)) abort();
}

static LONG WINAPI die(EXCEPTION_POINTERS *exception)
{
    TerminateProcess(GetCurrentProcess(), exception->ExceptionRecord->ExceptionCode);
    return EXCEPTION_CONTINUE_SEARCH;
}

void guard_die_of_faults(void) { SetUnhandledExceptionFilter(die); }
