/* The table of calls as the system has them; see win32_calls.h. The functions of Winsock's
 * extensions are asked for once in a process, for each family of its own, since each may have
 * another provider. Memory: a few words for each signal; any thread. */
#include "port/win32_calls.h"

#include <winsock2.h>
#include <ws2tcpip.h>

#include <mstcpip.h>
#include <mswsock.h>
#include <windows.h>

#include "os/network.h"
#include "port/win32_addr.h"

_Static_assert(sizeof(struct win32_overlapped) == sizeof(OVERLAPPED) &&
                   offsetof(struct win32_overlapped, status) == offsetof(OVERLAPPED, Internal) &&
                   offsetof(struct win32_overlapped, bytes) == offsetof(OVERLAPPED, InternalHigh) &&
                   offsetof(struct win32_overlapped, event) == offsetof(OVERLAPPED, hEvent),
               "an operation goes to the kernel as it is");
_Static_assert(sizeof(struct win32_packet) == sizeof(OVERLAPPED_ENTRY) &&
                   offsetof(struct win32_packet, overlapped) ==
                       offsetof(OVERLAPPED_ENTRY, lpOverlapped) &&
                   offsetof(struct win32_packet, bytes) ==
                       offsetof(OVERLAPPED_ENTRY, dwNumberOfBytesTransferred),
               "packets come from the kernel as they are");
_Static_assert(WIN32_ADDRS_BYTES == 2 * (sizeof(SOCKADDR_STORAGE) + 16), "as AcceptEx wants it");

enum {
    KEEPALIVE_INTERVAL_MS = 15000,
    ADDR_BYTES = WIN32_ADDRS_BYTES / 2,
    REUSE_UNICAST_PORT = 0x3007, /* SO_REUSE_UNICASTPORT and TCP_MAXRT: not in these headers */
    MAX_RETRANSMIT = 5,
};

struct extension {
    LPFN_ACCEPTEX accept;
    LPFN_GETACCEPTEXSOCKADDRS addrs;
    LPFN_CONNECTEX connect;
};

/* One for each family; without IPv6 its own are IPv4's, and nobody gets to call them. */
static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
static struct extension extensions[2];
static int load_error;
static bool has_transmit;
static const char *load_missing;

static struct extension *extension_of(enum addr_family family)
{
    return &extensions[family == ADDR_V6];
}

static int last(int result) { return result == 0 ? 0 : WSAGetLastError(); }

static int last_if(BOOL failed) { return failed ? (int)GetLastError() : 0; }

/* What a started operation says. */
static int started(BOOL done) { return done ? 0 : WSAGetLastError(); }

static SOCKET sock_of(port_handle handle) { return (SOCKET)handle; }

static OVERLAPPED *system_of(struct win32_overlapped *overlapped)
{
    return (OVERLAPPED *)(void *)overlapped;
}

/* ---- Start ---- */

static bool load_one(SOCKET sock, GUID guid, const char *name, void *function, size_t bytes)
{
    DWORD got;
    if (WSAIoctl(sock, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof guid, function,
                 (DWORD)bytes, &got, NULL, NULL) == 0)
        return true;
    load_error = WSAGetLastError();
    load_missing = name;
    return false;
}

/* NULL: the socket's provider has none. */
static LPFN_TRANSMITFILE transmit_of(SOCKET sock)
{
    GUID guid = WSAID_TRANSMITFILE;
    LPFN_TRANSMITFILE function = NULL;
    DWORD got;
    if (WSAIoctl(sock, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof guid, &function,
                 sizeof function, &got, NULL, NULL) != 0)
        return NULL;
    return function;
}

static bool load_family(int family, struct extension *to)
{
    SOCKET sock = WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    if (sock == INVALID_SOCKET) return false;
    bool all = load_one(sock, (GUID)WSAID_ACCEPTEX, "AcceptEx", &to->accept, sizeof to->accept) &&
               load_one(sock, (GUID)WSAID_GETACCEPTEXSOCKADDRS, "GetAcceptExSockaddrs", &to->addrs,
                        sizeof to->addrs) &&
               load_one(sock, (GUID)WSAID_CONNECTEX, "ConnectEx", &to->connect, sizeof to->connect);
    has_transmit = all && transmit_of(sock);
    closesocket(sock);
    return all;
}

