/* Files in a connection's send queue: each is a mark there, and what it stands for is here. A part
 * of the connection's flow, so CONN_FLOW is set while there are any. Its shard's thread. */
#ifndef NET_FILE_SEND_H
#define NET_FILE_SEND_H

#include <stdbool.h>
#include <stdint.h>

#include "net/conn.h"
#include "net/flow.h"
#include "port/port.h"
#include "sallyport/file.h"

enum {
    FILE_COST_BYTES = 256, /* what a mark counts for: more than its memory */
    FILES_HIGH = SALLY_FILES_MAX / 4,
    /* for files, while bytes a second are limited, to go after a close */
    FILES_CLOSE_MS = 600 * 1000
};

struct file_send;

struct file_queue {
    struct file_send *first; /* in the order of their marks */
    struct file_send *last;
    uint64_t left; /* bytes of all of them that have not gone */
    uint32_t count;
    bool begun;     /* of the first a part has gone */
    bool in_flight; /* the send that the port has is a part of the first */
};

/* Null-safe: whether any wait. */
static inline bool files_waiting(const struct file_queue *files) { return files && files->count; }

static inline struct file_queue *conn_file_queue(const sally_conn *conn)
{
    const struct flow *flow = conn_flow(conn);
    return flow ? flow->files : NULL;
}

/* It has files that are not through. */
static inline bool conn_files(const sally_conn *conn)
{
    return conn_has(conn, CONN_FLOW) && files_waiting(conn_file_queue(conn));
}

/* Bytes of the stream that have not gone, those of files as well. */
static inline uint64_t conn_queued(const sally_conn *conn)
{
    const struct file_queue *files = conn_file_queue(conn);
    if (!files) return conn->out.bytes;
    return conn->out.bytes + files->left - (uint64_t)files->count * FILE_COST_BYTES;
}

/* The same for who has 32 bits for it. */
static inline uint32_t conn_queued_told(const sally_conn *conn)
{
    uint64_t queued = conn_queued(conn);
    return queued < UINT32_MAX ? (uint32_t)queued : UINT32_MAX;
}

/* At its low mark or below, and no file before it. */
static inline bool conn_is_low(const sally_conn *conn)
{
    return conn->out.bytes <= conn->policy->send_low_bytes && !conn_files(conn);
}

/* One is on its way: a cork doesn't stop in the middle. */
static inline bool files_begun(const sally_conn *conn)
{
    return conn_files(conn) && conn_file_queue(conn)->begun;
}

/* The send in flight is a file's. */
static inline bool files_in_flight(const sally_conn *conn)
{
    return conn_files(conn) && conn_file_queue(conn)->in_flight;
}

/* A file's mark is at the front: hands a part of at most so many bytes, and of what the limits for
 * bytes a second leave, to the port. It may end the connection. */
void files_flush(sally_conn *conn, uint32_t bytes_max);

/* So many bytes of the first have gone, at least one. It leaves the queue with its last. */
void files_took(sally_conn *conn, uint32_t bytes);

/* The part in flight failed: the connection ends. */
void files_failed(sally_conn *conn, const struct port_event *event);

/* The send queue has been dropped, and the files with it. */
void files_free(sally_conn *conn);

#endif
