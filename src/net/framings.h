/* The framings that an engine's servers and connections use, each kept once and until the engine
 * goes: so that any thread may wrap a message for a connection that may be going at the same time,
 * and a connection costs no copy. */
#ifndef NET_FRAMINGS_H
#define NET_FRAMINGS_H

#include <stdatomic.h>
#include <stdint.h>

#include "sallyport.h"

enum { FRAMINGS_MAX = 256 };

struct framing;

struct framings {
    _Atomic(struct framing *) list[FRAMINGS_MAX]; /* only grows */
    unsigned count;                               /* under the engine's lock */
};

/* The one that is equal, or a new one; NULL for a description that is NULL or zero. SALLY_EINVAL,
 * SALLY_ENOMEM, SALLY_ELIMIT. Any thread. */
int framings_use(sally_engine *engine, const sally_framing *plain, const struct framing **framing);

/* By its number; NULL for 0. Any thread. */
const struct framing *framings_at(const sally_engine *engine, uint32_t number);

/* Nobody uses one any more. */
void framings_free(sally_engine *engine);

#endif
