/* Sallyport: the heads of HTTP/1.1 messages, read strictly, and small answers.
 *
 * This is no HTTP server. It is what an admin page, a health check or a WebSocket upgrade
 * (sallyport/websocket.h) needs: one head that lies whole in memory is read without a copy, and a
 * small response with all of its content is written. Out of scope: chunked bodies, trailers,
 * pipelining, connections that are used again, HTTP/2 and later. Nothing here reads a clock, so an
 * answer has no Date but one that the program adds (RFC 9110 section 6.6.1).
 *
 * Where a head ends, sally_http_head_bytes says, or a framing with the delimiter "\r\n\r\n":
 *
 *     sally_framing framing = {.kind = SALLY_FRAMING_DELIMITER, .end = "\r\n\r\n", .end_bytes = 4,
 *                              .message_bytes_max = SALLY_HTTP_HEAD_MAX, .keep_frame = true};
 *     ... and in on_message:
 *     sally_http_head head;
 *     if (sally_http_read_request(&head, data, len)) ... not HTTP
 *
 * The reader follows RFC 9112 and takes none of the liberties it leaves to a receiver, because two
 * programs that take different ones can be played off against each other (request smuggling,
 * section 11.2). So these are SALLY_EMALFORMED: a line that ends with a bare LF, a CR elsewhere,
 * NUL and other control characters, an empty line before the head, a space before a field's colon,
 * a field that goes on in the next line (obs-fold, section 5.2), two spaces in the first line, a
 * missing or second Host in an HTTP/1.1 request (section 3.2), a second Content-Length, one that is
 * a list or is no number of 63 bits (section 6.3), Transfer-Encoding with Content-Length or in
 * HTTP/1.0 (section 6.1), and versions other than HTTP/1.x. */
#ifndef SALLYPORT_HTTP_H
#define SALLYPORT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sallyport/bytes.h"
#include "sallyport/types.h"

#if defined(__cplusplus)
extern "C" {
#endif

enum {
    SALLY_HTTP_HEAD_MAX = 8192,  /* bytes of a head, with its empty line */
    SALLY_HTTP_FIELDS_MAX = 100, /* fields of a head */
};

/* ---- Reading ---- */

/* A part of the head, where it lies; not zero-terminated. */
typedef struct sally_http_text {
    const char *at;
    size_t len;
} sally_http_text;

typedef struct sally_http_field {
    sally_http_text name;  /* as it came; names that differ only in case are the same */
    sally_http_text value; /* without the spaces around it */
} sally_http_field;

/* What a head says. It points into the bytes that were read. About 3 KiB. */
typedef struct sally_http_head {
    sally_http_text method;  /* of a request, such as "GET" */
    sally_http_text target;  /* and what it is for, as it came: "/page?x=1" */
    unsigned status;         /* of a response: 100 to 999 */
    sally_http_text reason;  /* and its sentence; may be empty */
    unsigned minor_version;  /* 0: HTTP/1.0; 1 or more: HTTP/1.1 */
    bool has_length;         /* there is a Content-Length */
    bool has_coding;         /* there is a Transfer-Encoding: content that nobody here reads */
    uint64_t content_length; /* with has_length */
    unsigned field_count;
    sally_http_field fields[SALLY_HTTP_FIELDS_MAX];
} sally_http_head;

/* How many of these bytes are a head, its empty line included; 0: it is not whole yet. Says nothing
 * about what is in it. [any] */
SALLY_API size_t sally_http_head_bytes(const void *data, size_t len);

/* Reads a head that ends exactly at its empty line. `head` points into `data`, which has to live as
 * long. 0; SALLY_EMALFORMED; SALLY_ELIMIT: more than SALLY_HTTP_HEAD_MAX bytes or
 * SALLY_HTTP_FIELDS_MAX fields; SALLY_EINVAL: one of them is NULL. After an error `head` says
 * nothing. [any] */
SALLY_API int sally_http_read_request(sally_http_head *head, const void *data,
                                      size_t len) SALLY_MUST_USE;
SALLY_API int sally_http_read_response(sally_http_head *head, const void *data,
                                       size_t len) SALLY_MUST_USE;

/* The first field of that name, whatever its case; NULL without one. [any] */
SALLY_API const sally_http_field *sally_http_find(const sally_http_head *head, const char *name);

/* How many fields have that name. [any] */
SALLY_API unsigned sally_http_count(const sally_http_head *head, const char *name);

/* Whether one of the fields of that name has this element in its list, between commas, whatever its
 * case: "Connection: keep-alive, Upgrade" has "upgrade". [any] */
SALLY_API bool sally_http_has_token(const sally_http_head *head, const char *name,
                                    const char *token);

/* The target of a request up to its "?". [any] */
SALLY_API sally_http_text sally_http_path(const sally_http_head *head);

/* Whether a text is this one; byte for byte. [any] */
SALLY_API bool sally_http_text_is(sally_http_text text, const char *wanted);

/* ---- Writing ---- */

/* A response with all of its content. Zero is the default everywhere but for the status. */
typedef struct sally_http_response {
    unsigned status;           /* 200 to 599 */
    const char *content_type;  /* NULL: text/plain; charset=utf-8 */
    const void *content;       /* NULL: the status as a line of text */
    size_t content_len;        /* of content */
    const char *const *fields; /* more of them: name, value, name, value, NULL; NULL: none */
    bool head_only;            /* an answer to HEAD: the content is counted and not written */
} sally_http_response;

/* Writes it as "HTTP/1.1 STATUS SENTENCE", Content-Type, Content-Length, the fields, and
 * "Connection: close"; a writer whose error is 0 has all of it. The result is that error:
 * SALLY_EFULL; SALLY_EINVAL for a status outside its range, or a name or value that would not be
 * one field. Then nothing is written. 204 and 304 have no content (RFC 9110 section 15). [any] */
SALLY_API int sally_http_write_response(sally_writer *writer, const sally_http_response *response);

/* For what the call above does not do: the first line of a request, "GET TARGET HTTP/1.1", or of a
 * response, "HTTP/1.1 STATUS SENTENCE" with a status of 100 to 599; one field; and the empty line.
 * The writer keeps the first error (sallyport/bytes.h): SALLY_EFULL; SALLY_EINVAL for what would
 * not be one line. [any] */
SALLY_API void sally_http_write_request_line(sally_writer *writer, const char *method,
                                             const char *target);
SALLY_API void sally_http_write_status_line(sally_writer *writer, unsigned status);
SALLY_API void sally_http_write_field(sally_writer *writer, const char *name, const char *value);
SALLY_API void sally_http_write_end(sally_writer *writer);

/* The usual sentence of a status, "Not Found" for 404; "Status" for one that has none here; static.
 * [any] */
SALLY_API const char *sally_http_status_text(unsigned status);

#if defined(__cplusplus)
}
#endif
#endif