static BOOL CALLBACK load(INIT_ONCE *init, void *parameter, void **context)
{
    (void)init, (void)parameter, (void)context;
    load_error = os_network_start();
    if (load_error) return TRUE;
    if (!load_family(AF_INET, &extensions[0])) {
        if (!load_error) load_error = WSAGetLastError();
        return TRUE;
    }
    extensions[1] = extensions[0];
    struct extension six;
    if (load_family(AF_INET6, &six)) extensions[1] = six;
    load_error = 0;
    return TRUE;
}

static int call_start(void *ctx, const char **missing)
{
    (void)ctx;
    (void)InitOnceExecuteOnce(&once, load, NULL, NULL);
    if (load_error) *missing = load_missing;
    return load_error;
}

/* ---- Sockets ---- */

static int call_socket(void *ctx, enum addr_family family, port_handle *handle)
{
    (void)ctx;
    SOCKET sock = WSASocketW(family == ADDR_V6 ? AF_INET6 : AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL,
                             0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (sock == INVALID_SOCKET) return WSAGetLastError();
    *handle = (port_handle)sock;
    return 0;
}

static int call_close(void *ctx, port_handle handle)
{
    (void)ctx;
    return last(closesocket(sock_of(handle)));
}

static int call_bind(void *ctx, port_handle handle, const struct addr *addr)
{
    (void)ctx;
    SOCKADDR_STORAGE sockaddr;
    int len = win32_addr_to(addr, &sockaddr);
    return last(bind(sock_of(handle), (struct sockaddr *)&sockaddr, len));
}

static int call_listen(void *ctx, port_handle handle, int backlog)
{
    (void)ctx;
    return last(listen(sock_of(handle), backlog > 0 ? backlog : SOMAXCONN));
}

static int set(port_handle handle, int level, int name, int64_t value)
{
    int number = value > INT32_MAX ? INT32_MAX : (int)value;
    return last(setsockopt(sock_of(handle), level, name, (const char *)&number, sizeof number));
}

/* In one call all that keepalive has, which systems before 10.1709 have only so. */
static int set_keepalive(port_handle handle, int64_t idle_s)
{
    struct tcp_keepalive values = {
        .onoff = 1,
        .keepalivetime = idle_s > INT32_MAX / 1000 ? INT32_MAX : (ULONG)idle_s * 1000,
        .keepaliveinterval = KEEPALIVE_INTERVAL_MS,
    };
    DWORD got;
    return last(WSAIoctl(sock_of(handle), SIO_KEEPALIVE_VALS, &values, sizeof values, NULL, 0, &got,
                         NULL, NULL));
}

static int set_reset_on_close(port_handle handle)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    return last(
        setsockopt(sock_of(handle), SOL_SOCKET, SO_LINGER, (const char *)&linger, sizeof linger));
}

static int set_accepted(port_handle handle, port_handle listener)
{
    SOCKET from = sock_of(listener);
    return last(setsockopt(sock_of(handle), SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                           (const char *)&from, sizeof from));
}

/* What is accepted has the event of its listener (Microsoft's documentation of accept). */
static int set_taken(port_handle handle)
{
    int sys = last(WSAEventSelect(sock_of(handle), NULL, 0));
    if (sys) return sys;
    return last_if(!SetHandleInformation((HANDLE)handle, HANDLE_FLAG_INHERIT, 0));
}

static int set_non_blocking(port_handle handle)
{
    u_long on = 1;
    return last(ioctlsocket(sock_of(handle), FIONBIO, &on));
}

static int call_option(void *ctx, port_handle handle, enum win32_option option, int64_t value)
{
    (void)ctx;
    switch (option) {
    case WIN32_NO_DELAY: return set(handle, IPPROTO_TCP, TCP_NODELAY, value);
    case WIN32_KEEPALIVE: return set_keepalive(handle, value);
    case WIN32_USER_TIMEOUT: return set(handle, IPPROTO_TCP, MAX_RETRANSMIT, (value + 999) / 1000);
    case WIN32_SEND_BUF: return set(handle, SOL_SOCKET, SO_SNDBUF, value);
    case WIN32_RECV_BUF: return set(handle, SOL_SOCKET, SO_RCVBUF, value);
    case WIN32_EXCLUSIVE: return set(handle, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, value);
    case WIN32_V6_ONLY: return set(handle, IPPROTO_IPV6, IPV6_V6ONLY, value);
    case WIN32_REUSE_UNICAST: return set(handle, SOL_SOCKET, REUSE_UNICAST_PORT, value);
    case WIN32_RESET_ON_CLOSE: return set_reset_on_close(handle);
    case WIN32_NON_BLOCKING: return set_non_blocking(handle);
    case WIN32_ACCEPTED: return set_accepted(handle, (port_handle)value);
    case WIN32_CONNECTED:
        return last(setsockopt(sock_of(handle), SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0));
    case WIN32_TAKEN: return set_taken(handle);
    }
    return WSAENOPROTOOPT;
}

