/* See base64.h. */
#include "filter/base64.h"

#include <stdint.h>

size_t base64_encode(char *to, const void *data, size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = data;
    size_t n = 0;
    for (size_t at = 0; at < len; at += 3) {
        size_t have = len - at < 3 ? len - at : 3;
        uint32_t group = (uint32_t)bytes[at] << 16;
        if (have > 1) group |= (uint32_t)bytes[at + 1] << 8;
        if (have > 2) group |= bytes[at + 2];
        for (unsigned i = 0; i < 4; i++)
            to[n++] = i <= have ? alphabet[group >> (18 - 6 * i) & 63] : '=';
    }
    return n;
}
