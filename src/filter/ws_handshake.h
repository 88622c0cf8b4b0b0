/* The WebSocket opening handshake (RFC 6455 section 4), both sides: heads judged and written. Bytes
 * in, an answer out: no I/O, no memory of its own. Any thread. */
#ifndef FILTER_WS_HANDSHAKE_H
#define FILTER_WS_HANDSHAKE_H

#include <stdbool.h>

#include "sallyport/bytes.h"
#include "sallyport/http.h"

enum {
    WS_KEY_BYTES = 16,    /* a client's, drawn for each connection */
    WS_KEY_CHARS = 24,    /* as it is sent */
    WS_ACCEPT_CHARS = 28, /* the answer to it */
};

/* Whether a request asks for a WebSocket at all. */
bool ws_is_asked_for(const sally_http_head *request);

/* Of one that does: 101, or the status to refuse it with; 426 when it speaks another version. */
unsigned ws_judge_request(const sally_http_head *request);

/* Whether a client has offered this subprotocol; names' case counts. */
bool ws_offers(const sally_http_head *request, const char *protocol);

/* What a server says to a key of WS_KEY_CHARS characters; a zero follows. */
void ws_accept(const char *key, char accept[WS_ACCEPT_CHARS + 1]);

/* The answer to a request that was judged 101; `protocol` NULL: none. The writer's error. */
int ws_write_switch(sally_writer *writer, const sally_http_head *request, const char *protocol);

/* What a client asks for. */
struct ws_request {
    const char *host;
    const char *target;
    const char *origin;              /* NULL: none; so with the next two */
    const char *protocols;           /* with commas */
    const char *const *fields;       /* more: name, value, ..., NULL */
    unsigned char key[WS_KEY_BYTES]; /* random */
};

int ws_write_request(sally_writer *writer, const struct ws_request *request);

/* Whether a response to it is the switch to a WebSocket that was asked for (section 4.1). */
bool ws_judge_response(const sally_http_head *response, const unsigned char key[WS_KEY_BYTES],
                       const char *protocols);

#endif
