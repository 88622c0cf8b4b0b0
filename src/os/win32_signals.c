/* The console's control events. The system calls the handler on a thread that it makes for it; the
 * handler counts and sets an event on which the watcher sleeps. Ctrl-C and Ctrl-Break may be told
 * again, a closed window or a log-off only once: when that handler returns the process ends, so it
 * waits until nobody watches any more, and the system bounds that wait. */
#include "os/signals.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <windows.h>

#include "sallyport/error.h"

static atomic_bool taken;
static atomic_uint seen;
static SRWLOCK lock = SRWLOCK_INIT; /* around the two events */
static HANDLE told;
static HANDLE left;

void os_signals_poke(void)
{
    AcquireSRWLockShared(&lock);
    if (told) SetEvent(told);
    ReleaseSRWLockShared(&lock);
}

/* A handle of the caller's own, since the watcher closes its own one. */
static HANDLE left_again(void)
{
    HANDLE copy = NULL;
    AcquireSRWLockShared(&lock);
    if (left && !DuplicateHandle(GetCurrentProcess(), left, GetCurrentProcess(), &copy, 0, FALSE,
                                 DUPLICATE_SAME_ACCESS))
        copy = NULL;
    ReleaseSRWLockShared(&lock);
    return copy;
}

static BOOL WINAPI on_control(DWORD kind)
{
    atomic_fetch_add(&seen, 1);
    os_signals_poke();
    if (kind == CTRL_C_EVENT || kind == CTRL_BREAK_EVENT) return TRUE;
    HANDLE wait = left_again();
    if (!wait) return TRUE;
    (void)WaitForSingleObject(wait, INFINITE);
    CloseHandle(wait);
    return TRUE;
}

static void close_events(void)
{
    AcquireSRWLockExclusive(&lock);
    if (told) CloseHandle(told);
    if (left) CloseHandle(left);
    told = left = NULL;
    ReleaseSRWLockExclusive(&lock);
    atomic_store(&taken, false);
}

int os_signals_watch(void)
{
    if (atomic_exchange(&taken, true)) return SALLY_ESTATE;
    AcquireSRWLockExclusive(&lock);
    told = CreateEventW(NULL, FALSE, FALSE, NULL);
    left = CreateEventW(NULL, TRUE, FALSE, NULL);
    bool made = told && left;
    ReleaseSRWLockExclusive(&lock);
    atomic_store(&seen, 0);
    if (made && SetConsoleCtrlHandler(on_control, TRUE)) return 0;
    close_events();
    return SALLY_EEXHAUSTED;
}

void os_signals_unwatch(void)
{
    (void)SetConsoleCtrlHandler(on_control, FALSE);
    SetEvent(left);
    close_events();
}

unsigned os_signals_seen(void) { return atomic_load(&seen); }

void os_signals_wait(uint32_t timeout_ms)
{
    (void)WaitForSingleObject(told, timeout_ms == UINT32_MAX ? INFINITE : timeout_ms);
}
