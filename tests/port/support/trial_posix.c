/* Trials in forked processes. The parent starts no thread, so a fork is safe. Everything here is
 * the process's; a trial may end from any of its threads. */
#include "port/support/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "port/support/trial_own.h"

static int verdict_fd = -1; /* -1: the trial runs in the process of the program itself */

void trial_end(int status, const char *text)
{
    int fd = verdict_fd >= 0 ? verdict_fd : STDERR_FILENO;
    size_t len = strlen(text);
    ssize_t written = write(fd, text, len);
    if (verdict_fd < 0) written = write(fd, "\n", 1);
    (void)written;
    _exit(status);
}

/* snprintf is not async-signal-safe; the process ends here whatever it does. */
static void on_alarm(int number)
{
    (void)number;
    trial_time_is_over();
}

static _Noreturn void run_child(void (*body)(void *arg), void *arg, unsigned limit_s, bool quiet)
{
    if (quiet) {
        int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (nowhere >= 0) dup2(nowhere, STDERR_FILENO);
        if (nowhere >= 0) close(nowhere);
    }
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    alarm(limit_s);
    body(arg);
    alarm(0);
    exit(0); /* not _exit: the leak checker and the coverage counters want their turn */
}

void trial_again(const char *name) { (void)name; }

void trial_child(void (*body)(void *arg), void *arg, unsigned limit_s)
{
    run_child(body, arg, limit_s, false);
}

void trial_yield(void) { sched_yield(); }

static void judge(struct trial *trial, int status)
{
    if (WIFSIGNALED(status)) {
        trial->verdict = VERDICT_FAIL;
        snprintf(trial->text, sizeof trial->text, "%s: ended by signal %d", trial_rule(),
                 WTERMSIG(status));
    } else if (WEXITSTATUS(status) == 0) {
        trial->verdict = VERDICT_OK;
    } else if (WEXITSTATUS(status) == EXIT_SKIP) {
        trial->verdict = VERDICT_SKIP;
    } else {
        trial->verdict = VERDICT_FAIL;
        if (!trial->text[0])
            snprintf(trial->text, sizeof trial->text, "%s: exit status %d, see above", trial_rule(),
                     WEXITSTATUS(status));
    }
}

void trial_run(struct trial *trial, void (*body)(void *arg), void *arg, unsigned limit_s,
               bool quiet)
{
    int ends[2];
    memset(trial, 0, sizeof *trial);
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        close(ends[0]);
        verdict_fd = ends[1];
        run_child(body, arg, limit_s, quiet);
    }
    close(ends[1]);
    size_t len = 0;
    for (;;) {
        ssize_t got = read(ends[0], trial->text + len, sizeof trial->text - 1 - len);
        if (got > 0) len += (size_t)got;
        if (got == 0 || (got < 0 && errno != EINTR)) break;
    }
    close(ends[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    judge(trial, status);
}

void trial_run_here(struct trial *trial, void (*body)(void *arg), void *arg)
{
    memset(trial, 0, sizeof *trial);
    body(arg);
    trial->verdict = VERDICT_OK;
}
