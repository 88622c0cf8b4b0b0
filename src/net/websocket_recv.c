/* What comes to a WebSocket: the head of its handshake, then frames, put together to messages; see
 * websocket.h. Frames come whole, and have been judged by their heads. */
#include <string.h>

#include "net/budget.h"
#include "net/engine.h"
#include "net/websocket.h"

enum {
    MESSAGE_ROOM_MIN = 256, /* less is not worth an allocation of its own */
    SMALL = 4096,           /* what is unmasked on the stack */
};

/* ---- The handshake, server ---- */

static bool goes_on(const sally_conn *conn, enum ws_phase phase)
{
    return conn->state == CONN_OPEN && ws_conn(conn)->phase == phase;
}

static void accept_upgrade(sally_conn *conn, const sally_http_head *request, const char *protocol)
{
    char memory[512];
    sally_writer writer = sally_writer_over(memory, sizeof memory);
    bool good = (!protocol || ws_offers(request, protocol)) &&
                ws_write_switch(&writer, request, protocol) == 0;
    if (!good)
        ws_refuse(conn, 500);
    else if (conn_send_first(conn, memory, writer.len))
        conn_broken(conn, SALLY_ENOMEM, 0);
    else
        ws_opened(conn);
}

static void on_upgrade(sally_conn *conn, const sally_http_head *request)
{
    const sally_ws_handler *handler = &conn->policy->ws->handler;
    const char *protocol = NULL;
    unsigned status = ws_judge_request(request);
    if (status != 101) {
        ws_refuse(conn, status);
        return;
    }
    ws_conn(conn)->asked = true;
    status = handler->on_request ? handler->on_request(conn, request, &protocol) : 0;
    if (!goes_on(conn, WS_HANDSHAKE)) return;
    if (status == 0)
        accept_upgrade(conn, request, protocol);
    else
        ws_refuse(conn, status >= 400 && status <= 599 ? status : 500);
}

static void on_page(sally_conn *conn, const sally_http_head *request)
{
    struct ws_conn *ws = ws_conn(conn);
    const sally_ws_handler *handler = &conn->policy->ws->handler;
    unsigned status = 0;
    ws->head_only = sally_http_text_is(request->method, "HEAD");
    if (request->has_coding) status = 501;
    if (request->has_length && request->content_length) status = 413;
    if (!status && !handler->on_page) status = 426;
    if (!status) {
        ws->asked = true;
        ws->phase = WS_PAGE;
        if (handler->on_page(conn, request) || !goes_on(conn, WS_PAGE)) return;
        status = 404;
    }
    ws_refuse(conn, status);
}

static void on_request(sally_conn *conn, const void *data, size_t len)
{
    sally_http_head request;
    int err = ws_is_http(data) ? sally_http_read_request(&request, data, len) : SALLY_EMALFORMED;
    if (err)
        conn_refuse_message(conn, err);
    else if (ws_is_asked_for(&request))
        on_upgrade(conn, &request);
    else
        on_page(conn, &request);
}

/* ---- The handshake, client ---- */

static void on_response(sally_conn *conn, const void *data, size_t len)
{
    sally_http_head response;
    const sally_ws *shared = conn->policy->ws;
    struct ws_conn *ws = ws_conn(conn);
    int err = ws_is_http(data) ? sally_http_read_response(&response, data, len) : SALLY_EMALFORMED;
    if (err) {
        conn_refuse_message(conn, err);
        return;
    }
    if (response.status < 200 && response.status != 101) return; /* another follows */
    ws->asked = true;
    if (shared->handler.on_response) shared->handler.on_response(conn, &response);
    if (!goes_on(conn, WS_HANDSHAKE)) return;
    if (ws_judge_response(&response, ws->key, shared->options.protocols)) {
        ws_opened(conn);
    } else if (response.status == 101) {
        conn_refuse_message(conn, SALLY_EMALFORMED);
    } else {
        conn_close(conn, SALLY_CLOSE_CONNECT_FAILED);
        conn->error = SALLY_EREFUSED;
    }
}

/* ---- Messages ---- */

static void deliver(sally_conn *conn, unsigned type, const void *data, size_t len)
{
    const sally_ws_handler *handler = &conn->policy->ws->handler;
    if (handler->on_message) handler->on_message(conn, (sally_ws_type)type, data, len);
}

