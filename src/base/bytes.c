/* The public writer and reader: a cursor over memory of the caller's. Any thread. */
#include "sallyport/bytes.h"

#include <string.h>

enum { BYTE_BITS = 8, VARINT_BITS = 7, VARINT_MAX = 10 };

/* ---- Writing ---- */

sally_writer sally_writer_over(void *memory, size_t len_max)
{
    return (sally_writer){.memory = memory, .len_max = len_max};
}

/* Room for so many bytes, or NULL. */
static unsigned char *writer_room(sally_writer *writer, size_t len)
{
    if (writer->error) return NULL;
    if (len > writer->len_max - writer->len) {
        writer->error = SALLY_EFULL;
        return NULL;
    }
    unsigned char *to = writer->memory + writer->len;
    writer->len += len;
    return to;
}

static void write_le(sally_writer *writer, uint64_t value, unsigned bytes)
{
    unsigned char *to = writer_room(writer, bytes);
    for (unsigned i = 0; to && i < bytes; i++) to[i] = (unsigned char)(value >> (BYTE_BITS * i));
}

static void write_be(sally_writer *writer, uint64_t value, unsigned bytes)
{
    unsigned char *to = writer_room(writer, bytes);
    for (unsigned i = 0; to && i < bytes; i++)
        to[bytes - 1 - i] = (unsigned char)(value >> (BYTE_BITS * i));
}

void sally_write_u8(sally_writer *writer, uint8_t value) { write_le(writer, value, 1); }
void sally_write_u16_le(sally_writer *writer, uint16_t value) { write_le(writer, value, 2); }
void sally_write_u16_be(sally_writer *writer, uint16_t value) { write_be(writer, value, 2); }
void sally_write_u32_le(sally_writer *writer, uint32_t value) { write_le(writer, value, 4); }
void sally_write_u32_be(sally_writer *writer, uint32_t value) { write_be(writer, value, 4); }
void sally_write_u64_le(sally_writer *writer, uint64_t value) { write_le(writer, value, 8); }
void sally_write_u64_be(sally_writer *writer, uint64_t value) { write_be(writer, value, 8); }

void sally_write_varint(sally_writer *writer, uint64_t value)
{
    unsigned char bytes[VARINT_MAX];
    size_t n = 0;
    for (; value > 0x7f; value >>= VARINT_BITS) bytes[n++] = (unsigned char)(value | 0x80);
    bytes[n++] = (unsigned char)value;
    sally_write_bytes(writer, bytes, n);
}

void sally_write_bytes(sally_writer *writer, const void *data, size_t len)
{
    unsigned char *to = writer_room(writer, len);
    if (to && len) memcpy(to, data, len);
}

void sally_write_string(sally_writer *writer, const void *text, size_t len)
{
    size_t before = writer->len;
    sally_write_varint(writer, len);
    sally_write_bytes(writer, text, len);
    if (writer->error) writer->len = before; /* no length without its string */
}

void sally_write_text(sally_writer *writer, const char *text)
{
    sally_write_bytes(writer, text, strlen(text) + 1);
}

/* ---- Reading ---- */

sally_reader sally_reader_over(const void *memory, size_t len)
{
    return (sally_reader){.memory = memory, .len = len};
}

static void reader_fail(sally_reader *reader) { reader->error = SALLY_EMALFORMED; }

/* The next bytes, or NULL. */
static const unsigned char *reader_next(sally_reader *reader, size_t len)
{
    static const unsigned char none[1];
    if (reader->error) return NULL;
    if (len > reader->len - reader->at) {
        reader_fail(reader);
        return NULL;
    }
    const unsigned char *from = reader->memory ? reader->memory + reader->at : none;
    reader->at += len;
    return from;
}

static uint64_t read_le(sally_reader *reader, unsigned bytes)
{
    const unsigned char *from = reader_next(reader, bytes);
    uint64_t value = 0;
    for (unsigned i = 0; from && i < bytes; i++) value |= (uint64_t)from[i] << (BYTE_BITS * i);
    return value;
}

static uint64_t read_be(sally_reader *reader, unsigned bytes)
{
    const unsigned char *from = reader_next(reader, bytes);
    uint64_t value = 0;
    for (unsigned i = 0; from && i < bytes; i++) value = value << BYTE_BITS | from[i];
    return value;
}

uint8_t sally_read_u8(sally_reader *reader) { return (uint8_t)read_le(reader, 1); }
uint16_t sally_read_u16_le(sally_reader *reader) { return (uint16_t)read_le(reader, 2); }
uint16_t sally_read_u16_be(sally_reader *reader) { return (uint16_t)read_be(reader, 2); }
uint32_t sally_read_u32_le(sally_reader *reader) { return (uint32_t)read_le(reader, 4); }
uint32_t sally_read_u32_be(sally_reader *reader) { return (uint32_t)read_be(reader, 4); }
uint64_t sally_read_u64_le(sally_reader *reader) { return read_le(reader, 8); }
uint64_t sally_read_u64_be(sally_reader *reader) { return read_be(reader, 8); }

uint64_t sally_read_varint(sally_reader *reader)
{
    uint64_t value = 0;
    for (unsigned n = 0; n < VARINT_MAX; n++) {
        const unsigned char *byte = reader_next(reader, 1);
        if (!byte) return 0;
        if (n == VARINT_MAX - 1 && *byte > 1) break; /* 63 bits came before */
        value |= (uint64_t)(*byte & 0x7f) << (VARINT_BITS * n);
        if (!(*byte & 0x80)) return value;
    }
    reader_fail(reader);
    return 0;
}

const void *sally_read_bytes(sally_reader *reader, size_t len) { return reader_next(reader, len); }

const char *sally_read_string(sally_reader *reader, size_t *len)
{
    *len = 0;
    uint64_t bytes = sally_read_varint(reader);
    if (bytes > SIZE_MAX) {
        reader_fail(reader);
        return NULL;
    }
    const unsigned char *text = reader_next(reader, (size_t)bytes);
    if (text) *len = (size_t)bytes;
    return (const char *)text;
}

const char *sally_read_text(sally_reader *reader)
{
    size_t left = sally_reader_left(reader);
    const unsigned char *from = left ? reader->memory + reader->at : NULL;
    const unsigned char *zero = from ? memchr(from, 0, left) : NULL;
    if (!zero) {
        reader_fail(reader);
        return NULL;
    }
    return (const char *)reader_next(reader, (size_t)(zero - from) + 1);
}

size_t sally_reader_left(const sally_reader *reader)
{
    return reader->error ? 0 : reader->len - reader->at;
}

int sally_reader_finish(sally_reader *reader)
{
    if (!reader->error && reader->at != reader->len) reader_fail(reader);
    return reader->error;
}
