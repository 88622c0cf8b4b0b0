/* Threads and gates of Windows. Nothing is allocated: what a new thread must know lies on its
 * starter's stack until the thread has read it. Any thread. */
#include "os/thread.h"

#include <errno.h>
#include <process.h>
#include <windows.h>

#include "os/clock.h"
#include "sallyport/error.h"

enum { THREAD_NAME_MAX = 32, NS_PER_MS = 1000000 };

_Static_assert(sizeof(CONDITION_VARIABLE) == sizeof(void *), "it is kept as a pointer");

/* ---- Threads ---- */

_Thread_local char os_thread_mark; /* its address names the calling thread */

struct start {
    void (*body)(void *arg);
    void *arg;
    const char *name;
    struct os_gate begun;
};

typedef HRESULT WINAPI describe_thread(HANDLE thread, PCWSTR name);

/* For debuggers; Windows has it from 10.1607 on, so it is asked for by name. */
static void thread__name(const char *name)
{
    HMODULE kernel = GetModuleHandleW(L"kernel32.dll");
    FARPROC found = kernel ? GetProcAddress(kernel, "SetThreadDescription") : NULL;
    WCHAR wide[THREAD_NAME_MAX];
    unsigned len = 0;
    while (name[len] && len < THREAD_NAME_MAX - 1) {
        wide[len] = (unsigned char)name[len];
        len++;
    }
    wide[len] = 0;
    if (found) ((describe_thread *)(void (*)(void))found)(GetCurrentThread(), wide);
}

static unsigned __stdcall thread__main(void *arg)
{
    struct start *start = arg;
    void (*body)(void *) = start->body;
    void *body_arg = start->arg;
    thread__name(start->name);
    os_gate_open(&start->begun); /* from here on `start` is gone */
    body(body_arg);
    return 0;
}

int os_thread_start(struct os_thread *thread, const char *name, void (*body)(void *arg), void *arg)
{
    struct start start = {.body = body, .arg = arg, .name = name};
    os_gate_init(&start.begun);
    uintptr_t handle = _beginthreadex(NULL, 0, thread__main, &start, 0, NULL);
    int err = handle ? 0 : errno;
    if (handle) os_gate_wait(&start.begun);
    os_gate_free(&start.begun);
    thread->handle = (void *)handle;
    if (handle) return 0;
    return err == EAGAIN || err == ENOMEM || err == EACCES ? SALLY_EEXHAUSTED : SALLY_ESYSTEM;
}

void os_thread_join(struct os_thread *thread)
{
    (void)WaitForSingleObject(thread->handle, INFINITE);
    CloseHandle(thread->handle);
}

uint64_t os_thread_self(void) { return GetCurrentThreadId(); }

unsigned os_cores(void)
{
    DWORD_PTR allowed = 0, all = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &allowed, &all)) return 1;
    unsigned count = 0;
    for (; allowed; allowed &= allowed - 1) count++;
    return count ? count : 1; /* none: the process is in several groups of processors */
}

/* ---- Gates ---- */

static SRWLOCK *gate_lock(struct os_gate *gate) { return (SRWLOCK *)&gate->srw; }

static CONDITION_VARIABLE *gate_condition(struct os_gate *gate)
{
    return (CONDITION_VARIABLE *)&gate->condition;
}

void os_gate_init(struct os_gate *gate)
{
    InitializeSRWLock(gate_lock(gate));
    InitializeConditionVariable(gate_condition(gate));
    gate->open = false;
}

void os_gate_free(struct os_gate *gate) { (void)gate; }

/* Told under the lock: who waits may free the gate as soon as it has passed. */
void os_gate_open(struct os_gate *gate)
{
    AcquireSRWLockExclusive(gate_lock(gate));
    gate->open = true;
    WakeAllConditionVariable(gate_condition(gate));
    ReleaseSRWLockExclusive(gate_lock(gate));
}

void os_gate_wait(struct os_gate *gate)
{
    AcquireSRWLockExclusive(gate_lock(gate));
    while (!gate->open)
        SleepConditionVariableSRW(gate_condition(gate), gate_lock(gate), INFINITE, 0);
    ReleaseSRWLockExclusive(gate_lock(gate));
}

/* Against a clock: a wait that ends early says nothing of the time. */
bool os_gate_wait_for(struct os_gate *gate, uint32_t timeout_ms)
{
    uint64_t until = os_clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
    AcquireSRWLockExclusive(gate_lock(gate));
    for (uint64_t now; !gate->open && (now = os_clock_ns()) < until;) {
        uint64_t left_ms = (until - now + NS_PER_MS - 1) / NS_PER_MS;
        SleepConditionVariableSRW(gate_condition(gate), gate_lock(gate), (DWORD)left_ms, 0);
    }
    bool open = gate->open;
    ReleaseSRWLockExclusive(gate_lock(gate));
    return open;
}
