/* Mailbox: many producers, one consumer, one wake-up however many letters wait.
 *
 * What goes in is short and there is a lot of it, so it costs no allocation of its own: a
 * producer writes its record behind the one before it, in a block that holds hundreds, under a
 * lock that is held for the copy. The consumer takes all blocks at once and reads them without a
 * lock. What has a life of its own (a listener, a dial, many bytes) is not copied: it embeds a
 * struct letter and is posted where it is, which needs no memory and so can't fail.
 *
 * Mail comes in the order in which the lock was had, so each producer's in the order in which it
 * posted. Only the post that finds the mailbox empty asks for a wake-up. Bounded: mail past a
 * limit is refused, except letters that the consumer can't do without (stop). */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "os/lock.h"

/* What all mail begins with. */
struct mail {
    uint32_t bytes; /* what it costs, counted against bytes_max; of a record: its size */
    uint32_t kind;  /* the owner's; MAIL_KINDS_MAX and up are the mailbox's own */
};

/* Embedded first in what is posted where it is. */
struct letter {
    struct mail mail;
    struct letter *next;
};

enum {
    MAIL_KINDS_MAX = 1 << 16,
    MAIL_POINTER = MAIL_KINDS_MAX, /* a record that stands for a letter */
    MAIL_BLOCK,
    MAIL_BLOCK_BYTES = 16384,
    MAIL_RECORD_MAX = 2304, /* larger records would be copied under the lock for too long, and leave
                               too much of a block unused */
    MAIL_KEEP_MAX = 512,    /* empty blocks kept for the next burst: 8 MiB */
};

struct mail_block {
    struct letter letter; /* kind MAIL_BLOCK */
    uint32_t used;        /* 0: not in the list */
    uint32_t reserved;
    unsigned char records[MAIL_BLOCK_BYTES - sizeof(struct letter) - 2 * sizeof(uint32_t)];
};

struct mailbox {
    struct os_lock lock; /* also for what its users have to change together with posting */
    struct mem *mem;
    unsigned letters_max;
    size_t bytes_max;
    unsigned kept_max;
    /* under the lock */
    _Atomic(struct letter *) posted; /* the first of a list; read by the consumer without it too */
    struct letter *tail;
    struct mail_block *block; /* records go here: the tail, or empty and not in the list yet; NULL:
                                 none with room */
    struct mail_block *kept;
    unsigned kept_count;
    unsigned kept_low;   /* the fewest since the last mailbox_trim: those were not needed */
    uint32_t quick_room; /* so many bytes of the block may be filled without another question: it
                              has the room, and letters and bytes are below their limits then too */
    unsigned letters_posted; /* sums of all time: less what was taken, what waits */
    size_t bytes_posted;
    /* the consumer's, in a cache line of its own: written for each piece of mail */
    unsigned char apart[64];
    struct letter *opened; /* taken and in order */
    struct mail_block *reading;
    const unsigned char *at; /* in the block that is read */
    const unsigned char *end;
    atomic_uint letters_taken;
    atomic_size_t bytes_taken;
};

void mailbox_init(struct mailbox *mailbox, struct mem *mem, unsigned letters_max, size_t bytes_max);

/* Everything must have been taken. */
void mailbox_free(struct mailbox *mailbox);

/* Any thread. 0: posted, no wake-up needed; 1: posted, the caller must wake the consumer;
 * SALLY_EFULL: not posted. `must` posts past the limits. */
int mailbox_post(struct mailbox *mailbox, struct letter *letter, bool must);

/* Any thread. Room for a record of so many bytes, its struct mail among them, at most
 * MAIL_RECORD_MAX: NULL and SALLY_EFULL or SALLY_ENOMEM, or a place at which it can be written.
 * Then the lock is held, until mailbox_commit, which posts it and answers as mailbox_post, or
 * mailbox_cancel, which leaves everything as it was. */
static inline void *mailbox_begin(struct mailbox *mailbox, uint32_t bytes, int *err);
static inline int mailbox_commit(struct mailbox *mailbox, uint32_t kind, uint32_t bytes);
static inline void mailbox_cancel(struct mailbox *mailbox)
{
    mailbox->quick_room = 0; /* it may have been for this record alone */
    os_lock_give(&mailbox->lock);
}

