/* What each kind of framing finds, refuses and writes, where the edges are; and which descriptions
 * make no sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filter/support/trace.h"
#include "sallyport/bytes.h"

#define BYTES(text) (text), (sizeof(text) - 1)

static struct framing made(sally_framing plain)
{
    struct framing framing;
    assert_int_equal(framing_init(&framing, &plain), 0);
    return framing;
}

/* The stream gives these messages, joined by '|', and ends with this error: byte by byte, and all
 * at once but for decoders, of which some here don't keep their contract. */
static void gives(sally_framing plain, const char *stream, size_t len, const char *wanted,
                  int error)
{
    struct framing framing = made(plain);
    struct trace trace, whole;
    char told[400] = "";
    size_t at = 0;
    trace_bytes(&trace, &framing, stream, len);
    for (unsigned n = 0; n < trace.messages; n++) {
        uint32_t bytes;
        const unsigned char *message = trace_message(&trace, n, &bytes);
        assert_true(at + bytes + 2 < sizeof told);
        memcpy(told + at, message, bytes);
        at += bytes;
        told[at++] = '|';
        told[at] = 0;
    }
    assert_string_equal(told, wanted);
    assert_int_equal(trace.error, error);
    trace_begin(&whole);
    if (!framing.decode) trace_feed(&whole, &framing, stream, len);
    if (!framing.decode) trace_same(&trace, &whole);
    trace_end(&whole);
    trace_end(&trace);
}

static void wraps(sally_framing plain, const char *payload, size_t len, const char *wanted,
                  size_t wanted_len)
{
    struct framing framing = made(plain);
    struct stream stream = {0};
    assert_true(stream_add_message(&stream, &framing, payload, len));
    assert_int_equal(stream.len, wanted_len);
    assert_memory_equal(stream.bytes, wanted, wanted_len);
    stream_free(&stream);
}

static int refusal(sally_framing plain, const char *payload, size_t len)
{
    struct framing framing = made(plain);
    sally_frame_edges edges;
    return framing_wrap(&framing, payload, len, &edges);
}

/* ---- Length ---- */

#define LENGTH .kind = SALLY_FRAMING_LENGTH

/* The three rows of the table in sallyport/framing.h, and its neighbours. */
static void a_length_counts_what_the_adjustment_says(void **state)
{
    (void)state;
    sally_framing follows = {LENGTH, .length_bytes = 2};
    gives(follows, BYTES("\0\5hello\0\0\0\3abc\0"), "hello||abc|", 0);
    wraps(follows, BYTES("hello"), BYTES("\0\5hello"));
    wraps(follows, BYTES(""), BYTES("\0\0"));
    sally_framing itself = {LENGTH, .length_bytes = 2, .length_adjust = -2};
    gives(itself, BYTES("\0\7hello\0\2\0\5abc"), "hello||abc|", 0);
    wraps(itself, BYTES("hello"), BYTES("\0\7hello"));
    sally_framing typed = {LENGTH, .length_bytes = 2, .length_adjust = 1};
    gives(typed, BYTES("\0\5Thello\0\0U"), "Thello|U|", 0);
    wraps(typed, BYTES("Thello"), BYTES("\0\5Thello"));
    assert_int_equal(refusal(typed, "", 0), SALLY_EINVAL); /* where would the type be? */
}

static void a_length_may_lie_anywhere_in_its_header(void **state)
{
    (void)state;
    sally_framing low = {LENGTH, .length_bytes = 3, .length_offset = 2, .little_endian = true,
                         .length_adjust = 1};
    gives(low, BYTES("xy\2\0\0zab"), "zab|", 0);
    wraps(low, BYTES("zab"), BYTES("\0\0\2\0\0zab"));
    low.strip_bytes = 6;
    gives(low, BYTES("xy\2\0\0zab"), "ab|", 0);
    wraps(low, BYTES("ab"), BYTES("\0\0\2\0\0\0ab"));
    low.strip_bytes = 1;
    gives(low, BYTES("xy\2\1\1zab"), "", 0); /* 65794 bytes are not there yet */
    low.keep_frame = true;
    low.strip_bytes = 0;
    wraps(low, BYTES("xy\2\0\0zab"), BYTES("xy\2\0\0zab"));
    assert_int_equal(refusal(low, BYTES("xy\3\0\0zab")), SALLY_EINVAL);
    assert_int_equal(refusal(low, BYTES("xy\2\0\0zab+")), SALLY_EINVAL);
    low.keep_frame = false;
    low.strip_bytes = 2;
    wraps(low, BYTES("\2\0\0zab"), BYTES("\0\0\2\0\0zab"));
    assert_int_equal(refusal(low, BYTES("\1\0\0zab")), SALLY_EINVAL);
}

