/* Mailbox: many producers, one consumer, one wake-up however many letters wait.
 *
 * Lock-free: producers push on a stack, the consumer takes the whole stack and turns it round, so
 * each producer's letters come in the order in which it posted them. Only the push that finds the
 * mailbox empty asks for a wake-up. Bounded: letters past a limit are refused, except those the
 * consumer can't do without (stop). */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded first in what is sent. */
struct letter {
    struct letter *next;
    uint32_t bytes; /* what the letter costs, counted against bytes_max */
    uint32_t kind;  /* the owner's */
};

struct mailbox {
    _Atomic(struct letter *) posted;
    atomic_uint letters;
    atomic_size_t bytes;
    unsigned letters_max;
    size_t bytes_max;
    struct letter *opened; /* the consumer's: taken and in order */
};

void mailbox_init(struct mailbox *mailbox, unsigned letters_max, size_t bytes_max);

/* Any thread. 0: posted, no wake-up needed; 1: posted, the caller must wake the consumer;
 * SALLY_EFULL: not posted. `must` posts past the limits. */
int mailbox_post(struct mailbox *mailbox, struct letter *letter, bool must);

/* The consumer. The next letter, now the caller's; NULL when there is none. */
struct letter *mailbox_take(struct mailbox *mailbox);

/* Whether a letter waits; the consumer. */
static inline bool mailbox_has(const struct mailbox *mailbox)
{
    return mailbox->opened || atomic_load_explicit(&mailbox->posted, memory_order_acquire);
}

#endif
