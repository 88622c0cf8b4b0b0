/* HTTP heads: what each part of a good one is, every kind of bad one that two programs might read
 * in two ways, every cut, mutations, and answers byte for byte. */
#include "sallyport/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/long.h"
#include "support/lot.h"

static sally_http_head head;

/* In memory of just that size, so that a sanitizer sees who looks behind it. */
static char *copy_of(const char *text, size_t len)
{
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    return copy;
}

static int read_request_of(const char *text, size_t len)
{
    char *copy = copy_of(text, len);
    int err = sally_http_read_request(&head, copy, len);
    free(copy);
    return err;
}

static void assert_text(sally_http_text text, const char *wanted)
{
    assert_int_equal(text.len, strlen(wanted));
    assert_memory_equal(text.at, wanted, text.len);
}

/* ---- Good ones ---- */

static void a_request_is_read_in_its_parts(void **state)
{
    (void)state;
    static const char text[] = "GET /a/b?x=1 HTTP/1.1\r\n"
                               "Host: example.org:80\r\n"
                               "Empty:\r\n"
                               "x-Spaces: \t a  b \t\r\n"
                               "Connection: keep-alive ,\tUpGrade\r\n"
                               "connection: other\r\n"
                               "Content-Length: 0042\r\n"
                               "Obs: \x80\xff\r\n"
                               "\r\n";
    assert_int_equal(sally_http_head_bytes(text, sizeof text - 1), sizeof text - 1);
    assert_int_equal(sally_http_read_request(&head, text, sizeof text - 1), 0);
    assert_text(head.method, "GET");
    assert_text(head.target, "/a/b?x=1");
    assert_text(sally_http_path(&head), "/a/b");
    assert_int_equal(head.minor_version, 1);
    assert_int_equal(head.field_count, 7);
    assert_text(sally_http_find(&head, "HOST")->value, "example.org:80");
    assert_text(sally_http_find(&head, "Empty")->value, "");
    assert_text(sally_http_find(&head, "X-Spaces")->value, "a  b");
    assert_text(sally_http_find(&head, "x-spaces")->name, "x-Spaces");
    assert_null(sally_http_find(&head, "X-Space"));
    assert_int_equal(sally_http_count(&head, "connection"), 2);
    assert_true(sally_http_has_token(&head, "Connection", "upgrade"));
    assert_true(sally_http_has_token(&head, "Connection", "Keep-Alive"));
    assert_true(sally_http_has_token(&head, "Connection", "OTHER"));
    assert_false(sally_http_has_token(&head, "Connection", "up"));
    assert_false(sally_http_has_token(&head, "Connection", "upgrades"));
    assert_false(sally_http_has_token(&head, "Host", "upgrade"));
    assert_true(head.has_length && head.content_length == 42 && !head.has_coding);
}

static void a_response_is_read_in_its_parts(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 404 Not  Found\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_int_equal(sally_http_read_response(&head, text, sizeof text - 1), 0);
    assert_int_equal(head.status, 404);
    assert_text(head.reason, "Not  Found");
    assert_true(head.has_coding && !head.has_length);
    static const char bare[] = "HTTP/1.0 200 \r\n\r\n";
    assert_int_equal(sally_http_read_response(&head, bare, sizeof bare - 1), 0);
    assert_text(head.reason, "");
    assert_int_equal(head.minor_version, 0);
    assert_int_equal(head.field_count, 0);
}

/* ---- Bad ones ---- */

struct bad {
    const char *why;
    const char *text;
    size_t len;
};
#define BAD(why, text)                                                                             \
    {                                                                                              \
        why, text, sizeof(text) - 1                                                                \
    }
#define HOST "Host: h\r\n"

