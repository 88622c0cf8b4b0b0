/* Base64 (RFC 4648 section 4), for HTTP's heads. Pure; any thread. */
#ifndef FILTER_BASE64_H
#define FILTER_BASE64_H

#include <stddef.h>

/* Of so many bytes. */
#define BASE64_CHARS(bytes) (((bytes) + 2) / 3 * 4)

/* Writes 4 characters for each 3 bytes begun, padded, without a zero; how many. */
size_t base64_encode(char *to, const void *data, size_t len);

#endif
