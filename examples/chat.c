/* A chat for lines: what one writes, everybody else reads. Try it with two of `nc 127.0.0.1 5002`.
 * A line goes out as one buffer that all receivers share; who reads too slowly misses lines. */
#include <sallyport.h>
#include <sallyport/group.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 1000, NAME_BYTES = 24 };

struct guest {
    char name[NAME_BYTES];
    size_t len; /* of the line that has begun */
    char line[LINE_MAX_BYTES];
};

/* "NAME: LINE" to all but `except`. */
static void tell_all(sally_conn *conn, const char *name, const char *line, size_t len)
{
    size_t name_len = strlen(name);
    sally_buf *buf = sally_buf_create(sally_conn_engine(conn), name_len + 2 + len + 1);
    if (!buf) return; /* no memory: this line is lost, the chat goes on */
    char *text = sally_buf_data(buf);
    memcpy(text, name, name_len);
    memcpy(text + name_len, ": ", 2);
    memcpy(text + name_len + 2, line, len);
    text[name_len + 2 + len] = '\n';
    sally_broadcast_options options = {.slow = SALLY_SLOW_SKIP, .except = sally_conn_id(conn)};
    sally_broadcast(sally_conn_server(conn), buf, &options); /* full: lost, as above */
    sally_buf_release(buf); /* whoever still sends it has its own */
}

static void on_line(sally_conn *conn, struct guest *guest, const char *line, size_t len)
{
    if (len > 6 && memcmp(line, "/name ", 6) == 0) {
        snprintf(guest->name, sizeof guest->name, "%.*s", (int)(len - 6), line + 6);
        return;
    }
    tell_all(conn, guest->name, line, len);
}

static void on_open(sally_conn *conn)
{
    struct guest *guest = calloc(1, sizeof *guest);
    sally_conn_set_user(conn, guest);
    if (!guest) {
        sally_conn_abort(conn);
        return;
    }
    static atomic_uint guests; /* shards open connections at the same time */
    snprintf(guest->name, sizeof guest->name, "guest %u", atomic_fetch_add(&guests, 1) + 1);
    tell_all(conn, "*", guest->name, strlen(guest->name));
}

/* Bytes come in any pieces; a line may need many, or be one of many. */
static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct guest *guest = sally_conn_user(conn);
    for (const char *at = data, *end = at + len; at < end; at++) {
        if (*at == '\n') {
            if (guest->len && guest->line[guest->len - 1] == '\r') guest->len--;
            on_line(conn, guest, guest->line, guest->len);
            guest->len = 0;
        } else if (guest->len < LINE_MAX_BYTES) {
            guest->line[guest->len++] = *at;
        } else {
            sally_conn_send(conn, "line too long\n", 14);
            sally_conn_close(conn);
            return;
        }
    }
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    free(sally_conn_user(conn));
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5002";
    sally_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    sally_server_options options = {
        .conn = {.first_byte_ms = SALLY_FOREVER}}; /* to listen is fine */
    sally_engine *engine = NULL;
    int err = sally_engine_create(&engine, NULL);
    if (!err) err = sally_listen(engine, address, &handler, &options, NULL);
    if (!err) err = sally_engine_run(engine);
    sally_engine_destroy(engine);
    if (err) fprintf(stderr, "chat: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
