/* What the files of the uring port share; nobody else includes it but its own test.
 *
 * Job: one io_uring for one port. Memory: the port owns the ring, the receive buffers and the arena
 * of message headers; sockets are the owner's, and uring keeps what it must remember of one in its
 * struct port_sock. Threads: creating is any thread's, port_wake too, the rest is the owner's.
 *
 * The files: uring.c the port's life and its events, uring_ring.c the system calls, uring_list.c
 * what waits and what is due, uring_accept.c, uring_connect.c, uring_recv.c, uring_send.c,
 * uring_file.c and uring_close.c the operations, uring_bufs.c receive buffers, uring_probe.c what
 * this kernel can, uring_trial.c a trial of it. docs/design/uring.md tells why. */
#ifndef PORT_URING_H
#define PORT_URING_H

#include <assert.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "os/thread.h"
#include "port/linux_hold.h"
#include "port/port.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define URING_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define URING_ASAN 1
#endif
#if defined(URING_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(data, bytes)   ((void)(data), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#endif

/* Not in the headers of liburing 2.3. */
enum {
    URING_RECV_BUNDLE = 1u << 4,          /* sqe.ioprio of a receive, kernel 6.10 */
    URING_FEAT_RECVSEND_BUNDLE = 1 << 14, /* kernel 6.10 */
    URING_REGISTER_PBUF_STATUS = 26,      /* kernel 6.8 */
};

struct uring_buf_status { /* io_uring_buf_status, kernel 6.8 */
    uint32_t group;
    uint32_t head; /* out */
    uint32_t reserved[8];
};

/* The 8 bits beside slot and generation in user_data. The first five are PORT_ACCEPT to PORT_CLOSE.
 */
enum uring_kind { URING_CANCEL = PORT_OPS, URING_WAKE, URING_ALARM, URING_HOLD, URING_FILE };

enum uring_state { URING_OPEN, URING_CLOSING, URING_CLOSED }; /* port_sock.state */

/* Bits of port_sock.marks. */
enum {
    URING_HAS_FD = 1 << 0,
    URING_IN_WORK = 1 << 1, /* in the list of what has to be submitted */
    URING_IN_DUE = 1 << 2,  /* in the list of what has to be told */
    URING_STARVED = 1 << 3, /* its receive waits for a buffer */
    URING_STOP = 1 << 4,    /* its accept or receive was asked to end */
    URING_RESET = 1 << 5,
    URING_PLAIN_ACCEPT = 1 << 6, /* multishot was refused on this listener */
    URING_BROKEN = 1 << 7,       /* received bytes were lost: the receive ends with an error; a
                                    listener has no place for silent newcomers: the accept does */
};

enum uring_list_id { URING_WORK, URING_DUE, URING_LISTS };

/* What port_sock.own holds. The masks have PORT_BIT of each operation. */
struct uring_sock {
    union {
        const void *send_data; /* the first span of the send in flight, port_sock.own32 bytes: it
                                    may have to be submitted again */
        const struct port_file *file; /* the same of a file: own32 is 0, which no span's is */
        struct linux_hold *hold;      /* a listener's that hears, made by its first accept */
    };
    uint32_t next[URING_LISTS]; /* slot index + 1, 0 at the end */
    uint32_t starved_next;      /* out of the list: URING_FED, or 0 */
    union {
        uint32_t starved_prev;
        uint32_t held_max; /* the same listener's */
    };
    int16_t due_error; /* what ends the connect */
    int16_t due_sys;
    uint8_t armed;  /* the kernel has it and owes its last completion */
    uint8_t start;  /* found no room in the submission queue */
    uint8_t cancel; /* its cancellation found no room */
    uint8_t due;    /* its last event waits for port_take */
};

_Static_assert(sizeof(struct uring_sock) == sizeof((struct port_sock){0}.own), "own is too small");
_Static_assert(offsetof(struct port_sock, own) % _Alignof(struct uring_sock) == 0, "alignment");

struct uring_list {
    uint32_t head; /* slot index + 1 */
    uint32_t tail;
    uint32_t count;
};

