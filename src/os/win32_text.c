/* The system's sentence for a code, and the check that the numbers of win32_codes.h are the
 * system's. Static memory; any thread. */
#define WIN32_NO_STATUS /* winnt.h's few; ntstatus.h has them all */
#include <winsock2.h>
#undef WIN32_NO_STATUS
#include <winternl.h>

#include <ntstatus.h>
#include <stdio.h>

#include "os/error.h"
#include "os/win32_codes.h"

#define ERROR_WAIT_TIMEOUT WAIT_TIMEOUT
#if !defined(ERROR_HANDLES_CLOSED)
#define ERROR_HANDLES_CLOSED 676 /* mingw-w64 10 lacks it */
#endif
#define SAME_ERROR(name, number)  _Static_assert(ERROR_##name == (number), "ERROR_" #name);
#define SAME_SOCKET(name, number) _Static_assert(WSA##name == (number), "WSA" #name);
#define SAME_STATUS(name, number, code)                                                            \
    _Static_assert((uint32_t)STATUS_##name == (number), "STATUS_" #name);

WIN32_ERROR_CODES(SAME_ERROR)
WIN32_SOCKET_CODES(SAME_SOCKET)
WIN32_STATUSES(SAME_STATUS)

const char *os_error_text(int sys_error, char *buf, unsigned long size)
{
    DWORD last = GetLastError();
    DWORD len = 0;
    if (size)
        len = FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL,
                             (DWORD)sys_error, 0, buf, (DWORD)size, NULL);
    while (len && (unsigned char)buf[len - 1] <= ' ') len--; /* its sentences end with CRLF */
    if (len)
        buf[len] = 0;
    else
        snprintf(buf, size, "system code %d", sys_error); /* none, or it is too long for buf */
    SetLastError(last);
    return buf;
}
