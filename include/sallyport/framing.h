/* Sallyport: framing, from a stream of bytes to whole messages.
 *
 * TCP keeps no boundaries: what one side sends in one call may arrive in many pieces, or together
 * with what was sent before. A framing says where messages begin and end. It is chosen in
 * sally_conn_options; then on_message brings one whole message at a time, in order, and on_data is
 * not called. How the stream was cut into segments makes no difference to what is told.
 *
 *     sally_framing framing = {.kind = SALLY_FRAMING_LENGTH};
 *     sally_server_options options = {.conn.framing = &framing};
 *     sally_handler handler = {.on_message = on_message};
 *     sally_listen(engine, "127.0.0.1:5002", &handler, &options, NULL);
 *     ... and in on_message: sally_conn_send_message(conn, data, len);
 *
 * Memory. A message that lies whole in one receive is handed out where it lies. Otherwise its bytes
 * are collected, and the memory for them grows with what has come, never with what was announced;
 * it is given back as soon as the message is whole. A connection between two messages has none.
 *
 * Bad input. A message longer than message_bytes_max closes the connection with
 * SALLY_CLOSE_MESSAGE_TOO_LONG as soon as that can be known, one that breaks the rules of its
 * framing with SALLY_CLOSE_MALFORMED: gently, so that answers already queued still go out, but no
 * further byte is looked at. One that is begun and not finished within message_ms closes it with
 * SALLY_CLOSE_MESSAGE_TIMEOUT. Messages before the bad one are delivered.
 *
 * Closing and pausing. After sally_conn_close or sally_conn_abort in on_message, messages of the
 * same receive are dropped. After sally_conn_pause they are kept (no more than one receive's bytes)
 * and come after sally_conn_resume, whether or not the peer sends more. A stream that ends in the
 * middle of a message: on_eof comes as always, and sally_close_info says bytes_truncated.
 *
 * What goes is not framed by itself: sally_conn_send and sally_send send bytes as they are;
 * sally_conn_send_message and sally_send_message put the frame around them. */
#ifndef SALLYPORT_FRAMING_H
#define SALLYPORT_FRAMING_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

enum {
    SALLY_FRAME_HEAD_MAX = 64, /* bytes of a header */
    SALLY_FRAME_MARK_MAX = 16, /* bytes of a mark */
};

typedef enum sally_framing_kind {
    SALLY_FRAMING_NONE,      /* no messages: on_data */
    SALLY_FRAMING_LENGTH,    /* a header with a length in it */
    SALLY_FRAMING_FIXED,     /* all of one size */
    SALLY_FRAMING_DELIMITER, /* each ends with a mark */
    SALLY_FRAMING_LINE,      /* each ends with LF or CR LF */
    SALLY_FRAMING_MARKS,     /* each begins with a mark and ends with another */
    SALLY_FRAMING_CUSTOM,    /* a decoder of the program's own */
    SALLY_FRAMING_ON_DEMAND, /* each as long as sally_conn_want says */
} sally_framing_kind;

/* ---- A decoder of the program's own ---- */

typedef enum sally_decoded {
    SALLY_DECODED_MORE,    /* no whole message yet */
    SALLY_DECODED_MESSAGE, /* there is one */
    SALLY_DECODED_ERROR,   /* this is not the protocol: SALLY_CLOSE_MALFORMED */
} sally_decoded;

/* What a decoder found; all 0 when it is called. */
typedef struct sally_decoded_frame {
    uint32_t bytes_wanted; /* with MORE: how many bytes of the message, counted from its beginning,
                              there should be before the decoder is asked again; 0: any more. One
                              that is not set costs a call for each piece that comes */
    uint32_t frame_bytes;  /* with MESSAGE: from its beginning to the next one's; 1 or more */
    uint32_t payload_at;   /* the part of it that on_message gets */
    uint32_t payload_bytes;
} sally_decoded_frame;

/* Looks at the bytes that begin with a message; len > 0. Called on shards, on several at the same
 * time; what it says may depend on nothing but the bytes. It never sees more than message_bytes_max
 * bytes, and wanting more is SALLY_CLOSE_MESSAGE_TOO_LONG. After MORE for n bytes a message shorter
 * than n, or than bytes_wanted, is SALLY_CLOSE_MALFORMED, as is a payload outside the frame. */
typedef sally_decoded (*sally_decode_fn)(void *user, const void *data, size_t len,
                                         sally_decoded_frame *frame);

/* What is put around a payload. */
typedef struct sally_frame_edges {
    uint32_t head_bytes;
    uint32_t tail_bytes;
    unsigned char head[SALLY_FRAME_HEAD_MAX];
    unsigned char tail[SALLY_FRAME_MARK_MAX];
} sally_frame_edges;

/* Fills the edges for a payload, all 0 when it is called; 0 or the SALLY_E* that the send call
 * returns. Called on any thread. */
typedef int (*sally_encode_fn)(void *user, const void *data, size_t len, sally_frame_edges *edges);

/* ---- Framing ---- */

/* A plain description; zero is none. It is judged when it is used (SALLY_EINVAL for what
 * contradicts itself, also what belongs to another kind) and copied then, marks too. An engine
 * keeps each description once, however many servers and connections use it, and at most 256
 * different ones (SALLY_ELIMIT). */
struct sally_framing {
    sally_framing_kind kind;
    uint32_t message_bytes_max; /* of one frame as it is on the wire, with header, marks and end;
                                   0: 1 MiB; at most 1 GiB - 1 */
    bool keep_frame;            /* messages come with header, marks and end, and are sent so */
    bool refuse_empty;          /* a message without payload is SALLY_CLOSE_MALFORMED */

