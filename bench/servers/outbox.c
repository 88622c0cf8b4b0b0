/* Bytes that wait for a socket. See outbox.h. */
#include "outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "server.h"

enum { OUTBOX_BYTES_MIN = 4096 };

void outbox_add(struct outbox *box, const void *data, uint64_t len)
{
    uint64_t size = box->size ? box->size : OUTBOX_BYTES_MIN;
    while (size - box->end < len) size *= 2;
    if (size != box->size) {
        box->data = realloc(box->data, size);
        if (!box->data) server_die("memory");
        box->size = (uint32_t)size;
    }
    memcpy(box->data + box->end, data, len);
    box->end += (uint32_t)len;
}

void outbox_drop(struct outbox *box)
{
    free(box->data);
    *box = (struct outbox){0};
}

/* How much a send took, -1 when the connection has failed. */
static int64_t try_send(int fd, const void *data, uint64_t len)
{
    ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

bool outbox_flush(struct outbox *box, int fd)
{
    if (outbox_is_empty(box)) return true;
    int64_t sent = try_send(fd, box->data + box->begin, box->end - box->begin);
    if (sent < 0) return false;
    box->begin += (uint32_t)sent;
    if (box->begin == box->end) outbox_drop(box);
    return true;
}

bool outbox_send(struct outbox *box, int fd, const void *data, uint64_t len)
{
    int64_t sent = outbox_is_empty(box) ? try_send(fd, data, len) : 0;
    if (sent < 0) return false;
    if ((uint64_t)sent < len) outbox_add(box, (const char *)data + sent, len - (uint64_t)sent);
    return true;
}
