/* Sallyport: timers of a program's own, once or again and again, any number of them up to
 * sally_engine_options.timers_max. (For one time limit of one connection sally_conn_timer in
 * sallyport.h is enough.)
 *
 * A timer lives on one shard from its start to its end: the shard of the callback that starts it,
 * so that it needs no lock against that shard's connections, or, started from elsewhere, a shard
 * that is picked. Its callbacks are callbacks like those of a connection: on the shard, one at a
 * time, never inside the call that caused them.
 *
 * Order. Any number of on_tick, then on_end exactly once and last, whatever ended it, so that
 * `user` can be freed there. Timers due at one millisecond come in the order in which they were
 * started.
 *
 * Time. The engine's monotonic clock, in milliseconds. A timer never comes early. A periodic one
 * doesn't drift: its n-th time is the first plus n periods, however late the ones before came. What
 * a stall made it miss is counted, not made up for.
 *
 * The end of the engine. Timers don't hold it up: when a shard has no connection left in a stop or
 * a drain, those it still has end with SALLY_TIMER_SHUTDOWN. */
#ifndef SALLYPORT_TIMER_H
#define SALLYPORT_TIMER_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef uint64_t sally_timer_id; /* 0 names nothing; never used again */

/* What a firing says. */
typedef struct sally_timer_tick {
    sally_timer_id id;
    uint64_t number; /* 1 for the first */
    uint64_t missed; /* periods that have passed unfired since the one before */
} sally_timer_tick;

typedef enum sally_timer_end {
    SALLY_TIMER_FIRED,     /* it was to come once, and has */
    SALLY_TIMER_CANCELLED, /* by sally_timer_cancel */
    SALLY_TIMER_SHUTDOWN,  /* the engine ended */
} sally_timer_end;

typedef struct sally_timer_options {
    uint32_t after_ms;  /* from the call to the first time; 0: in the shard's next turn */
    uint32_t period_ms; /* from each time to the next; 0: it comes once */
    void *user;
    void (*on_tick)(const sally_timer_tick *tick, void *user); /* not NULL */
    void (*on_end)(sally_timer_end why, void *user);           /* NULL: nobody has to know */
} sally_timer_options;

/* Starts a timer; the options are copied; `id` may be NULL, and is set before the first callback.
 * After 0 on_end follows once.
 * SALLY_EINVAL (no on_tick, or SALLY_FOREVER for a time), SALLY_ELIMIT (the shard has timers_max),
 * SALLY_EFULL (the shard's mailbox; never inside a callback), SALLY_ENOMEM, SALLY_ESTATE (the
 * engine has ended). [any] */
SALLY_API int sally_timer_start(sally_engine *engine, const sally_timer_options *options,
                                sally_timer_id *id) SALLY_MUST_USE;

/* 0: on_tick doesn't begin again, and on_end follows with SALLY_TIMER_CANCELLED. On the timer's own
 * shard that is all; for other threads an on_tick that has begun may still be running (a timer that
 * comes once has then fired). SALLY_ECLOSED: too late, it has ended or was cancelled before. So of
 * a timer that comes once and has not begun to fire, either the one is told or the other happens.
 * SALLY_EINVAL. [any] */
SALLY_API int sally_timer_cancel(sally_engine *engine, sally_timer_id id);

/* Timers that have not had their on_end. [any] */
SALLY_API uint64_t sally_timer_count(sally_engine *engine);

#if defined(__cplusplus)
}
#endif
#endif
