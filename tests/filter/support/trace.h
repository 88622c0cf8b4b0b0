/* Feeds a framer with a stream in pieces and writes down everything it tells, so that two runs can
 * be compared byte for byte. One thread. */
#ifndef FILTER_SUPPORT_TRACE_H
#define FILTER_SUPPORT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "filter/framer.h"
#include "support/lot.h"

/* SALLY_TEST_SEED, or the same one each time; printed. */
uint64_t trace_seed(void);

/* ---- Memory that counts and can fail ---- */

struct counted {
    struct mem mem;
    size_t high;       /* the most bytes that were out at once */
    uint64_t asked;    /* allocations */
    uint64_t fail_at;  /* this one fails; 0: none */
    size_t block_high; /* the largest that was asked for */
};

void counted_init(struct counted *counted);

/* ---- Traces ---- */

struct trace {
    unsigned char *log; /* of each message its length (4 bytes) and its payload */
    size_t len;
    size_t room;
    unsigned messages;
    unsigned copied;
    int error;            /* what framer_feed said in the end */
    uint32_t left;        /* bytes of a message that is not whole */
    bool enough;          /* take has said so in this call */
    size_t stopped;       /* pieces that were left before their end */
    unsigned stop_one_in; /* each message may be the last for now; 0: never */
    struct lot lot;
    const unsigned char *piece; /* being fed */
    size_t piece_len;
    struct carry *carry;
    size_t elsewhere; /* bytes of memory that the test has taken off */
    struct counted counted;
};

void trace_begin(struct trace *trace);

/* One piece, again and again until all of it is used or it failed. */
void trace_feed(struct trace *trace, const struct framing *framing, const void *data, size_t len);

/* All that a stream makes: in one piece, byte by byte, cut in two, or at random places. */
void trace_whole(struct trace *trace, const struct framing *framing, const void *data, size_t len);
void trace_bytes(struct trace *trace, const struct framing *framing, const void *data, size_t len);
void trace_two(struct trace *trace, const struct framing *framing, const void *data, size_t len,
               size_t cut);
void trace_random(struct trace *trace, const struct framing *framing, const void *data, size_t len,
                  uint64_t seed, uint32_t piece_max);

/* Frees, and checks that no memory is left. */
void trace_end(struct trace *trace);

/* Fails the test unless both told the same. */
void trace_same(const struct trace *a, const struct trace *b);

/* The n-th message. */
const unsigned char *trace_message(const struct trace *trace, unsigned n, uint32_t *len);

/* ---- Streams ---- */

struct stream {
    unsigned char *bytes;
    size_t len;
    size_t room;
};

void stream_add(struct stream *stream, const void *data, size_t len);
/* The payload in its frame; false when the framing refuses it. */
bool stream_add_message(struct stream *stream, const struct framing *framing, const void *data,
                        size_t len);
void stream_free(struct stream *stream);

#endif
