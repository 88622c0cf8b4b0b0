/* What has happened in the present step, against what should: for each subject ("a", "peer a") a
 * sequence of events. Between subjects there is no order, since none is promised; the bytes of one
 * direction are one event however many pieces they came in. on_sent is a sequence of its own, as
 * nobody promises when it comes beside what is received. One thread. */
#ifndef TRACE_SUPPORT_JOURNAL_H
#define TRACE_SUPPORT_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "trace/support/script.h"

enum { ENTRIES_MAX = 256, ENTRY_SUBJECT_MAX = 24, ENTRY_TEXT_MAX = 120 };

struct entry {
    char subject[ENTRY_SUBJECT_MAX];
    char text[ENTRY_TEXT_MAX]; /* of bytes: only what they are, "data" or "sent" */
    bool is_bytes;
    uint64_t bytes;
    unsigned expected; /* to which the present comparison has given it */
};

struct journal {
    const char *port;
    unsigned count;
    uint64_t total; /* entries and bytes so far: rises with each change */
    struct entry entry[ENTRIES_MAX];
};

enum journal_verdict { JOURNAL_MATCHES, JOURNAL_LACKS, JOURNAL_DIFFERS };

void journal_add(struct journal *journal, const char *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void journal_bytes(struct journal *journal, const char *subject, const char *what, uint64_t bytes);

/* LACKS: what came is right so far, and more has to come. `why` is told about the others. */
enum journal_verdict journal_compare(struct journal *journal, const struct step *step, char *why,
                                     size_t why_bytes);

/* The next step begins. */
void journal_clear(struct journal *journal);

/* As the lines of a scenario file. */
void journal_print(const struct journal *journal, FILE *to);

#endif
