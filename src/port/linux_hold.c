/* Silent newcomers; see linux_hold.h. All of a listener's have the same time, so the list in the
 * order of their coming is also the one in which their times end: one alarm for the first of them
 * is enough. */
#include "port/linux_hold.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "port/linux_alarm.h"
#include "port/linux_call.h"
#include "sallyport/error.h"

enum { NS_PER_MS = 1000000, NOBODY = UINT16_MAX };

struct held {
    uint64_t since_ms;
    int fd;
    uint16_t next; /* of those free, or of the order */
    uint16_t prev;
    struct addr peer;
};

struct linux_hold {
    struct linux_holds *holds;
    struct port_sock *sock;
    int epoll_fd;
    int alarm_fd;
    uint32_t data_ms;
    uint16_t max;
    uint16_t first; /* who came first */
    uint16_t last;
    uint16_t free;
    bool watched;
    struct held held[];
};

static const uint64_t ALARM_KEY = UINT64_MAX;

static uint64_t now_ms(void) { return os_clock_ns() / NS_PER_MS; }

static size_t block_bytes(uint32_t max)
{
    return sizeof(struct linux_hold) + max * sizeof(struct held);
}

static void event_lost(struct port_sock *sock, int error, struct port_event *event)
{
    *event = (struct port_event){
        .sock = sock, .op = PORT_ACCEPT, .more = true, .error = error, .accepted = PORT_NO_HANDLE};
}

static void event_newcomer(struct port_sock *sock, int fd, const struct addr *peer,
                           struct port_event *event)
{
    *event = (struct port_event){
        .sock = sock, .op = PORT_ACCEPT, .more = true, .accepted = fd, .peer = *peer};
}

/* ---- The port's set ---- */

int linux_holds_open(struct linux_holds *holds, struct mem *mem)
{
    if (holds->epoll_fd >= 0) return 0;
    holds->mem = mem;
    holds->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return holds->epoll_fd >= 0 ? 0 : errno;
}

void linux_holds_close(struct linux_holds *holds)
{
    assert(!holds->open);
    if (holds->epoll_fd >= 0) close(holds->epoll_fd);
    holds->epoll_fd = -1;
}

/* ---- A listener's ---- */

static int set_make(struct linux_hold *hold)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = ALARM_KEY};
    hold->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (hold->epoll_fd < 0) return -1;
    hold->alarm_fd = linux_alarm_open();
    if (hold->alarm_fd < 0) return -1;
    return epoll_ctl(hold->epoll_fd, EPOLL_CTL_ADD, hold->alarm_fd, &event);
}

static void block_free(struct linux_hold *hold)
{
    if (hold->alarm_fd >= 0) close(hold->alarm_fd);
    if (hold->epoll_fd >= 0) close(hold->epoll_fd);
    mem_free(hold->holds->mem, hold, block_bytes(hold->max));
}

struct linux_hold *linux_hold_open(struct linux_holds *holds, struct port_sock *sock,
                                   uint32_t held_max)
{
    uint32_t max = held_max < PORT_HELD_MAX ? held_max : PORT_HELD_MAX;
    struct linux_hold *hold = mem_zalloc(holds->mem, block_bytes(max));
    if (!hold) {
        errno = ENOMEM;
        return NULL;
    }
    hold->holds = holds;
    hold->sock = sock;
    hold->epoll_fd = hold->alarm_fd = -1;
    hold->data_ms = sock->data_ms;
    hold->max = (uint16_t)max;
    hold->first = hold->last = NOBODY;
    for (uint32_t i = 0; i < max; i++)
        hold->held[i].next = (uint16_t)(i + 1 < max ? i + 1 : NOBODY);
    hold->free = max ? 0 : NOBODY;
    if (set_make(hold) != 0) {
        int sys = errno;
        block_free(hold);
        errno = sys;
        return NULL;
    }
    holds->open++;
    return hold;
}

int linux_hold_watch(struct linux_hold *hold, bool on)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = hold};
    if (hold->watched == on) return 0;
    int op = on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL;
    if (epoll_ctl(hold->holds->epoll_fd, op, hold->epoll_fd, &event) != 0) return errno;
    hold->watched = on;
    return 0;
}

/* ---- The order ---- */

static void set_alarm(struct linux_hold *hold)
{
    if (hold->first == NOBODY) return; /* it may go off once for nobody */
    uint64_t due = hold->held[hold->first].since_ms + hold->data_ms, now = now_ms();
    (void)linux_alarm_set(hold->alarm_fd, due > now ? (uint32_t)(due - now) : 0);
}

