/* A client: sends a line, prints what comes back, and closes when all of it is there. */
#include <sallyport.h>
#include <stdio.h>

static const char greeting[] = "hello\n";

struct session {
    sally_engine *engine;
    size_t received;
    int err;
};

static void on_open(sally_conn *conn) { sally_conn_send(conn, greeting, sizeof greeting - 1); }

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct session *session = sally_conn_user(conn);
    fwrite(data, 1, len, stdout);
    session->received += len;
    if (session->received >= sizeof greeting - 1) sally_conn_close(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct session *session = sally_conn_user(conn);
    session->err = info->error;
    if (info->reason != SALLY_CLOSE_LOCAL)
        fprintf(stderr, "client: %s\n", sally_close_reason_text(info->reason));
    sally_engine_stop(session->engine); /* run returns */
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5002";
    struct session session = {0};
    sally_handler handler = {
        .user = &session, .on_open = on_open, .on_data = on_data, .on_close = on_close};
    int err = sally_engine_create(&session.engine, &(sally_engine_options){.shards = 1});
    if (!err) err = sally_connect(session.engine, address, &handler, NULL, NULL);
    if (!err) err = sally_engine_run(session.engine);
    sally_engine_destroy(session.engine);
    if (!err) err = session.err;
    if (err) fprintf(stderr, "client: %s: %s\n", address, sally_strerror(err));
    return err != 0 || session.received < sizeof greeting - 1;
}
