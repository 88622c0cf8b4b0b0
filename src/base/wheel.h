/* Hierarchical timing wheel: setting, moving and cancelling a timer is O(1), also with a million of
 * them. Ticks are milliseconds of a monotonic clock that the caller passes in; nothing here reads
 * one. One thread.
 *
 * A timer never fires early. Timers due at one tick come in the order in which they were set. After
 * a stall each due timer comes once. Due timers are collected first and handed out one by one
 * after, so that what a handler sets anew can't starve the rest, and a handler may cancel a timer
 * that is collected but not yet handed out. */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
    struct timer *prev; /* NULL: not set */
    struct timer *next;
    uint64_t due_ms : 56;
    uint64_t kind : 8; /* the owner's, to tell what the timer is embedded in */
};

enum { WHEEL_BITS = 6, WHEEL_SLOTS = 1 << WHEEL_BITS, WHEEL_LEVELS = 6 };
#define WHEEL_NEVER UINT64_MAX

struct wheel {
    uint64_t now_ms;
    uint64_t next_ms; /* what wheel_next_ms says */
    size_t count;
    uint64_t occupied[WHEEL_LEVELS]; /* a bit for each slot that is not empty */
    struct timer slots[WHEEL_LEVELS][WHEEL_SLOTS];
    struct timer due; /* collected, not yet handed out */
};

void wheel_init(struct wheel *wheel, uint64_t now_ms);

/* Sets or moves; a time not after now is due at the next advance. */
void wheel_set(struct wheel *wheel, struct timer *timer, uint64_t due_ms);

/* Nothing happens if it is not set. */
void wheel_cancel(struct wheel *wheel, struct timer *timer);

static inline bool timer_is_set(const struct timer *timer) { return timer->prev != NULL; }

/* The earliest time at which wheel_advance may have something to do: never later than the earliest
 * timer, possibly earlier; WHEEL_NEVER without timers. */
static inline uint64_t wheel_next_ms(const struct wheel *wheel) { return wheel->next_ms; }

/* Moves time on and collects what is due. Time never goes back: an earlier now changes nothing. */
void wheel_advance(struct wheel *wheel, uint64_t now_ms);

/* The next collected timer, no longer set; NULL when there is none. */
struct timer *wheel_pop_due(struct wheel *wheel);

/* Asserts every invariant of the structure; for tests. */
void wheel_check(const struct wheel *wheel);

#endif
