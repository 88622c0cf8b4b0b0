/* Whole messages instead of bytes: each has its length before it (32 bits, highest byte first) and
 * holds an operation (1: count, 2: reverse) and a string. The answer is a message, too. A peer that
 * sends anything else is told goodbye, and nobody else notices. */
#include <sallyport/bytes.h>
#include <sallyport/framing.h>
#include <stdio.h>

enum { COUNT = 1, REVERSE = 2, TEXT_MAX = 1000 };

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    unsigned char memory[TEXT_MAX + 16];
    sally_reader in = sally_reader_over(data, len);
    sally_writer out = sally_writer_over(memory, sizeof memory);
    size_t text_len;
    unsigned op = sally_read_u8(&in);
    const char *text = sally_read_string(&in, &text_len);
    int err = sally_reader_finish(&in); /* also when something above was not there */
    if (err || text_len > TEXT_MAX || (op != COUNT && op != REVERSE)) {
        sally_conn_close(conn);
        return;
    }
    sally_write_u8(&out, (uint8_t)op);
    if (op == COUNT) sally_write_u64_be(&out, text_len);
    while (op == REVERSE && text_len) sally_write_u8(&out, (uint8_t)text[--text_len]);
    if (out.error || sally_conn_send_message(conn, memory, out.len)) sally_conn_abort(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    char peer[64];
    if (info->reason == SALLY_CLOSE_MALFORMED || info->reason == SALLY_CLOSE_MESSAGE_TOO_LONG)
        fprintf(stderr, "messages: %s: %s\n", sally_conn_peer(conn, peer, sizeof peer),
                sally_close_reason_text(info->reason));
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5003";
    sally_framing framing = {.kind = SALLY_FRAMING_LENGTH, .message_bytes_max = 2 * TEXT_MAX};
    sally_server_options options = {.conn.framing = &framing};
    sally_handler handler = {.on_message = on_message, .on_close = on_close};
    sally_engine *engine = NULL;
    int err = sally_engine_create(&engine, NULL);
    if (!err) err = sally_listen(engine, address, &handler, &options, NULL);
    if (!err) err = sally_engine_run(engine); /* until SIGINT or SIGTERM */
    sally_engine_destroy(engine);
    if (err) fprintf(stderr, "messages: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
