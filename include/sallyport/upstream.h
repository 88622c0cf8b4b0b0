/* Sallyport: outgoing connections through a proxy: SOCKS 4, 4a and 5, or HTTP's CONNECT.
 *
 *     sally_upstream proxy = {.kind = SALLY_UPSTREAM_SOCKS5, .address = "192.0.2.1:1080"};
 *     sally_connect_options options = {.upstream = &proxy};
 *     int err = sally_connect(engine, "example.org:443", &handler, &options, NULL);
 *
 * The proxy's address is dialled as any other. Then the proxy is asked for the address that
 * sally_connect or sally_client_create was given, and when it has agreed the connection is open:
 * on_open comes, and what the proxy sent behind its answer is the first on_data. connect_ms covers
 * all of it but a handshake of filters, which goes to the target through the proxy and has
 * first_byte_ms (sallyport/filter.h), and a client tries again after a refusal as after any failed
 * attempt.
 *
 * Names go to the proxy as they are and are not looked up here, so that a name that only the proxy
 * knows works, and nobody here learns of it; resolve_here changes that.
 *
 * What goes wrong with the proxy is SALLY_CLOSE_CONNECT_FAILED, with `error` and `sys_error` of
 * sally_close_info or sally_client_event:
 *   SALLY_EPROXY      it refused, and sys_error has its code: an HTTP status (RFC 9110 section 15),
 *                     SOCKS5's reply field (RFC 1928 section 6), SOCKS4's 91 to 93; 0: it hung up
 *                     without a word
 *   SALLY_EPROXYAUTH  it wants a name and password, or others: HTTP status 407, SOCKS5's status of
 *                     RFC 1929, or 255 for none of the methods offered
 *   SALLY_EMALFORMED  its answer is none of its protocol, or has more than
 *                     SALLY_UPSTREAM_HEAD_MAX bytes
 * or what failed with the connection to it. One that says nothing meets connect_ms
 * (SALLY_CLOSE_CONNECT_TIMEOUT).
 *
 * Neither name and password nor the target's name is hidden from who can read the connection to the
 * proxy: none of these protocols encrypts.
 *
 * sally_conn_peer is the proxy's address; the proxy does not tell the target's. */
#ifndef SALLYPORT_UPSTREAM_H
#define SALLYPORT_UPSTREAM_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef enum sally_upstream_kind {
    SALLY_UPSTREAM_SOCKS5,  /* RFC 1928, user and password by RFC 1929 */
    SALLY_UPSTREAM_SOCKS4,  /* IPv4 targets alone; names are looked up here */
    SALLY_UPSTREAM_SOCKS4A, /* IPv4 targets and names */
    SALLY_UPSTREAM_HTTP,    /* CONNECT (RFC 9110 section 9.3.6), Basic authorization (RFC 7617) */
} sally_upstream_kind;

enum {
    SALLY_UPSTREAM_USER_MAX = 255, /* bytes of a user's name, and of a password */
    SALLY_UPSTREAM_HEAD_MAX = 8192 /* of an HTTP proxy's answer up to its empty line, answers of
                                      status 1xx before it included */
};

/* Copied by the call that is given it, the texts too. SALLY_EINVAL for what contradicts itself,
 * SALLY_EADDRESS for `address`, and for a target that is a Unix socket; SALLY_ENOTSUP for an IPv6
 * target by SOCKS 4 or 4a. */
struct sally_upstream {
    sally_upstream_kind kind;
    const char *address;  /* the proxy's, as for sally_connect */
    const char *user;     /* NULL: none. SOCKS4: the user id; HTTP: without a colon */
    const char *password; /* SOCKS5: with `user`, 1 to 255 bytes; HTTP: NULL is the empty one;
                             SOCKS4: none */
    bool resolve_here;    /* a name is looked up here, and the proxy gets its first address (SOCKS 4
                             and 4a: its first IPv4 address); so does SOCKS4 without it */
};

/* A proxy as one text. `upstream` points at the other members, so the struct must not be copied. */
typedef struct sally_upstream_url {
    sally_upstream upstream;
    char address[264];
    char user[SALLY_UPSTREAM_USER_MAX + 1];
    char password[SALLY_UPSTREAM_USER_MAX + 1];
} sally_upstream_url;

/* Reads "scheme://[user[:password]@]host:port[/]" (RFC 3986 section 3), as programs take it from a
 * setting. Schemes are socks4, socks4a, socks5 (also socks5h) and http; in user and password any
 * byte may be written as %XX, and ':', '@', '/' and '%' must be. The port has to be there, and an
 * IPv6 address stands in brackets. (Other programs look the name up here for "socks5"; that is
 * resolve_here, which no URL sets.) SALLY_EINVAL, SALLY_EADDRESS (host and port), and `url` is not
 * to be used then. [any] */
SALLY_API int sally_upstream_parse(sally_upstream_url *url, const char *text) SALLY_MUST_USE;

#if defined(__cplusplus)
}
#endif
#endif