static void a_varint_takes_one_to_ten_bytes(void **state)
{
    (void)state;
    sally_framing varint = {LENGTH, .length_varint = true};
    gives(varint, BYTES("\3abc\0\x82\0de\x80\x80\x80\x80\x80\x80\x80\x80\x80\0"), "abc||de||", 0);
    gives(varint, BYTES("\1a\x80\x80\x80\x80\x80\x80\x80\x80\x80\2"), "a|", SALLY_EMALFORMED);
    gives(varint, BYTES("\x80\x80\x80\x80\x80\x80\x80\x80\x80\1"), "", SALLY_ELIMIT); /* 2^63 */
    gives(varint, BYTES("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x81"), "", SALLY_EMALFORMED);
    char payload[200];
    memset(payload, 'p', sizeof payload);
    struct framing framing = made(varint);
    struct stream stream = {0};
    assert_true(stream_add_message(&stream, &framing, payload, sizeof payload));
    assert_int_equal(stream.len, sizeof payload + 2);
    assert_memory_equal(stream.bytes, "\xc8\1p", 3);
    stream_free(&stream);
}

static void a_length_that_is_less_than_its_header_is_malformed(void **state)
{
    (void)state;
    sally_framing itself = {LENGTH, .length_bytes = 2, .length_adjust = -2};
    gives(itself, BYTES("\0\3x\0\1"), "x|", SALLY_EMALFORMED);
    sally_framing strips = {LENGTH, .length_bytes = 2, .strip_bytes = 4};
    gives(strips, BYTES("\0\2xx\0\1x"), "|", SALLY_EMALFORMED);
    sally_framing empty = {LENGTH, .length_bytes = 2, .refuse_empty = true};
    gives(empty, BYTES("\0\1x\0\0"), "x|", SALLY_EMALFORMED);
    assert_int_equal(refusal(empty, "", 0), SALLY_EINVAL);
}

/* What came of a header says, with integers that can't wrap. */
static int oracle(const sally_framing *plain, unsigned width, uint64_t value)
{
    __int128 rest = (__int128)value + plain->length_adjust;
    __int128 whole = rest + plain->length_offset + width;
    if (rest < 0) return SALLY_EMALFORMED;
    return whole > plain->message_bytes_max ? SALLY_ELIMIT : 0;
}

static void check_value(sally_framing plain, uint64_t value)
{
    unsigned width = plain.length_bytes;
    unsigned char header[SALLY_FRAME_HEAD_MAX] = {0};
    if (width < 8) value &= ((uint64_t)1 << 8 * width) - 1;
    for (unsigned i = 0; i < width; i++)
        header[plain.length_offset + (plain.little_endian ? i : width - 1 - i)] =
            (unsigned char)(value >> 8 * i);
    struct framing framing = made(plain);
    struct trace trace;
    trace_whole(&trace, &framing, header, plain.length_offset + width);
    assert_int_equal(trace.error, oracle(&plain, width, value));
    assert_true(trace.counted.block_high <= 128); /* whatever was announced */
    trace_end(&trace);
}

/* T12: around every power of two, with every width, order and the largest adjustments. */
static void no_length_wraps(void **state)
{
    (void)state;
    static const int32_t adjusts[] = {0, 1, -1, 7, -7, 100, INT32_MAX, -INT32_MAX, INT32_MIN, -100};
    static const uint32_t limits[] = {80, 4096, 1 << 20, (1 << 30) - 1};
    for (unsigned width = 1; width <= 8; width++) {
        for (unsigned a = 0; a < sizeof adjusts / sizeof *adjusts * 4 * 2; a++) {
            sally_framing plain = {LENGTH,
                                   .length_bytes = width,
                                   .length_offset = a % 2 * 5,
                                   .little_endian = a % 2,
                                   .length_adjust = adjusts[a / 8],
                                   .message_bytes_max = limits[a / 2 % 4]};
            for (unsigned bit = 0; bit < 64; bit++) {
                uint64_t power = (uint64_t)1 << bit;
                for (int64_t near = -2; near <= 2; near++) {
                    check_value(plain, power + (uint64_t)near);
                    check_value(plain, power + (uint64_t)near - (uint64_t)plain.length_adjust);
                    check_value(plain, plain.message_bytes_max + (uint64_t)near - width -
                                           plain.length_offset - (uint64_t)plain.length_adjust);
                }
            }
        }
    }
}

