/* What waits in the system's backlogs of a server's listening sockets, and what found no place
 * there: asked with each tick of the watchdog, on the listener's shard, since that one alone knows
 * that the descriptor is still the listener's. Kept in sums of the server, which any thread reads.
 */
#ifndef NET_BACKLOG_H
#define NET_BACKLOG_H

struct listener;

/* Asks the system, where it tells. The listener's shard; it has its socket. */
void backlog_ask(struct listener *listener);

/* The socket is to be closed: nothing waits any more. What was dropped stays counted. */
void backlog_forget(struct listener *listener);

#endif
