#include "net/proxies.h"

#include <string.h>

#include "filter/proxy_header.h"

enum { HEADER_MS = 5000, WAITING_MAX = 1024 };

static const char separators[] = ", \t\r\n";

/* The next word; NULL at the end. */
static const char *word_next(const char **text, size_t *len)
{
    const char *word = *text + strspn(*text, separators);
    *len = strcspn(word, separators);
    *text = word + *len;
    return *len ? word : NULL;
}

/* `networks` NULL: they are only counted. */
static int read_trusted(const char *text, struct proxies *proxies, struct cidr *networks)
{
    char one[CIDR_TEXT_MAX];
    size_t len;
    proxies->count = 0;
    for (const char *word; (word = word_next(&text, &len));) {
        struct cidr cidr;
        if (len >= sizeof one) return SALLY_ENETWORK;
        memcpy(one, word, len);
        one[len] = 0;
        if (strcmp(one, "unix") == 0) {
            proxies->unix_peers = true;
            continue;
        }
        if (cidr_parse(&cidr, one, NULL) || proxies->count == SALLY_PROXY_NETWORKS_MAX)
            return SALLY_ENETWORK;
        if (networks) networks[proxies->count] = cidr;
        proxies->count++;
    }
    return proxies->count || proxies->unix_peers ? 0 : SALLY_ENETWORK;
}

static size_t proxies_bytes(unsigned shards, uint32_t count)
{
    return sizeof(struct proxies) + shards * sizeof(struct greeting_list) +
           count * sizeof(struct cidr);
}

/* Each shard has its part, rounded up: where one is slow, those of the others don't take its own
 * places. */
static uint32_t waiting_max_of(const sally_proxy_options *options, unsigned shards)
{
    uint32_t all = options->waiting_max ? options->waiting_max : WAITING_MAX;
    return all / shards + (all % shards != 0);
}

int proxies_create(struct proxies **out, struct mem *mem, unsigned shards,
                   const sally_proxy_options *options)
{
    struct proxies counted = {.count = 0};
    uint32_t bytes_max =
        options->header_bytes_max ? options->header_bytes_max : PROXY_HEADER_DEFAULT;
    if ((unsigned)options->untrusted > SALLY_UNTRUSTED_PLAIN || bytes_max < PROXY_HEADER_LEAST ||
        bytes_max > PROXY_HEADER_MOST || options->header_ms == SALLY_FOREVER)
        return SALLY_EINVAL;
    int err = options->trusted ? read_trusted(options->trusted, &counted, NULL) : SALLY_ENETWORK;
    if (err) return err;
    struct proxies *proxies = mem_zalloc(mem, proxies_bytes(shards, counted.count));
    if (!proxies) return SALLY_ENOMEM;
    proxies->mem = mem;
    proxies->shards = shards;
    proxies->header_ms = options->header_ms ? options->header_ms : HEADER_MS;
    proxies->header_bytes_max = bytes_max;
    proxies->waiting_max = waiting_max_of(options, shards);
    proxies->plain = options->untrusted == SALLY_UNTRUSTED_PLAIN;
    proxies->trusted = (struct cidr *)(void *)(proxies->lists + shards);
    (void)read_trusted(options->trusted, proxies, proxies->trusted); /* as before */
    *out = proxies;
    return 0;
}

void proxies_destroy(struct proxies *proxies)
{
    if (proxies) mem_free(proxies->mem, proxies, proxies_bytes(proxies->shards, proxies->count));
}

bool proxies_trust(const struct proxies *proxies, const struct addr *peer)
{
    if (peer->family == ADDR_UNIX) return proxies->unix_peers;
    for (uint32_t i = 0; i < proxies->count; i++)
        if (cidr_covers(&proxies->trusted[i], peer)) return true;
    return false;
}
