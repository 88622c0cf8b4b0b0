/* A chat in a browser: the page at /, and at /ws the WebSocket behind it. What one writes,
 * everybody reads, the writer too. Open http://127.0.0.1:8080/ in two windows. */
#include <sallyport/group.h>
#include <sallyport/websocket.h>
#include <stdio.h>
#include <string.h>

static const char page[] =
    "<!doctype html><meta charset=utf-8><title>Sallyport chat</title>\n"
    "<form id=form><input id=line autofocus size=60><button>Send</button></form>\n"
    "<pre id=log></pre>\n"
    "<script>\n"
    "const log = text => document.getElementById('log').textContent += text + '\\n';\n"
    "const socket = new WebSocket('ws://' + location.host + '/ws', 'chat');\n"
    "socket.onopen = () => { log('* open'); socket.send('hello from the page'); };\n"
    "socket.onmessage = event => log(event.data);\n"
    "socket.onclose = event => log('* closed: ' + event.code + ' ' + event.reason);\n"
    "document.getElementById('form').onsubmit = event => {\n"
    "    event.preventDefault();\n"
    "    socket.send(line.value);\n"
    "    line.value = '';\n"
    "};\n"
    "</script>\n";

static bool on_page(sally_conn *conn, const sally_http_head *request)
{
    static const char *const fields[] = {"Cache-Control", "no-store", NULL};
    sally_http_response answer = {.status = 200,
                                  .content_type = "text/html; charset=utf-8",
                                  .content = page,
                                  .content_len = sizeof page - 1,
                                  .fields = fields};
    if (!sally_http_text_is(sally_http_path(request), "/")) return false; /* 404 */
    if (!sally_http_text_is(request->method, "GET") && !sally_http_text_is(request->method, "HEAD"))
        answer = (sally_http_response){.status = 405};
    return sally_ws_answer(conn, &answer) == 0;
}

/* A page of another site may not talk here in its visitor's name: what a browser says is its
 * Origin has to be the host that it asks. Others say none. */
static bool is_ours(const sally_http_head *request)
{
    const sally_http_field *origin = sally_http_find(request, "Origin");
    const sally_http_field *host = sally_http_find(request, "Host");
    const size_t scheme = strlen("http://");
    if (!origin) return true;
    return origin->value.len == scheme + host->value.len &&
           memcmp(origin->value.at, "http://", scheme) == 0 &&
           memcmp(origin->value.at + scheme, host->value.at, host->value.len) == 0;
}

static unsigned on_request(sally_conn *conn, const sally_http_head *request, const char **protocol)
{
    (void)conn;
    if (!sally_http_text_is(sally_http_path(request), "/ws")) return 404;
    if (!is_ours(request)) return 403;
    if (sally_http_has_token(request, "Sec-WebSocket-Protocol", "chat")) *protocol = "chat";
    return 0;
}

static void on_open(sally_conn *conn)
{
    sally_group *everybody = sally_conn_user(conn);
    if (sally_group_join(everybody, sally_conn_id(conn)))
        sally_ws_close(conn, SALLY_WS_INTERNAL_ERROR, "no room");
}

static void on_message(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    sally_group *everybody = sally_conn_user(conn);
    sally_buf *frame = sally_ws_buf_create(sally_conn_engine(conn), type, data, len);
    if (!frame) return;                       /* no memory: this line is lost, the chat goes on */
    sally_group_send(everybody, frame, NULL); /* who reads too slowly misses it */
    sally_buf_release(frame);
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:8080";
    sally_engine *engine = NULL;
    sally_group *everybody = NULL;
    sally_ws *ws = NULL;
    int err = sally_engine_create(&engine, NULL);
    if (!err) err = sally_group_create(&everybody, engine);
    sally_ws_handler handler = {.user = everybody,
                                .on_page = on_page,
                                .on_request = on_request,
                                .on_open = on_open,
                                .on_message = on_message};
    sally_ws_options limits = {.message_bytes_max = 64 * 1024};
    if (!err) err = sally_ws_create(engine, &handler, &limits, &ws);
    sally_handler base = sally_ws_base(ws);
    sally_framing framing = sally_ws_framing(ws);
    sally_server_options options = {
        .conn = {.framing = &framing, .limits = {.heartbeat_ms = 30000}}};
    if (!err) err = sally_listen(engine, address, &base, &options, NULL);
    if (!err) err = sally_engine_run(engine); /* until SIGINT or SIGTERM */
    sally_engine_destroy(engine);
    if (err) fprintf(stderr, "websocket: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
