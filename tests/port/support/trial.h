/* One rule on one port, in a process of its own: a port that hangs, asserts or leaks fails that one
 * case and the others still run. The verdict comes back through a pipe. Where a process can be
 * forked it is; elsewhere the program is started again with "--trial NAME", which has to lead to
 * trial_child with the same body. */
#ifndef PORT_SUPPORT_TRIAL_H
#define PORT_SUPPORT_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

enum verdict { VERDICT_NONE, VERDICT_OK, VERDICT_FAIL, VERDICT_SKIP };

enum { TRIAL_TEXT_MAX = 512 };

struct trial {
    enum verdict verdict;
    char text[TRIAL_TEXT_MAX]; /* what failed, or why it was skipped */
};

/* Runs body(arg) apart from this process, for at most limit_s. `quiet` drops what it writes to the
 * standard error, for cases that are meant to fail. */
void trial_run(struct trial *trial, void (*body)(void *arg), void *arg, unsigned limit_s,
               bool quiet);

/* The name of the next trial, for a system that starts the program again. */
void trial_again(const char *name);

/* What the program that was started again does: runs the body, tells the verdict, ends. */
_Noreturn void trial_child(void (*body)(void *arg), void *arg, unsigned limit_s);

/* Lets other threads run. */
void trial_yield(void);

/* Runs it in this process, for a debugger; ends the process when it fails. */
void trial_run_here(struct trial *trial, void (*body)(void *arg), void *arg);

/* End the trial. Any thread. `rule` is the broken one, NULL: the one that is being tried. */
_Noreturn void trial_fail(const char *rule, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
_Noreturn void trial_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The rule that is being tried, and what it waits for (told when the time is over). */
void trial_name(const char *rule);
void trial_waits_for(const char *what, const char *file, int line);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) trial_fail(NULL, __FILE__, __LINE__, "not true: %s", #condition);        \
    } while (0)

#define CHECK_EQUAL(is, wanted)                                                                    \
    do {                                                                                           \
        long long is_ = (long long)(is), wanted_ = (long long)(wanted);                            \
        if (is_ != wanted_)                                                                        \
            trial_fail(NULL, __FILE__, __LINE__, "%s is %lld, not %s (%lld)", #is, is_, #wanted,   \
                       wanted_);                                                                   \
    } while (0)

#endif
