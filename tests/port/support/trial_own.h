/* What the parts of a trial share: what is told in trial.c, and how a process ends, in
 * trial_posix.c or trial_win32.c. */
#ifndef PORT_SUPPORT_TRIAL_OWN_H
#define PORT_SUPPORT_TRIAL_OWN_H

#include "port/support/trial.h"

enum { EXIT_FAIL = 1, EXIT_SKIP = 77 };

/* Tells whoever started the trial, and ends the process at once: other threads may still run, and
 * what leaks after a failure tells nothing. */
_Noreturn void trial_end(int status, const char *text);

/* The rule that is being tried. */
const char *trial_rule(void);
_Noreturn void trial_time_is_over(void);

#endif
