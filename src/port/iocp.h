/* What the files of the completion port share. iocp.c makes, waits and hands out; iocp_start.c has
 * the lists and what starts and closes; iocp_recv.c, iocp_connect.c, iocp_file.c and iocp_accept.c
 * have one kind of operation each. All but iocp_wake belongs to the owning thread.
 *
 * An operation is a struct iocp_op in the socket's own[] (an accept's: in the listener's block).
 * From the call that starts it until its packet has been taken the system may write to it; `owed`
 * of its socket counts those, and PORT_CLOSE waits until it is 0. As one thread both starts and
 * takes, a packet is never looked at before the call that it belongs to has returned. */
#ifndef PORT_IOCP_H
#define PORT_IOCP_H

#include <assert.h>
#include <stdatomic.h>

#include "base/pool.h"
#include "os/thread.h"
#include "port/port.h"
#include "port/win32_calls.h"

enum { IOCP_PACKETS_MAX = 128 };

enum iocp_place { IOCP_IN, IOCP_OUT, IOCP_ACCEPT };

struct iocp_op {
    struct win32_overlapped overlapped; /* first */
    uint8_t kind;                       /* enum port_op */
    uint8_t place;                      /* enum iocp_place: where it is embedded */
    bool owed;                          /* the system owes a packet for it */
    bool ready;                         /* finished at once, without a packet; not taken yet */
    uint32_t of_file;                   /* a send's: bytes asked for of a file; 0: of memory */
};

struct iocp_accept;

/* Accepts of a block, through their own links. */
struct iocp_row {
    struct iocp_accept *first;
    struct iocp_accept *last;
    uint32_t count;
};

/* A place for one accept. */
struct iocp_accept {
    struct iocp_op op; /* first */
    struct port_sock *listener;
    struct iocp_row *row; /* of the block's, the one that it is in */
    struct iocp_accept *next;
    struct iocp_accept *prev;
    port_handle handle; /* the newcomer's socket, PORT_NO_HANDLE: not posted */
    unsigned char *buf; /* addresses; with data: first bytes and addresses, a block of its own */
    uint32_t since_ms;  /* silent: when the newcomer came at the latest, by what the system tells */
    int32_t sys;        /* taken: the code it has ended with */
    bool taken;         /* by a plain accept: nothing is posted, its socket is all there is */
    bool watched;       /* taken: the signal says when it speaks */
    bool late;          /* cut, for saying nothing */
};

struct iocp_accepts {
    uint32_t depth;  /* places */
    uint32_t wanted; /* that wait for newcomers */
    uint32_t posted; /* places whose accept the system has, or has just finished */
    uint32_t posted_max;
    uint8_t family;   /* enum addr_family */
    uint8_t failures; /* in a row */
    bool crowd;       /* more wait at the listener than a look takes: nothing is posted meanwhile */
    uint32_t first_bytes; /* 0: without data */
    uint32_t held_max;    /* with data: silent ones */
    struct iocp_row free;
    struct iocp_row waiting; /* for a newcomer, as far as is known; in the order of posting */
    struct iocp_row silent;  /* the newcomer has come and says nothing; the first come first */
    struct iocp_row cut;     /* its socket was closed, for saying nothing; its end is on its way */
    struct iocp_row ended;   /* without a packet, to be handed out */
    struct port_sock *sock;
    struct iocp_accepts *next; /* of those with data */
    void *signal;              /* with data: of those that wait at the listener */
    struct iocp_accept accepts[];
};

enum { IOCP_FIRST_BUF = 1, IOCP_FIRST_BUF_BYTES = WIN32_FIRST_BYTES + WIN32_ADDRS_BYTES };

/* What the port keeps in port_sock.own; zero is the state of a socket without a handle. */
struct iocp_own {
    struct iocp_op in;  /* connect, receive */
    struct iocp_op out; /* send */
    void *buf;          /* of the receive that was posted with one */
    struct iocp_accepts *accepts;
    uint32_t due_next;
    uint32_t wait_next; /* in one of the lists that it can be in only one of: starved, posted, */
    uint32_t wait_prev; /* lacking */
    uint32_t owed;      /* packets */
    uint32_t heard_ms;  /* when the last receive brought bytes, or was posted with a buffer; of a
                           listener that hears how many may wait */
    uint8_t due;        /* PORT_BIT of what has ended and is not yet handed out */
    uint8_t heat;       /* receives that brought bytes without a pause */
    int16_t in_error;   /* of what is due: connect, receive, accept */
    int16_t out_error;  /* send */
    int32_t in_sys;
    int32_t out_sys;
    int32_t attach_sys; /* the handle could not be added to the port */
};

