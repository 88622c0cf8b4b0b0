/* A signal may come to any thread of the process, also to one that is the program's own, so it is
 * caught by a handler, not by a mask; the handler counts and writes to an eventfd on which the
 * watcher sleeps. */
#include "os/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sallyport/error.h"

static const int watched[] = {SIGINT, SIGTERM};
enum { WATCHED = sizeof watched / sizeof watched[0] };

static atomic_bool taken;
static atomic_int event_fd = -1;
static atomic_uint seen;
static atomic_uint pokers; /* between reading event_fd and having written to it */
static struct sigaction before[WATCHED];
static bool replaced[WATCHED];

void os_signals_poke(void)
{
    atomic_fetch_add(&pokers, 1);
    int fd = atomic_load(&event_fd);
    uint64_t one = 1;
    /* a full counter means that the watcher is awake anyway */
    if (fd >= 0) (void)!write(fd, &one, sizeof one);
    atomic_fetch_sub(&pokers, 1);
}

static void on_signal(int number)
{
    (void)number;
    int saved = errno;
    atomic_fetch_add(&seen, 1);
    os_signals_poke();
    errno = saved;
}

int os_signals_watch(void)
{
    if (atomic_exchange(&taken, true)) return SALLY_ESTATE;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        atomic_store(&taken, false);
        return SALLY_EEXHAUSTED;
    }
    atomic_store(&event_fd, fd);
    atomic_store(&seen, 0);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < WATCHED; i++) {
        sigaction(watched[i], NULL, &before[i]);
        replaced[i] = !(before[i].sa_flags & SA_SIGINFO) && before[i].sa_handler == SIG_DFL;
        if (replaced[i]) sigaction(watched[i], &action, NULL);
    }
    return 0;
}

void os_signals_unwatch(void)
{
    for (int i = 0; i < WATCHED; i++)
        if (replaced[i]) sigaction(watched[i], &before[i], NULL);
    int fd = atomic_exchange(&event_fd, -1);
    while (atomic_load(&pokers)) {
        /* a write takes no time, and a number that is closed now may be another's in a moment */
    }
    close(fd);
    atomic_store(&taken, false);
}

unsigned os_signals_seen(void) { return atomic_load(&seen); }

void os_signals_wait(uint32_t timeout_ms)
{
    struct pollfd poll_fd = {.fd = atomic_load(&event_fd), .events = POLLIN};
    int timeout = timeout_ms > INT32_MAX ? -1 : (int)timeout_ms;
    if (poll(&poll_fd, 1, timeout) <= 0) return;
    uint64_t count;
    (void)!read(poll_fd.fd, &count, sizeof count);
}
