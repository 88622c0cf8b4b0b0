/* What WebSockets of one kind share, and how one begins and ends; see websocket.h. */
#include "net/websocket.h"

#include <string.h>

#include "filter/framing.h"
#include "net/engine.h"
#include "net/flow.h"
#include "net/group.h"

/* ---- What they share ---- */

static sally_decoded ws__decode(void *user, const void *data, size_t len,
                                sally_decoded_frame *frame)
{
    const sally_ws *ws = user;
    return ws_decode(!ws->options.client, ws->options.message_bytes_max, data, len, frame);
}

static unsigned fields_count(const char *const *fields)
{
    unsigned count = 0;
    while (fields && fields[count]) count++;
    return count;
}

/* Where a copy begins, or NULL for none; `at` moves behind it. */
static const char *keep_text(char **at, const char *text)
{
    if (!text) return NULL;
    char *kept = *at;
    size_t bytes = strlen(text) + 1;
    memcpy(kept, text, bytes);
    *at += bytes;
    return kept;
}

static size_t text_bytes(const char *text) { return text ? strlen(text) + 1 : 0; }

static size_t texts_bytes(const sally_ws_options *options)
{
    size_t bytes = text_bytes(options->target) + text_bytes(options->host) +
                   text_bytes(options->origin) + text_bytes(options->protocols);
    unsigned count = fields_count(options->fields);
    for (unsigned i = 0; i < count; i++) bytes += text_bytes(options->fields[i]);
    return bytes + (count + 1) * sizeof(char *);
}

static void keep_texts(sally_ws *ws)
{
    unsigned count = fields_count(ws->options.fields);
    char *at = (char *)(ws->fields + count + 1);
    ws->options.target = keep_text(&at, ws->options.target);
    ws->options.host = keep_text(&at, ws->options.host);
    ws->options.origin = keep_text(&at, ws->options.origin);
    ws->options.protocols = keep_text(&at, ws->options.protocols);
    for (unsigned i = 0; i < count; i++) ws->fields[i] = keep_text(&at, ws->options.fields[i]);
    ws->fields[count] = NULL;
    ws->options.fields = ws->fields;
}

struct ws_request ws_request_of(const sally_ws_options *options)
{
    return (struct ws_request){.host = options->host,
                               .target = options->target ? options->target : "/",
                               .origin = options->origin,
                               .protocols = options->protocols,
                               .fields = options->fields};
}

/* Written once, to see whether it can be. */
static int judge_options(const sally_ws_options *options)
{
    char memory[WS_CLIENT_HEAD_MAX];
    if (options->message_bytes_max > WS_MESSAGE_MAX) return SALLY_EINVAL;
    if (fields_count(options->fields) % 2) return SALLY_EINVAL;
    sally_writer writer = sally_writer_over(memory, sizeof memory - WS_PEER_MAX);
    struct ws_request request = ws_request_of(options);
    if (!request.host) request.host = ""; /* the peer's address, for which there is room */
    return ws_write_request(&writer, &request) ? SALLY_EINVAL : 0;
}

static int websockets_put(sally_engine *engine, sally_ws *ws)
{
    int err = SALLY_ELIMIT;
    os_lock_take(&engine->lock);
    if (engine->websocket_count < WEBSOCKETS_MAX) {
        engine->websocket_count++;
        ws->next = engine->websockets;
        engine->websockets = ws;
        err = 0;
    }
    os_lock_give(&engine->lock);
    return err;
}

int sally_ws_create(sally_engine *engine, const sally_ws_handler *handler,
                    const sally_ws_options *options, sally_ws **out)
{
    static const sally_ws_options none;
    if (!options) options = &none;
    if (!engine || !handler || !out || judge_options(options)) return SALLY_EINVAL;
    size_t bytes = sizeof(sally_ws) + texts_bytes(options);
    sally_ws *ws = mem_zalloc(&engine->mem, bytes);
    if (!ws) return SALLY_ENOMEM;
    ws->handler = *handler;
    ws->options = *options;
    ws->bytes = bytes;
    if (!ws->options.message_bytes_max) ws->options.message_bytes_max = FRAMING_BYTES_MAX;
    keep_texts(ws);
    int err = websockets_put(engine, ws);
    if (err)
        mem_free(&engine->mem, ws, bytes);
    else
        *out = ws;
    return err;
}

