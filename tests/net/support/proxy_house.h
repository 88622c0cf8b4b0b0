/* What tests of servers behind proxies share: a server that tells its clients who it thinks they
 * are, and clients behind proxies. Proxies are addresses of 127.0.0.0/8, of which those below
 * 127.0.0.64 are trusted; their clients are whoever the header says. One at a time; the test's
 * thread. */
#ifndef NET_SUPPORT_PROXY_HOUSE_H
#define NET_SUPPORT_PROXY_HOUSE_H

#include "net/support/admission_tools.h"
#include "sallyport/proxy.h"

enum { PROXY = 5, OTHER_PROXY = 6, STRANGER = 77, ANSWER_MAX = 256 };
#define TRUSTED "127.0.0.0/26"

/* A header of version 2: 192.0.2.7:4711 to 198.51.100.9:443, and the same of a LOCAL command. */
#define HEADER__OF(command)                                                                        \
    "\r\n\r\n\0\r\nQUIT\n" command "\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\x09\x12\x67\1\xbb"
#define HEADER_V2    HEADER__OF("\x21")
#define HEADER_LOCAL HEADER__OF("\x20")

/* What on_accept saw. */
struct judged {
    char peer[TEXT_MAX];
    unsigned address_conns;
    unsigned server_conns;
};

struct house {
    struct rig rig;
    struct tally tally;
    sally_server *server;
    char address[TEXT_MAX];
    sally_bans *bans;
    sally_proxy_options proxy;
    sally_admission admission;
    sally_server_options options;
    const char *where;
    atomic_uint verdict;  /* of on_accept */
    atomic_uint patience; /* SALLY_DELAY is said so often first */
};

extern struct house house;

/* Options are set between the two. The server echoes; "who" is answered with the peer, the
 * socket's peer and whom the client connected to, "why" with sally_conn_why, "strike" with what
 * that says. */
void house_prepare(void);
void house_open(const struct setting *setting);
void house_end(void);

/* The last time. */
struct judged house_judged(void);

/* A client behind that proxy, with its first bytes; -1 when it was reset as early as that. */
int client_via(unsigned proxy, const char *first);

/* 203.0.113.N:4711 to 198.51.100.1:443; and its client. */
const char *line_of(unsigned n);
int client_of(unsigned proxy, unsigned n);

void check_heard(int fd, const char *wanted);
/* Of an IPv4 socket. */
const char *own_address(int fd);
void check_who(int fd, const char *peer, const char *to);
/* It is, and is closed. */
void check_reset(int fd);

#endif
