/* A few bytes that are looked for in a stream, so that no byte is looked at twice, however the
 * stream comes in pieces (Knuth, Morris, Pratt). Read-only after mark_init. */
#ifndef FILTER_MARK_H
#define FILTER_MARK_H

#include <stddef.h>
#include <stdint.h>

#include "sallyport/framing.h"

struct mark {
    unsigned char bytes[SALLY_FRAME_MARK_MAX];
    uint8_t fall[SALLY_FRAME_MARK_MAX]; /* after n + 1 bytes matched and the next does not: how many
                                           still do */
    uint8_t len;
};

/* SALLY_EINVAL unless 1 to SALLY_FRAME_MARK_MAX bytes. */
int mark_init(struct mark *mark, const void *bytes, uint32_t len);

/* The index behind the first occurrence, or 0 when it doesn't end in these bytes. `matched` is how
 * much of it has come before, and then how much has come; 0 at first and after it was found. */
size_t mark_find(const struct mark *mark, uint8_t *matched, const unsigned char *data, size_t len);

#endif
