/* A range of bytes somebody else owns. Laid out as struct iovec, which the ports assert, so that an
 * array of spans is handed to the kernel as it is. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stddef.h>

struct span {
    const void *data;
    size_t len;
};

#endif
