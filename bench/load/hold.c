/* Connections that do nothing after one echo each: for the memory that they cost. Says `held` when
 * all are there and have had their echo, and ends when its standard input does. */
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "load.h"
#include "meter.h"
#include "peer.h"

enum { ECHO_MS = 10000, HOLD_MS = 60000 };

static void echo_once(struct peers *peers, struct peer *peer, uint32_t size, struct meter *meter)
{
    struct pollfd readable = {.fd = peer->fd, .events = POLLIN};
    peer->goal = size;
    if (!peer_send(peers, peer)) meter_error(meter, "a connection failed");
    while (peer->received < size && poll(&readable, 1, ECHO_MS) == 1)
        if (peer_receive(peer) < 0) break;
    if (peer->received != size) meter_error(meter, "no echo came");
}

void load_hold(const struct load_options *options, struct meter *meter)
{
    struct peers peers;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    peers_open(&peers, options);
    meter_start(meter, 0, 0, options->pid);
    (void)meter_goes_on(meter, meter_now());
    for (uint32_t n = 0; n < options->conns; n++) {
        echo_once(&peers, &peers.all[n], options->size, meter);
        meter->requests++;
    }
    printf("held\n");
    fflush(stdout);
    (void)poll(&input, 1, HOLD_MS);
}
