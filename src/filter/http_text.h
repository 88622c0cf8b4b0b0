/* What HTTP's fields are made of, for the reader, the writer and the WebSocket handshake. */
#ifndef FILTER_HTTP_TEXT_H
#define FILTER_HTTP_TEXT_H

#include <stdbool.h>
#include <string.h>

#include "sallyport/http.h"

/* Of a name or a method (RFC 9110 section 5.6.2), and of a field's value (section 5.5). */
bool http_is_token_char(unsigned char c);
bool http_is_value_char(unsigned char c);

/* As sally_http_head_bytes; SIZE_MAX: it did not end in so many lines. That bounds what one more
 * byte can cost. */
size_t http_head_find_end(const void *data, size_t len, unsigned lines_max);

static inline sally_http_text http_text_of(const char *text)
{
    return (sally_http_text){text, strlen(text)};
}

/* Whether it is this one, whatever its case. */
bool http_text_is_like(sally_http_text text, const char *wanted);

/* Whether a list with commas has this element; `exact`: its case counts. Empty elements are none
 * (RFC 9110 section 5.6.1). */
bool http_list_has(sally_http_text list, sally_http_text element, bool exact);

/* Whether it is one token, and one field's value without spaces around it. */
bool http_is_token(const char *text);
bool http_is_value(const char *text);

/* Whether an answer of this status has any (RFC 9110 section 15). */
bool http_has_content(unsigned status);

#endif