static int call_is_listener(void *ctx, port_handle handle, bool *is)
{
    (void)ctx;
    BOOL listens = FALSE;
    int len = sizeof listens;
    int sys = last(getsockopt(sock_of(handle), SOL_SOCKET, SO_ACCEPTCONN, (char *)&listens, &len));
    *is = listens;
    return sys;
}

static int call_has_newcomer(void *ctx, port_handle handle, bool *has)
{
    (void)ctx;
    WSAPOLLFD look = {.fd = sock_of(handle), .events = POLLRDNORM};
    int count = WSAPoll(&look, 1, 0);
    *has = count == 1 && (look.revents & POLLRDNORM);
    return count < 0 ? WSAGetLastError() : 0;
}

static int call_local(void *ctx, port_handle handle, struct addr *addr)
{
    (void)ctx;
    SOCKADDR_STORAGE sockaddr;
    int len = sizeof sockaddr;
    int sys = last(getsockname(sock_of(handle), (struct sockaddr *)&sockaddr, &len));
    if (!sys) win32_addr_from(addr, &sockaddr);
    return sys;
}

static int call_peer(void *ctx, port_handle handle, struct addr *addr)
{
    (void)ctx;
    SOCKADDR_STORAGE sockaddr;
    int len = sizeof sockaddr;
    int sys = last(getpeername(sock_of(handle), (struct sockaddr *)&sockaddr, &len));
    if (!sys) win32_addr_from(addr, &sockaddr);
    return sys;
}

static int call_shutdown(void *ctx, port_handle handle)
{
    (void)ctx;
    return last(shutdown(sock_of(handle), SD_SEND));
}

static int call_read(void *ctx, port_handle handle, void *buf, uint32_t len, uint32_t *got)
{
    (void)ctx;
    int count = recv(sock_of(handle), buf, (int)len, 0);
    if (count < 0) return WSAGetLastError();
    *got = (uint32_t)count;
    return 0;
}

/* ---- Operations ---- */

/* No byte count is asked for: the system may write it after the packet is on its way. */
static int call_recv(void *ctx, port_handle handle, void *buf, uint32_t len,
                     struct win32_overlapped *overlapped)
{
    (void)ctx;
    WSABUF to = {.len = len, .buf = buf};
    DWORD flags = 0;
    return last(WSARecv(sock_of(handle), &to, 1, NULL, &flags, system_of(overlapped), NULL));
}

static int call_send(void *ctx, port_handle handle, const struct span *spans, unsigned count,
                     struct win32_overlapped *overlapped)
{
    (void)ctx;
    WSABUF from[WIN32_SPANS_MAX];
    for (unsigned i = 0; i < count; i++)
        from[i] = (WSABUF){.len = (ULONG)spans[i].len, .buf = (char *)(uintptr_t)spans[i].data};
    return last(WSASend(sock_of(handle), from, count, NULL, 0, system_of(overlapped), NULL));
}

static bool call_can_transmit(void *ctx)
{
    (void)ctx;
    return has_transmit;
}

/* Asked of the socket each time, since each may have another provider; beside what the transfer
 * costs that is nothing. The file's place of reading stays where it is: the offset in the
 * OVERLAPPED counts. */
static int call_transmit(void *ctx, port_handle handle, os_file file, uint32_t bytes,
                         struct win32_overlapped *overlapped)
{
    (void)ctx;
    LPFN_TRANSMITFILE transmit = transmit_of(sock_of(handle));
    if (!transmit) return WSAEOPNOTSUPP;
    return started(
        transmit(sock_of(handle), (HANDLE)file, bytes, 0, system_of(overlapped), NULL, 0));
}

static int call_file_bytes(void *ctx, os_file file, uint64_t *bytes)
{
    (void)ctx;
    LARGE_INTEGER size = {0};
    int sys = last_if(!GetFileSizeEx((HANDLE)file, &size));
    *bytes = (uint64_t)size.QuadPart;
    return sys;
}

