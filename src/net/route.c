/* Proxies and names of outgoing connections; see route.h. */
#include "net/route.h"

#include <assert.h>
#include <string.h>

#include "net/conn.h"
#include "net/dial.h"

_Static_assert((int)UPSTREAM_NAME_MAX == (int)ADDRESS_NAME_MAX, "one bound for names");

/* ---- The name ---- */

/* Without a dot at its end, which RFC 6066 section 3 doesn't want and which changes nothing. */
static int route__name(struct policy *policy, const char *name)
{
    size_t len = strlen(name);
    if (len && name[len - 1] == '.') len--;
    policy->server_name = mem_alloc(policy->mem, len + 1);
    if (!policy->server_name) return SALLY_ENOMEM;
    memcpy(policy->server_name, name, len);
    policy->server_name[len] = 0;
    return 0;
}

/* ---- The proxy ---- */

static bool user_is_valid(const sally_upstream *upstream)
{
    const char *user = upstream->user, *password = upstream->password;
    if (!user) return !password;
    if (!*user || strlen(user) > SALLY_UPSTREAM_USER_MAX) return false;
    if (password && strlen(password) > SALLY_UPSTREAM_USER_MAX) return false;
    switch (upstream->kind) {
    case SALLY_UPSTREAM_SOCKS4:
    case SALLY_UPSTREAM_SOCKS4A: return !password;
    case SALLY_UPSTREAM_SOCKS5: return password && *password; /* RFC 1929 section 2 */
    case SALLY_UPSTREAM_HTTP: return !strchr(user, ':');      /* RFC 7617 section 2 */
    }
    return false;
}

static bool takes_v4_alone(sally_upstream_kind kind)
{
    return kind == SALLY_UPSTREAM_SOCKS4 || kind == SALLY_UPSTREAM_SOCKS4A;
}

/* What the proxy gets has to fit into its protocol. */
static int route__judge(const struct policy *policy, const struct route *route)
{
    if (route->target.kind == ADDRESS_PATH) return SALLY_EADDRESS;
    bool address = route->target.kind == ADDRESS_IP && (route->by_address || !policy->server_name);
    bool v6 = address && route->target.ip.family == ADDR_V6;
    return v6 && takes_v4_alone(route->kind) ? SALLY_ENOTSUP : 0;
}

static const char *route__keep(struct route *route, size_t at, const char *text)
{
    return text ? memcpy(route->text + at, text, strlen(text) + 1) : NULL;
}

static int route__proxy(struct policy *policy, const sally_upstream *upstream,
                        const struct address *to)
{
    struct address proxy;
    if ((unsigned)upstream->kind > SALLY_UPSTREAM_HTTP || !upstream->address) return SALLY_EINVAL;
    if (!user_is_valid(upstream)) return SALLY_EINVAL;
    int err = dial_parse(&proxy, upstream->address);
    if (err) return err;
    size_t user_bytes = upstream->user ? strlen(upstream->user) + 1 : 0;
    size_t bytes = sizeof(struct route) + user_bytes;
    if (upstream->password) bytes += strlen(upstream->password) + 1;
    struct route *route = mem_zalloc(policy->mem, bytes);
    if (!route) return SALLY_ENOMEM;
    policy->route = route;
    route->bytes = bytes;
    route->kind = upstream->kind;
    route->by_address = upstream->resolve_here || upstream->kind == SALLY_UPSTREAM_SOCKS4;
    route->proxy = proxy;
    route->target = *to;
    route->user = route__keep(route, 0, upstream->user);
    route->password = route__keep(route, user_bytes, upstream->password);
    return route__judge(policy, route);
}

int route_make(struct policy *policy, const sally_connect_options *options,
               const struct address *to)
{
    int err = 0;
    if (options->server_name && !address_name_is_valid(options->server_name)) return SALLY_EINVAL;
    if (options->server_name)
        err = route__name(policy, options->server_name);
    else if (to->kind == ADDRESS_NAME)
        err = route__name(policy, to->host);
    return err || !options->upstream ? err : route__proxy(policy, options->upstream, to);
}

void route_free(struct policy *policy)
{
    if (policy->server_name)
        mem_free(policy->mem, policy->server_name, strlen(policy->server_name) + 1);
    if (policy->route) mem_free(policy->mem, policy->route, policy->route->bytes);
}

const struct addr *route_pick(const struct route *route, const struct addr *addrs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (addrs[i].family == ADDR_V4 || !takes_v4_alone(route->kind)) return &addrs[i];
    return NULL;
}

void route_goal(const struct policy *policy, const struct addr *found, struct upstream_goal *goal)
{
    const struct route *route = policy->route;
    *goal = (struct upstream_goal){
        .kind = route->kind,
        .name = route->by_address ? NULL : policy->server_name,
        .addr = route_asks(route) ? *found : route->target.ip,
        .user = route->user,
        .password = route->password,
    };
}

const char *sally_conn_server_name(const sally_conn *conn)
{
    return conn ? conn->policy->server_name : NULL;
}
