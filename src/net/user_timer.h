/* The timers of sallyport/timer.h. Each is a slot of its shard's table and a timer in its wheel.
 *
 * The table's lock serialises what several threads may do with a timer: find it, cancel it, give it
 * back. The wheel and the callbacks are the shard's alone. A table is made when the first timer is,
 * and stays with its shard. */
#ifndef NET_USER_TIMER_H
#define NET_USER_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "base/slots.h"
#include "base/wheel.h"
#include "os/lock.h"
#include "sallyport/timer.h"

struct shard;

enum user_timer_state {
    USER_TIMER_NEW, /* its letter is on the way to the shard */
    USER_TIMER_SET, /* in the wheel */
    USER_TIMER_RUNNING,
    USER_TIMER_CANCELLED, /* its on_end is due */
};

struct user_timer {
    struct slot slot; /* first */
    struct letter letter;
    struct timer timer;
    void *user;
    void (*on_tick)(const sally_timer_tick *tick, void *user);
    void (*on_end)(sally_timer_end why, void *user);
    uint64_t due_ms; /* as it should be; the wheel's is never in the past */
    uint64_t number;
    uint32_t period_ms;
    uint8_t state; /* under the lock */
    bool posted; /* under the lock: a mailbox has the letter, which brings the timer's next step */
};

struct user_timers {
    struct os_lock lock;
    struct slots slots;
    bool ending; /* the shard's: what comes now ends at once */
};

void user_timers_free(struct shard *shard);

/* How many have not ended. Any thread. */
uint32_t user_timers_count(struct shard *shard);

/* The shard ends: so do its timers, but for those whose letter is still on the way. The owner. */
void user_timers_end(struct shard *shard);

/* It is due, or cancelled. The owner. */
void user_timer_on_timer(struct shard *shard, struct user_timer *timer);

/* In its on_tick: its next time is not the one that its period says, but so long from now. The
 * owner. */
void user_timer_due_in(struct shard *shard, sally_timer_id id, uint32_t after_ms);

/* Its letter has come. The owner, or whoever disposes of the letters of a shard that ended. */
void user_timer_on_letter(struct shard *shard, struct user_timer *timer);

#endif
