/* What letters do when they arrive; see letter.h. */
#include "net/letter.h"

#include <assert.h>
#include <string.h>

#include "net/cast.h"
#include "net/client.h"
#include "net/conn.h"
#include "net/dial.h"
#include "net/gate.h"
#include "net/listener.h"
#include "net/server.h"
#include "net/user_timer.h"

/* The struct that the mail is the first member of. */
static void *whole(struct mail *mail) { return mail; }

static struct listener *letter__listener(struct mail *mail)
{
    unsigned char *base = whole(mail);
    return (struct listener *)(void *)(base - offsetof(struct listener, letter));
}

static sally_client *letter__client(struct mail *mail, size_t offset)
{
    unsigned char *base = whole(mail);
    return (sally_client *)(void *)(base - offset);
}

static struct user_timer *letter__timer(struct mail *mail)
{
    unsigned char *base = whole(mail);
    return (struct user_timer *)(void *)(base - offsetof(struct user_timer, letter));
}

/* The connection of that name. An id may be any number: one that names a listener, or a connection
 * whose LETTER_DIAL has not come yet, is nobody here. */
static inline sally_conn *letter__any_conn(const struct shard *shard, sally_id id)
{
    sally_conn *conn = shard_find(shard, id);
    return conn && conn->sock.role == ROLE_CONN ? conn : NULL;
}

sally_conn *letter_any_conn(const struct shard *shard, sally_id id)
{
    return letter__any_conn(shard, id);
}

static inline void letter__send(struct shard *shard, const struct letter_send *send)
{
    sally_conn *conn = letter__any_conn(shard, send->id);
    if (conn) conn_send_foreign(conn, send->data, send->mail.bytes - (uint32_t)sizeof *send);
}

void letter_free_big(struct letter_big *big) { mem_free(big->mem, big, sizeof *big + big->len); }

static void letter__send_big(struct shard *shard, struct letter_big *big)
{
    sally_conn *conn = letter_any_conn(shard, big->id);
    if (conn) conn_send_foreign(conn, big->data, big->len);
    letter_free_big(big);
}

static void letter__conn(struct shard *shard, const struct letter_conn *close)
{
    sally_conn *conn = letter_any_conn(shard, close->id);
    if (conn && !conn->has_reason) conn->by_id = true;
    if (conn && close->mail.kind == LETTER_CLOSE)
        conn_close_by_us(conn);
    else if (conn)
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_ABORTED, 0, 0);
}

sally_conn *letter_open_conn(const struct shard *shard, sally_id id)
{
    sally_conn *conn = letter_any_conn(shard, id);
    bool open = conn && conn->on_open_ran && conn->state < CONN_ENDING;
    return open ? conn : NULL;
}

static void letter__call(struct mail *mail, struct shard *shard)
{
    struct letter_call *call = whole(mail);
    call->fn(call, shard);
}

static void letter__post(struct shard *shard, const struct letter_post *post)
{
    post->fn(letter_open_conn(shard, post->id), post->arg);
}

static void letter__adopt(struct shard *shard, struct letter_adopt *adopt)
{
    conn_adopt(shard, adopt->policy, &adopt->newcomer, adopt->inherits);
    mem_free(&shard->engine->mem, adopt, sizeof *adopt + adopt->newcomer.first.len);
}

static void letter__cut(struct shard *shard, struct letter_cut *cut)
{
    gate_cut_banned(cut->server->gate, shard);
    mem_free(&shard->engine->mem, cut, sizeof *cut);
}

static __attribute__((noinline)) void letter__handle(struct shard *shard, struct mail *mail)
{
    switch ((enum letter_kind)mail->kind) {
    case LETTER_LISTEN: listener_begin(letter__listener(mail)); return;
    case LETTER_ADOPT: letter__adopt(shard, whole(mail)); return;
    case LETTER_DIAL: dial_begin(whole(mail)); return;
    case LETTER_RESOLVED: dial_resolved(whole(mail)); return;
    case LETTER_SEND: letter__send(shard, whole(mail)); return;
    case LETTER_SEND_BIG: letter__send_big(shard, whole(mail)); return;
    case LETTER_CLOSE:
    case LETTER_ABORT: letter__conn(shard, whole(mail)); return;
    case LETTER_POST: letter__post(shard, whole(mail)); return;
    case LETTER_LOOK: look_fill(shard, whole(mail)); return;
    case LETTER_CLIENT:
        client_on_begin(letter__client(mail, offsetof(sally_client, begin)));
        return;
    case LETTER_CLIENT_STOP:
        client_on_stop(letter__client(mail, offsetof(sally_client, stop)));
        return;
    case LETTER_TIMER: user_timer_on_letter(shard, letter__timer(mail)); return;
    case LETTER_CALL: letter__call(mail, shard); return;
    case LETTER_CUT: letter__cut(shard, whole(mail)); return;
    }
}

uint64_t letters_handle(struct shard *shard, uint64_t max)
{
    uint64_t handled = 0;
    for (struct mail *mail; handled < max; handled++) {
        if (shard->cast && !cast_go_on(shard)) break;
        mail = mailbox_take(&shard->mailbox);
        if (!mail) break;
        if (mail->kind == LETTER_SEND) /* by far the most */
            letter__send(shard, whole(mail));
        else
            letter__handle(shard, mail);
    }
    return handled;
}

/* A listener, a dial and a timer keep a slot and a client's beginning is promised, so a shard
 * doesn't end before it has had their letters. */
void letter_dispose(struct shard *shard, struct mail *mail)
{
    switch ((enum letter_kind)mail->kind) {
    case LETTER_LISTEN:
    case LETTER_DIAL:
    case LETTER_CLIENT:
    case LETTER_TIMER: assert(false); return;
    case LETTER_CLIENT_STOP: /* it has ended meanwhile */
        client_release(letter__client(mail, offsetof(sally_client, stop)));
        return;
    case LETTER_ADOPT: letter__adopt(shard, whole(mail)); return; /* stopping: it refuses */
    case LETTER_RESOLVED: dial_free(whole(mail)); return;
    case LETTER_SEND: return;
    case LETTER_SEND_BIG: letter_free_big(whole(mail)); return;
    case LETTER_CLOSE:
    case LETTER_ABORT: return;
    case LETTER_POST: {
        const struct letter_post *post = whole(mail);
        post->fn(NULL, post->arg);
        return;
    }
    case LETTER_LOOK: look_release(whole(mail)); return;
    case LETTER_CALL: letter__call(mail, NULL); return;
    case LETTER_CUT: mem_free(&shard->engine->mem, mail, sizeof(struct letter_cut)); return;
    }
}
