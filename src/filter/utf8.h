/* Whether bytes are UTF-8 (RFC 3629 section 4), told as they come, at the first byte that can't be.
 * Pure; any thread, one at a time for one text. */
#ifndef FILTER_UTF8_H
#define FILTER_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero: between two characters. */
struct utf8 {
    uint8_t left; /* bytes of the character still to come */
    uint8_t low;  /* what the next of them has to lie between; 0 unless left */
    uint8_t high;
};

/* The next bytes. False: this is not UTF-8, whatever comes; not to be called again then. */
bool utf8_feed(struct utf8 *utf8, const void *data, size_t len);

/* No character has begun and not ended. */
static inline bool utf8_is_whole(const struct utf8 *utf8) { return utf8->left == 0; }

/* A text that is all here. */
bool utf8_is_valid(const void *data, size_t len);

#endif
