/* The mailbox. A letter is its sender's until it is posted, then the mailbox's, then the
 * consumer's; nothing is allocated here.
 *
 * Why the memory orders suffice: a push is a read-modify-write with release, so all pushes since
 * the stack was last empty are one release sequence, and the consumer's exchange with acquire sees
 * every letter in it whole. No wake-up is lost: the push that turns empty into not empty is the one
 * that is told to wake, whatever the consumer does meanwhile, and a consumer that clears its
 * wake-up before it takes will see either the letter or the wake-up. Pushing can't suffer from a
 * reused address, since nobody ever takes a single letter off the stack. */
#include "base/mailbox.h"

#include "sallyport/error.h"

void mailbox_init(struct mailbox *mailbox, unsigned letters_max, size_t bytes_max)
{
    atomic_init(&mailbox->posted, NULL);
    atomic_init(&mailbox->letters, 0);
    atomic_init(&mailbox->bytes, 0);
    mailbox->letters_max = letters_max;
    mailbox->bytes_max = bytes_max;
    mailbox->opened = NULL;
}

/* Compared before it is added, so that who is refused takes room from nobody, not for a moment. */
static bool reserve_letter(struct mailbox *mailbox)
{
    unsigned used = atomic_load_explicit(&mailbox->letters, memory_order_relaxed);
    do {
        if (used >= mailbox->letters_max) return false;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->letters, &used, used + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static bool reserve_bytes(struct mailbox *mailbox, size_t bytes)
{
    size_t used = atomic_load_explicit(&mailbox->bytes, memory_order_relaxed);
    do {
        if (used > mailbox->bytes_max || bytes > mailbox->bytes_max - used) return false;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->bytes, &used, used + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static bool mailbox__reserve(struct mailbox *mailbox, size_t bytes)
{
    if (!reserve_letter(mailbox)) return false;
    if (reserve_bytes(mailbox, bytes)) return true;
    atomic_fetch_sub_explicit(&mailbox->letters, 1, memory_order_relaxed);
    return false;
}

int mailbox_post(struct mailbox *mailbox, struct letter *letter, bool must)
{
    if (must) {
        atomic_fetch_add_explicit(&mailbox->letters, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&mailbox->bytes, letter->bytes, memory_order_relaxed);
    } else if (!mailbox__reserve(mailbox, letter->bytes)) {
        return SALLY_EFULL;
    }
    struct letter *below = atomic_load_explicit(&mailbox->posted, memory_order_relaxed);
    do {
        letter->next = below;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->posted, &below, letter,
                                                    memory_order_release, memory_order_relaxed));
    return below == NULL; /* the letter is the consumer's now */
}

static struct letter *mailbox__open(struct mailbox *mailbox)
{
    /* an empty one costs no write to a line that the producers fight for */
    if (!atomic_load_explicit(&mailbox->posted, memory_order_relaxed)) return NULL;
    struct letter *newest = atomic_exchange_explicit(&mailbox->posted, NULL, memory_order_acquire);
    struct letter *ordered = NULL;
    while (newest) {
        struct letter *older = newest->next;
        newest->next = ordered;
        ordered = newest;
        newest = older;
    }
    return ordered;
}

struct letter *mailbox_take(struct mailbox *mailbox)
{
    struct letter *letter = mailbox->opened;
    if (!letter) letter = mailbox__open(mailbox);
    if (!letter) return NULL;
    mailbox->opened = letter->next;
    letter->next = NULL;
    atomic_fetch_sub_explicit(&mailbox->letters, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&mailbox->bytes, letter->bytes, memory_order_relaxed);
    return letter;
}
