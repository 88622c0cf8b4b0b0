/* One byte at a time, so that a split can't matter: a connection has one answer, of 10 bytes or of
 * a few lines. See upstream.h. */
#include "filter/upstream.h"

#include <assert.h>
#include <string.h>

_Static_assert(UPSTREAM_SAYS_MAX <= UINT16_MAX && SALLY_UPSTREAM_HEAD_MAX < UINT16_MAX,
               "lengths have 16 bits");

void upstream_say(struct upstream_talk *talk, const void *data, size_t len)
{
    assert(len <= UPSTREAM_SAYS_MAX - (size_t)talk->says_len); /* names are bounded, see goal */
    memcpy(talk->says + talk->says_len, data, len);
    talk->says_len = (uint16_t)(talk->says_len + len);
}

void upstream_say_byte(struct upstream_talk *talk, unsigned byte)
{
    upstream_say(talk, &(uint8_t){(uint8_t)byte}, 1);
}

void upstream_say_port(struct upstream_talk *talk)
{
    upstream_say_byte(talk, talk->goal.addr.port >> 8);
    upstream_say_byte(talk, talk->goal.addr.port & 0xff);
}

void upstream_begin(struct upstream_talk *talk, const struct upstream_goal *goal)
{
    memset(talk, 0,
           offsetof(struct upstream_talk, says)); /* the rest is written before it counts */
    talk->goal = *goal;
    switch (goal->kind) {
    case SALLY_UPSTREAM_SOCKS4:
    case SALLY_UPSTREAM_SOCKS4A: socks4_begin(talk); break;
    case SALLY_UPSTREAM_SOCKS5: socks5_begin(talk); break;
    case SALLY_UPSTREAM_HTTP: connect_begin(talk); break;
    }
}

static enum upstream_answer talk_take(struct upstream_talk *talk, uint8_t byte)
{
    switch (talk->goal.kind) {
    case SALLY_UPSTREAM_SOCKS4:
    case SALLY_UPSTREAM_SOCKS4A: return socks4_take(talk, byte);
    case SALLY_UPSTREAM_SOCKS5: return socks5_take(talk, byte);
    case SALLY_UPSTREAM_HTTP: return connect_take(talk, byte);
    }
    return UPSTREAM_MALFORMED;
}

enum upstream_answer upstream_feed(struct upstream_talk *talk, const void *data, size_t len,
                                   size_t *used)
{
    const uint8_t *bytes = data;
    enum upstream_answer answer = UPSTREAM_MORE;
    *used = 0;
    while (*used < len && answer == UPSTREAM_MORE) answer = talk_take(talk, bytes[(*used)++]);
    return answer;
}
