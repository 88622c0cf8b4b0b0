/* Filters at work; see stack.h. */
#include "filter/stack.h"

#include <string.h>

static struct stack_layer *stack__top(struct stack *stack)
{
    return &stack->layers[stack->count - 1];
}

static bool layer__is_ready(const struct stack_layer *layer)
{
    return !layer->filter->ready || layer->filter->ready(layer->state);
}

/* A filter's own number is told as it is if it is one of ours. */
static int filter__error(int result)
{
    return result < 0 && *sally_err_name(result) != '?' ? result : SALLY_EINVAL;
}

/* ---- Life ---- */

void stack_init(struct stack *stack, const struct filters *filters, struct sendq_pools *pools,
                unsigned char *rooms, unsigned char *states)
{
    *stack = (struct stack){.pools = pools, .rooms = rooms, .count = filters->count};
    for (unsigned i = 0; i < stack->count; i++) {
        stack->layers[i].filter = &filters->list[i];
        stack->layers[i].state = states + filters_state_at(filters, i);
    }
}

int stack_open(struct stack *stack, sally_conn *conn)
{
    for (unsigned i = 0; i < stack->count; i++) {
        struct stack_layer *layer = &stack->layers[i];
        const sally_filter *filter = layer->filter;
        int err = filter->open ? filter->open(layer->state, filter->user, conn) : 0;
        if (err) {
            stack->blamed = filter->name;
            return filter__error(err);
        }
        layer->open = true;
        if (!layer__is_ready(layer)) stack->replies |= 1u << i; /* it may have to begin */
    }
    return 0;
}

void stack_close(struct stack *stack)
{
    stack_drop(stack);
    for (unsigned i = 0; i < stack->count; i++) {
        struct stack_layer *layer = &stack->layers[i];
        if (layer->open && layer->filter->close) layer->filter->close(layer->state);
        layer->open = false;
    }
}

bool stack_is_ready(const struct stack *stack)
{
    for (unsigned i = 0; i < stack->count; i++)
        if (!layer__is_ready(&stack->layers[i])) return false;
    return true;
}

/* ---- What comes ---- */

/* What layer i has to work with: there is never more than one chunk between two. */
static struct span stack__input(const struct stack *stack, unsigned i,
                                const struct stack_wire *wire)
{
    if (i == 0) return (struct span){wire->data + wire->used, wire->len - wire->used};
    const struct sendq *below = &stack->layers[i - 1].made;
    return below->bytes ? sendq_front(below) : (struct span){NULL, 0};
}

static bool stack__below_is_over(const struct stack *stack, unsigned i, bool wire_over)
{
    return i == 0 ? wire_over : stack->layers[i - 1].over;
}

static bool stack__can_run(const struct stack *stack, unsigned i, const struct stack_wire *wire)
{
    const struct stack_layer *layer = &stack->layers[i];
    if (layer->over || layer->made.bytes) return false;
    return layer->more || stack__input(stack, i, wire).len ||
           stack__below_is_over(stack, i, wire->over);
}

static void stack__consume(struct stack *stack, unsigned i, struct stack_wire *wire, size_t used)
{
    if (i == 0)
        wire->used += used;
    else if (used)
        sendq_consume(&stack->layers[i - 1].made, stack->pools, used);
}

/* Nothing is taken from those below any more. */
static void stack__end(struct stack *stack, unsigned i, struct stack_wire *wire)
{
    stack->layers[i].over = true;
    stack->layers[i].more = false;
    for (unsigned below = 0; below < i; below++) {
        sendq_clear(&stack->layers[below].made, stack->pools);
        stack->layers[below].over = true;
        stack->layers[below].more = false;
    }
    wire->used = wire->len;
}

/* Whether a call may be answered so: it stayed within its bounds, and things moved, or there was
 * nothing to be moved. */