void websockets_free(sally_engine *engine)
{
    for (sally_ws *ws = engine->websockets, *next; ws; ws = next) {
        next = ws->next;
        mem_free(&engine->mem, ws, ws->bytes);
    }
    engine->websockets = NULL;
}

sally_framing sally_ws_framing(const sally_ws *ws)
{
    if (!ws) return (sally_framing){0};
    uint32_t most = ws->options.message_bytes_max;
    if (most < SALLY_HTTP_HEAD_MAX) most = SALLY_HTTP_HEAD_MAX;
    return (sally_framing){.kind = SALLY_FRAMING_CUSTOM,
                           .message_bytes_max = most + WS_HEAD_MAX,
                           .decode = ws__decode,
                           .user = (void *)ws};
}

const sally_ws *ws_of(const struct framing *framing)
{
    return framing && framing->decode == ws__decode ? framing->user : NULL;
}

int ws_match(const struct framing *framing, const sally_handler *handler, bool client,
             const sally_ws **out)
{
    const sally_ws *ws = ws_of(framing);
    *out = ws;
    if ((ws != NULL) != (handler->on_message == ws_on_message)) return SALLY_EINVAL;
    return ws && ws->options.client != client ? SALLY_EINVAL : 0;
}

/* ---- One connection ---- */

bool ws_is_client(const sally_conn *conn) { return conn->policy->ws->options.client; }

struct ws_conn *ws_conn(const sally_conn *conn)
{
    if (!conn->policy->ws || conn->state == CONN_DIALING || !conn->extra) return NULL;
    return (struct ws_conn *)(void *)((char *)conn->extra + conn_extra_own_bytes(conn));
}

bool ws_takes_frames(const sally_conn *conn)
{
    const struct ws_conn *ws = ws_conn(conn);
    return ws && ws->phase == WS_OPEN;
}

bool ws_takes_casts(const sally_conn *conn) { return ws_takes_frames(conn) && !ws_is_client(conn); }

uint64_t ws_began_ms(const sally_conn *conn)
{
    const struct ws_conn *ws = ws_conn(conn);
    return ws ? ws->began_ms : 0;
}

void ws_restart(sally_conn *conn)
{
    struct ws_conn *ws = ws_conn(conn);
    if (ws && ws->began_ms) ws->began_ms = conn->shard->now_ms;
}

void ws_waited(sally_conn *conn, uint64_t waited_ms)
{
    struct ws_conn *ws = ws_conn(conn);
    if (ws && ws->began_ms) ws->began_ms += waited_ms;
}

uint32_t ws_holds(const sally_conn *conn)
{
    const struct ws_conn *ws = ws_conn(conn);
    return ws ? ws->room : 0;
}

void ws_drop_bytes(sally_conn *conn)
{
    struct ws_conn *ws = ws_conn(conn);
    mem_free(&conn->shard->engine->mem, ws->bytes, ws->room);
    ws->bytes = NULL;
    ws->len = ws->room = 0;
    ws->type = 0;
    if (conn_has(conn, CONN_FLOW)) flow_queued(conn); /* less is */
}

/* ---- Begin ---- */

static void ws__on_open(sally_conn *conn)
{
    if (!conn_extra(conn)) {
        conn_broken(conn, SALLY_ENOMEM, 0);
        return;
    }
    if (!ws_is_client(conn)) return;
    ws_conn(conn)->began_ms = conn->shard->now_ms;
    int err = ws_send_request(conn);
    if (err) conn_broken(conn, err, 0);
}

void ws_opened(sally_conn *conn)
{
    struct ws_conn *ws = ws_conn(conn);
    const sally_ws_handler *handler = &conn->policy->ws->handler;
    ws->phase = WS_OPEN;
    ws->opened = ws->asked = true;
    ws->began_ms = 0;
    if (handler->on_open) handler->on_open(conn);
}

/* ---- End ---- */

void ws_fail(sally_conn *conn, unsigned code)
{
    ws_conn(conn)->code_due = (uint16_t)code;
    conn_refuse_message(conn, code == SALLY_WS_TOO_LONG ? SALLY_ELIMIT : SALLY_EMALFORMED);
}

