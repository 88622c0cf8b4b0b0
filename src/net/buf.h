/* Shared bytes inside the library. */
#ifndef NET_BUF_H
#define NET_BUF_H

#include <stdbool.h>
#include <stdint.h>

#include "sallyport.h"

struct mem;

struct shard;

/* Receive buffers that programs kept and other threads released. The shard's thread, or nobody's
 * after its end. */
void buf_take_back(struct shard *shard);

/* A sendq_release: the queue's reference goes. */
void buf_release_sent(void *buf, const void *data, uint64_t token);

/* Whether it was made from this memory: is of that engine. */
bool buf_is_of(const sally_buf *buf, const struct mem *mem);

#endif
