/* SHA-1 (FIPS 180-4 section 6.1), because the WebSocket handshake asks for it (RFC 6455 section
 * 1.3). It shows there that a server has read the request, and protects nothing: not for anything
 * that needs a hash nobody can forge. Pure; any thread. */
#ifndef FILTER_SHA1_H
#define FILTER_SHA1_H

#include <stddef.h>

enum { SHA1_BYTES = 20 };

void sha1(const void *data, size_t len, unsigned char digest[SHA1_BYTES]);

#endif
