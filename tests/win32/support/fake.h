/* A kernel of Windows in little, on Linux' sockets: the table of calls that the completion port is
 * made on, with its rules. An operation that finishes at once says so and queues a packet unless
 * the handle skips them; what goes on says pending and queues exactly one; a cancelled one is told
 * by its packet; a closed handle ends what is pending on it. So the state machine of the port runs
 * natively, under the sanitizers, against peers that are real.
 *
 * And it does what the real ones do under duress only: any call can be told to fail so many times,
 * accepts finish at once, operations that could finish say pending. All memory is the fake's own,
 * from malloc. Any thread; one lock. */
#ifndef WIN32_SUPPORT_FAKE_H
#define WIN32_SUPPORT_FAKE_H

#include <pthread.h>

#include "port/win32_calls.h"

enum { FAKE_FDS_MAX = 65536 };

/* The calls that can be told to fail. */
enum fake_call {
    FAKE_SOCKET,
    FAKE_BIND,
    FAKE_ADD,
    FAKE_SKIP,
    FAKE_ACCEPTED, /* taking over the listener's context */
    FAKE_CONNECTED,
    FAKE_RECV,
    FAKE_SEND,
    FAKE_ACCEPT,
    FAKE_CONNECT,
    FAKE_CANCEL,
    FAKE_POST,
    FAKE_SIGNAL,
    FAKE_TAKE,
    FAKE_TAKEN, /* what a taken one's socket needs */
    FAKE_LOOK,
    FAKE_WATCH,
    FAKE_READ,
    FAKE_TRANSMIT,
    FAKE_FILE_BYTES,
    FAKE_TRANSMIT_ENDS, /* the code is a status */
    FAKE_ACCEPT_ENDS,   /* the code is a status that accepts end with */
    FAKE_RECV_ENDS,
    FAKE_CALLS
};

struct fake_fault {
    unsigned after; /* so many go well first */
    unsigned times;
    int code;
};

struct fake_op;
struct fake_port;

struct fake_sock {
    struct fake_port *port;
    uint64_t key;
    bool skips;
    uint64_t signal_key;       /* a packet with it tells of newcomers that no accept waits for */
    bool signal_armed;         /* one of them, until it is asked for again */
    bool signal_set;           /* its event */
    bool signalled;            /* it was set for one that waits, until the next accept */
    struct fake_sock *watcher; /* the listener whose event says that something is there */
    bool heard;                /* it was set for that, until the next read */
    struct fake_op *ops;       /* in the order they were started */
};

struct fake {
    struct win32_calls calls; /* first: a port's config takes the fake for it */
    pthread_mutex_t lock;
    struct fake_fault faults[FAKE_CALLS];
    unsigned counts[FAKE_CALLS];
    uint32_t pended_percent;  /* of the operations that could finish at once: say pending */
    bool accepts_at_once;     /* Wine's never do */
    bool transmits_at_once;   /* nor do its transfers */
    bool no_transmit;         /* the provider has none */
    bool signal_storms;       /* says without a pause that somebody waits, as Wine does */
    unsigned signals;         /* packets that said so, or that a watched one has spoken */
    uint32_t file_bytes_more; /* a file was so much longer when it was asked for its length */
    uint32_t closed_status;   /* of what was pending on a handle that is closed */
    uint64_t random;
    int fds; /* none from here on was ever added to a port */
    struct fake_sock socks[FAKE_FDS_MAX];
};

struct fake *fake_make(void);
void fake_free(struct fake *fake);

/* The next `times` calls after `after` more fail with the code (FAKE_..._ENDS: a status). */
void fake_fail(struct fake *fake, enum fake_call call, unsigned after, unsigned times, int code);
/* Calls so far. */
unsigned fake_count(struct fake *fake, enum fake_call call);

/* --- between fake*.c; the lock is held --- */

struct fake_op {
    struct fake_op *next;
    struct win32_overlapped *overlapped;
    enum fake_call kind; /* FAKE_RECV, FAKE_SEND, FAKE_ACCEPT, FAKE_CONNECT */
    unsigned char *buf;  /* received into, or the newcomer's addresses */
    uint32_t len;
    struct span spans[WIN32_SPANS_MAX]; /* still to be sent */
    unsigned count;
    int file; /* whose next `len` bytes are still to be sent */
    uint64_t offset;
    int newcomer;   /* the descriptor that becomes the newcomer's */
    bool connected; /* with first bytes: it has come, they have not */
    uint64_t since_ms;
};

/* Whether the call has to fail: its code. */
int fake_fault(struct fake *fake, enum fake_call call);
/* Tries to go on; true when it has finished, with status and bytes in its overlapped. */
bool fake_op_try(struct fake *fake, int fd, struct fake_op *op);
/* Poll's events that it waits for. */
short fake_op_events(const struct fake_op *op);
/* Its packet is queued and the operation is gone. */
void fake_op_packet(struct fake *fake, int fd, struct fake_op *op);
/* All of a handle that are pending, or one; how many. */
unsigned fake_end(struct fake *fake, int fd, const struct win32_overlapped *overlapped,
                  uint32_t status);
void fake_sock_calls(struct win32_calls *calls);
void fake_hold_calls(struct win32_calls *calls);
/* Windows' code of an errno. */
int fake_code_of(int number);
uint64_t fake_now_ms(void);
/* Whether a newcomer would find an accept that waits for one. */
bool fake_accepts(const struct fake_sock *sock);
/* The accept that a closed descriptor was to be the newcomer of, ends. */
void fake_end_accept(struct fake *fake, int newcomer);

#endif
