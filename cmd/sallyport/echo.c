/* The echo service. Callbacks run on the connection's shard; nothing is shared.
 *
 * There is no on_eof: without it a connection whose peer has finished closes by itself after
 * everything queued has gone out, which is what an echo wants. */
#include "echo.h"

#include <stdio.h>

#include "sallyport/framing.h"

/* Reading pauses by itself long before the send queue is full, so a send that is refused here means
 * that a limit is set wrong or memory is short. An echo with a hole in it would be a lie: the peer
 * gets a reset, and whoever runs the server a line. */
static void refused(sally_conn *conn, size_t len, int err)
{
    if (!err || err == SALLY_ECLOSED) return;
    char peer[64];
    fprintf(stderr, "sallyport: error: %s: the echo of %zu bytes was refused: %s\n",
            sally_conn_peer(conn, peer, sizeof peer), len, sally_strerror(err));
    sally_conn_abort(conn);
}

static void echo_data(sally_conn *conn, const void *data, size_t len)
{
    refused(conn, len, sally_conn_send(conn, data, len));
}

static void echo_message(sally_conn *conn, const void *data, size_t len)
{
    refused(conn, len, sally_conn_send_message(conn, data, len));
}

sally_handler echo_handler(bool messages)
{
    if (messages) return (sally_handler){.on_message = echo_message};
    return (sally_handler){.on_data = echo_data};
}
