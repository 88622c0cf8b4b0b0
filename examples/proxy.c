/* A TCP proxy. What comes from one side goes to the other; a side that reads slowly holds up the
 * other instead of filling memory; an end of stream is passed on as such, a reset as a reset. */
#include <sallyport.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUEUE_HIGH = 256 * 1024 };

static const char *upstream;

/* The server may speak first, so no limit for a first byte. Reading is paused by hand: what one
 * side has to send says nothing about what it may read. */
static const sally_conn_options limits = {
    .first_byte_ms = SALLY_FOREVER, .send_high_bytes = QUEUE_HIGH, .no_auto_pause = true};

/* Two connections on one shard, so each one's callbacks may use the other. */
struct pair {
    sally_conn *side[2]; /* 0: who came, 1: upstream; NULL: not open */
    sally_id upstream;
    int left; /* on_close that are still to come */
    int ended;
};

static struct pair *pair_of(const sally_conn *conn) { return sally_conn_user(conn); }

static sally_conn *other_of(const sally_conn *conn)
{
    struct pair *pair = pair_of(conn);
    return pair->side[0] == conn ? pair->side[1] : pair->side[0];
}

static void on_open(sally_conn *conn)
{
    struct pair *pair = pair_of(conn);
    pair->side[1] = conn;
    if (pair->side[0])
        sally_conn_resume(pair->side[0]);
    else
        sally_conn_abort(conn); /* nobody is waiting for it any more */
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    sally_conn *other = other_of(conn);
    if (!other) return;
    if (sally_conn_send(other, data, len) != 0)
        sally_conn_abort(conn);
    else if (sally_conn_queued(other) > QUEUE_HIGH)
        sally_conn_pause(conn);
}

static void on_drain(sally_conn *conn)
{
    if (other_of(conn)) sally_conn_resume(other_of(conn));
}

static void on_eof(sally_conn *conn)
{
    sally_conn *other = other_of(conn);
    if (other) sally_conn_shutdown(other);
    if (++pair_of(conn)->ended < 2) return;
    sally_conn_close(conn);
    if (other) sally_conn_close(other);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct pair *pair = pair_of(conn);
    sally_conn *other = other_of(conn);
    bool well = info->reason == SALLY_CLOSE_LOCAL || info->reason == SALLY_CLOSE_PEER_CLOSED;
    if (pair->side[0] == conn) pair->side[0] = NULL;
    if (pair->side[1] == conn) pair->side[1] = NULL;
    if (other && well)
        sally_conn_close(other);
    else if (other)
        sally_conn_abort(other);
    else if (pair->left == 2)
        sally_abort(sally_conn_engine(conn), pair->upstream); /* still being made */
    if (--pair->left == 0) free(pair);
}

static sally_handler handler_of(struct pair *pair)
{
    return (sally_handler){.user = pair,
                           .on_open = on_open,
                           .on_data = on_data,
                           .on_drain = on_drain,
                           .on_eof = on_eof,
                           .on_close = on_close};
}

/* Someone has come: nothing is read before there is somewhere to send it. */
static void on_newcomer(sally_conn *conn)
{
    sally_connect_options options = {.conn = limits, .connect_ms = 10000, .same_shard = true};
    struct pair *pair = calloc(1, sizeof *pair);
    sally_handler handler = handler_of(pair);
    sally_conn_set_user(conn, pair);
    if (pair) {
        pair->side[0] = conn;
        pair->left = 1;
        sally_conn_pause(conn);
        if (!sally_connect(sally_conn_engine(conn), upstream, &handler, &options, &pair->upstream))
            pair->left = 2;
    }
    if (!pair || pair->left < 2) sally_conn_abort(conn);
}

static void on_newcomer_close(sally_conn *conn, const sally_close_info *info)
{
    if (pair_of(conn)) on_close(conn, info);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s LISTEN UPSTREAM\n", argv[0]);
        return 2;
    }
    upstream = argv[2];
    sally_engine *engine = NULL;
    sally_server_options options = {.conn = limits};
    sally_handler handler = handler_of(NULL);
    handler.on_open = on_newcomer;
    handler.on_close = on_newcomer_close;
    int err = sally_engine_create(&engine, NULL);
    if (!err) err = sally_listen(engine, argv[1], &handler, &options, NULL);
    if (!err) err = sally_engine_run(engine);
    sally_engine_destroy(engine);
    if (err) fprintf(stderr, "proxy: %s: %s\n", argv[1], sally_strerror(err));
    return err != 0;
}