/* Receive buffers. With a buffer ring they wait in it for the kernel, without one on a stack. */
enum uring_buf_state {
    URING_BUF_FREE, /* the kernel's, or on the stack */
    URING_BUF_LENT,
    URING_BUF_BACK, /* given back, and not yet put in the ring */
    URING_BUF_LOST,
};

struct uring_bufs {
    unsigned char *data;            /* count x bytes */
    struct io_uring_buf_ring *ring; /* NULL: the stack */
    uint16_t *order;                /* the buffer at each place of the ring; or the stack */
    uint16_t *place;                /* the place at which a buffer was last put in the ring */
    uint16_t *run;                  /* of a run's first buffer: how many more were lent with it */
    uint64_t *back;                 /* a bit for each that was given back and is not in the ring */
    uint32_t back_low, back_high;   /* words of it that may have bits: from low, before high */
    uint8_t *state;                 /* enum uring_buf_state */
    uint32_t bytes;
    uint32_t count;
    uint32_t mask;    /* the ring's places - 1: twice as many as buffers, so that the order of those
                         taken can still be read when others were put back */
    uint32_t pending; /* put in the ring and not yet shown to the kernel */
    uint32_t run_max; /* buffers that are lent as one, if they lie side by side */
    uint32_t ration;  /* bytes of a receive while others wait for buffers */
    uint32_t free;    /* the stack's height */
    uint32_t lost;    /* the kernel said something of them that can't be */
    void *block;      /* all of the above is one allocation */
    size_t block_bytes;
};

/* A completion whose buffers have not all been handed out. */
struct uring_chunk {
    struct port_sock *sock; /* NULL: none */
    uint32_t left;          /* bytes */
    uint16_t place;         /* of the next buffer in the ring */
    bool last;              /* the receive ended with it */
};

/* uring_sock.starved_next: the receive was fed, and nothing has come of it yet. */
enum { URING_FED = UINT32_MAX >> 1 };

enum { URING_ARENA_BYTES = 32768, URING_SPANS_MAX = 256 };

typedef int uring_enter_fn(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                           size_t bytes);

struct uring {
    struct port port;
    struct io_uring ring;
    uring_enter_fn *enter; /* the system call; tests put a failing one here */
    uint32_t features_off; /* PORT_NO_*: asked for, or refused by this machine */
    uint32_t setup_flags;
    uint32_t ready;      /* completions that the last wait found and nobody has taken */
    uint32_t ripe;       /* the same of the due list */
    uint32_t hold_steps; /* how often this turn still looks for newcomers that had to speak */
    int wake_fd;
    int alarm_fd;
    _Atomic int told_fd; /* what port_fd gave: the kernel writes to it; -1: nobody asked */
    bool owned;
    bool stuck; /* the kernel keeps a request of ours: nothing may be freed */
    bool ring_fd_registered;
    bool wake_armed;
    bool alarm_armed;
    bool hold_armed;
    bool hold_ready;   /* newcomers may be there that had to speak first */
    bool fd_used;      /* somebody polls the ring's descriptor */
    const char *owner; /* &os_thread_mark of the owning thread */
    pid_t pid;
    struct uring_list lists[URING_LISTS];
    struct uring_list starved;
    uint32_t starved_front; /* the last that was put back in front since they were fed: its slot's
                               index + 1 */
    uint32_t fed_bufs;      /* how many buffers those that were fed took lately, in 16ths */
    struct uring_chunk chunk;
    struct linux_holds holds;
    struct uring_bufs bufs;
    uint32_t arena_used;
    unsigned char *arena; /* message headers and iovecs until they were submitted */
};

static inline struct uring *uring_of(struct port *port) { return (struct uring *)port; }

static inline struct uring_sock *uring_own(struct port_sock *sock)
{
    return (struct uring_sock *)sock->own;
}

static inline uint8_t uring_bit(unsigned op) { return (uint8_t)PORT_BIT(op); }

static inline bool uring_has(const struct uring *uring, enum port_feature feature)
{
    return !(uring->features_off & feature);
}

/* Whether something waits that was found or brought by no completion. */
static inline bool uring_is_left(const struct uring *uring)
{
    return uring->ready | uring->ripe | uring->hold_steps | (uintptr_t)uring->chunk.sock;
}

