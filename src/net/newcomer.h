/* Newcomers: what happens to a connection that a listener has accepted. It is judged in the order
 * that sallyport/admission.h describes; then it becomes a connection on some shard, waits in one of
 * the listener's two lobbies (`parked`: no room; `delayed`: on_accept wants to be asked again), is
 * sent off with the farewell, or is reset. On the listener's shard. */
#ifndef NET_NEWCOMER_H
#define NET_NEWCOMER_H

#include "net/listener.h"

/* The handle is taken over. */
void newcomer_judge(struct listener *listener, struct newcomer *newcomer);

/* What on_accept says of it; allowed where there is none. On any shard. */
sally_verdict newcomer_verdict(sally_server *server, const struct listening *address,
                               const struct newcomer *newcomer);

/* One was refused, for that cause, on that shard. */
void newcomer_count_refused(sally_server *server, struct shard *shard, sally_refusal why);

/* As many of those parked as there is room for. */
void newcomers_let_in(struct listener *listener);

/* Those delayed whose time is over. */
void newcomers_ask_again(struct listener *listener);

/* Nobody who waits will be let in. */
void newcomers_clear(struct listener *listener);

#endif
