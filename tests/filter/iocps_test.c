/* The packages of IOCPS: bytes written by hand, every wrong length, and what was written is what is
 * read, by seeds. */
#include "sallyport/iocps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/long.h"
#include "support/lot.h"

enum { TYPE = 7, SEEDS = 20000 };

/* A text without the zero that C puts behind it. */
#define BYTES(text) (text), sizeof(text) - 1

static unsigned char memory[SALLY_IOCPS_BYTES_MAX];
static sally_writer writer;

static sally_writer *fresh(void)
{
    memset(memory, 0xee, sizeof memory);
    writer = sally_writer_over(memory, sizeof memory);
    return &writer;
}

static void wrote(int err, const char *wanted, size_t len)
{
    assert_int_equal(err, 0);
    assert_int_equal(writer.len, len);
    assert_memory_equal(memory, wanted, len);
}

static void each_form_is_as_by_hand(void **state)
{
    (void)state;
    static const uint32_t keys[] = {1, 0xfffefdfc, 0x01020304};
    wrote(sally_iocps_write_type(fresh(), 255), BYTES("\xff"));
    wrote(sally_iocps_write_text(fresh(), 0, "hello"), BYTES("\0hello\0"));
    wrote(sally_iocps_write_text(fresh(), TYPE, ""), BYTES("\7\0"));
    wrote(sally_iocps_write_number_text(fresh(), 1, 0x01020304, "f"), BYTES("\1\4\3\2\1f\0"));
    wrote(sally_iocps_write_keys(fresh(), 2, keys, 1), BYTES("\2\1\0\0\0"));
    wrote(sally_iocps_write_keys(fresh(), 2, keys, 2), BYTES("\2\1\0\0\0\xfc\xfd\xfe\xff"));
    wrote(sally_iocps_write_keys(fresh(), 2, keys, 3), BYTES("\2\1\0\0\0\xfc\xfd\xfe\xff\4\3\2\1"));
    wrote(sally_iocps_write_data(fresh(), 4, "a\0c", 3), BYTES("\4\3\0\0\0a\0c"));
    wrote(sally_iocps_write_data(fresh(), 4, NULL, 0), BYTES("\4\0\0\0\0"));
}

