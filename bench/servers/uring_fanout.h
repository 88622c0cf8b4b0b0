/* raw_uring's other mode: each message to all other connections. */
#ifndef BENCH_SERVERS_URING_FANOUT_H
#define BENCH_SERVERS_URING_FANOUT_H

/* Serves the listener for ever. */
_Noreturn void uring_fanout(int listener);

#endif