static bool io__is_sane(const sally_filter_io *io, int result)
{
    if (io->used > io->len || io->made > io->room_bytes) return false;
    bool moved = io->used || io->made || io->reply;
    return moved || (result == SALLY_FILTERED_ALL && io->len == 0) || result == SALLY_FILTERED_END;
}

static int stack__in(struct stack *stack, unsigned i, struct stack_wire *wire)
{
    struct stack_layer *layer = &stack->layers[i];
    struct span input = stack__input(stack, i, wire);
    struct segment *segment = sendq_reserve(&layer->made, stack->pools);
    if (!segment) return SALLY_ENOMEM;
    uint32_t room_bytes;
    sally_filter_io io = {.input = input.data,
                          .len = input.len,
                          .room = segment_room(segment, &room_bytes),
                          .finish = stack__below_is_over(stack, i, wire->over)};
    io.room_bytes = room_bytes;
    int result = layer->filter->in(layer->state, &io);
    bool fine = result >= 0 && result <= SALLY_FILTERED_END && io__is_sane(&io, result);
    sendq_commit(&layer->made, stack->pools, segment, fine ? (uint32_t)io.made : 0);
    if (io.reply) stack->replies |= 1u << i;
    if (!fine) {
        stack->blamed = layer->filter->name;
        return filter__error(result);
    }
    stack__consume(stack, i, wire, io.used);
    layer->more = result == SALLY_FILTERED_MORE;
    if (result == SALLY_FILTERED_END ||
        (io.finish && result == SALLY_FILTERED_ALL && io.used == io.len))
        stack__end(stack, i, wire);
    return 1;
}

int stack_step(struct stack *stack, struct stack_wire *wire)
{
    if (stack__top(stack)->over) wire->used = wire->len;
    if (stack__top(stack)->made.bytes) return 0;
    for (unsigned i = stack->count; i-- > 0;)
        if (stack__can_run(stack, i, wire)) return stack__in(stack, i, wire);
    return 0;
}

bool stack_is_pending(const struct stack *stack, bool over)
{
    for (unsigned i = 0; i < stack->count; i++) {
        const struct stack_layer *layer = &stack->layers[i];
        if (layer->more || layer->made.bytes) return true;
        if (!layer->over && stack__below_is_over(stack, i, over)) return true;
    }
    return false;
}

bool stack_is_over(const struct stack *stack)
{
    const struct stack_layer *top = &stack->layers[stack->count - 1];
    return top->over && !top->made.bytes;
}

uint32_t stack_holds(const struct stack *stack)
{
    uint32_t bytes = 0;
    for (unsigned i = 0; i < stack->count; i++) bytes += stack->layers[i].made.bytes;
    return bytes;
}

void stack_drop(struct stack *stack)
{
    for (unsigned i = 0; i < stack->count; i++) sendq_clear(&stack->layers[i].made, stack->pools);
}

/* ---- What goes ---- */

static size_t layer__max(const struct stack_layer *layer, size_t len)
{
    size_t most = layer->filter->out_max ? layer->filter->out_max(layer->state, len) : len;
    return most < SENDQ_BYTES_LIMIT ? most : SENDQ_BYTES_LIMIT;
}

/* Below the first, bytes go on in pieces that are whole rooms but for the last. */
static size_t layer__pieces_max(const struct stack_layer *layer, size_t len)
{
    const size_t rooms = len / STACK_ROOM_BYTES, rest = len % STACK_ROOM_BYTES;
    size_t most = rest ? layer__max(layer, rest) : 0;
    if (rooms) most += rooms * layer__max(layer, STACK_ROOM_BYTES);
    return most;
}

size_t stack_out_max(const struct stack *stack, unsigned from, size_t len)
{
    size_t most =
        len < SENDQ_BYTES_LIMIT ? layer__max(&stack->layers[from], len) : SENDQ_BYTES_LIMIT;
    while (from-- > 0 && most < SENDQ_BYTES_LIMIT)
        most = layer__pieces_max(&stack->layers[from], most);
    return most < SENDQ_BYTES_LIMIT ? most : SIZE_MAX;
}