/* port_sock.state */
enum { IOCP_BARE, IOCP_OPEN, IOCP_CLOSING };

/* port_sock.marks */
enum {
    IOCP_IS_DUE = 1 << 0,
    IOCP_STARVED = 1 << 1, /* its bytes wait for a buffer */
    IOCP_POSTED = 1 << 2,  /* its receive has a buffer beforehand */
    IOCP_LACKING = 1 << 3, /* fewer accepts are posted than should be */
    IOCP_STOP = 1 << 4,    /* the owner wants the receive or the accept to end */
    IOCP_COLD = 1 << 5,    /* the posted buffer was asked back */
    IOCP_SKIPS = 1 << 6,   /* no packet for what the system finishes at once */
};

/* Sockets by slot index + 1, linked through their own[]. */
struct iocp_list {
    uint32_t head;
    uint32_t tail;
    uint32_t count;
};

struct iocp_port {
    struct port port;
    const struct win32_calls *calls;
    void *handle;
    atomic_bool woken;     /* a packet that wakes is on its way */
    atomic_bool wake_lost; /* the system could not post one */
    bool owned;
    bool buf_freed; /* a buffer came back while sockets waited for one */
    uint64_t owner;
    uint32_t features_off;
    uint32_t accept_depth;
    uint32_t buf_bytes;
    uint32_t now_ms;
    uint32_t retry_ms; /* when those that lack accepts try again */
    uint32_t backoff_ms;
    uint32_t next;        /* in packets: the first that port_take hasn't dealt with */
    uint32_t count;       /* in packets */
    uint32_t due_now;     /* of those due, the ones that this turn hands out */
    uint32_t accepts_now; /* further accepts of theirs that this turn may hand out */
    struct iocp_list due;
    struct iocp_list starved; /* the first come first */
    struct iocp_list posted;  /* the oldest first */
    struct iocp_list lacking;
    struct iocp_accepts *speaking; /* blocks of listeners that accept with data */
    uint32_t look_ms;              /* when those are looked at again */
    struct pool bufs;
    struct win32_packet packets[IOCP_PACKETS_MAX];
};

static inline struct iocp_port *iocp_of(struct port *port) { return (struct iocp_port *)port; }

/* The memory is the slot table's, which nobody reads as the array that it is declared as. */
static inline struct iocp_own *iocp_own(struct port_sock *sock)
{
    return (struct iocp_own *)(void *)sock->own;
}

static inline struct port_sock *iocp_at(const struct iocp_port *port, uint32_t link)
{
    return link ? slots_at(port->port.socks, link - 1) : NULL;
}

static inline uint8_t iocp_bit(enum port_op op) { return (uint8_t)PORT_BIT(op); }

static inline void iocp_assert_owner(const struct iocp_port *port)
{
    assert(port->owned && port->owner == os_thread_self());
    (void)port;
}

/* The call of the table, with its ctx. */
#define IOCP_CALL(port, name, ...) ((port)->calls->name((port)->calls->ctx, __VA_ARGS__))

static inline bool iocp_has(const struct iocp_port *port, uint32_t feature)
{
    return !(port->features_off & feature);
}

/* --- iocp_list.c --- */

/* A list of those that wait; `mark` is the one of port_sock.marks. */
void iocp_list_add(struct iocp_port *port, struct iocp_list *list, struct port_sock *sock,
                   uint8_t mark);
void iocp_list_remove(struct iocp_port *port, struct iocp_list *list, struct port_sock *sock,
                      uint8_t mark);

/* Takes an accept out of the row that it is in, if any, and puts it behind `after` in another.
 * NULL: at the front. */
void iocp_row_move(struct iocp_accept *accept, struct iocp_row *to, struct iocp_accept *after);

/* Something of the socket is to be handed out after the next wait. */
void iocp_push_due(struct iocp_port *port, struct port_sock *sock);
struct port_sock *iocp_pop_due(struct iocp_port *port);

/* Ends an operation: its event comes after the next wait. */
void iocp_end(struct iocp_port *port, struct port_sock *sock, enum port_op op, int error,
              int sys_error);

/* What a call that starts an operation has said; false: it has failed, and nothing is owed. */
bool iocp_started(struct iocp_port *port, struct port_sock *sock, struct iocp_op *op, int sys);
void iocp_prepare(struct iocp_op *op, enum port_op kind, enum iocp_place place);

/* The packet of an operation has been taken, or its finish at once: the code it ended with. */
int iocp_finished(struct port_sock *sock, struct iocp_op *op);

/* Our code for that of an operation that nobody has cancelled. */
int iocp_error(int sys);

