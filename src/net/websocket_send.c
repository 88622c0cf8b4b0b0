/* What goes out on a WebSocket: frames, and the heads of its handshake; see websocket.h. */
#include <string.h>

#include "filter/http_text.h"
#include "net/buf.h"
#include "net/engine.h"
#include "net/flow.h"
#include "net/websocket.h"

enum { SMALL = 1024, PAGE_HEAD_MAX = 2048 };

/* ---- Frames ---- */

static bool may_be_sent(sally_ws_type type, const void *data, size_t len)
{
    if ((type != SALLY_WS_TEXT && type != SALLY_WS_BINARY) || (!data && len)) return false;
    return type != SALLY_WS_TEXT || utf8_is_valid(data, len);
}

/* A mask that nobody foretells, new for each frame (RFC 6455 section 5.3). Any thread. */
static size_t put_masked(const sally_engine *engine, unsigned char *to, enum ws_opcode opcode,
                         const void *data, size_t len)
{
    const struct host *host = &engine->host;
    uint64_t random = host->random ? host->random(host->ctx) : 0;
    unsigned char mask[WS_MASK_BYTES];
    memcpy(mask, &random, sizeof mask);
    size_t head = ws_head_write(to, true, opcode, len, mask);
    ws_mask(to + head, data, len, mask);
    return head + len;
}

static int send_masked(sally_conn *conn, enum ws_opcode opcode, const void *data, size_t len)
{
    unsigned char small[SMALL + WS_HEAD_MAX], *frame = small;
    struct mem *mem = &conn->shard->engine->mem;
    if (len > conn->policy->send_bytes_max) return SALLY_ELIMIT;
    if (len > SMALL) frame = mem_alloc(mem, len + WS_HEAD_MAX);
    if (!frame) return SALLY_ENOMEM;
    size_t bytes = put_masked(conn->shard->engine, frame, opcode, data, len);
    int err = conn_send_spans(conn, &(struct span){frame, bytes}, 1);
    if (frame != small) mem_free(mem, frame, len + WS_HEAD_MAX);
    return err;
}

int ws_send_frame(sally_conn *conn, enum ws_opcode opcode, const void *data, size_t len)
{
    if (ws_is_client(conn)) return send_masked(conn, opcode, data, len);
    unsigned char head[WS_HEAD_MAX];
    size_t head_bytes = ws_head_write(head, true, opcode, len, NULL);
    const struct span spans[] = {{head, head_bytes}, {data, len}};
    return conn_send_spans(conn, spans, 2);
}

/* 0: it is open. */
static int may_send(const sally_conn *conn)
{
    if (!conn->policy->ws) return SALLY_ENOTSUP;
    return conn->state == CONN_OPEN && ws_takes_frames(conn) ? 0 : SALLY_ECLOSED;
}

int sally_ws_send(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    int err = may_send(conn);
    if (err) return err;
    if (!may_be_sent(type, data, len)) return SALLY_EINVAL;
    return ws_send_frame(conn, (enum ws_opcode)type, data, len);
}

int sally_ws_ping(sally_conn *conn, const void *data, size_t len)
{
    if (!conn_here(conn) || (!data && len) || len > SALLY_WS_PING_MAX) return SALLY_EINVAL;
    int err = may_send(conn);
    return err ? err : ws_send_frame(conn, WS_PING, data, len);
}

/* ---- By id ---- */

static int send_masked_id(sally_engine *engine, sally_id id, sally_ws_type type, const void *data,
                          size_t len)
{
    if (len > engine->options.mailbox_bytes_max) return SALLY_ELIMIT;
    unsigned char *frame = mem_alloc(&engine->mem, len + WS_HEAD_MAX);
    if (!frame) return SALLY_ENOMEM;
    size_t bytes = put_masked(engine, frame, (enum ws_opcode)type, data, len);
    int err = conn_id_send(engine, id, &(struct span){frame, bytes}, 1);
    mem_free(&engine->mem, frame, len + WS_HEAD_MAX);
    return err;
}

int sally_ws_send_id(sally_engine *engine, sally_id id, sally_ws_type type, const void *data,
                     size_t len)
{
    sally_conn *here;
    const struct framing *framing;
    if (!engine || !may_be_sent(type, data, len)) return SALLY_EINVAL;
    int err = conn_id_look(engine, id, &here, &framing);
    if (err) return err;
    if (here) return sally_ws_send(here, type, data, len);
    const sally_ws *ws = ws_of(framing);
    if (!ws) return SALLY_ENOTSUP;
    if (ws->options.client) return send_masked_id(engine, id, type, data, len);
    unsigned char head[WS_HEAD_MAX];
    size_t head_bytes = ws_head_write(head, true, (enum ws_opcode)type, len, NULL);
    const struct span spans[] = {{head, head_bytes}, {data, len}};
    return conn_id_send(engine, id, spans, 2);
}

