/* What the files of the epoll port share: epoll.c makes the port, waits and hands out events;
 * epoll_start.c starts and ends operations.
 *
 * epoll tells readiness; the contract wants completions. So an operation is parked until its
 * descriptor is ready, and port_take makes the system call that is its result. Registration is
 * level-triggered and stays from one event to the next: asking for more is done at once, asking for
 * less only when an event comes that nobody waits for. So a connection that is paused for a moment,
 * or sends again and again, costs no calls, and one that nobody waits for disturbs once.
 *
 * An event in the kernel's array says "try" and no more. One that is stale, because its socket was
 * closed or its descriptor replaced since, finds no socket, no operation, or a call that would
 * block. */
#ifndef PORT_EPOLL_H
#define PORT_EPOLL_H

#include <assert.h>
#include <sys/epoll.h>

#include "base/pool.h"
#include "os/thread.h"
#include "port/linux_hold.h"
#include "port/port.h"

enum { EPOLL_READY_MAX = 256 };

/* The key of the set with the newcomers that had to speak: no socket has an even generation. Level-
 * triggered: it is ready as long as one of them has to be handed out. */
enum { EPOLL_HOLD_KEY = 2 };

struct epoll_port {
    struct port port;
    int epoll_fd;
    int wake_fd;
    int alarm_fd;
    bool asked;        /* the last wait asked the kernel */
    bool polled;       /* port_fd's descriptor is watched by somebody else's loop */
    bool buf_freed;    /* a buffer came back while sockets waited for one */
    const char *owner; /* &os_thread_mark of the owning thread; NULL: nobody's yet */
    uint32_t next;     /* in ready: the first that port_take hasn't dealt with */
    uint32_t count;    /* in ready */
    uint32_t burst;    /* what the listener at `next` may still accept in this turn */
    /* Lists of sockets linked through their own[] by slot index + 1, 0 at the end. */
    uint32_t due_head; /* have an ended operation to hand out */
    uint32_t due_tail;
    uint32_t starved_head; /* were readable when no buffer was there, the first come first */
    uint32_t starved_tail;
    uint32_t buf_bytes;
    struct pool bufs;
    struct linux_holds holds;
    struct epoll_event ready[EPOLL_READY_MAX];
};

/* What the port keeps in port_sock.own; zero is the state of a socket without a descriptor. */
struct epoll_own {
    union {
        const void *send_data;        /* PORT_SEND: the first span, port_sock.own32 bytes */
        const struct port_file *file; /* PORT_SEND of a file: own32 is 0, which no span's is */
        struct linux_hold *hold;      /* a listener's that hears, made by its first accept */
    };
    uint32_t due_next;
    uint32_t starved_next;
    uint32_t starved_prev;
    uint8_t due;       /* PORT_BIT of what is ended and not yet handed out */
    uint8_t armed;     /* EPOLLIN and EPOLLOUT as registered; 0: not registered */
    int16_t in_error;  /* of PORT_ACCEPT or PORT_RECV, once due */
    int16_t in_errno;  /* beside it */
    int16_t out_error; /* of PORT_CONNECT or PORT_SEND, once due */
    int16_t out_errno; /* beside it */
    uint16_t held_max; /* the same listener's */
};

_Static_assert(sizeof(struct epoll_own) <= sizeof((struct port_sock *)0)->own,
               "own[] is too small");
_Static_assert(_Alignof(struct epoll_own) <= _Alignof(uint64_t), "own[] is not aligned");

/* port_sock.state */
enum { EPOLL_BARE, EPOLL_OPEN }; /* without a descriptor, with one */

/* port_sock.marks */
enum { EPOLL_IN_DUE = 1 << 0, EPOLL_IN_STARVED = 1 << 1 };

enum {
    EPOLL_IN_OPS = PORT_BIT(PORT_ACCEPT) | PORT_BIT(PORT_RECV),
    EPOLL_OUT_OPS = PORT_BIT(PORT_CONNECT) | PORT_BIT(PORT_SEND),
};

static inline struct epoll_port *epoll_of(struct port *port) { return (struct epoll_port *)port; }

/* The memory is the slot table's, which nobody reads as the array that it is declared as. */
static inline struct epoll_own *own_of(struct port_sock *sock)
{
    return (struct epoll_own *)(void *)sock->own;
}

static inline struct port_sock *sock_at(const struct epoll_port *port, uint32_t link)
{
    return slots_at(port->port.socks, link - 1);
}

/* What is started and has not met its end. */
static inline uint32_t ops_parked(struct port_sock *sock)
{
    return sock->in_flight & ~(uint32_t)own_of(sock)->due;
}

/* Nothing is due, and nobody waits for a buffer. */
static inline bool epoll_is_calm(const struct epoll_port *port)
{
    return !(port->due_head | port->starved_head);
}

static inline void assert_owner(const struct epoll_port *port)
{
    assert(port->owner == &os_thread_mark);
    (void)port;
}

/* Registers what the parked operations need: 0 or errno, which only asking for more can give. */
int epoll_arm(struct epoll_port *port, struct port_sock *sock);

/* As epoll_arm; if it can't be had, `op` ends with the failure. */
void epoll_arm_for(struct epoll_port *port, struct port_sock *sock, enum port_op op);

/* Ends an operation: its event comes out of the next port_take. */
void epoll_end(struct epoll_port *port, struct port_sock *sock, enum port_op op, int error,
               int sys_error);

/* Closes the descriptor; the socket is bare again. */
void epoll_drop_fd(struct epoll_port *port, struct port_sock *sock);

void epoll_starve(struct epoll_port *port, struct port_sock *sock);
void epoll_unstarve(struct epoll_port *port, struct port_sock *sock);

/* An operation's last event. */
void epoll_event_final(struct port_event *event, struct port_sock *sock, enum port_op op, int error,
                       int sys_error);

/* Connections until there are none, the events are full, or the burst is over; how many events. */
unsigned epoll_accept_take(struct epoll_port *port, struct port_sock *sock,
                           struct port_event *events, unsigned max);

/* Makes port_fd readable, if somebody looks at it: something is there that epoll doesn't know. */
void epoll_tell(struct epoll_port *port);

/* epoll_start.c; the port functions of these names. */
void epoll_attach(struct port *base, struct port_sock *sock, port_handle handle,
                  const struct port_sock_options *options);
void epoll_accept(struct port *base, struct port_sock *sock);
void epoll_accept_stop(struct port *base, struct port_sock *sock);
void epoll_connect(struct port *base, struct port_sock *sock, const struct address *to,
                   const struct addr *from, const struct port_sock_options *options);
void epoll_recv(struct port *base, struct port_sock *sock);
void epoll_recv_stop(struct port *base, struct port_sock *sock);
int64_t epoll_send_now(struct port *base, struct port_sock *sock, const struct span *spans,
                       unsigned count, int *sys_error);
void epoll_send(struct port *base, struct port_sock *sock, const struct span *spans,
                unsigned count);
void epoll_send_file(struct port *base, struct port_sock *sock, const struct port_file *file);
int epoll_shutdown(struct port *base, struct port_sock *sock);
void epoll_close(struct port *base, struct port_sock *sock, enum port_close_mode mode);

#endif
