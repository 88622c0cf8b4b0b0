/* Files in a connection's send queue; see file_send.h. A file_send is the queue's, from the call
 * that made it to the release of its mark; so is one reference of its file, and the piece of it
 * that was read where the port can't send from a file itself. */
#include "net/file_send.h"

#include "net/chain.h"
#include "net/file.h"
#include "net/produce.h"
#include "net/throttle.h"

enum { PIECE_BYTES = 64 * 1024 };

struct file_send {
    struct file_send *next;
    sally_conn *conn;
    sally_file *file;
    uint64_t left;         /* not gone yet */
    struct port_file part; /* what the port has of it */
    unsigned char *piece;  /* of PIECE_BYTES; NULL: none was read */
    uint32_t piece_len;
    uint32_t piece_at; /* gone of it */
};

_Static_assert(SALLY_READ_FILES == (int)PORT_NO_FILE_SEND, "the public name of the port's bit");

static struct mem *files__mem(const sally_conn *conn) { return &conn->shard->engine->mem; }

/* ---- Out ---- */

/* Its mark has left the queue: all of it has gone, or the connection is at its end. */
static void files__release(void *owner, const void *data, uint64_t token)
{
    struct file_send *send = owner;
    sally_conn *conn = send->conn;
    struct file_queue *files = conn_file_queue(conn);
    (void)data;
    (void)token;
    assert(files->first == send);
    files->first = send->next;
    if (!files->first) files->last = NULL;
    files->left -= send->left;
    files->count--;
    sally_file_release(send->file);
    if (send->piece) mem_free(files__mem(conn), send->piece, PIECE_BYTES);
    mem_free(files__mem(conn), send, sizeof *send);
    flow_flag(conn);
    /* the bytes behind the last have the time that bytes have */
    if (!files->count && conn->state == CONN_DRAINING && !produce_runs(conn))
        throttle_closing(conn);
}

static bool files__are_read(const sally_conn *conn)
{
    return !(conn->shard->port->abilities & PORT_CAN_SEND_FILE);
}

static void files__end(sally_conn *conn, int error, int sys_error)
{
    bool ours = error == SALLY_EFILEEND || error == SALLY_EFILE;
    if (ours)
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_FILE, error, sys_error);
    else
        conn_broken(conn, error, sys_error);
}

/* How much of a piece is there to be sent, read if need be; 0: the connection has ended. */
static uint32_t files__piece(sally_conn *conn, struct file_send *send)
{
    if (send->piece_at < send->piece_len) return send->piece_len - send->piece_at;
    int sys_error = 0;
    int64_t got = SALLY_ENOMEM;
    uint32_t want = send->left < PIECE_BYTES ? (uint32_t)send->left : PIECE_BYTES;
    if (!send->piece) send->piece = mem_alloc(files__mem(conn), PIECE_BYTES);
    if (send->piece)
        got = os_file_read(send->file->file, send->part.offset, send->piece, want, &sys_error);
    if (got <= 0) {
        files__end(conn, got ? (int)got : SALLY_EFILEEND, sys_error);
        return 0;
    }
    send->piece_at = 0;
    send->piece_len = (uint32_t)got;
    return send->piece_len;
}

void files_flush(sally_conn *conn, uint32_t bytes_max)
{
    struct file_queue *files = conn_file_queue(conn);
    struct file_send *send = files->first;
    bool read = files__are_read(conn);
    uint64_t there = read ? files__piece(conn, send) : send->left;
    uint32_t want = there < bytes_max ? (uint32_t)there : bytes_max;
    uint32_t bytes = want ? throttle_take(conn, WAY_SEND, want) : 0;
    if (!bytes) return;
    throttle_handed(conn, bytes);
    send->part.bytes = bytes;
    files->in_flight = true;
    if (read)
        port_send(conn->shard->port, &conn->sock,
                  &(struct span){send->piece + send->piece_at, bytes}, 1);
    else
        port_send_file(conn->shard->port, &conn->sock, &send->part);
}

