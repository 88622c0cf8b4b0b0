/* A key-value server that speaks enough of RESP, the protocol of Redis, for `redis-cli -p 5002` and
 * `redis-benchmark -p 5002 -t ping,set,get`. Everything in it has a limit: keys, values, their
 * number, arguments, requests, and what a client that doesn't read can make it keep.
 *
 * One shard, so that the table needs no lock. The store is kv_store.h. */
#include <sallyport.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv_store.h"

enum { ARGS_MAX = 16, INLINE_MAX = 1024, HEADER_MAX = 32, REQUEST_MAX = 128 * 1024 };

/* A client that has so much to read gets no further answers before it has read; an answer is far
 * shorter than what is left then. */
enum { QUEUE_HIGH = 1024 * 1024, QUEUE_MAX = 4 * QUEUE_HIGH };

struct arg {
    const char *data;
    size_t len;
};

/* A client: what has come and was not answered yet. */
struct client {
    struct store *store;
    char *kept;
    size_t len;
    size_t room;
    bool waits; /* for its send queue: on_drain goes on */
};

/* ---- Requests: bytes in, arguments out ---- */

/* How many bytes the request at the front has; 0: it is not all there; -1: it is none. */
typedef ptrdiff_t parsed;

/* The number of a line like "*3\r\n" or "$5\r\n". */
static parsed parse_number(const char *data, size_t len, long *number)
{
    size_t in = len < HEADER_MAX ? len : HEADER_MAX;
    const char *end = memchr(data, '\n', in);
    if (!end) return len < HEADER_MAX ? 0 : -1;
    if (end - data < 3 || end[-1] != '\r') return -1;
    *number = 0;
    for (const char *at = data + 1; at < end - 1; at++) {
        if (*at < '0' || *at > '9' || *number > REQUEST_MAX) return -1;
        *number = *number * 10 + (*at - '0');
    }
    return end + 1 - data;
}

static parsed parse_bulk(const char *data, size_t len, struct arg *arg)
{
    long bytes;
    if (data[0] != '$') return -1;
    parsed header = parse_number(data, len, &bytes);
    if (header <= 0) return header;
    if (bytes > REQUEST_MAX) return -1;
    *arg = (struct arg){data + header, (size_t)bytes};
    if (len - (size_t)header < (size_t)bytes + 2) return 0;
    return memcmp(arg->data + bytes, "\r\n", 2) == 0 ? header + bytes + 2 : -1;
}

static parsed parse_array(const char *data, size_t len, struct arg *args, unsigned *count)
{
    long wanted;
    parsed used = parse_number(data, len, &wanted);
    if (used <= 0) return used;
    if (wanted > ARGS_MAX) return -1;
    for (*count = 0; *count < (unsigned)wanted; ++*count) {
        if ((size_t)used == len) return 0;
        parsed bulk = parse_bulk(data + used, len - (size_t)used, &args[*count]);
        if (bulk <= 0) return bulk;
        used += bulk;
    }
    return used;
}

/* A line of words, as a person types it. */
static parsed parse_inline(const char *data, size_t len, struct arg *args, unsigned *count)
{
    const char *end = memchr(data, '\n', len < INLINE_MAX ? len : INLINE_MAX);
    if (!end) return len < INLINE_MAX ? 0 : -1;
    *count = 0;
    for (const char *at = data; at < end;) {
        const char *word = at;
        while (at < end && *at != ' ' && *at != '\r') at++;
        if (at > word && *count == ARGS_MAX) return -1;
        if (at > word) args[(*count)++] = (struct arg){word, (size_t)(at - word)};
        at++;
    }
    return end + 1 - data;
}

static parsed parse(const char *data, size_t len, struct arg *args, unsigned *count)
{
    return data[0] == '*' ? parse_array(data, len, args, count)
                          : parse_inline(data, len, args, count);
}

/* ---- Replies; 0, or what the send said ---- */

static int reply(sally_conn *conn, const char *text)
{
    return sally_conn_send(conn, text, strlen(text));
}

static int reply_number(sally_conn *conn, unsigned long number)
{
    char text[32];
    snprintf(text, sizeof text, ":%lu\r\n", number);
    return reply(conn, text);
}

static int reply_bulk(sally_conn *conn, const char *data, size_t len)
{
    static char text[HEADER_MAX + STORE_VALUE_MAX + 2]; /* one shard, one thread */
    if (len > STORE_VALUE_MAX) return reply(conn, "-ERR too long\r\n");
    int at = snprintf(text, HEADER_MAX, "$%zu\r\n", len);
    memcpy(text + at, data, len);
    memcpy(text + at + len, "\r\n", 2);
    return sally_conn_send(conn, text, (size_t)at + len + 2);
}

/* ---- Commands ---- */

static bool is(const struct arg *arg, const char *word)
{
    if (strlen(word) != arg->len) return false;
    for (size_t i = 0; i < arg->len; i++)
        if ((arg->data[i] & ~0x20) != word[i]) return false;
    return true;
}

static int set(sally_conn *conn, struct store *store, const struct arg *args)
{
    switch (store_set(store, args[1].data, args[1].len, args[2].data, args[2].len)) {
    case STORE_OK: return reply(conn, "+OK\r\n");
    case STORE_TOO_LONG: return reply(conn, "-ERR key or value too long\r\n");
    case STORE_FULL: return reply(conn, "-OOM the store is full\r\n");
    }
    return 0;
}

