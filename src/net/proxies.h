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

/* Connections of one shard that wait for a header, in the order in which they came; the shard's. */
struct greeting_list {
    sally_conn *first;
    sally_conn *last;
    uint32_t count;
};

struct proxies {
    struct mem *mem;
    uint32_t header_ms;
    uint32_t header_bytes_max;
    uint32_t waiting_max; /* of a shard */
    atomic_uint waiting;  /* of all */
    bool unix_peers;      /* they are trusted */
    bool plain;           /* SALLY_UNTRUSTED_PLAIN */
    uint32_t count;
    unsigned shards;
    struct cidr *trusted; /* so many, behind the lists */
    struct greeting_list lists[];
};

/* SALLY_ENETWORK, SALLY_EINVAL, SALLY_ENOMEM. */
int proxies_create(struct proxies **proxies, struct mem *mem, unsigned shards,
                   const sally_proxy_options *options);
void proxies_destroy(struct proxies *proxies);

bool proxies_trust(const struct proxies *proxies, const struct addr *peer);

#endif
