/* What the fake has for who accepts with data: newcomers that are taken without a posted accept,
 * are asked whether they have spoken, and share the event of their listener; see fake.h. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "win32/support/fake.h"

static int call_connect_time(void *ctx, port_handle handle, int32_t *seconds)
{
    struct fake *fake = ctx;
    *seconds = -1;
    pthread_mutex_lock(&fake->lock);
    for (int fd = 0; fd < fake->fds; fd++)
        for (const struct fake_op *op = fake->socks[fd].ops; op; op = op->next)
            if (op->connected && op->newcomer == (int)handle)
                *seconds = (int32_t)((fake_now_ms() - op->since_ms) / 1000);
    pthread_mutex_unlock(&fake->lock);
    return 0;
}

static int call_take(void *ctx, port_handle listener, port_handle *handle)
{
    struct fake *fake = ctx;
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, FAKE_TAKE);
    int fd = -1;
    if (!sys) fd = accept4((int)listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (!sys && fd < 0) sys = fake_code_of(errno);
    if (fd >= FAKE_FDS_MAX) abort();
    if (!sys) *handle = fd;
    fake->socks[listener].signalled = false;
    pthread_mutex_unlock(&fake->lock);
    return sys;
}

static int call_look(void *ctx, const port_handle *handles, uint32_t count, bool *there)
{
    struct pollfd looks[WIN32_LOOK_MAX];
    struct fake *fake = ctx;
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, FAKE_LOOK);
    pthread_mutex_unlock(&fake->lock);
    if (sys) return sys;
    if (!count || count > WIN32_LOOK_MAX) abort();
    for (uint32_t i = 0; i < count; i++)
        looks[i] = (struct pollfd){.fd = (int)handles[i], .events = POLLIN};
    if (poll(looks, count, 0) < 0) return fake_code_of(errno);
    for (uint32_t i = 0; i < count; i++) there[i] = looks[i].revents != 0;
    return 0;
}

static int call_watch(void *ctx, void *signal, port_handle handle)
{
    struct fake *fake = ctx;
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, FAKE_WATCH);
    if (!sys) fake->socks[handle] = (struct fake_sock){.watcher = signal};
    if (handle >= fake->fds) fake->fds = (int)handle + 1;
    pthread_mutex_unlock(&fake->lock);
    return sys;
}

static int call_signal(void *ctx, port_handle listener, void *port, uint64_t key, void **signal)
{
    struct fake *fake = ctx;
    (void)port;
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, FAKE_SIGNAL);
    if (!sys) fake->socks[listener].signal_key = key;
    if (!sys) fake->socks[listener].signal_armed = true;
    pthread_mutex_unlock(&fake->lock);
    *signal = sys ? NULL : &fake->socks[listener]; /* it ends with the listener's handle */
    return sys;
}

static void call_signal_again(void *ctx, void *signal)
{
    struct fake *fake = ctx;
    struct fake_sock *sock = signal;
    pthread_mutex_lock(&fake->lock);
    sock->signal_armed = sock->signal_key != 0;
    pthread_mutex_unlock(&fake->lock);
}

static void call_signal_end(void *ctx, void *signal) { (void)ctx, (void)signal; }

void fake_hold_calls(struct win32_calls *calls)
{
    calls->connect_time = call_connect_time;
    calls->take = call_take;
    calls->look = call_look;
    calls->watch = call_watch;
    calls->signal = call_signal;
    calls->signal_again = call_signal_again;
    calls->signal_end = call_signal_end;
}
