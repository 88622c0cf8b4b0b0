/* Raw peers of Windows: non-blocking sockets on loopback. The world is the table of calls that the
 * port under test gets: the system's, with those counted that open and close something, and refused
 * as a system without room refuses them. A limit on a process's sockets is not to be had here. The
 * world's counters may be moved by several threads. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winsock2.h>
#include <ws2tcpip.h>

#include <winioctl.h>

#include "os/network.h"
#include "port/support/ground.h"
#include "port/support/rules.h"
#include "port/win32_addr.h"
#include "port/win32_calls.h"

struct win32_world {
    struct win32_calls calls; /* first: the port's config takes the world for it */
    const struct win32_calls *system;
    atomic_int open;
    atomic_bool exhausted;
};

/* --- the port's calls --- */

static int world_start(void *ctx, const char **missing)
{
    struct win32_world *world = ctx;
    return world->system->start(NULL, missing);
}

static int world_socket(void *ctx, enum addr_family family, port_handle *handle)
{
    struct win32_world *world = ctx;
    if (atomic_load(&world->exhausted)) return WIN32_WSAEMFILE;
    int sys = world->system->socket(NULL, family, handle);
    if (!sys) atomic_fetch_add(&world->open, 1);
    return sys;
}

static int world_take(void *ctx, port_handle listener, port_handle *handle)
{
    struct win32_world *world = ctx;
    if (atomic_load(&world->exhausted)) return WIN32_WSAEMFILE;
    int sys = world->system->take(NULL, listener, handle);
    if (!sys) atomic_fetch_add(&world->open, 1);
    return sys;
}

static int world_close(void *ctx, port_handle handle)
{
    struct win32_world *world = ctx;
    atomic_fetch_sub(&world->open, 1);
    return world->system->close(NULL, handle);
}

static int world_port_open(void *ctx, void **port)
{
    struct win32_world *world = ctx;
    if (atomic_load(&world->exhausted)) return WIN32_ERROR_NO_SYSTEM_RESOURCES;
    int sys = world->system->port_open(NULL, port);
    if (!sys) atomic_fetch_add(&world->open, 1);
    return sys;
}

static void world_port_close(void *ctx, void *port)
{
    struct win32_world *world = ctx;
    atomic_fetch_sub(&world->open, 1);
    world->system->port_close(NULL, port);
}

static int win32_open_world(void **out)
{
    struct win32_world *world = calloc(1, sizeof *world);
    if (!world || os_network_start() != 0) abort();
    world->system = win32_system_calls();
    world->calls = *world->system;
    world->calls.ctx = world;
    world->calls.start = world_start;
    world->calls.socket = world_socket;
    world->calls.close = world_close;
    world->calls.take = world_take;
    world->calls.port_open = world_port_open;
    world->calls.port_close = world_port_close;
    *out = world;
    return 0;
}

static void win32_shut_world(void *world) { free(world); }

/* --- peers --- */

static SOCKET sock_make(struct win32_world *world, const struct address *at)
{
    u_long on = 1;
    SOCKET sock = socket(at->ip.family == ADDR_V6 ? AF_INET6 : AF_INET, SOCK_STREAM, IPPROTO_TCP);
    if (sock == INVALID_SOCKET) return sock;
    if (ioctlsocket(sock, FIONBIO, &on) != 0) abort();
    atomic_fetch_add(&world->open, 1);
    return sock;
}

static void ground_close_sock(void *ctx, intptr_t sock)
{
    struct win32_world *world = ctx;
    atomic_fetch_sub(&world->open, 1);
    closesocket((SOCKET)sock);
}

static void win32_ground_local(void *ctx, intptr_t peer, struct addr *addr)
{
    (void)ctx;
    SOCKADDR_STORAGE at = {0};
    int len = sizeof at;
    (void)getsockname((SOCKET)peer, (struct sockaddr *)&at, &len);
    win32_addr_from(addr, &at);
}

static int win32_ground_listen(void *world, const struct address *at, int backlog,
                               intptr_t *listener, struct address *bound)
{
    SOCKADDR_STORAGE sockaddr;
    int len = win32_addr_to(&at->ip, &sockaddr);
    SOCKET sock = sock_make(world, at);
    if (sock == INVALID_SOCKET) return -1;
    if (bind(sock, (struct sockaddr *)&sockaddr, len) != 0 || listen(sock, backlog) != 0) {
        ground_close_sock(world, (intptr_t)sock);
        return -1;
    }
    *listener = (intptr_t)sock;
    *bound = *at;
    win32_ground_local(world, *listener, &bound->ip);
    return 0;
}

static bool win32_ground_accept(void *ctx, intptr_t listener, intptr_t *peer)
{
    struct win32_world *world = ctx;
    u_long on = 1;
    SOCKET sock = accept((SOCKET)listener, NULL, NULL);
    if (sock == INVALID_SOCKET) return false;
    if (ioctlsocket(sock, FIONBIO, &on) != 0) abort();
    atomic_fetch_add(&world->open, 1);
    *peer = (intptr_t)sock;
    return true;
}

static int win32_ground_connect(void *world, const struct address *to, intptr_t *peer)
{
    SOCKADDR_STORAGE sockaddr;
    int len = win32_addr_to(&to->ip, &sockaddr), on = 1;
    SOCKET sock = sock_make(world, to);
    if (sock == INVALID_SOCKET) return -1;
    (void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on);
    if (connect(sock, (struct sockaddr *)&sockaddr, len) != 0 &&
        WSAGetLastError() != WSAEWOULDBLOCK) {
        ground_close_sock(world, (intptr_t)sock);
        return -1;
    }
    *peer = (intptr_t)sock;
    return 0;
}

