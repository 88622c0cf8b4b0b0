/* What every server of the comparison has in common, so that they differ in nothing but the
 * library: the command line, the listening socket, the line that says that it is ready. One thread.
 */
#ifndef BENCH_SERVERS_SERVER_H
#define BENCH_SERVERS_SERVER_H

#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

/* Bytes read at once, and the length of a message of the modes that have messages. */
enum { SERVER_READ_BYTES = 65536, SERVER_MESSAGE_BYTES = 64, SERVER_BACKLOG = 4096 };
enum { SERVER_FILE_BYTES = 1 << 20 };

enum server_mode {
    SERVER_ECHO = 1,    /* sends back all that comes */
    SERVER_FANOUT = 2,  /* sends each message to all other connections */
    SERVER_THREADS = 4, /* 100 threads send messages to the connections */
    SERVER_FILES = 8,   /* answers each request by one file */
};

struct server_options {
    enum server_mode mode;
    const char *kind;    /* of port; only for Sallyport */
    const char *profile; /* likewise */
    uint16_t port;
};

/* Reads `[--mode echo|fanout|threads|files] [--port KIND] [--profile NAME] PORT`; `modes` are those
 * this server has. What is wrong ends the program with 2, a mode that it hasn't with 77. */
struct server_options server_options_read(int argc, char **argv, int modes);

/* A listening, non-blocking socket on 127.0.0.1, whose connections inherit TCP_NODELAY. */
int server_listen(uint16_t port);

/* Tells the runner; `port` is the real one. */
void server_ready(unsigned port);
unsigned server_port(int listener);

/* One past the highest descriptor that this process can get: the size of tables by descriptor. */
unsigned server_fds_max(void);

/* Zeroed memory, or the end of the program: a comparison without memory is none. */
void *server_memory(uint64_t count, uint64_t bytes);

/* Says what failed, with errno, and ends the program with 1. */
void server_die(const char *what) __attribute__((noreturn));

#if defined(__cplusplus)
}
#endif
#endif
