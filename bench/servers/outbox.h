/* Bytes that a socket did not take yet, for the servers on bare descriptors. Memory is there only
 * while bytes are. One thread. */
#ifndef BENCH_SERVERS_OUTBOX_H
#define BENCH_SERVERS_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

struct outbox {
    char *data; /* NULL when empty */
    uint32_t begin, end, size;
};

void outbox_add(struct outbox *box, const void *data, uint64_t len);

/* Sends what it can; false when the connection has failed. */
bool outbox_flush(struct outbox *box, int fd);

/* Sends, and keeps what the socket doesn't take; false when the connection has failed. */
bool outbox_send(struct outbox *box, int fd, const void *data, uint64_t len);

void outbox_drop(struct outbox *box);

static inline bool outbox_is_empty(const struct outbox *box) { return !box->data; }

#endif
