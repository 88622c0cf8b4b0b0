/* Whose PROXY headers a server believes, and how long it waits for them. Made with its server and
 * read-only then, but for the count; any thread. */
#ifndef NET_PROXIES_H
#define NET_PROXIES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "admission/cidr.h"
#include "base/mem.h"
#include "sallyport/proxy.h"

struct proxies {
    struct mem *mem;
    uint32_t header_ms;
    uint32_t header_bytes_max;
    uint32_t waiting_max;
    uint32_t count;
    atomic_uint waiting; /* connections whose header is not there */
    bool unix_peers;     /* they are trusted */
    bool plain;          /* SALLY_UNTRUSTED_PLAIN */
    struct cidr trusted[];
};

/* SALLY_ENETWORK, SALLY_EINVAL, SALLY_ENOMEM. */
int proxies_create(struct proxies **proxies, struct mem *mem, const sally_proxy_options *options);
void proxies_destroy(struct proxies *proxies);

bool proxies_trust(const struct proxies *proxies, const struct addr *peer);

#endif
