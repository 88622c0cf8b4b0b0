/* One head of an HTTP/1.1 message, read from first byte to last; see sallyport/http.h for what is
 * refused. Bytes in, places in them out: no memory of its own, no state. Any thread. */
#include "sallyport/http.h"

#include <limits.h>
#include <string.h>

#include "base/ascii.h"
#include "filter/http_text.h"

/* What is left of the head. */
struct rest {
    const unsigned char *at;
    const unsigned char *end;
};

/* ---- Characters: RFC 9110 section 5.6.2 and 5.5 ---- */

bool http_is_token_char(unsigned char c)
{
    if (ascii_is_letter((char)c) || ascii_is_digit((char)c)) return true;
    return c && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool http_is_value_char(unsigned char c) { return (c >= ' ' && c != 0x7f) || c == '\t'; }

static bool is_target_char(unsigned char c) { return c > ' ' && c < 0x7f; }

/* `exact`: their case counts. */
static bool are_same(sally_http_text one, sally_http_text other, bool exact)
{
    if (one.len != other.len) return false;
    for (size_t i = 0; i < one.len; i++) {
        char a = one.at[i], b = other.at[i];
        if (exact ? a != b : ascii_lower(a) != ascii_lower(b)) return false;
    }
    return true;
}

bool http_text_is_like(sally_http_text text, const char *wanted)
{
    return are_same(text, http_text_of(wanted), false);
}

bool sally_http_text_is(sally_http_text text, const char *wanted)
{
    return wanted && are_same(text, http_text_of(wanted), true);
}

/* ---- Pieces of a line ---- */

/* As many characters of a kind as there are, at least one. */
static bool take_run(struct rest *rest, bool (*is)(unsigned char), sally_http_text *text)
{
    const unsigned char *from = rest->at;
    while (rest->at < rest->end && is(*rest->at)) rest->at++;
    *text = (sally_http_text){(const char *)from, (size_t)(rest->at - from)};
    return text->len > 0;
}

static bool take_text(struct rest *rest, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(rest->end - rest->at) < len || memcmp(rest->at, text, len) != 0) return false;
    rest->at += len;
    return true;
}

static bool take_digit(struct rest *rest, unsigned *digit)
{
    if (rest->at == rest->end || *rest->at < '0' || *rest->at > '9') return false;
    *digit = (unsigned)(*rest->at++ - '0');
    return true;
}

static bool take_version(struct rest *rest, unsigned *minor)
{
    return take_text(rest, "HTTP/1.") && take_digit(rest, minor);
}

/* ---- Lines ---- */

static bool take_request_line(struct rest *rest, sally_http_head *head)
{
    return take_run(rest, http_is_token_char, &head->method) && take_text(rest, " ") &&
           take_run(rest, is_target_char, &head->target) && take_text(rest, " ") &&
           take_version(rest, &head->minor_version) && take_text(rest, "\r\n");
}

static bool take_status_line(struct rest *rest, sally_http_head *head)
{
    unsigned digits[3];
    if (!take_version(rest, &head->minor_version) || !take_text(rest, " ")) return false;
    for (int i = 0; i < 3; i++)
        if (!take_digit(rest, &digits[i])) return false;
    head->status = digits[0] * 100 + digits[1] * 10 + digits[2];
    if (head->status < 100 || !take_text(rest, " ")) return false;
    (void)take_run(rest, http_is_value_char, &head->reason); /* may be empty */
    return take_text(rest, "\r\n");
}

static sally_http_text trimmed(sally_http_text text)
{
    while (text.len && ascii_is_blank(*text.at))
        text = (sally_http_text){text.at + 1, text.len - 1};
    while (text.len && ascii_is_blank(text.at[text.len - 1])) text.len--;
    return text;
}

/* A name ends at its colon, so neither a space before that nor a folded line is one. */
static bool take_field(struct rest *rest, sally_http_field *field)
{
    if (!take_run(rest, http_is_token_char, &field->name) || !take_text(rest, ":")) return false;
    (void)take_run(rest, http_is_value_char, &field->value); /* may be empty */
    field->value = trimmed(field->value);
    return take_text(rest, "\r\n");
}

/* ---- What fields say together ---- */

