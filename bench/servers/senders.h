/* The threads that send to a server's connections from outside of its loop: 100 of them, each to
 * one connection after the other, as fast as it is taken. What is refused because a queue is full is
 * offered again a little later. */
#ifndef BENCH_SERVERS_SENDERS_H
#define BENCH_SERVERS_SENDERS_H

#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

enum senders_answer { SENDERS_TAKEN, SENDERS_FULL, SENDERS_GONE };

/* Takes a message of SERVER_MESSAGE_BYTES for a connection; from any thread. */
typedef enum senders_answer (*senders_fn)(void *context, uint64_t id, const void *message);

/* Starts them; they wait for the first connection. */
void senders_start(senders_fn fn, void *context);

/* A connection is open, and this names it. From the loop's thread. */
void senders_add(uint64_t id);

#if defined(__cplusplus)
}
#endif
#endif