void files_took(sally_conn *conn, uint32_t bytes)
{
    struct file_queue *files = conn_file_queue(conn);
    struct file_send *send = files->first;
    assert(bytes && bytes <= send->left);
    files->in_flight = false;
    files->begun = bytes < send->left;
    files->left -= bytes;
    send->left -= bytes;
    send->part.offset += bytes;
    send->piece_at += bytes;
    if (!send->left) sendq_consume(&conn->out, &conn->shard->pools, FILE_COST_BYTES);
}

void files_failed(sally_conn *conn, const struct port_event *event)
{
    conn_file_queue(conn)->in_flight = false;
    files__end(conn, event->error, event->sys_error);
}

void files_free(sally_conn *conn)
{
    struct file_queue *files = conn_file_queue(conn);
    if (!files) return;
    assert(!files->count && !files->left);
    conn_flow(conn)->files = NULL;
    mem_free(files__mem(conn), files, sizeof *files);
}

/* ---- In ---- */

/* 0 when one more may be queued. */
static int files__may_send(sally_conn *conn)
{
    if (conn->state != CONN_OPEN || conn_has(conn, CONN_SHUT_ASKED | CONN_SHUT))
        return SALLY_ECLOSED;
    if (conn->policy->at_full == SALLY_FULL_DROP_OLDEST || conn_chain(conn)) return SALLY_ENOTSUP;
    if (produce_runs(conn)) return SALLY_ESTATE;
    if (conn->policy->send_bytes_max < FILE_COST_BYTES) return SALLY_ELIMIT;
    const struct file_queue *files = conn_file_queue(conn);
    int err = SALLY_EFULL;
    if (!files || files->count < SALLY_FILES_MAX) err = flow_judge(conn, FILE_COST_BYTES);
    if (err == SALLY_EFULL) conn->flags |= CONN_DRAIN_DUE;
    return err;
}

static struct file_queue *files__need(sally_conn *conn)
{
    if (flow_need(conn)) return NULL;
    struct file_queue **files = &conn_flow(conn)->files;
    if (!*files) *files = mem_zalloc(files__mem(conn), sizeof **files);
    return *files;
}

static void files__append(struct file_queue *files, struct file_send *send)
{
    if (files->last)
        files->last->next = send;
    else
        files->first = send;
    files->last = send;
    files->count++;
    files->left += send->left;
}

/* All or nothing. */
static int files__queue(sally_conn *conn, sally_file *file, uint64_t offset, uint64_t length)
{
    struct file_queue *files = files__need(conn);
    struct file_send *send = files ? mem_zalloc(files__mem(conn), sizeof *send) : NULL;
    if (!send) return SALLY_ENOMEM;
    *send = (struct file_send){.conn = conn,
                               .file = file,
                               .left = length,
                               .part = {.handle = file->shown, .offset = offset}};
    bool was_empty = !conn->out.bytes;
    int err = sendq_refer(&conn->out, &conn->shard->pools, NULL, FILE_COST_BYTES, files__release,
                          send, 0);
    if (err) {
        mem_free(files__mem(conn), send, sizeof *send);
        return err;
    }
    sally_file_ref(file);
    files__append(files, send);
    flow_flag(conn);
    conn_queued_file(conn, was_empty, files->count >= FILES_HIGH);
    return 0;
}

int sally_conn_send_file(sally_conn *conn, sally_file *file, uint64_t offset, uint64_t length,
                         sally_sent_fn done, void *arg)
{
    if (!conn_here(conn) || !file || file->engine != conn->shard->engine) return SALLY_EINVAL;
    if (offset > file->bytes || length > file->bytes - offset) return SALLY_EFILEEND;
    if (!length) length = file->bytes - offset;
    int err = files__may_send(conn);
    if (err) return err;
    struct note *note = done ? flow_note(conn, done, arg, &err) : NULL;
    if (!err && length) err = files__queue(conn, file, offset, length);
    if (err) {
        flow_give_back(conn, note);
        return err;
    }
    if (note) flow_append(conn, note);
    return 0;
}