/* Where bytes go. */
struct way_out {
    struct stack *stack;
    struct sendq *queue;
    struct sendq_room *room;
};

/* One call: what is left of the input, and what was made. Its result, or an error. */
static int out__call(struct stack *stack, unsigned i, struct span *input, sally_filter_io *io)
{
    struct stack_layer *layer = &stack->layers[i];
    io->input = input->data;
    io->len = input->len;
    /* without room it has made more than it has declared */
    int result = io->room_bytes ? layer->filter->out(layer->state, io) : SALLY_EINVAL;
    bool known = result == SALLY_FILTERED_ALL || result == SALLY_FILTERED_MORE;
    if (!known || !io__is_sane(io, result)) {
        stack->blamed = layer->filter->name;
        return filter__error(result);
    }
    if (io->used)
        *input = (struct span){(const char *)input->data + io->used, input->len - io->used};
    return input->len ? SALLY_FILTERED_MORE : result;
}

/* The lowest writes where the bytes are sent from. */
static int out__to_queue(struct way_out *out, struct span input, bool flush, bool finish)
{
    int result;
    unsigned char nowhere;
    do {
        uint32_t room_bytes;
        sally_filter_io io = {.flush = flush, .finish = finish};
        io.room = sendq_room_next(out->queue, out->room, &room_bytes);
        io.room_bytes = room_bytes;
        if (!io.room) io.room = &nowhere;
        result = out__call(out->stack, 0, &input, &io);
        if (result >= 0) sendq_room_made(out->queue, out->room, (uint32_t)io.made);
    } while (result == SALLY_FILTERED_MORE);
    return result;
}

static int out__give(struct way_out *out, unsigned i, struct span input, bool flush, bool finish)
{
    if (i == 0) return out__to_queue(out, input, flush, finish);
    struct stack *stack = out->stack;
    unsigned char *room = stack->rooms + (i - 1) * STACK_ROOM_BYTES;
    size_t filled = 0;
    int result;
    do {
        sally_filter_io io = {.room = room + filled,
                              .room_bytes = STACK_ROOM_BYTES - filled,
                              .flush = flush,
                              .finish = finish};
        result = out__call(stack, i, &input, &io);
        if (result < 0) return result;
        filled += io.made;
        bool last = result != SALLY_FILTERED_MORE;
        if (filled < STACK_ROOM_BYTES && !(last && filled)) continue;
        int err = out__give(out, i - 1, (struct span){room, filled}, flush && last, false);
        if (err) return err;
        filled = 0;
    } while (result == SALLY_FILTERED_MORE);
    return 0;
}

int stack_out(struct stack *stack, unsigned from, struct span input, bool flush,
              struct sendq *queue, struct sendq_room *room)
{
    struct way_out out = {stack, queue, room};
    return out__give(&out, from, input, flush, false);
}

size_t stack_finish_max(const struct stack *stack)
{
    size_t most = 0;
    for (unsigned i = 0; i < stack->count; i++) most += stack_out_max(stack, i, 0);
    return most;
}

/* Each is told when what those above it had to say at the end has passed it. */
int stack_finish(struct stack *stack, struct sendq *queue, struct sendq_room *room)
{
    struct way_out out = {stack, queue, room};
    int err = 0;
    for (unsigned i = stack->count; i-- > 0 && !err;)
        err = out__give(&out, i, (struct span){NULL, 0}, true, true);
    return err;
}

int stack_take_reply(struct stack *stack)
{
    for (unsigned i = 0; i < stack->count; i++) {
        if (stack->replies & 1u << i) {
            stack->replies &= ~(1u << i);
            return (int)i;
        }
        if (!layer__is_ready(&stack->layers[i])) return -1; /* those above it can't send yet */
    }
    return -1;
}