static int call_accept(void *ctx, enum addr_family family, port_handle listener, port_handle handle,
                       void *buf, uint32_t first, struct win32_overlapped *overlapped)
{
    (void)ctx;
    DWORD got;
    return started(extension_of(family)->accept(sock_of(listener), sock_of(handle), buf, first,
                                                ADDR_BYTES, ADDR_BYTES, &got,
                                                system_of(overlapped)));
}

static void call_accept_peer(void *ctx, enum addr_family family, void *buf, uint32_t first,
                             struct addr *peer)
{
    (void)ctx;
    struct sockaddr *local = NULL, *remote = NULL;
    int local_len = 0, remote_len = 0;
    extension_of(family)->addrs(buf, first, ADDR_BYTES, ADDR_BYTES, &local, &local_len, &remote,
                                &remote_len);
    SOCKADDR_STORAGE sockaddr = {0};
    if (remote && remote_len > 0 && remote_len <= (int)sizeof sockaddr)
        memcpy(&sockaddr, remote, (size_t)remote_len);
    win32_addr_from(peer, &sockaddr);
}

/* Microsoft's documentation of SO_CONNECT_TIME: seconds, 0xffffffff while not connected. */
static int call_connect_time(void *ctx, port_handle handle, int32_t *seconds)
{
    (void)ctx;
    DWORD time = 0;
    int len = sizeof time;
    int sys = last(getsockopt(sock_of(handle), SOL_SOCKET, SO_CONNECT_TIME, (char *)&time, &len));
    *seconds = time > INT32_MAX ? -1 : (int32_t)time;
    return sys;
}

static int call_take(void *ctx, port_handle listener, port_handle *handle)
{
    (void)ctx;
    SOCKET sock = accept(sock_of(listener), NULL, NULL);
    if (sock == INVALID_SOCKET) return WSAGetLastError();
    *handle = (port_handle)sock;
    return 0;
}

static int call_look(void *ctx, const port_handle *handles, uint32_t count, bool *there)
{
    (void)ctx;
    WSAPOLLFD looks[WIN32_LOOK_MAX];
    for (uint32_t i = 0; i < count; i++)
        looks[i] = (WSAPOLLFD){.fd = sock_of(handles[i]), .events = POLLRDNORM};
    if (WSAPoll(looks, count, 0) < 0) return WSAGetLastError();
    for (uint32_t i = 0; i < count; i++) there[i] = looks[i].revents != 0;
    return 0;
}

/* FD_ACCEPT of WSAEventSelect, watched by a thread of the system's, which posts the packet; sockets
 * that are watched share the event, so that many need no more than one wait. That something is
 * there is told at once, and else once until it is read (Microsoft's documentation of
 * WSAEventSelect). A wait of the thread pool's goes off once and is set again by hand
 * (documentation of SetThreadpoolWait). Windows tells FD_ACCEPT once until the next accept; Wine 8
 * tells it thousands of times a second while each accept that waits for first bytes has its
 * newcomer. */
struct signal {
    HANDLE event;
    PTP_WAIT wait;
    HANDLE port;
    uint64_t key;
};

static VOID CALLBACK signal_post(PTP_CALLBACK_INSTANCE instance, PVOID arg, PTP_WAIT wait,
                                 TP_WAIT_RESULT result)
{
    struct signal *signal = arg;
    (void)instance, (void)wait, (void)result;
    (void)PostQueuedCompletionStatus(signal->port, 0, signal->key, NULL);
}

static void call_signal_end(void *ctx, void *arg)
{
    struct signal *signal = arg;
    (void)ctx;
    if (!signal) return;
    if (signal->wait) {
        SetThreadpoolWait(signal->wait, NULL, NULL);
        WaitForThreadpoolWaitCallbacks(signal->wait, TRUE);
        CloseThreadpoolWait(signal->wait);
    }
    if (signal->event) CloseHandle(signal->event);
    HeapFree(GetProcessHeap(), 0, signal);
}

static int signal_begin(struct signal *signal, SOCKET listener)
{
    signal->event = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (!signal->event) return (int)GetLastError();
    int sys = last(WSAEventSelect(listener, signal->event, FD_ACCEPT));
    if (sys) return sys;
    signal->wait = CreateThreadpoolWait(signal_post, signal, NULL);
    if (!signal->wait) return (int)GetLastError();
    SetThreadpoolWait(signal->wait, signal->event, NULL);
    return 0;
}