/* What is rare of them, with the lock: no room is known of, no block with room; a block's first
 * record, which links the block and answers whether the list was empty. */
void *mailbox_begin_slow(struct mailbox *mailbox, uint32_t bytes, int *err);
bool mailbox_link_block(struct mailbox *mailbox);

/* What is rare of mailbox_take: a block's end, a letter. */
struct mail *mailbox_take_slow(struct mailbox *mailbox);

/* Gives blocks that the time since the last call had no use for back to the allocator; true when
 * some are still kept. The consumer. */
bool mailbox_trim(struct mailbox *mailbox);

static inline void mailbox_count_taken(struct mailbox *mailbox, uint32_t bytes)
{
    atomic_store_explicit(&mailbox->letters_taken,
                          atomic_load_explicit(&mailbox->letters_taken, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&mailbox->bytes_taken,
                          atomic_load_explicit(&mailbox->bytes_taken, memory_order_relaxed) + bytes,
                          memory_order_relaxed);
}

/* From one record to the next: all are aligned to 8. */
static inline uint32_t mail_stride(uint32_t bytes) { return (bytes + 7) & ~(uint32_t)7; }

static inline bool mail_block_has_room(const struct mail_block *block, uint32_t bytes)
{
    return block && mail_stride(bytes) <= sizeof block->records - block->used;
}

static inline void *mailbox_begin(struct mailbox *mailbox, uint32_t bytes, int *err)
{
    assert(bytes >= sizeof(struct mail) && bytes <= MAIL_RECORD_MAX);
    os_lock_take(&mailbox->lock);
    if (mail_stride(bytes) > mailbox->quick_room) return mailbox_begin_slow(mailbox, bytes, err);
    *err = 0;
    return &mailbox->block->records[mailbox->block->used];
}

static inline void mailbox_count_posted(struct mailbox *mailbox, uint32_t bytes)
{
    mailbox->letters_posted++;
    mailbox->bytes_posted += bytes;
}

/* What was written behind the last record; true when the list was empty. */
static inline bool mailbox_append(struct mailbox *mailbox, uint32_t kind, uint32_t bytes)
{
    struct mail_block *block = mailbox->block;
    bool first = !block->used && mailbox_link_block(mailbox);
    *(struct mail *)(void *)&block->records[block->used] = (struct mail){bytes, kind};
    block->used += mail_stride(bytes);
    return first;
}

static inline int mailbox_commit(struct mailbox *mailbox, uint32_t kind, uint32_t bytes)
{
    assert(kind < MAIL_KINDS_MAX && mail_stride(bytes) <= mailbox->quick_room);
    mailbox->quick_room -= mail_stride(bytes);
    mailbox_count_posted(mailbox, bytes);
    bool first = mailbox_append(mailbox, kind, bytes);
    os_lock_give(&mailbox->lock);
    return first;
}

/* The consumer. The next piece of mail, NULL when there is none. A letter is the caller's now; a
 * record is readable until the next call. */
static inline struct mail *mailbox_take(struct mailbox *mailbox)
{
    struct mail *mail = (struct mail *)(uintptr_t)mailbox->at;
    if (mailbox->at == mailbox->end || mail->kind >= MAIL_KINDS_MAX)
        return mailbox_take_slow(mailbox);
    mailbox->at += mail_stride(mail->bytes);
    mailbox_count_taken(mailbox, mail->bytes);
    return mail;
}

/* Not 0 when mail waits: for who asks for other things in the same test. The consumer. */
static inline uintptr_t mailbox_waits(const struct mailbox *mailbox)
{
    return ((uintptr_t)mailbox->at ^ (uintptr_t)mailbox->end) | (uintptr_t)mailbox->opened |
           (uintptr_t)atomic_load_explicit(&mailbox->posted, memory_order_acquire);
}

/* Whether mail waits; the consumer. */
static inline bool mailbox_has(const struct mailbox *mailbox) { return mailbox_waits(mailbox); }

#endif
