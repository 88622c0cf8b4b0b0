#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "net/support/proxy_house.h"
#include "sallyport/why.h"

struct house house;

static pthread_mutex_t judged_lock = PTHREAD_MUTEX_INITIALIZER;
static struct judged judged;

static sally_verdict on_accept(sally_server *server, const sally_accept_info *info)
{
    struct tally *tally = sally_server_user(server);
    pthread_mutex_lock(&judged_lock);
    snprintf(judged.peer, sizeof judged.peer, "%s", info->peer);
    judged.address_conns = info->address_conns;
    judged.server_conns = info->server_conns;
    pthread_mutex_unlock(&judged_lock);
    atomic_fetch_add(&tally->judged, 1);
    if (info->delays < atomic_load(&house.patience)) return SALLY_DELAY;
    return (sally_verdict)atomic_load(&house.verdict);
}

struct judged house_judged(void)
{
    pthread_mutex_lock(&judged_lock);
    struct judged copy = judged;
    pthread_mutex_unlock(&judged_lock);
    return copy;
}

static void answer_who(sally_conn *conn)
{
    char peer[TEXT_MAX], socket_peer[TEXT_MAX], to[TEXT_MAX], answer[3 * TEXT_MAX + 8];
    int len =
        snprintf(answer, sizeof answer, "%s %s %s\n", sally_conn_peer(conn, peer, sizeof peer),
                 sally_conn_socket_peer(conn, socket_peer, sizeof socket_peer),
                 sally_conn_proxied_to(conn, to, sizeof to));
    check_error(sally_conn_send(conn, answer, (size_t)len), 0);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    const char *text = data;
    char answer[1100];
    if (len == 4 && memcmp(text, "who\n", 4) == 0) {
        answer_who(conn);
    } else if (len == 4 && memcmp(text, "why\n", 4) == 0) {
        sally_conn_why(conn, answer, 1024);
        check_error(sally_conn_send(conn, answer, strlen(answer)), 0);
        check_error(sally_conn_send(conn, "\n", 1), 0);
    } else if (len == 7 && memcmp(text, "strike\n", 7) == 0) {
        snprintf(answer, sizeof answer, "%d\n", sally_conn_strike(conn, 1));
        check_error(sally_conn_send(conn, answer, strlen(answer)), 0);
    } else {
        check_error(sally_conn_send(conn, data, len), 0);
    }
}

void house_prepare(void)
{
    memset(&house, 0, sizeof house);
    house.bans = bans_new();
    house.proxy.trusted = TRUSTED;
    house.admission.bans = house.bans;
    house.options.admission = &house.admission;
    house.options.proxy = &house.proxy;
    house.where = "127.0.0.1:0";
    atomic_store(&house.verdict, SALLY_ALLOW);
}

void house_open(const struct setting *setting)
{
    rig_run(&house.rig, &house.tally, setting);
    sally_handler handler = tally_handler(&house.tally);
    handler.on_accept = on_accept;
    handler.on_data = on_data;
    house.server = serve_handler(&house.rig, house.where, &handler, &house.options, house.address);
}

void house_end(void)
{
    rig_end(&house.rig);
    tally_check(&house.tally);
    check_equal(sally_server_proxy_waiting(NULL), 0);
    sally_bans_destroy(house.bans);
}

/* ---- Clients ---- */

int client_via(unsigned proxy, const char *first)
{
    int fd = dial_from(proxy, house.address);
    ssize_t len = (ssize_t)strlen(first);
    if (fd < 0 || send(fd, first, (size_t)len, MSG_NOSIGNAL) == len) return fd;
    check(errno == ECONNRESET || errno == EPIPE);
    hang_up(fd);
    return -1;
}

const char *line_of(unsigned n)
{
    static char line[TEXT_MAX];
    snprintf(line, sizeof line, "PROXY TCP4 203.0.113.%u 198.51.100.1 4711 443\r\n", n);
    return line;
}

int client_of(unsigned proxy, unsigned n) { return client_via(proxy, line_of(n)); }

void check_heard(int fd, const char *wanted)
{
    char heard[ANSWER_MAX * 2] = "";
    size_t len = strlen(wanted);
    check(len < sizeof heard);
    check(hear(fd, heard, len));
    if (memcmp(heard, wanted, len) != 0) fprintf(stderr, "heard %s, not %s", heard, wanted);
    check(memcmp(heard, wanted, len) == 0);
}

const char *own_address(int fd)
{
    static char text[TEXT_MAX];
    struct sockaddr_in own;
    socklen_t len = sizeof own;
    check(getsockname(fd, (struct sockaddr *)&own, &len) == 0);
    uint32_t ip = ntohl(own.sin_addr.s_addr);
    snprintf(text, sizeof text, "127.%u.%u.%u:%u", ip >> 16 & 255, ip >> 8 & 255, ip & 255,
             ntohs(own.sin_port));
    return text;
}

void check_who(int fd, const char *peer, const char *to)
{
    char wanted[ANSWER_MAX * 2];
    snprintf(wanted, sizeof wanted, "%s %s %s\n", peer, own_address(fd), to);
    say(fd, "who\n", 4);
    check_heard(fd, wanted);
}

void check_reset(int fd)
{
    check_equal(hear_from(fd, LIMIT_S * 1000), HEARD_RESET);
    if (fd >= 0) hang_up(fd);
}
