/* Newcomers that have not said anything yet, as uring and epoll both keep them for a listener that
 * accepts with data: each in an epoll set of the listener's, which is in a set of the port's, which
 * the port watches. What they cost is a descriptor and a few words.
 *
 * While the listener has no accept in flight its set is out of the port's: who waits, waits.
 * Memory: a block for each listener, from the port's mem. Only the owning thread. */
#ifndef PORT_LINUX_HOLD_H
#define PORT_LINUX_HOLD_H

#include "port/port.h"

enum linux_hold_verdict {
    LINUX_HOLD_KEPT, /* nothing to tell */
    LINUX_HOLD_TOLD, /* *event is a PORT_ACCEPT with `more`: a newcomer, or one lost */
};

struct linux_hold; /* a listener's */

/* The port's; zero, with epoll_fd -1, before the first listener. */
struct linux_holds {
    int epoll_fd;
    struct mem *mem;
    uint32_t open; /* listeners with a hold */
};

/* Makes the port's set unless it is there. 0 or errno. */
int linux_holds_open(struct linux_holds *holds, struct mem *mem);
void linux_holds_close(struct linux_holds *holds);

/* One step of what is ready in the port's set; false when nothing is. */
bool linux_holds_take(struct linux_holds *holds, struct port_event *event, bool *told);

/* NULL with errno set. */
struct linux_hold *linux_hold_open(struct linux_holds *holds, struct port_sock *sock,
                                   uint32_t held_max);
/* Closes those that wait. NULL does nothing. */
void linux_hold_close(struct linux_hold *hold);

/* The listener's accept begins or ends. 0 or errno. */
int linux_hold_watch(struct linux_hold *hold, bool on);

/* A newcomer of the listener's, which is the hold's from here on unless it is told. Without a hold
 * (the listener is being closed) it has to have spoken. */
enum linux_hold_verdict linux_hold_judge(struct linux_hold *hold, struct port_sock *sock, int fd,
                                         const struct addr *peer, struct port_event *event);

/* Without descriptors: the one that waits longest makes room. False when none waits. */
bool linux_hold_cut(struct linux_hold *hold, struct port_event *event);

#endif