static void a_limit_counts_the_whole_frame(void **state)
{
    (void)state;
    sally_framing length = {LENGTH, .message_bytes_max = 9};
    gives(length, BYTES("\0\0\0\5hello\0\0\0\6"), "hello|", SALLY_ELIMIT);
    assert_int_equal(refusal(length, BYTES("hello")), 0);
    assert_int_equal(refusal(length, BYTES("hello!")), SALLY_ELIMIT);
    sally_framing end = {
        .kind = SALLY_FRAMING_DELIMITER, .end = ";;", .end_bytes = 2, .message_bytes_max = 5};
    gives(end, BYTES("abc;;abcd;"), "abc|", SALLY_ELIMIT);
    gives(end, BYTES("abcd"), "", 0);
    gives(end, BYTES("abcd;;"), "", SALLY_ELIMIT);
    gives(end, BYTES("abcde"), "", SALLY_ELIMIT);
    assert_int_equal(refusal(end, BYTES("abcd")), SALLY_ELIMIT);
    sally_framing line = {.kind = SALLY_FRAMING_LINE, .message_bytes_max = 4};
    gives(line, BYTES("abc\nab\r\nabc\r\n"), "abc|ab|", SALLY_ELIMIT);
    gives(line, BYTES("abcd\n"), "", SALLY_ELIMIT);
    sally_framing one = {LENGTH, .length_bytes = 1};
    char payload[256] = {0};
    assert_int_equal(refusal(one, payload, 255), 0);
    assert_int_equal(refusal(one, payload, 256), SALLY_ELIMIT); /* more than the field can say */
}

/* ---- Marks ---- */

static void a_delimiter_is_found_where_it_is_first(void **state)
{
    (void)state;
    sally_framing end = {.kind = SALLY_FRAMING_DELIMITER, .end = "aab", .end_bytes = 3};
    gives(end,
          BYTES("aaab-aab"
                "aab"
                "aaaab"),
          "a|-||aa|", 0);
    wraps(end, BYTES("xa"), BYTES("xaaab"));
    assert_int_equal(refusal(end, BYTES("x aab")), SALLY_EINVAL);
    sally_framing twice = {.kind = SALLY_FRAMING_DELIMITER, .end = "aa", .end_bytes = 2};
    assert_int_equal(refusal(twice, BYTES("xa")), SALLY_EINVAL); /* it would end one too early */
    twice.keep_frame = true;
    gives(twice, BYTES("xaayaa"), "xaa|yaa|", 0);
    wraps(twice, BYTES("yaa"), BYTES("yaa"));
    assert_int_equal(refusal(twice, BYTES("ya")), SALLY_EINVAL);
}

static void a_line_ends_with_lf_or_cr_lf(void **state)
{
    (void)state;
    sally_framing line = {.kind = SALLY_FRAMING_LINE};
    gives(line, BYTES("a\nb\r\n\n\r\n\r\r\nc\rd\ne"), "a|b|||\r|c\rd|", 0);
    wraps(line, BYTES("a"), BYTES("a\n"));
    assert_int_equal(refusal(line, BYTES("a\nb")), SALLY_EINVAL);
    assert_int_equal(refusal(line, BYTES("a\r")), SALLY_EINVAL);
    line.send_crlf = true;
    wraps(line, BYTES("a\r"), BYTES("a\r\r\n"));
    line.keep_frame = true;
    gives(line, BYTES("a\nb\r\n"), "a\n|b\r\n|", 0);
}