/* The last event of an operation, now. */
void iocp_event_last(struct port_event *event, struct port_sock *sock, enum port_op op, int error,
                     int sys_error);

/* PORT_CLOSE is due when the system owes nothing more. */
void iocp_close_progress(struct iocp_port *port, struct port_sock *sock);

/* Closes the handle; the socket is bare again. */
void iocp_drop_handle(struct iocp_port *port, struct port_sock *sock);

/* A handle of the port's from now on: added to it, non-blocking, with its way of packets chosen. 0
 * or the system's code. */
int iocp_adopt(struct iocp_port *port, struct port_sock *sock, port_handle handle);

/* --- events of the kinds: how many (0 or 1) were made --- */

unsigned iocp_recv_done(struct iocp_port *port, struct port_sock *sock, struct port_event *event);
unsigned iocp_connect_done(struct iocp_port *port, struct port_sock *sock,
                           struct port_event *event);
unsigned iocp_send_done(struct iocp_port *port, struct port_sock *sock, struct port_event *event);
unsigned iocp_accept_done(struct iocp_port *port, struct iocp_accept *accept,
                          struct port_event *event);

/* --- iocp_recv.c --- */

/* Reads for the first of those that wait for a buffer. */
unsigned iocp_feed(struct iocp_port *port, struct port_event *event);
/* Buffers of receives that have brought nothing for a while are asked back; all of them when
 * somebody waits for one. */
void iocp_recv_cool(struct iocp_port *port);
void iocp_recv_close(struct iocp_port *port, struct port_sock *sock);

/* --- iocp_accept.c --- */

/* Posts accepts for those that lack some, if it is time. */
void iocp_accept_retry(struct iocp_port *port);
void iocp_accept_close(struct iocp_port *port, struct port_sock *sock);
/* The first accept that has finished at once. */
struct iocp_accept *iocp_accept_ready(struct port_sock *sock);
/* The block goes when nothing in it is posted. */
void iocp_accept_release(struct iocp_port *port, struct port_sock *sock);

/* Posts what is missing. */
void iocp_accept_fill(struct iocp_port *port, struct port_sock *sock);
/* The system gives no more for now: it is tried again after a pause. */
void iocp_accept_lack(struct iocp_port *port, struct port_sock *sock);
/* The place can be used again. */
void iocp_accept_free(struct iocp_port *port, struct iocp_accept *accept);

/* --- iocp_hold.c --- */

enum {
    IOCP_LOOK_MS = 500,
    IOCP_KEY_NEWCOMER = 3,
    IOCP_POSTED_FACTOR = 4, /* as many times the depth are posted at most, most of them silent */
    IOCP_TAKE_MAX = 256,    /* by plain accepts, in one look */
};

/* A listener's block takes part, or does no longer. */
void iocp_hold_begin(struct iocp_port *port, struct iocp_accepts *block);
void iocp_hold_end(struct iocp_port *port, struct iocp_accepts *block);
/* If it is time: cuts those whose time is over and those that are too many, and posts accepts for
 * newcomers. */
void iocp_hold_look(struct iocp_port *port);
/* Those taken who have said nothing go, untold. */
void iocp_hold_drop(struct iocp_port *port, struct iocp_accepts *block);
/* Somebody waits or has spoken: it is time for a look. */
void iocp_hold_news(struct iocp_port *port);

/* --- the port functions of these names --- */

void iocp_wake(struct port *base);
void iocp_attach(struct port *base, struct port_sock *sock, port_handle handle,
                 const struct port_sock_options *options);
void iocp_accept(struct port *base, struct port_sock *sock);
void iocp_accept_stop(struct port *base, struct port_sock *sock);
void iocp_connect(struct port *base, struct port_sock *sock, const struct address *to,
                  const struct addr *from, const struct port_sock_options *options);
void iocp_recv(struct port *base, struct port_sock *sock);
void iocp_recv_stop(struct port *base, struct port_sock *sock);
int64_t iocp_send_now(struct port *base, struct port_sock *sock, const struct span *spans,
                      unsigned count, int *sys_error);
void iocp_send(struct port *base, struct port_sock *sock, const struct span *spans, unsigned count);
void iocp_send_file(struct port *base, struct port_sock *sock, const struct port_file *file);
int iocp_shutdown(struct port *base, struct port_sock *sock);
void iocp_close(struct port *base, struct port_sock *sock, enum port_close_mode mode);
void iocp_buf_release(struct port *base, uint32_t buf, const void *data);

/* Why the last port that could not be made could not; static text. */
const char *iocp_refusal(void);

#endif
