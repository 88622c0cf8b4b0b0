/* The mailbox. A letter is its sender's until it is posted, then the mailbox's, then the
 * consumer's. Blocks are the mailbox's, from its mem: producers get them, empty or new, and fill
 * them; the consumer gives them back when it has read them.
 *
 * The list that the lock guards has letters and blocks in it. While the last of the list is a block
 * with room, a letter too takes its place in it, as a record that points to it: else each letter
 * between two records would cost the rest of a block. A block is in the list from its first record
 * on and full when it is not the last any more, so what is read is never written to.
 *
 * No wake-up is lost: the post that turns an empty list into one that isn't is the one that is told
 * to wake, whatever the consumer does meanwhile, and a consumer that clears its wake-up before it
 * takes will see either the mail or the wake-up.
 *
 * What was taken is a sum that only the consumer writes, without the lock. A producer that reads an
 * old one finds less room than there is, never more. */
#include "base/mailbox.h"

#include <assert.h>

#include "sallyport/error.h"

struct mail_pointer {
    struct mail mail;
    struct letter *letter;
};

_Static_assert(sizeof(struct mail_block) == MAIL_BLOCK_BYTES, "no padding");
_Static_assert(offsetof(struct mail_block, records) % 8 == 0, "records are aligned");
_Static_assert(sizeof(struct mail_pointer) % 8 == 0, "a pointer leaves records aligned");

void mailbox_init(struct mailbox *mailbox, struct mem *mem, unsigned letters_max, size_t bytes_max)
{
    *mailbox = (struct mailbox){.mem = mem, .letters_max = letters_max, .bytes_max = bytes_max};
#if !defined(SALLY_POOLS_OFF) /* else a sanitizer sees each use after release */
    mailbox->kept_max = MAIL_KEEP_MAX;
#endif
    os_lock_init(&mailbox->lock);
}

static void blocks_free(struct mailbox *mailbox, struct mail_block *blocks)
{
    while (blocks) {
        struct mail_block *next = (struct mail_block *)blocks->letter.next;
        mem_free(mailbox->mem, blocks, sizeof *blocks);
        blocks = next;
    }
}

void mailbox_free(struct mailbox *mailbox)
{
    assert(!mailbox_has(mailbox));
    blocks_free(mailbox, mailbox->reading);
    blocks_free(mailbox, mailbox->block);
    blocks_free(mailbox, mailbox->kept);
    os_lock_free(&mailbox->lock);
}

/* ---- Posting: under the lock ---- */

static uint32_t smaller(uint64_t a, uint32_t b) { return a < b ? (uint32_t)a : b; }

/* Looks how much room there is. Compared before it is added, so that nothing wraps. */
static bool mailbox__has_room(struct mailbox *mailbox, size_t bytes)
{
    unsigned letters = mailbox->letters_posted -
                       atomic_load_explicit(&mailbox->letters_taken, memory_order_relaxed);
    size_t used =
        mailbox->bytes_posted - atomic_load_explicit(&mailbox->bytes_taken, memory_order_relaxed);
    return letters < mailbox->letters_max && used <= mailbox->bytes_max &&
           bytes <= mailbox->bytes_max - used;
}

/* Room for the record was found. How much more of the block may be filled without asking again: as
 * if all that comes were as small as can be, so that it is never too much. */
static void mailbox__allow(struct mailbox *mailbox, uint32_t bytes)
{
    unsigned letters = mailbox->letters_posted -
                       atomic_load_explicit(&mailbox->letters_taken, memory_order_relaxed);
    size_t used =
        mailbox->bytes_posted - atomic_load_explicit(&mailbox->bytes_taken, memory_order_relaxed);
    uint64_t by_letters = (uint64_t)(mailbox->letters_max - letters) * sizeof(struct mail);
    uint32_t room = (uint32_t)(sizeof mailbox->block->records - mailbox->block->used);
    uint32_t quick = smaller(by_letters, smaller(mailbox->bytes_max - used, room));
    mailbox->quick_room = quick < mail_stride(bytes) ? mail_stride(bytes) : quick;
}

/* True when the list was empty. */
static bool mailbox__link(struct mailbox *mailbox, struct letter *letter)
{
    bool first = atomic_load_explicit(&mailbox->posted, memory_order_relaxed) == NULL;
    letter->next = NULL;
    if (first)
        atomic_store_explicit(&mailbox->posted, letter, memory_order_release);
    else
        mailbox->tail->next = letter;
    mailbox->tail = letter;
    return first;
}

bool mailbox_link_block(struct mailbox *mailbox)
{
    return mailbox__link(mailbox, &mailbox->block->letter);
}

static bool mailbox__append_pointer(struct mailbox *mailbox, struct letter *letter)
{
    struct mail_block *block = mailbox->block;
    struct mail_pointer *pointer = (struct mail_pointer *)(void *)&block->records[block->used];
    pointer->letter = letter;
    return mailbox_append(mailbox, MAIL_POINTER, sizeof *pointer);
}

int mailbox_post(struct mailbox *mailbox, struct letter *letter, bool must)
{
    bool first;
    os_lock_take(&mailbox->lock);
    if (!must && !mailbox__has_room(mailbox, letter->mail.bytes)) {
        os_lock_give(&mailbox->lock);
        return SALLY_EFULL;
    }
    mailbox_count_posted(mailbox, letter->mail.bytes);
    mailbox->quick_room = 0; /* to be looked for again */
    if (mail_block_has_room(mailbox->block, sizeof(struct mail_pointer))) {
        first = mailbox__append_pointer(mailbox, letter);
    } else {
        first = mailbox__link(mailbox, letter);
        mailbox->block = NULL;
    }
    os_lock_give(&mailbox->lock);
    return first; /* the letter is the consumer's now */
}

