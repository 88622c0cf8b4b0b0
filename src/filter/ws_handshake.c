/* See ws_handshake.h. */
#include "filter/ws_handshake.h"

#include <string.h>

#include "base/ascii.h"
#include "filter/base64.h"
#include "filter/http_text.h"
#include "filter/sha1.h"

/* ---- The key ---- */

/* 16 bytes in base64: 22 characters and the padding. */
static bool is_key(sally_http_text text)
{
    if (text.len != WS_KEY_CHARS || memcmp(text.at + WS_KEY_CHARS - 2, "==", 2) != 0) return false;
    for (unsigned i = 0; i < WS_KEY_CHARS - 2; i++) {
        char c = text.at[i];
        if (!ascii_is_letter(c) && !ascii_is_digit(c) && c != '+' && c != '/') return false;
    }
    return true;
}

void ws_accept(const char *key, char accept[WS_ACCEPT_CHARS + 1])
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* section 1.3 */
    char text[WS_KEY_CHARS + sizeof magic - 1];
    unsigned char digest[SHA1_BYTES];
    memcpy(text, key, WS_KEY_CHARS);
    memcpy(text + WS_KEY_CHARS, magic, sizeof magic - 1);
    sha1(text, sizeof text, digest);
    size_t chars = base64_encode(accept, digest, sizeof digest);
    accept[chars] = '\0';
}

/* The value of a field that has to be there once. */
static const sally_http_field *find_only(const sally_http_head *head, const char *name)
{
    return sally_http_count(head, name) == 1 ? sally_http_find(head, name) : NULL;
}

/* ---- Server ---- */

bool ws_is_asked_for(const sally_http_head *request)
{
    return sally_http_has_token(request, "Upgrade", "websocket");
}

unsigned ws_judge_request(const sally_http_head *request)
{
    const sally_http_field *key = find_only(request, "Sec-WebSocket-Key");
    const sally_http_field *version = find_only(request, "Sec-WebSocket-Version");
    bool content = request->has_coding || (request->has_length && request->content_length);
    if (!sally_http_text_is(request->method, "GET") || request->minor_version == 0) return 400;
    if (!sally_http_has_token(request, "Connection", "upgrade") || content) return 400;
    if (!version) return 400;
    if (!sally_http_text_is(version->value, "13")) return 426;
    return key && is_key(key->value) ? 101 : 400;
}

bool ws_offers(const sally_http_head *request, const char *protocol)
{
    const char *name = "Sec-WebSocket-Protocol";
    for (unsigned i = 0; i < request->field_count; i++)
        if (http_text_is_like(request->fields[i].name, name) &&
            http_list_has(request->fields[i].value, http_text_of(protocol), true))
            return true;
    return false;
}

int ws_write_switch(sally_writer *writer, const sally_http_head *request, const char *protocol)
{
    char accept[WS_ACCEPT_CHARS + 1];
    ws_accept(sally_http_find(request, "Sec-WebSocket-Key")->value.at, accept);
    sally_http_write_status_line(writer, 101);
    sally_http_write_field(writer, "Upgrade", "websocket");
    sally_http_write_field(writer, "Connection", "Upgrade");
    sally_http_write_field(writer, "Sec-WebSocket-Accept", accept);
    if (protocol) sally_http_write_field(writer, "Sec-WebSocket-Protocol", protocol);
    sally_http_write_end(writer);
    return writer->error;
}

/* ---- Client ---- */

static void key_text(const unsigned char key[WS_KEY_BYTES], char text[WS_KEY_CHARS + 1])
{
    size_t chars = base64_encode(text, key, WS_KEY_BYTES);
    text[chars] = '\0';
}

int ws_write_request(sally_writer *writer, const struct ws_request *request)
{
    char key[WS_KEY_CHARS + 1];
    key_text(request->key, key);
    sally_http_write_request_line(writer, "GET", request->target);
    sally_http_write_field(writer, "Host", request->host);
    sally_http_write_field(writer, "Upgrade", "websocket");
    sally_http_write_field(writer, "Connection", "Upgrade");
    sally_http_write_field(writer, "Sec-WebSocket-Key", key);
    sally_http_write_field(writer, "Sec-WebSocket-Version", "13");
    if (request->origin) sally_http_write_field(writer, "Origin", request->origin);
    if (request->protocols)
        sally_http_write_field(writer, "Sec-WebSocket-Protocol", request->protocols);
    for (const char *const *at = request->fields; at && at[0]; at += 2)
        sally_http_write_field(writer, at[0], at[1]);
    sally_http_write_end(writer);
    return writer->error;
}

/* One of those that were offered, or none. */
static bool protocol_is_good(const sally_http_head *response, const char *protocols)
{
    unsigned count = sally_http_count(response, "Sec-WebSocket-Protocol");
    if (count == 0) return true;
    if (count > 1 || !protocols) return false;
    sally_http_text chosen = sally_http_find(response, "Sec-WebSocket-Protocol")->value;
    return http_list_has(http_text_of(protocols), chosen, true);
}

bool ws_judge_response(const sally_http_head *response, const unsigned char key[WS_KEY_BYTES],
                       const char *protocols)
{
    char text[WS_KEY_CHARS + 1], accept[WS_ACCEPT_CHARS + 1];
    key_text(key, text);
    ws_accept(text, accept);
    const sally_http_field *upgrade = find_only(response, "Upgrade");
    const sally_http_field *told = find_only(response, "Sec-WebSocket-Accept");
    return response->status == 101 && upgrade &&
           sally_http_has_token(response, "Upgrade", "websocket") &&
           sally_http_has_token(response, "Connection", "upgrade") && told &&
           sally_http_text_is(told->value, accept) &&
           !sally_http_find(response, "Sec-WebSocket-Extensions") &&
           protocol_is_good(response, protocols);
}
