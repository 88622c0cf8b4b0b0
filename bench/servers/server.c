/* The command line and the listening socket of every server. See server.h. */
#include "server.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static _Noreturn void usage(const char *name)
{
    fprintf(stderr,
            "usage: %s [--mode echo|fanout|threads|files] [--port KIND]"
            " [--profile latency] PORT\n",
            name);
    exit(2);
}

void server_die(const char *what)
{
    perror(what);
    exit(1);
}

void *server_memory(uint64_t count, uint64_t bytes)
{
    void *memory = calloc(count, bytes);
    if (!memory) server_die("memory");
    return memory;
}

static int mode_named(const char *text)
{
    if (!strcmp(text, "echo")) return SERVER_ECHO;
    if (!strcmp(text, "fanout")) return SERVER_FANOUT;
    if (!strcmp(text, "files")) return SERVER_FILES;
    return strcmp(text, "threads") ? 0 : SERVER_THREADS;
}

struct server_options server_options_read(int argc, char **argv, int modes)
{
    static const struct option known[] = {{"mode", required_argument, NULL, 'm'},
                                          {"port", required_argument, NULL, 'p'},
                                          {"profile", required_argument, NULL, 'f'},
                                          {0}};
    struct server_options options = {.mode = SERVER_ECHO};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 'm')
            options.mode = mode_named(optarg);
        else if (c == 'p')
            options.kind = optarg;
        else if (c == 'f')
            options.profile = optarg;
        else
            usage(argv[0]);
    }
    char *end = NULL;
    unsigned long port = optind + 1 == argc ? strtoul(argv[optind], &end, 10) : 65536;
    if (port > 65535 || *end || !options.mode) usage(argv[0]);
    options.port = (uint16_t)port;
    if (!(options.mode & modes)) {
        fprintf(stderr, "%s: this server has no such mode\n", argv[0]);
        exit(77);
    }
    return options;
}

int server_listen(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) server_die("socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
        server_die("setsockopt");
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr)) server_die("bind");
    if (listen(fd, SERVER_BACKLOG)) server_die("listen");
    return fd;
}

unsigned server_port(int listener)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    if (getsockname(listener, (struct sockaddr *)&addr, &len)) server_die("getsockname");
    return ntohs(addr.sin_port);
}

void server_ready(unsigned port)
{
    printf("ready %u\n", port);
    fflush(stdout);
}

unsigned server_fds_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) server_die("getrlimit");
    return limit.rlim_cur > (1u << 20) ? 1u << 20 : (unsigned)limit.rlim_cur;
}
