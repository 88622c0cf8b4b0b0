/* Sallyport: WebSocket (RFC 6455), servers and clients, and small HTTP answers beside it.
 *
 *     static void on_message(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
 *     {
 *         sally_ws_send(conn, type, data, len);
 *     }
 *
 *     sally_ws_handler handler = {.on_message = on_message};
 *     sally_ws *ws;
 *     int err = sally_ws_create(engine, &handler, NULL, &ws);
 *     sally_handler base = sally_ws_base(ws);
 *     sally_framing framing = sally_ws_framing(ws);
 *     sally_server_options options = {.conn.framing = &framing};
 *     if (!err) err = sally_listen(engine, "*:8080", &base, &options, NULL);
 *
 * A WebSocket is a connection of sallyport.h whose handler and framing are sally_ws_base and
 * sally_ws_framing; the program's callbacks are those below. Everything of sallyport.h that does
 * not send goes on working with it: the user pointer, the timer, pausing, ids, limits, groups,
 * close reasons. What is sent by sally_conn_send and the like, files and producers among them, goes
 * out as it is, without a frame: on a WebSocket that is a mistake.
 *
 * Order, server: on_request or on_page when a request has come; then on_open, any of on_message,
 * on_drain, on_timer; on_close once and last. Client: on_response, then the same from on_open on.
 * on_close comes for each connection that came to on_request, on_page or on_response, and for each
 * outgoing one (but not for those attempts of a sally_client that never opened).
 *
 * What it does by itself: answers pings; sends a ping when limits.heartbeat_ms says so; answers a
 * close frame; with sally_conn_close, and when the engine drains, says goodbye with a close frame
 * before FIN; judges each frame and, where it breaks the rules, closes with the code the RFC has
 * for it and the reason SALLY_CLOSE_MALFORMED, or SALLY_CLOSE_MESSAGE_TOO_LONG. Text is judged to
 * be UTF-8 as it comes, both ways. No extension is agreed to, so nothing is compressed.
 *
 * Memory. Between two messages a connection holds 56 bytes more than others with a framing, and
 * nothing else. A frame that lies whole in one receive is unmasked into a copy that lives as long
 * as the callback (a server's, which has no mask, is handed out where it lies). One that doesn't is
 * collected, and so are the parts of a message in several frames; the memory for either grows with
 * what has come, never with what was announced, and is at most twice that and message_bytes_max. It
 * counts for memory_max. message_ms is the time for a whole message, in however many frames, and
 * for the handshake's head; first_byte_ms, idle_ms, send_bytes_max and all other limits are those
 * of sally_conn_options. Answers to pings are bounded as what a program sends: above
 * send_high_bytes the connection is not read, and with no_auto_pause it is aborted
 * (SALLY_CLOSE_SEND_LIMIT) when an answer finds no room. */
#ifndef SALLYPORT_WEBSOCKET_H
#define SALLYPORT_WEBSOCKET_H

#include "sallyport.h"
#include "sallyport/framing.h"
#include "sallyport/http.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct sally_ws sally_ws;

typedef enum sally_ws_type {
    SALLY_WS_TEXT = 1, /* UTF-8 */
    SALLY_WS_BINARY = 2,
} sally_ws_type;

/* Codes of close frames, RFC 6455 section 7.4.1. A program may send 1000 to 1003, 1007 to 1014
 * (those past 1011 were registered with IANA later), 3000 to 4999. */
enum {
    SALLY_WS_NORMAL = 1000,
    SALLY_WS_GOING_AWAY = 1001,
    SALLY_WS_PROTOCOL_ERROR = 1002,
    SALLY_WS_NOT_ACCEPTED = 1003, /* this kind of data */
    SALLY_WS_NO_CODE = 1005,      /* never sent: its close frame has no code */
    SALLY_WS_ABNORMAL = 1006,     /* never sent: no close frame came */
    SALLY_WS_NOT_UTF8 = 1007,
    SALLY_WS_POLICY = 1008,
    SALLY_WS_TOO_LONG = 1009,
    SALLY_WS_INTERNAL_ERROR = 1011,
};

enum { SALLY_WS_REASON_MAX = 123, SALLY_WS_PING_MAX = 125 }; /* bytes */

/* How it ended. */
typedef struct sally_ws_end {
    bool opened;        /* on_open has been called */
    uint16_t code;      /* the peer's; SALLY_WS_NO_CODE, SALLY_WS_ABNORMAL */
    uint16_t code_sent; /* ours; 0: we have sent no close frame */
    const char *reason; /* the peer's, UTF-8, not zero-terminated; NULL: none */
    size_t reason_len;
    const sally_close_info *info; /* of the connection below */
} sally_ws_end;

