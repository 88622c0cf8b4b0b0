/* What threads send to a shard. Most kinds are records, which lie in the mailbox and begin with
 * struct mail; the others are structs of their own, which begin with struct letter and are freed by
 * the shard that takes them. */
#ifndef NET_LETTER_H
#define NET_LETTER_H

#include "base/addr.h"
#include "base/mailbox.h"
#include "net/lobby.h"
#include "net/resolver.h"
#include "os/thread.h"
#include "port/port.h"
#include "sallyport.h"

enum letter_kind {
    LETTER_LISTEN,      /* the letter inside struct listener */
    LETTER_ADOPT,       /* struct letter_adopt */
    LETTER_DIAL,        /* struct dial, see dial.h */
    LETTER_RESOLVED,    /* struct dial again, from a resolver thread */
    LETTER_SEND,        /* struct letter_send, a record */
    LETTER_SEND_BIG,    /* struct letter_big */
    LETTER_CLOSE,       /* struct letter_conn, a record */
    LETTER_ABORT,       /* struct letter_conn, a record */
    LETTER_POST,        /* struct letter_post, a record */
    LETTER_LOOK,        /* struct letter_look */
    LETTER_CLIENT,      /* the letter `begin` inside struct sally_client */
    LETTER_CLIENT_STOP, /* the letter `stop` inside it, with a reference */
    LETTER_TIMER,       /* the letter inside struct user_timer */
    LETTER_CALL,        /* struct letter_call */
    LETTER_CUT,         /* struct letter_cut */
};

struct policy;
struct shard;

struct letter_adopt {
    struct letter letter;
    struct newcomer newcomer; /* its first bytes are those here */
    struct policy *policy;    /* a reference */
    bool inherits;            /* as in struct listening */
    unsigned char first[];
};

/* To end those of a server's connections whose address is banned. */
struct letter_cut {
    struct letter letter;
    sally_server *server;
};

struct letter_conn {
    struct mail mail;
    sally_id id;
};

/* As many bytes as the record has behind its struct. */
struct letter_send {
    struct mail mail;
    sally_id id;
    unsigned char data[];
};

/* More than a record has room for. */
struct letter_big {
    struct letter letter;
    sally_id id;
    struct mem *mem;
    uint32_t len;
    unsigned char data[];
};

enum { LETTER_SEND_MAX = MAIL_RECORD_MAX - sizeof(struct letter_send) };

struct letter_post {
    struct mail mail;
    sally_id id;
    void (*fn)(sally_conn *conn, void *arg);
    void *arg;
};

/* Whatever else is to be done on a shard. The letter is the function's from then on; it is called
 * exactly once, with shard NULL by who ends the engine, when the shard has ended. */
struct letter_call {
    struct letter letter;
    void (*fn)(struct letter_call *call, struct shard *shard);
};

/* The connection of that name once it has begun here, or NULL; its shard's thread. */
sally_conn *letter_any_conn(const struct shard *shard, sally_id id);

/* The same if its handler knows it and it is not at its end. */
sally_conn *letter_open_conn(const struct shard *shard, sally_id id);

/* Two owners: who asks, and the shard's mailbox. */
struct letter_look {
    struct letter letter;
    atomic_uint refs;
    struct mem *mem;
    struct os_gate done;
    int error;
    uint32_t count;
    size_t infos_bytes;
    sally_conn_info *infos;
};

/* The shard's copy of its connections; then who asked is told. */
void look_fill(struct shard *shard, struct letter_look *look);
void look_release(struct letter_look *look);

void letter_free_big(struct letter_big *big);

/* Takes at most so many letters and does what they say; how many. A message to many is finished
 * before the letters behind it, in as many turns as it takes. The owner thread. */
uint64_t letters_handle(struct shard *shard, uint64_t max);

/* For a shard that has ended: frees it, telling whoever was promised an answer. */
void letter_dispose(struct shard *shard, struct mail *mail);

#endif