static void marks_begin_and_end(void **state)
{
    (void)state;
    sally_framing marks = {
        .kind = SALLY_FRAMING_MARKS, .begin = "<!", .begin_bytes = 2, .end = "!>", .end_bytes = 2};
    gives(marks, BYTES("<!a!><!!><!b<!c!>"), "a||b<!c|", 0);
    gives(marks, BYTES("<!a!> <!"), "a|", SALLY_EMALFORMED);
    gives(marks, BYTES("<?"), "", SALLY_EMALFORMED);
    wraps(marks, BYTES("a"), BYTES("<!a!>"));
    assert_int_equal(refusal(marks, BYTES("a!>b")), SALLY_EINVAL);
    /* the beginning's last byte is not the end's first */
    sally_framing hdlc = {
        .kind = SALLY_FRAMING_MARKS, .begin = "~", .begin_bytes = 1, .end = "~", .end_bytes = 1};
    gives(hdlc, BYTES("~a~~~~b~"), "a||b|", 0);
}

static void fixed_messages_are_all_of_one_size(void **state)
{
    (void)state;
    sally_framing fixed = {.kind = SALLY_FRAMING_FIXED, .fixed_bytes = 3};
    gives(fixed, BYTES("abcdefgh"), "abc|def|", 0);
    wraps(fixed, BYTES("abc"), BYTES("abc"));
    assert_int_equal(refusal(fixed, BYTES("ab")), SALLY_EINVAL);
}

/* ---- A decoder of the program's own ---- */

static unsigned decoder_calls;

static sally_decoded deviant(void *user, const void *data, size_t len, sally_decoded_frame *frame)
{
    (void)data;
    decoder_calls++;
    assert_int_equal(frame->bytes_wanted | frame->frame_bytes | frame->payload_at, 0);
    *frame = *(const sally_decoded_frame *)user;
    if (len < 4) return SALLY_DECODED_MORE;
    return frame->frame_bytes == 99 ? (sally_decoded)7 : SALLY_DECODED_MESSAGE;
}