/* In proportion to what is there, so that each byte is moved a constant number of times. */
static uint32_t room_for(const struct ws_conn *ws, uint32_t len, uint32_t len_max)
{
    uint64_t room = (uint64_t)ws->room * 2;
    if (room < MESSAGE_ROOM_MIN) room = MESSAGE_ROOM_MIN;
    if (room > len_max) room = len_max;
    return room > len ? (uint32_t)room : len;
}

static int append(sally_conn *conn, const void *data, size_t len)
{
    struct ws_conn *ws = ws_conn(conn);
    struct mem *mem = &conn->shard->engine->mem;
    uint32_t end = ws->len + (uint32_t)len;
    if (end > ws->room) {
        uint32_t room = room_for(ws, end, conn->policy->ws->options.message_bytes_max);
        uint32_t kept_max = budget_kept_max(conn);
        if (kept_max && room > kept_max) return SALLY_ENOMEM;
        unsigned char *bytes = mem_alloc(mem, room);
        if (!bytes) return SALLY_ENOMEM;
        if (ws->len) memcpy(bytes, ws->bytes, ws->len);
        mem_free(mem, ws->bytes, ws->room);
        ws->bytes = bytes;
        ws->room = room;
    }
    if (len) memcpy(ws->bytes + ws->len, data, len);
    ws->len = end;
    return 0;
}

/* Taken off before: who takes the message may close the connection. */
static void deliver_collected(sally_conn *conn)
{
    struct ws_conn *ws = ws_conn(conn);
    static const unsigned char none[1];
    unsigned char *bytes = ws->bytes;
    uint32_t len = ws->len, room = ws->room;
    unsigned type = ws->type;
    ws->bytes = NULL;
    ws->len = ws->room = ws->type = 0;
    ws->began_ms = 0;
    deliver(conn, type, bytes ? bytes : none, len);
    mem_free(&conn->shard->engine->mem, bytes, room);
}

static void collect(sally_conn *conn, const struct ws_head *head, const unsigned char *payload)
{
    struct ws_conn *ws = ws_conn(conn);
    if (!ws->began_ms) {
        ws->began_ms = conn->shard->now_ms;
        conn_update_timer(conn); /* it has a limit */
    }
    int err = append(conn, payload, (size_t)head->payload_bytes);
    if (err)
        conn_broken(conn, err, 0);
    else if (head->final)
        deliver_collected(conn);
}

/* 0, or the code to fail with. */
static unsigned judge_data(const sally_conn *conn, const struct ws_head *head,
                           const unsigned char *payload)
{
    struct ws_conn *ws = ws_conn(conn);
    bool begins = head->opcode != WS_CONTINUATION;
    if (begins == (ws->type != 0)) return SALLY_WS_PROTOCOL_ERROR;
    if (head->payload_bytes > conn->policy->ws->options.message_bytes_max - ws->len)
        return SALLY_WS_TOO_LONG;
    if (begins) {
        ws->type = head->opcode;
        ws->utf8 = (struct utf8){0};
    }
    if (ws->type != WS_TEXT) return 0;
    bool good = utf8_feed(&ws->utf8, payload, (size_t)head->payload_bytes);
    if (head->final) good = good && utf8_is_whole(&ws->utf8);
    return good ? 0 : SALLY_WS_NOT_UTF8;
}

static void on_data(sally_conn *conn, const struct ws_head *head, const unsigned char *payload)
{
    struct ws_conn *ws = ws_conn(conn);
    if (ws->phase != WS_OPEN) return; /* it came before the peer knew */
    unsigned code = judge_data(conn, head, payload);
    if (code) {
        ws_fail(conn, code);
        return;
    }
    if (head->opcode == WS_CONTINUATION || !head->final) {
        collect(conn, head, payload);
        return;
    }
    ws->type = 0;
    deliver(conn, head->opcode, payload, (size_t)head->payload_bytes);
}

/* ---- Control frames ---- */

/* A peer that sends pings and does not read the answers is not read any more; where that is
 * switched off its queue ends it. */