/* One test for all that a wait has to see to beside buffers, nearly always nothing. */
static inline bool uring_is_calm(const struct uring *uring)
{
    bool armed =
        uring->wake_armed & uring->alarm_armed & (uring->hold_armed | (uring->holds.epoll_fd < 0));
    return armed && !(uring->lists[URING_WORK].count | uring->lists[URING_DUE].count |
                      uring->starved.count | uring->hold_ready | (uintptr_t)uring->chunk.sock);
}

static inline void uring_assert_owner(const struct uring *uring)
{
    assert(uring->owner == &os_thread_mark);
    (void)uring;
}

/* Whether the send in flight is of a file. Its requests have another kind than a send's. */
static inline bool uring_is_file(const struct port_sock *sock) { return sock->own32 == 0; }

static inline uint64_t uring_data(const struct port_sock *sock, unsigned kind)
{
    return (uint64_t)slot_generation(&sock->slot) << 32 | (uint64_t)kind << SLOTS_INDEX_BITS |
           sock->slot.index;
}

/* --- uring_ring.c --- */

uring_enter_fn uring_enter_kernel;

/* Filled entries that the kernel has not taken, and completions that nobody has. */
static inline unsigned uring_sq_ready(const struct uring *uring)
{
    return uring->ring.sq.sqe_tail - *uring->ring.sq.khead;
}

static inline unsigned uring_cq_ready(const struct uring *uring)
{
    return io_uring_smp_load_acquire(uring->ring.cq.ktail) - *uring->ring.cq.khead;
}

/* The next free entry, not cleared; NULL: the queue is full. The ring has entries of 64 bytes, and
 * no thread of the kernel's takes them, so its head moves only while this thread is in a call. */
static inline struct io_uring_sqe *uring_sqe_free(struct uring *uring)
{
    struct io_uring_sq *sq = &uring->ring.sq;
    unsigned tail = sq->sqe_tail;
    if (tail - *sq->khead >= sq->ring_entries) return NULL;
    sq->sqe_tail = tail + 1;
    return &sq->sqes[tail & sq->ring_mask];
}

/* The next free entry, cleared and with `user_data`; flushes a full queue. NULL: still full, which
 * the caller must survive. */
struct io_uring_sqe *uring_sqe(struct uring *uring, uint8_t opcode, int fd, uint64_t user_data);

/* Submits all there is, without waiting. 0, or a negative errno: what is left stays queued. */
int uring_submit(struct uring *uring);

/* Submits, moves what has completed into the completion queue, sleeps at most so long for a first
 * one. 0 whatever came of it, or SALLY_ESYSTEM. */
int uring_enter(struct uring *uring, uint32_t timeout_ms);

/* --- uring_list.c --- */

void uring_push(struct uring *uring, enum uring_list_id list, struct port_sock *sock);
struct port_sock *uring_pop(struct uring *uring, enum uring_list_id list);

/* Submits the operation now, or when there is room. */
void uring_start(struct uring *uring, struct port_sock *sock, enum port_op op);

/* Asks that the operation ends; its last event comes whatever the kernel is just doing with it. */
void uring_stop(struct uring *uring, struct port_sock *sock, enum port_op op);

/* The kernel owes nothing more for it. */
void uring_over(struct port_sock *sock, enum port_op op);

/* The operation's last event is to come out of the due list. */
void uring_due(struct uring *uring, struct port_sock *sock, enum port_op op);

/* Submits what found no room. */
void uring_work(struct uring *uring);

/* Lets receives that wait for a buffer try again, the longest-waiting first, as many as there are
 * likely to be buffers for. */
void uring_feed(struct uring *uring);

/* A receive that was fed has got so many bytes. */
void uring_fed_took(struct uring *uring, struct port_sock *sock, uint32_t bytes);

static inline void uring_fed(struct uring *uring, struct port_sock *sock, uint32_t bytes)
{
    if (uring_own(sock)->starved_next == URING_FED) uring_fed_took(uring, sock, bytes);
}

