/* Small HTTP/1.1 messages into a caller's memory. What would end a line early is refused, so that
 * no text of a program's can become a field of its own (RFC 9110 section 17.1 tells of such
 * injections). Any thread. */
#include <string.h>

#include "filter/http_text.h"
#include "sallyport/http.h"

static const struct {
    unsigned status;
    const char *text;
} statuses[] = {
    {101, "Switching Protocols"},
    {200, "OK"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
};

const char *sally_http_status_text(unsigned status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status) return statuses[i].text;
    return "Status";
}

bool http_is_token(const char *text)
{
    if (!text || !*text) return false;
    while (*text && http_is_token_char((unsigned char)*text)) text++;
    return !*text;
}

bool http_is_value(const char *text)
{
    if (!text || *text == ' ' || *text == '\t') return false;
    const char *at = text;
    while (*at && http_is_value_char((unsigned char)*at)) at++;
    return !*at && (at == text || (at[-1] != ' ' && at[-1] != '\t'));
}

static bool is_target(const char *text)
{
    if (!text || !*text) return false;
    while (*text > ' ' && *text < 0x7f) text++;
    return !*text;
}

/* ---- Lines ---- */

static void put(sally_writer *writer, const char *text)
{
    sally_write_bytes(writer, text, strlen(text));
}

static void refuse(sally_writer *writer)
{
    if (!writer->error) writer->error = SALLY_EINVAL;
}

static void put_number(sally_writer *writer, uint64_t number)
{
    char digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    sally_write_bytes(writer, digits + n, sizeof digits - n);
}

void sally_http_write_request_line(sally_writer *writer, const char *method, const char *target)
{
    if (!http_is_token(method) || !is_target(target)) {
        refuse(writer);
        return;
    }
    put(writer, method);
    put(writer, " ");
    put(writer, target);
    put(writer, " HTTP/1.1\r\n");
}

void sally_http_write_status_line(sally_writer *writer, unsigned status)
{
    if (status < 100 || status > 599) {
        refuse(writer);
        return;
    }
    put(writer, "HTTP/1.1 ");
    put_number(writer, status);
    put(writer, " ");
    put(writer, sally_http_status_text(status));
    put(writer, "\r\n");
}

void sally_http_write_field(sally_writer *writer, const char *name, const char *value)
{
    if (!http_is_token(name) || !http_is_value(value)) {
        refuse(writer);
        return;
    }
    put(writer, name);
    put(writer, ": ");
    put(writer, value);
    put(writer, "\r\n");
}

void sally_http_write_end(sally_writer *writer) { put(writer, "\r\n"); }

/* ---- A response ---- */

bool http_has_content(unsigned status) { return status != 204 && status != 304; }

static void put_length(sally_writer *writer, uint64_t len)
{
    put(writer, "Content-Length: ");
    put_number(writer, len);
    put(writer, "\r\n");
}

static void put_head(sally_writer *writer, const sally_http_response *response, size_t len)
{
    const char *type = response->content_type;
    sally_http_write_status_line(writer, response->status);
    if (http_has_content(response->status)) {
        sally_http_write_field(writer, "Content-Type", type ? type : "text/plain; charset=utf-8");
        put_length(writer, len);
    }
    for (const char *const *at = response->fields; at && at[0]; at += 2)
        sally_http_write_field(writer, at[0], at[1]);
    put(writer, "Connection: close\r\n");
    sally_http_write_end(writer);
}

int sally_http_write_response(sally_writer *writer, const sally_http_response *response)
{
    size_t before = writer->len;
    if (writer->error) return writer->error;
    if (response->status < 200 || (!response->content && response->content_len)) refuse(writer);
    const char *line = sally_http_status_text(response->status);
    size_t len = response->content ? response->content_len : strlen(line) + 1;
    put_head(writer, response, len);
    if (http_has_content(response->status) && !response->head_only) {
        sally_write_bytes(writer, response->content ? response->content : line,
                          response->content ? len : len - 1);
        if (!response->content) put(writer, "\n");
    }
    if (writer->error) writer->len = before;
    return writer->error;
}
