/* A server that speaks the protocol of the IOCPS library: each package has its length before it
 * (32 bits, lowest byte first) and begins with its type. Five types, one for each form a package
 * can have, and an answer of the same form to each. What is no such package ends the connection. */
#include <sallyport/framing.h>
#include <sallyport/iocps.h>
#include <stdio.h>

enum type {
    TEXT,     /* text: comes back */
    NUMBERED, /* number and text: comes back with the next number */
    KEYS,     /* one to three keys: come back in reverse order */
    PING,     /* nothing: the same */
    DATA,     /* bytes: come back */
};

/* Writes the answer; 0 or what is wrong with the question. */
static int answer(const void *data, size_t len, sally_writer *out)
{
    uint32_t number, keys[SALLY_IOCPS_KEYS_MAX];
    unsigned count;
    const char *text;
    const void *bytes;
    size_t bytes_len;
    int err = SALLY_EMALFORMED;
    switch (sally_iocps_type(data, len)) {
    case TEXT:
        err = sally_iocps_read_text(data, len, &text);
        return err ? err : sally_iocps_write_text(out, TEXT, text);
    case NUMBERED:
        err = sally_iocps_read_number_text(data, len, &number, &text);
        return err ? err : sally_iocps_write_number_text(out, NUMBERED, number + 1, text);
    case KEYS:
        err = sally_iocps_read_keys(data, len, keys, &count);
        if (err) return err;
        uint32_t first = keys[0];
        keys[0] = keys[count - 1];
        keys[count - 1] = first;
        return sally_iocps_write_keys(out, KEYS, keys, count);
    case PING:
        err = sally_iocps_read_type(data, len);
        return err ? err : sally_iocps_write_type(out, PING);
    case DATA:
        err = sally_iocps_read_data(data, len, &bytes, &bytes_len);
        return err ? err : sally_iocps_write_data(out, DATA, bytes, bytes_len);
    }
    return err;
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    unsigned char memory[SALLY_IOCPS_BYTES_MAX];
    sally_writer out = sally_writer_over(memory, sizeof memory);
    if (answer(data, len, &out))
        sally_conn_close(conn);
    else if (sally_conn_send_message(conn, memory, out.len))
        sally_conn_abort(conn);
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5004";
    sally_framing framing = sally_framing_iocps();
    sally_server_options options = {.conn.framing = &framing};
    sally_handler handler = {.on_message = on_message};
    sally_engine *engine = NULL;
    int err = sally_engine_create(&engine, NULL);
    if (!err) err = sally_listen(engine, address, &handler, &options, NULL);
    if (!err) err = sally_engine_run(engine); /* until SIGINT or SIGTERM */
    sally_engine_destroy(engine);
    if (err) fprintf(stderr, "iocps: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
