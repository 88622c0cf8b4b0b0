/* Cuts what one connection receives into messages. Bytes in, messages out: no I/O, no clock. One
 * thread.
 *
 * Between two messages a connection keeps nothing. While one is incomplete its bytes are collected
 * in a carry, which grows with what has come: at most twice that, and never past the message's own
 * length or limit. */
#ifndef FILTER_FRAMER_H
#define FILTER_FRAMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "filter/framing.h"

/* An incomplete message. */
struct carry {
    struct frame_scan scan;
    unsigned char *bytes; /* NULL once it is closed: it will never be whole */
    uint32_t len;         /* of those that came; stays when it is closed */
    uint32_t bytes_max;   /* room */
    uint64_t began_ms;
};

/* What the framer needs for one call. */
struct framer {
    const struct framing *framing;
    struct mem *mem;
    struct carry **carry; /* the connection's: NULL between messages */
    uint64_t now_ms;
    /* A message; readable until it returns. `copied`: it was collected. False: no more for now.
     * The carry is the connection's again when this is called, so it may be dropped in it. */
    bool (*take)(void *ctx, const void *payload, size_t len, bool copied);
    void *ctx;
    /* SALLY_FRAMING_ON_DEMAND: how many bytes the next message has. Not 0 when bytes are fed, and
     * when `take` returns true. */
    const uint32_t *wanted;
    uint32_t
        carry_max; /* what is collected of a message may have no more memory now; 0: no limit */
};

/* Hands out the messages that end in these bytes, collects the rest, and says in `used` how many
 * bytes it is done with: less than len only when `take` wanted no more, or on failure. 0;
 * SALLY_ELIMIT: a message is longer than the limit; SALLY_EMALFORMED; SALLY_ENOMEM. After a failure
 * there is no carry, and no more may be fed. len > 0. */
int framer_feed(const struct framer *framer, const void *data, size_t len, size_t *used);

/* The stream has ended: the memory goes back, but how much had come stays known. */
void carry_close(struct carry *carry, struct mem *mem);

/* All of it; also NULL. */
void carry_free(struct carry *carry, struct mem *mem);

#endif
