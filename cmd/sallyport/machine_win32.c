/* The console's control events are told on a thread of the system's; a semaphore counts them. The
 * five functions are declared here, since what the tool needs of Windows is no more. */
#include "machine.h"

#include <stddef.h>

#define SYSTEM_CALL __declspec(dllimport)
typedef int __stdcall control_handler(unsigned long kind);

SYSTEM_CALL int __stdcall SetConsoleCtrlHandler(control_handler *handler, int add);
SYSTEM_CALL void *__stdcall CreateSemaphoreW(void *security, long count, long max,
                                             const void *name);
SYSTEM_CALL int __stdcall ReleaseSemaphore(void *semaphore, long count, long *before);
SYSTEM_CALL unsigned long __stdcall WaitForSingleObject(void *object, unsigned long timeout_ms);
SYSTEM_CALL void __stdcall Sleep(unsigned long ms);

enum { KIND_BREAK = 1, STOPS_MAX = 1000, UNTIL_KILLED_MS = 60000 };

static void *stops;

/* After a closed window or a log-off the process ends when this returns, or a few seconds later:
 * until then the main thread lets connections finish. */
static int __stdcall on_control(unsigned long kind)
{
    (void)ReleaseSemaphore(stops, 1, NULL);
    if (kind > KIND_BREAK) Sleep(UNTIL_KILLED_MS);
    return 1;
}

void machine_ignore_broken_pipes(void) {}

void machine_hold_stops(void)
{
    stops = CreateSemaphoreW(NULL, 0, STOPS_MAX, NULL);
    if (stops) (void)SetConsoleCtrlHandler(on_control, 1);
}

void machine_hold_reloads(void (*reload)(void *arg), void *arg)
{
    (void)reload;
    (void)arg;
}

bool machine_wait_stop(uint32_t timeout_ms) { return WaitForSingleObject(stops, timeout_ms) == 0; }

bool machine_descriptor_limit(unsigned long long *limit)
{
    (void)limit;
    return false;
}

/* The heap does so by itself. */
void machine_return_big_blocks(void) {}