/* An empty block becomes the one that is written to; `fresh` is one that the caller has brought. */
static bool mailbox__next_block(struct mailbox *mailbox, struct mail_block **fresh)
{
    struct mail_block *block = *fresh ? *fresh : mailbox->kept;
    if (!block) return false;
    if (!*fresh) {
        mailbox->kept = (struct mail_block *)block->letter.next;
        if (--mailbox->kept_count < mailbox->kept_low) mailbox->kept_low = mailbox->kept_count;
    }
    *fresh = NULL;
    block->letter = (struct letter){.mail.kind = MAIL_BLOCK};
    block->used = 0;
    mailbox->block = block;
    return true;
}

/* There is no empty block: a new one, for which the lock is let go. True with a place to write at,
 * and the lock. */
static bool mailbox__new_block(struct mailbox *mailbox, uint32_t bytes, int *err)
{
    os_lock_give(&mailbox->lock);
    struct mail_block *fresh = mem_alloc(mailbox->mem, sizeof *fresh);
    *err = SALLY_ENOMEM;
    if (!fresh) return false;
    os_lock_take(&mailbox->lock);
    /* meanwhile others have posted, and brought blocks too */
    bool full = !mailbox__has_room(mailbox, bytes);
    bool room = mail_block_has_room(mailbox->block, bytes);
    if (!full && !room) (void)mailbox__next_block(mailbox, &fresh);
    if (full) os_lock_give(&mailbox->lock);
    if (fresh) mem_free(mailbox->mem, fresh, sizeof *fresh);
    *err = full ? SALLY_EFULL : 0;
    return !full;
}

void *mailbox_begin_slow(struct mailbox *mailbox, uint32_t bytes, int *err)
{
    if (!mailbox__has_room(mailbox, bytes)) {
        os_lock_give(&mailbox->lock);
        *err = SALLY_EFULL;
        return NULL;
    }
    *err = 0;
    struct mail_block *none = NULL;
    if (!mail_block_has_room(mailbox->block, bytes) && !mailbox__next_block(mailbox, &none) &&
        !mailbox__new_block(mailbox, bytes, err))
        return NULL;
    mailbox__allow(mailbox, bytes);
    return &mailbox->block->records[mailbox->block->used];
}

/* ---- Taking ---- */

/* All that was posted. */
static struct letter *mailbox__open(struct mailbox *mailbox)
{
    /* an empty one costs no lock */
    if (!atomic_load_explicit(&mailbox->posted, memory_order_acquire)) return NULL;
    os_lock_take(&mailbox->lock);
    struct letter *first = atomic_load_explicit(&mailbox->posted, memory_order_relaxed);
    atomic_store_explicit(&mailbox->posted, NULL, memory_order_relaxed);
    mailbox->tail = NULL;
    if (mailbox->block && mailbox->block->used) {
        mailbox->block = NULL;
        mailbox->quick_room = 0;
    }
    os_lock_give(&mailbox->lock);
    return first;
}

static void mailbox__give_block(struct mailbox *mailbox)
{
    struct mail_block *block = mailbox->reading;
    if (!block) return;
    mailbox->reading = NULL;
    mailbox->at = mailbox->end = NULL;
    os_lock_take(&mailbox->lock);
    bool keep = mailbox->kept_count < mailbox->kept_max;
    block->letter.next = keep ? (struct letter *)mailbox->kept : NULL;
    if (keep) {
        mailbox->kept = block;
        mailbox->kept_count++;
    }
    os_lock_give(&mailbox->lock);
    if (!keep) blocks_free(mailbox, block);
}

/* The list's next; a block is only set up to be read, and brings NULL. */
static struct letter *mailbox__next(struct mailbox *mailbox)
{
    struct letter *letter = mailbox->opened;
    mailbox->opened = letter->next;
    letter->next = NULL;
    if (letter->mail.kind != MAIL_BLOCK) return letter;
    struct mail_block *block = (struct mail_block *)letter;
    mailbox->reading = block;
    mailbox->at = block->records;
    mailbox->end = block->records + block->used;
    return NULL;
}

struct mail *mailbox_take_slow(struct mailbox *mailbox)
{
    struct letter *letter;
    if (mailbox->at != mailbox->end) { /* a pointer */
        const struct mail_pointer *pointer = (const void *)mailbox->at;
        letter = pointer->letter;
        mailbox->at += sizeof *pointer;
    } else {
        mailbox__give_block(mailbox);
        if (!mailbox->opened) mailbox->opened = mailbox__open(mailbox);
        if (!mailbox->opened) return NULL;
        letter = mailbox__next(mailbox);
        if (!letter) return mailbox_take(mailbox); /* once: a block in the list is not empty */
    }
    mailbox_count_taken(mailbox, letter->mail.bytes);
    return &letter->mail;
}

bool mailbox_trim(struct mailbox *mailbox)
{
    struct mail_block *unused = NULL;
    os_lock_take(&mailbox->lock);
    for (; mailbox->kept_low; mailbox->kept_low--) {
        struct mail_block *block = mailbox->kept;
        mailbox->kept = (struct mail_block *)block->letter.next;
        block->letter.next = (struct letter *)unused;
        unused = block;
        mailbox->kept_count--;
    }
    mailbox->kept_low = mailbox->kept_count;
    bool more = mailbox->kept_count > 0;
    os_lock_give(&mailbox->lock);
    blocks_free(mailbox, unused);
    return more;
}
