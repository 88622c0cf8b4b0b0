/* What threads send to a shard. Each kind is a struct that begins with struct letter; the shard
 * that takes it frees it. */
#ifndef NET_LETTER_H
#define NET_LETTER_H

#include "base/addr.h"
#include "base/mailbox.h"
#include "net/resolver.h"
#include "os/thread.h"
#include "port/port.h"
#include "sallyport.h"

enum letter_kind {
    LETTER_LISTEN,   /* the letter inside struct listener */
    LETTER_ADOPT,    /* struct letter_adopt */
    LETTER_DIAL,     /* struct dial, see dial.h */
    LETTER_RESOLVED, /* struct dial again, from a resolver thread */
    LETTER_SEND,     /* struct letter_send */
    LETTER_CLOSE,    /* struct letter_conn */
    LETTER_ABORT,    /* struct letter_conn */
    LETTER_POST,     /* struct letter_post */
    LETTER_LOOK,     /* struct letter_look */
};

struct policy;
struct shard;

struct letter_adopt {
    struct letter letter;
    port_handle handle;
    struct addr peer;
    struct policy *policy; /* a reference */
    uint32_t first_len;
    unsigned char first[]; /* bytes that came with it */
};

struct letter_conn {
    struct letter letter;
    sally_id id;
};

struct letter_send {
    struct letter letter;
    sally_id id;
    uint32_t len;
    unsigned char data[];
};

struct letter_post {
    struct letter letter;
    sally_id id;
    void (*fn)(sally_conn *conn, void *arg);
    void *arg;
};

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

/* Does what a letter says; the owner thread. */
void letter_handle(struct shard *shard, struct letter *letter);

/* For a shard that has ended: frees it, telling whoever was promised an answer. */
void letter_dispose(struct shard *shard, struct letter *letter);

#endif
