/* See mark.h. */
#include "filter/mark.h"

#include <string.h>

/* How many bytes of the mark are matched when one more follows `state` of them; state < len. */
static unsigned mark__step(const struct mark *mark, unsigned state, unsigned char byte)
{
    while (state && mark->bytes[state] != byte) state = mark->fall[state - 1];
    return mark->bytes[state] == byte ? state + 1 : 0;
}

int mark_init(struct mark *mark, const void *bytes, uint32_t len)
{
    if (!bytes || len < 1 || len > SALLY_FRAME_MARK_MAX) return SALLY_EINVAL;
    memset(mark, 0, sizeof *mark);
    memcpy(mark->bytes, bytes, len);
    mark->len = (uint8_t)len;
    for (unsigned n = 1; n < len; n++)
        mark->fall[n] = (uint8_t)mark__step(mark, mark->fall[n - 1], mark->bytes[n]);
    return 0;
}

size_t mark_find(const struct mark *mark, uint8_t *matched, const unsigned char *data, size_t len)
{
    unsigned state = *matched;
    for (size_t at = 0; at < len; at++) {
        if (state == 0) {
            const unsigned char *first = memchr(data + at, mark->bytes[0], len - at);
            if (!first) break;
            at = (size_t)(first - data);
        }
        state = mark__step(mark, state, data[at]);
        if (state == mark->len) {
            *matched = 0;
            return at + 1;
        }
    }
    *matched = (uint8_t)state;
    return 0;
}
