/* WebSockets on connections: what a connection remembers of its handshake and its messages, and the
 * few places where the rest of net has to know of it. filter/ws_*.h has the bytes.
 *
 * Files: websocket.c what connections share, open and end; websocket_recv.c what comes;
 * websocket_send.c what goes. All of it belongs to the connection's shard but for sally_ws, which
 * is read-only once it is made. */
#ifndef NET_WEBSOCKET_H
#define NET_WEBSOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "filter/utf8.h"
#include "filter/ws_frame.h"
#include "filter/ws_handshake.h"
#include "net/conn.h"
#include "sallyport/websocket.h"

enum {
    WEBSOCKETS_MAX = 256,
    WS_MESSAGE_MAX = 512 << 20,
    WS_CLIENT_HEAD_MAX = 4096,
    WS_PEER_MAX = 128
};

struct sally_ws {
    struct sally_ws *next; /* the engine's list, under its lock */
    sally_ws_handler handler;
    sally_ws_options options; /* texts point behind the struct */
    size_t bytes;             /* of this allocation */
    const char *fields[];     /* options.fields, and behind them the texts */
};

enum ws_phase {
    WS_HANDSHAKE, /* zero: the head is waited for */
    WS_PAGE,      /* no WebSocket: its answer is being made */
    WS_OPEN,
    WS_CLOSING, /* our close frame is sent, the peer's is waited for */
    WS_OVER,    /* nothing is said any more, nothing is heard */
};

/* Behind a connection's extra. */
struct ws_conn {
    unsigned char *bytes; /* of a message in several frames; at last the peer's reason */
    uint32_t len;
    uint32_t room;
    uint64_t began_ms; /* of a handshake or message that has to end; 0: there is none */
    unsigned char key[WS_KEY_BYTES]; /* client: until the handshake is over */
    struct utf8 utf8;
    uint8_t phase;
    uint8_t type;   /* of the message that has begun; 0: none */
    bool opened;    /* on_open has been called */
    bool asked;     /* a callback has been called: on_close will be */
    bool head_only; /* HEAD was asked for: no answer has its content */
    bool told;      /* the peer's close frame came, its code is below */
    uint16_t code;
    uint16_t code_sent; /* 0: no close frame was */
    uint16_t code_due;  /* what to close with; 0: the reason says */
};

_Static_assert(sizeof(struct ws_conn) <= 56, "a WebSocket that is idle has one");

/* NULL for a connection that is none, or has nothing yet. */
struct ws_conn *ws_conn(const sally_conn *conn);

/* ---- For the rest of net ---- */

/* Whose framing this is; NULL: nobody's, it is of another kind. Any thread. */
const sally_ws *ws_of(const struct framing *framing);

/* The same, and whether handler and side belong to it, else SALLY_EINVAL. */
int ws_match(const struct framing *framing, const sally_handler *handler, bool client,
             const sally_ws **ws);

/* Frames that come by letter may go out: it is open, and no close frame was sent. */
bool ws_takes_frames(const sally_conn *conn);

/* The same of a broadcast or a group send, whose frames have no mask: no client says them. */
bool ws_takes_casts(const sally_conn *conn);

/* Before it closes gently: the close frame, or the answer to a bad request. */
void ws_closing(sally_conn *conn, sally_close_reason reason);

/* Since when a message or a handshake has begun, 0: none has. And as if it had just begun. */
uint64_t ws_began_ms(const sally_conn *conn);
void ws_restart(sally_conn *conn);
/* And as if it had begun so much later. */
void ws_waited(sally_conn *conn, uint64_t waited_ms);

/* Bytes of the message that has begun. */
uint32_t ws_holds(const sally_conn *conn);

void websockets_free(sally_engine *engine);

/* ---- websocket.c ---- */

/* What a client asks for, but for its key; the host is NULL where that is the peer's address. */
struct ws_request ws_request_of(const sally_ws_options *options);
void ws_opened(sally_conn *conn);
bool ws_is_client(const sally_conn *conn);
/* The peer has broken a rule: a close frame with this code, then it closes; the peer's answer is
 * not waited for (RFC 6455 section 7.1.7). */
void ws_fail(sally_conn *conn, unsigned code);
void ws_drop_bytes(sally_conn *conn);
/* Both sides have said goodbye, or the peer has and ours found no room. */
void ws_said_goodbye(sally_conn *conn);
/* The peer's part of the end has a limit. */
void ws_await_end(sally_conn *conn);

/* ---- websocket_recv.c ---- */
void ws_on_message(sally_conn *conn, const void *data, size_t len);

/* ---- websocket_send.c ---- */
int ws_send_frame(sally_conn *conn, enum ws_opcode opcode, const void *data, size_t len);
int ws_send_close(sally_conn *conn, unsigned code, const char *reason, size_t reason_len);
int ws_send_request(sally_conn *conn);
/* A short answer of a status; then it closes. */
void ws_refuse(sally_conn *conn, unsigned status);

#endif