static void order_remove(struct linux_hold *hold, uint16_t i)
{
    struct held *held = &hold->held[i];
    if (held->prev == NOBODY)
        hold->first = held->next;
    else
        hold->held[held->prev].next = held->next;
    if (held->next == NOBODY)
        hold->last = held->prev;
    else
        hold->held[held->next].prev = held->prev;
    held->next = hold->free;
    hold->free = i;
}

/* Out of the set before it is closed: a copy of the descriptor in a child process would keep it
 * there. */
static int let_go(struct linux_hold *hold, uint16_t i)
{
    int fd = hold->held[i].fd;
    (void)epoll_ctl(hold->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    order_remove(hold, i);
    return fd;
}

void linux_hold_close(struct linux_hold *hold)
{
    if (!hold) return;
    while (hold->first != NOBODY) linux_close(let_go(hold, hold->first));
    (void)linux_hold_watch(hold, false);
    hold->holds->open--;
    block_free(hold);
}

static bool keep(struct linux_hold *hold, int fd, const struct addr *peer)
{
    uint16_t i = hold->free;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
    if (i == NOBODY || epoll_ctl(hold->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) return false;
    struct held *held = &hold->held[i];
    hold->free = held->next;
    *held = (struct held){.since_ms = now_ms(), .fd = fd, .next = NOBODY, .prev = hold->last};
    held->peer = *peer;
    if (hold->last == NOBODY)
        hold->first = i;
    else
        hold->held[hold->last].next = i;
    hold->last = i;
    if (hold->first == i) set_alarm(hold);
    return true;
}

bool linux_hold_cut(struct linux_hold *hold, struct port_event *event)
{
    if (hold->first == NOBODY) return false;
    linux_close(let_go(hold, hold->first));
    event_lost(hold->sock, SALLY_ETIMEDOUT, event);
    return true;
}

/* ---- Judging ---- */

/* 1: bytes are there, 0: not yet, -1: it has gone without any. */
static int has_spoken(int fd)
{
    char byte;
    ssize_t got;
    do {
        got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got > 0) return 1;
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

/* Where there is no room the newest takes the place of the oldest: so those who say nothing,
 * however many they are, never keep out one who speaks at once. */
enum linux_hold_verdict linux_hold_judge(struct linux_hold *hold, struct port_sock *sock, int fd,
                                         const struct addr *peer, struct port_event *event)
{
    int spoken = has_spoken(fd);
    if (spoken > 0) {
        event_newcomer(sock, fd, peer, event);
        return LINUX_HOLD_TOLD;
    }
    if (spoken < 0) {
        linux_close(fd);
        event_lost(sock, SALLY_ERESET, event);
        return LINUX_HOLD_TOLD;
    }
    bool cut = hold && hold->free == NOBODY && linux_hold_cut(hold, event);
    if (hold && keep(hold, fd, peer)) return cut ? LINUX_HOLD_TOLD : LINUX_HOLD_KEPT;
    linux_close(fd);
    event_lost(sock, SALLY_ETIMEDOUT, event);
    return LINUX_HOLD_TOLD;
}

/* The alarm stays readable until it is set anew, so those whose time is over come one by one. */
static bool take_late(struct linux_hold *hold, struct port_event *event)
{
    bool late = hold->first != NOBODY &&
                hold->held[hold->first].since_ms + hold->data_ms <= now_ms() &&
                linux_hold_cut(hold, event);
    if (late) return true;
    uint64_t count;
    (void)!read(hold->alarm_fd, &count, sizeof count);
    set_alarm(hold);
    return false;
}

static bool take_ready(struct linux_hold *hold, uint16_t i, struct port_event *event)
{
    int spoken = has_spoken(hold->held[i].fd);
    if (!spoken) return false;
    struct addr peer = hold->held[i].peer;
    int fd = let_go(hold, i);
    if (spoken > 0) {
        event_newcomer(hold->sock, fd, &peer, event);
    } else {
        linux_close(fd);
        event_lost(hold->sock, SALLY_ERESET, event);
    }
    return true;
}

bool linux_holds_take(struct linux_holds *holds, struct port_event *event, bool *told)
{
    struct epoll_event ready;
    *told = false;
    if (holds->epoll_fd < 0 || epoll_wait(holds->epoll_fd, &ready, 1, 0) != 1) return false;
    struct linux_hold *hold = ready.data.ptr;
    if (!(hold->sock->in_flight & PORT_BIT(PORT_ACCEPT))) { /* it has ended by itself */
        (void)linux_hold_watch(hold, false);
        return true;
    }
    if (epoll_wait(hold->epoll_fd, &ready, 1, 0) != 1) return true;
    *told = ready.data.u64 == ALARM_KEY ? take_late(hold, event)
                                        : take_ready(hold, (uint16_t)ready.data.u64, event);
    return true;
}
