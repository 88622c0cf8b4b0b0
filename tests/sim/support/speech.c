/* See speech.h. */
#include "sim/support/speech.h"

#include <string.h>

#include "filter/ws_frame.h"
#include "filter/ws_handshake.h"
#include "sallyport/http.h"
#include "sim/support/mixture.h"

#define REQUEST                                                                                    \
    "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                   \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

void speech_begin(struct speech *speech, bool frames, bool masked)
{
    *speech = (struct speech){.frames = frames, .masked = masked};
}

/* ---- Out ---- */

/* True when nothing waits any more. */
static bool write_on(struct speech *speech, sally_sim_peer *peer)
{
    size_t took = speech->len ? sally_sim_peer_write(peer, speech->waits, speech->len) : 0;
    speech->len -= took;
    memmove(speech->waits, speech->waits + took, speech->len);
    return speech->len == 0;
}

static void put(struct speech *speech, const void *bytes, size_t len)
{
    HOLDS(len <= sizeof speech->waits - speech->len);
    memcpy(speech->waits + speech->len, bytes, len);
    speech->len += len;
}

void speech_words(struct speech *speech, sally_sim_peer *peer, const void *words, size_t len)
{
    put(speech, words, len);
    (void)write_on(speech, peer);
}

/* ---- The stream ---- */

static void stream_bytes(struct speech *speech, unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) bytes[i] = stream_byte(speech->said + i);
}

static void say_plain(struct speech *speech, sally_sim_peer *peer)
{
    unsigned char bytes[SPEECH_PAYLOAD_MAX * 4];
    size_t len = 1 + draw(draw(3) ? 50 : sizeof bytes);
    stream_bytes(speech, bytes, len);
    speech->said += sally_sim_peer_write(peer, bytes, len);
}

static void put_frame(struct speech *speech, bool final, enum ws_opcode opcode, void *payload,
                      size_t len)
{
    unsigned char head[WS_HEAD_MAX], mask[WS_MASK_BYTES] = {1, 2, 3, (unsigned char)draw(256)};
    if (speech->masked) ws_mask(payload, payload, len, mask);
    put(speech, head, ws_head_write(head, final, opcode, len, speech->masked ? mask : NULL));
    put(speech, payload, len);
}

static void put_data(struct speech *speech)
{
    unsigned char payload[SPEECH_PAYLOAD_MAX];
    size_t len = draw(draw(3) ? 60 : SPEECH_PAYLOAD_MAX);
    bool final = draw(3);
    stream_bytes(speech, payload, len);
    speech->said += len;
    put_frame(speech, final, speech->begun ? WS_CONTINUATION : WS_BINARY, payload, len);
    speech->begun = !final;
}

/* A goodbye, or what no WebSocket says. */
static void put_last(struct speech *speech)
{
    static const unsigned char nonsense[] = {0xff, 0xff, 0, 1};
    unsigned char payload[2] = {SALLY_WS_NORMAL >> 8, SALLY_WS_NORMAL & 0xff};
    if (draw(2))
        put(speech, nonsense, sizeof nonsense);
    else
        put_frame(speech, true, WS_CLOSE, payload, sizeof payload);
    speech->over = true;
}

static void say_frames(struct speech *speech, sally_sim_peer *peer)
{
    unsigned char ping[WS_CONTROL_MAX] = {0};
    for (unsigned n = 1 + draw(3); n && !speech->over; n--) {
        if (draw(8) == 0) put_frame(speech, true, WS_PING, ping, draw(sizeof ping));
        if (draw(60) == 0)
            put_last(speech);
        else
            put_data(speech);
    }
    (void)write_on(speech, peer);
}

void speech_go_on(struct speech *speech, sally_sim_peer *peer)
{
    if (!write_on(speech, peer) || speech->over) return;
    if (speech->frames)
        say_frames(speech, peer);
    else
        say_plain(speech, peer);
}

/* ---- A WebSocket's beginning ---- */

void speech_ask(struct speech *speech, sally_sim_peer *peer)
{
    speech_words(speech, peer, REQUEST, sizeof REQUEST - 1);
}

bool speech_answer(struct speech *speech, sally_sim_peer *peer, const void *head, size_t len)
{
    char memory[512];
    sally_http_head request;
    sally_writer writer = sally_writer_over(memory, sizeof memory);
    if (sally_http_read_request(&request, head, len) || ws_judge_request(&request) != 101)
        return false;
    HOLDS(ws_write_switch(&writer, &request, NULL) == 0);
    speech_words(speech, peer, memory, writer.len);
    return true;
}
