/* Sallyport: building and reading messages byte by byte, with bounds checked.
 *
 * A writer fills memory of the caller's, a reader looks at it. The first failure stays: every later
 * call does nothing (a reader gives 0 or NULL), so that a whole message is written or read first
 * and judged once at its end. No call touches a byte outside, whatever a peer sent.
 *
 *     unsigned char memory[64];
 *     sally_writer writer = sally_writer_over(memory, sizeof memory);
 *     sally_write_u8(&writer, TYPE_NAME);
 *     sally_write_string(&writer, name, strlen(name));
 *     if (!writer.error) sally_conn_send_message(conn, memory, writer.len);
 *
 *     sally_reader reader = sally_reader_over(data, len);
 *     uint8_t type = sally_read_u8(&reader);
 *     const char *name = sally_read_string(&reader, &name_len);
 *     if (sally_reader_finish(&reader)) sally_conn_abort(conn);
 *
 * To write straight into what is sent, without a copy after: sally_buf_create, a writer over
 * sally_buf_data, sally_conn_send_buf. */
#ifndef SALLYPORT_BYTES_H
#define SALLYPORT_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "sallyport/error.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* ---- Writing ---- */

typedef struct sally_writer {
    unsigned char *memory;
    size_t len;     /* written */
    size_t len_max; /* room */
    int error;      /* 0, or SALLY_EFULL: there was no room */
} sally_writer;

/* Nothing is written yet. The memory stays the caller's. [any] */
SALLY_API sally_writer sally_writer_over(void *memory, size_t len_max);

/* Numbers: le with the lowest byte first, be with the highest, as is usual on networks. [any] */
SALLY_API void sally_write_u8(sally_writer *writer, uint8_t value);
SALLY_API void sally_write_u16_le(sally_writer *writer, uint16_t value);
SALLY_API void sally_write_u16_be(sally_writer *writer, uint16_t value);
SALLY_API void sally_write_u32_le(sally_writer *writer, uint32_t value);
SALLY_API void sally_write_u32_be(sally_writer *writer, uint32_t value);
SALLY_API void sally_write_u64_le(sally_writer *writer, uint64_t value);
SALLY_API void sally_write_u64_be(sally_writer *writer, uint64_t value);

/* 1 to 10 bytes: LEB128, seven bits a byte, the low ones first. [any] */
SALLY_API void sally_write_varint(sally_writer *writer, uint64_t value);

/* Bytes as they are; all or nothing. [any] */
SALLY_API void sally_write_bytes(sally_writer *writer, const void *data, size_t len);

/* A string with its length before it, as varint; and one with a zero behind it. [any] */
SALLY_API void sally_write_string(sally_writer *writer, const void *text, size_t len);
SALLY_API void sally_write_text(sally_writer *writer, const char *text);

/* ---- Reading ---- */

typedef struct sally_reader {
    const unsigned char *memory;
    size_t at; /* read */
    size_t len;
    int error; /* 0, or SALLY_EMALFORMED: what was asked for is not there */
} sally_reader;

/* At the first byte. The memory stays the caller's. [any] */
SALLY_API sally_reader sally_reader_over(const void *memory, size_t len);

/* Numbers, as they were written; 0 after a failure. [any] */
SALLY_API uint8_t sally_read_u8(sally_reader *reader);
SALLY_API uint16_t sally_read_u16_le(sally_reader *reader);
SALLY_API uint16_t sally_read_u16_be(sally_reader *reader);
SALLY_API uint32_t sally_read_u32_le(sally_reader *reader);
SALLY_API uint32_t sally_read_u32_be(sally_reader *reader);
SALLY_API uint64_t sally_read_u64_le(sally_reader *reader);
SALLY_API uint64_t sally_read_u64_be(sally_reader *reader);

/* SALLY_EMALFORMED also for more than 64 bits. [any] */
SALLY_API uint64_t sally_read_varint(sally_reader *reader);

/* So many bytes where they lie, NULL after a failure. [any] */
SALLY_API const void *sally_read_bytes(sally_reader *reader, size_t len);

/* A string with its length before it, where it lies, not zero-terminated; NULL and length 0 after a
 * failure. And one with a zero behind it; NULL when there is none. [any] */
SALLY_API const char *sally_read_string(sally_reader *reader, size_t *len);
SALLY_API const char *sally_read_text(sally_reader *reader);

/* Bytes that are left, 0 after a failure. [any] */
SALLY_API size_t sally_reader_left(const sally_reader *reader);

/* 0 when all was read and nothing failed, else SALLY_EMALFORMED. [any] */
SALLY_API int sally_reader_finish(sally_reader *reader);

#if defined(__cplusplus)
}
#endif
#endif
