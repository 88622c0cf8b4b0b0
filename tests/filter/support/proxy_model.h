/* A second reader of PROXY headers for the tests of the first: it sees all of a header at once, and
 * has the system read and write addresses. */
#ifndef FILTER_SUPPORT_PROXY_MODEL_H
#define FILTER_SUPPORT_PROXY_MODEL_H

#include "filter/proxy_header.h"

enum { HEADER_MAX = 4096, TEXT = 128 };

#define SIGNATURE 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a

struct told {
    enum proxy_answer answer;
    size_t used;
    unsigned version;
    char source[TEXT];
    char dest[TEXT];
};

/* Whether a whole header of at most HEADER_MAX bytes is at the beginning of these bytes. */
bool model(const uint8_t *bytes, size_t len, struct told *told);

/* The checksum of a header, four bytes of which count as zero. */
uint32_t model_crc(const uint8_t *bytes, size_t len, size_t hole);

#endif
