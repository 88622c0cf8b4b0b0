/* SOCKS 4, 4a and 5, from the side of who asks. See upstream.h. */
#include <assert.h>
#include <string.h>

#include "filter/upstream.h"

enum {
    SOCKS4_VERSION = 4,
    SOCKS4_ANSWER_BYTES = 8,
    SOCKS4_GRANTED = 90,
    SOCKS4_LAST = 93, /* 91 rejected, 92 and 93: its identd can't be reached, or names another */
    SOCKS5_VERSION = 5,
    COMMAND_CONNECT = 1,
    METHOD_NONE = 0,
    METHOD_PASSWORD = 2,
    METHOD_NOT_ANY = 0xff,
    PASSWORD_VERSION = 1, /* of RFC 1929's own little protocol */
    ADDRESS_IPV4 = 1,
    ADDRESS_DOMAIN = 3,
    ADDRESS_IPV6 = 4,
    PORT_BYTES = 2,
};

/* ---- 4 and 4a ---- */

/* 4a puts an address that nobody has, 0.0.0.x, in place of the one it can't tell, and the name at
 * the end. */
void socks4_begin(struct upstream_talk *talk)
{
    static const uint8_t named[4] = {0, 0, 0, 1};
    const struct upstream_goal *goal = &talk->goal;
    const char *user = goal->user ? goal->user : "";
    assert(goal->name || goal->addr.family == ADDR_V4);
    upstream_say_byte(talk, SOCKS4_VERSION);
    upstream_say_byte(talk, COMMAND_CONNECT);
    upstream_say_port(talk);
    upstream_say(talk, goal->name ? named : goal->addr.ip, 4);
    upstream_say(talk, user, strlen(user) + 1);
    if (goal->name) upstream_say(talk, goal->name, strlen(goal->name) + 1);
}

/* Its address and port mean nothing after a CONNECT. */
enum upstream_answer socks4_take(struct upstream_talk *talk, uint8_t byte)
{
    unsigned at = talk->at++;
    if (at == 0) return byte == 0 ? UPSTREAM_MORE : UPSTREAM_MALFORMED;
    if (at == 1 && byte != SOCKS4_GRANTED) {
        talk->code = byte;
        return byte > SOCKS4_GRANTED && byte <= SOCKS4_LAST ? UPSTREAM_REFUSED : UPSTREAM_MALFORMED;
    }
    return talk->at == SOCKS4_ANSWER_BYTES ? UPSTREAM_DONE : UPSTREAM_MORE;
}

/* ---- 5 ---- */

enum phase { PHASE_METHOD, PHASE_PASSWORD, PHASE_REPLY };

/* Without a password where the proxy is content with that, so that it isn't told in vain. */
void socks5_begin(struct upstream_talk *talk)
{
    upstream_say_byte(talk, SOCKS5_VERSION);
    upstream_say_byte(talk, talk->goal.user ? 2 : 1);
    upstream_say_byte(talk, METHOD_NONE);
    if (talk->goal.user) upstream_say_byte(talk, METHOD_PASSWORD);
}

static void say_counted(struct upstream_talk *talk, const char *text)
{
    size_t len = strlen(text);
    assert(len <= UINT8_MAX);
    upstream_say_byte(talk, (unsigned)len);
    upstream_say(talk, text, len);
}

static enum upstream_answer ask_for_target(struct upstream_talk *talk)
{
    const struct upstream_goal *goal = &talk->goal;
    upstream_say_byte(talk, SOCKS5_VERSION);
    upstream_say_byte(talk, COMMAND_CONNECT);
    upstream_say_byte(talk, 0);
    if (goal->name) {
        upstream_say_byte(talk, ADDRESS_DOMAIN);
        say_counted(talk, goal->name);
    } else {
        bool v6 = goal->addr.family == ADDR_V6;
        upstream_say_byte(talk, v6 ? ADDRESS_IPV6 : ADDRESS_IPV4);
        upstream_say(talk, goal->addr.ip, v6 ? 16 : 4);
    }
    upstream_say_port(talk);
    talk->phase = PHASE_REPLY;
    talk->at = 0;
    return UPSTREAM_MORE;
}

static enum upstream_answer wants_auth(struct upstream_talk *talk, uint8_t code)
{
    talk->code = code;
    return UPSTREAM_WANTS_AUTH;
}

static enum upstream_answer method_take(struct upstream_talk *talk, uint8_t method)
{
    if (method == METHOD_NONE) return ask_for_target(talk);
    if (method == METHOD_NOT_ANY) return wants_auth(talk, method);
    if (method != METHOD_PASSWORD || !talk->goal.user) return UPSTREAM_MALFORMED; /* not offered */
    upstream_say_byte(talk, PASSWORD_VERSION);
    say_counted(talk, talk->goal.user);
    say_counted(talk, talk->goal.password);
    talk->phase = PHASE_PASSWORD;
    talk->at = 0;
    return UPSTREAM_MORE;
}

/* The kind of the address that follows, which means nothing to us and has to be read. */
static enum upstream_answer kind_take(struct upstream_talk *talk, uint8_t kind)
{
    if (kind == ADDRESS_IPV4)
        talk->left = 4 + PORT_BYTES;
    else if (kind == ADDRESS_IPV6)
        talk->left = 16 + PORT_BYTES;
    else if (kind != ADDRESS_DOMAIN) /* of that the next byte tells the length */
        return UPSTREAM_MALFORMED;
    return UPSTREAM_MORE;
}

/* A refusal counts at its second byte: some proxies hang up without the rest. */
static enum upstream_answer reply_take(struct upstream_talk *talk, unsigned at, uint8_t byte)
{
    if (at == 1 && byte) {
        talk->code = byte;
        return UPSTREAM_REFUSED;
    }
    if (at == 1) return UPSTREAM_MORE;
    if (at == 2) return byte == 0 ? UPSTREAM_MORE : UPSTREAM_MALFORMED;
    if (at == 3) return kind_take(talk, byte);
    if (talk->left == 0) {
        talk->left = (uint16_t)(byte + PORT_BYTES);
        return UPSTREAM_MORE;
    }
    return --talk->left ? UPSTREAM_MORE : UPSTREAM_DONE;
}

enum upstream_answer socks5_take(struct upstream_talk *talk, uint8_t byte)
{
    unsigned at = talk->at++;
    uint8_t version = talk->phase == PHASE_PASSWORD ? PASSWORD_VERSION : SOCKS5_VERSION;
    if (at == 0) return byte == version ? UPSTREAM_MORE : UPSTREAM_MALFORMED;
    switch ((enum phase)talk->phase) {
    case PHASE_METHOD: return method_take(talk, byte);
    case PHASE_PASSWORD: return byte ? wants_auth(talk, byte) : ask_for_target(talk);
    case PHASE_REPLY: return reply_take(talk, at, byte);
    }
    return UPSTREAM_MALFORMED;
}
