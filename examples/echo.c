/* An echo server. What comes in goes out; Ctrl-C lets open connections finish and stops. */
#include <sallyport.h>
#include <stdio.h>

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    sally_conn_send(conn, data, len); /* copies: data is ours only until we return */
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5002";
    sally_engine *engine = NULL;
    int err = sally_engine_create(&engine, NULL); /* a thread for each core, the best port */
    if (!err) err = sally_listen(engine, address, &(sally_handler){.on_data = on_data}, NULL, NULL);
    if (!err) err = sally_engine_run(engine); /* until SIGINT or SIGTERM */
    sally_engine_destroy(engine);
    if (err) fprintf(stderr, "echo: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
