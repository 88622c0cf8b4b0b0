/* A connection's filters at work: bytes in at one side and out at the other, no sockets, no clock.
 * Layer 0 is next to the wire. One thread; memory is the owner's, but for what waits between the
 * layers, which is in chunks of the pools.
 *
 * What comes is pulled, one call of one filter at a time, the highest first: so nothing is made
 * while what was made before has not been taken, and each layer has at most one chunk. Whoever
 * steps decides before each step whether to go on.
 *
 * What goes is pushed through whole: its room in the queue is taken before the first filter sees a
 * byte, by what they declare, so that it can't fail for want of it. */
#ifndef FILTER_STACK_H
#define FILTER_STACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sendq.h"
#include "filter/filters.h"

enum {
    STACK_ROOM_BYTES = 4096, /* between two layers of what goes */
    /* of a shard: one below each filter but the lowest, and one for who has none of its own */
    STACK_ROOMS_BYTES = SALLY_FILTERS_MAX * STACK_ROOM_BYTES,
};

struct stack_layer {
    const sally_filter *filter;
    void *state;
    struct sendq made; /* by its `in`, and not taken yet */
    bool open;
    bool more; /* its `in` wants to be asked again */
    bool over; /* its `in` has come to the end */
};

struct stack {
    struct sendq_pools *pools;
    unsigned char *rooms; /* STACK_ROOMS_BYTES, empty between two calls: all of a shard use it */
    unsigned count;
    unsigned replies;   /* a bit for each layer that has something to send by itself */
    const char *blamed; /* whose call was the last to fail; NULL: none */
    struct stack_layer layers[SALLY_FILTERS_MAX];
};

/* What came from the wire; `over`: nothing follows it. */
struct stack_wire {
    const unsigned char *data;
    size_t len;
    size_t used;
    bool over;
};

/* `states` has filters_states_bytes, all 0. */
void stack_init(struct stack *stack, const struct filters *filters, struct sendq_pools *pools,
                unsigned char *rooms, unsigned char *states);

/* Opens the filters, from the wire up. The first error ends it. */
int stack_open(struct stack *stack, sally_conn *conn);

/* Closes those that were opened, and drops what waits between them. */
void stack_close(struct stack *stack);

/* Every handshake is over. */
bool stack_is_ready(const struct stack *stack);

/* ---- What comes ---- */

/* One call of one filter: 1; 0 when there is nothing to do before there is more from the wire, or
 * before what the highest has made is taken; else the SALLY_E* that ends it. Replies may be due
 * after each of these. */
int stack_step(struct stack *stack, struct stack_wire *wire);

/* What the highest has made. */
static inline struct sendq *stack_made(struct stack *stack)
{
    return &stack->layers[stack->count - 1].made;
}

/* There is something to do without more from the wire; `over`: that has ended. */
bool stack_is_pending(const struct stack *stack, bool over);

/* All has come and was taken. */
bool stack_is_over(const struct stack *stack);

/* Bytes between the layers. */
uint32_t stack_holds(const struct stack *stack);
void stack_drop(struct stack *stack);

/* ---- What goes ---- */

/* The most that becomes of len bytes that layer `from` is given (0: of a reply or an end of its);
 * SIZE_MAX when that is more than a queue may ever have. */
size_t stack_out_max(const struct stack *stack, unsigned from, size_t len);

/* Puts into the queue what becomes of the bytes that layer `from` is given. SALLY_EINVAL when that
 * is more than the room; or what a filter says. After an error the stream is torn. */
int stack_out(struct stack *stack, unsigned from, struct span input, bool flush,
              struct sendq *queue, struct sendq_room *room);

/* The same with the end of all that goes, from the highest on. */
size_t stack_finish_max(const struct stack *stack);
int stack_finish(struct stack *stack, struct sendq *queue, struct sendq_room *room);

/* The lowest layer that has a reply and may send it; -1: none. It is taken: stack_out with no input
 * sends it. */
int stack_take_reply(struct stack *stack);

#endif