    /* SALLY_FRAMING_LENGTH
     *
     *     |<- length_offset ->|<- length_bytes ->|<---- value + length_adjust ---->|
     *     +-------------------+------------------+---------------------------------+
     *     | other header      | value            | what follows the field          |
     *     +-------------------+------------------+---------------------------------+
     *
     * length_adjust is what has to be added to the value so that it counts the bytes that follow
     * the field:
     *
     *     the value counts                            for example            length_adjust
     *     what follows the field                      [00 05] hello           0
     *     the field too, or the whole frame           [00 07] hello          -2
     *     the payload, and a type of one byte
     *       stands between field and payload          [00 05] T hello        +1
     *
     * A field that says less than the header itself needs is SALLY_CLOSE_MALFORMED. */
    uint32_t length_offset;
    uint32_t length_bytes; /* 1 to 8; 0: 4 */
    bool length_varint;    /* instead: LEB128, low groups of seven bits first, at most ten bytes */
    bool little_endian;    /* the field's lowest byte comes first */
    uint32_t length_bits;  /* so many low bits of the field are the length; 0: all */
    uint32_t length_tag;   /* and the bits above them have to be this; 0: they may be anything.
                              At most 32 bits */
    int32_t length_adjust;
    uint32_t strip_bytes; /* what is cut off each frame's front before on_message; 0: all to the end
                             of the field. Not a part of the field: at most length_offset, or at
                             least the end of the field and at most 64 (then, when sending, bytes
                             that are cut off and not the field are sent as zeros) */

    /* SALLY_FRAMING_FIXED */
    uint32_t fixed_bytes;

    /* SALLY_FRAMING_DELIMITER: end. SALLY_FRAMING_MARKS: begin and end, which may be equal. 1 to 16
     * bytes each. A payload can't contain its end; sending one that does is SALLY_EINVAL. */
    const void *begin;
    uint32_t begin_bytes;
    const void *end;
    uint32_t end_bytes;

    /* SALLY_FRAMING_LINE: messages are sent with CR LF instead of LF. Both are taken. */
    bool send_crlf;

    /* SALLY_FRAMING_CUSTOM. Without encode sally_conn_send_message is SALLY_ENOTSUP. */
    sally_decode_fn decode;
    sally_encode_fn encode;
    void *user;
};

/* The frame of the IOCPS server library: 32 bits, lowest byte first, that count what follows; a
 * type of one byte and the payload, which together are the message; at most 512 bytes in all. What
 * is in it: sallyport/iocps.h. [any] */
SALLY_API sally_framing sally_framing_iocps(void);

/* The pack header of HP-Socket: 32 bits, lowest byte first, of which 22 are the length of what
 * follows (never 0) and 10 a flag that both sides agree on; flag 0 is not checked. `payload_max` as
 * its MaxPackSize, 0: its default, 262144; more than 4194303, or a flag above 1023, makes a framing
 * that is SALLY_EINVAL. [any] */
SALLY_API sally_framing sally_framing_hp_pack(uint32_t flag, uint32_t payload_max);

/* ---- Reading on demand ---- */

/* With SALLY_FRAMING_ON_DEMAND: on_message comes once, with exactly so many bytes, in one piece,
 * however they were cut on the way. Header, then body:
 *
 *     on_open:     sally_conn_want(conn, 4);
 *     on_message:  a header: sally_conn_want(conn, length_of(data));  a body: use it, and
 *                  sally_conn_want(conn, 4);
 *
 * As long as nothing is wanted, reading stands still as after sally_conn_pause: also before the
 * first call, and without on_eof. It may be called from any callback of the connection, and what
 * came before is not lost: it comes first, but never inside the call. message_ms counts from the
 * message's first byte. A stream that ends with fewer bytes is truncated as any message.
 * SALLY_EINVAL (0 bytes), SALLY_ELIMIT (more than message_bytes_max), SALLY_ESTATE (what was wanted
 * before has not come), SALLY_ECLOSED (closing, or after on_eof), SALLY_ENOMEM, SALLY_ENOTSUP
 * (another framing; and what sends messages is SALLY_ENOTSUP with this one). [shard] */
SALLY_API int sally_conn_want(sally_conn *conn, uint32_t bytes) SALLY_MUST_USE;

/* ---- Sending messages ---- */

/* Queues a copy of the payload with its frame around it, as one unit: all or nothing, as
 * sally_conn_send. With keep_frame, `data` is the whole frame and has to be one. SALLY_ENOTSUP for
 * a connection without framing, or whose decoder has no encoder; SALLY_EINVAL for what its peer
 * could not read as this one message; SALLY_ELIMIT for what is longer than message_bytes_max or
 * send_bytes_max allow, or than the length field can say; otherwise as sally_conn_send. An empty
 * message is legal unless the framing says otherwise. [shard] */
SALLY_API int sally_conn_send_message(sally_conn *conn, const void *data, size_t len);

/* The same by id, judged at once; otherwise as sally_send. [any] */
SALLY_API int sally_send_message(sally_engine *engine, sally_id id, const void *data, size_t len);

/* Bytes that came of a message that is not whole yet, and, after the end of the stream, never will
 * be; for on_eof. 0 between messages and without framing. [shard] */
SALLY_API uint32_t sally_conn_message_bytes(const sally_conn *conn);

#if defined(__cplusplus)
}
#endif
#endif