/* What a program does with its WebSockets. Every member may be NULL. The struct is copied. */
typedef struct sally_ws_handler {
    /* What sally_conn_user gives at first, and what sally_server_user gives. */
    void *user;

    /* As those of sally_handler. */
    sally_verdict (*on_accept)(sally_server *server, const sally_accept_info *info);
    void (*on_sent)(sally_conn *conn, size_t bytes);
    void (*on_drain)(sally_conn *conn);
    void (*on_timer)(sally_conn *conn);
    bool (*on_timeout)(sally_conn *conn, sally_timeout which);
    void (*on_error)(sally_server *server, const sally_server_event *event);

    /* Server: a good upgrade request. 0 accepts it; a status from 400 to 599 refuses it with that.
     * Look at Origin here: a browser lets any page connect anywhere (RFC 6455 section 10.2).
     * `protocol` may be set to one of the subprotocols that the request offers (section 4.2.2; its
     * pointer has to live on after the call; one that was not offered is answered with 500).
     * Without this callback each is accepted, without a subprotocol. Upgrade requests that are no
     * good are answered before: 400, or 426 with Sec-WebSocket-Version: 13. */
    unsigned (*on_request)(sally_conn *conn, const sally_http_head *request, const char **protocol);

    /* Server: a request that asks for no WebSocket; the connection closes after its answer. True:
     * it was answered by sally_ws_answer, or will be; false: 404. Without this callback the answer
     * is 426. Requests with content are answered before, with 413 or 501. */
    bool (*on_page)(sally_conn *conn, const sally_http_head *request);

    /* Client: the server's response, whether it will do or not; then on_open or on_close. */
    void (*on_response)(sally_conn *conn, const sally_http_head *response);

    /* It is a WebSocket; sending is allowed from here on. */
    void (*on_open)(sally_conn *conn);

    /* One whole message, in order; len may be 0. Readable until the callback returns. */
    void (*on_message)(sally_conn *conn, sally_ws_type type, const void *data, size_t len);

    /* It has gone; last. Nothing can be sent from here. */
    void (*on_close)(sally_conn *conn, const sally_ws_end *end);
} sally_ws_handler;

/* Zero is the default everywhere. Texts are copied. Together the client's head has at most 4096
 * bytes. */
typedef struct sally_ws_options {
    uint32_t message_bytes_max; /* of one message's content, in all its frames; 0: 1 MiB; at most
                                    512 MiB */
    bool client;                /* for sally_connect and sally_client_create, else for
                                    sally_listen */
    const char *target;         /* client: what is asked for; NULL: "/" */
    const char *host;           /* client: "example.org:8080"; NULL: the peer's address */
    const char *origin;         /* client; NULL: none */
    const char *protocols;      /* client: subprotocols it offers, "chat, log"; NULL: none */
    const char *const *fields;  /* client: further fields: name, value, ..., NULL; NULL: none */
} sally_ws_options;

/* Makes what connections of one kind share. `options` may be NULL. It lives as long as the engine,
 * which may have 256 of them (SALLY_ELIMIT). SALLY_EINVAL for a limit or a text that can't be,
 * SALLY_ENOMEM. [any] */
SALLY_API int sally_ws_create(sally_engine *engine, const sally_ws_handler *handler,
                              const sally_ws_options *options, sally_ws **ws) SALLY_MUST_USE;

/* To listen or connect with, both together: one without the other is SALLY_EINVAL there, as is a
 * client's for a server. NULL gives an empty one. [any] */
SALLY_API sally_handler sally_ws_base(const sally_ws *ws);
SALLY_API sally_framing sally_ws_framing(const sally_ws *ws);

/* Queues a message as one frame: all or nothing, as sally_conn_send. SALLY_ENOTSUP: no WebSocket;
 * SALLY_ECLOSED before on_open and after a close frame was sent; SALLY_EINVAL for a text that is
 * not UTF-8; otherwise as sally_conn_send. [shard] */
SALLY_API int sally_ws_send(sally_conn *conn, sally_ws_type type, const void *data, size_t len);

/* The same by id, of a connection whose on_open has been called: otherwise, and if a close frame
 * goes out before it, the message is dropped on the connection's shard. SALLY_EINVAL,
 * SALLY_ENOTSUP; otherwise as sally_send. [any] */
SALLY_API int sally_ws_send_id(sally_engine *engine, sally_id id, sally_ws_type type,
                               const void *data, size_t len);

/* A message for many clients: a buffer with a server's frame, for sally_group_send, sally_broadcast
 * (which pass over WebSockets that are not open, and over our own clients, whose frames have to be
 * masked one by one: RFC 6455 section 5.3) and sally_conn_send_buf. NULL without memory, or for
 * what sally_ws_send would refuse. [any] */
SALLY_API sally_buf *sally_ws_buf_create(sally_engine *engine, sally_ws_type type, const void *data,
                                         size_t len);

/* Queues a ping with up to SALLY_WS_PING_MAX bytes, which are copied; more are SALLY_EINVAL. Its
 * answer is not told. Otherwise as sally_ws_send. [shard] */
SALLY_API int sally_ws_ping(sally_conn *conn, const void *data, size_t len);

/* Queues a close frame, after which nothing can be sent, and waits for the peer's, at most
 * linger_ms; messages that come before it are dropped. Then the connection closes. `code` 0: a
 * close frame without one; `reason` may be NULL. The timer of sally_conn_timer is cancelled, and is
 * not the program's any more; a cork is taken off, and a pause ends. Without room: SALLY_EFULL,
 * whatever at_full says, and may be said again in on_drain (what the library says by itself is left
 * out then). SALLY_EINVAL: a code that may not be sent, a reason that is longer than
 * SALLY_WS_REASON_MAX or not UTF-8; SALLY_ECLOSED; otherwise as sally_conn_send. [shard] */
SALLY_API int sally_ws_close(sally_conn *conn, unsigned code, const char *reason);

/* Answers a request of on_page, once; everything is copied; then the connection closes. The answer
 * to a HEAD request is sent without its content. SALLY_ENOTSUP, SALLY_ESTATE: nothing was asked;
 * SALLY_EINVAL, SALLY_EFULL: as sally_http_write_response, its head has room for 2048 bytes;
 * otherwise as sally_conn_send. [shard] */
SALLY_API int sally_ws_answer(sally_conn *conn, const sally_http_response *response);

#if defined(__cplusplus)
}
#endif
#endif