static void a_decoders_mistakes_cost_its_connection_alone(void **state)
{
    (void)state;
    static const sally_decoded_frame wrong[] = {
        {.frame_bytes = 0},
        {.frame_bytes = 5},
        {.frame_bytes = 2},
        {.frame_bytes = 99},
        {.frame_bytes = 4, .payload_at = 5},
        {.frame_bytes = 4, .payload_at = 2, .payload_bytes = 3},
        {.frame_bytes = 4, .payload_at = 1, .payload_bytes = UINT32_MAX},
        {.frame_bytes = UINT32_MAX, .payload_at = UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sally_decoded_frame frame = wrong[i];
        gives((sally_framing){.kind = SALLY_FRAMING_CUSTOM, .decode = deviant, .user = &frame},
              BYTES("abcd"), "", SALLY_EMALFORMED);
    }
    sally_decoded_frame greedy = {.bytes_wanted = 101};
    gives((sally_framing){.kind = SALLY_FRAMING_CUSTOM,
                          .decode = deviant,
                          .user = &greedy,
                          .message_bytes_max = 100},
          BYTES("a"), "", SALLY_ELIMIT);
    /* it wanted 20 bytes, and then says that 10 were a message */
    sally_decoded_frame fickle = {.bytes_wanted = 20, .frame_bytes = 10};
    gives((sally_framing){.kind = SALLY_FRAMING_CUSTOM, .decode = deviant, .user = &fickle},
          BYTES("abcdefghijklmnopqrstuvwxyz"), "", SALLY_EMALFORMED);
}

static sally_decoded never(void *user, const void *data, size_t len, sally_decoded_frame *frame)
{
    (void)user;
    (void)data;
    decoder_calls++;
    assert_true(len <= 100);
    (void)frame;
    return SALLY_DECODED_MORE;
}

static void a_decoder_is_not_asked_before_there_is_what_it_wants(void **state)
{
    (void)state;
    sally_decoded_frame all = {.bytes_wanted = 26, .frame_bytes = 26, .payload_bytes = 26};
    decoder_calls = 0;
    gives((sally_framing){.kind = SALLY_FRAMING_CUSTOM, .decode = deviant, .user = &all},
          BYTES("abcdefghijklmnopqrstuvwxyz"), "abcdefghijklmnopqrstuvwxyz|", 0);
    assert_int_equal(decoder_calls, 2);
    char stream[150] = {0};
    sally_framing endless = {
        .kind = SALLY_FRAMING_CUSTOM, .decode = never, .message_bytes_max = 100};
    decoder_calls = 0;
    gives(endless, stream, sizeof stream, "", SALLY_ELIMIT);
    assert_int_equal(decoder_calls, 100);
    assert_int_equal(refusal(endless, BYTES("a")), SALLY_ENOTSUP);
}

/* ---- Presets ---- */

/* The packages of the server library whose frame it is: a type, then text with its zero, numbers of
 * 32 bits, keys, or a size and data (S2-59). Written out by hand beside what the writer makes. */
static void the_frame_of_iocps(void **state)
{
    (void)state;
    sally_framing iocps = sally_framing_iocps();
    unsigned char memory[64];
    sally_writer text = sally_writer_over(memory, sizeof memory);
    sally_write_u8(&text, 0);
    sally_write_text(&text, "hello");
    wraps(iocps, (char *)memory, text.len, BYTES("\7\0\0\0\0hello\0"));
    sally_writer numbered = sally_writer_over(memory, sizeof memory);
    sally_write_u8(&numbered, 1);
    sally_write_u32_le(&numbered, 0x01020304);
    sally_write_text(&numbered, "f");
    wraps(iocps, (char *)memory, numbered.len, BYTES("\7\0\0\0\1\4\3\2\1f\0"));
    sally_writer sized = sally_writer_over(memory, sizeof memory);
    sally_write_u8(&sized, 2);
    sally_write_u32_le(&sized, 3);
    sally_write_bytes(&sized, "abc", 3);
    wraps(iocps, (char *)memory, sized.len, BYTES("\x8\0\0\0\2\3\0\0\0abc"));
    wraps(iocps, BYTES("\3"), BYTES("\1\0\0\0\3"));
    gives(iocps, BYTES("\3\0\0\0Tab\1\0\0\0U"), "Tab|U|", 0);
    gives(iocps, BYTES("\0\0\0\0"), "", SALLY_EMALFORMED); /* no type */
    char payload[509] = {0};
    assert_int_equal(refusal(iocps, payload, 508), 0);
    assert_int_equal(refusal(iocps, payload, 509), SALLY_ELIMIT);
    gives(iocps, BYTES("\xfc\1\0\0x"), "", 0);
    gives(iocps, BYTES("\xfd\1\0\0"), "", SALLY_ELIMIT);
    gives(iocps, BYTES("\xff\xff\xff\xff"), "", SALLY_ELIMIT);
}

static void the_pack_header_of_hp_socket(void **state)
{
    (void)state;
    sally_framing pack = sally_framing_hp_pack(0x169, 0);
    /* 0x169 << 22 | 5 */
    wraps(pack, BYTES("hello"), BYTES("\5\0\x40\x5ahello"));
    gives(pack, BYTES("\5\0\x40\x5ahello\2\0\x40\x5ahi"), "hello|hi|", 0);
    gives(pack, BYTES("\5\0\x40\x5bhello"), "", SALLY_EMALFORMED); /* another flag */
    gives(pack, BYTES("\0\0\x40\x5a"), "", SALLY_EMALFORMED);      /* no length 0 */
    gives(pack, BYTES("\0\0\x44\x5a"), "", 0);                     /* 262144 */
    gives(pack, BYTES("\1\0\x44\x5a"), "", SALLY_ELIMIT);
    sally_framing any = sally_framing_hp_pack(0, 0x3fffff);
    gives(any, BYTES("\2\0\x40\x5ahi\2\0\0\0ho"), "hi|ho|", 0);
    gives(any, BYTES("\xff\xff\x3f\0"), "", 0);
    wraps(any, BYTES("hi"), BYTES("\2\0\0\0hi"));
    struct framing framing;
    sally_framing too_much = sally_framing_hp_pack(0, 0x400000);
    assert_int_equal(framing_init(&framing, &too_much), SALLY_EINVAL);
    sally_framing bad_flag = sally_framing_hp_pack(1024, 0);
    assert_int_equal(framing_init(&framing, &bad_flag), SALLY_EINVAL);
}

/* ---- Nonsense ---- */

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const sally_framing wrong[] = {
        {.kind = (sally_framing_kind)(SALLY_FRAMING_ON_DEMAND + 1)},
        {.kind = (sally_framing_kind)-1},
        {.length_bytes = 4}, /* of no kind */
        {LENGTH, .message_bytes_max = 1 << 30},
        {LENGTH, .message_bytes_max = 3},
        {LENGTH, .length_bytes = 9},
        {LENGTH, .length_offset = 61},
        {LENGTH, .length_offset = UINT32_MAX},
        {LENGTH, .strip_bytes = 3},
        {LENGTH, .strip_bytes = 65},
        {LENGTH, .length_bits = 33},
        {LENGTH, .length_bits = UINT32_MAX},
        {LENGTH, .length_tag = 1},
        {LENGTH, .length_bits = 32, .length_tag = 1},
        {LENGTH, .length_bits = 31, .length_tag = 2},
        {LENGTH, .length_varint = true, .length_bytes = 1},
        {LENGTH, .length_varint = true, .length_bits = 3},
        {LENGTH, .length_varint = true, .little_endian = true},
        {LENGTH, .length_varint = true, .strip_bytes = 1},
        {LENGTH, .length_varint = true, .message_bytes_max = 9},
        {LENGTH, .fixed_bytes = 1},
        {LENGTH, .end = "x", .end_bytes = 1},
        {LENGTH, .send_crlf = true},
        {.kind = SALLY_FRAMING_FIXED},
        {.kind = SALLY_FRAMING_FIXED, .fixed_bytes = 2, .message_bytes_max = 1},
        {.kind = SALLY_FRAMING_FIXED, .fixed_bytes = 2, .length_adjust = 1},
        {.kind = SALLY_FRAMING_DELIMITER},
        {.kind = SALLY_FRAMING_DELIMITER, .end = "x"},
        {.kind = SALLY_FRAMING_DELIMITER, .end_bytes = 1},
        {.kind = SALLY_FRAMING_DELIMITER, .end = "12345678901234567", .end_bytes = 17},
        {.kind = SALLY_FRAMING_DELIMITER, .end = "xyz", .end_bytes = 3, .message_bytes_max = 2},
        {.kind = SALLY_FRAMING_DELIMITER, .end = "x", .end_bytes = 1, .begin = "x"},
        {.kind = SALLY_FRAMING_LINE, .message_bytes_max = 1},
        {.kind = SALLY_FRAMING_LINE, .end = "x"},
        {.kind = SALLY_FRAMING_MARKS, .end = "x", .end_bytes = 1},
        {.kind = SALLY_FRAMING_MARKS, .begin = "x", .begin_bytes = 1},
        {.kind = SALLY_FRAMING_CUSTOM},
        {.kind = SALLY_FRAMING_LINE, .decode = deviant},
    };
    struct framing framing;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (framing_init(&framing, &wrong[i]) != SALLY_EINVAL) fail_msg("row %zu was taken", i);
    }
    sally_framing none = {0};
    assert_int_equal(framing_init(&framing, &none), 0);
    assert_null(framing.kind);
}

