/* Asking a proxy for a connection: SOCKS 4 and 4a (the two notes of Ying-Da Lee's, as OpenSSH and
 * others keep them), SOCKS 5 (RFC 1928, 1929), HTTP's CONNECT (RFC 9110 section 9.3.6). The proxy's
 * bytes in, bytes for the proxy and an answer out; any split gives the same. No memory of its own,
 * no clock; any thread, one at a time for one talk.
 *
 * The proxy is not trusted: nothing that comes reaches an assert, lengths are checked, and no
 * answer can be longer than its protocol says, or SALLY_UPSTREAM_HEAD_MAX. What is to be said is
 * only ever appended, so that what was said before may still be on its way. */
#ifndef FILTER_UPSTREAM_H
#define FILTER_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "sallyport/upstream.h"

enum {
    UPSTREAM_NAME_MAX = 253,   /* of a host name */
    UPSTREAM_SAYS_MAX = 1280,  /* all that is said in one talk: an HTTP request with the longest
                                  names has 1260 bytes */
    UPSTREAM_ANSWER_MAX = 264, /* of a SOCKS answer: 4, a length, 255, 2; fits a uint16_t */
};

enum upstream_answer {
    UPSTREAM_MORE,       /* there may be something new to say */
    UPSTREAM_DONE,       /* the proxy has agreed; what follows is the target's */
    UPSTREAM_REFUSED,    /* `code` has the proxy's reason */
    UPSTREAM_WANTS_AUTH, /* likewise */
    UPSTREAM_MALFORMED,
};

/* What the proxy is asked for. The texts are the owner's, as long as the talk. */
struct upstream_goal {
    sally_upstream_kind kind;
    const char *name;     /* at most UPSTREAM_NAME_MAX bytes; NULL: the address is meant */
    struct addr addr;     /* its port counts in either case; IPv4 for SOCKS 4 and 4a */
    const char *user;     /* 1 to SALLY_UPSTREAM_USER_MAX bytes; NULL: none */
    const char *password; /* as long; SOCKS 5: with user; HTTP: NULL is the empty one */
};

struct upstream_talk {
    struct upstream_goal goal;
    uint16_t code; /* of REFUSED and WANTS_AUTH, as sally_close_info.sys_error has it */
    uint16_t says_len;

    /* the reader's own */
    uint16_t at;   /* SOCKS: in the answer at hand; HTTP: in the line */
    uint16_t left; /* SOCKS 5: of the address in the answer */
    uint16_t head; /* HTTP: bytes so far */
    uint8_t phase;
    bool cr;    /* HTTP: the last byte was one */
    bool colon; /* HTTP: the line has one */
    uint8_t says[UPSTREAM_SAYS_MAX];
};

/* Begins, so that the first of what is to be said is there. */
void upstream_begin(struct upstream_talk *talk, const struct upstream_goal *goal);

/* Takes bytes: after UPSTREAM_MORE all of them, after UPSTREAM_DONE those of the answer. Not to be
 * called again after another answer than UPSTREAM_MORE. */
enum upstream_answer upstream_feed(struct upstream_talk *talk, const void *data, size_t len,
                                   size_t *used);

/* ---- For the protocols' own files ---- */

void upstream_say(struct upstream_talk *talk, const void *data, size_t len);
void upstream_say_byte(struct upstream_talk *talk, unsigned byte);
void upstream_say_port(struct upstream_talk *talk);

void socks4_begin(struct upstream_talk *talk);
enum upstream_answer socks4_take(struct upstream_talk *talk, uint8_t byte);
void socks5_begin(struct upstream_talk *talk);
enum upstream_answer socks5_take(struct upstream_talk *talk, uint8_t byte);
void connect_begin(struct upstream_talk *talk);
enum upstream_answer connect_take(struct upstream_talk *talk, uint8_t byte);

#endif
