/* Connects to an echo server on loopback and resets the connection at once, many thousand times,
 * and between those is a good client that sends, ends its side, and has to get all of it back.
 * Prints one JSON object. Exit status 1 when a good client was not served. rst_storm PORT COUNT
 * THREADS The threads share nothing but the numbers at the end. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { THREADS_MAX = 16, GOOD_EVERY = 25, GOOD_BYTES = 3000, LIMIT_S = 30, SOURCES = 8 };

struct storm {
    pthread_t thread;
    uint16_t port;
    unsigned number;
    unsigned count;
    unsigned reset;
    unsigned good;
    unsigned good_served;
};

static int dial(const struct storm *storm, unsigned turn)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + storm->number * SOURCES + turn % SOURCES);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(storm->port);
    struct timeval limit = {.tv_sec = LIMIT_S};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) &&
        !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) &&
        !setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) &&
        !bind(fd, (struct sockaddr *)&from, sizeof from) &&
        !connect(fd, (struct sockaddr *)&to, sizeof to))
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

/* Some are reset with nothing sent, some with bytes on their way in both directions. */
static bool reset_one(const struct storm *storm, unsigned turn)
{
    struct linger hard = {.l_onoff = 1};
    int fd = dial(storm, turn);
    if (fd < 0) return false;
    if (turn % 3 == 0 && send(fd, "doomed", 6, MSG_NOSIGNAL) != 6) errno = 0;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    return true;
}

static bool read_back(int fd, const char *sent, size_t len)
{
    char got[GOOD_BYTES];
    size_t have = 0;
    while (have < len) {
        ssize_t n = recv(fd, got + have, len - have, 0);
        if (n <= 0) return false;
        have += (size_t)n;
    }
    return memcmp(got, sent, len) == 0 && recv(fd, got, 1, 0) == 0;
}

static bool good_one(const struct storm *storm, unsigned turn)
{
    char bytes[GOOD_BYTES];
    for (unsigned i = 0; i < GOOD_BYTES; i++) bytes[i] = (char)(turn * 31 + i * 7);
    int fd = dial(storm, turn);
    if (fd < 0) {
        fprintf(stderr, "rst_storm: a good client can't connect: %s\n", strerror(errno));
        return false;
    }
    bool served = send(fd, bytes, GOOD_BYTES, MSG_NOSIGNAL) == GOOD_BYTES &&
                  shutdown(fd, SHUT_WR) == 0 && read_back(fd, bytes, GOOD_BYTES);
    if (!served) fprintf(stderr, "rst_storm: not served: %s\n", strerror(errno));
    close(fd);
    return served;
}

static void *storm_run(void *arg)
{
    struct storm *storm = arg;
    for (unsigned turn = 0; storm->reset < storm->count; turn++) {
        if (turn % GOOD_EVERY == 0) {
            storm->good++;
            if (!good_one(storm, turn)) return NULL;
            storm->good_served++;
        }
        if (!reset_one(storm, turn)) {
            fprintf(stderr, "rst_storm: can't connect: %s\n", strerror(errno));
            return NULL;
        }
        storm->reset++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: rst_storm PORT COUNT THREADS\n", stderr);
        return 2;
    }
    struct storm storms[THREADS_MAX] = {0}, sum = {0};
    unsigned count = (unsigned)strtoul(argv[2], NULL, 10);
    unsigned threads = (unsigned)strtoul(argv[3], NULL, 10);
    if (threads < 1 || threads > THREADS_MAX) return 2;
    for (unsigned i = 0; i < threads; i++) {
        storms[i].port = (uint16_t)strtoul(argv[1], NULL, 10);
        storms[i].number = i;
        storms[i].count = (count + threads - 1) / threads;
        if (pthread_create(&storms[i].thread, NULL, storm_run, &storms[i])) return 1;
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(storms[i].thread, NULL);
        sum.reset += storms[i].reset;
        sum.good += storms[i].good;
        sum.good_served += storms[i].good_served;
    }
    printf("{\"reset\":%u,\"good\":%u,\"good_served\":%u}\n", sum.reset, sum.good, sum.good_served);
    return sum.reset < count || sum.good != sum.good_served;
}
