/* What letters do when they arrive; see letter.h. */
#include "net/letter.h"

#include <assert.h>
#include <string.h>

#include "net/conn.h"
#include "net/dial.h"
#include "net/listener.h"
#include "net/server.h"

/* The struct that a letter is the first member of. */
static void *whole(struct letter *letter) { return letter; }

static struct listener *letter__listener(struct letter *letter)
{
    unsigned char *base = whole(letter);
    return (struct listener *)(void *)(base - offsetof(struct listener, letter));
}

static void letter__free(struct shard *shard, struct letter *letter, size_t bytes)
{
    mem_free(&shard->engine->mem, letter, bytes);
}

/* The connection of that name. An id may be any number: one that names a listener, or a connection
 * whose LETTER_DIAL has not come yet, is nobody here. */
static sally_conn *letter__to(const struct shard *shard, sally_id id)
{
    sally_conn *conn = shard_find(shard, id);
    return conn && conn->sock.role == ROLE_CONN ? conn : NULL;
}

static void letter__send(struct shard *shard, struct letter_send *send)
{
    sally_conn *conn = letter__to(shard, send->id);
    if (conn) conn_send_foreign(conn, send->data, send->len);
    letter__free(shard, &send->letter, sizeof *send + send->len);
}

static void letter__conn(struct shard *shard, struct letter_conn *close)
{
    sally_conn *conn = letter__to(shard, close->id);
    if (conn && close->letter.kind == LETTER_CLOSE)
        conn_close_by_us(conn);
    else if (conn)
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_ABORTED, 0, 0);
    letter__free(shard, &close->letter, sizeof *close);
}

static void letter__post(struct shard *shard, struct letter_post *post)
{
    sally_conn *conn = letter__to(shard, post->id);
    bool open = conn && conn_has(conn, CONN_ON_OPEN_RAN) && conn->state < CONN_ENDING;
    post->fn(open ? conn : NULL, post->arg);
    letter__free(shard, &post->letter, sizeof *post);
}

static void letter__adopt(struct shard *shard, struct letter_adopt *adopt)
{
    struct span first = {adopt->first, adopt->first_len};
    conn_adopt(shard, adopt->policy, adopt->handle, &adopt->peer, &first);
    letter__free(shard, &adopt->letter, sizeof *adopt + adopt->first_len);
}

void letter_handle(struct shard *shard, struct letter *letter)
{
    switch ((enum letter_kind)letter->kind) {
    case LETTER_LISTEN: listener_begin(letter__listener(letter)); return;
    case LETTER_ADOPT: letter__adopt(shard, whole(letter)); return;
    case LETTER_DIAL: dial_begin(whole(letter)); return;
    case LETTER_RESOLVED: dial_resolved(whole(letter)); return;
    case LETTER_SEND: letter__send(shard, whole(letter)); return;
    case LETTER_CLOSE:
    case LETTER_ABORT: letter__conn(shard, whole(letter)); return;
    case LETTER_POST: letter__post(shard, whole(letter)); return;
    case LETTER_LOOK: look_fill(shard, whole(letter)); return;
    }
}

/* A listener and a dial keep a slot, so a shard doesn't end before it has had their letters. */
void letter_dispose(struct shard *shard, struct letter *letter)
{
    switch ((enum letter_kind)letter->kind) {
    case LETTER_LISTEN:
    case LETTER_DIAL: assert(false); return;
    case LETTER_ADOPT: letter__adopt(shard, whole(letter)); return; /* stopping: it refuses */
    case LETTER_RESOLVED: dial_free(whole(letter)); return;
    case LETTER_SEND: {
        struct letter_send *send = whole(letter);
        letter__free(shard, letter, sizeof *send + send->len);
        return;
    }
    case LETTER_CLOSE:
    case LETTER_ABORT: letter__free(shard, letter, sizeof(struct letter_conn)); return;
    case LETTER_POST: {
        struct letter_post *post = whole(letter);
        post->fn(NULL, post->arg);
        letter__free(shard, letter, sizeof *post);
        return;
    }
    case LETTER_LOOK: look_release(whole(letter)); return;
    }
}