static int win32_ground_connected(void *world, intptr_t peer)
{
    (void)world;
    WSAPOLLFD look = {.fd = (SOCKET)peer, .events = POLLWRNORM};
    if (WSAPoll(&look, 1, 0) <= 0) return 0;
    if (look.revents & (POLLERR | POLLNVAL)) return -1;
    return look.revents & (POLLWRNORM | POLLHUP) ? 1 : 0;
}

static int64_t win32_ground_write(void *world, intptr_t peer, const void *data, size_t len)
{
    (void)world;
    int count = send((SOCKET)peer, data, (int)len, 0);
    if (count >= 0) return count;
    return WSAGetLastError() == WSAEWOULDBLOCK ? PEER_WAIT : PEER_RESET;
}

/* Wine takes the reason of a reset away when something else has asked for it before; WSAPoll still
 * knows that it was one. */
static bool was_reset(intptr_t peer)
{
    WSAPOLLFD look = {.fd = (SOCKET)peer, .events = POLLRDNORM};
    return WSAPoll(&look, 1, 0) > 0 && (look.revents & POLLERR);
}

static int64_t win32_ground_read(void *world, intptr_t peer, void *data, size_t len)
{
    (void)world;
    int count = recv((SOCKET)peer, data, (int)len, 0);
    if (count > 0) return count;
    if (count == 0) return was_reset(peer) ? PEER_RESET : PEER_END;
    return WSAGetLastError() == WSAEWOULDBLOCK ? PEER_WAIT : PEER_RESET;
}

static void win32_ground_finish(void *world, intptr_t peer)
{
    (void)world;
    (void)shutdown((SOCKET)peer, SD_SEND);
}

static void win32_ground_close(void *world, intptr_t peer, enum port_close_mode mode)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (mode == PORT_CLOSE_RST)
        (void)setsockopt((SOCKET)peer, SOL_SOCKET, SO_LINGER, (const char *)&linger, sizeof linger);
    ground_close_sock(world, peer);
}

static void win32_ground_exhaust(void *ctx, bool on)
{
    atomic_store(&((struct win32_world *)ctx)->exhausted, on);
}

static unsigned win32_ground_descriptors(void *ctx)
{
    return (unsigned)atomic_load(&((struct win32_world *)ctx)->open);
}

/* --- files --- */

static HANDLE file_make(DWORD access)
{
    char folder[MAX_PATH], path[MAX_PATH];
    DWORD got;
    if (!GetTempPathA(sizeof folder, folder) || !GetTempFileNameA(folder, "sly", 0, path)) abort();
    HANDLE file = CreateFileA(path, access, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                              CREATE_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE, NULL);
    if (file == INVALID_HANDLE_VALUE) abort();
    (void)DeviceIoControl(file, FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &got, NULL);
    return file;
}

static void win32_ground_file_cut(void *world, os_file file, uint64_t bytes)
{
    LARGE_INTEGER end = {.QuadPart = (LONGLONG)bytes};
    (void)world;
    if (!SetFilePointerEx((HANDLE)file, end, NULL, FILE_BEGIN) || !SetEndOfFile((HANDLE)file))
        abort();
}

static os_file file_fill(HANDLE file, uint32_t tag, uint64_t at, uint64_t offset, uint64_t bytes)
{
    static unsigned char piece[STAGE_PIECE_BYTES];
    LARGE_INTEGER begin = {.QuadPart = (LONGLONG)offset};
    if (!SetFilePointerEx(file, begin, NULL, FILE_BEGIN)) abort();
    for (uint64_t done = 0; done < bytes;) {
        DWORD wrote, len = bytes - done < sizeof piece ? (DWORD)(bytes - done) : sizeof piece;
        pattern_fill(tag, at + done, piece, len);
        if (!WriteFile(file, piece, len, &wrote, NULL) || wrote != len) abort();
        done += len;
    }
    return (os_file)file;
}

static os_file win32_ground_file(void *world, uint32_t tag, uint64_t at, uint64_t offset,
                                 uint64_t bytes)
{
    (void)world;
    HANDLE file = file_make(GENERIC_READ | GENERIC_WRITE);
    win32_ground_file_cut(NULL, (os_file)file, offset + bytes); /* also where that is all zeros */
    return file_fill(file, tag, at, offset, bytes);
}

static os_file win32_ground_file_unreadable(void *world)
{
    (void)world;
    return file_fill(file_make(GENERIC_WRITE | FILE_READ_ATTRIBUTES), 1, 0, 0, 4096);
}

static void win32_ground_file_close(void *world, os_file file)
{
    (void)world;
    if (!CloseHandle((HANDLE)file)) abort();
}

static bool win32_ground_privileged(void *world)
{
    (void)world;
    return true; /* any user may take a port below 1024 */
}

const struct ground ground_win32 = {
    .name = "win32",
    .real = true,
    .lacks = NEEDS_SIGNALS | NEEDS_UNIX | NEEDS_SHARED | NEEDS_RESET | NEEDS_RIGHTS,
    .open = win32_open_world,
    .shut = win32_shut_world,
    .listen = win32_ground_listen,
    .accept = win32_ground_accept,
    .connect = win32_ground_connect,
    .connected = win32_ground_connected,
    .write = win32_ground_write,
    .read = win32_ground_read,
    .finish = win32_ground_finish,
    .close = win32_ground_close,
    .close_listener = ground_close_sock,
    .local = win32_ground_local,
    .exhaust = win32_ground_exhaust,
    .descriptors = win32_ground_descriptors,
    .file = win32_ground_file,
    .file_cut = win32_ground_file_cut,
    .file_close = win32_ground_file_close,
    .file_unreadable = win32_ground_file_unreadable,
    .privileged = win32_ground_privileged,
};