static void each_form_is_read_back(void **state)
{
    (void)state;
    const char *text;
    const void *data;
    uint32_t number, keys[SALLY_IOCPS_KEYS_MAX];
    unsigned count;
    size_t len;
    assert_int_equal(sally_iocps_type(BYTES("\xff")), 255);
    assert_int_equal(sally_iocps_type("", 0), -1);
    assert_int_equal(sally_iocps_read_type(BYTES("\7")), 0);
    assert_int_equal(sally_iocps_read_text(BYTES("\7hello\0"), &text), 0);
    assert_string_equal(text, "hello");
    assert_int_equal(sally_iocps_read_number_text(BYTES("\1\4\3\2\1f\0"), &number, &text), 0);
    assert_int_equal(number, 0x01020304);
    assert_string_equal(text, "f");
    assert_int_equal(sally_iocps_read_keys(BYTES("\2\1\0\0\0\xfc\xfd\xfe\xff"), keys, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(keys[0], 1);
    assert_int_equal(keys[1], 0xfffefdfc);
    assert_int_equal(keys[2], 0);
    assert_int_equal(sally_iocps_read_data(BYTES("\4\3\0\0\0a\0c"), &data, &len), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "a\0c", 3);
    assert_int_equal(sally_iocps_read_data(BYTES("\4\0\0\0\0"), &data, &len), 0);
    assert_int_equal(len, 0);
    assert_non_null(data);
}

static void not_text(const char *message, size_t size)
{
    const char *text = "x";
    assert_int_equal(sally_iocps_read_text(message, size, &text), SALLY_EMALFORMED);
    assert_null(text);
}

static void not_number_text(const char *message, size_t size)
{
    const char *text = "x";
    uint32_t number = 1;
    assert_int_equal(sally_iocps_read_number_text(message, size, &number, &text), SALLY_EMALFORMED);
    assert_null(text);
    assert_int_equal(number, 0);
}

static void not_keys(const char *message, size_t size)
{
    uint32_t keys[SALLY_IOCPS_KEYS_MAX] = {9, 9, 9};
    unsigned count = 9;
    assert_int_equal(sally_iocps_read_keys(message, size, keys, &count), SALLY_EMALFORMED);
    assert_int_equal(count + keys[0] + keys[1] + keys[2], 0);
}

static void not_data(const char *message, size_t size)
{
    const void *data = "x";
    size_t len = 9;
    assert_int_equal(sally_iocps_read_data(message, size, &data, &len), SALLY_EMALFORMED);
    assert_null(data);
    assert_int_equal(len, 0);
}

static void what_has_another_form_is_refused(void **state)
{
    (void)state;
    assert_int_equal(sally_iocps_read_type("", 0), SALLY_EMALFORMED);
    assert_int_equal(sally_iocps_read_type(BYTES("\7x")), SALLY_EMALFORMED);
    not_text("", 0);
    not_text(BYTES("\7"));
    not_text(BYTES("\7abc"));     /* without its zero */
    not_text(BYTES("\7ab\0c\0")); /* more behind it */
    not_text(BYTES("\7abc\0\0"));
    not_number_text(BYTES("\7\1\0\0"));
    not_number_text(BYTES("\7\1\0\0\0"));
    not_number_text(BYTES("\7\1\0\0\0ab"));
    not_number_text(BYTES("\7\1\0\0\0a\0b"));
    not_keys("", 0);
    not_keys(BYTES("\7"));
    not_keys(BYTES("\7\1\0\0"));
    not_keys(BYTES("\7\1\0\0\0\2"));
    not_keys(BYTES("\7\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0"));
    not_data(BYTES("\7"));
    not_data(BYTES("\7\3\0\0\0ab"));
    not_data(BYTES("\7\3\0\0\0abcd"));
    not_data(BYTES("\7\xff\xff\xff\xff"));
}

static void what_cannot_be_written_is_said(void **state)
{
    (void)state;
    static const uint32_t keys[4] = {0};
    static const char many[SALLY_IOCPS_BYTES_MAX] = {0};
    assert_int_equal(sally_iocps_write_text(fresh(), 1, NULL), SALLY_EINVAL);
    assert_int_equal(sally_iocps_write_number_text(&writer, 1, 2, NULL), SALLY_EINVAL);
    assert_int_equal(sally_iocps_write_keys(&writer, 1, keys, 0), SALLY_EINVAL);
    assert_int_equal(sally_iocps_write_keys(&writer, 1, keys, 4), SALLY_EINVAL);
    assert_int_equal(sally_iocps_write_keys(&writer, 1, NULL, 1), SALLY_EINVAL);
    assert_int_equal(sally_iocps_write_data(&writer, 1, NULL, 1), SALLY_EINVAL);
    assert_int_equal(writer.len, 0);
    assert_int_equal(sally_iocps_write_data(&writer, 1, many, SALLY_IOCPS_BYTES_MAX - 5), 0);
    assert_int_equal(writer.len, SALLY_IOCPS_BYTES_MAX);
    assert_int_equal(sally_iocps_write_data(fresh(), 1, many, SALLY_IOCPS_BYTES_MAX - 4),
                     SALLY_EFULL);
}

/* ---- By seeds ---- */

static void round_trip(uint64_t seed)
{
    uint64_t lot = seed * 7919;
    char text[500];
    const char *got_text;
    const void *got;
    uint32_t keys[3], got_keys[3], number = (uint32_t)(lot_draw(&lot) << 1), got_number;
    unsigned count = (unsigned)(lot_draw(&lot) % 3 + 1), got_count;
    size_t len = (size_t)(lot_draw(&lot) % (sizeof text - 1)), got_len;
    uint8_t type = (uint8_t)lot_draw(&lot);
    for (size_t i = 0; i < len; i++) text[i] = (char)(lot_draw(&lot) % 255 + 1);
    text[len] = 0;
    for (int i = 0; i < 3; i++) keys[i] = (uint32_t)(lot_draw(&lot) << 1);
    assert_int_equal(sally_iocps_write_text(fresh(), type, text), 0);
    assert_int_equal(sally_iocps_type(memory, writer.len), type);
    assert_int_equal(sally_iocps_read_text(memory, writer.len, &got_text), 0);
    assert_string_equal(got_text, text);
    assert_int_equal(sally_iocps_write_number_text(fresh(), type, number, text), 0);
    assert_int_equal(sally_iocps_read_number_text(memory, writer.len, &got_number, &got_text), 0);
    assert_string_equal(got_text, text);
    assert_int_equal(got_number, number);
    assert_int_equal(sally_iocps_write_keys(fresh(), type, keys, count), 0);
    assert_int_equal(sally_iocps_read_keys(memory, writer.len, got_keys, &got_count), 0);
    assert_int_equal(got_count, count);
    assert_memory_equal(got_keys, keys, count * sizeof *keys);
    assert_int_equal(sally_iocps_write_data(fresh(), type, text, len), 0);
    assert_int_equal(sally_iocps_read_data(memory, writer.len, &got, &got_len), 0);
    assert_int_equal(got_len, len);
    assert_memory_equal(got, text, len);
    /* one byte less is never the same form */
    assert_int_equal(sally_iocps_read_data(memory, writer.len - 1, &got, &got_len),
                     SALLY_EMALFORMED);
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    seeds_run(SEEDS, 20, round_trip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_as_by_hand),
        cmocka_unit_test(each_form_is_read_back),
        cmocka_unit_test(what_has_another_form_is_refused),
        cmocka_unit_test(what_cannot_be_written_is_said),
        cmocka_unit_test(what_was_written_is_read),
    };
    return cmocka_run_group_tests_name("iocps", tests, NULL, NULL);
}
