/* The memory budget: process (all of an engine's allocations, memory_max), server (what its
 * connections hold in queues, server memory_max), connection (the same of one, its memory_max,
 * without levels: a send finds it full, a peer that passes it is reset). On the way up:
 *   70 %  TIGHT    a send queue counts as full from its low mark on, and who is above it is not
 * read from 85 %  REFUSES  from an eighth of the low mark on; no newcomers, they wait in the
 * backlog 95 %  CLOSES   from the first byte on; the connections that hold the most are aborted
 *                  (SALLY_CLOSE_MEMORY) unless that is little, and who would keep more than a
 *                  little of what came
 *   100 % allocations fail; of a server: sends find the queue full
 * An empty queue takes a send at every level, but not a big one: for it SALLY_EFULL would have no
 * on_drain to come, so it is SALLY_ENOMEM. */
#ifndef NET_BUDGET_H
#define NET_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/shard.h"

enum budget_level { BUDGET_FREE, BUDGET_TIGHT, BUDGET_REFUSES, BUDGET_CLOSES };

/* How full `used` of `max` is; max 0: no limit. */
static inline enum budget_level budget_level(uint64_t used, uint64_t max)
{
    if (!max || used < max / 100 * 70) return BUDGET_FREE;
    if (used < max / 100 * 85) return BUDGET_TIGHT;
    return used < max / 100 * 95 ? BUDGET_REFUSES : BUDGET_CLOSES;
}

/* Of the engine's memory. Any thread. */
enum budget_level budget_of_engine(const sally_engine *engine);

/* Of the server's connections. Any thread. */
enum budget_level budget_of_server(const sally_server *server);

/* Whether newcomers have to wait. Any thread. */
bool budget_refuses(const sally_server *server);

/* By how much the budgets let the queue grow; SIZE_MAX: there are none. */
size_t budget_room(const sally_conn *conn);

/* Whether the budgets let the queue grow by len: 0, SALLY_EFULL or SALLY_ENOMEM. */
int budget_judge(const sally_conn *conn, size_t len);

/* How many received bytes a connection may keep in new memory; 0: no limit. At the highest level
 * they are few: what is left is for small answers, so that who asks for no more is served. */
uint32_t budget_kept_max(const sally_conn *conn);

/* Whether a queue may not grow past its low mark. */
bool budget_is_tight(const sally_conn *conn);

/* After bytes have come: whether it has more than its own memory_max, and then it ends. */
void budget_bound(sally_conn *conn);

/* Brings what the connection holds to its server's account. */
void budget_charge(sally_conn *conn);

/* In each turn of an engine or with a server that has a budget: notes the level, closes the worst
 * at the highest. */
void budget_turn(struct shard *shard);

#endif
