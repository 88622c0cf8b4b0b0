/* Tools of the tests of servers, accepting, outgoing connections and the engine's life.
 *
 * The engine under test is used by its public header alone. Its other side are blocking sockets of
 * the system, so that what is asserted was really on the wire. A rig is one engine with an
 * allocator that counts, and with the number of descriptors from before; ending it checks that both
 * are back. A tally is a handler that counts callbacks and checks their order. Everything that
 * waits has a limit. Clients belong to the thread that made them; a tally is written by shards and
 * read by the test; the rest belongs to the test's thread. */
#ifndef NET_SUPPORT_ACCEPT_TOOLS_H
#define NET_SUPPORT_ACCEPT_TOOLS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "sallyport.h"

enum {
    LIMIT_S = 40,       /* of one wait */
    TEST_LIMIT_S = 100, /* of one run */
    TEXT_MAX = 128,     /* of an address */
    REASONS = 32,
    SERVER_EVENTS = 16,
    SETTINGS_MAX = 4,
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- Checks: end the run, which has a process of its own ---- */

#define check(condition) check_at((condition), #condition, __FILE__, __LINE__)
#define check_equal(value, wanted)                                                                 \
    check_equal_at((int64_t)(value), (int64_t)(wanted), #value, __FILE__, __LINE__)
#define check_error(value, wanted) check_error_at((value), (wanted), #value, __FILE__, __LINE__)
/* Polls until the condition is true, for at most LIMIT_S. */
#define until(condition)                                                                           \
    for (struct patience patience_ = patience_begin(#condition, __FILE__, __LINE__); !(condition); \
         patience_wait(&patience_)) {                                                              \
    }

struct patience {
    uint64_t end_ms;
    const char *what;
    const char *file;
    int line;
};

void check_at(bool holds, const char *what, const char *file, int line);
void check_equal_at(int64_t value, int64_t wanted, const char *what, const char *file, int line);
void check_error_at(int value, int wanted, const char *what, const char *file, int line);
struct patience patience_begin(const char *what, const char *file, int line);
void patience_wait(struct patience *patience);
uint64_t tools_now_ms(void);
void tools_nap_ms(unsigned ms); /* for load that has to last, never to wait for something */

/* ---- Behaviours: each runs on every port that works here, and in numbers of shards ---- */

struct setting {
    sally_port_kind port;
    uint32_t shards;
};

enum { ON_ONE = 1, ON_THREE = 2, ON_BOTH = 3, ANYWHERE = 4 }; /* ANYWHERE: once, with no port */

struct behaviour {
    const char *name;
    void (*body)(const struct setting *setting);
    unsigned where;
};
#define BEHAVIOUR(function, where)                                                                 \
    {                                                                                              \
#function, function, where                                                                 \
    }
#define BEHAVIOURS_RUN(list) behaviours_run((list), sizeof(list) / sizeof(list)[0])

/* Ends this run as skipped. */
_Noreturn void behaviour_skip(const char *cause);

/* Exit status. A name of a behaviour (or its beginning) in SALLY_ONLY runs those alone. */
int behaviours_run(const struct behaviour *list, size_t count);

/* Runs it in one more process, which may give up rights or be ended; a check that fails there fails
 * the test. No thread may run. */
void in_child(void (*body)(const struct setting *setting), const struct setting *setting);

int descriptors_open(void);
int threads_running(void);

/* ---- The allocator that counts ---- */

struct ledger {
    atomic_size_t bytes;
    atomic_size_t blocks;
    atomic_uint_fast64_t asked;
    atomic_uint_fast64_t fail_at; /* this one fails; 0: none */
    atomic_bool fail_on;          /* and every one after it */
    atomic_bool failed;
};

sally_allocator ledger_allocator(struct ledger *ledger);

struct tally;

/* ---- A rig ---- */

struct rig {
    const struct setting *setting;
    struct ledger ledger;
    int descriptors;
    sally_engine_options options;
    sally_engine *engine;
};

/* rig_open is the three in one, with default options. */
void rig_prepare(struct rig *rig, const struct setting *setting);
void rig_create(struct rig *rig);
void rig_open(struct rig *rig, const struct setting *setting);
void rig_start(struct rig *rig);
/* Opened and started, with a new tally. */
void rig_run(struct rig *rig, struct tally *tally, const struct setting *setting);
sally_engine_stats rig_stats(struct rig *rig);
/* Stops, waits, destroys, and checks that nothing is left. */
void rig_end(struct rig *rig);
void rig_check_clean(struct rig *rig); /* after sally_engine_destroy */

/* ---- A tally: an echo handler that counts ---- */

struct tally {
    uint32_t mark;
    atomic_uint opened;
    atomic_uint closed;
    atomic_uint closed_alone; /* without on_open before */
    atomic_uint peak;         /* the most that were open at once */
    atomic_uint drained;
    atomic_uint timers;
    atomic_uint judged;    /* on_accept */
    atomic_uint disorders; /* callbacks out of order */
    atomic_ullong bytes;
    atomic_ullong bytes_unsent;
    atomic_uint reasons[REASONS];
    atomic_uint events[SERVER_EVENTS];
    atomic_int last_error; /* of an on_close */
    atomic_int last_reason;
    atomic_bool refuse;   /* what on_accept says */
    bool mute;            /* doesn't echo */
    const char *greeting; /* sent by on_open; NULL: nothing */
};

void tally_init(struct tally *tally);
sally_handler tally_handler(struct tally *tally);
/* The tally of a connection that has it as its handler's user. */
struct tally *tally_of(sally_conn *conn);
void tally_check(const struct tally *tally); /* all that opened have closed, in order */
unsigned tally_live(const struct tally *tally);
unsigned tally_events(const struct tally *tally, sally_server_event_kind kind);
unsigned tally_reasons(const struct tally *tally, sally_close_reason reason);

/* ---- Servers ---- */

/* Echo on 127.0.0.1, any port. `options` may be NULL. The address is left in `address`. */
sally_server *serve(struct rig *rig, struct tally *tally, const sally_server_options *options,
                    char *address);
sally_server *serve_at(struct rig *rig, const char *where, struct tally *tally,
                       const sally_server_options *options, char *address);
/* With a handler of the test's own. */
sally_server *serve_handler(struct rig *rig, const char *where, const sally_handler *handler,
                            const sally_server_options *options, char *address);
sally_server_stats server_stats(sally_server *server);

/* ---- Clients ---- */

enum heard { HEARD_BYTES, HEARD_END, HEARD_RESET, HEARD_NOTHING };

/* Fills `to` from "127.0.0.1:80", "[::1]:80", "unix:/path" or "unix:@name". */
socklen_t address_of(const char *address, struct sockaddr_storage *to);
uint16_t address_port(const char *address);
/* A connected socket with time limits, or -1 with errno. */
int dial_try(const char *address);
int dial(const char *address);
/* After EINTR: the end of a uring interrupts what its maker's thread does, and a connect goes on
 * meanwhile. With errno. */
bool connected_after_all(int fd);
/* With a socket that was made before. */
void dial_with_socket(int fd, const char *address);
/* With a small receive buffer, so that what it doesn't read soon fills the way to it. */
int dial_small(const char *address, int buffer_bytes);
void dial_many(const char *address, int *fds, unsigned count);
/* Not blocking: connects in its own time. */
int dial_start(const char *address);
void say(int fd, const void *data, size_t len);
bool hear(int fd, void *data, size_t len); /* all of it */
/* What comes next, within ms. */
enum heard hear_next(int fd, unsigned ms);
/* Reads and drops bytes until something else comes. */
enum heard hear_end(int fd, unsigned ms);
/* Sends a few bytes and has them back. */
bool echoes(int fd);
void check_echo(const char *address); /* a new client, served */
void hang_up(int fd);
void hang_up_reset(int fd);
void hang_up_all(int *fds, unsigned count);

/* A listening socket of ours on 127.0.0.1 and any port. */
int doorway(int backlog, char *address);
/* Its next newcomer, waited for. */
int let_in(int door);
/* An address of 127.0.0.1 on which nobody listens, kept from others until closed. */
int nobody_home(char *address);

#endif
