/* What an outgoing connection's policy knows beside addresses: the peer's host name, and the proxy
 * on the way with what it is asked for. Made with the policy and read-only then, so any shard reads
 * it; the policy's memory. Most policies have neither. */
#ifndef NET_ROUTE_H
#define NET_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "filter/upstream.h"
#include "net/policy.h"
#include "os/address.h"

struct route {
    size_t bytes; /* of all this */
    sally_upstream_kind kind;
    bool by_address; /* the proxy gets an address, though there may be a name */
    struct address proxy;
    struct address target; /* an address or a name */
    const char *user;      /* in `text`, as the password; NULL: none */
    const char *password;
    char text[];
};

/* Of these options, for a connection to `to`; policy_release frees it. SALLY_EINVAL,
 * SALLY_EADDRESS, SALLY_ENOTSUP, SALLY_ENOMEM. */
int route_make(struct policy *policy, const sally_connect_options *options,
               const struct address *to);
void route_free(struct policy *policy);

/* The target is a name that has to be looked up here before the proxy is dialled. */
static inline bool route_asks(const struct route *route)
{
    return route->by_address && route->target.kind == ADDRESS_NAME;
}

/* Which of the target's addresses the proxy is to get; NULL: it can take none of them. */
const struct addr *route_pick(const struct route *route, const struct addr *addrs, unsigned count);

/* What the proxy is asked for; `found` is what route_pick said, if the route asks. */
void route_goal(const struct policy *policy, const struct addr *found, struct upstream_goal *goal);

#endif
