/* A message on its way to many connections: one object, with a letter for each shard in it. A shard
 * works on one cast at a time, in slices, and takes no other letter before that is finished: so
 * everything that a thread sends keeps its order, while events and timers go on between the slices.
 *
 * Made by any thread; each part is then its shard's, and the last to finish tells and frees. */
#ifndef NET_CAST_H
#define NET_CAST_H

#include <stdbool.h>
#include <stdint.h>

#include "sallyport/group.h"

struct shard;

/* To all connections of a server, or to the members of a group: one of both. */
int cast_send(sally_engine *engine, sally_server *server, sally_group *group, sally_buf *buf,
              const sally_broadcast_options *options);

/* A turn begins: so much may be done in it. */
void cast_new_turn(struct shard *shard);

/* Goes on with the shard's cast, if there is one; true when it has none any more. */
bool cast_go_on(struct shard *shard);

/* The shard has ended, and no connection is left: what it has not finished is over. */
void cast_abandon(struct shard *shard);

#endif
