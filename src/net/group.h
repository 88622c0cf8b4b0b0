/* Groups of connections. Each shard has the list of its own members, which no other thread touches;
 * a connection has the list of its memberships. A membership is one allocation, made by who asks
 * for it, so that a join that was accepted can't fail later. */
#ifndef NET_GROUP_H
#define NET_GROUP_H

#include <stdint.h>

#include "net/letter.h"
#include "sallyport/group.h"

enum { GROUPS_MAX = 1 << 20, MEMBERSHIPS_PER_CONN = 16 };

/* While it travels to its shard it is the letter. */
struct membership {
    struct letter_call call;
    sally_group *group; /* a reference */
    sally_id id;
    uint64_t serial; /* gets what was sent after this */
    sally_conn *conn;
    struct membership *next; /* of the group's, on this shard */
    struct membership *prev;
    struct membership *conn_next; /* of the connection's */
};

sally_group *group_ref(sally_group *group);
void group_unref(sally_group *group);
sally_engine *group_engine(const sally_group *group);

/* The first of a shard's members; the shard's thread. */
struct membership *group_first(const sally_group *group, unsigned shard);

/* The connection has gone; its shard's thread. */
void group_leave_all(struct membership **groups);

/* The engine goes, and all its connections have gone: so do its groups. */
void group_free_all(sally_engine *engine);

#endif
