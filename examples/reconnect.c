/* A client that stays connected: it greets whenever its connection is up, prints what comes, says
 * what it does, and connects again until Ctrl-C. */
#include <sallyport/client.h>
#include <stdio.h>

static void on_open(sally_conn *conn) { sally_conn_send(conn, "hello\n", 6); }

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    fwrite(data, 1, len, stdout);
    fflush(stdout);
}

static void on_state(sally_client *client, const sally_client_event *event)
{
    (void)client;
    switch (event->state) {
    case SALLY_CLIENT_CONNECTING: break;
    case SALLY_CLIENT_UP: fprintf(stderr, "up\n"); break;
    case SALLY_CLIENT_WAITING:
        fprintf(stderr, "%s; again in %u ms\n", sally_close_reason_text(event->reason),
                (unsigned)event->wait_ms);
        break;
    case SALLY_CLIENT_ENDED: fprintf(stderr, "ended\n"); break;
    }
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5002";
    sally_engine *engine = NULL;
    sally_handler handler = {.on_open = on_open, .on_data = on_data};
    sally_client_options options = {.delay_max_ms = 5000, .on_state = on_state};
    int err = sally_engine_create(&engine, &(sally_engine_options){.shards = 1});
    if (!err) err = sally_client_create(engine, address, &handler, &options, NULL);
    if (!err) err = sally_engine_run(engine);
    sally_engine_destroy(engine);
    if (err) fprintf(stderr, "reconnect: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