static void on_ping(sally_conn *conn, const unsigned char *payload, size_t len)
{
    if (ws_conn(conn)->phase != WS_OPEN) return;
    int err = ws_send_frame(conn, WS_PONG, payload, len);
    if (err == SALLY_EFULL || err == SALLY_ELIMIT)
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_SEND_LIMIT, SALLY_EFULL, 0);
    else if (err == SALLY_ENOMEM)
        conn_broken(conn, err, 0);
}

static void keep_reason(sally_conn *conn, const struct ws_close *close)
{
    struct ws_conn *ws = ws_conn(conn);
    ws_drop_bytes(conn); /* of a message that will not end */
    ws->began_ms = 0;
    ws->told = true;
    ws->code = close->code;
    if (!close->reason_len) return;
    ws->bytes = mem_alloc(&conn->shard->engine->mem, close->reason_len);
    if (!ws->bytes) return; /* then it is not told */
    memcpy(ws->bytes, close->reason, close->reason_len);
    ws->len = ws->room = close->reason_len;
}

static void on_goodbye(sally_conn *conn, const unsigned char *payload, size_t len)
{
    struct ws_close close;
    unsigned code = ws_close_read(&close, payload, len);
    if (code) {
        ws_fail(conn, code);
        return;
    }
    keep_reason(conn, &close);
    if (ws_conn(conn)->phase == WS_OPEN) (void)ws_send_close(conn, close.code, NULL, 0);
    ws_said_goodbye(conn);
}

/* ---- Frames ---- */

/* A payload as it was meant. */
struct payload {
    const unsigned char *bytes;
    unsigned char *block; /* NULL: none was needed */
    size_t block_bytes;
    unsigned char small[SMALL];
};

/* The port's buffers are nobody's to write to (port.h); the framer's and those that were held while
 * reading was paused are ours, and nobody reads them again. */
static bool is_lent(const sally_conn *conn, const unsigned char *at)
{
    const struct lent *lent = &conn->shard->lent;
    const unsigned char *from = lent->data;
    return from && at >= from && at < from + lent->len;
}

/* Masked bytes can't be handed out where they lie: they are unmasked there if they are ours, else
 * in a copy. */
static int unmask(sally_conn *conn, const struct ws_head *head, const unsigned char *from,
                  struct payload *payload)
{
    size_t len = (size_t)head->payload_bytes;
    unsigned char *to = payload->small;
    payload->block = NULL;
    payload->block_bytes = 0;
    payload->bytes = from;
    if (!head->masked || !len) return 0;
    if (!is_lent(conn, from)) {
        to = (unsigned char *)(uintptr_t)from;
    } else if (len > SMALL) {
        to = payload->block = mem_alloc(&conn->shard->engine->mem, len);
        payload->block_bytes = len;
    }
    if (!to) return SALLY_ENOMEM;
    ws_mask(to, from, len, head->mask);
    payload->bytes = to;
    return 0;
}

static void take_frame(sally_conn *conn, const struct ws_head *head, const unsigned char *payload)
{
    if (!ws_is_control(head->opcode))
        on_data(conn, head, payload);
    else if (head->opcode == WS_PING)
        on_ping(conn, payload, (size_t)head->payload_bytes);
    else if (head->opcode == WS_CLOSE)
        on_goodbye(conn, payload, (size_t)head->payload_bytes);
}

static void on_frame(sally_conn *conn, const void *data, size_t len)
{
    struct ws_head head;
    struct payload payload;
    if (ws_is_http(data) || ws_head_read(&head, data, len, !ws_is_client(conn)) != WS_READ) {
        ws_fail(conn, SALLY_WS_PROTOCOL_ERROR);
        return;
    }
    int err = unmask(conn, &head, (const unsigned char *)data + head.head_bytes, &payload);
    if (err) {
        conn_broken(conn, err, 0);
        return;
    }
    take_frame(conn, &head, payload.bytes);
    mem_free(&conn->shard->engine->mem, payload.block, payload.block_bytes);
}

void ws_on_message(sally_conn *conn, const void *data, size_t len)
{
    switch ((enum ws_phase)ws_conn(conn)->phase) {
    case WS_HANDSHAKE: (ws_is_client(conn) ? on_response : on_request)(conn, data, len); return;
    case WS_OPEN:
    case WS_CLOSING: on_frame(conn, data, len); return;
    case WS_PAGE:
    case WS_OVER: return;
    }
}
