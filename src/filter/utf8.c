/* See utf8.h. */
#include "filter/utf8.h"

#include <string.h>

/* The first byte of a character says how many follow, and the range of the second keeps out what is
 * longer than needed, surrogates, and what is above U+10FFFF. */
static bool utf8__begin(struct utf8 *utf8, uint8_t byte)
{
    uint8_t low = 0x80, high = 0xbf;
    if (byte < 0xc2 || byte > 0xf4) return false;
    utf8->left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    if (byte == 0xe0) low = 0xa0;
    if (byte == 0xed) high = 0x9f;
    if (byte == 0xf0) low = 0x90;
    if (byte == 0xf4) high = 0x8f;
    utf8->low = low;
    utf8->high = high;
    return true;
}

static bool utf8__go_on(struct utf8 *utf8, uint8_t byte)
{
    if (byte < utf8->low || byte > utf8->high) return false;
    utf8->left--;
    utf8->low = 0x80;
    utf8->high = 0xbf;
    return true;
}

/* How many of the next bytes are ASCII, by eights. */
static size_t ascii_run(const uint8_t *at, size_t len)
{
    size_t n = 0;
    for (uint64_t eight; len - n >= sizeof eight; n += sizeof eight) {
        memcpy(&eight, at + n, sizeof eight);
        if (eight & UINT64_C(0x8080808080808080)) break;
    }
    return n;
}

bool utf8_feed(struct utf8 *utf8, const void *data, size_t len)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < len; i++) {
        if (utf8->left) {
            if (!utf8__go_on(utf8, at[i])) return false;
        } else if (at[i] >= 0x80) {
            if (!utf8__begin(utf8, at[i])) return false;
        } else {
            size_t run = ascii_run(at + i, len - i);
            if (run) i += run - 1;
        }
    }
    return true;
}

bool utf8_is_valid(const void *data, size_t len)
{
    struct utf8 utf8 = {0};
    return utf8_feed(&utf8, data, len) && utf8_is_whole(&utf8);
}