/* For a close that nobody has given a code: 0, the peer would not hear it. */
static unsigned code_of(sally_close_reason reason)
{
    switch (reason) {
    case SALLY_CLOSE_LOCAL: return SALLY_WS_NORMAL;
    case SALLY_CLOSE_SHUTDOWN:
    case SALLY_CLOSE_MAX_AGE: return SALLY_WS_GOING_AWAY;
    case SALLY_CLOSE_MALFORMED: return SALLY_WS_PROTOCOL_ERROR;
    case SALLY_CLOSE_MESSAGE_TOO_LONG: return SALLY_WS_TOO_LONG;
    default: return 0;
    }
}

/* A head that can't be read gets an answer, too. */
static void refuse_head(sally_conn *conn, sally_close_reason reason)
{
    if (ws_is_client(conn)) return;
    if (reason == SALLY_CLOSE_MALFORMED) ws_refuse(conn, 400);
    if (reason == SALLY_CLOSE_MESSAGE_TOO_LONG) ws_refuse(conn, 431);
}

void ws_closing(sally_conn *conn, sally_close_reason reason)
{
    struct ws_conn *ws = ws_conn(conn);
    if (!ws) return;
    uint8_t phase = ws->phase;
    unsigned code = ws->code_due ? ws->code_due : code_of(reason);
    ws->phase = WS_OVER;
    ws->began_ms = 0;
    if (!ws->told) ws_drop_bytes(conn);
    if (phase == WS_HANDSHAKE) refuse_head(conn, reason);
    if (phase == WS_OPEN && code) (void)ws_send_close(conn, code, NULL, 0); /* no room: none */
}

/* The server ends the connection, so that the wait for lost packets (TIME_WAIT) is its own, and the
 * client waits for that (RFC 6455 section 7.1.1). */
void ws_said_goodbye(sally_conn *conn)
{
    struct ws_conn *ws = ws_conn(conn);
    bool we_began = ws->phase == WS_CLOSING;
    ws->phase = WS_OVER;
    if (ws_is_client(conn))
        ws_await_end(conn);
    else
        conn_close(conn, we_began ? SALLY_CLOSE_LOCAL : SALLY_CLOSE_PEER_CLOSED);
}

void ws_await_end(sally_conn *conn)
{
    uint64_t linger_ms = conn->policy->linger_ms;
    (void)sally_conn_resume(conn); /* what it waits for can't come unread */
    (void)sally_conn_timer(conn, linger_ms < SALLY_FOREVER ? (uint32_t)linger_ms : 0);
}

static void ws__on_timer(sally_conn *conn)
{
    const struct ws_conn *ws = ws_conn(conn);
    const sally_ws_handler *handler = &conn->policy->ws->handler;
    if (ws && ws->phase >= WS_CLOSING)
        conn_end(conn, PORT_CLOSE_FIN, SALLY_CLOSE_LINGER_TIMEOUT, SALLY_ETIMEDOUT, 0);
    else if (handler->on_timer)
        handler->on_timer(conn);
}

static void ws__on_heartbeat(sally_conn *conn)
{
    if (ws_takes_frames(conn)) (void)ws_send_frame(conn, WS_PING, NULL, 0); /* there is another */
}

static void ws__on_close(sally_conn *conn, const sally_close_info *info)
{
    const sally_ws_handler *handler = &conn->policy->ws->handler;
    const struct ws_conn *ws = ws_conn(conn);
    sally_ws_end end = {.code = SALLY_WS_ABNORMAL, .info = info};
    if (ws) {
        end.opened = ws->opened;
        end.code_sent = ws->code_sent;
        if (ws->told) end.code = ws->code;
        if (ws->told && ws->len) end.reason = (const char *)ws->bytes;
        if (end.reason) end.reason_len = ws->len;
    }
    bool known = ws_is_client(conn) || (ws && ws->asked);
    if (known && handler->on_close) handler->on_close(conn, &end);
    if (ws) ws_drop_bytes(conn);
}

/* ---- The handler below ---- */

sally_handler sally_ws_base(const sally_ws *ws)
{
    if (!ws) return (sally_handler){0};
    return (sally_handler){
        .user = ws->handler.user,
        .on_accept = ws->handler.on_accept,
        .on_open = ws__on_open,
        .on_message = ws_on_message,
        .on_sent = ws->handler.on_sent,
        .on_drain = ws->handler.on_drain,
        .on_timer = ws__on_timer,
        .on_timeout = ws->handler.on_timeout,
        .on_heartbeat = ws__on_heartbeat,
        .on_close = ws__on_close,
        .on_error = ws->handler.on_error,
    };
}