/* Digits and nothing else: a list, even of equal numbers, is two opinions. */
static bool read_length(sally_http_text value, uint64_t *length)
{
    uint64_t number = 0;
    if (!value.len) return false;
    for (size_t i = 0; i < value.len; i++) {
        unsigned digit = (unsigned)((unsigned char)value.at[i] - '0');
        if (digit > 9 || number > ((uint64_t)INT64_MAX - digit) / 10) return false;
        number = number * 10 + digit;
    }
    *length = number;
    return true;
}

static bool head__judge_content(sally_http_head *head)
{
    const sally_http_field *length = sally_http_find(head, "Content-Length");
    head->has_length = length != NULL;
    head->has_coding = sally_http_find(head, "Transfer-Encoding") != NULL;
    if (head->has_coding && (head->has_length || head->minor_version == 0)) return false;
    if (!length) return true;
    return sally_http_count(head, "Content-Length") == 1 &&
           read_length(length->value, &head->content_length);
}

static bool head__judge_host(const sally_http_head *head)
{
    unsigned hosts = sally_http_count(head, "Host");
    return hosts == 1 || (hosts == 0 && head->minor_version == 0);
}

/* ---- Heads ---- */

static int head__read(sally_http_head *head, const void *data, size_t len,
                      bool (*first)(struct rest *rest, sally_http_head *head))
{
    if (!head || !data) return SALLY_EINVAL;
    if (len > SALLY_HTTP_HEAD_MAX) return SALLY_ELIMIT;
    struct rest rest = {data, (const unsigned char *)data + len};
    memset(head, 0, offsetof(sally_http_head, fields));
    if (!first(&rest, head)) return SALLY_EMALFORMED;
    while (!take_text(&rest, "\r\n")) {
        sally_http_field field;
        if (!take_field(&rest, &field)) return SALLY_EMALFORMED;
        if (head->field_count == SALLY_HTTP_FIELDS_MAX) return SALLY_ELIMIT;
        head->fields[head->field_count++] = field;
    }
    return rest.at == rest.end && head__judge_content(head) ? 0 : SALLY_EMALFORMED;
}

int sally_http_read_request(sally_http_head *head, const void *data, size_t len)
{
    int err = head__read(head, data, len, take_request_line);
    return !err && !head__judge_host(head) ? SALLY_EMALFORMED : err;
}

int sally_http_read_response(sally_http_head *head, const void *data, size_t len)
{
    return head__read(head, data, len, take_status_line);
}

size_t http_head_find_end(const void *data, size_t len, unsigned lines_max)
{
    const unsigned char *bytes = data;
    for (size_t at = 0; at < len && lines_max; lines_max--) {
        const unsigned char *end = memchr(bytes + at, '\n', len - at);
        if (!end) return 0;
        at = (size_t)(end - bytes) + 1;
        if (at >= 4 && memcmp(end - 3, "\r\n\r", 3) == 0) return at;
    }
    return lines_max ? 0 : SIZE_MAX;
}

size_t sally_http_head_bytes(const void *data, size_t len)
{
    return data ? http_head_find_end(data, len, UINT_MAX) : 0;
}

/* ---- Looking ---- */

const sally_http_field *sally_http_find(const sally_http_head *head, const char *name)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (http_text_is_like(head->fields[i].name, name)) return &head->fields[i];
    return NULL;
}

unsigned sally_http_count(const sally_http_head *head, const char *name)
{
    unsigned count = 0;
    for (unsigned i = 0; i < head->field_count; i++)
        count += http_text_is_like(head->fields[i].name, name);
    return count;
}

bool http_list_has(sally_http_text list, sally_http_text element, bool exact)
{
    if (!element.len) return false;
    while (list.len) {
        const char *comma = memchr(list.at, ',', list.len);
        size_t len = comma ? (size_t)(comma - list.at) : list.len;
        if (are_same(trimmed((sally_http_text){list.at, len}), element, exact)) return true;
        if (comma) len++;
        list.at += len;
        list.len -= len;
    }
    return false;
}

bool sally_http_has_token(const sally_http_head *head, const char *name, const char *token)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (http_text_is_like(head->fields[i].name, name) &&
            http_list_has(head->fields[i].value, http_text_of(token), false))
            return true;
    return false;
}

sally_http_text sally_http_path(const sally_http_head *head)
{
    sally_http_text path = head->target;
    const char *query = path.len ? memchr(path.at, '?', path.len) : NULL;
    if (query) path.len = (size_t)(query - path.at);
    return path;
}
