/* Shared bytes inside the library. */
#ifndef NET_BUF_H
#define NET_BUF_H

#include <stdint.h>

/* A sendq_release: the queue's reference goes. */
void buf_release_sent(void *buf, const void *data, uint64_t token);

#endif
