/* Any bytes as the head of an HTTP message: what is taken lies inside, no line or field of it could
 * be read in another way, and writing it again gives the same head. The first byte of an input says
 * how much of a good head is put before the rest, so that inputs get far.
 *
 * With clang: cmake --preset fuzz; build-fuzz/bin/fuzz_http -max_total_time=60. In every build with
 * tests, fuzz/replay.c runs the same entry over seeded inputs, as the test fuzz/http. */
#include "fuzz.h"
#include "sallyport/http.h"

static void hold_inside(const sally_http_text *text, const char *head, size_t len)
{
    HOLD(!text->len || (text->at >= head && text->at + text->len <= head + len - 2));
    for (size_t i = 0; i < text->len; i++)
        HOLD(text->at[i] != '\r' && text->at[i] != '\n' && text->at[i] != '\0');
}

/* The head again, from its parts. */
static void hold_same(const sally_http_head *head)
{
    static char text[SALLY_HTTP_HEAD_MAX + 400], name[SALLY_HTTP_HEAD_MAX], value[sizeof name];
    static sally_http_head again;
    sally_writer writer = sally_writer_over(text, sizeof text);
    memcpy(name, head->method.at, head->method.len);
    name[head->method.len] = '\0';
    memcpy(value, head->target.at, head->target.len);
    value[head->target.len] = '\0';
    sally_http_write_request_line(&writer, name, value);
    for (unsigned i = 0; i < head->field_count; i++) {
        const sally_http_field *field = &head->fields[i];
        memcpy(name, field->name.at, field->name.len);
        name[field->name.len] = '\0';
        memcpy(value, field->value.at, field->value.len);
        value[field->value.len] = '\0';
        sally_http_write_field(&writer, name, value);
    }
    sally_http_write_end(&writer);
    HOLD(writer.error == 0);
    HOLD(sally_http_head_bytes(text, writer.len) == writer.len);
    int err = sally_http_read_request(&again, text, writer.len);
    if (err == SALLY_ELIMIT) return;       /* a space more in each field */
    bool older = head->minor_version == 0; /* it may lack what HTTP/1.1 has to have */
    HOLD(err == 0 || older);
    HOLD(err || (again.field_count == head->field_count && again.has_coding == head->has_coding &&
                 again.content_length == head->content_length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char good[] = "GET /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
                               "Connection: a, b\r\n\r\n";
    static sally_http_head head;
    if (size < 1 || size > SALLY_HTTP_HEAD_MAX) return 0;
    size_t kept = data[0] % sizeof good;
    size_t rest = size - 1, tail = data[0] & 0x80 ? 4 : 0, len = kept + rest + tail;
    char *text = malloc(len ? len : 1);
    if (!text) abort();
    memcpy(text, good, kept);
    memcpy(text + kept, data + 1, rest);
    memcpy(text + kept + rest, "\r\n\r\n", tail);
    size_t end = sally_http_head_bytes(text, len);
    HOLD(end <= len);
    if (sally_http_read_request(&head, text, len) == 0) {
        HOLD(end == len && head.field_count <= SALLY_HTTP_FIELDS_MAX);
        HOLD(!(head.has_length && head.has_coding));
        hold_inside(&head.method, text, len);
        hold_inside(&head.target, text, len);
        for (unsigned i = 0; i < head.field_count; i++) {
            hold_inside(&head.fields[i].name, text, len);
            hold_inside(&head.fields[i].value, text, len);
        }
        hold_same(&head);
    }
    if (sally_http_read_response(&head, text, len) == 0) HOLD(head.status >= 100 && end == len);
    free(text);
    return 0;
}
