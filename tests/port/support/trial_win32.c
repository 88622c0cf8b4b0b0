/* Trials in processes of their own: this program, started again. What a child says of its end comes
 * through a pipe as its standard output. Everything here is the process's; a trial may end from any
 * of its threads. */
#include "port/support/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "port/support/trial_own.h"

enum { COMMAND_MAX = 1024, GRACE_MS = 5000 };

static const char *again = "?";
static unsigned child_limit_s;

void trial_again(const char *name) { again = name; }

void trial_yield(void) { SwitchToThread(); }

void trial_end(int status, const char *text)
{
    DWORD written;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)strlen(text), &written, NULL);
    TerminateProcess(GetCurrentProcess(), (UINT)status);
    abort();
}

static DWORD WINAPI watch(void *arg)
{
    (void)arg;
    Sleep(child_limit_s * 1000);
    trial_time_is_over();
}

void trial_child(void (*body)(void *arg), void *arg, unsigned limit_s)
{
    child_limit_s = limit_s;
    HANDLE watcher = CreateThread(NULL, 0, watch, NULL, 0, NULL);
    if (!watcher) abort();
    body(arg);
    exit(0);
}

/* Its standard output is the pipe; false if there is no process to be had. */
static bool spawn(HANDLE to, PROCESS_INFORMATION *child)
{
    char path[MAX_PATH], command[COMMAND_MAX];
    STARTUPINFOA start = {.cb = sizeof start,
                          .dwFlags = STARTF_USESTDHANDLES,
                          .hStdInput = GetStdHandle(STD_INPUT_HANDLE),
                          .hStdOutput = to,
                          .hStdError = GetStdHandle(STD_ERROR_HANDLE)};
    if (!GetModuleFileNameA(NULL, path, sizeof path)) return false;
    snprintf(command, sizeof command, "\"%s\" --trial %s", path, again);
    return CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &start, child);
}

static void judge(struct trial *trial, DWORD status)
{
    trial->verdict = status == 0 ? VERDICT_OK : status == EXIT_SKIP ? VERDICT_SKIP : VERDICT_FAIL;
    if (trial->verdict == VERDICT_FAIL && !trial->text[0])
        snprintf(trial->text, sizeof trial->text, "%s: exit status %lu, see above", trial_rule(),
                 status);
}

/* The child bounds its own time; should it not even manage that, it is ended here. */
void trial_run(struct trial *trial, void (*body)(void *arg), void *arg, unsigned limit_s,
               bool quiet)
{
    (void)body, (void)arg, (void)quiet;
    memset(trial, 0, sizeof *trial);
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    HANDLE from, to;
    PROCESS_INFORMATION child;
    if (!CreatePipe(&from, &to, &inherited, 0)) abort();
    SetHandleInformation(from, HANDLE_FLAG_INHERIT, 0);
    fflush(NULL);
    if (!spawn(to, &child)) abort();
    CloseHandle(to);
    if (WaitForSingleObject(child.hProcess, limit_s * 1000 + GRACE_MS) != WAIT_OBJECT_0)
        TerminateProcess(child.hProcess, EXIT_FAIL);
    DWORD len = 0, got, status = EXIT_FAIL;
    while (len < sizeof trial->text - 1 &&
           ReadFile(from, trial->text + len, (DWORD)sizeof trial->text - 1 - len, &got, NULL) &&
           got)
        len += got;
    WaitForSingleObject(child.hProcess, INFINITE);
    GetExitCodeProcess(child.hProcess, &status);
    CloseHandle(from);
    CloseHandle(child.hThread);
    CloseHandle(child.hProcess);
    judge(trial, status);
}

void trial_run_here(struct trial *trial, void (*body)(void *arg), void *arg)
{
    memset(trial, 0, sizeof *trial);
    body(arg);
    trial->verdict = VERDICT_OK;
}