sally_buf *sally_ws_buf_create(sally_engine *engine, sally_ws_type type, const void *data,
                               size_t len)
{
    unsigned char head[WS_HEAD_MAX];
    if (!engine || !may_be_sent(type, data, len) || len > SIZE_MAX - WS_HEAD_MAX) return NULL;
    size_t head_bytes = ws_head_write(head, true, (enum ws_opcode)type, len, NULL);
    sally_buf *buf = sally_buf_create(engine, head_bytes + len);
    if (!buf) return NULL;
    unsigned char *bytes = sally_buf_data(buf);
    memcpy(bytes, head, head_bytes);
    if (len) memcpy(bytes + head_bytes, data, len);
    return buf;
}

/* ---- Goodbye ---- */

static size_t put_control(const sally_conn *conn, unsigned char *to, enum ws_opcode opcode,
                          const void *data, size_t len)
{
    if (ws_is_client(conn)) return put_masked(conn->shard->engine, to, opcode, data, len);
    size_t head = ws_head_write(to, true, opcode, len, NULL);
    if (len) memcpy(to + head, data, len);
    return head + len;
}

int ws_send_close(sally_conn *conn, unsigned code, const char *reason, size_t reason_len)
{
    unsigned char payload[WS_CONTROL_MAX], frame[WS_HEAD_MAX + WS_CONTROL_MAX];
    size_t len = ws_close_write(payload, code, reason, reason_len);
    size_t bytes = put_control(conn, frame, WS_CLOSE, payload, len);
    int err = flow_make_sure_of_room(conn, bytes);
    if (!err) err = conn_send(conn, frame, bytes);
    if (err) return err;
    ws_conn(conn)->code_sent = (uint16_t)code;
    (void)sally_conn_uncork(conn); /* nothing follows that it could wait for */
    return 0;
}

int sally_ws_close(sally_conn *conn, unsigned code, const char *reason)
{
    size_t reason_len = reason ? strlen(reason) : 0;
    if (!conn_here(conn) || reason_len > SALLY_WS_REASON_MAX) return SALLY_EINVAL;
    if (code ? !ws_close_code_is_valid(code) : reason_len != 0) return SALLY_EINVAL;
    if (!utf8_is_valid(reason, reason_len)) return SALLY_EINVAL;
    int err = may_send(conn);
    if (!err) err = ws_send_close(conn, code ? code : SALLY_WS_NO_CODE, reason, reason_len);
    if (err) return err;
    struct ws_conn *ws = ws_conn(conn);
    ws->phase = WS_CLOSING;
    ws->began_ms = 0;
    ws_drop_bytes(conn);
    ws_await_end(conn);
    return 0;
}

/* ---- HTTP ---- */

int ws_send_request(sally_conn *conn)
{
    char memory[WS_CLIENT_HEAD_MAX], peer[WS_PEER_MAX];
    const struct host *host = &conn->shard->engine->host;
    struct ws_conn *ws = ws_conn(conn);
    for (unsigned i = 0; i < WS_KEY_BYTES; i += sizeof(uint64_t)) {
        uint64_t random = host->random ? host->random(host->ctx) : 0;
        memcpy(ws->key + i, &random, sizeof random);
    }
    struct ws_request request = ws_request_of(&conn->policy->ws->options);
    if (!request.host) request.host = sally_conn_peer(conn, peer, sizeof peer);
    memcpy(request.key, ws->key, sizeof request.key);
    sally_writer writer = sally_writer_over(memory, sizeof memory);
    int err = ws_write_request(&writer, &request);
    return err ? err : conn_send(conn, memory, writer.len);
}

/* Sends it and closes. A program's content goes as it is, behind a head that is written here. */
static int send_page(sally_conn *conn, const sally_http_response *response)
{
    char memory[PAGE_HEAD_MAX];
    struct ws_conn *ws = ws_conn(conn);
    sally_writer writer = sally_writer_over(memory, sizeof memory);
    sally_http_response head = *response;
    head.head_only = head.head_only || ws->head_only;
    bool apart = head.content && !head.head_only && http_has_content(head.status);
    if (apart) head.head_only = true;
    int err = sally_http_write_response(&writer, &head);
    if (err) return err;
    const struct span spans[] = {{memory, writer.len}, {response->content, response->content_len}};
    err = conn_send_spans(conn, spans, apart ? 2 : 1);
    if (err) return err;
    ws->phase = WS_OVER;
    conn_close(conn, SALLY_CLOSE_LOCAL);
    return 0;
}

void ws_refuse(sally_conn *conn, unsigned status)
{
    static const char *const versions[] = {
        "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Connection", "Upgrade", NULL};
    const sally_http_response response = {.status = status,
                                          .fields = status == 426 ? versions : NULL};
    if (send_page(conn, &response)) conn_close(conn, SALLY_CLOSE_LOCAL);
}

int sally_ws_answer(sally_conn *conn, const sally_http_response *response)
{
    if (!conn_here(conn) || !response) return SALLY_EINVAL;
    const struct ws_conn *ws = ws_conn(conn);
    if (!conn->policy->ws) return SALLY_ENOTSUP;
    if (!ws || ws->phase != WS_PAGE) return SALLY_ESTATE;
    return send_page(conn, response);
}
