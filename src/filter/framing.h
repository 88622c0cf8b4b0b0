/* How a stream is cut into messages: a description (sally_framing), judged once and made ready for
 * use. Read-only after that, so any shard reads it. No I/O, no clock, no memory of its own.
 *
 * Each kind of framing is one row of functions in a file of its own (frame_*.c). framer.c feeds
 * them with what a connection receives. */
#ifndef FILTER_FRAMING_H
#define FILTER_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "filter/mark.h"
#include "sallyport/framing.h"

enum {
    FRAMING_BYTES_MAX = 1 << 20,         /* the default limit of a message */
    FRAMING_BYTES_LIMIT = (1 << 30) - 1, /* so that sums of two lengths stay below 2^32 */
    FRAMING_VARINT_MAX = 10,             /* bytes of 64 bits in groups of seven */
};

enum frame_found {
    FRAME_MORE,  /* all bytes belong to this message, and it goes on */
    FRAME_WHOLE, /* it ends within them */
    FRAME_TOO_LONG,
    FRAME_BAD,
};

/* How far one message has been read. Zero: not begun. Nothing of it depends on how the bytes came
 * in pieces. */
struct frame_scan {
    uint64_t value;  /* LENGTH: its field, as far as it has come */
    uint32_t seen;   /* bytes of the message so far; when whole, its length */
    uint32_t whole;  /* bytes it will have at least, 0: not known */
    uint32_t head;   /* once whole: bytes before the payload */
    uint32_t tail;   /* and after it */
    uint8_t matched; /* bytes of the mark that is looked for; LINE: the last byte was CR */
};

struct framing;

struct frame_kind {
    /* Takes what belongs to the kind out of the description, whose foreign fields are judged by the
     * caller. 0 or SALLY_EINVAL. */
    int (*take)(struct framing *framing, const sally_framing *plain);
    /* The next bytes of a message; len > 0. */
    enum frame_found (*scan)(const struct framing *framing, struct frame_scan *scan,
                             const unsigned char *data, size_t len);
    /* The edges of a payload that is sent without them; 0 or SALLY_E*. */
    int (*wrap)(const struct framing *framing, const void *data, size_t len,
                sally_frame_edges *edges);
    /* scan is given the message from its beginning each time, not only what is new. */
    bool from_the_beginning;
};

extern const struct frame_kind frame_length_kind;
extern const struct frame_kind frame_fixed_kind;
extern const struct frame_kind frame_delimiter_kind;
extern const struct frame_kind frame_line_kind;
extern const struct frame_kind frame_marks_kind;
extern const struct frame_kind frame_custom_kind;
extern const struct frame_kind frame_demand_kind;

struct framing {
    const struct frame_kind *kind;
    uint32_t number; /* in the engine's list */
    uint32_t bytes_max;
    bool keep_frame;
    bool refuse_empty;
    bool on_demand; /* sizes are the connection's, see framer.wanted */
    bool varint;
    bool little_endian;
    bool send_crlf;
    uint8_t offset;
    uint8_t width; /* of the field; 0 for a varint */
    uint8_t bits;
    uint8_t strip; /* 0: to the end of the field */
    uint32_t tag;
    int32_t adjust;
    uint32_t fixed_bytes;
    sally_decode_fn decode;
    sally_encode_fn encode;
    void *user;
    struct mark begin;
    struct mark end;
};

/* Makes it ready. SALLY_EINVAL for nonsense. SALLY_FRAMING_NONE has no kind. */
int framing_init(struct framing *framing, const sally_framing *plain);

/* They say the same, whatever their numbers. */
bool framing_equal(const struct framing *a, const struct framing *b);

/* What has to be sent before and after a payload, and how much it is in all. 0, SALLY_EINVAL,
 * SALLY_ELIMIT, SALLY_ENOTSUP, or what a program's encoder says. Any thread. */
int framing_wrap(const struct framing *framing, const void *data, size_t len,
                 sally_frame_edges *edges);

/* For kinds: a message of `seen` bytes has been found, `head` and `tail` are set. */
enum frame_found framing_found(const struct framing *framing, const struct frame_scan *scan);

#endif
