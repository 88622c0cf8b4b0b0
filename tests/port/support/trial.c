/* What a trial says of its end. Everything here is the process's; any of its threads. */
#include "port/support/trial.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "port/support/trial_own.h"

static const char *rule_name = "?";
static _Atomic(const char *) waits_for; /* several threads may wait; the last is told */
static _Atomic(const char *) waits_file;
static atomic_int waits_line;

void trial_name(const char *rule) { rule_name = rule; }

const char *trial_rule(void) { return rule_name; }

void trial_waits_for(const char *what, const char *file, int line)
{
    waits_for = what;
    waits_file = file;
    waits_line = line;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void trial_fail(const char *rule, const char *file, int line, const char *format, ...)
{
    char what[TRIAL_TEXT_MAX / 2], text[TRIAL_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    const char *waits = waits_for;
    snprintf(text, sizeof text, "%s%s%s: %s (%s:%d)", rule ? rule : rule_name, waits ? ": " : "",
             waits ? waits : "", what, base_name(file), line);
    trial_end(EXIT_FAIL, text);
}

void trial_skip(const char *format, ...)
{
    char text[TRIAL_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    trial_end(EXIT_SKIP, text);
}

void trial_time_is_over(void)
{
    char text[TRIAL_TEXT_MAX];
    if (waits_for)
        snprintf(text, sizeof text, "%s: the time is over, waiting for: %s (%s:%d)", rule_name,
                 (const char *)waits_for, base_name(waits_file), (int)waits_line);
    else
        snprintf(text, sizeof text, "%s: the time is over", rule_name);
    trial_end(EXIT_FAIL, text);
}
