/* Sallyport as a program of its users has it: the public interface, every default on, one shard.
 * Callbacks run on the shard; a message to all is one buffer that all share; threads send by id. */
#include <sallyport/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inbox.h"
#include "members.h"
#include "senders.h"
#include "server.h"

static void die(const char *what, int err)
{
    fprintf(stderr, "sallyport: %s: %s\n", what, sally_strerror(err));
    exit(err == SALLY_ENOPORT ? 77 : 1);
}

static void echo_data(sally_conn *conn, const void *data, size_t len)
{
    if (sally_conn_send(conn, data, len)) sally_conn_abort(conn);
}

struct member {
    sally_conn *conn;
    struct inbox inbox;
    uint32_t place;
};

static struct members members;

static void member_open(sally_conn *conn)
{
    struct member *member = server_memory(1, sizeof *member);
    member->conn = conn;
    members_add(&members, member, &member->place);
    sally_conn_set_user(conn, member);
}

static void member_close(sally_conn *conn, const sally_close_info *info)
{
    struct member *member = sally_conn_user(conn);
    (void)info;
    members_remove(&members, member->place);
    free(member);
}

static void fan_out(void *from, const char *messages, uint64_t len)
{
    sally_buf *buf = sally_buf_create(sally_conn_engine(((struct member *)from)->conn), len);
    if (!buf) die("sally_buf_create", SALLY_ENOMEM);
    memcpy(sally_buf_data(buf), messages, len);
    for (uint32_t n = 0; n < members.count; n++) {
        struct member *member = members.all[n];
        if (member != from && sally_conn_send_buf(member->conn, buf))
            sally_conn_abort(member->conn);
    }
    sally_buf_release(buf);
}

static void member_data(sally_conn *conn, const void *data, size_t len)
{
    struct member *member = sally_conn_user(conn);
    inbox_take(&member->inbox, data, len, fan_out, member);
}

static void target_open(sally_conn *conn) { senders_add(sally_conn_id(conn)); }

static enum senders_answer push(void *engine, uint64_t id, const void *message)
{
    int err = sally_send(engine, id, message, SERVER_MESSAGE_BYTES);
    if (err == SALLY_EFULL) return SENDERS_FULL;
    return err ? SENDERS_GONE : SENDERS_TAKEN;
}

static sally_file *served;

/* As raw_sendfile.c: a request comes whole, and the next after the answer. */
static void answer_file(sally_conn *conn, const void *data, size_t len)
{
    char head[64];
    int head_bytes = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
                              SERVER_FILE_BYTES);
    if (len < 4 || memcmp((const char *)data + len - 4, "\r\n\r\n", 4) ||
        sally_conn_send(conn, head, (size_t)head_bytes) ||
        sally_conn_send_file(conn, served, 0, 0, NULL, NULL))
        sally_conn_abort(conn);
}

/* A file without a name, of zeros that are really in the page cache. */
static void serve_file(sally_engine *engine)
{
    static char zeros[SERVER_FILE_BYTES];
    FILE *file = tmpfile();
    if (!file || fwrite(zeros, 1, sizeof zeros, file) != sizeof zeros || fflush(file))
        server_die("the file");
    int err = sally_file_from_fd(engine, dup(fileno(file)), &served, NULL);
    if (err) die("the file", err);
    fclose(file);
}

static sally_handler handler_for(enum server_mode mode)
{
    if (mode == SERVER_FANOUT)
        return (sally_handler){
            .on_open = member_open, .on_data = member_data, .on_close = member_close};
    if (mode == SERVER_FILES) return (sally_handler){.on_data = answer_file};
    if (mode == SERVER_THREADS) return (sally_handler){.on_open = target_open};
    return (sally_handler){.on_data = echo_data};
}

static sally_profile profile_named(const char *name)
{
    if (!name) return SALLY_PROFILE_DEFAULT;
    if (!strcmp(name, "latency")) return SALLY_PROFILE_LATENCY;
    return strcmp(name, "throughput") ? SALLY_PROFILE_MANY_IDLE : SALLY_PROFILE_THROUGHPUT;
}

static sally_engine *engine_make(const char *kind, const char *profile)
{
    sally_engine *engine = NULL;
    sally_engine_options options = {.shards = 1, .leave_signals = true};
    options.profile = profile_named(profile);
    if (kind) options.port = !strcmp(kind, "epoll") ? SALLY_PORT_EPOLL : SALLY_PORT_URING;
    int err = sally_engine_create(&engine, &options);
    if (err) die("create", err);
    return engine;
}

static unsigned port_of(sally_server *server)
{
    char address[64];
    if (!sally_server_address(server, 0, address, sizeof address)) die("address", SALLY_EADDRESS);
    return (unsigned)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

int main(int argc, char **argv)
{
    struct server_options options = server_options_read(
        argc, argv, SERVER_ECHO | SERVER_FANOUT | SERVER_THREADS | SERVER_FILES);
    sally_engine *engine = engine_make(options.kind, options.profile);
    sally_server *server = NULL;
    sally_handler handler = handler_for(options.mode);
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", options.port);
    int err = sally_listen(engine, address, &handler, NULL, &server);
    if (err) die(address, err);
    if (options.mode == SERVER_FILES) serve_file(engine);
    if (options.mode == SERVER_THREADS) senders_start(push, engine);
    server_ready(port_of(server));
    err = sally_engine_run(engine);
    if (err) die("run", err);
    sally_file_release(served);
    sally_engine_destroy(engine);
    return 0;
}