/* Behind all others; but one that was fed and found nothing comes before those that were not. */
void uring_starve(struct uring *uring, struct port_sock *sock);
void uring_unstarve(struct uring *uring, struct port_sock *sock);

/* Whether something is to be done that no completion will announce. */
bool uring_restless(const struct uring *uring);

/* One event of the due list. */
void uring_take_due(struct uring *uring, struct port_event *event);

/* Fills in an operation's last event, and closes the socket if it waited for that. */
void uring_end(struct uring *uring, struct port_sock *sock, enum port_op op, int32_t error,
               int32_t sys_error, struct port_event *event);

int32_t uring_error(int res);

/* --- the operations: X_issue submits and is false without room; X_done takes a completion and is
 * true when it made an event --- */

bool uring_accept_issue(struct uring *uring, struct port_sock *sock);
bool uring_accept_done(struct uring *uring, struct port_sock *sock, int res, uint32_t flags,
                       struct port_event *event);
bool uring_connect_issue(struct uring *uring, struct port_sock *sock);
bool uring_connect_done(struct uring *uring, struct port_sock *sock, int res,
                        struct port_event *event);
bool uring_recv_issue(struct uring *uring, struct port_sock *sock);
bool uring_recv_done(struct uring *uring, struct port_sock *sock, int res, uint32_t flags,
                     struct port_event *event);
/* The next buffer of uring->chunk. False when it was the kernel's error and there is none. */
bool uring_recv_next(struct uring *uring, struct port_event *event);
bool uring_send_issue(struct uring *uring, struct port_sock *sock);
bool uring_send_done(struct uring *uring, struct port_sock *sock, int res,
                     struct port_event *event);

bool uring_file_issue(struct uring *uring, struct port_sock *sock);
bool uring_file_done(struct uring *uring, struct port_sock *sock, int res,
                     struct port_event *event);

void uring_accept(struct port *port, struct port_sock *sock);
void uring_accept_stop(struct port *port, struct port_sock *sock);
void uring_connect(struct port *port, struct port_sock *sock, const struct address *to,
                   const struct addr *from, const struct port_sock_options *options);
void uring_recv(struct port *port, struct port_sock *sock);
void uring_recv_stop(struct port *port, struct port_sock *sock);
int64_t uring_send_now(struct port *port, struct port_sock *sock, const struct span *spans,
                       unsigned count, int *sys_error);
void uring_send(struct port *port, struct port_sock *sock, const struct span *spans,
                unsigned count);
void uring_send_file(struct port *port, struct port_sock *sock, const struct port_file *file);
int uring_shutdown(struct port *port, struct port_sock *sock);
void uring_close(struct port *port, struct port_sock *sock, enum port_close_mode mode);

/* Closes the descriptor, through the ring where there is room. */
void uring_close_fd(struct uring *uring, struct port_sock *sock);

/* Finishes closing if nothing is in the way any more. */
void uring_close_progress(struct uring *uring, struct port_sock *sock);

/* --- uring_bufs.c --- */

/* bytes and count as in port_config, 0 for the default. SALLY_EINVAL, SALLY_ENOMEM. */
int uring_bufs_create(struct uring *uring, uint32_t bytes, uint32_t count);
void uring_bufs_free(struct uring *uring);

/* Registers the ring and fills it. A negative errno. */
int uring_bufs_register(struct uring *uring);
void uring_bufs_unregister(struct uring *uring);

/* Lends what lies from a place of the ring on, as one, if it lies side by side in memory: at most
 * *bytes, which then says how many it is. How many places that were; `buf` is the first buffer. 0:
 * it isn't there to be lent. */
uint32_t uring_bufs_lend(struct uring *uring, uint16_t place, uint32_t *buf, uint32_t *bytes);

static inline unsigned char *uring_bufs_at(const struct uring_bufs *bufs, uint32_t buf)
{
    return bufs->data + (size_t)buf * bufs->bytes;
}

/* The stack's: NULL without one. */
unsigned char *uring_bufs_pop(struct uring *uring, uint32_t *buf);

