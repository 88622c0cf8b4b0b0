/* An echo server whose connections are compressed: a filter between the wire and on_data, which
 * knows nothing of it. Each way is one zlib stream (RFC 1950); every send ends with a flush, so
 * that the peer can read it at once, and the stream ends where the connection does. Much that comes
 * of little waits in the filter while the echo has no room for it. Built where zlib is found. */
#include <sallyport/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

/* Enough for both ways by zlib's own account (zconf.h), and some more. zlib takes its memory from
 * here, so a connection's memory is counted by the engine, and no call asks the system for any. */
enum { WINDOW_BITS = 13, MEM_LEVEL = 6, FLUSH_BYTES = 64, LEVEL = 5 };
enum {
    OUT_BYTES = (1 << (WINDOW_BITS + 2)) + (1 << (MEM_LEVEL + 9)) + 10 * 1024,
    IN_BYTES = (1 << 15) + 10 * 1024
};

struct squeeze {
    z_stream in, out;
    size_t kept; /* bytes that went into `out` since the last flush */
    size_t memory_used;
    unsigned char memory[OUT_BYTES + IN_BYTES];
};

static voidpf squeeze_alloc(voidpf opaque, uInt items, uInt size)
{
    struct squeeze *squeeze = opaque;
    size_t bytes = ((size_t)items * size + 15) / 16 * 16;
    size_t at = squeeze->memory_used;
    if (bytes > sizeof squeeze->memory - at) return Z_NULL;
    squeeze->memory_used += bytes;
    return squeeze->memory + at;
}

static void squeeze_free(voidpf opaque, voidpf block)
{
    (void)opaque; /* it goes with the state */
    (void)block;
}

static int squeeze_open(void *state, void *user, sally_conn *conn)
{
    struct squeeze *squeeze = state;
    (void)user;
    (void)conn;
    squeeze->in.zalloc = squeeze->out.zalloc = squeeze_alloc;
    squeeze->in.zfree = squeeze->out.zfree = squeeze_free;
    squeeze->in.opaque = squeeze->out.opaque = squeeze;
    if (inflateInit(&squeeze->in) != Z_OK) return SALLY_ENOMEM;
    if (deflateInit2(&squeeze->out, LEVEL, Z_DEFLATED, WINDOW_BITS, MEM_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return SALLY_ENOMEM;
    return 0;
}

/* What a call is given; no piece has more than a uInt can say. */
static void squeeze_lend(z_stream *stream, const sally_filter_io *io)
{
    stream->next_in = (z_const Bytef *)io->input;
    stream->avail_in = (uInt)io->len;
    stream->next_out = io->room;
    stream->avail_out = (uInt)io->room_bytes;
}

static void squeeze_tell(const z_stream *stream, sally_filter_io *io)
{
    io->used = io->len - stream->avail_in;
    io->made = io->room_bytes - stream->avail_out;
}

static int squeeze_in(void *state, sally_filter_io *io)
{
    z_stream *stream = &((struct squeeze *)state)->in;
    squeeze_lend(stream, io);
    int result = inflate(stream, Z_SYNC_FLUSH);
    squeeze_tell(stream, io);
    if (result == Z_STREAM_END) return SALLY_FILTERED_END;
    if (io->made == io->room_bytes) return SALLY_FILTERED_MORE;
    if (result != Z_OK && result != Z_BUF_ERROR) /* what was good before comes first */
        return io->made ? SALLY_FILTERED_MORE : SALLY_EMALFORMED;
    if (io->finish && io->used == io->len) /* the wire ends, and the stream doesn't */
        return io->made ? SALLY_FILTERED_MORE : SALLY_EMALFORMED;
    return SALLY_FILTERED_ALL;
}

static int squeeze_out(void *state, sally_filter_io *io)
{
    struct squeeze *squeeze = state;
    z_stream *stream = &squeeze->out;
    squeeze_lend(stream, io);
    int how = io->finish ? Z_FINISH : io->flush ? Z_SYNC_FLUSH : Z_NO_FLUSH;
    int result = deflate(stream, how);
    squeeze_tell(stream, io);
    squeeze->kept = how == Z_NO_FLUSH ? squeeze->kept + io->used : 0;
    if (result == Z_STREAM_ERROR) return SALLY_ESTATE;
    return io->made == io->room_bytes ? SALLY_FILTERED_MORE : SALLY_FILTERED_ALL;
}

/* deflateBound is for a whole stream in one call; a flush costs a few bytes more. */
static size_t squeeze_max(const void *state, size_t len)
{
    struct squeeze *squeeze = (struct squeeze *)state;
    return deflateBound(&squeeze->out, (uLong)(squeeze->kept + len)) + FLUSH_BYTES;
}

static void squeeze_close(void *state)
{
    struct squeeze *squeeze = state;
    (void)inflateEnd(&squeeze->in);
    (void)deflateEnd(&squeeze->out);
}

static const sally_filter squeeze = {.name = "deflate",
                                     .state_bytes = sizeof(struct squeeze),
                                     .open = squeeze_open,
                                     .close = squeeze_close,
                                     .in = squeeze_in,
                                     .out = squeeze_out,
                                     .out_max = squeeze_max};

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    if (sally_conn_send(conn, data, len)) sally_conn_abort(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    char peer[64];
    if (info->reason == SALLY_CLOSE_FILTER)
        fprintf(stderr, "deflate: %s: %s\n", sally_conn_peer(conn, peer, sizeof peer),
                sally_close_reason_text(info->reason));
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5004";
    sally_server_options options = {.conn = {.filters = &squeeze, .filter_count = 1}};
    sally_handler handler = {.on_data = on_data, .on_close = on_close};
    sally_engine *engine = NULL;
    int err = sally_engine_create(&engine, NULL);
    if (!err) err = sally_listen(engine, address, &handler, &options, NULL);
    if (!err) err = sally_engine_run(engine); /* until SIGINT or SIGTERM */
    sally_engine_destroy(engine);
    if (err) fprintf(stderr, "deflate: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
