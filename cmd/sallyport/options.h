/* Command-line options of one subcommand: a table says all there is to know of each, and both the
 * reading and --help come from it. Texts are not copied: they point into argv. One thread. */
#ifndef SALLYPORT_OPTIONS_H
#define SALLYPORT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXTS_MAX = 64 };

/* The values of an option that may be given several times. */
struct texts {
    const char *items[TEXTS_MAX];
    unsigned count;
};

enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXTS,   /* struct texts */
    OPTION_TEXT,    /* const char * */
    OPTION_NUMBER,  /* uint32_t, from min to max */
    OPTION_SIZE,    /* uint32_t bytes, from min to max: 65536, 64k, 4m */
    OPTION_TIME,    /* uint32_t milliseconds, from 1: 500ms, 10s, 5m, 2h */
    OPTION_CHOICE,  /* int: the index of one of `choices` */
    OPTION_HEADING, /* no option: a line between groups in --help */
};

struct option_row {
    enum option_kind kind;
    const char *name;     /* without the two dashes */
    const char *value;    /* how --help calls the value */
    const char *help;     /* lines are separated by line ends */
    size_t offset;        /* of the member in the struct that is filled */
    const char **choices; /* OPTION_CHOICE: ends with NULL */
    uint32_t min, max;    /* OPTION_NUMBER, OPTION_SIZE */
    bool never;           /* OPTION_TIME: the word "never" is UINT32_MAX */
    bool seconds;         /* OPTION_TIME: a number without a unit is seconds */
};

struct option_table {
    const char *command;  /* "sallyport serve" */
    const char *synopsis; /* what follows it in the first line of --help */
    const char *summary;
    const char *examples; /* whole lines */
    const struct option_row *rows;
    size_t count;
};

enum options_result { OPTIONS_READ, OPTIONS_HELP, OPTIONS_WRONG };

/* Fills `target`, which holds the defaults, from argv[1] on. OPTIONS_HELP: --help was printed.
 * OPTIONS_WRONG: a sentence was printed to standard error. */
enum options_result options_read(const struct option_table *table, void *target, int argc,
                                 char **argv);

#endif
