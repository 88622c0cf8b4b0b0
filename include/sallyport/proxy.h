/* Sallyport: servers behind a proxy that says who its clients are, by the PROXY protocol
 * (haproxy's doc/proxy-protocol.txt, versions 1 and 2).
 *
 *     sally_proxy_options proxy = {.trusted = "10.0.0.0/24, 2001:db8::7"};
 *     sally_server_options options = {.proxy = &proxy, .admission = &admission};
 *     if (sally_listen(engine, "*:5002", &handler, &options, NULL)) return 1;
 *
 * A header is believed from trusted addresses alone, and nothing is guessed: a connection from one
 * of them must begin with a header, and of any other address none is read. The header is read once,
 * before everything else (TLS will come after it); what follows is data, also another header.
 *
 * Whoever has not shown its header yet has a place in conns_max, is counted among the connections
 * of the server and of the engine, and has no callback. Once it has, the client's own address
 * stands for the connection everywhere: in bans, limits and rates of addresses, strikes, on_accept
 * and sally_conn_peer. The proxy's own address is never judged, so that its clients don't share one
 * count, and strikes can't ban it. So with a proxy the order of admission.h is: the rate and the
 * limit of the server, the header, then the client's address, then on_accept, which runs on the
 * connection's shard.
 *
 * A header may name nobody: a LOCAL command (a proxy's health check), UNKNOWN, an unspecified
 * family, a Unix socket's address. The connection then has the socket's own peer, is asked for by
 * on_accept alone, and no ban, limit or strike of addresses touches it.
 *
 * Of version 2 the values behind the addresses (TLV) are skipped; a checksum among them has to be
 * right. Headers that are not exactly what the specification says are refused with a reset.
 *
 * Threads and errors as in sallyport.h. */
#ifndef SALLYPORT_PROXY_H
#define SALLYPORT_PROXY_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* What becomes of newcomers from addresses that are not trusted. */
typedef enum sally_untrusted {
    SALLY_UNTRUSTED_RESET, /* they are reset (SALLY_REFUSED_PROXY_UNTRUSTED) */
    SALLY_UNTRUSTED_PLAIN, /* they are served as if there were no proxies, and a header is data. The
                              specification advises against it: who reaches the port both ways can
                              choose which of two addresses is counted */
} sally_untrusted;

enum { SALLY_PROXY_NETWORKS_MAX = 256 };

/* Copied by sally_listen, the text too. */
struct sally_proxy_options {
    /* Whose headers are believed: networks as for sally_bans_add, with commas or blanks between,
     * and the word "unix" for the peers of a server's Unix sockets. At least one, at most
     * SALLY_PROXY_NETWORKS_MAX; else SALLY_ENETWORK. Whoever has such an address can say that it is
     * anybody. */
    const char *trusted;
    sally_untrusted untrusted;
    uint32_t header_ms;        /* the header has to be whole after so long; 0: 5000. The
                                  specification wants at least 3000, so that a lost packet can be
                                  sent again */
    uint32_t header_bytes_max; /* of version 2's whole header; 0: 4096; 232 to 65551, else
                                  SALLY_EINVAL. Version 1's has at most 107 */
    uint32_t waiting_max; /* connections of this server whose header is not there; each shard has
                             its part, rounded up; when one more comes to it, the one that waits
                             longest is reset; 0: 1024 */
};

/* The socket's own peer, which is the proxy where there was a header; else as sally_conn_peer.
 * Everything about buf as there. [shard] */
SALLY_API const char *sally_conn_socket_peer(const sally_conn *conn, char *buf, size_t size);

/* The address that the client connected to, as the header tells; "-" where none did. [shard] */
SALLY_API const char *sally_conn_proxied_to(const sally_conn *conn, char *buf, size_t size);

/* Connections of the server that wait for their header now. [any] */
SALLY_API uint32_t sally_server_proxy_waiting(const sally_server *server);

#if defined(__cplusplus)
}
#endif
#endif
