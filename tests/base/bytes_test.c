/* The writer and the reader: bytes written out by hand, every number and back, and no byte outside.
 */
#include "sallyport/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void write_one_of_each(sally_writer *writer)
{
    sally_write_u8(writer, 0x01);
    sally_write_u16_le(writer, 0x0203);
    sally_write_u16_be(writer, 0x0203);
    sally_write_u32_le(writer, 0x04050607);
    sally_write_u32_be(writer, 0x04050607);
    sally_write_u64_le(writer, 0x08090a0b0c0d0e0f);
    sally_write_u64_be(writer, 0x08090a0b0c0d0e0f);
    sally_write_varint(writer, 300);
    sally_write_bytes(writer, "raw", 3);
    sally_write_string(writer, "sized", 5);
    sally_write_text(writer, "text");
}

static const unsigned char one_of_each[] = {
    0x01, 0x03, 0x02, 0x02, 0x03, 0x07, 0x06, 0x05, 0x04, 0x04, 0x05, 0x06, 0x07, 0x0f, 0x0e,
    0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0xac,
    0x02, 'r',  'a',  'w',  5,    's',  'i',  'z',  'e',  'd',  't',  'e',  'x',  't',  0};

static bool read_one_of_each(sally_reader *reader)
{
    size_t len = 0;
    bool good = sally_read_u8(reader) == 0x01;
    good &= sally_read_u16_le(reader) == 0x0203;
    good &= sally_read_u16_be(reader) == 0x0203;
    good &= sally_read_u32_le(reader) == 0x04050607;
    good &= sally_read_u32_be(reader) == 0x04050607;
    good &= sally_read_u64_le(reader) == 0x08090a0b0c0d0e0f;
    good &= sally_read_u64_be(reader) == 0x08090a0b0c0d0e0f;
    good &= sally_read_varint(reader) == 300;
    const void *raw = sally_read_bytes(reader, 3);
    good &= raw && memcmp(raw, "raw", 3) == 0;
    const char *sized = sally_read_string(reader, &len);
    good &= sized && len == 5 && memcmp(sized, "sized", 5) == 0;
    const char *text = sally_read_text(reader);
    return good && text && strcmp(text, "text") == 0;
}

static void what_is_written_is_as_by_hand_and_is_read_back(void **state)
{
    (void)state;
    unsigned char memory[100];
    sally_writer writer = sally_writer_over(memory, sizeof memory);
    write_one_of_each(&writer);
    assert_int_equal(writer.error, 0);
    assert_int_equal(writer.len, sizeof one_of_each);
    assert_memory_equal(memory, one_of_each, sizeof one_of_each);
    sally_reader reader = sally_reader_over(memory, writer.len);
    assert_true(read_one_of_each(&reader));
    assert_int_equal(sally_reader_left(&reader), 0);
    assert_int_equal(sally_reader_finish(&reader), 0);
}

/* Memory of exactly n bytes, so that a sanitizer sees the next. */
static void no_room_is_said_and_stays_said(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof one_of_each; n++) {
        unsigned char *memory = malloc(n + 1);
        assert_non_null(memory);
        memory[n] = 0x5a;
        sally_writer writer = sally_writer_over(memory, n);
        write_one_of_each(&writer);
        assert_int_equal(writer.error, SALLY_EFULL);
        assert_true(writer.len <= n);
        assert_memory_equal(memory, one_of_each, writer.len); /* whole items, and none after */
        size_t len = writer.len;
        sally_write_bytes(&writer, "", 0);
        sally_write_u8(&writer, 1);
        assert_int_equal(writer.len, len);
        assert_int_equal(memory[n], 0x5a);
        free(memory);
    }
}

