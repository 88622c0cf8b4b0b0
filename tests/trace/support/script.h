/* A scenario file: steps, each a line of commands and the events that it has to bring about. The
 * language is in docs/design/traces.md. A script owns the text that its words point into. */
#ifndef TRACE_SUPPORT_SCRIPT_H
#define TRACE_SUPPORT_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

enum { WORDS_MAX = 32, COMMANDS_MAX = 8, EXPECTS_MAX = 48, STEPS_MAX = 160 };

struct words {
    unsigned line;
    unsigned count;
    const char *word[WORDS_MAX];
    const char *ports; /* this line is meant for these only; NULL: all */
};

struct step {
    unsigned line;
    unsigned commands;
    struct words command[COMMANDS_MAX];
    unsigned expects;
    struct words expect[EXPECTS_MAX];
};

struct script {
    char *text;
    const char *proves;
    const char *skip_ports; /* NULL: none */
    const char *skip_reason;
    struct step *step;
    unsigned steps;
    char wrong[160]; /* why it can't be read; empty: it can */
};

/* Takes the text, which has to come from malloc. Always returns a script; look at `wrong`. */
struct script *script_read(char *text);
void script_free(struct script *script);

/* The whole of a file, from malloc, with a 0 behind; NULL: it can't be read. */
char *script_load(const char *path);

/* Whether a list such as "epoll,uring" names a port; with "!" before it: every other. */
bool script_meant_for(const char *ports, const char *port);

#endif
