/* Cases on the fake kernel, each a trial of its own, in every way the port may go about it. */
#ifndef WIN32_SUPPORT_TRIAL_FAKE_H
#define WIN32_SUPPORT_TRIAL_FAKE_H

#include <stdint.h>

#include "port/support/stage.h"
#include "win32/support/fake.h"

struct fake_case {
    const char *name;
    void (*run)(struct stage *stage);
    const struct ground *ground; /* of the way that is tried */
    uint32_t features_off;
};

#define CASE(function)                                                                             \
    {                                                                                              \
#function, function, NULL, 0                                                               \
    }
#define FAKE_CASES_MAX 32

static inline struct fake *fake_of(struct stage *stage) { return stage->world; }

/* As main: with packets for everything and without, with what finishes at once and without. */
int fake_cases_run(const char *group, struct fake_case *cases, unsigned count, int argc,
                   char **argv);

#endif
