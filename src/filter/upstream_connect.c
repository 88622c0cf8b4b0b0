/* HTTP's CONNECT, from the side of who asks. See upstream.h. Of the answer nothing counts but its
 * status and where it ends: header fields of a 2xx mean nothing for the tunnel (RFC 9110 section
 * 9.3.6), and of another answer the status is the cause. */
#include <stdio.h>
#include <string.h>

#include "base/ascii.h"
#include "filter/base64.h"
#include "filter/upstream.h"
#include "os/address.h"

enum phase { PHASE_STATUS, PHASE_FIELDS };

enum {
    AT_MINOR = 7, /* in "HTTP/1.1 200 OK" */
    AT_CODE = 9,
    AT_CODE_END = 12,
    AUTHORITY_MAX = UPSTREAM_NAME_MAX + sizeof ":65535",
    SWITCHING = 101,
    WANTS_AUTH = 407,
};

/* ---- The request ---- */

static void say_text(struct upstream_talk *talk, const char *text)
{
    upstream_say(talk, text, strlen(text));
}

static void say_credentials(struct upstream_talk *talk)
{
    char text[2 * SALLY_UPSTREAM_USER_MAX + 2];
    char coded[BASE64_CHARS(sizeof text)];
    const char *password = talk->goal.password ? talk->goal.password : "";
    int len = snprintf(text, sizeof text, "%s:%s", talk->goal.user, password);
    say_text(talk, "Proxy-Authorization: Basic ");
    upstream_say(talk, coded, base64_encode(coded, text, (size_t)len));
    say_text(talk, "\r\n");
}

void connect_begin(struct upstream_talk *talk)
{
    char authority[AUTHORITY_MAX];
    const struct upstream_goal *goal = &talk->goal;
    struct addr addr = goal->addr;
    addr.scope = 0; /* a zone means nothing to others */
    if (goal->name)
        snprintf(authority, sizeof authority, "%s:%u", goal->name, addr.port);
    else
        addr_format(&addr, authority, sizeof authority);
    say_text(talk, "CONNECT ");
    say_text(talk, authority);
    say_text(talk, " HTTP/1.1\r\nHost: ");
    say_text(talk, authority);
    say_text(talk, "\r\n");
    if (goal->user) say_credentials(talk);
    say_text(talk, "\r\n");
}

/* ---- The answer ---- */

static bool status_take(struct upstream_talk *talk, unsigned at, uint8_t byte)
{
    static const char pattern[] = "HTTP/1.x ccc ";
    if (at == AT_MINOR) return ascii_is_digit((char)byte);
    if (at >= AT_CODE && at < AT_CODE_END) {
        talk->code = (uint16_t)(talk->code * 10 + byte - '0');
        return ascii_is_digit((char)byte);
    }
    return at > AT_CODE_END || byte == (uint8_t)pattern[at];
}

/* The space behind the code may be missing, where the words behind it do. */
static enum upstream_answer status_end(struct upstream_talk *talk, unsigned at)
{
    if (at < AT_CODE_END || talk->code < 100 || talk->code == SWITCHING) return UPSTREAM_MALFORMED;
    if (talk->code == WANTS_AUTH) return UPSTREAM_WANTS_AUTH;
    if (talk->code >= 300) return UPSTREAM_REFUSED;
    talk->phase = PHASE_FIELDS;
    return UPSTREAM_MORE;
}

/* A line that begins with a blank goes on with the one before (RFC 9112 section 5.2). */
static bool field_take(struct upstream_talk *talk, unsigned at, uint8_t byte)
{
    if (at == 0 && byte == ':') return false;
    if (byte == ':' || (at == 0 && (byte == ' ' || byte == '\t'))) talk->colon = true;
    return true;
}

/* Behind an answer of status 1xx comes another (RFC 9110 section 15.2). */
static enum upstream_answer field_end(struct upstream_talk *talk, unsigned at)
{
    bool good = talk->colon;
    talk->colon = false;
    if (at) return good ? UPSTREAM_MORE : UPSTREAM_MALFORMED;
    if (talk->code >= 200) return UPSTREAM_DONE;
    talk->code = 0;
    talk->phase = PHASE_STATUS;
    return UPSTREAM_MORE;
}

static enum upstream_answer line_end(struct upstream_talk *talk)
{
    unsigned at = talk->at;
    talk->at = 0;
    return talk->phase == PHASE_STATUS ? status_end(talk, at) : field_end(talk, at);
}

/* A line ends with LF, with or without a CR before it (RFC 9112 section 2.2); no other control
 * character is in it. */
enum upstream_answer connect_take(struct upstream_talk *talk, uint8_t byte)
{
    if (talk->head++ == SALLY_UPSTREAM_HEAD_MAX) return UPSTREAM_MALFORMED;
    if (talk->cr && byte != '\n') return UPSTREAM_MALFORMED;
    talk->cr = byte == '\r';
    if (talk->cr) return UPSTREAM_MORE;
    if (byte == '\n') return line_end(talk);
    if ((byte < ' ' && byte != '\t') || byte == 0x7f) return UPSTREAM_MALFORMED;
    unsigned at = talk->at++;
    bool good =
        talk->phase == PHASE_STATUS ? status_take(talk, at, byte) : field_take(talk, at, byte);
    return good ? UPSTREAM_MORE : UPSTREAM_MALFORMED;
}