static void equal_descriptions_are_equal(void **state)
{
    (void)state;
    char one[] = "ab", other[] = "ab";
    sally_framing plain = {.kind = SALLY_FRAMING_DELIMITER, .end = one, .end_bytes = 2};
    struct framing a = made(plain);
    plain.end = other;
    plain.message_bytes_max = 1 << 20; /* the default */
    struct framing b = made(plain);
    assert_true(framing_equal(&a, &b));
    other[1] = 'c';
    b = made(plain);
    assert_false(framing_equal(&a, &b));
    a = made((sally_framing){LENGTH});
    b = made((sally_framing){LENGTH, .length_bytes = 4});
    assert_true(framing_equal(&a, &b));
    b = made((sally_framing){LENGTH, .length_adjust = 1});
    assert_false(framing_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_counts_what_the_adjustment_says),
        cmocka_unit_test(a_length_may_lie_anywhere_in_its_header),
        cmocka_unit_test(a_varint_takes_one_to_ten_bytes),
        cmocka_unit_test(a_length_that_is_less_than_its_header_is_malformed),
        cmocka_unit_test(no_length_wraps),
        cmocka_unit_test(a_limit_counts_the_whole_frame),
        cmocka_unit_test(a_delimiter_is_found_where_it_is_first),
        cmocka_unit_test(a_line_ends_with_lf_or_cr_lf),
        cmocka_unit_test(marks_begin_and_end),
        cmocka_unit_test(fixed_messages_are_all_of_one_size),
        cmocka_unit_test(a_decoders_mistakes_cost_its_connection_alone),
        cmocka_unit_test(a_decoder_is_not_asked_before_there_is_what_it_wants),
        cmocka_unit_test(the_frame_of_iocps),
        cmocka_unit_test(the_pack_header_of_hp_socket),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(equal_descriptions_are_equal),
    };
    return cmocka_run_group_tests_name("framing", tests, NULL, NULL);
}