/* Whether the kernel may say that it used this buffer. */
static inline bool uring_bufs_known(const struct uring *uring, uint32_t buf)
{
    if (buf >= uring->bufs.count) return false;
    uint8_t state = uring->bufs.state[buf];
    return state == URING_BUF_FREE || state == URING_BUF_LOST;
}

static inline unsigned char *uring_buf_lend(struct uring *uring, uint32_t buf)
{
    unsigned char *data = uring_bufs_at(&uring->bufs, buf);
    uring->bufs.state[buf] = URING_BUF_LENT;
    uring->port.bufs_lent++;
    ASAN_UNPOISON_MEMORY_REGION(data, uring->bufs.bytes);
    return data;
}

/* Lends one buffer of the ring that the kernel has put all of the bytes in; NULL: they are in more,
 * or it isn't there to be lent. */
static inline unsigned char *uring_bufs_lend_one(struct uring *uring, uint32_t buf, uint32_t bytes)
{
    const struct uring_bufs *bufs = &uring->bufs;
    if (!bufs->ring || buf >= bufs->count || bufs->state[buf] != URING_BUF_FREE) return NULL;
    uint16_t place = bufs->place[buf];
    if (bufs->order[place] != buf || bytes > bufs->ring->bufs[place].len) return NULL;
    return uring_buf_lend(uring, buf);
}

/* The kernel named a buffer and put nothing in: puts it back if it was really taken. */
void uring_bufs_unused(struct uring *uring, uint32_t buf);

void uring_bufs_release(struct port *port, uint32_t buf, const void *data);

/* Puts what was given back in the ring and shows it to the kernel. */
void uring_bufs_publish(struct uring *uring);

/* How many a receive could have now, as far as is known. */
uint32_t uring_bufs_ready(const struct uring *uring);

/* --- what nearly every completion is --- */

static inline void uring_data_event(struct port_sock *sock, uint32_t buf, const void *data,
                                    uint32_t bytes, struct port_event *event)
{
    /* one by one: what is an accept's stays as it is */
    event->sock = sock;
    event->op = PORT_RECV;
    event->more = true;
    event->error = 0;
    event->sys_error = 0;
    event->bytes = bytes;
    event->buf = buf;
    event->data = data;
}

/* Nearly always: bytes in one buffer, and the receive goes on. False: it is not that, and nothing
 * has happened. */
static inline bool uring_recv_plain(struct uring *uring, struct port_sock *sock, int res,
                                    uint32_t flags, struct port_event *event)
{
    const uint32_t plain = IORING_CQE_F_MORE | IORING_CQE_F_BUFFER;
    if ((flags & plain) != plain || res <= 0 || (sock->marks & URING_BROKEN)) return false;
    uint32_t buf = flags >> IORING_CQE_BUFFER_SHIFT;
    const void *data = uring_bufs_lend_one(uring, buf, (uint32_t)res);
    if (!data) return false;
    uring_data_event(sock, buf, data, (uint32_t)res, event);
    uring_fed(uring, sock, (uint32_t)res);
    return true;
}

/* --- uring_probe.c, uring_trial.c --- */

/* Why the last create on this thread was refused; "" if it wasn't. */
const char *uring_refusal(void);
void uring_refuse(const char *what, int err);

/* Makes the ring, disabled, with as many of the wanted features as the kernel takes, and leaves
 * those out of reach in uring->features_off. SALLY_ENOPORT, SALLY_EEXHAUSTED. */
int uring_probe_ring(struct uring *uring, uint32_t sq_entries, uint32_t cq_entries);

/* Tries a port with these features off: 0, a positive number where nothing can be tried (no
 * loopback, no descriptors), or a negative one when it did something wrong. */
typedef int uring_trial_fn(struct mem *mem, uint32_t features_off);
uring_trial_fn uring_trial;

/* Switches features off one after the other until the trial is passed. A negative number when none
 * helps. */
int uring_choose(struct mem *mem, uint32_t wanted_off, uring_trial_fn *trial, uint32_t *off);

/* uring_choose, remembering what it found for the life of the process. */
int uring_choose_once(struct mem *mem, uint32_t wanted_off, uint32_t *off);

/* As port_ops.create, without a trial. */
int uring_create_untried(struct port **port, const struct port_config *config);

#endif
