/* What a simulated peer of the mixture says: a stream of known bytes, as it is or in a WebSocket's
 * frames, and words before it. Its send buffer may be small, so what finds no room waits here. */
#ifndef TESTS_SIM_SUPPORT_SPEECH_H
#define TESTS_SIM_SUPPORT_SPEECH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sallyport/sim.h"

enum { SPEECH_BYTES = 4000, SPEECH_PAYLOAD_MAX = 900 };

struct speech {
    uint64_t said; /* of the stream */
    bool frames, masked;
    bool begun; /* a message in several frames */
    bool over;  /* nothing that it says makes sense any more: it has closed, or said nonsense */
    size_t len;
    unsigned char waits[SPEECH_BYTES];
};

/* A new peer. */
void speech_begin(struct speech *speech, bool frames, bool masked);

/* Something that is not of the stream. */
void speech_words(struct speech *speech, sally_sim_peer *peer, const void *words, size_t len);

/* More of the stream, as much as the seed draws. */
void speech_go_on(struct speech *speech, sally_sim_peer *peer);

/* A WebSocket client's request; and its server's answer to one, false if it is none. */
void speech_ask(struct speech *speech, sally_sim_peer *peer);
bool speech_answer(struct speech *speech, sally_sim_peer *peer, const void *head, size_t len);

#endif