static int call_signal(void *ctx, port_handle listener, void *port, uint64_t key, void **out)
{
    struct signal *signal = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof *signal);
    if (!signal) return WSAENOBUFS;
    signal->port = port;
    signal->key = key;
    int sys = signal_begin(signal, sock_of(listener));
    if (sys)
        call_signal_end(ctx, signal);
    else
        *out = signal;
    return sys;
}

static int call_watch(void *ctx, void *arg, port_handle handle)
{
    const struct signal *signal = arg;
    (void)ctx;
    return last(WSAEventSelect(sock_of(handle), signal->event, FD_READ | FD_CLOSE));
}

static void call_signal_again(void *ctx, void *arg)
{
    struct signal *signal = arg;
    (void)ctx;
    SetThreadpoolWait(signal->wait, signal->event, NULL);
}

static int call_connect(void *ctx, port_handle handle, const struct addr *to,
                        struct win32_overlapped *overlapped)
{
    (void)ctx;
    SOCKADDR_STORAGE sockaddr;
    int len = win32_addr_to(to, &sockaddr);
    return started(extension_of(to->family)
                       ->connect(sock_of(handle), (struct sockaddr *)&sockaddr, len, NULL, 0, NULL,
                                 system_of(overlapped)));
}

static int call_cancel(void *ctx, port_handle handle, struct win32_overlapped *overlapped)
{
    (void)ctx;
    return last_if(!CancelIoEx((HANDLE)handle, system_of(overlapped)));
}

/* ---- The port ---- */

static int call_port_open(void *ctx, void **port)
{
    (void)ctx;
    *port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    return last_if(!*port);
}

static void call_port_close(void *ctx, void *port)
{
    (void)ctx;
    CloseHandle(port);
}

static int call_port_add(void *ctx, void *port, port_handle handle, uint64_t key)
{
    (void)ctx;
    return last_if(!CreateIoCompletionPort((HANDLE)handle, port, key, 0));
}

/* Only the base provider's sockets are the kernel's own files; one that is layered above may queue
 * a packet all the same. */
static int call_skip_packets(void *ctx, port_handle handle)
{
    (void)ctx;
    WSAPROTOCOL_INFOW info;
    int len = sizeof info;
    int sys = last(getsockopt(sock_of(handle), SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&info, &len));
    if (sys) return sys;
    if (!(info.dwServiceFlags1 & XP1_IFS_HANDLES)) return WSAEOPNOTSUPP;
    return last_if(!SetFileCompletionNotificationModes(
        (HANDLE)handle, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE));
}

static int call_port_wait(void *ctx, void *port, struct win32_packet *packets, uint32_t max,
                          uint32_t *count, uint32_t timeout_ms)
{
    (void)ctx;
    ULONG got = 0;
    BOOL any = GetQueuedCompletionStatusEx(port, (OVERLAPPED_ENTRY *)(void *)packets, max, &got,
                                           timeout_ms, FALSE);
    int sys = last_if(!any);
    *count = any ? got : 0; /* on failure the system leaves a number without meaning */
    return sys == WAIT_TIMEOUT ? 0 : sys;
}

static int call_port_post(void *ctx, void *port, uint64_t key)
{
    (void)ctx;
    return last_if(!PostQueuedCompletionStatus(port, 0, key, NULL));
}

const struct win32_calls *win32_system_calls(void)
{
    static const struct win32_calls system_calls = {
        .start = call_start,
        .socket = call_socket,
        .close = call_close,
        .bind = call_bind,
        .listen = call_listen,
        .option = call_option,
        .can_transmit = call_can_transmit,
        .is_listener = call_is_listener,
        .has_newcomer = call_has_newcomer,
        .local = call_local,
        .peer = call_peer,
        .shutdown = call_shutdown,
        .read = call_read,
        .recv = call_recv,
        .send = call_send,
        .transmit = call_transmit,
        .file_bytes = call_file_bytes,
        .accept = call_accept,
        .accept_peer = call_accept_peer,
        .connect_time = call_connect_time,
        .take = call_take,
        .look = call_look,
        .signal = call_signal,
        .watch = call_watch,
        .signal_again = call_signal_again,
        .signal_end = call_signal_end,
        .connect = call_connect,
        .cancel = call_cancel,
        .port_open = call_port_open,
        .port_close = call_port_close,
        .port_add = call_port_add,
        .skip_packets = call_skip_packets,
        .port_wait = call_port_wait,
        .port_post = call_port_post,
    };
    return &system_calls;
}
