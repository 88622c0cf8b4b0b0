/* Sallyport as a program of its users has it: the public interface, every default on, one shard.
 * Callbacks run on the shard. */
#include <sallyport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

static void die(const char *what, int err)
{
    fprintf(stderr, "sallyport: %s: %s\n", what, sally_strerror(err));
    exit(err == SALLY_ENOPORT ? 77 : 1);
}

static void echo_data(sally_conn *conn, const void *data, size_t len)
{
    if (sally_conn_send(conn, data, len)) sally_conn_abort(conn);
}

static sally_engine *engine_make(const char *kind)
{
    sally_engine *engine = NULL;
    sally_engine_options options = {.shards = 1, .leave_signals = true};
    if (kind) options.port = !strcmp(kind, "epoll") ? SALLY_PORT_EPOLL : SALLY_PORT_URING;
    int err = sally_engine_create(&engine, &options);
    if (err) die("create", err);
    return engine;
}

static unsigned port_of(sally_server *server)
{
    char address[64];
    if (!sally_server_address(server, 0, address, sizeof address)) die("address", SALLY_EADDRESS);
    return (unsigned)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

int main(int argc, char **argv)
{
    struct server_options options = server_options_read(argc, argv, SERVER_ECHO);
    sally_engine *engine = engine_make(options.kind);
    sally_server *server = NULL;
    sally_handler handler = {.on_data = echo_data};
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", options.port);
    int err = sally_listen(engine, address, &handler, NULL, &server);
    if (err) die(address, err);
    server_ready(port_of(server));
    err = sally_engine_run(engine);
    if (err) die("run", err);
    sally_engine_destroy(engine);
    return 0;
}