static int get(sally_conn *conn, struct store *store, const struct arg *key)
{
    size_t len;
    const char *value = store_get(store, key->data, key->len, &len);
    return value ? reply_bulk(conn, value, len) : reply(conn, "$-1\r\n");
}

static int del(sally_conn *conn, struct store *store, const struct arg *args, unsigned count)
{
    unsigned gone = 0;
    for (unsigned i = 1; i < count; i++) gone += store_del(store, args[i].data, args[i].len);
    return reply_number(conn, gone);
}

/* redis-benchmark asks for two settings before it begins. */
static int config(sally_conn *conn, const struct arg *name)
{
    char text[128];
    if (name->len > 64) return reply(conn, "*0\r\n");
    snprintf(text, sizeof text, "*2\r\n$%zu\r\n%.*s\r\n$0\r\n\r\n", name->len, (int)name->len,
             name->data);
    return reply(conn, text);
}

static int run(sally_conn *conn, struct store *store, const struct arg *args, unsigned count)
{
    if (is(args, "PING") && count == 1) return reply(conn, "+PONG\r\n");
    if (is(args, "PING") && count == 2) return reply_bulk(conn, args[1].data, args[1].len);
    if (is(args, "ECHO") && count == 2) return reply_bulk(conn, args[1].data, args[1].len);
    if (is(args, "GET") && count == 2) return get(conn, store, &args[1]);
    if (is(args, "SET") && count == 3) return set(conn, store, args);
    if (is(args, "DEL") && count >= 2) return del(conn, store, args, count);
    if (is(args, "DBSIZE") && count == 1) return reply_number(conn, store_keys(store));
    if (is(args, "CONFIG") && count == 3) return config(conn, &args[2]);
    if (is(args, "COMMAND")) return reply(conn, "*0\r\n");
    if (is(args, "QUIT")) {
        int err = reply(conn, "+OK\r\n");
        sally_conn_close(conn);
        return err;
    }
    return reply(conn, "-ERR unknown command or wrong number of arguments\r\n");
}

/* ---- Connections ---- */

/* Answers whole requests at the front; how many bytes they were. The rest waits for more bytes, or,
 * when the client doesn't read its answers, for room. */
static size_t answer(sally_conn *conn, struct client *client, const char *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        struct arg args[ARGS_MAX];
        unsigned count = 0;
        parsed used = parse(data + done, len - done, args, &count);
        if (used < 0 || (used == 0 && len - done > REQUEST_MAX)) {
            (void)reply(conn, "-ERR Protocol error\r\n");
            sally_conn_close(conn);
            return len;
        }
        if (used == 0) return done;
        if (sally_conn_queued(conn) > QUEUE_HIGH) {
            client->waits = true;
            sally_conn_pause(conn);
            return done;
        }
        int err = count ? run(conn, client->store, args, count) : 0;
        if (err) { /* it is closing, or there is no memory: an answer must not be missing */
            if (err != SALLY_ECLOSED) sally_conn_abort(conn);
            return len;
        }
        done += (size_t)used;
    }
    return done;
}

/* At most a request that is not all there, and what came in one piece. */
static bool keep(struct client *client, const char *data, size_t len)
{
    if (client->len + len > client->room) {
        char *more = realloc(client->kept, client->len + len);
        if (!more) return false;
        client->kept = more;
        client->room = client->len + len;
    }
    memcpy(client->kept + client->len, data, len);
    client->len += len;
    return true;
}

static void answer_kept(sally_conn *conn, struct client *client)
{
    size_t done = answer(conn, client, client->kept, client->len);
    client->len -= done;
    if (client->len) {
        memmove(client->kept, client->kept + done, client->len);
        return;
    }
    free(client->kept); /* who is idle keeps nothing */
    client->kept = NULL;
    client->room = 0;
}

static void on_open(sally_conn *conn)
{
    struct client *client = calloc(1, sizeof *client);
    if (client)
        client->store = sally_server_user(sally_conn_server(conn));
    else
        sally_conn_abort(conn);
    sally_conn_set_user(conn, client);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct client *client = sally_conn_user(conn);
    if (client->len) {
        if (keep(client, data, len))
            answer_kept(conn, client);
        else
            sally_conn_abort(conn);
        return;
    }
    size_t done = answer(conn, client, data, len);
    if (done < len && !keep(client, (const char *)data + done, len - done)) sally_conn_abort(conn);
}

static void on_drain(sally_conn *conn)
{
    struct client *client = sally_conn_user(conn);
    if (!client->waits) return;
    client->waits = false;
    answer_kept(conn, client);
    if (!client->waits) sally_conn_resume(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct client *client = sally_conn_user(conn);
    (void)info;
    if (client) free(client->kept);
    free(client);
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5002";
    struct store *store = store_create();
    sally_handler handler = {.user = store,
                             .on_open = on_open,
                             .on_data = on_data,
                             .on_drain = on_drain,
                             .on_close = on_close};
    sally_server_options options = {.conn = {.first_byte_ms = SALLY_FOREVER,
                                             .send_bytes_max = QUEUE_MAX,
                                             .send_high_bytes = QUEUE_HIGH}};
    sally_engine *engine = NULL;
    int err =
        store ? sally_engine_create(&engine, &(sally_engine_options){.shards = 1}) : SALLY_ENOMEM;
    if (!err) err = sally_listen(engine, address, &handler, &options, NULL);
    if (!err) err = sally_engine_run(engine);
    sally_engine_destroy(engine);
    store_destroy(store);
    if (err) fprintf(stderr, "kv: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
