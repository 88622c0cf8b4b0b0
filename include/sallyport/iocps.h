/* Sallyport: the packages of the IOCPS server library, for peers that speak its protocol.
 *
 * On the wire a package is a frame (sally_framing_iocps): 32 bits, lowest byte first, that count
 * what follows; one byte that is its type; and what is in it, which has one of five forms. Numbers
 * have 32 bits, lowest byte first; a text ends with a zero. What a type means, and which form it
 * has, is the program's.
 *
 *     form                    after the type                       for example, with its frame
 *     type alone              nothing                              01 00 00 00  07
 *     text                    text, zero                           04 00 00 00  07  68 69 00
 *     number and text         number, text, zero                   08 00 00 00  07  2a 00 00 00
 *                                                                  68 69 00
 *     keys, one to three      so many numbers                      09 00 00 00  07  01 00 00 00
 *                                                                  02 00 00 00
 *     data                    its size as a number, the bytes      07 00 00 00  07  02 00 00 00
 *                                                                  ca fe
 *
 * A writer's bytes go to sally_conn_send_message or sally_send_message, which put the frame around
 * them; a reader takes what on_message brings. At most 508 bytes with the type (SALLY_ELIMIT when
 * it is sent).
 *
 *     unsigned char memory[SALLY_IOCPS_BYTES_MAX];
 *     sally_writer out = sally_writer_over(memory, sizeof memory);
 *     if (sally_iocps_write_text(&out, TYPE_HELLO, "hi") == 0)
 *         sally_conn_send_message(conn, memory, out.len);
 *
 * All of these are inline over sallyport/bytes.h. Readers are strict: what has another form, or a
 * byte more than its form, is SALLY_EMALFORMED, and then the results are 0 or NULL. What they give
 * lies in the message and is readable as long as that is. */
#ifndef SALLYPORT_IOCPS_H
#define SALLYPORT_IOCPS_H

#include "sallyport/bytes.h"

#if defined(__cplusplus)
extern "C" {
#endif

enum {
    SALLY_IOCPS_BYTES_MAX = 508, /* type and all behind it */
    SALLY_IOCPS_KEYS_MAX = 3,
};

/* ---- Writing: 0; SALLY_EFULL without room; SALLY_EINVAL for what has no such form ---- */

/* The type alone. [any] */
static inline int sally_iocps_write_type(sally_writer *writer, uint8_t type)
{
    sally_write_u8(writer, type);
    return writer->error;
}

/* Text up to its zero. [any] */
static inline int sally_iocps_write_text(sally_writer *writer, uint8_t type, const char *text)
{
    if (!text) return SALLY_EINVAL;
    sally_write_u8(writer, type);
    sally_write_text(writer, text);
    return writer->error;
}

/* [any] */
static inline int sally_iocps_write_number_text(sally_writer *writer, uint8_t type, uint32_t number,
                                                const char *text)
{
    if (!text) return SALLY_EINVAL;
    sally_write_u8(writer, type);
    sally_write_u32_le(writer, number);
    sally_write_text(writer, text);
    return writer->error;
}

/* One to three keys. [any] */
static inline int sally_iocps_write_keys(sally_writer *writer, uint8_t type, const uint32_t *keys,
                                         unsigned count)
{
    if (!keys || count < 1 || count > SALLY_IOCPS_KEYS_MAX) return SALLY_EINVAL;
    sally_write_u8(writer, type);
    for (unsigned i = 0; i < count; i++) sally_write_u32_le(writer, keys[i]);
    return writer->error;
}

/* `data` may be NULL for no bytes. [any] */
static inline int sally_iocps_write_data(sally_writer *writer, uint8_t type, const void *data,
                                         size_t len)
{
    if ((!data && len) || len > INT32_MAX) return SALLY_EINVAL;
    sally_write_u8(writer, type);
    sally_write_u32_le(writer, (uint32_t)len);
    if (len) sally_write_bytes(writer, data, len);
    return writer->error;
}

/* ---- Reading: 0 or SALLY_EMALFORMED ---- */

/* Which type a message has, to choose the form; -1 for none. [any] */
static inline int sally_iocps_type(const void *message, size_t len)
{
    return len ? *(const unsigned char *)message : -1;
}

/* 0 for a message that is nothing but a type. [any] */
static inline int sally_iocps_read_type(const void *message, size_t len)
{
    (void)message;
    return len == 1 ? 0 : SALLY_EMALFORMED;
}

/* Behind the type. Not for programs. */
static inline sally_reader sally__iocps_begin(const void *message, size_t len)
{
    sally_reader reader = sally_reader_over(message, len);
    (void)sally_read_u8(&reader);
    return reader;
}

/* [any] */
static inline int sally_iocps_read_text(const void *message, size_t len, const char **text)
{
    sally_reader reader = sally__iocps_begin(message, len);
    *text = sally_read_text(&reader);
    int err = sally_reader_finish(&reader);
    if (err) *text = NULL;
    return err;
}

/* [any] */
static inline int sally_iocps_read_number_text(const void *message, size_t len, uint32_t *number,
                                               const char **text)
{
    sally_reader reader = sally__iocps_begin(message, len);
    *number = sally_read_u32_le(&reader);
    *text = sally_read_text(&reader);
    int err = sally_reader_finish(&reader);
    if (err) {
        *number = 0;
        *text = NULL;
    }
    return err;
}

/* Room for SALLY_IOCPS_KEYS_MAX keys; how many there are goes to `count`. [any] */
static inline int sally_iocps_read_keys(const void *message, size_t len,
                                        uint32_t keys[SALLY_IOCPS_KEYS_MAX], unsigned *count)
{
    sally_reader reader = sally__iocps_begin(message, len);
    size_t left = sally_reader_left(&reader);
    *count = 0;
    for (unsigned i = 0; i < SALLY_IOCPS_KEYS_MAX; i++) keys[i] = 0;
    if (left % 4 || left < 4 || left / 4 > SALLY_IOCPS_KEYS_MAX) return SALLY_EMALFORMED;
    *count = (unsigned)(left / 4);
    for (unsigned i = 0; i < *count; i++) keys[i] = sally_read_u32_le(&reader);
    return sally_reader_finish(&reader);
}

/* NULL and 0 after a failure; data of no bytes is not NULL. [any] */
static inline int sally_iocps_read_data(const void *message, size_t len, const void **data,
                                        size_t *data_len)
{
    sally_reader reader = sally__iocps_begin(message, len);
    *data_len = sally_read_u32_le(&reader);
    *data = sally_read_bytes(&reader, *data_len);
    int err = sally_reader_finish(&reader);
    if (err) {
        *data = NULL;
        *data_len = 0;
    }
    return err;
}

#if defined(__cplusplus)
}
#endif
#endif