static void requests_that_could_be_read_in_two_ways_are_refused(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        BAD("nothing", ""),
        BAD("an empty line first", "\r\nGET / HTTP/1.1\r\n" HOST "\r\n"),
        BAD("no empty line", "GET / HTTP/1.1\r\n" HOST),
        BAD("bytes behind it", "GET / HTTP/1.1\r\n" HOST "\r\nx"),
        BAD("bare LF after the first line", "GET / HTTP/1.1\n" HOST "\r\n"),
        BAD("bare LF after a field", "GET / HTTP/1.1\r\nHost: h\n\r\n"),
        BAD("bare LF at the end", "GET / HTTP/1.1\r\n" HOST "\n"),
        BAD("bare CR in a value", "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"),
        BAD("bare CR at a value's end", "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"),
        BAD("NUL in a value", "GET / HTTP/1.1\r\nHost: h\0\r\n\r\n"),
        BAD("NUL in a name", "GET / HTTP/1.1\r\n" HOST "a\0b: c\r\n\r\n"),
        BAD("NUL in the target", "GET /\0 HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a control character", "GET / HTTP/1.1\r\nHost: h\x01\r\n\r\n"),
        BAD("DEL", "GET / HTTP/1.1\r\nHost: h\x7f\r\n\r\n"),
        BAD("space before a colon", "GET / HTTP/1.1\r\n" HOST "Content-Length : 5\r\n\r\n"),
        BAD("tab before a colon", "GET / HTTP/1.1\r\n" HOST "Content-Length\t: 5\r\n\r\n"),
        BAD("obs-fold", "GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n"),
        BAD("obs-fold with a tab", "GET / HTTP/1.1\r\n" HOST "A: b\r\n\tc\r\n\r\n"),
        BAD("a folded first field", "GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
        BAD("no colon", "GET / HTTP/1.1\r\n" HOST "Upgrade\r\n\r\n"),
        BAD("no name", "GET / HTTP/1.1\r\n" HOST ": x\r\n\r\n"),
        BAD("a name with a quote", "GET / HTTP/1.1\r\n" HOST "a\"b: c\r\n\r\n"),
        BAD("two spaces before the target", "GET  / HTTP/1.1\r\n" HOST "\r\n"),
        BAD("two spaces before the version", "GET /  HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a tab in the first line", "GET\t/ HTTP/1.1\r\n" HOST "\r\n"),
        BAD("space behind the version", "GET / HTTP/1.1 \r\n" HOST "\r\n"),
        BAD("a space in the target", "GET /a b HTTP/1.1\r\n" HOST "\r\n"),
        BAD("no target", "GET HTTP/1.1\r\n" HOST "\r\n"),
        BAD("no version", "GET /\r\n" HOST "\r\n"),
        BAD("HTTP/2.0", "GET / HTTP/2.0\r\n" HOST "\r\n"),
        BAD("HTTP/1", "GET / HTTP/1\r\n" HOST "\r\n"),
        BAD("HTTP/1.10", "GET / HTTP/1.10\r\n" HOST "\r\n"),
        BAD("http/1.1", "GET / http/1.1\r\n" HOST "\r\n"),
        BAD("a method that is no token", "G(T / HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a target that is not ASCII", "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"),
        BAD("no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n"),
        BAD("two Hosts", "GET / HTTP/1.1\r\n" HOST "host: h\r\n\r\n"),
        BAD("two lengths",
            "GET / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        BAD("two equal lengths",
            "GET / HTTP/1.1\r\n" HOST "Content-Length: 5\r\ncontent-length: 5\r\n\r\n"),
        BAD("a list of lengths", "GET / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n"),
        BAD("no length", "GET / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n"),
        BAD("a signed length", "GET / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n"),
        BAD("a negative length", "GET / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\n"),
        BAD("a length in hex", "GET / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n"),
        BAD("a length of 64 bits",
            "GET / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551616\r\n\r\n"),
        BAD("a length past 63 bits",
            "GET / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775808\r\n\r\n"),
        BAD("length and coding",
            "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
        BAD("coding in HTTP/1.0", "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"),
        BAD("a response", "HTTP/1.1 200 OK\r\n\r\n"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int err = read_request_of(bad[i].text, bad[i].len);
        if (err != SALLY_EMALFORMED) fail_msg("%s: %d", bad[i].why, err);
    }
}

static void responses_that_are_none_are_refused(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        BAD("a request", "GET / HTTP/1.1\r\n\r\n"),
        BAD("no space behind the status", "HTTP/1.1 200\r\n\r\n"),
        BAD("two digits", "HTTP/1.1 20 OK\r\n\r\n"),
        BAD("four digits", "HTTP/1.1 2000 OK\r\n\r\n"),
        BAD("a status below 100", "HTTP/1.1 099 OK\r\n\r\n"),
        BAD("two spaces", "HTTP/1.1  200 OK\r\n\r\n"),
        BAD("CR in the sentence", "HTTP/1.1 200 O\rK\r\n\r\n"),
        BAD("length and coding",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        BAD("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *copy = copy_of(bad[i].text, bad[i].len);
        int err = sally_http_read_response(&head, copy, bad[i].len);
        free(copy);
        if (err != SALLY_EMALFORMED) fail_msg("%s: %d", bad[i].why, err);
    }
}

static void the_bounds_are_exact(void **state)
{
    (void)state;
    static char text[SALLY_HTTP_HEAD_MAX + 1];
    for (unsigned fields = SALLY_HTTP_FIELDS_MAX - 1; fields <= SALLY_HTTP_FIELDS_MAX; fields++) {
        size_t len = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (unsigned i = 0; i < fields; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, "a:b\r\n");
        len += (size_t)snprintf(text + len, sizeof text - len, "\r\n");
        bool fits = fields + 1 <= SALLY_HTTP_FIELDS_MAX;
        assert_int_equal(read_request_of(text, len), fits ? 0 : SALLY_ELIMIT);
    }
    for (size_t bytes = SALLY_HTTP_HEAD_MAX; bytes <= SALLY_HTTP_HEAD_MAX + 1; bytes++) {
        static const char begin[] = "GET / HTTP/1.1\r\nHost: h\r\nA: ";
        memset(text, 'x', bytes);
        memcpy(text, begin, sizeof begin - 1);
        memcpy(text + bytes - 4, "\r\n\r\n", 4);
        int wanted = bytes <= SALLY_HTTP_HEAD_MAX ? 0 : SALLY_ELIMIT;
        assert_int_equal(read_request_of(text, bytes), wanted);
    }
    static const char longest[] =
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775807\r\n\r\n";
    assert_int_equal(read_request_of(longest, sizeof longest - 1), 0);
    assert_true(head.content_length == INT64_MAX);
}

/* ---- Ends ---- */

static void the_end_is_found_at_every_cut(void **state)
{
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nA: \n\r\r\n b\r\n\r\nGET /";
    const size_t whole = sizeof text - 1 - 5;
    for (size_t len = 0; len < sizeof text; len++) {
        char *copy = copy_of(text, len);
        assert_int_equal(sally_http_head_bytes(copy, len), len < whole ? 0 : whole);
        free(copy);
    }
    assert_int_equal(sally_http_head_bytes("\r\n\r\n", 4), 4);
    assert_int_equal(sally_http_head_bytes("\n\r\n", 3), 0);
}

/* Whatever is changed in a good head: no byte outside is looked at (a sanitizer tells), and what is
 * taken lies inside. */
static void mutations_stay_inside(void **state)
{
    (void)state;
    static const char good[] = "POST /path HTTP/1.1\r\nHost: example.org\r\nContent-Length: 12\r\n"
                               "Connection: a, b\r\nAccept: */*\r\n\r\n";
    static const char bytes[] = "\r\n\t :,0\0A\x80";
    struct lot lot = {run_seed(2)};
    unsigned taken = 0, rounds = long_form() ? 2000000 : 100000;
    for (unsigned i = 0; i < rounds; i++) {
        size_t len = sizeof good - 1;
        char *text = copy_of(good, len);
        for (unsigned n = lot_below(&lot, 4); n; n--)
            text[lot_below(&lot, (uint32_t)len)] = bytes[lot_below(&lot, sizeof bytes - 1)];
        if (sally_http_read_request(&head, text, len) == 0) {
            taken++;
            assert_true(head.field_count >= 1 && head.field_count <= 5);
            for (unsigned f = 0; f < head.field_count; f++) {
                const sally_http_field *field = &head.fields[f];
                assert_true(field->name.at >= text && field->value.at >= text);
                assert_true(field->value.at + field->value.len <= text + len - 2);
                assert_null(memchr(field->value.at, '\n', field->value.len));
                assert_null(memchr(field->name.at, ' ', field->name.len));
            }
        }
        free(text);
    }
    assert_true(taken > rounds / 10 && taken < rounds);
}

/* ---- Writing ---- */

static void responses_are_as_by_hand(void **state)
{
    (void)state;
    char memory[512];
    static const char *const fields[] = {"X-A", "1", "X-B", "", NULL};
    static const struct {
        sally_http_response response;
        const char *wanted;
    } cases[] = {
        {{.status = 404},
         "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"
         "Content-Length: 10\r\nConnection: close\r\n\r\nNot Found\n"},
        {{.status = 200, .content = "", .content_type = "text/html", .fields = fields},
         "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\nX-A: 1\r\nX-B: \r\n"
         "Connection: close\r\n\r\n"},
        {{.status = 200, .content = "a\0b", .content_len = 3, .head_only = true},
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n"
         "Connection: close\r\n\r\n"},
        {{.status = 204}, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"},
        {{.status = 299, .content = "x", .content_len = 1},
         "HTTP/1.1 299 Status\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 1\r\n"
         "Connection: close\r\n\r\nx"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = strlen(cases[i].wanted);
        sally_writer writer = sally_writer_over(memory, len);
        assert_int_equal(sally_http_write_response(&writer, &cases[i].response), 0);
        assert_int_equal(writer.len, len);
        assert_memory_equal(memory, cases[i].wanted, len);
        for (size_t room = 0; room < len; room++) {
            writer = sally_writer_over(memory, room);
            assert_int_equal(sally_http_write_response(&writer, &cases[i].response), SALLY_EFULL);
            assert_int_equal(writer.len, 0);
        }
    }
}

static void what_would_be_another_field_is_refused(void **state)
{
    (void)state;
    char memory[512];
    static const char *const bad[][3] = {
        {"A", "b\r\nC: d"}, {"A", "b\n"}, {"A", "b\r"},   {"A b", "c"},  {"A:", "b"},  {"", "b"},
        {"A", " b"},        {"A", "b\t"}, {"A\r\n", "b"}, {"A", "\x01"}, {"A", "\x7f"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sally_writer writer = sally_writer_over(memory, sizeof memory);
        sally_http_response response = {.status = 200, .fields = bad[i]};
        assert_int_equal(sally_http_write_response(&writer, &response), SALLY_EINVAL);
        assert_int_equal(writer.len, 0);
    }
    static const unsigned statuses[] = {0, 99, 101, 199, 600, 1000};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        sally_writer writer = sally_writer_over(memory, sizeof memory);
        sally_http_response response = {.status = statuses[i]};
        assert_int_equal(sally_http_write_response(&writer, &response), SALLY_EINVAL);
    }
    sally_writer writer = sally_writer_over(memory, sizeof memory);
    sally_http_response response = {.status = 200, .content_type = "a\r\nb"};
    assert_int_equal(sally_http_write_response(&writer, &response), SALLY_EINVAL);
    writer = sally_writer_over(memory, sizeof memory);
    sally_http_write_request_line(&writer, "GET", "/a b");
    assert_int_equal(writer.error, SALLY_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read_in_its_parts),
        cmocka_unit_test(a_response_is_read_in_its_parts),
        cmocka_unit_test(requests_that_could_be_read_in_two_ways_are_refused),
        cmocka_unit_test(responses_that_are_none_are_refused),
        cmocka_unit_test(the_bounds_are_exact),
        cmocka_unit_test(the_end_is_found_at_every_cut),
        cmocka_unit_test(mutations_stay_inside),
        cmocka_unit_test(responses_are_as_by_hand),
        cmocka_unit_test(what_would_be_another_field_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
