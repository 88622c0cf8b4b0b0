/* What an outgoing connection needs until it is open: its name or addresses, and which is tried.
 * Also the letter that brings it to its shard, and back from the resolver. */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "net/letter.h"
#include "net/resolver.h"
#include "os/address.h"

struct dial {
    struct letter letter;
    sally_id id;
    struct shard *shard;
    struct policy *policy; /* a reference, until the connection has it */
    struct addr peer;      /* the one that is tried */
    struct addr target;    /* that the proxy gets, once it is known here; see route_asks */
    struct address to;     /* a path, an address, or the name */
    struct lookup lookup;
    uint64_t began_ms;         /* connect_ms counts from here */
    uint64_t attempt_ms;       /* attempt_ms of the options counts from here */
    unsigned next;             /* in lookup.addrs: the one to try next */
    bool away;                 /* a mailbox or the resolver has it: it comes back as a letter */
    struct membership *groups; /* of the connection, until it has a place for them */
    bool asks_target;          /* what is looked up is the target's name, not the proxy's */
    bool closing;              /* the attempt is being closed; PORT_CLOSE brings the next */
    int error;                 /* of the last attempt */
    int sys_error;
};

/* A text that one can connect to. SALLY_EADDRESS. */
int dial_parse(struct address *to, const char *text);

/* The policy of outgoing connections to `to`. SALLY_EINVAL, SALLY_EADDRESS, SALLY_ENOTSUP,
 * SALLY_ENOMEM. */
int dial_policy(struct policy **policy, sally_engine *engine, const sally_handler *handler,
                const sally_connect_options *options, const struct address *to);

/* A connection on this shard, begun at once; a reference to the policy is taken. After 0
 * conn_finish follows, not inside this call. SALLY_ELIMIT, SALLY_ENOMEM. The shard's thread. */
int dial_here(struct shard *shard, const struct address *to, struct policy *policy, sally_id *id);

/* The letters, on the connection's shard. */
void dial_begin(struct dial *dial);
void dial_resolved(struct dial *dial);

/* PORT_CONNECT or PORT_CLOSE came while the connection is DIALING. */
void dial_on_event(sally_conn *conn, const struct port_event *event);

/* The attempt's or the whole time is over, or the next attempt is due. */
void dial_on_timer(sally_conn *conn);
uint64_t dial_due_ms(const sally_conn *conn);

/* For the tunnel, in which a dial with a proxy ends. It can be opened; it can't be made; its time
 * is over. */
void dial_open(sally_conn *conn);
void dial_failed(sally_conn *conn, int error, int sys_error);
void dial_late(sally_conn *conn);

/* The connection is open, or ending: the dial is freed, or will be when the resolver brings it
 * back, and the connection has the peer's address. False: it has not, for want of memory. */
bool dial_drop(sally_conn *conn);

void dial_free(struct dial *dial);

#endif