static void what_is_not_there_is_said_and_stays_said(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof one_of_each; n++) {
        unsigned char *memory = malloc(n ? n : 1);
        assert_non_null(memory);
        memcpy(memory, one_of_each, n);
        sally_reader reader = sally_reader_over(memory, n);
        assert_false(read_one_of_each(&reader));
        assert_int_equal(reader.error, SALLY_EMALFORMED);
        size_t len = 9;
        assert_int_equal(sally_read_u64_be(&reader), 0);
        assert_int_equal(sally_read_varint(&reader), 0);
        assert_null(sally_read_bytes(&reader, 0));
        assert_null(sally_read_string(&reader, &len));
        assert_int_equal(len, 0);
        assert_null(sally_read_text(&reader));
        assert_int_equal(sally_reader_left(&reader), 0);
        assert_int_equal(sally_reader_finish(&reader), SALLY_EMALFORMED);
        free(memory);
    }
}

static void bytes_left_over_are_malformed_at_the_end(void **state)
{
    (void)state;
    sally_reader reader = sally_reader_over("ab", 2);
    assert_int_equal(sally_read_u8(&reader), 'a');
    assert_int_equal(sally_reader_left(&reader), 1);
    assert_int_equal(sally_reader_finish(&reader), SALLY_EMALFORMED);
    sally_reader nothing = sally_reader_over(NULL, 0);
    assert_non_null(sally_read_bytes(&nothing, 0));
    assert_int_equal(sally_reader_finish(&nothing), 0);
    assert_int_equal(sally_read_u8(&nothing), 0);
    assert_int_equal(nothing.error, SALLY_EMALFORMED);
}

static void varints_of_every_size(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int near = -1; near <= 1; near++) {
            uint64_t value = ((uint64_t)1 << bit) + (uint64_t)(int64_t)near;
            unsigned char memory[10];
            sally_writer writer = sally_writer_over(memory, sizeof memory);
            sally_write_varint(&writer, value);
            assert_int_equal(writer.error, 0);
            unsigned bits = 0;
            while (bits < 64 && value >> bits) bits++;
            assert_int_equal(writer.len, bits ? (bits + 6) / 7 : 1);
            sally_reader reader = sally_reader_over(memory, writer.len);
            assert_true(sally_read_varint(&reader) == value);
            assert_int_equal(sally_reader_finish(&reader), 0);
        }
    }
}

static void a_varint_of_more_than_64_bits_is_malformed(void **state)
{
    (void)state;
    unsigned char memory[11];
    memset(memory, 0xff, sizeof memory);
    memory[9] = 1;
    sally_reader most = sally_reader_over(memory, sizeof memory);
    assert_true(sally_read_varint(&most) == UINT64_MAX);
    static const unsigned char last[] = {2, 0x7f, 0x80, 0x81, 0xff};
    for (size_t i = 0; i < sizeof last; i++) {
        memory[9] = last[i];
        sally_reader reader = sally_reader_over(memory, sizeof memory);
        assert_int_equal(sally_read_varint(&reader), 0);
        assert_int_equal(reader.error, SALLY_EMALFORMED);
    }
}

/* A length of nearly 2^64 must not wrap what is compared with it. */
static void a_string_longer_than_what_is_there_is_malformed(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {4, 255, UINT32_MAX, UINT64_MAX - 10, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char memory[13];
        sally_writer writer = sally_writer_over(memory, sizeof memory);
        sally_write_varint(&writer, lengths[i]);
        sally_write_bytes(&writer, "abc", 3);
        sally_reader reader = sally_reader_over(memory, writer.len);
        size_t len = 1;
        assert_null(sally_read_string(&reader, &len));
        assert_int_equal(len, 0);
        assert_int_equal(reader.error, SALLY_EMALFORMED);
    }
    sally_reader open = sally_reader_over("abc", 3);
    assert_null(sally_read_text(&open)); /* no zero */
    sally_reader huge = sally_reader_over("abc", 3);
    assert_int_equal(sally_read_u8(&huge), 'a');
    assert_null(sally_read_bytes(&huge, SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_as_by_hand_and_is_read_back),
        cmocka_unit_test(no_room_is_said_and_stays_said),
        cmocka_unit_test(what_is_not_there_is_said_and_stays_said),
        cmocka_unit_test(bytes_left_over_are_malformed_at_the_end),
        cmocka_unit_test(varints_of_every_size),
        cmocka_unit_test(a_varint_of_more_than_64_bits_is_malformed),
        cmocka_unit_test(a_string_longer_than_what_is_there_is_malformed),
    };
    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
