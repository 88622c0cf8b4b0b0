/* The rules as trials: each is written once against port.h and run on every port. A name begins
 * with the number of the contract's rule. Static data. */
#ifndef PORT_SUPPORT_RULES_H
#define PORT_SUPPORT_RULES_H

#include "port/support/stage.h"

enum rule_needs {
    NEEDS_REAL = 1 << 0, /* threads, signals, files: not in a simulated network */
    NEEDS_BARE = 1 << 1, /* no port is made for it */
    NEEDS_V6 = 1 << 2,
    NEEDS_SIGNALS = 1 << 3,
    NEEDS_UNIX = 1 << 4,   /* sockets with a path */
    NEEDS_SHARED = 1 << 5, /* listeners that share a port */
    NEEDS_RESET = 1 << 6,  /* a receive tells also of a reset that came before it */
    NEEDS_RIGHTS = 1 << 7, /* what a file was opened for counts when it is sent */
};

struct rule {
    const char *name;
    void (*run)(struct stage *stage);
    unsigned needs;
    uint32_t slots_max; /* 0: the stage's default */
    uint32_t bufs_max;
    uint32_t buf_bytes;
};

struct rule_set {
    const struct rule *rules;
    unsigned count;
};

extern const struct rule_set rules_ending, rules_starting, rules_closing, rules_receiving,
    rules_sending, rules_stopping, rules_accepting, rules_sharing, rules_waking, rules_reusing,
    rules_connecting, rules_making, rules_speaking, rules_files;

/* All of them in order; NULL past the end. */
const struct rule *rule_at(unsigned index);

/* --- the ports that they run on --- */

struct column {
    const char *name;
    struct stage_config config;
};

/* Those of this system: columns_*.c. */
extern const struct column columns[];
extern const unsigned columns_count;

struct attempt {
    const struct rule *rule;
    const struct stage_config *config;
};

/* Runs one rule on one port; for trial_run. `arg` is a struct attempt. */
void attempt_run(void *arg);

#endif
